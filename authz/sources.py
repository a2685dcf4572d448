"""Keys and secrets of those whom a policy names, for as long as a gateway runs: one background task per source.

Partner keys and revocations come from the records, and are put on the board by whoever follows those.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

import httpx2
import structlog

from authz.decision import MissingKey
from authz.facts import FactsBoard
from authz.identity.keys import KeySet, read_keys
from authz.metrics import AuthzMetrics
from authz.refresh import JwksRefresher, fetch_document
from authz.rules import PolicyUnusableError
from authz.secret_files import SecretFileError, Stamp, read_agents, read_public_key, read_symmetric, stamp
from policy.access import Issuer
from policy.model import Gateway

# A secret is in force this many seconds after its file has changed, at the latest.
POLL_SECONDS: Final = 1.0
_FIRST_FETCH: Final = 5.0
_LOG: Final = structlog.get_logger(__name__)


class CredentialSources:
    """Keeps a board of facts up to date. `apply` a policy before deciding by it; `close` when done."""

    def __init__(
        self,
        board: FactsBoard,
        metrics: AuthzMetrics,
        client: httpx2.AsyncClient,
        *,
        base: Path = Path(),
        poll: float = POLL_SECONDS,
    ) -> None:
        """`base`: what relative file names in policy start from. `poll`: seconds between looks at files."""
        self._board = board
        self._metrics = metrics
        self._fetch = partial(fetch_document, client)
        self._base = base
        self._poll = poll
        self._refreshers: dict[str, JwksRefresher] = {}
        self._stamps: dict[Path, Stamp] = {}
        self._applied: dict[str, object] = {}
        self._said: dict[str, str | None] = {}
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

    async def find(self, missing: MissingKey) -> bool:
        """Whether a key that a token names can be had (the port `KeyFinder` of the authorizer)."""
        refresher = self._refreshers.get(missing.issuer)
        return refresher is not None and await refresher.find(missing.kid)

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
        elif issuer.public_key_file is not None:
            await self._follow(task, partial(self._reload_break_glass, name, self._base / issuer.public_key_file))

    async def _follow_agents(self, gateway: Gateway) -> None:
        directory = None if gateway.agents is None else gateway.agents.secrets_directory
        if self._applied.get("agents") == directory:
            return
        self._stop("agents")
        self._applied["agents"] = directory
        if directory is not None:
            await self._follow("agents", partial(self._reload_agents, self._base / directory))

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

    async def _reload_break_glass(self, issuer: str, path: Path) -> None:
        try:
            if not await self._changed(path):
                return
            key_set = await asyncio.to_thread(read_public_key, path)
        except SecretFileError as error:
            self._stamps.pop(path, None)
            # To take the file away is how the door is closed; nobody is locked out by that of what is everyday.
            self._board.drop_key_set(issuer)
            self._reloaded("break_glass_key", error)
            return
        self._board.put_key_set(issuer, key_set)
        self._reloaded("break_glass_key", None)
        _LOG.warning("break_glass_possible", issuer=issuer, keys=sorted(key_set.keys))

    async def _changed(self, path: Path) -> bool:
        found = await asyncio.to_thread(stamp, path)
        changed = self._stamps.get(path) != found
        self._stamps[path] = found
        return changed

    def _reloaded(self, what: str, error: Exception | None) -> bool:
        self._metrics.reloaded(what, error is None)
        said = None if error is None else str(error) or type(error).__name__
        # Looked at every second, said once.
        if said is not None and self._said.get(what) != said:
            _LOG.error("reload_failed", what=what, error=said)
        self._said[what] = said
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
