"""Certificates in place of those that are not on this machine: a policy is often looked at where its keys are not."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from policy.model import Gateway
from xds.compiler import Material, material_files

_LIFE: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class StandIns:
    """Every file that a policy names, and which of them could not be read and were made up."""

    material: Mapping[str, Material]
    made_up: tuple[str, ...]


def with_stand_ins(gateway: Gateway) -> StandIns:
    """What can be read as it is; the rest self-signed. A pair of which one half is missing is made up as a whole."""
    read = {file: _read(file) for file in material_files(gateway)}
    missing = [file for file, content in read.items() if content is None]
    material = {file: content for file, content in read.items() if content is not None}
    if missing:
        chain, key = _self_signed(gateway.gateway)
        for authority in gateway.authorities.values():
            material.setdefault(authority.ca_file, chain)
        for one in gateway.certificates.values():
            if one.chain_file in missing or one.key_file in missing:
                material[one.chain_file], material[one.key_file] = chain, key
    return StandIns(material, tuple(missing))


def _read(file: str) -> Material | None:
    try:
        return Material(Path(file).read_bytes())
    except OSError:
        return None


def _self_signed(name: str) -> tuple[Material, Material]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"stand-in for {name}"[:64])])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _LIFE)
        .not_valid_after(now + _LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Material(certificate.public_bytes(serialization.Encoding.PEM)), Material(private)
