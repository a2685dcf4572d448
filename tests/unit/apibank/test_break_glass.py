"""The sealed credential for when the administrators' issuer is down: how it is made, and what it opens."""

import json
import re
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from prometheus_client import CollectorRegistry
from pydantic import ValidationError
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

from apibank import break_glass as sealing
from apibank.break_glass import BreakGlassKey, SealError, make_key, mint_emergency, seal, unseal
from apibank.cli import app
from authz.audit import AuditEvent, Pseudonyms, audit_event
from authz.break_glass import BreakGlassAlarm
from authz.decision import Decision
from authz.facts import Facts, Revocations
from authz.identity.keys import KeySet, ed25519_key, source_of
from authz.pipeline import decide
from authz.principal import Kind
from authz.reasons import Reason
from authz.rules import Rules
from authz.secret_files import SecretFileError, read_public_key
from policy.access import Issuer
from tests.unit.authz.world import NOW, facts, policy, request, rules

PASSPHRASE = "correct horse battery staple"
WHY = "INC-42: the issuer is down"
DECLARED = {
    "issuer": sealing.DEFAULT_ISSUER,
    "audience": sealing.DEFAULT_AUDIENCE,
    "algorithm": "EdDSA",
    "break_glass": True,
    "public_key_file": "/run/secrets/break-glass.pub.pem",
}
KEPT_AS = source_of("break-glass", Issuer.model_validate(DECLARED))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    # What makes guessing slow makes tests slow.
    monkeypatch.setattr(sealing, "_SCRYPT", {"n": 2**4, "r": 8, "p": 1})


def declared(**changes: object) -> Rules:
    """The world's gateway, whose route `admin` admits the credential as it admits administrators."""
    document = policy().model_dump(mode="json", exclude_defaults=True)
    document["issuers"]["break-glass"] = {**DECLARED, **changes}
    document["routes"]["admin"]["callers"]["tokens"]["break-glass"] = ["admin"]
    document["routes"]["admin"]["scopes"] = "platform"
    return rules(**document)


def known(key: BreakGlassKey, **changes: object) -> Facts:
    kid, verification = ed25519_key(key.private.public_key())
    return replace(facts(), **{"key_sets": {KEPT_AS: KeySet({kid: verification})}, **changes})  # type: ignore[arg-type]


def minted(key: BreakGlassKey, seconds: int = 900) -> str:
    return mint_emergency(key, name="asha", reason=WHY, seconds=seconds, now=NOW)[0]


def asked(token: str, under: Rules, by: Facts, route: str = "admin", now: float = NOW) -> Decision:
    return decide(request(route, token=token, rules=under), under, by, now)


def reason(decision: Decision) -> Reason | None:
    return None if decision.refusal is None else decision.refusal.reason


def test_it_administers_the_platform_and_the_audit_says_who_and_why() -> None:
    key, under = make_key(), declared()
    decision = asked(minted(key), under, known(key))
    assert decision.allowed
    assert (decision.principal.kind, decision.principal.role) == (Kind.BREAK_GLASS, "admin")
    event = audit_event(request("admin"), decision, NOW, Pseudonyms())
    # A name in the clear: whoever breaks the glass is seen.
    assert (event.kind, event.subject, event.reason) == ("break_glass", "break-glass:asha", f"break_glass: {WHY}")
    assert event.credential_id
    assert event.cause == f"break_glass: {WHY}"


def test_without_a_declaration_it_is_a_token_of_nobody() -> None:
    key = make_key()
    assert reason(asked(minted(key), rules(), known(key))) is Reason.TOKEN_INVALID


def test_it_is_over_when_it_says_and_never_lives_longer_than_an_hour() -> None:
    key, under = make_key(), declared(leeway_seconds=0)
    token = minted(key)
    assert asked(token, under, known(key), now=NOW + 899).allowed
    assert reason(asked(token, declared(leeway_seconds=0), known(key), now=NOW + 900)) is Reason.TOKEN_EXPIRED
    for seconds in (0, -1, 3601):
        with pytest.raises(SealError):
            minted(key, seconds)


