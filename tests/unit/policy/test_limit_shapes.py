"""What a request shows of its limits: one description for Envoy's actions and for a Check's own descriptors."""

import itertools
from collections.abc import Mapping

import pytest

from policy.limit_shapes import LimitShape, answered_by_check, asked_by_envoy
from policy.limits import Per
from policy.model import Gateway
from tests.unit.authz.world import policy
from xds.compiler.filters.ratelimit import for_limits
from xds.compiler.units import host_limits, route_keys

ALL = [LimitShape("requests", by_tier, per) for by_tier, per in itertools.product((True, False), Per)]
VALUES = {"tier": "free", "caller": "sub:user_1", "address": "192.0.2.7"}


def by_envoy(shape: LimitShape, values: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The descriptor that Envoy makes by the compiled actions (config.route.v3.RateLimit.Action)."""
    entries = []
    for action in for_limits((shape,)).rate_limits[0].actions:
        if (fixed := action.generic_key) is not None:
            entries.append((fixed.descriptor_key, fixed.descriptor_value))
        elif (metadata := action.metadata) is not None and metadata.metadata_key is not None:
            (segment,) = metadata.metadata_key.path
            entries.append((metadata.descriptor_key, values.get(segment.key or "") or metadata.default_value))
        elif (header := action.request_headers) is not None:
            assert header.header_name == "x-waooaw-client-address"
            entries.append((header.descriptor_key, values["address"]))
    return tuple(entries)


@pytest.mark.parametrize("shape", ALL, ids=str)
@pytest.mark.parametrize("absent", [(), ("tier",), ("caller",), ("tier", "caller")], ids=str)
def test_a_check_s_descriptor_is_the_one_that_envoy_makes(shape: LimitShape, absent: tuple[str, ...]) -> None:
    values = {key: value for key, value in VALUES.items() if key not in absent}
    assert shape.descriptor(values) == by_envoy(shape, values)
    assert shape.descriptor({**values, **dict.fromkeys(absent, "")}) == by_envoy(shape, values)


def answering(answered_by: str) -> Gateway:
    endpoints = {"authz": {"endpoint": "unix:/a"}, "ratelimit": {"endpoint": "unix:/b", "answered_by": answered_by}}
    routes = {
        "usual": {"path": "/usual", "upstream": "service"},
        "own": {"path": "/own", "limits": ["addresses"], "upstream": "service"},
        "none": {"path": "/none", "limits": [], "upstream": "service"},
        "public": {"path": "/public", "access": "public", "limits": ["addresses"], "upstream": "service"},
        "moved": {"path": "/moved", "redirect": {"path": "/usual"}},
        "away": {"path": "/away", "upstream": "service", "maintenance": {"message": "Back soon"}},
    }
    limits = {"requests": {"tiers": {"free": 10}}, "addresses": {"per": "address", "requests": 5}}
    defaults = {"methods": {"GET": "read"}, "limits": ["requests"]}
    return policy(services=endpoints, limits=limits, defaults=defaults, routes=routes)


def test_either_envoy_asks_about_a_limit_or_a_check_charges_it() -> None:
    two_hops, one_hop = answering("ratelimit"), answering("authz")
    requests, addresses = LimitShape("requests", True, Per.CALLER), LimitShape("addresses", False, Per.ADDRESS)
    assert asked_by_envoy(two_hops)
    assert not asked_by_envoy(one_hop)
    assert host_limits(two_hops) == (requests,)
    assert host_limits(one_hop) == ()
    # The ninth of a route's key is what its descriptors differ in from those of the host; None: in nothing.
    assert {key[8] for key in route_keys(one_hop, "mesh")} == {None}
    for name, expected in {"usual": (requests,), "own": (addresses,), "none": (), "public": (addresses,)}.items():
        assert answered_by_check(one_hop, one_hop.routes[name]) == expected
        assert answered_by_check(two_hops, two_hops.routes[name]) == ()


@pytest.mark.parametrize("name", ["moved", "away"])
def test_what_envoy_answers_by_itself_is_not_counted(name: str) -> None:
    gateway = answering("authz")
    assert answered_by_check(gateway, gateway.routes[name]) == ()


def test_a_policy_that_says_nothing_of_it_keeps_its_version() -> None:
    assert policy().version == answered_by("ratelimit").version != answered_by("authz").version


def answered_by(which: str) -> Gateway:
    written = policy().model_dump(mode="json", exclude_defaults=True)
    written["services"]["ratelimit"]["answered_by"] = which
    return Gateway.model_validate(written)
