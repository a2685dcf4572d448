"""Keys and secrets of those whom a policy names, for as long as a gateway runs: one background task per source.

Partner keys and revocations come from the records, and are put on the board by whoever follows those.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import httpx2
import structlog

from authz.decision import MissingKey
from authz.facts import FactsBoard
from authz.identity.keys import KeySet, read_keys, source_of
from authz.metrics import AuthzMetrics
from authz.refresh import JwksRefresher, fetch_document
from authz.rules import PolicyUnusableError
from authz.secret_files import SecretFileError, Stamp, read_agents, read_public_key, read_symmetric, stamp
from policy.access import Issuer, Jwks
from policy.model import Gateway

# A secret is in force this many seconds after its file has changed, at the latest.
POLL_SECONDS: Final = 1.0
_FIRST_FETCH: Final = 5.0
_AGENTS: Final = "agents"
_THREADS: Final = 2
T = TypeVar("T")
_LOG: Final = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Watched:
    """A file or a folder of secrets, and what it was like when it was read."""

    path: Path
    seen: Stamp | None = None

    def read_anew(self, read: Callable[[Path], T]) -> T | None:
        """What it holds now; None where it is as it was. Raises SecretFileError, and is read again then."""
        before, self.seen = self.seen, None
        found = stamp(self.path)
        content = None if found == before else read(self.path)
        self.seen = found
        return content


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
        # Each by the name under which an issuer's keys are kept, which stands for their source.
        self._refreshers: dict[str, JwksRefresher] = {}
        self._applied: dict[str, Jwks | None] = {}
        self._folder: str | None = None
        self._said: dict[str, str | None] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        # Of their own: looking up an issuer's name holds one of the loop's threads for as long as a resolver hangs, and
        # whoever sends unknown kids has it looked up again and again. What takes a secret away must not wait for that.
        self._threads = ThreadPoolExecutor(_THREADS, "secrets")

    async def apply(self, gateway: Gateway, *beside: Gateway) -> None:
        """Follow the sources of these policies. Returns when each has been asked once; one that fails is asked again.

        `beside`: those that some Envoys ask by, still or already. Where two name one source, what the first says of it
        counts; there is one folder of agents' secrets, the first.

        Raises PolicyUnusableError when a policy itself holds keys that cannot be used; nothing has changed then.
        """
        issuers = {
            source_of(name, issuer): (name, issuer)
            for each in (*reversed(beside), gateway)
            for name, issuer in each.issuers.items()
        }
        inline = {keys: _inline_keys(name, issuer) for keys, (name, issuer) in issuers.items()}
        for keys in self._applied.keys() - issuers.keys():
            self._stop(keys)
            self._board.drop_key_set(keys)
        folders = [each.agents.secrets_directory for each in (gateway, *beside) if each.agents is not None]
        await asyncio.gather(
            *(self._follow_issuer(keys, name, issuer, inline[keys]) for keys, (name, issuer) in issuers.items()),
            self._follow_agents(folders[0] if folders else None),
        )

    async def find(self, missing: MissingKey) -> bool:
        """Whether a key that a token names can be had (the port `KeyFinder` of the authorizer)."""
        refresher = self._refreshers.get(missing.issuer)
        return refresher is not None and await refresher.find(missing.kid)

    async def close(self) -> None:
        for name in list(self._tasks):
            self._stop(name)
        await asyncio.sleep(0)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _follow_issuer(self, keys: str, name: str, issuer: Issuer, inline: KeySet | None) -> None:
        if keys in self._applied and self._applied[keys] == issuer.jwks:
            return
        # What is known of the source stays while it is asked at other times: a policy changes none of its keys.
        self._stop(keys)
        self._applied[keys] = issuer.jwks
        if inline is not None:
            self._board.put_key_set(keys, inline)
        elif issuer.jwks is not None:
            refresher = JwksRefresher(
                name, issuer.algorithm, issuer.jwks, keys, fetch=self._fetch, board=self._board, metrics=self._metrics
            )
            self._refreshers[keys] = refresher
            self._tasks[keys] = asyncio.create_task(refresher.run())
            await asyncio.wait({asyncio.ensure_future(refresher.refresh())}, timeout=_FIRST_FETCH)
        elif issuer.secret_file is not None:
            secret = _Watched(self._base / issuer.secret_file)
            await self._follow(keys, partial(self._reload_symmetric, keys, secret))
        elif issuer.public_key_file is not None:
            public = _Watched(self._base / issuer.public_key_file)
            await self._follow(keys, partial(self._reload_break_glass, keys, name, public))

    async def _follow_agents(self, folder: str | None) -> None:
        if self._folder == folder:
            return
        self._stop(_AGENTS)
        self._folder = folder
        before = self._board.current.agent_secrets
        if folder is not None:
            await self._follow(_AGENTS, partial(self._reload_agents, _Watched(self._base / folder)))
        if self._board.current.agent_secrets is before:
            # Of another folder, which nobody names any more.
            self._board.put_agent_secrets(None)

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

    async def _reload_agents(self, folder: _Watched) -> None:
        try:
            read = await self._aside(folder, read_agents)
        except SecretFileError as error:
            self._reloaded("agent_secrets", error)
            return
        if read is None:
            return
        secrets, problems = read
        for problem in problems:
            _LOG.error("agent_secrets_refused", problem=problem)
        self._board.put_agent_secrets(secrets)
        self._reloaded("agent_secrets", None)

    async def _reload_symmetric(self, keys: str, file: _Watched) -> None:
        try:
            key_set = await self._aside(file, read_symmetric)
        except SecretFileError as error:
            self._reloaded("issuer_secret", error)
            return
        if key_set is None:
            return
        self._board.put_key_set(keys, key_set)
        self._reloaded("issuer_secret", None)

    async def _reload_break_glass(self, keys: str, issuer: str, file: _Watched) -> None:
        try:
            key_set = await self._aside(file, read_public_key)
        except SecretFileError as error:
            # To take the file away is how the door is closed; nobody is locked out by that of what is everyday.
            self._board.drop_key_set(keys)
            self._reloaded("break_glass_key", error)
            return
        if key_set is None:
            return
        self._board.put_key_set(keys, key_set)
        self._reloaded("break_glass_key", None)
        _LOG.warning("break_glass_possible", issuer=issuer, keys=sorted(key_set.keys))

    async def _aside(self, watched: _Watched, read: Callable[[Path], T]) -> T | None:
        return await asyncio.get_running_loop().run_in_executor(self._threads, watched.read_anew, read)

    def _reloaded(self, what: str, error: Exception | None) -> bool:
        self._metrics.reloaded(what, error is None)
        said = None if error is None else str(error) or type(error).__name__
        # Looked at every second, said once.
        if said is not None and self._said.get(what) != said:
            _LOG.error("reload_failed", what=what, error=said)
        self._said[what] = said
        return error is None

    def _stop(self, name: str) -> None:
        """Follow a source no more; what is known of it stays on the board."""
        self._applied.pop(name, None)
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()
        refresher = self._refreshers.pop(name, None)
        if refresher is not None:
            refresher.close()


def _inline_keys(name: str, issuer: Issuer) -> KeySet | None:
    if issuer.jwks is None or issuer.jwks.keys is None:
        return None
    keys, refused = read_keys([dict(key) for key in issuer.jwks.keys], issuer.algorithm)
    if refused or not keys:
        raise PolicyUnusableError(f"keys of issuer {name!r}: {'; '.join(refused) or 'there are none'}")
    return KeySet(keys)