def test_it_opens_nothing_but_the_platform_and_nothing_where_it_is_not_named() -> None:
    key, under = make_key(), declared()
    assert reason(asked(minted(key), under, known(key), "plain")) is Reason.CALLER_NOT_ADMITTED
    document = policy().model_dump(mode="json", exclude_defaults=True)
    document["issuers"]["break-glass"] = DECLARED
    # A policy that admits it in a wrong place: the scope of that place is not the platform's.
    document["callers"]["tokens"]["break-glass"] = ["admin"]
    document["tiers"] = ["business", "internal"]
    wrong = rules(**document)
    assert reason(asked(minted(key), wrong, known(key), "plain")) is Reason.INSUFFICIENT_SCOPE


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("reason", None),
        ("reason", "short"),
        ("reason", "two lines\nof a reason"),
        ("reason", 42),
        ("role", "customer"),
        ("tier", "business"),
        ("scopes", ["marketing:*"]),
        ("scopes", ["platform:*", "marketing:*"]),
        ("scopes", []),
        ("sub", "asha"),
        ("sub", "break-glass:"),
        ("jti", None),
        ("tenant_id", "acme"),
        ("aud", "https://api.example.com"),
        ("exp", NOW + 7200),
    ],
)
def test_a_token_that_says_anything_else_is_none_even_with_the_right_key(claim: str, value: object) -> None:
    import jwt

    key, under = make_key(), declared()
    claims = jwt.decode(minted(key), options={"verify_signature": False})
    claims = {name: each for name, each in {**claims, claim: value}.items() if each is not None}
    token = jwt.PyJWS().encode(json.dumps(claims).encode(), key.private, "EdDSA", key.token_header)
    assert reason(asked(token, under, known(key))) is Reason.TOKEN_INVALID


def test_an_ordinary_tokens_type_or_another_key_is_refused() -> None:
    import jwt

    key, under = make_key(), declared()
    claims = jwt.decode(minted(key), options={"verify_signature": False})
    payload = json.dumps(claims).encode()
    other_type = jwt.PyJWS().encode(payload, key.private, "EdDSA", {**key.token_header, "typ": "at+jwt"})
    other_key = jwt.PyJWS().encode(payload, make_key().private, "EdDSA", key.token_header)
    for token in (other_type, other_key):
        assert reason(asked(token, under, known(key))) is Reason.TOKEN_INVALID


def test_it_ends_with_its_key_or_by_revocation() -> None:
    key, under = make_key(), declared()
    token, jti = mint_emergency(key, name="asha", reason=WHY, seconds=900, now=NOW)
    assert asked(token, under, known(key)).allowed
    assert reason(asked(token, under, known(key, key_sets={}))) in {Reason.ISSUER_UNAVAILABLE, Reason.TOKEN_INVALID}
    revoked = known(key, revocations=Revocations(frozenset({(sealing.DEFAULT_ISSUER, jti)})))
    assert reason(asked(token, under, revoked)) is Reason.TOKEN_INVALID


class Kept:
    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    def offer(self, event: AuditEvent) -> bool:
        self.events.append(event)
        return True


def test_every_use_is_told_and_counted_and_nobody_elses_is() -> None:
    key, under, registry, kept = make_key(), declared(), CollectorRegistry(), Kept()
    alarm = BreakGlassAlarm(kept, registry, "platform")
    token = minted(key)

    def uses(outcome: str) -> float | None:
        labels = {"gateway": "platform", "outcome": outcome}
        return registry.get_sample_value("apibank_authz_break_glass_total", labels)

    assert (uses("allowed"), uses("denied")) == (0, 0)
    with capture_logs() as logs:
        for asked_for in ("admin", "plain"):
            wanted = request(asked_for, token=token, rules=under)
            assert alarm.offer(audit_event(wanted, decide(wanted, under, known(key), NOW), NOW, Pseudonyms()))
        stranger = request("plain", rules=under)
        alarm.offer(audit_event(stranger, decide(stranger, under, known(key), NOW), NOW, Pseudonyms()))
    assert (uses("allowed"), uses("denied"), len(kept.events)) == (1, 1, 3)
    assert [(one["event"], one["log_level"], one["outcome"]) for one in logs] == [
        ("break_glass_used", "warning", "allowed"),
        ("break_glass_used", "warning", "denied"),
    ]
    assert (logs[0]["subject"], logs[0]["why"]) == ("break-glass:asha", f"break_glass: {WHY}")
    assert token not in str(logs)


@pytest.mark.parametrize(
    "changes",
    [
        {"algorithm": "RS256"},
        {"public_key_file": None},
        {"jwks": {"url": "https://x.example.com"}},
        {"secret_file": "/x"},
        {"token_type": "at+jwt"},
        {"max_lifetime_seconds": 3601},
        {"break_glass": False},
    ],
)
def test_a_declaration_that_would_weaken_it_is_refused(changes: dict[str, object]) -> None:
    Issuer.model_validate(DECLARED)
    with pytest.raises(ValidationError):
        Issuer.model_validate({**DECLARED, **changes})


