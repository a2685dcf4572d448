"""The client's address for authz, the limits and the services; Strict-Transport-Security and Vary for browsers.

CheckRequest.source.address is the TCP peer, whatever Envoy has found out about the client; a header carries what it
has found out. The gateway that clients reach also writes it over X-Forwarded-For, for the gateway behind.
"""

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation as Mutation
from envoy_data_plane.envoy.config.core.v3 import (
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
)
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import HeaderMutation, Mutations
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter

from policy.descriptors import CLIENT_ADDRESS_HEADER
from policy.edge import ClientAddress, Listener
from xds.compiler.encode import pack
from xds.compiler.units import ListenerUnit

NAME = "envoy.filters.http.header_mutation"
HSTS = "strict-transport-security"

_ADDRESS = "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"

# With this the health_check filter would tell everybody the name of our node's cluster.
_HEALTH_CHECKED = "x-envoy-upstream-healthchecked-cluster"


def filter_(unit: ListenerUnit) -> HttpFilter:
    written = [] if unit.redirects else [CLIENT_ADDRESS_HEADER]
    if written and unit.listener.client_address is ClientAddress.PEER:
        written.append("x-forwarded-for")
    response = [Mutation(remove=_HEALTH_CHECKED)]
    response += [Mutation(append=option) for option in (*hsts(unit.listener), *_vary(unit.listener))]
    mutations = Mutations(
        request_mutations=[Mutation(append=overwrite(header, _ADDRESS)) for header in written],
        response_mutations=response,
    )
    return HttpFilter(name=NAME, typed_config=pack(HeaderMutation(mutations=mutations)))


def hsts(listener: Listener) -> list[HeaderValueOption]:
    """RFC 6797 §6.1, as far as the policy promises it."""
    promised = None if listener.tls is None else listener.tls.hsts
    return [] if promised is None else [overwrite(HSTS, promised)]


def _vary(listener: Listener) -> list[HeaderValueOption]:
    """No cache may show the page of one origin what another's was answered (Fetch standard, CORS and HTTP caches)."""
    if listener.cors is None:
        return []
    append = HeaderValueOptionHeaderAppendAction.APPEND_IF_EXISTS_OR_ADD
    return [HeaderValueOption(header=HeaderValue(key="vary", value="origin"), append_action=append)]


def overwrite(header: str, value: str) -> HeaderValueOption:
    return HeaderValueOption(
        header=HeaderValue(key=header, value=value),
        append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )
