"""Where the embedded stack listens: one base, everything else at a fixed distance from it.

Two stacks whose bases lie 1,000 apart share no port. Distances up to 9 hold one port per gateway, so there are at
most nine gateways, central included.
"""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import psutil

LOOPBACK: Final = "127.0.0.1"
CENTRAL: Final = "central"
# The order of the federation: a gateway keeps its ports whichever of the others run beside it.
KNOWN_GATEWAYS: Final = (CENTRAL, "platform", "marketing", "education", "sales", "agents")
MOST_GATEWAYS: Final = 9

_CLAIM, _ADMIN, _MESH, _AUTHZ, _RATELIMIT = 0, 1, 10, 20, 30
_XDS, _CONTROL_API, _METRICS = 40, 41, 50
# Admin of a gateway's second Envoy and of those after it: ten ports for each gateway.
_MORE_ADMINS: Final = 100
MOST_ENVOYS: Final = 9
_ISSUER_CUSTOMER, _ISSUER_ADMIN, _VALKEY, _HTTP, _PORTAL = 60, 61, 70, 80, 90
_TELEMETRY, _TELEMETRY_METRICS, _AGENTS = 91, 92, 93
_HTTPS, _INTERNAL_HTTPS, _UPSTREAM = 443, 444, 800
_LAST = _UPSTREAM + MOST_GATEWAYS


@dataclass(frozen=True, slots=True)
class GatewayPorts:
    """One gateway's ports; `mesh` and `upstream` are None for central, which has neither.

    Several Envoys of a gateway share its listeners' ports (SO_REUSEPORT); each has an admin port of its own.
    """

    envoy_admin: int
    more_envoy_admins: tuple[int, ...]
    authz: int
    ratelimit: int
    metrics: int
    mesh: int | None
    upstream: int | None


@dataclass(frozen=True, slots=True)
class PortPlan:
    """Every port of one stack, all of them on the loopback address."""

    base: int
    https: int
    http: int
    internal_https: int
    xds: int
    control_api: int
    issuer_customer: int
    issuer_admin: int
    valkey: int
    portal: int
    telemetry: int
    telemetry_metrics: int
    agents: int
    gateways: Mapping[str, GatewayPorts]

    def named(self) -> dict[str, int]:
        """Port by what it is for, in the words that the terminal shows."""
        ports = {
            "https": self.https,
            "http": self.http,
            "internal_https": self.internal_https,
            "xds": self.xds,
            "control_api": self.control_api,
            "issuer customer": self.issuer_customer,
            "issuer admin": self.issuer_admin,
            "valkey": self.valkey,
            "portal": self.portal,
            "telemetry": self.telemetry,
            "telemetry metrics": self.telemetry_metrics,
            "demo agents": self.agents,
        }
        for name, gateway in self.gateways.items():
            ports |= {
                f"{name} {purpose}": port
                for purpose in ("envoy_admin", "authz", "ratelimit", "metrics", "mesh", "upstream")
                if (port := getattr(gateway, purpose)) is not None
            }
            ports |= {
                f"{name}-{number} envoy_admin": port for number, port in enumerate(gateway.more_envoy_admins, start=2)
            }
        return ports


@dataclass(frozen=True, slots=True)
class Busy:
    """A port that somebody else has; `holder` says who, as far as this user may know."""

    port: int
    purpose: str
    holder: str

    def __str__(self) -> str:
        return f"port {self.port} ({self.purpose}) is taken by {self.holder}"


class PortsTakenError(Exception):
    """Some port of the plan is in use: the stack cannot start, and nothing has been started."""

    def __init__(self, busy: Sequence[Busy]) -> None:
        self.busy = tuple(busy)
        super().__init__("; ".join(map(str, busy)) + ". Free it, or choose another APIBANK_PORT_BASE.")