def test_a_sealed_key_opens_with_its_passphrase_and_not_altered() -> None:
    key = make_key("urn:x", "urn:y")
    text = seal(key, PASSPHRASE)
    opened = unseal(text, PASSPHRASE)
    assert (opened.kid, opened.issuer, opened.audience) == (key.kid, "urn:x", "urn:y")
    assert key.private.private_bytes_raw().hex() not in text
    document = json.loads(text)
    altered = [
        json.dumps({**document, name: value})
        for name, value in (("issuer", "urn:z"), ("kid", "x"), ("format", "x"), ("salt", "AAAA"), ("sealed", "AAAA"))
    ]
    for bad in (*altered, "{}", "[]", "", "nonsense"):
        with pytest.raises(SealError):
            unseal(bad, PASSPHRASE)
    with pytest.raises(SealError, match="passphrase"):
        unseal(text, PASSPHRASE + "!")
    with pytest.raises(SealError, match="16"):
        seal(key, "too short")
    assert repr(key).count("object at") == 0


def test_only_an_ed25519_public_key_is_taken_from_a_file(tmp_path: Path) -> None:
    key, file = make_key(), tmp_path / "key.pem"
    file.write_bytes(key.public_pem)
    assert set(read_public_key(file).keys) == {key.kid}
    other = generate_private_key(SECP256R1()).public_key()
    for content in (b"", b"nonsense", other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)):
        file.write_bytes(content)
        with pytest.raises(SecretFileError, match=r"key\.pem"):
            read_public_key(file)
    with pytest.raises(SecretFileError):
        read_public_key(tmp_path / "nowhere")


def run(*arguments: str, given: str = "") -> Result:
    return CliRunner().invoke(app, ["break-glass", *arguments], input=given)


def test_the_commands_make_a_key_and_a_token_and_print_no_secret(tmp_path: Path) -> None:
    out = tmp_path / "safe"
    made = run("init", "--out", str(out), given=f"{PASSPHRASE}\n{PASSPHRASE}\n")
    assert made.exit_code == 0, made.output
    sealed = out / "break-glass.sealed"
    assert stat.S_IMODE(sealed.stat().st_mode) == 0o600
    key = unseal(sealed.read_text(), PASSPHRASE)
    assert (out / "break-glass.pub.pem").read_bytes() == key.public_pem
    again = run("init", "--out", str(out), given=f"{PASSPHRASE}\n{PASSPHRASE}\n")
    assert (again.exit_code, "never overwritten" in again.stderr) == (2, True)
    options = ("issue", "--key", str(sealed), "--as", "asha", "--reason", WHY, "--for", "10m")
    issued = run(*options, given=f"{PASSPHRASE}\n")
    assert issued.exit_code == 0, issued.output
    # The runner shows the blank after a prompt, which goes to the terminal otherwise.
    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+", issued.stdout.strip())
    assert "tokens revoke" in issued.stderr
    assert PASSPHRASE not in made.output + issued.output
    (tmp_path / "passphrase").write_text(PASSPHRASE + "\n")
    assert run(*options, "--passphrase-file", str(tmp_path / "passphrase")).exit_code == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"--for": "2h"},
        {"--for": "ever"},
        {"--for": "0m"},
        {"--reason": "short"},
        {"--as": "two words"},
        {"--key": "nowhere"},
        {"--passphrase-file": "nowhere"},
    ],
)
def test_the_command_says_what_is_wrong(changes: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "sealed").write_text(seal(make_key(), PASSPHRASE))
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    options = {
        "--key": str(tmp_path / "sealed"),
        "--as": "asha",
        "--reason": WHY,
        "--for": "10m",
        "--passphrase-file": str(tmp_path / "passphrase"),
        **changes,
    }
    done = run("issue", *(part for option in options.items() for part in option))
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert done.stdout == ""


def test_a_folder_that_is_there_already_stays_as_it_is_and_the_key_is_its_owners_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    made = run("init", "--out", str(tmp_path), given=f"{PASSPHRASE}\n{PASSPHRASE}\n")
    assert made.exit_code == 0, made.output
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "break-glass.sealed").stat().st_mode) == 0o600
