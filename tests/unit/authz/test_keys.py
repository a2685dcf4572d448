"""Which published keys are taken, and what they verify."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from authz.identity.keys import MAX_KEYS, KeySet, read_keys, symmetric_key
from policy.access import Algorithm
from tests.unit.authz.world import b64, ec_jwk, ec_key, ed_jwk, ed_key, rsa_jwk, rsa_key, sign_es256, sign_rs256

MESSAGE = b"header.payload"


@pytest.mark.parametrize(
    ("algorithm", "jwk", "signature"),
    [
        (Algorithm.RS256, rsa_jwk(rsa_key("customer")), sign_rs256(MESSAGE)),
        (Algorithm.ES256, ec_jwk(ec_key("customer")), sign_es256(MESSAGE)),
        (Algorithm.EDDSA, ed_jwk(ed_key("customer")), ed_key("customer").sign(MESSAGE)),
    ],
    # Names of their own: signatures differ from process to process, and names must not.
    ids=["RS256", "ES256", "EdDSA"],
)
def test_a_key_of_each_kind_verifies_its_own_signature_and_no_other(
    algorithm: Algorithm, jwk: dict[str, object], signature: bytes
) -> None:
    keys, refused = read_keys([jwk], algorithm)  # type: ignore[list-item]
    assert not refused
    key = keys["k1"]
    assert key.verifies(signature, MESSAGE)
    assert not key.verifies(signature, MESSAGE + b".")
    assert not key.verifies(signature[:-1], MESSAGE)
    assert not key.verifies(b"", MESSAGE)
    assert not key.verifies(bytes(len(signature)), MESSAGE)
    assert not key.verifies(b"\xff" * len(signature), MESSAGE)


def test_a_secret_verifies_its_own_signature_and_no_other() -> None:
    import hmac

    key = symmetric_key(b"s" * 32)
    assert key.verifies(hmac.digest(b"s" * 32, MESSAGE, "sha256"), MESSAGE)
    assert not key.verifies(hmac.digest(b"t" * 32, MESSAGE, "sha256"), MESSAGE)
    assert not key.verifies(b"", MESSAGE)


def test_a_secret_shorter_than_its_hash_is_refused() -> None:
    with pytest.raises(ValueError, match="32 octets"):
        symmetric_key(b"s" * 31)


GOOD = rsa_jwk(rsa_key("customer"))
P384 = ec.generate_private_key(ec.SECP384R1()).public_key().public_numbers()


@pytest.mark.requirement("R87")
@pytest.mark.parametrize(
    ("entry", "algorithm"),
    [
        ("not an object", Algorithm.RS256),
        ({**GOOD, "kid": None}, Algorithm.RS256),
        ({**GOOD, "kid": 5}, Algorithm.RS256),
        ({**GOOD, "kid": ""}, Algorithm.RS256),
        ({**GOOD, "kid": "k" * 201}, Algorithm.RS256),
        ({**GOOD, "use": "enc"}, Algorithm.RS256),
        ({**GOOD, "key_ops": ["encrypt"]}, Algorithm.RS256),
        ({**GOOD, "key_ops": 5}, Algorithm.RS256),
        ({**GOOD, "key_ops": "unverify"}, Algorithm.RS256),
        ({**GOOD, "alg": "RS512"}, Algorithm.RS256),
        ({**GOOD, "alg": "HS256"}, Algorithm.RS256),
        ({**GOOD, "d": "AQAB"}, Algorithm.RS256),
        ({**GOOD, "e": b64(b"\x03")}, Algorithm.RS256),
        ({**GOOD, "e": b64(b"\x01\x00\x02")}, Algorithm.RS256),
        ({**GOOD, "e": b64(b"\xff" * 40)}, Algorithm.RS256),
        ({**GOOD, "n": b64(b"\x80" + bytes(255))}, Algorithm.RS256),
        ({**GOOD, "n": b64(b"\xff" * 256)}, Algorithm.RS256),
        ({**GOOD, "n": "not base64url"}, Algorithm.RS256),
        ({**GOOD, "n": 5}, Algorithm.RS256),
        (rsa_jwk(rsa_key("weak", 1024)), Algorithm.RS256),
        ({**GOOD, "n": b64(b"\xff" * 2048)}, Algorithm.RS256),
        ({"kty": "oct", "kid": "k1", "k": b64(b"s" * 32)}, Algorithm.RS256),
        (ec_jwk(ec_key("customer")), Algorithm.RS256),
        (GOOD, Algorithm.ES256),
        ({**ec_jwk(ec_key("customer")), "crv": "P-384"}, Algorithm.ES256),
        ({**ec_jwk(ec_key("customer")), "x": b64(P384.x.to_bytes(48, "big"))}, Algorithm.ES256),
        ({**ec_jwk(ec_key("customer")), "y": b64(b"\x01" * 32)}, Algorithm.ES256),
        ({**ed_jwk(ed_key("customer")), "crv": "Ed448"}, Algorithm.EDDSA),
        ({**ed_jwk(ed_key("customer")), "x": b64(b"\x01" * 31)}, Algorithm.EDDSA),
        ({**ed_jwk(ed_key("customer")), "x": b64(bytes(32))}, Algorithm.EDDSA),
        ({**ed_jwk(ed_key("customer")), "x": b64(b"\x01" + bytes(30) + b"\x80")}, Algorithm.EDDSA),
        ({**ed_jwk(ed_key("customer")), "x": b64(b"\xec" + b"\xff" * 31)}, Algorithm.EDDSA),
    ],
)
def test_a_weak_foreign_or_broken_key_is_refused_with_a_reason(entry: object, algorithm: Algorithm) -> None:
    keys, refused = read_keys([entry], algorithm)  # type: ignore[list-item]
    assert keys == {}
    assert len(refused) == 1


def test_one_bad_key_does_not_spoil_the_others() -> None:
    keys, refused = read_keys([{"kty": "RSA"}, GOOD], Algorithm.RS256)  # type: ignore[list-item]
    assert set(keys) == {"k1"}
    assert len(refused) == 1


def test_a_kid_of_two_different_keys_names_none_and_of_two_equal_ones_that_one() -> None:
    other = rsa_jwk(rsa_key("other"), "k1")
    keys, refused = read_keys([GOOD, other, rsa_jwk(rsa_key("third"), "k2")], Algorithm.RS256)  # type: ignore[list-item]
    assert set(keys) == {"k2"}
    assert refused == ["a kid names two keys"]
    assert set(read_keys([GOOD, GOOD], Algorithm.RS256)[0]) == {"k1"}  # type: ignore[list-item]


def test_a_set_is_read_up_to_a_bound() -> None:
    keys, refused = read_keys([rsa_jwk(rsa_key("customer"), f"k{n}") for n in range(MAX_KEYS + 5)], Algorithm.RS256)  # type: ignore[misc]
    assert len(keys) == MAX_KEYS
    assert len(refused) == 1


def test_a_key_read_again_is_the_same_key_and_another_under_its_kid_is_not() -> None:
    first = KeySet(read_keys([GOOD], Algorithm.RS256)[0])  # type: ignore[list-item]
    again = KeySet(read_keys([GOOD], Algorithm.RS256)[0])  # type: ignore[list-item]
    replaced = KeySet(read_keys([rsa_jwk(rsa_key("other"))], Algorithm.RS256)[0])  # type: ignore[list-item]
    assert again.holds("k1", first.keys["k1"])
    assert not replaced.holds("k1", first.keys["k1"])
    assert not KeySet().holds("k1", first.keys["k1"])


def test_neither_a_key_nor_a_secret_shows_itself() -> None:
    assert "s" * 32 not in repr(symmetric_key(b"s" * 32))
    assert "s" * 32 not in repr(KeySet(secrets=(symmetric_key(b"s" * 32),)))
