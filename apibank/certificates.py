"""The development stack's certificates: an authority of its own, and what it has issued, kept in the state directory.

Everything is P-256 and short-lived. What is still good is reused, so that a client that trusts `ca.pem` keeps
trusting it from start to start; what comes close to its end is issued anew. Real deployments bring certificates of
their own (docs/operate); nothing here is for them.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from apibank.private_files import private_directory, write_private

TRUST_DOMAIN: Final = "waooaw.ai"
PUBLIC_NAMES: Final = ("localhost", "127.0.0.1", "::1", "api.waooaw.ai")
CONTROL_PLANE: Final = "control-plane"

AUTHORITY_LIFE: Final = timedelta(days=730)
LEAF_LIFE: Final = timedelta(days=90)
RENEW_BEFORE: Final = timedelta(days=30)
# Clocks of containers and virtual machines run behind at times.
_BACKDATED: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate chain and its private key, in PEM files; the key's mode is 0600."""

    chain_file: Path
    key_file: Path


@dataclass(frozen=True, slots=True)
class DevelopmentCertificates:
    """`public` is central's; `mesh` are the gateways' identities by name; `control_plane` serves xDS over TLS."""

    ca_file: Path
    public: KeyPair
    mesh: Mapping[str, KeyPair]
    control_plane: KeyPair


@dataclass(frozen=True, slots=True)
class _Subject:
    """Who a certificate is for: its file name, and its subject alternative names."""

    name: str
    hosts: tuple[str, ...]
    identity: str | None = None


@dataclass(frozen=True, slots=True)
class _Held:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def gateway_identity(name: str) -> str:
    """The SPIFFE ID that a gateway proves to the others, and to the control plane."""
    return f"spiffe://{TRUST_DOMAIN}/gateway/{name}"


def ensure_certificates(state_dir: Path, gateways: Sequence[str], now: datetime) -> DevelopmentCertificates:
    """Every certificate of a stack in `state_dir`/tls: those that are still good, and new ones for the others.

    `now` is aware. What has less than RENEW_BEFORE left, or was issued by another authority or for other names, is
    replaced; an authority that could not outlive a new certificate is replaced with everything it has issued.
    """
    private_directory(state_dir)
    folder = private_directory(state_dir / "tls")
    now = now.astimezone(UTC)
    authority = _ensure_authority(folder, now)
    public = _Subject("public", PUBLIC_NAMES)
    control = _Subject(
        CONTROL_PLANE, ("localhost", "127.0.0.1", CONTROL_PLANE), f"spiffe://{TRUST_DOMAIN}/control-plane"
    )
    mesh = {name: _Subject(f"{name}-mesh", (f"{name}-gateway",), gateway_identity(name)) for name in gateways}
    return DevelopmentCertificates(
        ca_file=folder / "ca.pem",
        public=_ensure_leaf(folder, authority, public, now),
        mesh={name: _ensure_leaf(folder, authority, subject, now) for name, subject in mesh.items()},
        control_plane=_ensure_leaf(folder, authority, control, now),
    )


def _ensure_authority(folder: Path, now: datetime) -> _Held:
    pair = KeyPair(folder / "ca.pem", folder / "ca.key")
    kept = _read(pair)
    if kept is not None and _lasts(kept.certificate, now, LEAF_LIFE):
        return kept
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "apibank development authority")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        _builder(name, name, key, now, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(pair, certificate, key)
    return _Held(certificate, key)


def _ensure_leaf(folder: Path, authority: _Held, subject: _Subject, now: datetime) -> KeyPair:
    pair = KeyPair(folder / f"{subject.name}.pem", folder / f"{subject.name}.key")
    names = _alternative_names(subject)
    kept = _read(pair)
    if kept is not None and _lasts(kept.certificate, now, RENEW_BEFORE) and _is_of(kept.certificate, authority, names):
        return pair
    key = ec.generate_private_key(ec.SECP256R1())
    common_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject.hosts[0])])
    # A gateway serves with the same identity as it calls with, so it needs both usages.
    usages = [ExtendedKeyUsageOID.SERVER_AUTH] + ([ExtendedKeyUsageOID.CLIENT_AUTH] if subject.identity else [])
    certificate = (
        _builder(common_name, authority.certificate.subject, key, now, LEAF_LIFE)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    _write(pair, certificate, key)
    return pair


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + life)
    )


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative_names(subject: _Subject) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = []
    for host in subject.hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    if subject.identity is not None:
        names.append(x509.UniformResourceIdentifier(subject.identity))
    return x509.SubjectAlternativeName(names)


def _lasts(certificate: x509.Certificate, now: datetime, life: timedelta) -> bool:
    return certificate.not_valid_before_utc <= now and certificate.not_valid_after_utc - now > life


def _is_of(certificate: x509.Certificate, authority: _Held, names: x509.SubjectAlternativeName) -> bool:
    try:
        certificate.verify_directly_issued_by(authority.certificate)
        kept = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return kept == names


def _read(pair: KeyPair) -> _Held | None:
    """The pair, or None where a file is missing, damaged, or does not belong to the other."""
    try:
        certificate = x509.load_pem_x509_certificate(pair.chain_file.read_bytes())
        key = serialization.load_pem_private_key(pair.key_file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        return None
    return _Held(certificate, key)


def _write(pair: KeyPair, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(pair.key_file, private)
    write_private(pair.chain_file, certificate.public_bytes(serialization.Encoding.PEM))
    pair.chain_file.chmod(0o644)
