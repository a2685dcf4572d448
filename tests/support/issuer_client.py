"""A browser and its clients in front of a development issuer, without a socket between them."""

import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import jwt
from jwt.types import Options

from apibank.issuer.application import issuer_application
from apibank.issuer.clients import APP, PORTAL, known_clients, load_client_secrets
from apibank.issuer.keys import KeyStore
from apibank.issuer.realms import CUSTOMER, REALMS
from apibank.issuer.refresh import COOKIE

BASE = "https://127.0.0.1:10443"
APP_CALLBACK = "https://app.waooaw.ai/callback"
PORTAL_CALLBACK = f"{BASE}/portal/callback"
VERIFIER = "a" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
OWN = {"x-requested-with": "apibank"}


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Issuer:
    """A browser's and a client's view of one realm."""

    def __init__(self, http: httpx2.AsyncClient, state_dir: Path, clock: Clock) -> None:
        self.http = http
        self.clock = clock
        self.secrets = load_client_secrets(state_dir)
        self.state_dir = state_dir

    async def claims(self, token: str, audience: str = CUSTOMER.audience) -> dict[str, object]:
        published = (await self.http.get("/.well-known/jwks.json")).json()
        key = jwt.PyJWKSet.from_dict(published)[jwt.get_unverified_header(token)["kid"]]
        checks: Options = {"verify_iat": False, "verify_exp": False}
        claims: dict[str, object] = jwt.decode(token, key, algorithms=["RS256"], audience=audience, options=checks)
        return claims

    async def authorize(
        self, account: str = "user_12345", client: str = APP, redirect: str = APP_CALLBACK, **changes: str
    ) -> httpx2.Response:
        query = {
            "response_type": "code",
            "client_id": client,
            "redirect_uri": redirect,
            "state": "s1",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            **changes,
        }
        query = {name: value for name, value in query.items() if value}
        return await self.http.post("/api/auth/authorize", params=query, data={"account": account})

    async def code(self, account: str = "user_12345", **changes: str) -> str:
        response = await self.authorize(account, **changes)
        assert response.status_code == 302, response.text
        return parse_qs(urlsplit(response.headers["location"]).query)["code"][0]

    async def redeem(self, code: str, **changes: str) -> httpx2.Response:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "client_id": APP,
            "redirect_uri": APP_CALLBACK,
            "code_verifier": VERIFIER,
            **changes,
        }
        return await self.http.post("/api/auth/token", data=form)

    async def portal(self, form: dict[str, str], path: str = "/api/auth/token") -> httpx2.Response:
        return await self.http.post(path, data=form, auth=(PORTAL, self.secrets[PORTAL]))

    async def portal_session(self, **changes: str) -> dict[str, str]:
        code = await self.code(client=PORTAL, redirect=PORTAL_CALLBACK, **changes)
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": PORTAL_CALLBACK,
            "code_verifier": VERIFIER,
        }
        session: dict[str, str] = (await self.portal(form)).json()
        return session

    async def sign_in(self) -> str:
        """Sign in as the web app does; returns the refresh cookie's value, which no script would see."""
        response = await self.redeem(await self.code())
        assert response.status_code == 200, response.text
        return self.take_cookie()

    def take_cookie(self) -> str:
        value = self.http.cookies[COOKIE]
        self.http.cookies.clear()
        return value

    async def refresh(self, *cookies: str, **headers: str) -> httpx2.Response:
        sent = [("cookie", f"{COOKIE}={value}") for value in cookies]
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.post("/api/auth/refresh", headers=[*sent, *(named or OWN).items()])


@asynccontextmanager
async def issuer_of(realm_name: str, state_dir: Path) -> AsyncIterator[Issuer]:
    """The issuer of a realm, with a clock that the test moves and the keys of `state_dir`."""
    realm, clock = REALMS[realm_name], Clock()
    clients = known_clients(realm, load_client_secrets(state_dir), [BASE])
    keys = KeyStore(state_dir, realm_name)
    keys.ensure()
    application = issuer_application(realm, keys, clients, "http://127.0.0.1:1", [BASE], clock)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(application), base_url=BASE) as http:
        yield Issuer(http, state_dir, clock)
