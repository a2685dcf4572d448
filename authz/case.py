"""One request on its way through the checks, with what has been found out about it so far."""

from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from pydantic import JsonValue

from authz.addresses import Address, read_address
from authz.decision import MissingKey, NonceClaim, Shadowed
from authz.facts import Facts
from authz.principal import NOBODY, Principal
from authz.request import Request
from authz.rules import MethodRules, RouteRules, Rules
from policy.descriptors import CLIENT_ADDRESS_HEADER


class NoDocument(Enum):
    """The request has no body that was read (which differs from the JSON text `null`)."""

    NONE = "none"


NO_DOCUMENT: Final = NoDocument.NONE


@dataclass(slots=True)
class Case:
    """The inputs of a decision, then what the checks add: who, by which method's rules, and with what document."""

    request: Request
    rules: Rules
    route: RouteRules
    facts: Facts
    # Seconds since the epoch.
    now: float
    principal: Principal = NOBODY
    method: MethodRules | None = None
    document: JsonValue | Literal[NoDocument.NONE] = NO_DOCUMENT
    claim: NonceClaim | None = None
    missing_key: MissingKey | None = None
    shadowed: tuple[Shadowed, ...] = ()
    # Nobody showed a credential, and the mode of the route lets nobody pass.
    unknown: bool = False

    @property
    def asks(self) -> bool:
        """Whether it matters who calls."""
        return not (self.route.public or self.unknown)

    @property
    def address(self) -> Address | None:
        """The client's address as Envoy wrote it, never as the client says; None where there is none."""
        text = self.request.headers.get(CLIENT_ADDRESS_HEADER)
        return None if text is None else read_address(text)
