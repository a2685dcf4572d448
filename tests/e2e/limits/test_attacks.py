"""Whoever wants another's share, or no limit at all: by names, headers, addresses, paths and trailers."""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from urllib.parse import urlsplit

import pytest
import redis

from tests.support.client import CONTENT, Client, problem
from tests.support.evidence import Evidence
from tests.support.limits import Counters
from tests.support.raw import Door, head, send, send_http2
from tests.support.stack import Stack
from tests.support.tokens import Fresh, Tokens

PATH = "/api/marketing/content"


@pytest.fixture(scope="module")
def evidence(stack: Stack) -> Evidence:
    return Evidence(stack)


@pytest.fixture(scope="module")
def store(stack: Stack) -> Iterator["redis.Redis"]:
    """The counters' Valkey itself."""
    place = urlsplit(stack.ready.store)
    with redis.Redis(host=str(place.hostname), port=int(place.port or 6379)) as client:
        yield client


# Claims of a caller who is not the victim, a tenant, however it is spelt. VICTIM stands for its name.
NAMES: dict[str, dict[str, object]] = {
    "its name as a subject": {"sub": "VICTIM"},
    "the descriptor's spelling": {"sub": "tenant:VICTIM"},
    "two of them": {"sub": "x", "tenant_id": "VICTIM,tenant:VICTIM"},
    "a separator of keys": {"tenant_id": "VICTIM|day"},
    "another entry": {"tenant_id": "VICTIM_tier_business"},
    "a hash tag of the cluster": {"tenant_id": "{marketing}VICTIM"},
    "a glob": {"tenant_id": "VICTI*"},
    "capitals": {"tenant_id": "VICTIM-A"},
    "a dot": {"tenant_id": "VICTIM."},
    "a space behind": {"tenant_id": "VICTIM "},
    "a zero behind": {"tenant_id": "VICTIM\0"},
    "a line behind": {"tenant_id": "VICTIM\r\nx-waooaw-tier: internal"},
    "another alphabet": {"tenant_id": "VICTIM\u0430"},
    "a mark over it": {"tenant_id": "VICTIM\u0301"},
    "nothing wide": {"tenant_id": "VICTIM\u200b"},
    "a list": {"tenant_id": ["VICTIM"]},
    "an object": {"tenant_id": {"VICTIM": 1}},
    "unknown": {"sub": "unknown"},
    "everybody": {"tenant_id": "*"},
    "very long": {"tenant_id": "VICTIM" * 400},
}


@pytest.mark.attack("A71")
@pytest.mark.requirement("R104")
@pytest.mark.parametrize("case", NAMES)
def test_no_name_reaches_the_counter_of_another(
    case: str, client: Client, counters: Counters, tokens: Tokens, fresh: Fresh
) -> None:
    victim = fresh("victim")
    claims = json.loads(json.dumps(NAMES[case]).replace("VICTIM", victim))
    token = tokens.of("marketing", fresh, tier="free", **claims)
    ask = partial(counters.remaining, "marketing", "day", tenant=victim, tier="free")
    statuses = {client.call("GET", PATH, token=token).status_code for _ in range(3)}
    # What is no name is no credential.
    assert statuses in ({200}, {401})
    assert ask() == 10
    # Neither is the other refused for what the victim has used.
    assert counters.charge("marketing", 10, limit="day", tier="free", caller=f"tenant:{victim}")
    assert client.call("GET", PATH, token=token).status_code in statuses


@pytest.mark.attack("A71")
@pytest.mark.requirement("R42", "R67", "R104")
def test_a_tenant_does_not_grow_by_its_people(client: Client, tokens: Tokens, fresh: Fresh) -> None:
    tenant = fresh("tenant")
    people = [tokens.of("marketing", fresh, tier="free", tenant_id=tenant) for _ in range(12)]
    assert [client.call("GET", PATH, token=one).status_code for one in people] == [200] * 10 + [429] * 2


DISGUISES: dict[str, Mapping[str, str]] = {
    "a limit by the name of the filter's own header": {"x-envoy-ratelimited": "false", "x-ratelimit-remaining": "99"},
    "internal": {"x-envoy-internal": "true", "x-forwarded-for": "10.0.0.1"},
    "another address of Envoy's": {"x-envoy-external-address": "192.0.2.99", "x-envoy-original-path": "/healthz"},
    "more tries": {"x-envoy-retry-on": "5xx,retriable-4xx", "x-envoy-max-retries": "9"},
    "a hedge": {"x-envoy-hedge-on-per-try-timeout": "true", "x-envoy-upstream-rq-per-try-timeout-ms": "1"},
    "no time to be counted": {"x-envoy-upstream-rq-timeout-ms": "1", "x-envoy-expected-rq-timeout-ms": "1"},
    "a degraded host": {"x-envoy-degraded": "true", "x-envoy-immediate-health-check-fail": "true"},
    "a stage or a key of limits": {"x-envoy-ratelimit-stage": "9", "x-ratelimit-key": "none", "x-ratelimit-limit": "0"},
    "hits of its own": {"x-envoy-hits-addend": "0", "hits-addend": "0", "x-hits-addend": "0"},
    "metadata": {"x-envoy-auth-metadata": "{}", "x-waooaw-tier": "internal", "x-waooaw-tenant": "other"},
    "a tracer's force": {"x-client-trace-id": "1", "x-envoy-force-trace": "true", "x-b3-sampled": "1"},
    "a name of the caller": {"x-waooaw-subject": "other", "x-waooaw-caller": "tenant:other", "caller": "tenant:other"},
}