def plan_ports(
    base: int, gateways: Sequence[str] = KNOWN_GATEWAYS, envoys: Mapping[str, int] | None = None
) -> PortPlan:
    """The ports of a stack with these gateways, and with so many Envoys of each, one unless named.

    Raises ValueError where they do not fit.
    """
    envoys = envoys or {}
    for name, count in envoys.items():
        if name not in gateways:
            raise ValueError(f"there is no gateway {name} to run {count} Envoys of; there are: {', '.join(gateways)}")
        if not 1 <= count <= MOST_ENVOYS:
            raise ValueError(f"a gateway has 1 to {MOST_ENVOYS} Envoys on one machine, not {count}")
    if not 1 <= base <= 65_535 - _LAST:
        raise ValueError(f"the port base must lie between 1 and {65_535 - _LAST}, so that every port exists")
    others = [name for name in gateways if name not in KNOWN_GATEWAYS]
    if len(KNOWN_GATEWAYS) + len(others) > MOST_GATEWAYS:
        raise ValueError(f"one stack has ports for {MOST_GATEWAYS} gateways; too many: {', '.join(others)}")
    places = {name: index for index, name in enumerate((*KNOWN_GATEWAYS, *others))}
    return PortPlan(
        base=base,
        https=base + _HTTPS,
        http=base + _HTTP,
        internal_https=base + _INTERNAL_HTTPS,
        xds=base + _XDS,
        control_api=base + _CONTROL_API,
        issuer_customer=base + _ISSUER_CUSTOMER,
        issuer_admin=base + _ISSUER_ADMIN,
        valkey=base + _VALKEY,
        portal=base + _PORTAL,
        telemetry=base + _TELEMETRY,
        telemetry_metrics=base + _TELEMETRY_METRICS,
        agents=base + _AGENTS,
        gateways={name: _gateway_ports(base, places[name], envoys.get(name, 1)) for name in gateways},
    )


def _gateway_ports(base: int, place: int, envoys: int) -> GatewayPorts:
    central = place == 0
    more = base + _MORE_ADMINS + 10 * place
    return GatewayPorts(
        envoy_admin=base + _ADMIN + place,
        more_envoy_admins=tuple(range(more + 2, more + 1 + envoys)),
        authz=base + _AUTHZ + place,
        ratelimit=base + _RATELIMIT + place,
        metrics=base + _METRICS + place,
        mesh=None if central else base + _MESH + place,
        upstream=None if central else base + _UPSTREAM + place - 1,
    )


class Claim:
    """A stack's claim to its base, held as a listening socket: a second stack with the same base finds it taken.

    Looking whether ports are free cannot tell two stacks apart that start at the same moment; this can.
    """

    def __init__(self, plan: PortPlan) -> None:
        self._socket = socket.socket()
        try:
            self._socket.bind((LOOPBACK, plan.base + _CLAIM))
            self._socket.listen(1)
        except OSError:
            self._socket.close()
            port = plan.base + _CLAIM
            raise PortsTakenError([Busy(port, "the stack's claim", holder_of(port))]) from None

    def release(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def claim_ports(plan: PortPlan) -> Claim:
    """Claim the base and see that every port of the plan is free. Raises PortsTakenError with all that are not."""
    claim = Claim(plan)
    busy = [Busy(port, purpose, holder_of(port)) for purpose, port in plan.named().items() if not is_free(port)]
    if busy:
        claim.release()
        raise PortsTakenError(busy)
    return claim


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a listener could be opened now. Connections in TIME_WAIT do not count, as they do not for Envoy."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def holder_of(port: int) -> str:
    """Who listens on a TCP port: pid and command, or that the system does not tell this user."""
    try:
        listening = [
            one
            for one in psutil.net_connections(kind="tcp")
            if one.laddr and one.laddr.port == port and one.status == psutil.CONN_LISTEN
        ]
    except psutil.AccessDenied:  # macOS tells only root
        listening = []
    for one in listening:
        if one.pid is not None:
            try:
                command = " ".join(psutil.Process(one.pid).cmdline())
            except psutil.Error:
                command = ""
            return f"process {one.pid} ({command[:200] or 'its command cannot be read'})"
    return "a process that this user may not see"
