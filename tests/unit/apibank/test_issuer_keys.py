"""Keys and offline signing: what is published, what signs, and what a token says."""

import json
import stat
import threading
from base64 import urlsafe_b64decode
from pathlib import Path

import jwt
import pytest

from apibank.issuer.keys import KeyStore, SigningKey
from apibank.issuer.mint import UnknownIssuerError, mint
from apibank.issuer.realms import ACCESS_TOKEN_SECONDS

NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state")
    for name in ("customer", "admin"):
        KeyStore(folder, name).ensure()
    return folder


def verified(token: str, state_dir: Path, issuer: str, audience: str) -> dict[str, object]:
    """As a gateway would: by the published key of the token's kid."""
    published = jwt.PyJWKSet.from_dict(KeyStore(state_dir, issuer).load().jwks(NOW))
    key = published[jwt.get_unverified_header(token)["kid"]]
    claims: dict[str, object] = jwt.decode(
        token, key, algorithms=["RS256"], audience=audience, options={"verify_iat": False, "verify_exp": False}
    )
    return claims


def part(token: str, index: int) -> dict[str, object]:
    encoded = token.split(".")[index]
    decoded: dict[str, object] = json.loads(urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    return decoded


@pytest.mark.requirement("R86")
def test_a_customers_token_has_every_claim_and_is_signed_by_a_published_key(state_dir: Path) -> None:
    token = mint(state_dir, "customer", now=NOW)
    claims = verified(token, state_dir, "customer", "https://api.waooaw.ai")
    assert claims.pop("jti")
    assert claims == {
        "iss": "https://auth.waooaw.ai",
        "aud": "https://api.waooaw.ai",
        "sub": "user_12345",
        "email": "user_12345@example.com",
        "role": "customer",
        "tier": "business",
        "scopes": ["marketing:*"],
        "iat": int(NOW),
        "exp": int(NOW) + 3600,
    }
    assert part(token, 0)["typ"] == "at+jwt"
    assert part(token, 0)["alg"] == "RS256"


def test_an_administrators_token_has_an_issuer_an_audience_and_keys_of_its_own(state_dir: Path) -> None:
    token = mint(state_dir, "admin", now=NOW)
    claims = verified(token, state_dir, "admin", "https://admin.api.waooaw.ai")
    assert claims["iss"] == "https://admin.auth.waooaw.ai"
    assert (claims["role"], claims["tier"], claims["scopes"]) == ("admin", "internal", ["platform:*"])
    with pytest.raises(KeyError):
        verified(token, state_dir, "customer", "https://admin.api.waooaw.ai")


@pytest.mark.parametrize(
    ("role", "scopes"),
    [("student", ["education:*"]), ("parent", ["education:*"]), ("company", ["sales:*"]), ("admin", ["platform:*"])],
)
def test_a_role_brings_its_scope_unless_scopes_are_named(state_dir: Path, role: str, scopes: list[str]) -> None:
    assert part(mint(state_dir, "customer", claims={"role": role}), 1)["scopes"] == scopes
    named = mint(state_dir, "customer", claims={"role": role, "scopes": ["x:read"]})
    assert part(named, 1)["scopes"] == ["x:read"]


def test_tokens_that_differ_in_subject_alone_share_no_tenant(state_dir: Path) -> None:
    assert "tenant_id" not in part(mint(state_dir, "customer", claims={"sub": "other"}), 1)


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": ""},
        {"sub": 7, "role": ["admin"], "exp": "tomorrow"},
        {"iss": None, "aud": {"a": 1}, "scopes": "marketing:*"},
        {"birthdate": "2019-01-01", "tenant_id": "acme", "nested": {"deep": [1, {"x": None}]}},
        {"role": "Ünïcode \U0001f600"},
    ],
)
def test_any_json_is_signed_as_it_is(state_dir: Path, claims: dict[str, object]) -> None:
    signed = part(mint(state_dir, "customer", claims=claims), 1)
    assert {name: signed[name] for name in claims} == claims


def test_claims_can_be_left_out_and_headers_changed(state_dir: Path) -> None:
    token = mint(state_dir, "customer", without=["exp", "sub"], headers={"typ": "JWT", "kid": "nobody"})
    assert not {"exp", "sub"} & set(part(token, 1))
    assert part(token, 0) == {"alg": "RS256", "typ": "JWT", "kid": "nobody"}


@pytest.mark.parametrize("seconds", [-5, 0, 60, 10**9])
def test_expiry_is_what_was_asked_for(state_dir: Path, seconds: int) -> None:
    claims = part(mint(state_dir, "customer", expires_in=seconds, now=NOW), 1)
    assert claims["exp"] == int(NOW) + seconds


def test_no_two_tokens_have_the_same_identifier(state_dir: Path) -> None:
    assert len({part(mint(state_dir, "customer", now=NOW), 1)["jti"] for _ in range(5)}) == 5


def test_an_issuer_that_does_not_exist_is_an_error(state_dir: Path) -> None:
    with pytest.raises(UnknownIssuerError, match="customer or admin"):
        mint(state_dir, "partner")


def test_a_folder_without_an_issuer_signs_nothing_and_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        mint(tmp_path, "customer")
    assert list(tmp_path.iterdir()) == []


def test_the_keys_are_private_to_their_owner_and_the_published_ones_hold_no_secret(state_dir: Path) -> None:
    ring = KeyStore(state_dir, "customer").load()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (state_dir / "issuer").glob("*.json")}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE((state_dir / "issuer").stat().st_mode) == 0o700
    published = ring.jwks(NOW)["keys"]
    assert [set(key) for key in published] == [{"kty", "e", "n", "kid", "alg", "use"}] * 2


def test_the_key_identifier_is_the_thumbprint_of_rfc_7638() -> None:
    key = SigningKey.generate()
    assert key.kid == SigningKey(key.pem).kid
    assert len(urlsafe_b64decode(key.kid + "=")) == 32


def test_rotation_gives_the_next_key_its_turn_and_publishes_another_ahead(tmp_path: Path) -> None:
    store = KeyStore(tmp_path, "customer")
    before = store.ensure()
    after = store.rotate(NOW)
    assert after.current.kid == before.next.kid
    assert [key["kid"] for key in after.jwks(NOW)["keys"]] == [after.current.kid, after.next.kid, before.current.kid]
    # Signing takes it up at once, in this process and in any other.
    assert part(mint(tmp_path, "customer"), 0)["kid"] == after.current.kid
    assert part(mint(tmp_path, "customer", next_key=True), 0)["kid"] == after.next.kid
    assert KeyStore(tmp_path, "customer").load().current.kid == after.current.kid


def test_a_retired_key_is_published_until_its_last_token_has_expired(tmp_path: Path) -> None:
    store = KeyStore(tmp_path, "admin")
    retired = store.ensure().current.kid
    ring = store.rotate(NOW)
    last_token_expires = NOW + ACCESS_TOKEN_SECONDS
    assert retired in {key["kid"] for key in ring.jwks(last_token_expires + 1)["keys"]}
    assert retired not in {key["kid"] for key in ring.jwks(last_token_expires + 61)["keys"]}
    assert len(store.rotate(last_token_expires + 61).retired) == 1, "and then it is forgotten"


def test_whoever_asks_first_makes_the_keys_and_all_others_get_the_same(tmp_path: Path) -> None:
    kids: list[str] = []
    threads = [
        threading.Thread(target=lambda: kids.append(KeyStore(tmp_path, "customer").ensure().current.kid))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kids) == 4
    assert len(set(kids)) == 1
