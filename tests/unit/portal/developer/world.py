"""A developer portal in one process: its pages, the development issuer, a database; and browsers that visit it."""

import re
from collections.abc import Mapping
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import httpx2

from portal.developer.browser import SESSION_COOKIE
from portal.developer.sign_in import PENDING_COOKIE
from tests.support.issuer_client import BASE, Issuer

OWN = {"origin": BASE, "sec-fetch-site": "same-origin"}


class Browser:
    """Somebody at a portal. Redirects are shown, not followed."""

    def __init__(self, http: httpx2.AsyncClient, issuer: Issuer) -> None:
        self.http = http
        self.issuer = issuer

    async def get(self, path: str, **params: str) -> httpx2.Response:
        return await self.http.get(path, params=params or None)

    async def begin(self, path: str = "/portal/sign-in") -> dict[str, str]:
        """Go to sign in; what the portal asks of the issuer."""
        answer = await self.http.get(path)
        assert answer.status_code == 303, answer.text
        return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}

    async def at_issuer(self, asked: Mapping[str, str], account: str) -> str:
        """Choose an account there; the address to which the issuer sends the browser back, as path and query."""
        answer = await self.issuer.http.post("/api/auth/authorize", params=dict(asked), data={"account": account})
        assert answer.status_code == 302, answer.text
        back = urlsplit(answer.headers["location"])
        assert f"{back.scheme}://{back.netloc}" == BASE
        return f"{back.path}?{back.query}"

    async def sign_in(self, account: str = "user_12345", path: str = "/portal/sign-in") -> httpx2.Response:
        """All the way; the portal's answer to the browser that comes back."""
        return await self.http.get(await self.at_issuer(await self.begin(path), account))

    async def token(self, path: str = "/portal") -> str:
        """The token of the forms of a page."""
        found = re.search(r'name="csrf_token" value="([0-9a-f]{64})"', (await self.http.get(path)).text)
        assert found is not None
        return found[1]

    async def post(
        self, path: str, data: Mapping[str, object] | None = None, *, token: str | None = None, **headers: str
    ) -> httpx2.Response:
        """Send a form as a page of the portal would."""
        sent = {"csrf_token": await self.token() if token is None else token, **(data or {})}
        named = {**OWN, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return await self.http.post(path, data=sent, headers=named)

    @property
    def session(self) -> str | None:
        return self.http.cookies.get(SESSION_COOKIE)

    @property
    def pending(self) -> str | None:
        return self.http.cookies.get(PENDING_COOKIE)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def tags(page: str) -> list[tuple[str, dict[str, str | None]]]:
    """Every element of a page that begins, with its attributes."""
    parser = _Tags()
    parser.feed(page)
    return parser.tags
