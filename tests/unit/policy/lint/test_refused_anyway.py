"""What a linter would look for and cannot be written: the model refuses it, so no rule stands for it."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from policy.lint import CODES, lint
from policy.load import Loaded, load_gateway
from policy.model import Gateway
from policy.problem import PolicyError, Source

ROOT = Path(__file__).parents[4]
EXAMPLE = Source("example.yaml", (ROOT / "docs" / "lint" / "example.yaml").read_text(encoding="utf-8"))


def loaded(changes: Mapping[str, object]) -> Loaded[Gateway]:
    overlay = yaml.safe_dump({"profile": "test", "gateways": {"example": changes}})
    return load_gateway(Gateway, EXAMPLE, [Source("test.yaml", overlay)])


ISSUER = {"issuer": "https://auth.example.org", "audience": "https://api.example.org"}
IMPOSSIBLE: Mapping[str, Mapping[str, object]] = {
    "authorization that fails open": {"services": {"authz": {"failure_mode_allow": True}}},
    "authorization that is asked of no route": {"routes": {"orders": {"authz": False}}},
    "HS256 with public keys": {
        "issuers": {"other": {**ISSUER, "algorithm": "HS256", "jwks": {"url": "https://auth.example.org/jwks.json"}}}
    },
    "an asymmetric algorithm with a secret": {
        "issuers": {"other": {**ISSUER, "algorithm": "RS256", "secret_file": "/etc/example/secret"}}
    },
    "tokens without a signature": {
        "issuers": {"other": {**ISSUER, "algorithm": "none", "jwks": {"url": "https://auth.example.org/jwks.json"}}}
    },
    "a limit of zero": {"limits": {"everybody": {"requests": 0}}},
    "a tier's limit of zero": {"limits": {"caller": {"tiers": {"free": 0}}}},
    "a tier without a figure": {"tiers": ["free", "business", "enterprise"]},
    "a body that is checked in part": {"routes": {"orders": {"allow_partial_body": True}}},
    "a checked body and an upgrade": {
        "routes": {"orders": {"streaming": {}, "upgrades": ["websocket"]}},
    },
    "a page of any origin": {"listeners": {"https": {"cors": {"origins": ["*"]}}}},
    "callers where nobody is one": {"callers": {"tokens": {"customer": None}}},
    "two routes of one path": {"routes": {"again": {"path": "/orders", "upstream": "shop"}}},
    "an address that anybody can claim": {"listeners": {"https": {"client_address": "forwarded"}}},
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_it_cannot_be_written(what: str) -> None:
    with pytest.raises(PolicyError):
        loaded(IMPOSSIBLE[what])


def test_a_key_that_should_be_private_is_found_and_not_repeated() -> None:
    from policy.lint import diagnostic_of

    key = {"kty": "RSA", "n": "AQAB", "e": "AQAB", "d": "the-private-part"}
    policy = loaded({"issuers": {"customer": {"jwks": {"url": None, "keys": [key]}}}})
    found = [diagnostic_of(one, policy.positions) for one in lint(policy.gateway, policy.positions)]
    assert "AB109" in {one.code for one in found}
    assert "the-private-part" not in str(PolicyError(found))


@pytest.mark.parametrize(
    "endpoint",
    [
        *("169.254.169.254:80", "169.254.170.2:80", "[fe80::1]:80", "[fd00:ec2::254]:80", "[fd20:ce::254]:80"),
        *(
            "100.100.100.200:80",
            "[::ffff:169.254.169.254]:80",
            "[64:ff9b::a9fe:a9fe]:80",
            "Metadata.Google.Internal:80",
        ),
        *("0.0.0.0:80", "0.1.2.3:80", "[::]:80", "[::ffff:0.0.0.0]:80", "224.0.0.1:80", "255.255.255.255:80"),
    ],
)
@pytest.mark.parametrize("whose", ["upstream", "service"])
def test_no_upstream_leads_to_a_cloud_s_metadata_or_to_no_host(endpoint: str, whose: str) -> None:
    upstream = {"upstreams": {"shop": {"endpoints": ["10.0.0.1:80", endpoint]}}}
    changes = upstream if whose == "upstream" else {"services": {"authz": {"endpoint": endpoint}}}
    (found,) = [one for one in lint(loaded(changes).gateway) if one.code == "AB406"]
    at = ("upstreams", "shop", "endpoints", 1) if whose == "upstream" else ("services", "authz", "endpoint")
    assert found.path == at


@pytest.mark.parametrize("endpoint", ["10.0.0.1:80", "127.0.0.1:80", "[fd00::1]:80", "unix:/run/0.0.0.0", "shop:80"])
def test_other_places_are_for_services(endpoint: str) -> None:
    found = lint(loaded({"upstreams": {"shop": {"endpoints": [endpoint]}}}).gateway)
    assert "AB406" not in {one.code for one in found}


@pytest.mark.parametrize("url", ["http://[", "http://[::1", "http://]", "http://"])
def test_a_url_that_is_none_is_no_reason_to_give_up(url: str) -> None:
    try:
        policy = loaded({"issuers": {"customer": {"jwks": {"url": url}}}})
    except PolicyError:
        return
    assert "AB106" in {one.code for one in lint(policy.gateway)}


def test_a_public_route_whose_limits_only_count_has_none() -> None:
    shadow = {"everybody": {"shadow": True}}
    public = {"path": "/seen", "access": "public", "limits": ["everybody"], "upstream": "shop"}
    found = lint(loaded({"limits": shadow, "routes": {"seen": public}}).gateway)
    assert [one.path for one in found if one.code == "AB201"] == [("routes", "seen")]


def test_a_long_list_of_networks_is_looked_through_once() -> None:
    many = [f"10.{high}.{low}.0/24" for high in range(40) for low in range(250)]
    policy = loaded({"networks": {"office": [*many, "10.3.7.9/32"]}})
    found = [one for one in lint(policy.gateway) if one.code == "AB503"]
    assert [one.path for one in found] == [("networks", "office", len(many))]
    assert "10.3.7.0/24" in found[0].message


@pytest.mark.parametrize(
    ("redirects", "found"),
    [
        ({"/a": {"path": "/a"}}, ["/a"]),
        ({"/a": {"prefix": "/a/b"}}, ["/a"]),
        ({"/a": {"https": True}}, ["/a"]),
        ({"/a": {"prefix": "/b"}, "/b": {"prefix": "/a"}}, ["/a", "/b"]),
        ({"/a": {"prefix": "/b"}, "/b": {"path": "/b/c"}}, ["/b"]),
        ({"/a": {"path": "/a/b"}, "/a/b": {"prefix": "/orders"}}, []),
        ({"/a": {"path": "/a", "host": "shop.example.org"}}, []),
        ({"/a": {"path": "/a", "port": 8444}}, []),
        ({"/a": {"prefix": "/orders"}}, []),
    ],
)
def test_a_redirect_that_comes_back_is_found(redirects: Mapping[str, Mapping[str, object]], found: list[str]) -> None:
    routes = {path.replace("/", "r"): {"path": path, "redirect": to} for path, to in redirects.items()}
    places = [one.path for one in lint(loaded({"routes": routes}).gateway) if one.code == "AB312"]
    assert places == [("routes", path.replace("/", "r"), "redirect") for path in found]


def test_codes_are_told_apart_by_their_names_too() -> None:
    titles = [title for title, _ in CODES.values()]
    assert len(set(titles)) == len(titles)
