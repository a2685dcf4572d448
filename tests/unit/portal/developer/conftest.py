"""One portal for each test, over a database of its own."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI

from apibank.developer.catalogue import catalogue
from apibank.developer.destinations import Destinations
from apibank.developer.keys import KeyShelf
from apibank.developer.limits import LimitBoard
from apibank.developer.provider import Client, Provider
from apibank.developer.recorder import Recorder
from apibank.developer.sessions import StoredSessions
from apibank.developer.sign_in import CodeFlow
from apibank.developer.telemetry import RequestShelf, UsageBoard
from apibank.developer.webhooks import WebhookShelf
from apibank.issuer.clients import PORTAL
from apibank.issuer.realms import CUSTOMER
from apibank.policies import PolicyFolder, shipped
from apibank.usage.wire import Left, UnansweredError
from authz.audit import Pseudonyms
from policy.access import Issuer as TrustedIssuer
from policy.access import Jwks
from policy.model import Gateway
from portal.developer.site import DeveloperPortal, add_developer_portal
from records.api_keys import ApiKeys
from records.audit_log import AuditLog
from records.database import Database
from records.fact_versions import FactVersions
from records.portal_sessions import PortalSessions
from records.request_log import RequestLog
from records.upgrade import upgrade
from records.webhooks import Webhooks
from tests.support.issuer_client import BASE, Issuer, issuer_of
from tests.unit.portal.developer.world import Browser

TRUSTED = TrustedIssuer(issuer=CUSTOMER.issuer, audience=CUSTOMER.audience, jwks=Jwks(url="http://127.0.0.1:1/jwks"))


PSEUDONYM = Pseudonyms(b"p" * 32).of
_SIGNS = b"k" * 32
ALLOWED = (ip_network("127.0.0.0/8"),)
HOSTS = {"hooks.example": ["203.0.114.7"], "localhost": ["127.0.0.1"], "inside.example": ["10.0.0.7"]}


async def lookup(host: str, _: int) -> list[str]:
    """What names mean here; addresses mean themselves."""
    with contextlib.suppress(ValueError):
        return [str(ip_address(host))]
    return HOSTS.get(host, [])


class Clock:
    """Time of the portal, near to that of PyJWT."""

    def __init__(self) -> None:
        # To the millisecond, so that it is the same as a datetime and as a number.
        self.now = round(time.time(), 3)

    def __call__(self) -> float:
        return self.now

    def moment(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the newest tables, to copy."""
    path = tmp_path_factory.mktemp("migrated") / "portal.db"
    asyncio.run(upgrade(f"sqlite:///{path}"))
    return path


@pytest.fixture
async def database(migrated: Path, tmp_path: Path) -> AsyncIterator[Database]:
    path = tmp_path / "portal.db"
    shutil.copy(migrated, path)
    async with Database(f"sqlite:///{path}") as one:
        yield one


@pytest.fixture
async def issuer(tmp_path: Path, clock: Clock) -> AsyncIterator[Issuer]:
    """The customers' development issuer, telling the portal's time."""
    async with issuer_of("customer", tmp_path / "state") as one:
        one.clock.now = clock.now
        yield one


@pytest.fixture
def trusted() -> list[TrustedIssuer]:
    """The issuers that the central gateway admits, as a test changes them."""
    return [TRUSTED]


@pytest.fixture(scope="session")
def policies() -> Mapping[str, Gateway]:
    """What comes with apibank."""
    found = PolicyFolder(shipped("gateways"), ("dev",), linted=False).load().gateways
    return {name: one.gateway for name, one in found.items()}


@pytest.fixture
def issuing(issuer: Issuer, trusted: list[TrustedIssuer]) -> CodeFlow:
    address = "http://127.0.0.1:1/.well-known/openid-configuration"
    provider = Provider(address, Client(PORTAL, lambda: issuer.secrets[PORTAL]), issuer.http)
    return CodeFlow(provider, PORTAL, lambda name: next((one for one in trusted if one.issuer == name), None), _SIGNS)


class Counting:
    """What the gateways' rate-limit services say: everything is left but what a test takes."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[str, str], ...]] = []
        self.silent: set[str] = set()
        # By an entry of the descriptor, what is left of 10.
        self.left: dict[tuple[str, str], int] = {}

    async def __call__(self, _: str, domain: str, descriptors: Sequence[tuple[tuple[str, str], ...]]) -> list[Left]:
        if domain in self.silent:
            raise UnansweredError("it does not answer")
        self.asked += descriptors
        found = [next((self.left[entry] for entry in one if entry in self.left), 10) for one in descriptors]
        return [Left("", 10, remaining, remaining > 0, 30.0 if remaining < 10 else 0.0) for remaining in found]


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
def admitted() -> set[str]:
    """The roles that the central gateway admits, as a test changes them."""
    return {"customer", "student", "parent", "company"}


@pytest.fixture
def site(
    database: Database,
    issuing: CodeFlow,
    clock: Clock,
    policies: Mapping[str, Gateway],
    counting: Counting,
    admitted: set[str],
) -> FastAPI:
    pseudonym = PSEUDONYM
    webhooks = Webhooks(database)

    recorder = Recorder(AuditLog(database), pseudonym, clock.moment)
    shelf = KeyShelf(ApiKeys(database), FactVersions(database), recorder, clock.moment)
    portal = DeveloperPortal(
        issuing=issuing,
        sessions=StoredSessions(PortalSessions(database), clock, lambda _, role: role in admitted),
        origins=(BASE, "https://localhost:10443"),
        keys=shelf,
        limits=LimitBoard(lambda: policies, counting),
        usage=UsageBoard(database, pseudonym),
        requests=RequestShelf(RequestLog(database), lambda: policies, pseudonym),
        webhooks=WebhookShelf(webhooks, Destinations(ALLOWED, lookup), recorder, clock),
        errors=catalogue,
        policies=lambda: policies,
        clock=clock.moment,
    )
    app = FastAPI(openapi_url=None)
    add_developer_portal(app, portal)
    return app


@pytest.fixture
async def open_browser(site: FastAPI, issuer: Issuer) -> AsyncIterator[Callable[[], Browser]]:
    """Browsers, each with cookies of its own."""
    async with AsyncExitStack() as held:
        made: list[httpx2.AsyncClient] = []

        def make() -> Browser:
            http = httpx2.AsyncClient(transport=httpx2.ASGITransport(site), base_url=BASE)
            made.append(http)
            held.push_async_callback(http.aclose)
            return Browser(http, issuer)

        yield make


@pytest.fixture
def browser(open_browser: Callable[[], Browser]) -> Browser:
    return open_browser()
