"""A gateway's two services in one process, asked as Envoy asks them: in two hops or in one, by what is compiled."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from envoy_data_plane.envoy.config.route.v3 import RateLimit as Actions
from prometheus_client import CollectorRegistry

from apibank.one_hop import OneHop
from authz.authorizer import Authorizer
from authz.facts import FactsBoard
from authz.failures import Failures
from authz.metrics import AuthzMetrics
from authz.nonces import MemoryNonceStore
from authz.request import Request
from authz.rules import compile_rules
from authz.service import CheckService
from authz.unsettled import Unsettled
from policy.limit_shapes import asked_by_envoy
from policy.model import Gateway
from protos import ext_authz_pb2 as pb
from protos import rls_pb2 as rls
from ratelimit.limiter import RateLimiter
from ratelimit.memory_store import MemoryStore
from ratelimit.metrics import RateLimitMetrics
from ratelimit.service import Charged, RateLimitService
from ratelimit.store import Charge, Loss, Outcome, Reading, Unavailable
from rpc.service import Failure
from tests.contract.test_authz_server import check
from tests.unit.authz.test_authorizer import Witness
from tests.unit.authz.world import facts
from xds.compiler.filters.ratelimit import for_limits
from xds.compiler.units import RouteUnit, host_limits, listener_units, route_keys


class Answer(NamedTuple):
    """What the client is told: `headers` sorted, without those that the service adds; `problem` without its id."""

    status: int
    headers: tuple[tuple[str, str], ...]
    problem: Mapping[str, Any]
    # What the service is told of the caller, and what the log is.
    forwarded: bytes
    metadata: Mapping[str, Any]


class DistantStore:
    """Counters that must be waited for, and that are gone at times."""

    def __init__(self, near: MemoryStore) -> None:
        self._near = near
        self.lost: Loss | None = None
        self.trips: list[int] = []

    async def charge(self, charges: Sequence[Charge]) -> Outcome | Unavailable:
        return (await self.charge_many((charges,)))[0]

    async def charge_many(self, requests: Sequence[Sequence[Charge]]) -> list[Outcome | Unavailable]:
        self.trips.append(len(requests))
        if self.lost is not None:
            return [Unavailable(self.lost) for _ in requests]
        return self._near.charge_now(requests)

    async def peek(self, charges: Sequence[Charge]) -> Sequence[Reading] | Unavailable:
        return await self._near.peek(charges)

    async def ready(self) -> bool:
        return self.lost is None

    async def close(self) -> None:
        """Nothing to give back."""


@dataclass
class Process:
    """One gateway's process, and the Envoys in front of it, which run versions of its policy as they like."""

    clock: list[int]
    distant: bool = False
    policies: dict[str, Gateway] = field(default_factory=dict)
    witness: Witness = field(default_factory=lambda: Witness(1_000_000))
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.registry = CollectorRegistry()
        self.counters = MemoryStore(steady=lambda: self.clock[0], wall=lambda: self.clock[0])
        self.store = DistantStore(self.counters)
        self.limiter = RateLimiter(
            self.store if self.distant else self.counters, RateLimitMetrics(self.registry), strict=True
        )
        self.authorizer = Authorizer(
            "marketing",
            board=FactsBoard(facts()),
            nonces=MemoryNonceStore(clock=lambda: self.clock[0] / 1e6),
            audit=self.witness,
            metrics=AuthzMetrics(self.registry, "marketing"),
            failures=Failures(clock=lambda: self.clock[0] / 1e6),
            limits=OneHop("marketing", self.limiter),
            clock=lambda: self.clock[0] / 1e6,
            **self.options,
        )
        self.checks = CheckService(self.authorizer)
        self.limits = RateLimitService(self.limiter)
        # Calls to Python.
        self.calls = 0

    def put(self, gateway: Gateway) -> None:
        self.limiter.replace_rules(gateway)
        self.authorizer.install(compile_rules(gateway))
        self.policies[gateway.version] = gateway

    async def answer(self, *asked: Request) -> list[Answer]:
        """What some requests are answered that arrive at one moment, each at an Envoy of the version it names."""
        checked = [pb.CheckResponse.FromString(raw) for raw in await self._checked(asked)]
        passed = [(one, response) for one, response in zip(asked, checked, strict=True) if response.status.code == 0]
        counted = iter(
            await self._counted([(one, _descriptors(self.policies[one.policy], one, of)) for one, of in passed])
        )
        return [
            self._end(one, of, next(counted) if of.status.code == 0 else None)
            for one, of in zip(asked, checked, strict=True)
        ]

    async def _checked(self, asked: Sequence[Request]) -> list[bytes]:
        self.calls += len(asked)
        begun = [self.checks.begin(check(one).SerializeToString(), 0.0) for one in asked]
        settled = iter(await self.checks.settle([one for one in begun if isinstance(one, Unsettled)]))
        answers = [next(settled) if isinstance(one, Unsettled) else one for one in begun]
        assert not any(isinstance(one, Failure) for one in answers)
        return [one for one in answers if isinstance(one, bytes)]

    async def _counted(
        self, asked: Sequence[tuple[Request, list[rls.RateLimitDescriptor]]]
    ) -> "list[rls.RateLimitResponse | Failure | None]":
        """None where Envoy does not ask, as there is no descriptor."""
        ends: list[rls.RateLimitResponse | Failure | None] = [None] * len(asked)
        waiting: list[tuple[int, Charged]] = []
        for place, (one, descriptors) in enumerate(asked):
            if not descriptors:
                continue
            self.calls += 1
            message = rls.RateLimitRequest(domain=one.gateway, descriptors=descriptors)
            begun = self.limits.begin(message.SerializeToString(), 0.0)
            if isinstance(begun, Charged):
                waiting.append((place, begun))
            else:
                ends[place] = begun
        settled = await self.limits.settle([one for _, one in waiting]) if waiting else []
        for (place, _), end in zip(waiting, settled, strict=True):
            ends[place] = end if isinstance(end, Failure) else rls.RateLimitResponse.FromString(end)
        return ends

    def _end(self, one: Request, of: pb.CheckResponse, counted: rls.RateLimitResponse | Failure | None) -> Answer:
        """As Envoy's filters and its local replies go about it."""
        metadata = dict(of.dynamic_metadata)
        if of.status.code != 0:
            denied = sorted(_pair(each.header) for each in of.denied_response.headers)
            problem = json.loads(of.denied_response.body)
            assert problem.pop("request_id") == one.request_id
            return Answer(of.denied_response.status.code, tuple(denied), problem, b"", metadata)
        added = tuple(sorted(_pair(each.header) for each in of.ok_response.response_headers_to_add))
        ok = pb.OkHttpResponse.FromString(of.ok_response.SerializeToString())
        del ok.response_headers_to_add[:]
        forwarded = ok.SerializeToString(deterministic=True)
        passes = Answer(200, added, {}, forwarded, metadata)
        if counted is None:
            return passes
        if isinstance(counted, Failure):
            (unit,) = [each for each in listener_units(self.policies[one.policy]) if each.name == one.listener]
            return _unavailable(metadata) if unit.limits_fail_closed else passes
        headers = tuple(sorted(map(_pair, counted.response_headers_to_add)))
        if counted.overall_code == rls.RateLimitResponse.OK:
            return passes._replace(headers=headers)
        return Answer(429, headers, json.loads(counted.raw_body), b"", metadata)

    def samples(self, prefix: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """The metrics whose names begin so."""
        return {
            (each.name, tuple(sorted(each.labels.items()))): each.value
            for family in self.registry.collect()
            for each in family.samples
            if each.name.startswith(prefix) and not each.name.endswith("_created")
        }


def _pair(header: Any) -> tuple[str, str]:
    return header.key.lower(), header.value


def _unavailable(metadata: Mapping[str, Any]) -> Answer:
    problem = {
        "type": "https://waooaw.ai/problems/limits_unavailable",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "Nobody could count the request",
        "code": "limits_unavailable",
    }
    # Envoy's own answer; authorization's says no-store besides.
    return Answer(
        503, (("cache-control", "no-store"), ("content-type", "application/problem+json")), problem, b"", metadata
    )


def _descriptors(gateway: Gateway, asked: Request, of: pb.CheckResponse) -> list[rls.RateLimitDescriptor]:
    """Those that Envoy makes of a request by the actions compiled for its route (config.route.v3.RateLimit)."""
    (key,) = [one for one in route_keys(gateway, asked.listener) if one[3] == asked.route]
    limits = RouteUnit(*key).limits
    per_route = for_limits(host_limits(gateway) if limits is None else limits)
    made = [_descriptor(one, asked, of) for one in per_route.rate_limits]
    assert asked_by_envoy(gateway) or not made
    return [one for one in made if one is not None]


def _descriptor(actions: Actions, asked: Request, of: pb.CheckResponse) -> rls.RateLimitDescriptor | None:
    message = rls.RateLimitDescriptor()
    for action in actions.actions:
        if (fixed := action.generic_key) is not None:
            message.entries.add(key=fixed.descriptor_key, value=fixed.descriptor_value)
        elif (metadata := action.metadata) is not None and metadata.metadata_key is not None:
            assert metadata.metadata_key.key == "envoy.filters.http.ext_authz"
            (segment,) = metadata.metadata_key.path
            found = dict(of.dynamic_metadata).get(segment.key or "")
            message.entries.add(key=metadata.descriptor_key, value=found or metadata.default_value)
        elif (header := action.request_headers) is not None:
            if header.header_name not in asked.headers:
                return None
            message.entries.add(key=header.descriptor_key, value=asked.headers[header.header_name])
    return message
