"""Decisions as serialised answers. That of an allowed caller is the same each time, and is made once."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from authz.decision import Decision
from authz.denied import write_denied, write_failure
from authz.principal import Principal
from authz.request import Request
from authz.rules import RouteRules
from authz.wire import write_allowed, write_told
from policy.descriptors import CLIENT_ADDRESS_HEADER, SPOOFABLE_HEADERS, SPOOFABLE_PREFIXES

_SPOOFABLE: Final = frozenset(SPOOFABLE_HEADERS)
_MOST_NAMES: Final = 4096
_LONGEST_NAME: Final = 64
# Octets of an answer that is remembered; ordinary ones have 500, and only many scopes make more of it than this.
_LARGEST: Final = 2048


class Answers:
    """CheckResponses of one gateway."""

    _CAPACITY: Final = 16_384

    def __init__(self) -> None:
        # Ordered, since the first of a dictionary is hard to find where many have left it.
        self._allowed: OrderedDict[tuple[Principal, RouteRules], bytes] = OrderedDict()
        # Names of headers that were found to claim nothing. Written by Envoy over whatever the client sent is the
        # first of them; services may read it.
        self._harmless: set[str] = {CLIENT_ADDRESS_HEADER}

    def write(self, decision: Decision, request: Request) -> bytes:
        """A serialised CheckResponse."""
        if decision.refusal is not None:
            return write_denied(decision, decision.refusal, request.request_id)
        route = decision.route
        if route is None:
            # Nothing is allowed without a route; a decision that says otherwise is a fault of ours.
            return write_failure(request.request_id)
        answer = self._allow(decision.principal, route, request)
        return answer + write_told(decision.told) if decision.told else answer

    def _allow(self, principal: Principal, route: RouteRules, request: Request) -> bytes:
        if principal.counts_as:
            # Made for this one answer, which would only displace others.
            return write_allowed(principal, route, self._spoofed(request.headers))
        if not self._harmless.issuperset(request.headers):
            spoofed = self._spoofed(request.headers)
            if spoofed:
                return write_allowed(principal, route, spoofed)
        answer = self._allowed.get((principal, route))
        if answer is None:
            answer = write_allowed(principal, route)
            if len(answer) <= _LARGEST:
                if len(self._allowed) >= self._CAPACITY:
                    self._allowed.popitem(last=False)
                self._allowed[principal, route] = answer
        return answer

    def _spoofed(self, headers: Mapping[str, str]) -> list[str]:
        """Names that say who calls, from where or what for, and that only a client can have sent."""
        spoofed = []
        for name in headers:
            if _is_claim(name):
                spoofed.append(name)
            elif len(name) <= _LONGEST_NAME:
                self._harmless.add(name)
        if len(self._harmless) > _MOST_NAMES:
            # Names that nobody uses are sent by one who wants this to be full.
            self._harmless = {CLIENT_ADDRESS_HEADER}
        return spoofed


def _is_claim(name: str) -> bool:
    return (name.startswith(SPOOFABLE_PREFIXES) or name in _SPOOFABLE) and name != CLIENT_ADDRESS_HEADER
