"""Certificates that a policy names later, in a folder that nobody has watched, are renewed like all others."""

from datetime import UTC, datetime
from pathlib import Path

from apibank.certificates import DevelopmentCertificates, ensure_certificates
from tests.contract.changes.federation import running
from xds.snapshot import SECRET

TLS = """\
certificates:
  public: {{chain_file: {chain}, key_file: {key}}}
listeners:
  mesh: {{address: "127.0.0.1:9000", tls: {{certificate: public}}}}
"""


def renew(certificates: DevelopmentCertificates, other: DevelopmentCertificates) -> None:
    """As an ACME client does: first one file, then the other."""
    certificates.public.chain_file.write_bytes(other.public.chain_file.read_bytes())
    certificates.public.key_file.write_bytes(other.public.key_file.read_bytes())


async def test_certificates_named_by_a_later_change_are_watched_too(
    folder: Path, database: str, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    certificates = ensure_certificates(tmp_path / "first", ["central"], now)
    other = ensure_certificates(tmp_path / "second", ["central"], now)
    file = folder / "shop.yaml"
    async with running(folder, database) as plane:

        def secret() -> str | None:
            snapshot = plane.publisher.intended("shop")
            found = {} if snapshot is None else snapshot.of_type(SECRET).resources
            return found["certificate/public"].version if found else None

        await plane.until(lambda: "shop" in plane.plane.control.states and plane.state["version"])
        assert secret() is None
        text = file.read_text()
        listeners = text[text.index("listeners:") : text.index("limits:")]
        written = TLS.format(chain=certificates.public.chain_file, key=certificates.public.key_file)
        file.write_text(text.replace(listeners, written))
        await plane.until(lambda: secret() is not None)
        first = secret()
        renew(certificates, other)
        await plane.until(lambda: secret() != first)
        assert not plane.state["errors"]


async def test_a_key_of_another_certificate_is_not_published_and_reported_at_its_line(
    folder: Path, database: str, tmp_path: Path
) -> None:
    certificates = ensure_certificates(tmp_path / "first", ["central"], datetime.now(UTC))
    file = folder / "shop.yaml"
    async with running(folder, database) as plane:
        await plane.until(lambda: "shop" in plane.plane.control.states and plane.state["version"])
        version = plane.state["version"]
        text = file.read_text()
        listeners = text[text.index("listeners:") : text.index("limits:")]
        mixed = TLS.format(chain=certificates.public.chain_file, key=certificates.mesh["central"].key_file)
        file.write_text(text.replace(listeners, mixed))
        await plane.until(lambda: plane.state["errors"])
        (error,) = plane.state["errors"]
        assert error["path"] == "certificates.public.key_file"
        assert error["line"] == file.read_text().splitlines().index(mixed.splitlines()[1]) + 1
        assert "is not the key of" in error["message"]
        assert plane.state["version"] == version
