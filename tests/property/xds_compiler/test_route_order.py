"""Envoy takes the first route that matches; in our order that is always the one that says most."""

from hypothesis import given
from hypothesis import strategies as st

from policy.load import load_gateway
from policy.model import Gateway, Match, Route
from policy.problem import Source
from xds.compiler.units import RouteUnit, route_keys

_BASE = load_gateway(
    Gateway,
    Source(
        "base.yaml",
        """
gateway: base
description: One upstream, routes as drawn.
owners: [tests@waooaw.ai]
callers: {partners: true}
tiers: [free]
services: {authz: {endpoint: "127.0.0.1:1"}, ratelimit: {endpoint: "127.0.0.1:2"}}
listeners: {plain: {address: 127.0.0.1:8080}}
upstreams: {service: {endpoints: ["127.0.0.1:80"]}}
defaults: {methods: {GET: read}}
routes: {any: {path: /, upstream: service}}
""",
    ),
).gateway

_segments = st.lists(st.sampled_from(["a", "b", "ab", "a-b"]), max_size=4)
_paths = _segments.map(lambda segments: "/" + "/".join(segments))


def _matches(path: str, route: Route) -> bool:
    if route.match is Match.EXACT:
        return path == route.path
    return route.path == "/" or path == route.path or path.startswith(route.path + "/")


@given(st.dictionaries(st.tuples(_paths, st.sampled_from(Match)), st.none(), min_size=1, max_size=12), _paths)
def test_the_first_route_that_matches_is_the_most_specific(drawn: dict[tuple[str, Match], None], path: str) -> None:
    routes = {
        f"r{number}": Route.model_validate({"path": text, "match": match, "upstream": "service"})
        for number, (text, match) in enumerate(drawn)
    }
    order = [RouteUnit(*key).name for key in route_keys(_BASE.model_copy(update={"routes": routes}), "plain")]
    assert sorted(order) == sorted(routes)
    matching = [name for name in order if _matches(path, routes[name])]
    best = max(matching, key=lambda name: (len(routes[name].path), routes[name].match is Match.EXACT), default=None)
    assert matching[:1] == ([] if best is None else [best])
