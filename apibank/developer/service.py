"""The developer portal, put together: what its pages ask, over the databases and the policies in force."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from apibank.audit_trail import subject_key
from apibank.developer.catalogue import catalogue
from apibank.developer.courier import Courier
from apibank.developer.destinations import Destinations, Network
from apibank.developer.happenings import Happenings
from apibank.developer.keys import KeyShelf
from apibank.developer.limits import LimitBoard
from apibank.developer.provider import Client, Provider
from apibank.developer.recorder import Recorder
from apibank.developer.sessions import StoredSessions
from apibank.developer.sign_in import CodeFlow
from apibank.developer.telemetry import RequestShelf, UsageBoard
from apibank.developer.trusted import Policies, trusted_issuer
from apibank.developer.webhooks import WebhookShelf
from apibank.sre.control import ControlApi
from apibank.sre.sign_in import TwoDoors, admits
from apibank.sre.traces import TraceShelf
from apibank.sre.traffic import Traffic
from authz.audit import Pseudonyms
from portal.developer.sign_in import Issuing
from portal.developer.site import DeveloperPortal
from portal.sre.console import Console
from records.api_keys import ApiKeys
from records.audit_log import AuditLog
from records.database import Database
from records.fact_versions import FactVersions
from records.policy_history import PolicyHistory
from records.portal_sessions import PortalSessions
from records.request_log import RequestLog
from records.traces import Traces
from records.usage import Usage
from records.webhooks import Webhooks
from telemetry.prices import DECLARED, read_prices

CLIENT_ID: Final = "waooaw-portal"


@dataclass(frozen=True, slots=True)
class ConsolePlace:
    """What the console of administrators is told.

    `discovery`: of their issuer; `control_api`: http://HOST:PORT; `prices`: the rules that declare them.
    """

    discovery: str
    control_api: str
    token: Callable[[], str] = field(repr=False)
    prices: Path = DECLARED


@dataclass(frozen=True, slots=True)
class DeveloperPlace:
    """What the developer portal is told when it starts.

    `discovery`: the openid-configuration of the issuer that people sign in at. `origins`: where browsers reach the
    central gateway, https://HOST[:PORT]; the first is the portal's own name. `telemetry`: the database
    of usage and requests. `subjects_key`: the file with the key of the audit's pseudonyms.
    `webhook_networks`: where webhooks may lead beyond the public Internet.
    """

    discovery: str
    origins: tuple[str, ...]
    database: str
    telemetry: str
    subjects_key: Path
    client_secret: Callable[[], str] = field(repr=False)
    client_id: str = CLIENT_ID
    webhook_networks: tuple[Network, ...] = ()
    console: ConsolePlace | None = None

    @property
    def databases(self) -> frozenset[str]:
        """Those whose tables it needs. Until they are up to date, pages say that they are away."""
        return frozenset((self.database, self.telemetry))


@asynccontextmanager
async def developer_portal(place: DeveloperPlace, policies: Policies) -> AsyncIterator[tuple[DeveloperPortal, Courier]]:
    """The portal, and who sends what its webhooks are told. Raises ValueError or OSError where it cannot start."""
    if not place.client_secret():
        raise ValueError("the portal's client secret is empty")
    # A page that cannot be read is told of at the start, and not to whoever needs it.
    catalogue()
    async with AsyncExitStack() as held:
        database = await held.enter_async_context(Database(place.database))
        telemetry = database
        if place.telemetry != place.database:
            telemetry = await held.enter_async_context(Database(place.telemetry))
        provider = Provider(place.discovery, Client(place.client_id, place.client_secret))
        held.push_async_callback(provider.close)
        # All replicas have the client's secret, so that a person may come back to another one.
        key = place.client_secret().encode()
        flow = partial(
            CodeFlow,
            client_id=place.client_id,
            trusted=lambda issuer: trusted_issuer(policies(), issuer),
            admits=lambda issuer, role: admits(policies(), issuer, role),
        )
        issuing: Issuing = flow(provider, key=key)
        console = None
        if place.console is not None:
            admins = Provider(place.console.discovery, Client(place.client_id, place.client_secret))
            held.push_async_callback(admins.close)
            control = ControlApi(place.console.control_api, place.console.token)
            held.push_async_callback(control.close)
            # What one door has signed the other does not take.
            issuing = TwoDoors(issuing, flow(admins, key=key + b" administrators"))
            console = Console(
                control, Traffic(Usage(telemetry), read_prices(place.console.prices)), lambda: datetime.now(UTC)
            )
        pseudonym = Pseudonyms(subject_key(place.subjects_key)).of
        webhooks, destinations = Webhooks(database), Destinations(place.webhook_networks)

        keys, recorder = ApiKeys(database), Recorder(AuditLog(database), pseudonym)
        limits = LimitBoard(policies)
        portal = DeveloperPortal(
            issuing=issuing,
            sessions=StoredSessions(
                PortalSessions(database), admits=lambda issuer, role: admits(policies(), issuer, role)
            ),
            origins=place.origins,
            keys=KeyShelf(keys, FactVersions(database), recorder),
            limits=limits,
            usage=UsageBoard(telemetry, pseudonym),
            requests=RequestShelf(RequestLog(telemetry), policies, pseudonym),
            webhooks=WebhookShelf(webhooks, destinations, recorder),
            errors=catalogue,
            policies=policies,
            clock=lambda: datetime.now(UTC),
            console=console,
            traces=None if console is None else TraceShelf(Traces(telemetry)),
        )
        happenings = Happenings(webhooks, keys, PolicyHistory(database), limits.of_partner)
        yield portal, Courier(webhooks, happenings, destinations)
