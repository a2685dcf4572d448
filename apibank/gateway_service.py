"""One gateway's process: its authorization and its limits, under one policy that changes for both at one moment."""

import asyncio
import gc
import socket
import sys
import time
from collections.abc import AsyncIterator, Container, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx2
import structlog

import authz.server
import ratelimit.server
from apibank.audit_trail import AuditPlace, audit_trail, subject_key
from apibank.consent_facts import ConsentsOnBoard, FollowedOnDemand, ask_ages
from apibank.migrating import migrate_later, migrated
from apibank.observed import listener_of, observed_app, process_registry
from apibank.one_hop import OneHop
from apibank.partner_keys import KeysOnBoard, UsageNoting, write_usage
from apibank.policies import PolicyFolder
from apibank.policies_known import policies_known
from apibank.policy_in_force import PolicyInForce
from apibank.revoked_tokens import RevocationsOnBoard
from apibank.sample_spool import SampleSpool
from apibank.settings import GrpcServer
from apibank.stored_policies import UnusableSnapshotError, policies_in, policy_versions_in
from apibank.web import serve_web
from authz.audit import JsonLinesSink, Pseudonyms
from authz.authorizer import Authorizer
from authz.break_glass import BreakGlassAlarm
from authz.facts import Facts, FactsBoard
from authz.failures import Failures, FailureStore, exchange
from authz.metrics import AuthzMetrics
from authz.nonces import MemoryNonceStore, NonceStore
from authz.redis_store import RedisFailures, RedisNonceStore
from authz.sources import CredentialSources
from policy.edge import LimitsAnswered, Services
from policy.model import Gateway
from policy.problem import PolicyError
from ratelimit.limiter import RateLimiter
from ratelimit.local_limits import LocalLimits
from ratelimit.metrics import RateLimitMetrics
from ratelimit.store import CounterStore
from ratelimit.store_metrics import StoreMetrics
from ratelimit.stores import MEMORY, open_store
from records.api_keys import ApiKeys
from records.consents import ConsentRecords
from records.database import Database
from records.errors import LOST_DATABASE
from records.fact_follower import FactFollower
from records.fact_follower import Facts as FollowedFacts
from records.fact_versions import API_KEYS, CONSENTS, REVOCATIONS, FactVersions
from records.key_usage import KeyUsage
from records.revocations import TokenRevocations
from records.snapshots import Snapshots

_LOG = structlog.get_logger(__name__)
_SHARE_OF_TIME = 0.75
_AUDIT_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class GatewayService:
    """What a gateway's process is told when it starts.

    `store`: memory, or a store's URL. `samples`: the folder of checks that are kept to be replayed.
    """

    name: str
    folder: PolicyFolder
    store: str
    database: str
    metrics_listen: str
    audit: AuditPlace
    samples: Path
    grpc_server: GrpcServer = "native"
    replicas: int = 1
    counters: int = 1_000_000
    parts: frozenset[str] = frozenset({"authz", "ratelimit"})


async def run_gateway(service: GatewayService, stop: asyncio.Event) -> None:
    """Serve until stopped. Raises ValueError or OSError where it cannot start."""
    registry = process_registry()
    async with AsyncExitStack() as held:
        # A database that is away keeps from nobody what needs none; tokens wait for the list of the revoked ones.
        is_there = await migrated(service.database)
        database = await held.enter_async_context(Database(service.database))
        last_good = await _last_good_policies(database, service.name)
        first = await _first_policy(service, last_good[0] if last_good else None)
        services = first.services
        counters, nonces, common = _stores(service, services, held)
        failures = Failures()
        usage = KeyUsage(database)
        board = FactsBoard(Facts(revocations=None))
        metrics = AuthzMetrics(registry, service.name)
        client = await held.enter_async_context(httpx2.AsyncClient(trust_env=False))
        sources = CredentialSources(board, metrics, client)
        held.push_async_callback(sources.close)
        audit = JsonLinesSink(sys.stdout.buffer.write)
        await held.enter_async_context(audit.running())
        share = services.authz.timeout_ms * _AUDIT_SHARE / 1000
        trail = await held.enter_async_context(audit_trail(service.audit, database, registry, share))
        pseudonyms = Pseudonyms(subject_key(service.audit.key_file))
        samples = SampleSpool(service.samples, service.name, pseudonyms, registry)
        registry.register(StoreMetrics(counters))
        limiter = RateLimiter(counters, RateLimitMetrics(registry), strict=True, local=LocalLimits(service.replicas))
        authorizer = Authorizer(
            service.name,
            board=board,
            nonces=nonces,
            audit=BreakGlassAlarm(UsageNoting(audit, usage), registry, service.name),
            metrics=metrics,
            failures=failures,
            pseudonyms=pseudonyms,
            sampler=samples,
            key_finder=sources,
            recorder=trail,
            limits=OneHop(service.name, limiter),
        )
        still_run = partial(_last_good_policies, database, service.name)
        policy = PolicyInForce(service.folder, service.name, authorizer, limiter, sources, still_run)
        await policy.put(first)
        await policy.remember()
        # What a start has made lives as long as the process: looking it over again and again would hold up checks.
        gc.collect()
        gc.freeze()
        followers = _followers(service, database, board, first)
        for follower in followers if is_there else ():
            # A token that is revoked is refused from the first request on. What cannot be read is told by `run`.
            with suppress(Exception):
                await follower.step()
        await held.enter_async_context(_served(service, services, authorizer, limiter))
        application = observed_app(registry, counters.ready, policies_known(authorizer))
        async with asyncio.TaskGroup() as running:
            if not is_there:
                running.create_task(migrate_later(service.database, stop))
            for follower in followers:
                running.create_task(follower.run(stop))
            running.create_task(policy.follow(stop))
            if common is not None:
                running.create_task(exchange(failures, common, stop))
            running.create_task(write_usage(usage, stop))
            running.create_task(samples.run(stop))
            running.create_task(serve_web([listener_of(application, service.metrics_listen)], stop))
            await stop.wait()


