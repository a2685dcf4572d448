"""The control plane: policy files in, snapshots out, each change recorded."""

import asyncio
import contextlib
import gc
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from apibank.journal import Journal
from apibank.last_good import LastGood, Restored
from apibank.policies import PolicyFolder
from apibank.policies_run import PoliciesRun
from apibank.policy_gate import Knows, PolicyGate
from apibank.preparation import (
    ErrorRecord,
    Preparation,
    UnpreparedError,
    fingerprint,
    record_of,
    with_endpoints,
)
from apibank.published import Intent, Published
from apibank.rolled_back import told
from apibank.runtime_endpoints import RuntimeEndpoints
from policy.load import Loaded
from policy.model import Gateway
from policy.problem import PolicyError
from records.policy_history import Change, Entry, PolicyHistory, Result
from xds.compiler import material_files
from xds.metrics import XdsMetrics
from xds.publisher import Publisher
from xds.rollback import RolledBack
from xds.snapshot import Origin, Snapshot

_LOG: Final = structlog.get_logger(__name__)
# What was saved longer ago is not what has just changed.
_RECENT_SECONDS: Final = 30.0
# No gateway waits longer for another one's change.
_AHEAD_SECONDS: Final = 0.5
# Nothing is compiled or sent any more so long after a change.
_CALM_SECONDS: Final = 1.0
# Of what was rolled back; the status has all of it.
_MOST_TOLD: Final = 10
# How soon hosts are asked again for a policy that they did not have.
_HELD_SECONDS: Final = 1.0
_LACKING: Final = "{} does not have this policy yet: bring the file there too; it goes out as soon as it is known there"
_GONE: Final = "the file is gone; the gateway goes on with its last good policy"


