"""Which route a request takes: what Envoy does with a path, without an Envoy.

The rules are those of the connection manager and the routes that `xds.compiler` makes; tests/contract/policy_commands
holds them against a real Envoy. Queries are ignored, and so are methods: a route of another method is still the route.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import re2

from policy import model
from policy.model import Gateway
from policy.rewriting import Redirect
from policy.route import Route

_CHALLENGE: Final = "/.well-known/acme-challenge"
# What Envoy decodes in a path: the characters that need no escape (RFC 3986 §2.3).
_UNRESERVED: Final = re.compile(r"%(?:2[DdEe]|3[0-9]|4[1-9A-Fa-f]|5[0-9Aa]|5[Ff]|6[1-9A-Fa-f]|7[0-9AaEe])")
# What Envoy escapes.
_ESCAPED: Final = re.compile(r"[^!$-;=@-Z\[\]_a-z~]|\\")
# A dot segment with parameters, to some services a dot segment like any other: Envoy drops the parameters. It looks
# for them before it decodes, so one with escaped dots stays, which authorization refuses.
_DOTS_WITH_PARAMETERS: Final = re.compile(r"(?<=/)(\.\.?);[^/]*")
_ESCAPED_SLASH: Final = re.compile(r"%(?:2[Ff]|5[Cc])")


@dataclass(frozen=True, slots=True)
class Match:
    """The route of a request; `path` is what Envoy has made of the one that was asked for."""

    path: str
    route: str
    # The path of the route is that of the request, and not only the beginning of it.
    whole: bool
    # Other routes that would match, had this one not been tried before them.
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NoRoute:
    """Nobody's request: 400 for a path that is refused, 301 where everything goes to https, else 404."""

    path: str
    status: int
    detail: str


@dataclass(frozen=True, slots=True)
class Challenge:
    """An ACME server's request (RFC 8555 §8.3), on a listener that else only redirects."""

    path: str
    upstream: str


def matched(gateway: Gateway, listener: str, path: str) -> Match | NoRoute | Challenge:
    """What a listener does with a path, which starts with / and may have a query. KeyError for an unknown listener."""
    door = gateway.listeners[listener]
    plain = normalised(path)
    if plain is None:
        return NoRoute(path, 400, refused_because(path))
    if door.redirect_to_https_port is not None:
        if door.acme_challenge is not None and _below(_CHALLENGE, plain):
            return Challenge(plain, door.acme_challenge)
        return NoRoute(plain, 301, f"everything here is sent to https on port {door.redirect_to_https_port}")
    found = [name for name, route in tried(gateway, listener) if serves(route, plain)]
    if not found:
        return NoRoute(plain, 404, f"no route of {listener} has this path")
    first = gateway.routes[found[0]]
    return Match(plain, found[0], first.path == plain, tuple(found[1:]))


def tried(gateway: Gateway, listener: str) -> Iterator[tuple[str, Route]]:
    """The routes of a listener in the order in which Envoy tries them: the longest first, exact before prefix."""

    def place(item: tuple[str, Route]) -> tuple[int, str, bool, str]:
        name, route = item
        return -len(route.path), route.path, route.match is model.Match.PREFIX, name

    here = [(name, route) for name, route in gateway.routes.items() if listener in gateway.listeners_of(route)]
    yield from sorted(here, key=place)


def serves(route: Route, path: str) -> bool:
    """Whether a normalised path is the route's, by itself. A prefix takes whole segments."""
    return path == route.path if route.match is model.Match.EXACT else _below(route.path, path)


def normalised(path: str) -> str | None:
    """The path as Envoy sees it when it looks for a route, without its query; None where it answers 400 instead."""
    asked = path.partition("?")[0]
    if refused_because(path):
        return None
    without = _DOTS_WITH_PARAMETERS.sub(r"\1", asked)
    decoded = _UNRESERVED.sub(lambda escape: chr(int(escape[0][1:], 16)), without).replace("\\", "/")
    escaped = _ESCAPED.sub(lambda odd: "".join(f"%{octet:02X}" for octet in odd[0].encode()), decoded)
    return _merged(_without_dots(escaped))


def refused_because(path: str) -> str:
    """Why Envoy answers 400, before it asks anybody; empty where it does not."""
    asked = path.partition("?")[0]
    if "#" in path:
        return "a path with a fragment (#) is refused"
    if _ESCAPED_SLASH.search(asked):
        return "a path with an escaped slash (%2F, %5C) is refused"
    if "%00" in _DOTS_WITH_PARAMETERS.sub(r"\1", asked):
        return "a path with an escaped NUL (%00) is refused"
    return ""


def forwarded(route: Route, path: str) -> str:
    """The path that the service sees, of a normalised one; the query goes along unchanged."""
    rewrite = route.rewrite
    if rewrite is None:
        return path
    if rewrite.prefix is not None:
        return _replaced(route, rewrite.prefix, path)
    if rewrite.path is not None:
        return rewrite.path
    if rewrite.regex is not None and rewrite.substitution is not None:
        return str(re2.sub(rewrite.regex, rewrite.substitution, path))
    return path


def redirected(route: Route, to: Redirect, path: str) -> str:
    """The path to which a client is sent, of a normalised one."""
    if to.path is not None:
        return to.path
    return path if to.prefix is None else _replaced(route, to.prefix, path)


def _below(prefix: str, path: str) -> bool:
    return prefix == "/" or path == prefix or path.startswith(f"{prefix}/")


def _replaced(route: Route, new: str, path: str) -> str:
    """The new text in the place of the route's own path, without losing or doubling a slash between the two."""
    if route.match is model.Match.EXACT:
        return new
    if route.path == "/":
        return f"{new.rstrip('/')}/{path[1:]}"
    rest = path.removeprefix(route.path)
    return f"/{rest.removeprefix('/')}" if new == "/" else new + rest


def _without_dots(path: str) -> str:
    """RFC 3986 §5.2.4: an empty segment is a segment, until slashes are merged."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for number, segment in enumerate(segments):
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
            continue
        if number == len(segments) - 1:
            kept.append("")
    return "/" + "/".join(kept)


def _merged(path: str) -> str:
    # Envoy leaves two of a path that is nothing but slashes.
    if "//" not in path:
        return path
    return "/" + "/".join(filter(None, path.split("/"))) + ("/" if path.endswith("/") else "")
