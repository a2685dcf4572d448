"""Where facts come from, for as long as a gateway runs: one background task per source, as its policy says."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import httpx2
import structlog

from authz.decision import MissingKey
from authz.facts import FactsBoard, KeyDigest, PartnerKey, PartnerKeys, Revocations
from authz.identity.keys import KeySet, read_keys
from authz.metrics import AuthzMetrics
from authz.refresh import JwksRefresher, fetch_document
from authz.rules import PolicyUnusableError
from authz.secret_files import SecretFileError, Stamp, read_agents, read_symmetric, stamp
from policy.access import Issuer
from policy.model import Gateway

# A secret, a key or a revocation is in force this many seconds after it has changed, at the latest.
POLL_SECONDS: Final = 1.0
# Partner keys are used this many seconds while they cannot be loaded: a revocation is honoured within it.
PARTNER_KEYS_STALE: Final = 300.0
_FIRST_FETCH: Final = 5.0
_LOG: Final = structlog.get_logger(__name__)


class PartnerKeyStore(Protocol):
    async def load(self) -> Mapping[KeyDigest, PartnerKey]:
        """All partner keys that are live or were, by the SHA-256 of their text. Raises anything when it cannot."""
        ...


class RevocationStore(Protocol):
    async def load(self) -> Revocations:
        """Everything that is revoked. Raises anything when it cannot."""
        ...


class CredentialSources:
    """Keeps a board of facts up to date. `apply` a policy before deciding by it; `close` when done."""

    def __init__(
        self,
        board: FactsBoard,
        metrics: AuthzMetrics,
        client: httpx2.AsyncClient,
        *,
        partner_keys: PartnerKeyStore | None = None,
        revocations: RevocationStore | None = None,
        base: Path = Path(),
        poll: float = POLL_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`base`: what relative file names in policy start from. `poll`: seconds between looks at files and stores."""
        self._board = board
        self._metrics = metrics
        self._fetch = partial(fetch_document, client)
        self._partner_keys = partner_keys
        self._revocations = revocations
        self._base = base
        self._poll = poll
        self._clock = clock
        self._refreshers: dict[str, JwksRefresher] = {}
        self._stamps: dict[Path, Stamp] = {}
        self._applied: dict[str, object] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def apply(self, gateway: Gateway) -> None:
        """Follow this policy's sources. Returns when each has been asked once; a source that fails is asked again.

        Raises PolicyUnusableError when the policy itself holds keys that cannot be used; nothing has changed then.
        """
        inline = {name: _inline_keys(name, issuer) for name, issuer in gateway.issuers.items()}
        for name in self._applied.keys() - {*(f"issuer {each}" for each in gateway.issuers), "agents"}:
            self._stop(name)
        await asyncio.gather(
            *(self._follow_issuer(name, issuer, inline[name]) for name, issuer in gateway.issuers.items()),
            self._follow_agents(gateway),
        )
        await self._follow_stores()

    async def find(self, missing: MissingKey) -> bool:
        """Whether a key that a token names can be had (the port `KeyFinder` of the authorizer)."""
        refresher = self._refreshers.get(missing.issuer)
        return refresher is not None and await refresher.find(missing.kid)

    async def reload_partner_keys(self) -> bool:
        """Load partner keys now; whether that succeeded. What is in force afterwards is what the store held."""
        if self._partner_keys is None:
            return False
        try:
            keys = await self._partner_keys.load()
        except Exception as error:  # noqa: BLE001 the store may be anything
            return self._reloaded("partner_keys", error)
        self._board.put_partner_keys(PartnerKeys(keys, self._clock() + PARTNER_KEYS_STALE))
        return self._reloaded("partner_keys", None)

    async def reload_revocations(self) -> bool:
        """Load revocations now; whether that succeeded. The last ones stay in force while it does not."""
        if self._revocations is None:
            return False
        try:
            self._board.put_revocations(await self._revocations.load())
        except Exception as error:  # noqa: BLE001 the store may be anything
            return self._reloaded("revocations", error)
        return self._reloaded("revocations", None)

    async def close(self) -> None:
        for name in list(self._tasks):
            self._stop(name)
        await asyncio.sleep(0)

    async def _follow_issuer(self, name: str, issuer: Issuer, inline: KeySet | None) -> None:
        task = f"issuer {name}"
        if self._applied.get(task) == issuer:
            return
        self._stop(task)
        self._applied[task] = issuer
        # Keys of another source, or for another algorithm, are not this issuer's any more.
        self._board.drop_key_set(name)
        if inline is not None:
            self._board.put_key_set(name, inline)
        elif issuer.jwks is not None:
            refresher = JwksRefresher(
                name, issuer.algorithm, issuer.jwks, fetch=self._fetch, board=self._board, metrics=self._metrics
            )
            self._refreshers[name] = refresher
            self._tasks[task] = asyncio.create_task(refresher.run())
            await asyncio.wait({asyncio.ensure_future(refresher.refresh())}, timeout=_FIRST_FETCH)
        elif issuer.secret_file is not None:
            await self._follow(task, partial(self._reload_symmetric, name, self._base / issuer.secret_file))

    async def _follow_agents(self, gateway: Gateway) -> None:
        directory = None if gateway.agents is None else gateway.agents.secrets_directory
        if self._applied.get("agents") == directory:
            return
        self._stop("agents")
        self._applied["agents"] = directory
        if directory is not None:
            await self._follow("agents", partial(self._reload_agents, self._base / directory))

    async def _follow_stores(self) -> None:
        for name, reload in (("partner keys", self.reload_partner_keys), ("revocations", self.reload_revocations)):
            if name not in self._tasks:
                await self._follow(name, reload)

    async def _follow(self, name: str, reload: Callable[[], Awaitable[object]]) -> None:
        """Once now, then again and again."""

        async def forever() -> None:
            while True:
                await asyncio.sleep(self._poll)
                try:
                    await reload()
                except Exception as error:  # noqa: BLE001 one bad look must not be the last
                    self._reloaded(name.replace(" ", "_"), error)

        await reload()
        self._tasks[name] = asyncio.create_task(forever())

    async def _reload_agents(self, directory: Path) -> None:
        try:
            if not await self._changed(directory):
                return
            secrets, problems = await asyncio.to_thread(read_agents, directory)
        except SecretFileError as error:
            self._stamps.pop(directory, None)
            self._reloaded("agent_secrets", error)
            return
        for problem in problems:
            _LOG.error("agent_secrets_refused", problem=problem)
        self._board.put_agent_secrets(secrets)
        self._reloaded("agent_secrets", None)

    async def _reload_symmetric(self, issuer: str, path: Path) -> None:
        try:
            if not await self._changed(path):
                return
            key_set = await asyncio.to_thread(read_symmetric, path)
        except SecretFileError as error:
            self._stamps.pop(path, None)
            self._reloaded("issuer_secret", error)
            return
        self._board.put_key_set(issuer, key_set)
        self._reloaded("issuer_secret", None)

    async def _changed(self, path: Path) -> bool:
        found = await asyncio.to_thread(stamp, path)
        changed = self._stamps.get(path) != found
        self._stamps[path] = found
        return changed

    def _reloaded(self, what: str, error: Exception | None) -> bool:
        self._metrics.reloaded(what, error is None)
        if error is not None:
            _LOG.error("reload_failed", what=what, error=str(error) or type(error).__name__)
        return error is None

    def _stop(self, name: str) -> None:
        self._applied.pop(name, None)
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()
        issuer = name.removeprefix("issuer ")
        if issuer != name:
            refresher = self._refreshers.pop(issuer, None)
            if refresher is not None:
                refresher.close()
            self._board.drop_key_set(issuer)


def _inline_keys(name: str, issuer: Issuer) -> KeySet | None:
    if issuer.jwks is None or issuer.jwks.keys is None:
        return None
    keys, refused = read_keys([dict(key) for key in issuer.jwks.keys], issuer.algorithm)
    if refused or not keys:
        raise PolicyUnusableError(f"keys of issuer {name!r}: {'; '.join(refused) or 'there are none'}")
    return KeySet(keys)
