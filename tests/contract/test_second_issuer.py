"""Tokens of an issuer that shares no line with ours (npm oidc-provider): verified, expired, refreshed (R92).

Optional: it needs node and npm, and fetches packages, so it runs where APIBANK_TEST_OIDC_PROVIDER=1.
"""

import base64
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from prometheus_client import CollectorRegistry

from apibank.ports import is_free
from authz.authorizer import Authorizer
from authz.facts import FactsBoard
from authz.metrics import AuthzMetrics
from authz.nonces import MemoryNonceStore
from authz.rules import compile_rules
from authz.sources import CredentialSources
from tests.support.stack import ROOT
from tests.unit.authz.test_authorizer import Witness
from tests.unit.authz.world import AUDIENCE, policy, request

VERSION = "9.13.3"
CALLBACK = "https://app.example.com/callback"
VERIFIER = "v" * 64

pytestmark = [
    pytest.mark.skipif(
        os.environ.get("APIBANK_TEST_OIDC_PROVIDER") != "1",
        reason="APIBANK_TEST_OIDC_PROVIDER is not 1: the test fetches packages of node",
    ),
    pytest.mark.skipif(not shutil.which("node") or not shutil.which("npm"), reason="node or npm is not installed"),
]


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The provider's address, which is its `iss`."""
    folder = tmp_path_factory.mktemp("provider")
    shutil.copy(ROOT / "tests" / "support" / "second_issuer.mjs", folder)
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    install = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", f"oidc-provider@{VERSION}"]
    subprocess.run(install, cwd=folder, check=True, capture_output=True, timeout=100)
    port = next(port for port in range(11_850, 11_900) if is_free(port))
    with (folder / "log").open("wb") as log:
        command = ["node", "second_issuer.mjs", str(port), AUDIENCE]
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 30
        while is_free(port):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@dataclass
class Gateway:
    """A gateway that knows this issuer, by a clock that the test moves."""

    authorizer: Authorizer
    version: str
    ahead: list[float] = field(default_factory=lambda: [0.0])

    async def ask(self, token: str) -> str | None:
        decision = await self.authorizer.authorize(request("plain", token=token, policy=self.version))
        return None if decision.refusal is None else decision.refusal.reason.value


@pytest.fixture
async def gateway(issuer: str) -> AsyncIterator[Gateway]:
    known = {"issuer": issuer, "audience": AUDIENCE, "token_type": "at+jwt", "leeway_seconds": 0}
    declared = policy(
        issuers={"second": {**known, "jwks": {"url": f"{issuer}/jwks"}}},
        callers={"tokens": {"second": ["customer"]}},
        routes={"plain": {"path": "/api/marketing/plain", "upstream": "service"}},
    )
    board, metrics, ahead = FactsBoard(), AuthzMetrics(CollectorRegistry(), "marketing"), [0.0]
    async with httpx2.AsyncClient(trust_env=False) as client:
        sources = CredentialSources(board, metrics, client)
        await sources.apply(declared)
        authorizer = Authorizer(
            "marketing",
            board=board,
            nonces=MemoryNonceStore(),
            audit=Witness(),
            metrics=metrics,
            key_finder=sources,
            clock=lambda: time.time() + ahead[0],
        )
        authorizer.install(compile_rules(declared))
        yield Gateway(authorizer, declared.version, ahead)
        await sources.close()


async def sign_in(browser: httpx2.AsyncClient, issuer: str) -> dict[str, str]:
    """A person signs in and agrees, on the provider's own pages; what the token endpoint says then."""
    challenge = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
    query = {
        "client_id": "app", "response_type": "code", "redirect_uri": CALLBACK, "prompt": "consent",
        "scope": "openid offline_access marketing:read", "resource": AUDIENCE,
        "code_challenge": challenge, "code_challenge_method": "S256",
    }  # fmt: skip
    answer = await browser.get("/auth", params=query)
    for _ in range(8):
        assert answer.is_redirect, answer.text
        location = answer.headers["location"]
        if location.startswith(CALLBACK):
            break
        if "/interaction/" in location:
            page = (await browser.get(location)).text
            form = (
                {"prompt": "login", "login": "user_1", "password": "x"}
                if 'name="login"' in page
                else {"prompt": "consent"}
            )
            answer = await browser.post(location, data=form)
        else:
            answer = await browser.get(location)
    code = parse_qs(urlsplit(location).query)["code"][0]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    granted = await browser.post("/token", data={**form, "client_id": "app"})
    assert granted.status_code == 200, granted.text
    tokens: dict[str, str] = granted.json()
    return tokens


@pytest.mark.requirement("R87", "R92")
async def test_a_foreign_issuers_token_is_verified_expires_and_is_refreshed(issuer: str, gateway: Gateway) -> None:
    async with httpx2.AsyncClient(base_url=issuer, trust_env=False) as browser:
        tokens = await sign_in(browser, issuer)
        assert await gateway.ask(tokens["access_token"]) is None
        # What proves who signed in is not what opens an API (RFC 9068 §5, RFC 8725 §3.12).
        assert await gateway.ask(tokens["id_token"]) == "token_invalid"
        assert await gateway.ask(tokens["refresh_token"]) == "token_invalid"
        gateway.ahead[0] = 61
        assert await gateway.ask(tokens["access_token"]) == "token_expired"
        gateway.ahead[0] = 0
        form = {"grant_type": "refresh_token", "client_id": "app"}
        fresh = (await browser.post("/token", data={**form, "refresh_token": tokens["refresh_token"]})).json()
        assert fresh["access_token"] != tokens["access_token"]
        assert await gateway.ask(fresh["access_token"]) is None
        # A refresh token that is used twice ends the session.
        for spent in (tokens["refresh_token"], fresh["refresh_token"]):
            assert (await browser.post("/token", data={**form, "refresh_token": spent})).status_code == 400
