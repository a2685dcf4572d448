"""Where the microseconds of a decision go, without the wire (`bench.authz` prints it)."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import orjson
import psutil
from prometheus_client import CollectorRegistry
from pydantic import JsonValue

from authz.answers import Answers
from authz.audit import JsonLinesSink, Pseudonyms, audit_event
from authz.case import Case
from authz.identity import base64url
from authz.identity.jwt import VerifiedToken, verify_token
from authz.identity.verified_tokens import VerifiedTokens
from authz.metrics import AuthzMetrics
from authz.pipeline import CHECKS, decide
from authz.service import CheckService
from authz.wire import read_request
from bench.authz_loads import CONTENT, LOADS, NOW, authorizer, facts, rules, token, token_checks
from bench.hostile_checks import microseconds
from protos import ext_authz_pb2 as pb

_ROUNDS = 50
_Item = TypeVar("_Item")


def decisions() -> dict[str, float]:
    """Of each load's first check, read and then decided, and of the parts beside the decision."""
    found: dict[str, float] = {}
    for name, load in LOADS.items():
        if name != "constant":
            known = rules(load.gateway, load.remembers)
            asked = read_request(pb.CheckRequest.FromString(load.checks()[0]))
            found[name] = microseconds(lambda asked=asked, known=known: decide(asked, known, facts(), NOW))  # type: ignore[misc]
    raw = token_checks()[0]
    message = pb.CheckRequest.FromString(raw)
    asked = read_request(message)
    decision = decide(asked, rules("marketing"), facts(), NOW)
    spoilt = read_request(pb.CheckRequest.FromString(token_checks(spoil=True)[0]))
    refused = decide(spoilt, rules("marketing"), facts(), NOW)
    content: dict[str, JsonValue] = {**CONTENT}  # type: ignore[dict-item]
    schema = rules("marketing").routes["content"].methods["POST"].schema
    answers = Answers()
    signing_input, encoded = token(0).encode().rsplit(b".", 1)
    (key_set,) = facts().key_sets.values()
    key, signature = key_set.keys["k1"], base64url.decode(encoded) or b""
    found |= {
        "(verify RS256 alone)": microseconds(lambda: key.verifies(signature, signing_input)),
        "(parse the check)": microseconds(lambda: pb.CheckRequest.FromString(raw)),
        "(read the request)": microseconds(lambda: read_request(message)),
        "(write the answer)": microseconds(lambda: answers.write(decision, asked)),
        "(write a refusal)": microseconds(lambda: answers.write(refused, spoilt)),
        "(body against its schema)": microseconds(lambda: None if schema is None else schema.errors(content)),
    }
    return found


def memory_of_tokens(count: int) -> float:
    """Megabytes that so many remembered tokens of as many callers take."""
    asked = read_request(pb.CheckRequest.FromString(token_checks()[0]))
    text = asked.headers["authorization"].removeprefix("Bearer ")
    found = verify_token(text, rules("marketing").issuers, facts(), NOW)
    if not isinstance(found, VerifiedToken):
        raise SystemExit(f"a good token was refused: {found}")
    verified = VerifiedTokens(capacity=count)
    before = psutil.Process().memory_info().rss
    for number in range(count):
        subject, tenant = f"user_{number}", f"tenant_{number}"
        scopes = frozenset({f"marketing:{number}"})
        claims = replace(found.claims, jti=f"token-{number}", subject=subject, tenant=tenant, scopes=scopes)
        principal = replace(found.principal, subject=subject, tenant=tenant, scopes=scopes)
        one = replace(found, claims=claims, principal=principal)
        verified.remember(number.to_bytes(32, "big"), one, len(text), NOW)
    return round((psutil.Process().memory_info().rss - before) / 1e6, 1)


def stages() -> dict[str, float]:
    """Microseconds of CPU that each stage of a check with a remembered token takes.

    Every stage goes through the checks of all callers, one after the other, so none finds its data at hand because it
    has just been there. `in one go` is what the server does with a check; the others are its parts, and a little more.
    """
    known, held, pseudonyms, answers = rules("marketing"), facts(), Pseudonyms(), Answers()
    metrics = AuthzMetrics(CollectorRegistry(), "marketing")
    raws = token_checks()
    messages = [pb.CheckRequest.FromString(raw) for raw in raws]
    asked = [read_request(message) for message in messages]
    decided = [(each, decide(each, known, held, NOW)) for each in asked]
    events = [audit_event(each, decision, NOW, pseudonyms) for each, decision in decided]
    found = {
        "parse the check": _each(raws, pb.CheckRequest.FromString),
        "read the request": _each(messages, read_request),
        "decide": _each(asked, lambda each: decide(each, known, held, NOW)),
    }
    for check in CHECKS:
        cases = [_checked_until(check, Case(each, known, known.routes[each.route], held, NOW)) for each in asked]
        found[f"  {check.__name__}"] = _each(cases, check)
    sink = JsonLinesSink(lambda _: None, capacity=len(events) * (_ROUNDS + 1))
    service = CheckService(authorizer(LOADS["token, remembered"], JsonLinesSink(lambda _: None, capacity=1 << 30)))
    return found | {
        "make the event": _each(decided, lambda each: audit_event(*each, NOW, pseudonyms)),
        "offer the event": _each(events, sink.offer),
        "count": _each(decided, lambda _: metrics.count("content", None, 0.001)),
        "write the answer": _each(decided, lambda each: answers.write(each[1], each[0])),
        "all of it in one go": _each(raws, lambda raw: service.begin(raw, 0.0)),
        "event to JSON, in the writer's thread": _each(events, orjson.dumps),
    }


def _checked_until(check: object, case: Case) -> Case:
    for earlier in CHECKS:
        if earlier is check:
            break
        earlier(case)
    return case


def _each(items: Sequence[_Item], call: Callable[[_Item], object]) -> float:
    least = float("inf")
    for _ in range(_ROUNDS):
        start = time.process_time_ns()
        for item in items:
            call(item)
        least = min(least, time.process_time_ns() - start)
    return round(least / len(items) / 1e3, 1)
