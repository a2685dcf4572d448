"""Whatever the model lets pass, the linter has something to say about or not; it never gives up."""

from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policy.lint import CODES, diagnostic_of, lint
from policy.load import load_gateway
from policy.model import Gateway
from policy.problem import PolicyError, Source

ROOT = Path(__file__).parents[2]
NAMES = ("agents", "central", "education", "marketing", "platform", "sales")
TEXTS = {name: (ROOT / "envoy" / "gateways" / f"{name}.yaml").read_text(encoding="utf-8") for name in NAMES}

_UPSTREAM: dict[str, list[str]] = {"endpoints": []}
ROUTE_CHANGES: dict[str, list[Any]] = {
    "access": ["public", "callers"],
    "match": ["exact", "prefix"],
    "path": ["/", "/healthz", "/a/b"],
    "listeners": [[]],
    "methods": [{}, {"GET": "read"}, {"POST": "write", "PUT": "write"}],
    "tiers": [[], ["internal"], None],
    "networks": [[], ["none"], ["all"], ["both"]],
    "limits": [[], ["shadow"], ["one", "whole"]],
    "callers": [None, {"partners": True}, {"agents": True}],
    "scopes": [None],
    "body": [{}, None],
    "max_body_bytes": [1],
    "timeout_ms": [3_600_000],
    "retries": [{}, {"retry_on": ["5xx"], "methods": ["POST"]}],
    "mirror": [[{"upstream": "nowhere", "credentials": True}]],
    "fault": [{"abort_status": 500}],
    "maintenance": [{"message": "Back soon"}],
    "deprecation": [{"since": "2026-01-01"}, {"since": "2026-01-01", "removed": True}],
    "local_limit": [{"requests_per_second": 1}],
    "streaming": [{}],
    "cors": [{"origins": ["http://a.test"], "credentials": True}],
    "lint_exceptions": [{"AB202": "for this test alone"}, {"AB999": "for this test alone"}],
}


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    """A gateway that comes with apibank, with some of its routes, lists and limits changed."""
    tree: dict[str, Any] = yaml.safe_load(TEXTS[draw(st.sampled_from(NAMES))])
    tree.setdefault("networks", {}).update(
        {"none": [], "all": ["0.0.0.0/0", "::/0"], "both": ["10.0.0.0/8", "fd00::/8"]}
    )
    tree.setdefault("limits", {}).update(
        {
            "shadow": {"per": "gateway", "requests": 1, "shadow": True},
            "one": {"per": "address", "requests": 9, "on_store_failure": "open"},
            "whole": {"per": "gateway", "requests": 2},
        }
    )
    tree["upstreams"]["nowhere"] = _UPSTREAM
    for name in draw(st.lists(st.sampled_from(sorted(tree["routes"])), max_size=3, unique=True)):
        route = tree["routes"][name]
        for field in draw(st.lists(st.sampled_from(sorted(ROUTE_CHANGES)), max_size=3, unique=True)):
            value = draw(st.sampled_from(ROUTE_CHANGES[field]))
            if value is None:
                route.pop(field, None)
            else:
                route[field] = value
    for listener in tree["listeners"].values():
        if draw(st.booleans()):
            listener.pop("tls", None)
            listener.pop("client_address", None)
        listener["networks"] = draw(st.sampled_from([[], ["none"], ["both"]]))
    return tree


class _Written(yaml.SafeDumper):
    """Without anchors, which policies may not have."""

    def ignore_aliases(self, data: object) -> bool:
        return True


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tree=policies())
def test_whatever_the_model_lets_pass_is_linted(tree: dict[str, Any]) -> None:
    try:
        loaded = load_gateway(Gateway, Source("drawn.yaml", yaml.dump(tree, Dumper=_Written)))
    except PolicyError:
        return
    for one in lint(loaded.gateway, loaded.positions):
        assert one.code in CODES
        assert one.message
        assert diagnostic_of(one, loaded.positions).position.file == "drawn.yaml"