class ControlPlane:
    """Publishes each gateway on its own: what is wrong with one changes nothing and holds up nobody else."""

    def __init__(
        self,
        folder: PolicyFolder,
        publisher: Publisher,
        *,
        preparation: Preparation,
        endpoints: RuntimeEndpoints,
        history: PolicyHistory,
        journal: Journal,
        metrics: XdsMetrics,
        gate: PolicyGate | None = None,
    ) -> None:
        self.folder = folder
        self.publisher = publisher
        self.preparation = preparation
        self.endpoints = endpoints
        self.states: dict[str, Published] = {}
        self._history = history
        self._journal = journal
        self._metrics = metrics
        self.gate = gate or PolicyGate()
        self._locks: dict[str, asyncio.Lock] = {}
        self._run = PoliciesRun()
        self._to_tell: set[str] = set()
        self._warning: dict[str, asyncio.Task[None]] = {}
        self._held: dict[str, asyncio.Task[None]] = {}
        publisher.on_rollback(self._rolled_back)

    def policy_of(self, name: str) -> Gateway | None:
        """The policy that is published for this gateway."""
        state = self.states.get(name)
        return None if state is None else state.gateway

    def policies(self) -> Sequence[Gateway]:
        """Every policy that is published."""
        return [state.gateway for state in self.states.values() if state.gateway is not None]

    def policies_of(self, name: str, snapshot: Snapshot) -> Sequence[Gateway]:
        """By which policies this snapshot was made, the newest first."""
        named, live = self._run.of(name, snapshot), self.policy_of(name)
        # It may have no routes, or only refused ones, and still certificates.
        return named if live is None or live in named else (*named, live)

    def about_to_serve(self, gateway: Gateway) -> None:
        """Envoys of this gateway are told of it next: the snapshot, or a part, may soon be what was good last."""
        name = gateway.gateway
        publisher = self.publisher
        self._run.note(gateway, (publisher.snapshot(name), publisher.good(name), publisher.candidate(name)))

    async def restore(self, last_good: LastGood) -> None:
        """Serve what every Envoy had accepted before the restart, until the files have been read."""
        restored: Mapping[str, Restored] = await last_good.restored(self.folder.wants)
        for name, one in restored.items():
            self.publisher.restore(name, one.snapshot)
            for gateway in (*reversed(one.earlier), one.gateway):
                self.about_to_serve(gateway)
            self.states[name] = Published(
                gateway=one.gateway, at=one.saved_at, restored=True, snapshot=one.snapshot.version
            )
            _LOG.info("restored", gateway=name, policy=one.gateway.version, snapshot=one.snapshot.version)

    async def run(self, stop: asyncio.Event) -> None:
        """Publish what the folder says now, and again after every change, until stopped."""
        first = True
        await asyncio.to_thread(self.folder.load)
        while not stop.is_set():
            watched = self._certificate_folders()
            async with contextlib.aclosing(self.folder.changes(stop, also=watched)) as changes:
                async for _ in changes:
                    await self.publish()
                    if first:
                        # What a start has made lives as long as the process: collecting it again and again would hold
                        # up changes.
                        gc.collect()
                        gc.freeze()
                        first = False
                    if self._certificate_folders() != watched:
                        # A change may bring certificates from elsewhere: watch these too, and then look again.
                        break

    async def publish(self) -> None:
        """Read the folder and publish whatever has changed."""
        names, changed = await asyncio.to_thread(self._looked_at)
        # Who has changed goes ahead of those who might have, by an overlay or a certificate.
        ahead = {asyncio.create_task(self.publish_one(name)) for name in changed}
        if ahead:
            await asyncio.wait(ahead, timeout=_AHEAD_SECONDS)
        await asyncio.gather(*ahead, *(self.publish_one(name) for name in names if name not in changed))
        for name in self.states.keys() - set(names):
            file = str(self.folder.folder / f"{name}.yaml")
            self._refuse(name, [record_of(Origin(file, 1), _GONE)])

    def _looked_at(self) -> tuple[tuple[str, ...], set[str]]:
        """The gateways that have files, and those whose file is another than before."""
        names = self.folder.names()
        return names, {name for name in names if not self.folder.is_as_read(name)}

    def changing(self, name: str) -> asyncio.Lock:
        """Held while a gateway's file or what is published of it changes."""
        return self._locks.setdefault(name, asyncio.Lock())

    def forget(self, name: str) -> None:
        """The gateway is gone for good, and so are its Envoys: else ValueError. For who holds `changing`."""
        self.publisher.forget(name)
        self.states.pop(name, None)
        self.folder.forget(name)
        self._run.forget(name)
        self._metrics.forget(name)

    async def publish_one(self, name: str) -> None:
        """Publish what this gateway's file says, if that is something else than before."""
        async with self.changing(name):
            await self.publish_held(name)

    async def publish_held(self, name: str, intent: Intent | None = None) -> bool:
        """The same for who holds `changing` already; whether the file is good. `intent`: why it has changed."""
        state = self.states.setdefault(name, Published())
        try:
            loaded = await asyncio.to_thread(self.folder.load_one, name)
            text = self.folder.text(name)
            material = await self.preparation.material(loaded.gateway, loaded.positions)
            hosts = self.endpoints.of(loaded.gateway)
            mark = fingerprint(loaded.gateway, material, hosts)
            if mark == state.fingerprint and not (intent and intent.revision):
                state.text, state.errors = text, ()
                return True
            saved = self._saved(name, loaded.gateway)
            snapshot = await self.preparation.snapshot(loaded, material, hosts)
        except PolicyError as error:
            self._refuse(name, [dict(one.as_record()) for one in error.problems])
            return False
        except UnpreparedError as error:
            self._refuse(name, error.records)
            return False
        except OSError as error:
            self._refuse(name, [record_of(None, f"{error.filename}: {error.strerror}")])
            return False
        except Exception as error:  # noqa: BLE001 one gateway's file must not end what the others live by
            _LOG.exception("policy_not_prepared", gateway=name)
            file = Origin(str(self.folder.folder / f"{name}.yaml"), 1)
            self._refuse(name, [record_of(file, f"it cannot be made ready: {type(error).__name__}; see the log")])
            return False
        if loaded.gateway.version != state.version and (lacking := await self._gate(loaded.gateway)):
            file = Origin(str(self.folder.folder / f"{name}.yaml"), 1)
            self._refuse(name, [record_of(file, _LACKING.format(lacking))])
            self._again(name)
            return False
        self._metrics.change_saved(name, snapshot.version, saved)
        self.endpoints.outdated(loaded.gateway)
        # The state first: whoever hears of the snapshot may ask for its policy.
        self.about_to_serve(loaded.gateway)
        self._note(name, loaded, text, mark, intent)
        self.states[name].snapshot = snapshot.version
        self.publisher.set_snapshot(name, snapshot)
        if intent is None:
            self.tell_rolled_back(name)
        _LOG.info("published", gateway=name, policy=loaded.gateway.version, snapshot=snapshot.version)
        return True

    async def republish_endpoints(self, name: str) -> None:
        """Publish the endpoints of the moment; everything else as it is."""
        async with self.changing(name):
            await self.republish_endpoints_held(name)

    async def republish_endpoints_held(self, name: str) -> None:
        """The same for who holds `changing` already."""
        state, intended = self.states.get(name, Published()), self.publisher.intended(name)
        if state.gateway is None or intended is None:
            return
        written = {each: upstream.endpoints for each, upstream in state.gateway.upstreams.items()}
        hosts = self.endpoints.of(state.gateway)
        moved = with_endpoints(intended, {**written, **hosts})
        if state.fingerprint is not None:
            try:
                material = await self.preparation.material(state.gateway)
                state.fingerprint = fingerprint(state.gateway, material, hosts)
            except UnpreparedError:
                # Certificates of the moment do not hold up hosts; all is prepared anew when they are good again.
                state.fingerprint = None
        self._metrics.change_saved(name, moved.version, time.monotonic())
        state.snapshot = moved.version
        self.publisher.set_snapshot(name, moved)

    async def _gate(self, gateway: Gateway) -> str:
        """Wait until authorization knows it; the hosts that say they do not, and would refuse every request by it.

        Who does not answer holds up nothing: what is down must not keep a repair of the routes from going out.
        """
        said = await self.gate.known(gateway)
        for place in (place for place, knows in said.items() if knows is Knows.SILENT):
            _LOG.warning("policy_unknown_to_authz", gateway=gateway.gateway, version=gateway.version, endpoint=place)
        return ", ".join(place for place, knows in said.items() if knows is Knows.NO)

    def _again(self, name: str) -> None:
        """Try the gateway once more in a while."""

        async def publish() -> None:
            await asyncio.sleep(_HELD_SECONDS)
            del self._held[name]
            # It may have been forgotten meanwhile.
            if name in self.folder.names():
                await self.publish_one(name)

        if name not in self._held:
            self._held[name] = asyncio.create_task(publish())

    def _note(self, name: str, loaded: Loaded[Gateway], text: str, mark: str, intent: Intent | None) -> None:
        former = self.states[name]
        same = former.version == loaded.gateway.version
        now = datetime.now(UTC)
        state = Published(
            gateway=loaded.gateway,
            loaded=loaded,
            text=text,
            fingerprint=mark,
            at=former.at if same and not former.restored else now,
            revision=former.revision if same else None,
            before=former.before if same else former.gateway,
        )
        self.states[name] = state
        if not same:
            self._warn_soon(name)
        if intent is not None and intent.revision is not None:
            # Who applies it says in the history what became of it.
            state.revision = intent.revision
        elif not same or former.restored or former.revision is None:
            self._journal.write(self._addition(state, Entry(
                name, loaded.gateway.version, text, _owner(self.folder.folder / f"{name}.yaml"), "",
                Change.FILE, now, Result.LIVE,
            )))  # fmt: skip

    def _warn_soon(self, name: str) -> None:
        """Log what the linter warns of, when what has changed is on its way."""

        async def warn() -> None:
            await asyncio.sleep(_CALM_SECONDS)
            del self._warning[name]
            if warnings := await asyncio.to_thread(self.folder.warnings, name):
                found = [f"{one.position}: {one.code}: {one.message}" for one in warnings]
                _LOG.warning("policy_warnings", gateway=name, policy=self.states[name].version, findings=found)

        if name not in self._warning:
            self._warning[name] = asyncio.create_task(warn())

    def _addition(self, state: Published, entry: Entry) -> Callable[[], Awaitable[None]]:
        async def add() -> None:
            state.revision = await self._history.add_live(entry)

        return add

    def _conclusion(self, state: Published, result: Result, detail: str) -> Callable[[], Awaitable[None]]:
        async def conclude() -> None:
            if state.revision is not None:
                await self._history.conclude(state.revision, result, detail)

        return conclude

    def _rolled_back(self, name: str, report: RolledBack) -> None:
        self._metrics.rolled_back(name, report.type_url)
        if name not in self._to_tell:
            # An Envoy that refuses a thousand resources says so at once, and is told of once.
            self._to_tell.add(name)
            asyncio.get_running_loop().call_soon(self.tell_rolled_back, name)

    def tell_rolled_back(self, name: str) -> None:
        """Write into the history what is withheld of what is published, if anything is.

        What a canary has just promoted is not yet what is published: who promotes it asks again.
        """
        self._to_tell.discard(name)
        state, intended = self.states.get(name), self.publisher.intended(name)
        withheld = self.publisher.rolled_back(name)
        if state is None or intended is None or not withheld or state.snapshot != intended.version:
            return
        details = [told(one, state) for one in withheld[:_MOST_TOLD]]
        details += [f"and {len(withheld) - _MOST_TOLD} more"] if len(withheld) > _MOST_TOLD else []
        self._journal.write(self._conclusion(state, Result.ROLLED_BACK, "; ".join(details)))

    def _refuse(self, name: str, records: Sequence[ErrorRecord]) -> None:
        state = self.states.setdefault(name, Published())
        if list(state.errors) != list(records):
            _LOG.error("policy_refused", gateway=name, problems=records)
        state.errors = records

    def _saved(self, name: str, gateway: Gateway) -> float:
        """When what is about to be published was saved, as `time.monotonic`; now where that is long ago."""
        age = time.time() - self.folder.saved_at(name, material_files(gateway))
        now = time.monotonic()
        if not 0 <= age <= _RECENT_SECONDS:
            return now
        self._metrics.debounced(age)
        return now - age

    def _certificate_folders(self) -> list[Path]:
        """Where certificates lie, so that a renewed one goes out without a restart."""
        known = list(self.folder.gateways())
        known += [one.gateway for one in self.states.values() if one.gateway is not None]
        return sorted({Path(file).parent for one in known for file in material_files(one)})


def _owner(path: Path) -> str:
    """Whose file it is: the nearest that a saved file says of its author."""
    try:
        return path.owner()
    except (OSError, KeyError):
        return "unknown"
