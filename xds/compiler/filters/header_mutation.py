"""The client's address for authz, the limits and the services; Strict-Transport-Security and Vary for browsers.

CheckRequest.source.address is the TCP peer, whatever Envoy has found out about the client; a header carries what it
has found out. The gateway that clients reach also writes it over X-Forwarded-For, for the gateway behind.
"""

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation as Mutation
from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutationRemoveOnMatch
from envoy_data_plane.envoy.config.core.v3 import (
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
)
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import (
    HeaderMutation,
    HeaderMutationPerRoute,
    Mutations,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from policy.descriptors import CLIENT_ADDRESS_HEADER, SPOOFABLE_HEADERS, SPOOFABLE_PREFIXES
from policy.edge import ClientAddress, Listener
from policy.header_changes import HeaderChanges
from policy.traffic import Traffic
from xds.compiler.encode import pack
from xds.compiler.units import ListenerUnit

NAME = "envoy.filters.http.header_mutation"
HSTS = "strict-transport-security"

_ADDRESS = "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"

# Headers by which clients steer an Envoy. Its own use of them between our gateways is switched off (filters/router).
_ENVOY_PREFIX = "x-envoy-"
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
        request_trailers_mutations=stripped(),
    )
    return HttpFilter(name=NAME, typed_config=pack(HeaderMutation(mutations=mutations)))


def stripped() -> list[Mutation]:
    """What only a gateway may say is taken out: identities, addresses, other paths and methods, what steers an Envoy.

    Of headers ahead of every filter (hcm.py); of trailers here, because services may read a trailer for a header, and
    authz has seen none (RFC 9110 §6.5.1).
    """
    prefixes = [
        Mutation(remove_on_match=HeaderMutationRemoveOnMatch(key_matcher=StringMatcher(prefix=prefix)))
        for prefix in (*SPOOFABLE_PREFIXES, _ENVOY_PREFIX)
    ]
    return [*prefixes, *(Mutation(remove=header) for header in SPOOFABLE_HEADERS)]


def hsts(listener: Listener) -> list[HeaderValueOption]:
    """RFC 6797 §6.1, as far as the policy promises it."""
    promised = None if listener.tls is None else listener.tls.hsts
    return [] if promised is None else [overwrite(HSTS, promised)]


def _vary(listener: Listener) -> list[HeaderValueOption]:
    """No cache may show the page of one origin what another's was answered (Fetch standard, CORS and HTTP caches)."""
    return [] if listener.cors is None else [append("vary", "origin")]


def for_route(traffic: Traffic) -> HeaderMutationPerRoute | None:
    """What a route changes of its answers, Envoy's own among them; None where that is nothing."""
    response = [] if traffic.headers is None else mutations(traffic.headers.response)
    if traffic.cors is not None:
        response += [Mutation(append=append("vary", "origin"))]
    for name, value in () if traffic.deprecation is None else traffic.deprecation.headers:
        option = append(name, value) if name == "link" else overwrite(name, value)
        response.append(Mutation(append=option))
    if traffic.maintenance is not None:
        retry_after = overwrite("retry-after", str(traffic.maintenance.retry_after_seconds))
        response.append(Mutation(append=retry_after))
    return HeaderMutationPerRoute(mutations=Mutations(response_mutations=response)) if response else None


def mutations(changes: HeaderChanges | None) -> list[Mutation]:
    """Changes as they are written: % stands for itself, and not for one of Envoy's command operators."""
    if changes is None:
        return []
    return [
        *(Mutation(remove=name) for name in changes.remove),
        *(Mutation(append=overwrite(name, literal(value))) for name, value in changes.set.items()),
        *(Mutation(append=append(name, literal(value))) for name, value in changes.add.items()),
    ]


def literal(text: str) -> str:
    """Text that Envoy's formatters give back as it is."""
    return text.replace("%", "%%")


def append(header: str, value: str) -> HeaderValueOption:
    return HeaderValueOption(
        header=HeaderValue(key=header, value=value),
        append_action=HeaderValueOptionHeaderAppendAction.APPEND_IF_EXISTS_OR_ADD,
    )


def overwrite(header: str, value: str) -> HeaderValueOption:
    return HeaderValueOption(
        header=HeaderValue(key=header, value=value),
        append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )
