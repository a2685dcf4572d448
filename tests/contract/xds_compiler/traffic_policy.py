"""The routes of the tests of traffic policies."""

from typing import Any

from tests.contract.xds_compiler.traffic_services import Road

_ORIGIN = "https://app.test"

ROUTES: dict[str, dict[str, Any]] = {
    "plain": {"path": "/plain", "upstream": "blue"},
    "split": {"path": "/split", "split": {"blue": 50, "green": 50}},
    "blue-green": {"path": "/blue-green", "split": {"blue": 0, "green": 100}},
    "retries": {"path": "/retries", "upstream": "blue", "retries": {"retry_on": ["5xx"], "attempts": 2}},
    "retried-posts": {
        "path": "/retried-posts",
        "upstream": "blue",
        "retries": {"retry_on": ["5xx"], "methods": ["POST"]},
    },
    "impatient": {
        "path": "/impatient",
        "upstream": "blue",
        "timeout_ms": 3000,
        "retries": {"retry_on": ["gateway-error"], "per_try_timeout_ms": 300, "attempts": 1},
    },
    "elsewhere": {
        "path": "/elsewhere",
        "upstream": "half",
        "retries": {"retry_on": ["connect-failure"], "attempts": 3},
    },
    "hasty": {"path": "/hasty", "upstream": "blue", "timeout_ms": 300},
    "idle": {"path": "/idle", "upstream": "blue", "idle_timeout_ms": 300},
    "stream": {
        "path": "/stream",
        "upstream": "blue",
        "streaming": {"idle_timeout_ms": 500, "max_duration_ms": 2000},
    },
    "socket": {
        "path": "/socket",
        "upstream": "blue",
        "streaming": {"idle_timeout_ms": 500, "max_duration_ms": 2000},
        "upgrades": ["websocket"],
    },
    "cors": {"path": "/cors", "upstream": "blue", "cors": {"origins": [_ORIGIN], "credentials": True}},
    "headers": {
        "path": "/headers",
        "upstream": "blue",
        "headers": {
            "request": {
                "set": {"x-mode": "%REQ(authorization)% 100%"},
                "add": {"x-tag": "ours"},
                "remove": ["x-debug", "cookie"],
            },
            "response": {
                "set": {"x-frame-options": "%HOSTNAME%"},
                "add": {"x-tag": "50%"},
                "remove": ["x-powered-by"],
            },
        },
    },
    "redirect": {"path": "/redirect", "redirect": {"host": "new.test", "prefix": "/new", "https": True}},
    "redirect-path": {
        "path": "/redirect/one",
        "access": "public",
        "redirect": {"host": "new.test", "path": "/one", "port": 8443, "status": 303, "strip_query": True},
    },
    "redirect-same": {"path": "/redirect/same", "redirect": {"prefix": "/plain", "status": 307}},
    "prefix": {"path": "/prefix", "upstream": "blue", "rewrite": {"prefix": "/other", "host": "other.test"}},
    "prefix-off": {"path": "/prefix.off", "upstream": "blue", "rewrite": {"prefix": "/"}},
    "prefix-on": {"path": "/", "upstream": "blue", "rewrite": {"prefix": "/below"}},
    "exact": {"path": "/exact", "match": "exact", "upstream": "blue", "rewrite": {"prefix": "/exactly"}},
    "path": {"path": "/path", "upstream": "blue", "rewrite": {"path": "/one"}},
    "regex": {
        "path": "/regex",
        "upstream": "blue",
        "rewrite": {"regex": "^/regex/([^/]+)/([^/]+)/(.*)$", "substitution": r"/v2/\2/\1/\3"},
    },
    "mirror": {"path": "/mirror", "upstream": "blue", "mirror": [{"upstream": "shadow"}]},
    "mirror-all": {"path": "/mirror/all", "upstream": "blue", "mirror": [{"upstream": "shadow", "credentials": True}]},
    "mirror-lost": {"path": "/mirror/lost", "upstream": "blue", "mirror": [{"upstream": "nobody"}]},
    "delay": {"path": "/delay", "upstream": "blue", "fault": {"delay_ms": 400}},
    "abort": {"path": "/abort", "upstream": "blue", "fault": {"abort_status": 502}},
    "local-limit": {"path": "/limit", "upstream": "blue", "local_limit": {"requests_per_second": 1, "burst": 3}},
    "maintenance": {
        "path": "/maintenance",
        "upstream": "blue",
        "maintenance": {"message": 'Back at "noon", 100% %REQ(x)%', "retry_after_seconds": 120},
        "cors": {"origins": [_ORIGIN]},
    },
    "deprecated": {
        "path": "/deprecated",
        "upstream": "blue",
        "deprecation": {"since": "2026-01-01", "sunset": "2026-12-31", "link": "https://docs.test/changes"},
    },
    "limited": {
        "path": "/limited-and-deprecated",
        "upstream": "blue",
        "limits": ["all"],
        "deprecation": {"since": "2026-01-01"},
    },
    "limited-socket": {
        "path": "/limited/socket",
        "upstream": "blue",
        "limits": ["all"],
        "streaming": {"idle_timeout_ms": 500, "max_duration_ms": 2000},
        "upgrades": ["websocket"],
    },
    "limited-retries": {
        "path": "/limited/retries",
        "upstream": "blue",
        "limits": ["all"],
        "retries": {"retry_on": ["5xx"], "attempts": 2},
    },
    "limited-copies": {
        "path": "/limited/copies",
        "upstream": "blue",
        "limits": ["all"],
        "mirror": [{"upstream": "shadow"}],
    },
    "removed": {
        "path": "/removed",
        "upstream": "blue",
        "deprecation": {"since": "2026-01-01", "link": "https://docs.test/changes", "removed": True},
    },
}


def policy(road: Road, services: str, unused: int) -> dict[str, Any]:
    """A gateway with these routes. `unused` is a port on which nobody listens."""
    endpoints = {name: [backend.endpoint] for name, backend in road.backends.items()}
    # Its first host is not there.
    endpoints["half"] = [f"127.0.0.1:{unused}", road.backends["blue"].endpoint]
    endpoints["nobody"] = []
    return {
        "gateway": "road",
        "description": "Traffic policies.",
        "owners": ["tests@waooaw.ai"],
        "callers": {"partners": True},
        "tiers": ["free"],
        "credentials": "forward",
        "services": {
            "authz": {"endpoint": services, "timeout_ms": 2000},
            "ratelimit": {"endpoint": services, "timeout_ms": 2000},
        },
        "listeners": {"road": {"address": f"127.0.0.1:{road.port}"}},
        "upstreams": {name: {"endpoints": hosts} for name, hosts in endpoints.items()},
        "limits": {"all": {"per": "gateway", "requests": 1000}},
        "defaults": {"methods": {"GET": "read", "POST": "write"}, "max_body_bytes": 100_000},
        "routes": {name: dict(route) for name, route in ROUTES.items()},
    }
