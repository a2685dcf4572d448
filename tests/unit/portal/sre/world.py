"""A control API that says what a test wants, and notes what it is asked."""

import json
from collections.abc import Mapping

import httpx2

TOKEN = "the-control-token-that-nobody-may-see"
HOSTILE = "<script>alert(1)</script>"
VERSION = "ab" * 32
DIGEST = "sha256:" + "cd" * 32
TEXT = "name: marketing\nroutes:\n  a: 1\n"

GOOD = {"gateway": "central", "version": VERSION, "envoys": 1, "live": 1, "condition": "in sync", "revision": 1}
BROKEN = {
    **GOOD,
    "gateway": "marketing",
    "live": 0,
    "condition": "out of sync",
    "behind": ["marketing-1"],
    "rolled_back": [
        {
            "type": "route",
            "name": f"r-{HOSTILE}",
            "message": f"bad regex {HOSTILE}",
            "file": "marketing.yaml",
            "line": 42,
            "served": True,
            "nodes": ["marketing-1"],
            "suspects": [{"file": "marketing.yaml", "line": 42, "path": "routes.a"}],
        }
    ],
}
REJECTED = {
    "gateway": "marketing",
    "node": "marketing-1",
    "type": "route",
    "name": f"r-{HOSTILE}",
    "status": "REJECTED",
    "version": None,
    "message": f"bad regex {HOSTILE}",
    "file": "marketing.yaml",
    "line": 42,
}
REVISION = {
    "revision": 7,
    "gateway": "marketing",
    "version": "cd" * 32,
    "at": "2026-01-01T00:00:00Z",
    "author": "admin_1",
    "message": f"because {HOSTILE}",
    "source": "apply",
    "result": "live",
    "detail": "",
    "canary_percent": None,
    "current": True,
    "step": None,
    "envoys": 1,
    "live": 1,
}


FORMER = REVISION | {"revision": 6, "version": "ef" * 32, "current": False}


class ControlPlane:
    """What answers in its place. `answers`: by method and path; `asked`: each request with its body."""

    def __init__(self) -> None:
        begun = {"gateway": "marketing", "revision": 7, "version": "cd" * 32, "result": "live", "detail": ""}
        self.answers: dict[tuple[str, str], tuple[int, object]] = {
            ("GET", "/v1/status"): (200, {"gateways": [GOOD, BROKEN], "resources": [REJECTED]}),
            ("GET", "/v1/policies/marketing"): (
                200,
                {"gateway": "marketing", "version": VERSION, "digest": DIGEST, "revision": 1, "text": TEXT},
            ),
            ("POST", "/v1/policies/diff"): (200, {"gateways": [{"changes": []}], "warnings": []}),
            ("POST", "/v1/policies/apply"): (202, {"rollouts": [begun], "warnings": []}),
            ("POST", "/v1/policies/rollback"): (202, {"rollouts": [begun], "warnings": []}),
            ("GET", "/v1/policies/history"): (200, [REVISION, FORMER]),
            ("GET", "/v1/policies/revisions/7"): (200, REVISION | {"text": TEXT.replace("a: 1", f"a: {HOSTILE}")}),
            ("GET", "/v1/policies/revisions/6"): (200, FORMER | {"text": TEXT.replace("a: 1", "a: 6")}),
            ("GET", "/v1/policies/rollouts/7"): (200, REVISION),
        }
        self.asked: list[tuple[str, str, Mapping[str, object]]] = []
        self.headers: list[httpx2.Headers] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        self.asked.append((request.method, request.url.path, json.loads(request.content or b"{}")))
        self.headers.append(request.headers)
        status, body = self.answers.get((request.method, request.url.path), (404, {"code": "none", "detail": "no"}))
        if isinstance(body, list) and (before := request.url.params.get("before")):
            body = [one for one in body if one["revision"] < int(before)]
        return httpx2.Response(status, json=body)
