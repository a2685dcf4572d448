"""TLS of a gRPC server whose files are replaced while it runs."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog

_LOG = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServedTls:
    """PEM files. With an authority, callers must prove themselves by a certificate of it."""

    certificate: Path
    key: Path
    authority: Path | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """Read now, and again for each connection. Raises ValueError for files that no server can use.

        Files that are unusable later leave those in use that were read before.
        """
        read = self._read()
        current = [read]

        def renewed() -> "grpc.ServerCertificateConfiguration | None":
            try:
                read = self._read()
            except ValueError as error:
                _LOG.error("certificate_unusable", error=str(error))
                return None
            if read == current[0]:
                return None
            current[0] = read
            return _configuration(read)

        demanded = self.authority is not None
        # None is what grpc takes for unchanged, which its types do not know.
        return grpc.dynamic_ssl_server_credentials(_configuration(read), renewed, demanded)  # type: ignore[arg-type]

    def _read(self) -> tuple[bytes, bytes, bytes | None]:
        """Key, chain and authority, which belong together as far as OpenSSL can tell."""
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
            if self.authority is not None:
                context.load_verify_locations(self.authority)
            authority = None if self.authority is None else self.authority.read_bytes()
            return self.key.read_bytes(), self.certificate.read_bytes(), authority
        except OSError as error:
            # Of OpenSSL's too: ssl.SSLError is one, and names no file.
            files = ", ".join(str(file) for file in (self.certificate, self.key, self.authority) if file is not None)
            raise ValueError(f"TLS cannot be served with {files}: {error}") from error


def _no_password() -> str:
    # Without it OpenSSL would ask the terminal.
    return ""


def _configuration(read: tuple[bytes, bytes, bytes | None]) -> "grpc.ServerCertificateConfiguration":
    key, chain, authority = read
    return grpc.ssl_server_certificate_configuration([(key, chain)], authority)
