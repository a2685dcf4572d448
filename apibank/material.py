"""The PEM files that policies name, read and looked at before an Envoy has them.

An Envoy accepts a certificate that has expired, and an ACME client writes the chain and the key one after the other,
so that for a moment they do not belong together. Neither shall reach a listener unnoticed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from policy.edge import Certificate
from policy.model import Gateway
from xds.compiler import Material, material_files


class UnusableMaterialError(Exception):
    """A PEM file that cannot be served, or two that do not belong together; `path` is its place in the policy."""

    def __init__(self, path: tuple[str, ...], message: str) -> None:
        self.path = path
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Until when a certificate of a gateway is good: the earliest end in its chain."""

    certificate: str
    not_after: datetime


def read_material(gateway: Gateway) -> Mapping[str, Material]:
    """Every file that the policy names.

    Raises OSError where one cannot be read, UnusableMaterialError where it is not what it should be. The private key
    appears in no message.
    """
    material = {file: Material(Path(file).read_bytes()) for file in material_files(gateway)}
    for name, certificate in gateway.certificates.items():
        _check_pair(name, certificate, material)
    for name, authority in gateway.authorities.items():
        _chain(("authorities", name, "ca_file"), authority.ca_file, material)
    return material


def lifetimes(gateway: Gateway, material: Mapping[str, Material]) -> list[Lifetime]:
    """Of every certificate that the gateway shows."""
    return [
        Lifetime(name, min(one.not_valid_after_utc for one in _chain((), certificate.chain_file, material)))
        for name, certificate in gateway.certificates.items()
    ]


def _check_pair(name: str, certificate: Certificate, material: Mapping[str, Material]) -> None:
    at = ("certificates", name)
    chain, key = material[certificate.chain_file].pem, material[certificate.key_file].pem
    _chain((*at, "chain_file"), certificate.chain_file, material)
    belongs = _belongs(chain, key)
    if belongs is None:
        message = f"{certificate.key_file} holds no private key in PEM, without a password"
    elif not belongs:
        message = f"{certificate.key_file} is not the key of the first certificate in {certificate.chain_file}"
    else:
        return
    raise UnusableMaterialError((*at, "key_file"), message)


def _chain(at: tuple[str, ...], file: str, material: Mapping[str, Material]) -> list[x509.Certificate]:
    try:
        return _certificates(material[file].pem)
    except ValueError:
        raise UnusableMaterialError(at, f"{file} holds no certificate in PEM") from None


# Looking at keys and certificates takes tens of milliseconds, and they change far more seldom than policies.
@lru_cache(maxsize=256)
def _certificates(chain: bytes) -> list[x509.Certificate]:
    """Raises ValueError."""
    return x509.load_pem_x509_certificates(chain)


@lru_cache(maxsize=256)
def _belongs(chain: bytes, key: bytes) -> bool | None:
    """Whether the key is that of the chain's first certificate; None where it is no key."""
    try:
        private = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError):
        # The parser's own words could hold parts of what it read.
        return None
    return _octets(_certificates(chain)[0].public_key()) == _octets(private.public_key())


def _octets(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
