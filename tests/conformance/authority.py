"""A certificate authority for one test, whose certificates name a node by URI."""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_LIFETIME = datetime.timedelta(hours=1)


class Authority:
    """Issues certificates for `localhost` or for a URI; everything is PEM."""

    def __init__(self, name: str = "test authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self, *identities: str, subject: str = "", begins: datetime.timedelta = -_LIFETIME, ca: bool = False
    ) -> tuple[bytes, bytes]:
        """Key and certificate, which ends two hours after it `begins`, counted from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [
            x509.UniformResourceIdentifier(each) if "://" in each else x509.DNSName(each) for each in identities
        ]
        called = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)] if subject else [])
        builder = self._builder(called, key.public_key(), begins)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not subject)
        if ca:
            builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        certificate = builder.sign(self._key, hashes.SHA256())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return pem, certificate.public_bytes(serialization.Encoding.PEM)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, begins: datetime.timedelta = -_LIFETIME
    ) -> x509.CertificateBuilder:
        begin = datetime.datetime.now(datetime.UTC) + begins
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + 2 * _LIFETIME)
        )
