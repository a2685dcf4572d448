"""TLS of listeners and of upstream connections; keys and authorities come by SDS."""

from envoy_data_plane.envoy.config.core.v3 import TransportSocket
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CommonTlsContext,
    DownstreamTlsContext,
    SdsSecretConfig,
    TlsParameters,
    TlsParametersTlsProtocol,
    UpstreamTlsContext,
)

from policy.edge import ListenerTls, TlsVersion, UpstreamTls
from xds.compiler import names
from xds.compiler.encode import pack
from xds.compiler.sources import ads

_SOCKET = "envoy.transport_sockets.tls"
_VERSIONS = {TlsVersion.V1_2: TlsParametersTlsProtocol.TLSv1_2, TlsVersion.V1_3: TlsParametersTlsProtocol.TLSv1_3}


def downstream_tls(tls: ListenerTls) -> TransportSocket:
    """What a listener shows and demands; a client certificate is demanded only where an authority is named."""
    common = _common(tls.certificate, tls.client_authority, tls.minimum_version)
    if tls.cipher_suites and common.tls_params is not None:
        common.tls_params.cipher_suites = [suite.value for suite in tls.cipher_suites]
    common.alpn_protocols = ["h2", "http/1.1"]
    context = DownstreamTlsContext(
        common_tls_context=common, require_client_certificate=True if tls.client_authority else None
    )
    return TransportSocket(name=_SOCKET, typed_config=pack(context))


def upstream_tls(tls: UpstreamTls, alpn: str) -> TransportSocket:
    """What a cluster shows and demands; the server's identity is always checked."""
    common = _common(tls.certificate, tls.authority, tls.minimum_version)
    common.alpn_protocols = [alpn]
    context = UpstreamTlsContext(common_tls_context=common, sni=tls.server_name or "")
    return TransportSocket(name=_SOCKET, typed_config=pack(context))


def _common(certificate: str | None, authority: str | None, minimum: TlsVersion) -> CommonTlsContext:
    return CommonTlsContext(
        tls_params=TlsParameters(
            tls_minimum_protocol_version=_VERSIONS[minimum],
            # For upstream connections Envoy's own default would end at 1.2.
            tls_maximum_protocol_version=TlsParametersTlsProtocol.TLSv1_3,
        ),
        tls_certificate_sds_secret_configs=[_sds(names.certificate(certificate))] if certificate else [],
        validation_context_sds_secret_config=_sds(names.authority(authority)) if authority else None,
    )


def _sds(name: str) -> SdsSecretConfig:
    return SdsSecretConfig(name=name, sds_config=ads())
