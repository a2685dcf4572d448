"""The policy by which one gateway's authorization and limits decide, and those that they know beside it."""

import asyncio
from collections.abc import Awaitable, Callable, Container, Sequence
from typing import Final

import structlog

from apibank.policies import PolicyFolder
from authz.authorizer import Authorizer
from authz.rules import PolicyUnusableError, Rules, compile_rules
from authz.sources import CredentialSources
from policy.model import Gateway
from policy.problem import PolicyError
from ratelimit.limiter import RateLimiter

_LOG: Final = structlog.get_logger(__name__)
StillRun = Callable[[Container[str]], Awaitable[Sequence[Gateway]]]
# Of the versions that authorization keeps: what is among these is not about to make room for others.
_SAFE_VERSIONS: Final = 8


async def _nothing_else(_: Container[str]) -> Sequence[Gateway]:
    return ()


class PolicyInForce:
    """The policy that authorization and limits go by; a file that is broken leaves the last good one in force."""

    def __init__(
        self,
        folder: PolicyFolder,
        name: str,
        authorizer: Authorizer,
        limiter: RateLimiter,
        sources: CredentialSources,
        still_run: StillRun = _nothing_else,
    ) -> None:
        """`still_run` says by which policies Envoys were last known to run, the newest first, as far as one of them

        is not among the versions that it is given.
        """
        self._still_run = still_run
        self._folder = folder
        self._name = name
        self._authorizer = authorizer
        self._limiter = limiter
        self._sources = sources
        self.gateway: Gateway | None = None
        self._former: tuple[Gateway, Rules] | None = None
        self._candidate: str | None = None
        # Other policies by which Envoys may ask, the one that was known last first.
        self._beside: list[Gateway] = []

    async def follow(self, stop: asyncio.Event) -> None:
        """Take every good change, and know every candidate, until stopped."""
        async for _ in self._folder.changes(stop, candidates=True):
            for step in (self.take, self.consider, self.remember):
                try:
                    await step()
                except (PolicyError, PolicyUnusableError, ValueError, OSError) as error:
                    _LOG.error("policy_refused", gateway=self._name, error=str(error))

    async def consider(self) -> None:
        """Decide by the candidate too, if there is one, where an Envoy asks by it. Raises as `take` does."""
        loaded = await asyncio.to_thread(self._folder.load_candidate, self._name)
        if loaded is not None and loaded.gateway.version != self._candidate:
            await self.know(loaded.gateway)
            self._candidate = loaded.gateway.version

    async def know(self, candidate: Gateway) -> None:
        """Decide by this policy where an Envoy asks by it, beside the one in force. Raises as `take` does."""
        if self.gateway is None or candidate.version == self.gateway.version:
            return
        rules = await asyncio.to_thread(compile_rules, candidate, former=self._former)
        beside = [candidate, *(each for each in self._beside if each.version != candidate.version)][:_SAFE_VERSIONS]
        await self._sources.apply(self.gateway, *beside)
        self._beside = beside
        self._limiter.admit_candidate(candidate)
        self._authorizer.install(rules, candidate=True)
        _LOG.info("candidate_known", gateway=self._name, version=candidate.version)

    async def remember(self) -> None:
        """Know what the gateway's Envoys may still run: from before this process was started anew, or for longer than

        authorization keeps versions, as they refuse what has come since.
        """
        safe = self._authorizer.versions[-_SAFE_VERSIONS:]
        for earlier in reversed(await self._still_run(safe)):
            if earlier.version not in self._authorizer.versions[-_SAFE_VERSIONS:]:
                try:
                    await self.know(earlier)
                except (PolicyUnusableError, ValueError, OSError) as error:
                    _LOG.warning("last_good_unusable", gateway=self._name, error=str(error))

    async def take(self) -> None:
        """Put what the file says in force. Raises PolicyError or PolicyUnusableError, and changes nothing then."""
        await self.put((await asyncio.to_thread(self._folder.load_one, self._name)).gateway)

    async def put(self, gateway: Gateway) -> None:
        """Put a policy in force. Raises as `take` does."""
        if self.gateway is not None and gateway.version == self.gateway.version:
            return
        rules = await asyncio.to_thread(compile_rules, gateway, former=self._former)
        # Until Envoy has the new one it asks by the one before, whose issuers are not to be lost meanwhile.
        known = [*self._beside] if self.gateway is None else [self.gateway, *self._beside]
        beside = [each for each in known if each.version != gateway.version][:_SAFE_VERSIONS]
        await self._sources.apply(gateway, *beside)
        # No await between these two: no request is decided by the one policy and counted by the other.
        self._limiter.replace_rules(gateway)
        self._authorizer.install(rules)
        self.gateway, self._former, self._beside = gateway, (gateway, rules), beside
        self._candidate = None
        _LOG.info("policy_in_force", gateway=self._name, version=gateway.version)