@pytest.mark.attack("A71")
@pytest.mark.requirement("R104")
@pytest.mark.parametrize("case", DISGUISES)
def test_no_header_switches_a_limit_off(
    case: str, client: Client, counters: Counters, evidence: Evidence, tokens: Tokens, fresh: Fresh
) -> None:
    subject = fresh("user")
    token = tokens.of("marketing", fresh, sub=subject, tier="free")
    assert counters.charge("marketing", 9, limit="day", tier="free", caller=f"sub:{subject}")
    assert client.call("GET", PATH, token=token, headers=DISGUISES[case]).status_code in {200, 504}
    assert counters.remaining("marketing", "day", subject=subject, tier="free") == 0
    with evidence.attempt() as attempt:
        answer = client.call("GET", PATH, token=token, headers=DISGUISES[case])
        assert (answer.status_code, problem(answer)["code"]) == (429, "daily_limit_reached")
        attempt.reached_nobody()


@pytest.mark.attack("A71")
@pytest.mark.requirement("R104")
def test_a_trailer_names_nobody(
    stack: Stack, counters: Counters, evidence: Evidence, tokens: Tokens, fresh: Fresh
) -> None:
    subject = fresh("user")
    token = tokens.of("marketing", fresh, sub=subject, tier="free")
    assert counters.charge("marketing", 9, limit="day", tier="free", caller=f"sub:{subject}")
    door = Door(stack.ready.central.https, stack.ca_file)
    fields = [(":method", "POST"), (":path", PATH), (":scheme", "https"), (":authority", "127.0.0.1")]
    fields += [("authorization", f"Bearer {token}"), ("content-type", "application/json")]
    claims = [("x-waooaw-tenant", "other"), ("x-waooaw-tier", "business"), ("x-waooaw-client-address", "192.0.2.9")]

    def post() -> int | None:
        answer = send_http2(door, fields, json.dumps(CONTENT).encode(), trailers=claims)
        return None if answer is None else answer.status_code

    assert post() == 200
    with evidence.attempt() as attempt:
        assert post() == 429
        attempt.reached_nobody()


@pytest.mark.attack("A66", "A71")
@pytest.mark.requirement("R29", "R104")
def test_an_address_is_the_one_that_the_trusted_hop_wrote_and_a_network_is_one_client(
    client: Client, counters: Counters, store: "redis.Redis"
) -> None:
    def ask(forwarded: str) -> int:
        headers = {"x-forwarded-for": forwarded, "x-real-ip": "192.0.2.1", "x-waooaw-client-address": "192.0.2.2"}
        return client.call("GET", "/api/platform/health", headers=headers).status_code

    ask("2001:db8:7::1")
    before = int(store.dbsize())
    # Whatever a client claims stands ahead of what its proxy has seen.
    for number in range(2, 12):
        assert ask(f"203.0.113.{number}, 2001:db8:7::{number:x}") == 200
    assert counters.remaining("platform", "health", address="2001:db8:7::ffff") == 89
    assert counters.remaining("platform", "health", address="2001:db8:7:1::1") == 100
    for number in range(2, 12):
        assert counters.remaining("platform", "health", address=f"203.0.113.{number}") == 100
    # And eleven addresses of a network need no more room than one.
    assert int(store.dbsize()) <= before + 1
    assert counters.charge("platform", 89, limit="health", address="2001:db8:7::5")
    assert ask("2001:db8:7::6") == 429
    assert ask("2001:db8:7:1::6") == 200


SPELLINGS = {
    "A64 capitals": "/api/platform/Admin/logs",
    "A64 capitals at the edge": "/API/platform/admin/logs",
    "A64 two slashes": "/api/platform//admin/logs",
    "A64 an escape": "/api/platform/%61dmin/logs",
    "A64 an escaped slash": "/api/platform%2fadmin/logs",
    "A64 a way up": "/api/platform/metrics/../admin/logs",
    "A64 an escaped way up": "/api/platform/metrics/%2e%2e/admin/logs",
    "A64 a parameter": "/api/platform/admin;x=1/logs",
    "A64 a dot": "/api/platform/./admin/logs",
    "A64 a fragment": "/api/platform/admin/logs#x",
    "A64 a query": "/api/platform/admin/logs?x=/api/platform/metrics",
    "A64 a backslash": "/api/platform\\admin/logs",
    "A64 a whole address": "https://127.0.0.1/api/platform/admin/logs",
}


@pytest.mark.attack("A64")
@pytest.mark.requirement("R34", "R104")
@pytest.mark.parametrize("case", SPELLINGS)
def test_no_spelling_of_a_path_leads_around_the_limit_of_its_route(
    case: str, stack: Stack, counters: Counters, evidence: Evidence, tokens: Tokens, fresh: Fresh
) -> None:
    admin = fresh("admin")
    token = tokens.admin(fresh, sub=admin)
    assert counters.charge("platform", 50, limit="admin", tier="internal", caller=f"sub:{admin}")
    with evidence.attempt() as attempt:
        door = Door(stack.ready.central.https, stack.ca_file)
        answer = send(door, head("GET", SPELLINGS[case], [("authorization", f"Bearer {token}")]))
        assert answer.status_code in {307, 400, 403, 404, 429}, answer.text
        attempt.reached_nobody()


@pytest.mark.attack("A66")
@pytest.mark.requirement("R104")
def test_no_counter_holds_a_name_and_none_is_longer_for_a_long_one(
    client: Client, store: "redis.Redis", tokens: Tokens, fresh: Fresh
) -> None:
    subject = fresh("user") + "-" + "n" * 200
    assert client.call("GET", PATH, token=tokens.of("marketing", fresh, sub=subject, tier="free")).status_code == 200
    keys = [bytes(key) for key in store.scan_iter(match="rl:*", count=1000)]
    assert len(keys) > 3
    assert max(map(len, keys)) <= 100
    assert [key for key in keys if b"user" in key or b"nnnn" in key] == []
