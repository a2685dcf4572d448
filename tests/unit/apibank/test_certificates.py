"""The development authority: what it issues is accepted, kept while it is good, and private."""

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from apibank.certificates import (
    AUTHORITY_LIFE,
    LEAF_LIFE,
    RENEW_BEFORE,
    DevelopmentCertificates,
    KeyPair,
    ensure_certificates,
    gateway_identity,
)

GATEWAYS = ("central", "marketing")
NOW = datetime.now(UTC)


@pytest.fixture
def issued(tmp_path: Path) -> DevelopmentCertificates:
    return ensure_certificates(tmp_path, GATEWAYS, NOW)


def _serial(pair: KeyPair) -> int:
    return x509.load_pem_x509_certificate(pair.chain_file.read_bytes()).serial_number


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext, hostname: str) -> ssl.SSLObject:
    """Both ends in memory; returns the server's, so that its peer certificate can be read."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=hostname),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(5):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends[1]


def _server(pair: KeyPair, client_authority: Path | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.chain_file, pair.key_file)
    if client_authority is not None:
        context.load_verify_locations(client_authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "api.waooaw.ai"])
def test_centrals_certificate_is_accepted_for_every_name_it_covers(issued: DevelopmentCertificates, host: str) -> None:
    _handshake(_server(issued.public), ssl.create_default_context(cafile=issued.ca_file), host)


def test_centrals_certificate_is_refused_for_another_name(issued: DevelopmentCertificates) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(_server(issued.public), ssl.create_default_context(cafile=issued.ca_file), "example.com")


def test_a_gateway_proves_its_identity_to_the_next_one(issued: DevelopmentCertificates) -> None:
    client = ssl.create_default_context(cafile=issued.ca_file)
    client.load_cert_chain(issued.mesh["central"].chain_file, issued.mesh["central"].key_file)
    server = _handshake(_server(issued.mesh["marketing"], issued.ca_file), client, "marketing-gateway")
    peer = server.getpeercert()
    assert peer is not None
    assert ("URI", gateway_identity("central")) in peer["subjectAltName"]
    assert gateway_identity("central") == "spiffe://waooaw.ai/gateway/central"


def test_the_public_certificate_is_no_client_certificate(issued: DevelopmentCertificates) -> None:
    client = ssl.create_default_context(cafile=issued.ca_file)
    client.maximum_version = ssl.TLSVersion.TLSv1_2  # in 1.3 the client learns of it only when it reads
    client.load_cert_chain(issued.public.chain_file, issued.public.key_file)
    with pytest.raises(ssl.SSLError):
        _handshake(_server(issued.mesh["marketing"], issued.ca_file), client, "marketing-gateway")


def test_the_control_plane_has_a_certificate_for_loopback(issued: DevelopmentCertificates) -> None:
    _handshake(_server(issued.control_plane), ssl.create_default_context(cafile=issued.ca_file), "127.0.0.1")


def test_keys_are_readable_by_their_owner_alone(issued: DevelopmentCertificates) -> None:
    folder = issued.ca_file.parent
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert {mode for name, mode in modes.items() if name.endswith(".key")} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert sorted(modes) == sorted(
        f"{name}.{kind}"
        for name in ("ca", "public", "control-plane", "central-mesh", "marketing-mesh")
        for kind in ("pem", "key")
    ), "nothing else is left behind"


def test_what_is_still_good_is_reused(issued: DevelopmentCertificates, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in issued.ca_file.parent.iterdir()}
    again = ensure_certificates(tmp_path, GATEWAYS, NOW + LEAF_LIFE - RENEW_BEFORE - timedelta(minutes=1))
    assert again == issued
    assert {path.name: path.read_bytes() for path in again.ca_file.parent.iterdir()} == before


def test_what_comes_close_to_its_end_is_renewed_by_the_same_authority(
    issued: DevelopmentCertificates, tmp_path: Path
) -> None:
    serials, authority = _serial(issued.public), issued.ca_file.read_bytes()
    again = ensure_certificates(tmp_path, GATEWAYS, NOW + LEAF_LIFE - RENEW_BEFORE + timedelta(minutes=1))
    assert _serial(again.public) != serials
    assert again.ca_file.read_bytes() == authority


def test_an_authority_close_to_its_end_is_replaced_with_everything_it_issued(
    issued: DevelopmentCertificates, tmp_path: Path
) -> None:
    before = issued.ca_file.read_bytes()
    again = ensure_certificates(tmp_path, GATEWAYS, NOW + AUTHORITY_LIFE - LEAF_LIFE + timedelta(minutes=1))
    assert again.ca_file.read_bytes() != before
    authority = x509.load_pem_x509_certificate(again.ca_file.read_bytes())
    for pair in (again.public, again.control_plane, *again.mesh.values()):
        leaf = x509.load_pem_x509_certificate(pair.chain_file.read_bytes())
        leaf.verify_directly_issued_by(authority)
        assert leaf.not_valid_after_utc <= authority.not_valid_after_utc


@pytest.mark.parametrize("damage", ["missing key", "damaged chain", "another's key"])
def test_a_damaged_pair_is_issued_anew(issued: DevelopmentCertificates, tmp_path: Path, damage: str) -> None:
    match damage:
        case "missing key":
            issued.public.key_file.unlink()
        case "damaged chain":
            issued.public.chain_file.write_text("-----BEGIN CERTIFICATE-----\n")
        case _:
            issued.public.key_file.write_bytes(issued.control_plane.key_file.read_bytes())
    again = ensure_certificates(tmp_path, GATEWAYS, NOW)
    _handshake(_server(again.public), ssl.create_default_context(cafile=again.ca_file), "localhost")


def test_a_gateway_that_joins_later_gets_its_identity_and_the_others_keep_theirs(
    issued: DevelopmentCertificates, tmp_path: Path
) -> None:
    serial = _serial(issued.mesh["central"])
    again = ensure_certificates(tmp_path, (*GATEWAYS, "sales"), NOW)
    assert set(again.mesh) == {"central", "marketing", "sales"}
    assert _serial(again.mesh["central"]) == serial
