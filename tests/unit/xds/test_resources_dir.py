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
