"""The API reference as pages: `/api/docs`, `/api/redoc`, `/api/openapi.json`, and the same below each domain.

Everything that a page loads comes from here, and nothing else may run in it: its Content-Security-Policy names no other
host and no inline script (CSP Level 3). "Try it out" calls the host that served the page.
"""

import functools
import html
from collections.abc import Callable, Mapping
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final, Protocol, TypeVar

from fastapi import APIRouter, Request, Response

from portal.problems import Refused

ASSETS: Final = "/api/docs/assets"

# What the two bundles need beside themselves: data: images of Swagger UI, the search worker of ReDoc, and styles that
# both of them write into the page. No script but files from here.
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "worker-src blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_PAGE_HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
_ASSET_HEADERS: Final[Mapping[str, str]] = {
    "x-content-type-options": "nosniff",
    "cache-control": "public, max-age=86400",
}
_TYPES: Final[Mapping[str, str]] = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "redoc.standalone.js": "text/javascript; charset=utf-8",
    "favicon.png": "image/png",
    "start-swagger-ui.css": "text/css; charset=utf-8",
    "start-swagger-ui.js": "text/javascript; charset=utf-8",
    "start-redoc.js": "text/javascript; charset=utf-8",
}


_ELSEWHERE: Final = b"https://cdn.redoc.ly/redoc/logo-mini.svg"


_Endpoint = TypeVar("_Endpoint", bound=Callable[..., Response])


class Documents(Protocol):
    """OpenAPI documents of the policies in force."""

    def document(self, domain: str | None) -> bytes | None:
        """JSON; of everything that the public may know where `domain` is None. None: no such domain has one."""
        ...


def reference_routes(documents: Documents) -> APIRouter:
    """The reference, with full paths: no gateway strips a prefix (R16, R114, R115). It raises Refused."""
    router = APIRouter(include_in_schema=False)

    def get(path: str) -> Callable[[_Endpoint], _Endpoint]:
        # HEAD wherever there is GET (RFC 9110 §9.1); FastAPI's own routes do not have it.
        return router.api_route(path, methods=["GET", "HEAD"])

    def found(domain: str | None) -> bytes:
        document = documents.document(domain)
        if document is None:
            raise Refused(404, "not_found", "There is no such page of the reference.")
        return document

    # Before the domains, or `docs` were one of them.
    @get(f"{ASSETS}/{{name}}")
    def asset(name: str) -> Response:
        if name not in _TYPES:
            raise Refused(404, "not_found", "There is no such page of the reference.")
        return Response(_asset(name), media_type=_TYPES[name], headers=_ASSET_HEADERS)

    @get("/api/openapi.json")
    def whole(request: Request) -> Response:
        return _json(request, found(None))

    @get("/api/docs")
    def swagger_ui() -> Response:
        found(None)
        return _page("start-swagger-ui.js", "/api/openapi.json", "API reference")

    @get("/api/redoc")
    def redoc() -> Response:
        found(None)
        return _page("start-redoc.js", "/api/openapi.json", "API reference")

    @get("/api/{domain}/openapi.json")
    def whole_of(domain: str, request: Request) -> Response:
        return _json(request, found(domain))

    @get("/api/{domain}/docs")
    def swagger_ui_of(domain: str) -> Response:
        found(domain)
        return _page("start-swagger-ui.js", f"/api/{domain}/openapi.json", f"{domain} API reference")

    @get("/api/{domain}/redoc")
    def redoc_of(domain: str) -> Response:
        found(domain)
        return _page("start-redoc.js", f"/api/{domain}/openapi.json", f"{domain} API reference")

    return router


def _json(request: Request, document: bytes) -> Response:
    """The document, or 304 to those who have it (RFC 9110 §13.1.2)."""
    tag = f'"{sha256(document).hexdigest()[:32]}"'
    headers = {"etag": tag, "cache-control": "no-cache", "x-content-type-options": "nosniff"}
    known = {one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")}
    if tag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(document, media_type="application/json", headers=headers)


def _page(start: str, document: str, title: str) -> Response:
    bundle = "swagger-ui-bundle.js" if start == "start-swagger-ui.js" else "redoc.standalone.js"
    styles = ("swagger-ui.css", "start-swagger-ui.css") if bundle.startswith("swagger") else ()
    style = "".join(f'<link rel="stylesheet" href="{ASSETS}/{name}">\n' for name in styles)
    # The bundles write characters beyond ASCII: without the charset they end in a SyntaxError.
    text = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<link rel="icon" href="{ASSETS}/favicon.png">
<style>body {{ margin: 0 }}</style>
{style}</head>
<body>
<main id="reference"></main>
<noscript>This page needs JavaScript; the document itself is <a href="{html.escape(document)}">here</a>.</noscript>
<script src="{ASSETS}/{bundle}"></script>
<script src="{ASSETS}/{start}" data-document="{html.escape(document)}"></script>
</body>
</html>
"""
    return Response(text, media_type="text/html; charset=utf-8", headers=_PAGE_HEADERS)


@functools.cache
def _asset(name: str) -> bytes:
    own = name.startswith("start-")
    folder: Traversable = files("portal.reference") / "assets" if own else files("fastapi_offline") / "static"
    # ReDoc shows its maker's sign from its maker's host, which the page's policy keeps it from.
    return (folder / name).read_bytes().replace(_ELSEWHERE, f"{ASSETS}/favicon.png".encode())
