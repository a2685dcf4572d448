"""Agents' signatures: what they must cover, how long they hold, and that nothing under them can be exchanged."""

import base64
import hashlib
from dataclasses import replace

import pytest

from authz.decision import NonceClaim, Refusal
from authz.facts import AgentSecrets, Facts
from authz.identity.hmac_signature import SignatureRules, verify_signature
from authz.principal import Principal
from authz.reasons import Reason
from authz.request import Request
from tests.unit.authz.world import AGENT_SECRET, AGENTS, NOW, facts, request, signed
from waooaw_signing import content_digest, signature, signature_base
from waooaw_signing.signing import COMPONENTS, signature_parameters

RULES = SignatureRules(60, "agent", "internal")
BODY = b'{"sender": "content"}'
NONCE = "nonce-of-the-test"


def verify(asked: Request, known: Facts | None = None, now: float = NOW) -> tuple[Principal, NonceClaim] | Refusal:
    return verify_signature(asked, RULES, known or facts(), now)


def good(found: tuple[Principal, NonceClaim] | Refusal) -> bool:
    return not isinstance(found, Refusal)


def handmade(
    components: tuple[str, ...] = COMPONENTS,
    parameters: dict[str, object] | None = None,
    headers: dict[str, str] | None = None,
    secret: bytes = AGENT_SECRET,
    written: str | None = None,
    **changes: object,
) -> Request:
    """A request signed by hand, so that each part of the signature can be odd while the HMAC itself is right."""
    stated = {
        "created": int(NOW),
        "nonce": NONCE,
        "keyid": "content",
        "alg": "hmac-sha256",
        "tag": "waooaw-agent",
        **(parameters or {}),
    }
    stated = {name: value for name, value in stated.items() if value is not ...}
    covered = written or signature_parameters(components, stated)  # type: ignore[arg-type]
    sent = {"content-digest": content_digest(BODY), "content-type": "application/json", **(headers or {})}
    values = {
        "@method": "POST",
        "@authority": "agents.example.com",
        "@path": "/api/agents/vision",
        "@query": "?",
        "@scheme": "https",
        "@request-target": "/api/agents/vision",
        "@unknown": "x",
        "signature": "x",
        **sent,
    }
    base = signature_base(values, tuple(dict.fromkeys(components)), covered)
    sent |= {"signature-input": f"sig1={covered}", "signature": f"sig1=:{signature(base, secret)}:"}
    made = request(
        "vision",
        "/api/agents/vision",
        "POST",
        sent,
        body=BODY,
        rules=AGENTS,
        authority="agents.example.com",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.requirement("R24", "R60")
def test_a_good_signature_says_which_agent_calls_and_which_nonce_it_spends() -> None:
    found = verify(handmade())
    assert not isinstance(found, Refusal)
    principal, claim = found
    assert (principal.agent, principal.role, principal.tier, principal.caller) == (
        "content",
        "agent",
        "internal",
        "agent:content",
    )
    assert claim == NonceClaim("content", NONCE, 131)


EXCHANGED = {
    "method": {"method": "PUT"},
    "path": {"path": "/api/agents/memory"},
    "path in other letters": {"path": "/api/agents/visio%6e"},
    "query": {"query": "a=1"},
    "authority": {"authority": "other.example.com"},
    "port": {"authority": "agents.example.com:8443"},
    "trailing dot": {"authority": "agents.example.com."},
    "body": {"body": BODY + b" "},
    "no body": {"body": None},
}


@pytest.mark.parametrize("behind", [0, 1, 5, 10])
def test_a_nonce_is_kept_until_a_replica_whose_clock_is_behind_refuses_its_signature(behind: int) -> None:
    # Signed by the clock of an agent that is as early as may be.
    early = handmade(parameters={"created": int(NOW) + 60})
    found = verify(early)
    assert not isinstance(found, Refusal)
    over = NOW + found[1].seconds
    assert isinstance(verify(early, now=over - behind), Refusal)


@pytest.mark.attack("A20", "A21")
@pytest.mark.requirement("R60", "R79")
@pytest.mark.parametrize("name", EXCHANGED)
def test_nothing_of_a_signed_request_can_be_exchanged(name: str) -> None:
    found = verify(replace(handmade(), **EXCHANGED[name]))  # type: ignore[arg-type]
    assert isinstance(found, Refusal)
    assert found.reason is Reason.SIGNATURE_INVALID


@pytest.mark.parametrize("authority", ["AGENTS.example.com", "agents.example.com:443", "Agents.Example.Com:443"])
def test_one_authority_has_several_spellings(authority: str) -> None:
    assert good(verify(handmade(authority=authority)))


@pytest.mark.attack("A20")
@pytest.mark.requirement("R60")
@pytest.mark.parametrize("left_out", COMPONENTS)
def test_each_of_the_five_components_must_be_covered(left_out: str) -> None:
    found = verify(handmade(tuple(name for name in COMPONENTS if name != left_out)))
    assert isinstance(found, Refusal)
    assert found.reason is Reason.SIGNATURE_INVALID


def test_more_may_be_covered_and_then_holds_too() -> None:
    components = (*COMPONENTS, "content-type", "x-note", "@scheme", "@request-target")
    asked = handmade(components, headers={"x-note": "a"})
    assert good(verify(asked))
    assert not good(verify(replace(asked, headers={**asked.headers, "x-note": "b"})))
    assert not good(verify(replace(asked, headers={k: v for k, v in asked.headers.items() if k != "x-note"})))


ODD = {
    "covers an unknown component": handmade((*COMPONENTS, "@unknown")),
    "covers nothing": handmade((), written='();created=1;nonce="x"'),
    "covers itself twice": handmade(
        COMPONENTS,
        written='("@method" "@authority" "@path" "@query" "content-digest" "@method");created=1800000000;'
        f'nonce="{NONCE}";keyid="content";alg="hmac-sha256";tag="waooaw-agent"',
    ),
    "capitals in a field name": handmade((*COMPONENTS, "X-Note"), headers={"X-Note": "a"}),
    "no created": handmade(parameters={"created": ...}),
    "created as text": handmade(parameters={"created": str(int(NOW))}),
    "created in milliseconds": handmade(parameters={"created": int(NOW) * 1000}),
    "created before the epoch": handmade(parameters={"created": -int(NOW)}),
    "expired": handmade(parameters={"expires": int(NOW) - 1}),
    "expires as text": handmade(parameters={"expires": "never"}),
    "no nonce": handmade(parameters={"nonce": ...}),
    "short nonce": handmade(parameters={"nonce": "n" * 15}),
    "nonce with a colon": handmade(parameters={"nonce": "n" * 16 + ":x"}),
    "nonce is a number": handmade(parameters={"nonce": 1234567890123456}),
    "no keyid": handmade(parameters={"keyid": ...}),
    "keyid is a number": handmade(parameters={"keyid": 5}),
    "unknown agent": handmade(parameters={"keyid": "nobody"}),
    "no alg": handmade(parameters={"alg": ...}),
    "hmac-sha1": handmade(parameters={"alg": "hmac-sha1"}),
    "rsa": handmade(parameters={"alg": "rsa-pss-sha512"}),
    "alg in capitals": handmade(parameters={"alg": "HMAC-SHA256"}),
    "no tag": handmade(parameters={"tag": ...}),
    "other tag": handmade(parameters={"tag": "other"}),
    "unknown parameter": handmade(parameters={"extra": 1}),
    "other agent's secret": handmade(secret=b"v" * 32),
    "empty secret": handmade(secret=b""),
}


@pytest.mark.attack("A23", "A24", "A26")
@pytest.mark.requirement("R60", "R79")
@pytest.mark.parametrize("name", ODD)
def test_an_odd_signature_is_refused_although_its_hmac_is_right(name: str) -> None:
    found = verify(ODD[name])
    assert isinstance(found, Refusal)
    assert found.reason is Reason.SIGNATURE_INVALID


def with_headers(**changes: str | None) -> Request:
    asked = handmade()
    headers = {**asked.headers, **{name.replace("_", "-"): value for name, value in changes.items()}}
    return replace(asked, headers={name: value for name, value in headers.items() if value is not None})


INPUT = handmade().headers["signature-input"]
SIGNATURE = handmade().headers["signature"]
FIELDS = {
    "no input": with_headers(signature_input=None),
    "no signature": with_headers(signature=None),
    "two labels": with_headers(signature_input=f"{INPUT}, sig2={INPUT[5:]}"),
    "two signatures": with_headers(signature=f"{SIGNATURE}, sig2={SIGNATURE[5:]}"),
    "one label twice": with_headers(signature_input=f"{INPUT},{INPUT}"),
    "labels that differ": with_headers(signature=SIGNATURE.replace("sig1", "sig2")),
    "not a dictionary": with_headers(signature_input="sig1"),
    "created is NaN": with_headers(signature_input=INPUT.replace("1800000000", "NaN")),
    "created is 1e20": with_headers(signature_input=INPUT.replace("1800000000", "1e20")),
    "signature is not ASCII": with_headers(signature="sig1=:é:"),
    "signature is empty": with_headers(signature="sig1=::"),
    "signature is short": with_headers(signature="sig1=:AAAA:"),
    "signature is text": with_headers(signature='sig1="AAAA"'),
    "no digest": with_headers(content_digest=None),
}


@pytest.mark.requirement("R60", "R79")
@pytest.mark.parametrize("name", FIELDS)
def test_fields_that_are_not_one_signature_are_refused(name: str) -> None:
    found = verify(FIELDS[name])
    assert isinstance(found, Refusal)
    assert found.reason is Reason.SIGNATURE_INVALID


@pytest.mark.parametrize(
    "asked",
    [
        with_headers(signature_input="sig1=(" + '"@method" ' * 500 + ")"),
        with_headers(signature="sig1=:" + "A" * 10_000 + ":"),
        handmade(parameters={"nonce": "n" * 129}),
    ],
)
def test_fields_without_measure_are_a_bad_request(asked: Request) -> None:
    found = verify(asked)
    assert isinstance(found, Refusal)
    assert (found.reason, found.status) == (Reason.SIGNATURE_OVERSIZED, 400)


def _digest(algorithm: str, body: bytes) -> str:
    return f"{algorithm}=:{base64.b64encode(hashlib.new(algorithm.replace('-', ''), body).digest()).decode()}:"


@pytest.mark.parametrize(
    ("digest", "accepted"),
    [
        (_digest("sha-256", BODY), True),
        (_digest("sha-512", BODY), True),
        (f"{_digest('sha-256', BODY)}, {_digest('sha-512', BODY)}", True),
        (f"{_digest('sha-256', BODY)}, {_digest('sha-512', b'other')}", False),
        (_digest("sha-256", b"other"), False),
        (_digest("sha-1", BODY), False),
        (f"{_digest('sha-256', BODY)}, md5=:AAAA:", False),
        (f"{_digest('sha-256', BODY)},{_digest('sha-256', BODY)}", False),
        ("sha-256=::", False),
        ("nonsense", False),
    ],
)
def test_every_digest_that_is_given_must_be_the_bodys(digest: str, accepted: bool) -> None:
    assert good(verify(handmade(headers={"content-digest": digest}))) is accepted


@pytest.mark.attack("A23")
@pytest.mark.requirement("R60")
@pytest.mark.parametrize(
    ("now", "holds"),
    [
        (NOW - 60.5, False),
        (NOW - 60, True),
        (NOW, True),
        (NOW + 60, True),
        (NOW + 60.001, False),
        (NOW + 61, False),
        (NOW - 61, False),
    ],
)
def test_a_signature_holds_for_the_window_either_way_and_not_a_moment_longer(now: float, holds: bool) -> None:
    assert good(verify(handmade(), now=now)) is holds


@pytest.mark.requirement("R60")
def test_any_of_an_agents_secrets_signs_while_one_is_rotated() -> None:
    for secret in (b"v" * 32, b"w" * 32):
        assert good(verify(signed(agent="vision", secret=secret)))
    assert not good(verify(signed(agent="vision", secret=b"x" * 32)))


@pytest.mark.attack("A25")
def test_an_unknown_agent_and_a_bad_signature_get_one_answer() -> None:
    found = [verify(signed(agent="nobody")), verify(signed(secret=b"x" * 32))]
    assert {(each.reason, each.sentence) for each in found if isinstance(each, Refusal)} == {
        (Reason.SIGNATURE_INVALID, found[0].sentence)  # type: ignore[union-attr]
    }


def test_secrets_that_were_never_loaded_admit_nobody_and_are_not_the_agents_fault() -> None:
    found = verify(handmade(), facts(agent_secrets=None))
    assert isinstance(found, Refusal)
    assert found.reason is Reason.CREDENTIALS_UNAVAILABLE


def test_an_agent_without_secrets_is_unknown() -> None:
    assert not good(verify(handmade(), facts(agent_secrets=AgentSecrets({"content": ()}))))


def test_a_value_that_may_hide_an_octet_is_not_signed_unless_it_came_raw() -> None:
    asked = handmade((*COMPONENTS, "x-note"), headers={"x-note": "hello!"})
    assert not good(verify(asked))
    assert good(verify(replace(asked, exact=True)))


def test_a_value_cannot_end_its_line() -> None:
    asked = handmade((*COMPONENTS, "x-note"), headers={"x-note": 'a\n"x-other": b'}, exact=True)
    assert not good(verify(asked))


def test_secrets_do_not_show_themselves() -> None:
    assert "secret of 32" not in repr(facts())
