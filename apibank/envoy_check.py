"""What Envoy itself says of a compiled policy: `envoy --mode validate`, and whose fault it is where it refuses.

Envoy judges a configuration as a whole, stops at the first thing that is wrong, and its words often name none of ours.
So what it refuses is taken apart: clusters, then listeners, then routes, halving each time, until one remains.
"""

import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from apibank.private_files import write_private
from policy.load import Loaded
from policy.model import Gateway
from policy.problem import FieldPath, Position
from xds.compiler.names import AUTHZ, RATELIMIT
from xds.compiler.shown import Shown
from xds.compiler.static import Plain, bootstrap, plain_resources, route_names, with_routes
from xds.snapshot import CLUSTER, LISTENER, ROUTE, SHORT_NAMES, Snapshot

_VALIDATE_SECONDS: Final = 60
_LONGEST: Final = 600
_KEY: Final = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL)
_INITIAL: Final = re.compile(r"^.*error initializing configuration '[^']*': ", re.DOTALL)
# Of a violated constraint the innermost reason says what is wrong.
_CONSTRAINT: Final = re.compile(r".*caused by ([^|]*?)\)?\s*$", re.DOTALL)

T = TypeVar("T")


class EnvoyFailedError(Exception):
    """Envoy could not be asked: it does not run on this machine, or did not end in time."""


@dataclass(frozen=True, slots=True)
class EnvoyRefusal:
    """One resource, or one route of it, that Envoy refuses, in its words. `path` is its place in the policy."""

    type_url: str
    name: str
    path: FieldPath
    message: str
    position: Position

    @property
    def resource(self) -> str:
        """As people name it."""
        return f"{SHORT_NAMES[self.type_url]} {self.name}"


def envoy_refusals(binary: Path, snapshot: Snapshot, policy: Loaded[Gateway]) -> list[EnvoyRefusal]:
    """Everything of a policy's snapshot that Envoy refuses; nothing where it takes it whole.

    Runs Envoy once where all is well, and a few times for each thing that is not. Raises EnvoyFailedError.
    """
    with tempfile.TemporaryDirectory(prefix="apibank-validate-") as folder:
        return list(_Judge(binary, Path(folder), plain_resources(snapshot, secrets=True), policy).refusals())


class _Judge:
    def __init__(self, binary: Path, folder: Path, resources: Plain, policy: Loaded[Gateway]) -> None:
        self._binary = binary
        self._folder = folder
        self._resources = resources
        self._policy = policy

    def refusals(self) -> Iterator[EnvoyRefusal]:
        whole = self._words(bootstrap(self._resources))
        if not whole:
            return
        clusters = list(self._resources.get(CLUSTER, {}))
        bad = _culprits(clusters, lambda names: self._words(self._with(CLUSTER, names)))
        for name, words in bad:
            path = tuple(name.split("/")) if name in {AUTHZ, RATELIMIT} else ("upstreams", name)
            yield self._refusal(CLUSTER, name, path, words)
        found = bool(bad)
        # Filters name the clusters of the gateway's own services.
        services = {(CLUSTER, name) for name in (AUTHZ, RATELIMIT) if name not in dict(bad)}
        listeners = list(self._resources.get(LISTENER, {}))
        for name, words in _culprits(listeners, lambda names: self._words(self._with(LISTENER, names, services))):
            found = True
            yield from self._of_listener(name, words, services)
        if not found:
            yield from self._of_the_whole(clusters, listeners, whole)

    def _of_the_whole(self, clusters: Sequence[str], listeners: Sequence[str], words: str) -> Iterator[EnvoyRefusal]:
        """Each part is good and the whole is not: listeners without which it would be are in each other's way."""
        every = [(CLUSTER, name) for name in clusters]
        in_the_way = [
            name
            for name in listeners
            if not self._words(self._with(LISTENER, [one for one in listeners if one != name], every))
        ]
        for name in in_the_way:
            yield self._refusal(LISTENER, name, ("listeners", name), words)
        if not in_the_way:
            yield self._refusal(LISTENER, listeners[0] if listeners else "", (), words)

    def _of_listener(self, name: str, words: str, services: set[tuple[str, str]]) -> Iterator[EnvoyRefusal]:
        routes = route_names(self._resources, name)

        def refused(keep: Sequence[int]) -> str:
            changed = with_routes(self._resources, name, frozenset(keep))
            return self._words(bootstrap(changed, {(LISTENER, name), *services}))

        if not routes or refused(()):
            yield self._refusal(LISTENER, name, ("listeners", name), words)
            return
        known = self._policy.gateway.routes
        # Several routes of Envoy's may serve one of ours, and those of a listener that redirects are none of ours.
        refusals = {
            (("routes", routes[number]) if routes[number] in known else ("listeners", name)): of_route
            for number, of_route in _culprits(range(len(routes)), refused)
        }
        for path, of_route in refusals.items():
            yield self._refusal(ROUTE, name, path, of_route)

    def _with(self, type_url: str, names: Sequence[str], also: Collection[tuple[str, str]] = ()) -> Shown:
        return bootstrap(self._resources, {*((type_url, name) for name in names), *also})

    def _words(self, configuration: Shown) -> str:
        """What Envoy says against it; nothing where it takes it."""
        file = self._folder / "bootstrap.json"
        # It holds private keys.
        write_private(file, json.dumps(configuration).encode())
        command = [str(self._binary), "--mode", "validate", "-c", str(file), "--log-level", "critical"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_VALIDATE_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EnvoyFailedError(f"{self._binary} could not be asked: {error}") from error
        return "" if done.returncode == 0 else _said(done.stderr)

    def _refusal(self, type_url: str, name: str, path: FieldPath, words: str) -> EnvoyRefusal:
        return EnvoyRefusal(type_url, name, path, words, self._policy.positions.nearest(path))


def _culprits(items: Sequence[T], refused: Callable[[Sequence[T]], str]) -> list[tuple[T, str]]:
    """Each of the items that is refused by itself, with the words against it."""
    if not items or not (words := refused(items)):
        return []
    if len(items) == 1:
        return [(items[0], words)]
    half = len(items) // 2
    return _culprits(items[:half], refused) + _culprits(items[half:], refused)


def _said(stderr: str) -> str:
    """Envoy's reason without what surrounds it. It repeats the whole configuration, private keys included."""
    text = stderr.rstrip()
    # A configuration that it repeats ends with a brace at the beginning of a line, and the reason follows.
    _, repeated, reason = text.rpartition("\n}\n: ")
    if not repeated:
        _, repeated, reason = text.rpartition("\n}: ")
    if not repeated:
        reason = _INITIAL.sub("", text)
    if (constraint := _CONSTRAINT.fullmatch(reason)) is not None:
        reason = constraint[1]
    return " ".join(_KEY.sub("[redacted]", reason).split())[:_LONGEST] or "no reason"
