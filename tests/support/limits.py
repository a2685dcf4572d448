"""A federation whose limits can be counted to their ends at leisure, and the ways to look at what is left of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import grpc
import httpx2

from apibank.ready import Ready
from protos import rls_pb2 as pb
from protos import rls_pb2_grpc
from tests.support.stack import Stack

Row = Mapping[str, Any]

# The figures of the matrix (R69) as they are shipped, but by the day: nothing is regained while a test counts.
BY_DAY = """\
profile: by-day
description: Every limit of the matrix by the day, so that a test can count to its end.
gateways:
  central:
    listeners: {https: {trusted_hops: 1}}
    limits: {subject: {unit: day, burst: null}, fleet: {unit: day, burst: null}, address: {unit: day, burst: null}}
  platform:
    limits: {requests: {unit: day, burst: null}, admin: {unit: day, burst: null}, health: {unit: day, burst: null}}
  marketing:
    limits:
      requests: {unit: day, burst: null, tenants: {TENANT: 7, tenant-that-grows: 3}, partners: {initech: 6}}
      second: {unit: second, requests: 3}
      sliding: {unit: second, requests: 3, algorithm: sliding_window}
    upstreams:
      nobody: {endpoints: []}
    routes:
      ppc: {limits: [second]}
      brand: {limits: [sliding]}
      influencer: {upstream: nobody, retries: {attempts: 3, retry_on: [connect-failure]}}
  education:
    # In one call in place of two (docs/adr/0027): nobody can tell.
    services: {ratelimit: {answered_by: authz}}
    limits: {requests: {unit: day, burst: null, tenants: {TENANT: 8}}}
  sales:
    limits: {requests: {unit: day, burst: null, tenants: {TENANT: 9}}}
  agents:
    limits: {requests: {unit: day, burst: null}}
"""
# A tenant with figures of its own.
TENANT = "tenant-with-a-contract"


def by_day(old: str = "", new: str = "") -> str:
    """The overlay, with a text of it replaced by another."""
    text = BY_DAY.replace("TENANT", TENANT)
    assert old in text
    return text.replace(old, new) if old else text


@dataclass(frozen=True, slots=True)
class Counters:
    """The counters of a federation, read without being charged, and charged without a request."""

    ready: Ready
    secret: str

    @classmethod
    def of(cls, stack: Stack) -> "Counters":
        return cls(stack.ready, (stack.state_dir / "control.token").read_text(encoding="utf-8").strip())

    def ask(self, path: str, **question: str) -> httpx2.Response:
        """The control API, as a script would ask it."""
        headers = {"authorization": f"Bearer {self.secret}"}
        return httpx2.get(self.ready.control_api + path, params=question, headers=headers, timeout=15)

    def usage(self, gateway: str, limit: str, **question: str) -> Row:
        """What is left of one limit."""
        answer = self.ask("/v1/usage", gateway=gateway, limit=limit, **question).json()
        (row,) = cast(list[Row], answer["usage"])
        return row

    def remaining(self, gateway: str, limit: str, **question: str) -> int:
        return int(self.usage(gateway, limit, **question)["remaining"])

    def charge(self, gateway: str, hits: int, **entries: str) -> bool:
        """Charge a limit as Envoy would, many hits at once; negative ones are given back. Whether they had room."""
        place = self.ready.central if gateway == "central" else self.ready.gateways[gateway]
        return charge(place.ratelimit, gateway, hits, **entries)


def charge(target: str, domain: str, hits: int, **entries: str) -> bool:
    """Charge a counter at one process."""
    request = pb.RateLimitRequest(domain=domain)
    descriptor = request.descriptors.add(is_negative_hits=hits < 0)
    descriptor.hits_addend.value = abs(hits)
    for key, value in entries.items():
        descriptor.entries.add(key=key, value=value)
    with grpc.insecure_channel(target) as channel:
        stub = rls_pb2_grpc.RateLimitServiceStub(channel)  # type: ignore[no-untyped-call]
        answer: pb.RateLimitResponse = stub.ShouldRateLimit(request, timeout=5)
    return bool(answer.overall_code == pb.RateLimitResponse.OK)
