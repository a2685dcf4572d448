"""Plain Envoy resources from files: what is served, and what a mistake says."""

import pytest

from policy.problem import PolicyError, Source
from xds import snapshot
from xds.resources_dir import read_group

GOOD = """\
- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: one
  type: STATIC
  connect_timeout: 0.25s
- "@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
  cluster_name: one
- "@type": type.googleapis.com/envoy.config.listener.v3.Listener
  name: front
  filter_chains:
  - filters:
    - name: envoy.filters.network.http_connection_manager
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
        stat_prefix: front
"""


def refusals(*texts: str) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        read_group([Source(f"{number}.yaml", text) for number, text in enumerate(texts)])
    return [f"{one.position}: {one.message}" for one in caught.value.problems]


def test_resources_are_served_under_their_names_with_their_lines() -> None:
    group = read_group([Source("all.yaml", GOOD)])
    assert {snapshot.SHORT_NAMES[kind]: list(named) for kind, named in group.resources.items()} == {
        "CDS": ["one"],
        "EDS": ["one"],
        "LDS": ["front"],
    }
    assert str(group.resources[snapshot.ENDPOINT]["one"].origin) == "all.yaml:5"


def test_equal_content_has_equal_versions_however_it_is_spread_over_files() -> None:
    first, rest = GOOD[: GOOD.index('- "@type"', 5)], GOOD[GOOD.index('- "@type"', 5) :]
    assert (
        read_group([Source("a.yaml", rest), Source("b.yaml", first)]).version
        == read_group([Source("c.yaml", GOOD)]).version
    )


def test_an_empty_list_serves_nothing() -> None:
    assert read_group([Source("empty.yaml", "[]\n")]).resources == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: x\n", "0.yaml:1:1: the file is no list"),
        ("- 5\n", "0.yaml:1:3: an entry is"),
        ("- {name: x}\n", "0.yaml:1:3: @type None is no resource"),
        (
            '- {"@type": type.googleapis.com/os.path, name: x}\n',
            "0.yaml:1:3: @type 'type.googleapis.com/os.path' is no",
        ),
        (GOOD.replace("connect_timeout", "conect_timeout"), "0.yaml:1:3: Unknown field 'conect_timeout'"),
        (GOOD.replace("STATIC", "STATICK"), "0.yaml:1:3: Unknown value STATICK"),
        (GOOD.replace("name: one", "name: ''", 1), "0.yaml:1:3: the resource has no name"),
        (GOOD.replace("HttpConnectionManager", "HttpConnectionManagerr"), "0.yaml:7:3: @type"),
    ],
)
def test_a_mistake_is_named_at_its_place(text: str, said: str) -> None:
    (only,) = refusals(text)
    assert only.startswith(said)


def test_two_resources_of_one_name_are_refused_at_the_second() -> None:
    (only,) = refusals(GOOD, GOOD[: GOOD.index('- "@type"', 5)])
    assert only == "1.yaml:1:3: a second Cluster named 'one'; the first is at 0.yaml:1:3"


WRAPPED = """\
- "@type": type.googleapis.com/envoy.service.discovery.v3.Resource
  name: rc/one
  ttl: 30s
  aliases: [rc/a.test, rc/b.test]
  resource:
    "@type": type.googleapis.com/envoy.config.route.v3.VirtualHost
    name: one
    domains: [a.test, b.test]
"""


def test_a_wrapped_resource_has_the_name_the_aliases_and_the_ttl_of_its_wrapper() -> None:
    (resource,) = read_group([Source("all.yaml", WRAPPED)]).resources[snapshot.VIRTUAL_HOST].values()
    assert (resource.name, resource.aliases, resource.ttl) == ("rc/one", ("rc/a.test", "rc/b.test"), 30.0)
    assert str(resource.origin) == "all.yaml:1"


def test_an_endpoint_of_a_locality_has_only_the_name_of_its_wrapper() -> None:
    endpoint = '{"@type": type.googleapis.com/envoy.config.endpoint.v3.LbEndpoint, load_balancing_weight: 2}'
    wrapper = '{"@type": type.googleapis.com/envoy.service.discovery.v3.Resource, name: one/a, resource: %s}'
    group = read_group([Source("all.yaml", f"- {wrapper % endpoint}\n")])
    assert list(group.resources[snapshot.LOCALITY_ENDPOINT]) == ["one/a"]
    (only,) = refusals(f"- {endpoint}\n")
    assert "the resource has no name of its own" in only


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (WRAPPED.replace("ttl: 30s", "ttl: 30"), "ttl 30 is no time to live"),
        (WRAPPED.replace("ttl: 30s", "ttl: 0.5s"), "ttl '0.5s' is no time to live"),
        (WRAPPED.replace("ttl: 30s", "ttl: -5s"), "ttl '-5s' is no time to live"),
        (WRAPPED.replace("[rc/a.test, rc/b.test]", "rc/a.test"), "aliases 'rc/a.test' is no list of names"),
        (WRAPPED.replace("ttl:", "tll:"), "Unknown field 'tll'"),
        (WRAPPED.replace("resource:", "name_of:"), "Unknown field 'name_of'"),
        (WRAPPED[: WRAPPED.index("  resource:")], "the field resource is missing"),
        (WRAPPED.replace("route.v3.VirtualHost", "route.v3.Nothing"), "@type"),
        (
            '- {"@type": type.googleapis.com/envoy.service.discovery.v3.Resource, name: x, resource: '
            '{"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: y}}\n',
            "the resource is named 'x' outside and 'y' inside",
        ),
        (
            '- {"@type": type.googleapis.com/envoy.service.discovery.v3.Resource, aliases: [a], resource: '
            '{"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: y}}\n',
            "aliases are for virtual hosts",
        ),
    ],
)
def test_a_mistake_in_a_wrapper_is_named_at_its_place(text: str, said: str) -> None:
    (only,) = refusals(text)
    assert only.startswith(f"0.yaml:1:3: {said}")


REFERRING = """\
- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: one
  type: EDS
  edsClusterConfig: {serviceName: members, edsConfig: {ads: {}}}
- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: two
  load_assignment: {cluster_name: one}
- "@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
  cluster_name: members
- "@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
  name: routes
  virtual_hosts:
  - name: all
    domains: ["*"]
    routes:
    - {match: {prefix: /a}, route: {cluster: two, request_mirror_policies: [{cluster: one}]}}
    - match: {prefix: /}
      route: {weighted_clusters: {clusters: [{name: one, weight: 1}, {name: from-the-bootstrap, weight: 1}]}}
- "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: certificate
- "@type": type.googleapis.com/envoy.config.listener.v3.Listener
  name: front
  filter_chains:
  - transport_socket:
      name: tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
        common_tls_context: {tls_certificate_sds_secret_configs: [{name: certificate, sds_config: {ads: {}}}]}
    filters:
    - name: envoy.filters.network.http_connection_manager
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
        stat_prefix: front
        rds: {route_config_name: routes, config_source: {ads: {}}}
"""


def test_what_a_resource_refers_to_is_known_as_far_as_it_is_there() -> None:
    group = read_group([Source("all.yaml", REFERRING)])
    assert {
        (snapshot.SHORT_NAMES[kind], each.name): [(snapshot.SHORT_NAMES[other], name) for other, name in each.needs]
        for kind, each in group
        if each.needs
    } == {
        ("CDS", "one"): [("EDS", "members")],
        ("RDS", "routes"): [("CDS", "one"), ("CDS", "two")],
        ("LDS", "front"): [("RDS", "routes"), ("SDS", "certificate")],
    }
