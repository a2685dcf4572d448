"""TLS material for SDS: certificates with their keys, and authorities with the identities accepted of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    Secret,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsCertificate,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from policy.edge import Authority, Certificate
from policy.model import Gateway
from xds.compiler import names


@dataclass(frozen=True, slots=True)
class Material:
    """The content of a PEM file. Its repr shows nothing, since it may be a private key."""

    pem: bytes = field(repr=False)


def material_files(gateway: Gateway) -> tuple[str, ...]:
    """Every PEM file that a policy names, once: what `compile_` must be given."""
    files = [file for one in gateway.certificates.values() for file in (one.chain_file, one.key_file)]
    files += [one.ca_file for one in gateway.authorities.values()]
    return tuple(dict.fromkeys(files))


def secrets(gateway: Gateway, material: Mapping[str, Material]) -> Iterator[tuple[tuple[str, str], Secret]]:
    """Each secret with the place in the policy that asks for it. KeyError names a file that was not given."""
    for name, certificate in gateway.certificates.items():
        yield ("certificates", name), _certificate(name, certificate, material)
    for name, authority in gateway.authorities.items():
        yield ("authorities", name), _authority(name, authority, material)


def _certificate(name: str, certificate: Certificate, material: Mapping[str, Material]) -> Secret:
    return Secret(
        name=names.certificate(name),
        tls_certificate=TlsCertificate(
            certificate_chain=DataSource(inline_bytes=material[certificate.chain_file].pem),
            private_key=DataSource(inline_bytes=material[certificate.key_file].pem),
        ),
    )


def _authority(name: str, authority: Authority, material: Mapping[str, Material]) -> Secret:
    return Secret(
        name=names.authority(name),
        validation_context=CertificateValidationContext(
            trusted_ca=DataSource(inline_bytes=material[authority.ca_file].pem),
            # Without these, anybody with a certificate of this authority would be let in.
            match_typed_subject_alt_names=[
                SubjectAltNameMatcher(san_type=SubjectAltNameMatcherSanType.URI, matcher=StringMatcher(exact=identity))
                for identity in authority.identities
            ],
        ),
    )