async def _first_policy(service: GatewayService, last_good: Gateway | None) -> Gateway:
    """The policy to start with: the file's, or where that is broken, the last that was live on every Envoy.

    Raises ValueError with everything that is wrong where there is no other to go on with.
    """
    try:
        return (await asyncio.to_thread(service.folder.load_one, service.name)).gateway
    except (PolicyError, OSError) as error:
        if last_good is None:
            raise ValueError(str(error)) from error
        _LOG.error("policy_refused", gateway=service.name, error=str(error), instead=last_good.version)
        return last_good


async def _last_good_policies(database: Database, name: str, known: Container[str] = ()) -> Sequence[Gateway]:
    """By which Envoys may still run, the newest first; none where all are known by their versions."""
    try:
        stored = await Snapshots(database).find(name)
        if stored is None or ((versions := policy_versions_in(stored)) and all(one in known for one in versions)):
            return ()
        # Of a thousand routes it takes long enough to hold up checks.
        return await asyncio.to_thread(policies_in, stored)
    except (UnusableSnapshotError, *LOST_DATABASE) as error:
        _LOG.warning("last_good_unusable", gateway=name, error=str(error))
        return ()


def _stores(
    service: GatewayService, services: Services, held: AsyncExitStack
) -> tuple[CounterStore, NonceStore, FailureStore | None]:
    # Well inside Envoy's time-outs, so that the client gets our answer and not Envoy's.
    counters = open_store(service.store, _asked_for_ms(services) * _SHARE_OF_TIME / 1000, service.counters)
    held.push_async_callback(counters.close)
    if service.store == MEMORY:
        return counters, MemoryNonceStore(), None
    nonces = RedisNonceStore.from_url(service.store, service.name, services.authz.timeout_ms * _SHARE_OF_TIME / 1000)
    held.push_async_callback(nonces.close)
    failures = RedisFailures.from_url(service.store, service.name)
    held.push_async_callback(failures.close)
    return counters, nonces, failures


def _asked_for_ms(services: Services) -> int:
    """How long Envoy waits for whoever counts."""
    if services.ratelimit.answered_by is LimitsAnswered.RATELIMIT:
        return services.ratelimit.timeout_ms
    return min(services.ratelimit.timeout_ms, services.authz.timeout_ms)


def _followers(
    service: GatewayService, database: Database, board: FactsBoard, first: Gateway
) -> list[FactFollower | FollowedOnDemand]:
    followed: dict[str, FollowedFacts] = {
        API_KEYS: KeysOnBoard(ApiKeys(database), board),
        REVOCATIONS: RevocationsOnBoard(TokenRevocations(database), board),
        CONSENTS: ConsentsOnBoard(ConsentRecords(database), board),
    }
    followers = {
        name: FactFollower(
            FactVersions(database),
            facts,
            instance=f"{service.name}@{socket.gethostname()}:{service.metrics_listen}",
            gateway=service.name,
            name=name,
            clock=time.monotonic,
            lost=partial(_lost, service.name, name),
        )
        for name, facts in followed.items()
    }
    consents = followers.pop(CONSENTS)
    return [*followers.values(), FollowedOnDemand(consents, lambda: ask_ages([first, *_mine(service)]))]


def _mine(service: GatewayService) -> list[Gateway]:
    """The gateway's policy as it was read last."""
    return [one for one in service.folder.gateways() if one.gateway == service.name]


def _lost(gateway: str, facts: str, error: Exception) -> None:
    _LOG.warning("facts_not_confirmed", gateway=gateway, facts=facts, error=type(error).__name__)


@asynccontextmanager
async def _served(
    service: GatewayService, services: Services, authorizer: Authorizer, limiter: RateLimiter
) -> AsyncIterator[None]:
    """The gRPC services, at the endpoints that the policy tells Envoy."""
    async with AsyncExitStack() as held:
        if "authz" in service.parts:
            checks = await authz.server.serve(authorizer, services.authz.endpoint, service.grpc_server)
            held.push_async_callback(checks.stop)
        if "ratelimit" in service.parts:
            limits = await ratelimit.server.serve(limiter, services.ratelimit.endpoint, service.grpc_server)
            held.push_async_callback(limits.stop)
        yield
