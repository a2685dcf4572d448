"""The issuer over HTTP: one application per realm, on loopback."""

import ipaddress
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from apibank.issuer.clients import Client, known_clients, load_client_secrets
from apibank.issuer.grants import register_grants
from apibank.issuer.keys import ALGORITHM, KeyStore
from apibank.issuer.oauth import Asked, IssuingServer, Told
from apibank.issuer.pages import PAGE_HEADERS, sign_in_page
from apibank.issuer.realms import JWKS_PATH, REALMS, Realm
from apibank.issuer.refresh import CUSTOM_HEADER, REFRESH_PATH, refresh, with_cookie
from apibank.issuer.sessions import Sessions
from apibank.ports import LOOPBACK
from apibank.web import WebListener

AUTHORIZE_PATH: Final = "/api/auth/authorize"
TOKEN_PATH: Final = "/api/auth/token"  # noqa: S105
REVOKE_PATH: Final = "/api/auth/revoke"
ROTATE_PATH: Final = "/__rotate"

_LONGEST_FORM: Final = 65_536
# The web application, wherever the stack itself is reached.
_APP_ORIGINS: Final = ("https://waooaw.ai", "https://app.waooaw.ai")


def issuer_listeners(
    state_dir: Path,
    ports: Mapping[str, int],
    origins: Sequence[str],
    *,
    host: str = LOOPBACK,
    allow_remote: bool = False,
    now: Callable[[], float] = time.time,
) -> list[WebListener]:
    """One listener per realm: port by realm name, customer and admin. `apibank.web.serve_web` runs them.

    `origins` are those under which browsers reach the central gateway, https://HOST:PORT. The issuer takes everybody
    for who they say they are: it raises ValueError for a `host` that others can reach, unless `allow_remote` says that
    something else keeps them away, such as a network of containers.
    """
    if not allow_remote and not ipaddress.ip_address(host).is_loopback:
        raise ValueError(f"the development issuer asks for no password, so it does not listen on {host}")
    client_secrets = load_client_secrets(state_dir)
    listeners = []
    for name, port in ports.items():
        realm = REALMS[name]
        clients = known_clients(realm, client_secrets, origins)
        keys = KeyStore(state_dir, name)
        keys.ensure()
        application = issuer_application(realm, keys, clients, f"http://{host}:{port}", origins, now)
        listeners.append(WebListener(application, host, port))
    return listeners


def issuer_application(
    realm: Realm,
    keys: KeyStore,
    clients: Mapping[str, Client],
    base_url: str,
    origins: Sequence[str],
    now: Callable[[], float] = time.time,
) -> Starlette:
    """The application of one realm; `base_url` is where its own endpoints are reached."""
    server = IssuingServer(realm, keys, clients, Sessions(), now)
    register_grants(server)
    endpoints = _Endpoints(server, base_url, frozenset((*origins, *_APP_ORIGINS)))
    return Starlette(
        routes=[
            Route("/healthz", endpoints.health),
            Route(JWKS_PATH, endpoints.jwks),
            Route("/.well-known/openid-configuration", endpoints.discovery),
            Route("/.well-known/oauth-authorization-server", endpoints.discovery),
            Route(AUTHORIZE_PATH, endpoints.authorize, methods=["GET", "POST"]),
            Route(TOKEN_PATH, endpoints.token, methods=["POST"]),
            Route(REVOKE_PATH, endpoints.revoke, methods=["POST"]),
            Route(REFRESH_PATH, endpoints.refresh, methods=["POST"]),
            Route(ROTATE_PATH, endpoints.rotate, methods=["POST"]),
        ]
    )


@dataclass(frozen=True, slots=True)
class _Endpoints:
    server: IssuingServer
    base_url: str
    origins: frozenset[str]

    async def health(self, request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def jwks(self, request: Request) -> Response:
        keys = self.server.keys.load().jwks(self.server.now())
        return JSONResponse(keys, headers={"cache-control": "public, max-age=10"})

    async def discovery(self, request: Request) -> Response:
        """OpenID Connect Discovery §3, RFC 8414 §2."""
        return JSONResponse(
            {
                "issuer": self.server.realm.issuer,
                "authorization_endpoint": self.base_url + AUTHORIZE_PATH,
                "token_endpoint": self.base_url + TOKEN_PATH,
                "revocation_endpoint": self.base_url + REVOKE_PATH,
                "jwks_uri": self.base_url + JWKS_PATH,
                "scopes_supported": sorted(self.server.realm.scopes | {"openid", "profile", "email"}),
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": ["authorization_code", "client_credentials", "refresh_token"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
                "code_challenge_methods_supported": ["S256"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": [ALGORITHM],
            }
        )

    async def authorize(self, request: Request) -> Response:
        asked = Asked(request.method, AUTHORIZE_PATH, query=request.url.query)
        client = self.server.consent(asked)
        if isinstance(client, Told):
            return _response(client)
        if request.method == "GET":
            return HTMLResponse(sign_in_page(self.server.realm, client), headers=PAGE_HEADERS)
        if request.headers.get("sec-fetch-site") in {"cross-site", "same-site"}:
            raise HTTPException(403, "the form is sent by this page alone")
        account = parse_qs(await _form(request)).get("account", [""])[0]
        person = self.server.realm.person(account)
        if account and person is None:
            raise HTTPException(400, "there is no such account")
        return _response(self.server.authorize(asked, person))

    async def token(self, request: Request) -> Response:
        told = self.server.token(await _asked(request, TOKEN_PATH))
        # A confidential client keeps its refresh token itself. A public one is a page, which must not see it.
        client = self._client_of(told)
        return with_cookie(self.server, told) if client is not None and client.secret is None else _response(told)

    async def revoke(self, request: Request) -> Response:
        return _response(self.server.revoke(await _asked(request, REVOKE_PATH)))

    async def refresh(self, request: Request) -> Response:
        return refresh(self.server, self.origins, request)

    async def rotate(self, request: Request) -> Response:
        """Give the next key its turn. For whoever sits at this machine: not by a gateway, not by a web page."""
        client = request.client
        at_home = client is not None and ipaddress.ip_address(client.host).is_loopback
        relayed = any(name in request.headers for name in ("x-forwarded-for", "forwarded", "origin"))
        if not at_home or relayed or not request.headers.get(CUSTOM_HEADER):
            raise HTTPException(403, f"only from this machine, directly, with the header {CUSTOM_HEADER}")
        ring = self.server.keys.rotate(self.server.now())
        return JSONResponse({"current": ring.current.kid, "next": ring.next.kid})

    def _client_of(self, told: Told) -> Client | None:
        if isinstance(told.body, str) or not isinstance(told.body.get("refresh_token"), str):
            return None
        found = self.server.sessions.find(str(told.body["refresh_token"]))
        return None if found is None else self.server.query_client(found.client_id)


def _response(told: Told) -> Response:
    headers = dict(told.headers)
    if isinstance(told.body, str):
        return Response(told.body, told.status, headers)
    return JSONResponse(told.body, told.status, headers)


async def _asked(request: Request, path: str) -> Asked:
    """A request whose parameters are in the form; those in the query would end up in logs, and do not count."""
    return Asked(request.method, path, form=await _form(request), headers=_header_names(request))


def _header_names(request: Request) -> dict[str, str]:
    # Authlib looks for "Authorization" as it is spelt.
    return {name.title(): value for name, value in request.headers.items()}


async def _form(request: Request) -> str:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise HTTPException(415, "the body is application/x-www-form-urlencoded")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST_FORM:
            raise HTTPException(413, "the form is too long")
    return body.decode("latin-1")
