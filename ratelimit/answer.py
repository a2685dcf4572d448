"""What a decision tells the client: the RateLimit headers, Retry-After and the body of the 429.

RateLimit and RateLimit-Policy are those of draft-ietf-httpapi-ratelimit-headers-10; X-RateLimit-* describe the limit
that is closest to its end, for clients that know nothing newer.
"""

import copy
import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import JsonValue

from ratelimit.algorithms import NEVER
from ratelimit.matching import Plan
from ratelimit.rules import USUAL_NAMES, HeaderNames, Headers, Rule
from ratelimit.store import Reading

CONTENT_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "https://waooaw.ai/problems/"
_SECOND: Final = 1_000_000


# What needs no escape in JSON. Envoy says `-` of a header that is not there.
_PLAIN_ID: Final = re.compile(rb"(?!-\Z)[A-Za-z0-9._:=+/-]{1,128}")


def figure_names(names: HeaderNames) -> tuple[str, str, str, str]:
    """The headers with figures; what `Figures.of` returns stands in the same order."""
    return "RateLimit", names.limit, names.remaining, names.reset


FIGURES: Final = figure_names(USUAL_NAMES)
RETRY_AFTER: Final = "Retry-After"


def wants_headers(plan: Plan, admitted: bool) -> bool:
    """Whether an answer has the RateLimit headers, provided that something was counted."""
    wanted = plan.headers is Headers.ALWAYS or (plan.headers is Headers.REFUSAL and not admitted)
    return wanted and any(not rule.shadow for rule in plan.limited)


def fixed_headers(plan: Plan, admitted: bool) -> list[tuple[str, str]]:
    """The headers that are the same in every such answer to one plan."""
    policies = (
        f"{_quoted(rule.name)};q={rule.amount};w={rule.unit.microseconds // _SECOND}"
        for rule in dict.fromkeys(plan.limited)
        if not rule.shadow
    )
    result = [("RateLimit-Policy", ", ".join(policies))]
    if not admitted:
        result += [("Content-Type", CONTENT_TYPE), ("Cache-Control", "no-store")]
    return result


def metadata_of(plan: Plan, readings: Sequence[Reading]) -> dict[str, JsonValue]:
    """What Envoy is told beside the decision: the domain, and the metadata of the limits that are not exceeded.

    Maps are merged, whole trees of them; of two other values in one place, that of the earlier descriptor stays.
    """
    passed: dict[str, JsonValue] = {}
    for rule, reading in zip(plan.limited, readings, strict=True):
        if reading[0] or rule.shadow:
            _merge(passed, rule.metadata)
    told: dict[str, JsonValue] = {"domain": plan.domain}
    return {**told, "metadata": passed} if passed else told


def _merge(into: dict[str, JsonValue], other: Mapping[str, JsonValue]) -> None:
    for name, value in other.items():
        present = into.get(name)
        if isinstance(present, dict) and isinstance(value, dict):
            _merge(present, value)
        elif name not in into:
            into[name] = copy.deepcopy(value)


def problem_body(rule: Rule) -> bytes:
    """The problem document (RFC 9457) of a refusal, but for the id of its request."""
    problem = {
        "type": TYPE_PREFIX + rule.code,
        "title": "Too Many Requests",
        "status": 429,
        "detail": rule.refusal,
        "code": rule.code,
    }
    return json.dumps(problem, ensure_ascii=False, separators=(",", ":")).encode()


def with_request_id(body: bytes, request_id: bytes) -> bytes:
    """A problem document with the id; one that is no plain short text is left out."""
    if not _PLAIN_ID.fullmatch(request_id):
        return body
    return b'%b,"request_id":"%b"}' % (body[:-1], request_id)


class Figures:
    """What the headers of the answers to one plan say in numbers. Limits in shadow are not spoken of."""

    def __init__(self, plan: Plan) -> None:
        self._spoken = [
            (index, _quoted(rule.name), str(rule.amount)) for index, rule in enumerate(plan.limited) if not rule.shadow
        ]

    def of(self, readings: Sequence[Reading]) -> tuple[str, str, str, str]:
        """The values of FIGURES: every limit, the tightest first; then that one's own."""
        spoken = self._spoken
        if len(spoken) > 1:
            spoken = sorted(spoken, key=lambda each: _closeness(readings[each[0]]))
        limits = [
            f"{name};r={readings[index][1]};t={-(-until(readings[index]) // _SECOND)}" for index, name, _ in spoken
        ]
        tightest, _, amount = spoken[0]
        _, remaining, _, _ = readings[tightest]
        return ", ".join(limits), amount, str(remaining), str(-(-until(readings[tightest]) // _SECOND))

    def binding(self, readings: Sequence[Reading]) -> int:
        """The index, in `plan.limited`, of the limit that refused; of several, the one to wait for longest."""
        refusing = [index for index, _, _ in self._spoken if not readings[index][0]]
        if len(refusing) == 1:
            return refusing[0]
        return max(refusing, key=lambda index: _patience(readings[index]))


def retry_after(reading: Reading) -> str | None:
    """Whole seconds after which the request that was refused would pass, rounded up; None if it never will."""
    return None if reading[2] == NEVER else str(-(-reading[2] // _SECOND))


def until(reading: Reading) -> int:
    """Microseconds until a refused request would pass; else, or if it never will, until the counter is fresh."""
    admitted, _, retry_after, reset_after = reading
    return reset_after if admitted or retry_after == NEVER else retry_after


def _closeness(reading: Reading) -> tuple[bool, int, int]:
    # Refusing ones first, the one to wait for longest before the others; then the fewest that remain.
    admitted, remaining, _, reset_after = reading
    return (admitted, remaining, -reset_after) if admitted else (admitted, -_patience(reading), 0)


def _patience(reading: Reading) -> int:
    return 1 << 62 if reading[2] == NEVER else reading[2]


def _quoted(text: str) -> str:
    """A string of RFC 9651 §3.3.3, which has printable ASCII only."""
    plain = "".join(character if " " <= character <= "~" else "?" for character in text)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
