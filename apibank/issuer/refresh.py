"""The refresh of access tokens by cookie (R92): the one endpoint of the issuer that the central gateway routes to.

The refresh token never meets a script: it travels in an HttpOnly cookie, to this path alone. A request that a foreign
page makes a browser send is refused three times over: SameSite=Strict keeps the cookie away, an Origin that is not
ours is refused, and a request without Origin must carry a header that a form cannot set.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from apibank.issuer.oauth import Asked, IssuingServer, Told

REFRESH_PATH: Final = "/api/auth/refresh"
COOKIE: Final = "__Secure-waooaw-refresh"
CUSTOM_HEADER: Final = "x-requested-with"


@dataclass(frozen=True, slots=True)
class _Refusal:
    status: int
    code: str
    title: str
    detail: str


_CROSS_SITE: Final = _Refusal(
    403,
    "cross_site_request",
    "Cross-site request",
    f"A refresh comes from a page of ours, or carries the header {CUSTOM_HEADER}",
)
_MISSING: Final = _Refusal(401, "refresh_token_missing", "No refresh token", "Sign in to get a refresh cookie")
_INVALID: Final = _Refusal(
    401,
    "refresh_token_invalid",
    "Refresh token refused",
    "The refresh token is unknown, used or expired: sign in again",
)


def refresh(server: IssuingServer, origins: frozenset[str], request: Request) -> Response:
    """A new access token for the cookie's refresh token, and a new cookie in its place."""
    if not is_own(request.headers, origins):
        return _refused(_CROSS_SITE, request)
    cookies = _cookies(request.headers.getlist("cookie"))
    if not cookies:
        return _refused(_MISSING, request)
    found = server.sessions.find(cookies[0])
    # Two cookies of one name: somebody has planted the other one, from another host or path.
    if len(cookies) > 1 or found is None:
        return _refused(_INVALID, request)
    form = {"grant_type": "refresh_token", "refresh_token": cookies[0], "client_id": found.client_id}
    told = server.token(Asked("POST", REFRESH_PATH, form=urlencode(form), from_cookie=True))
    if told.status != 200:
        return _refused(_INVALID, request)
    return with_cookie(server, told)


def with_cookie(server: IssuingServer, told: Told) -> Response:
    """The answer to a public client: its refresh token leaves the body and becomes the cookie."""
    assert not isinstance(told.body, str)
    body = dict(told.body)
    value = body.pop("refresh_token", None)
    response = JSONResponse(body, told.status, dict(told.headers))
    found = server.sessions.find(value) if isinstance(value, str) else None
    if isinstance(value, str) and found is not None:
        remaining = max(0, int(found.expires_at - server.now()))
        response.set_cookie(
            COOKIE, value, max_age=remaining, path=REFRESH_PATH, secure=True, httponly=True, samesite="strict"
        )
    return response


def is_own(headers: Mapping[str, str], origins: frozenset[str]) -> bool:
    """Whether a request was not made by another site's page (Fetch standard, RFC 6265bis §8.8)."""
    if headers.get("sec-fetch-site") == "cross-site":
        return False
    origin = headers.get("origin")
    return origin in origins if origin is not None else bool(headers.get(CUSTOM_HEADER))


def _cookies(lines: Sequence[str]) -> list[str]:
    """Every value that came under our name; a dictionary would hide all but one."""
    pairs = [pair.strip().partition("=") for line in lines for pair in line.split(";")]
    return [value for name, _, value in pairs if name == COOKIE and value]


def _refused(refusal: _Refusal, request: Request) -> Response:
    problem = {
        "type": f"https://waooaw.ai/problems/{refusal.code}",
        "title": refusal.title,
        "status": refusal.status,
        "detail": refusal.detail,
        "code": refusal.code,
        "request_id": request.headers.get("x-request-id", ""),
        "errors": [],
    }
    headers = {"cache-control": "no-store"}
    if refusal.status == 401:
        headers["www-authenticate"] = 'Bearer error="invalid_token"' if refusal is _INVALID else "Bearer"
    response = JSONResponse(problem, refusal.status, headers, "application/problem+json")
    if refusal is _INVALID:
        response.delete_cookie(COOKIE, path=REFRESH_PATH, secure=True, httponly=True, samesite="strict")
    return response
