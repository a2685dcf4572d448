"""What the control API asks about policies and their changes, answered by the control plane."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from apibank.candidates import PolicyFiles, ReadOnlyFolderError
from apibank.control_plane import ControlPlane
from apibank.drafts import BadPoliciesError, Drafts, Linter, drafts_of, no_complaints
from apibank.forgetting import Forgetting
from apibank.gateway_states import liveness_record
from apibank.past import DATABASE_AWAY, Past, history_record
from apibank.policy_diff import policy_changes
from apibank.policy_source import read_source
from apibank.published import Published
from apibank.rollouts import BusyError, Draft, Ended, Rollout, Rollouts, busy, intent_of
from policy.problem import PolicyError
from portal.policies_api import (
    ApplyRequest,
    CanaryPlan,
    DiffRequest,
    PolicyText,
    Record,
    RollbackRequest,
    text_digest,
)
from portal.problems import Refused
from records.errors import LOST_DATABASE
from records.policy_history import Change, PolicyHistory, Recorded, Result
from xds.differences import resource_changes


@dataclass(frozen=True, slots=True)
class _Wish:
    """What somebody asks to be made live."""

    texts: Mapping[str, PolicyText]
    source: Change
    author: str
    message: str
    plan: CanaryPlan | None
    bases: Mapping[str, str]
    wait: bool


class PolicyDesk:
    """Policies, for the control API; endpoints of upstreams are another desk's."""

    def __init__(
        self,
        control: ControlPlane,
        rollouts: Rollouts,
        files: PolicyFiles,
        history: PolicyHistory,
        forgetting: Forgetting,
        linter: Linter = no_complaints,
    ) -> None:
        self._control = control
        self._rollouts = rollouts
        self._files = files
        self._history = history
        self._forgetting = forgetting
        self._linter = linter
        self._past = Past(history, control)

    async def policies(self) -> Sequence[Record]:
        return [self._summary(name) for name in sorted(self._control.states)]

    async def policy(self, gateway: str) -> Record:
        self._known(gateway)
        return {**self._summary(gateway), "text": self._control.states[gateway].text}

    async def forget(self, gateway: str) -> Record:
        await self._forgetting.forget(gateway)
        return {"gateway": gateway, "forgotten": True}

    async def diff(self, request: DiffRequest) -> Record:
        texts = await self._texts(request.gateways, request.only)
        drafts = await self._drafts(texts)
        return {
            "gateways": [
                await asyncio.to_thread(self._difference, each, request.resources) for each in drafts.drafts.values()
            ],
            "warnings": list(drafts.warnings),
        }

    async def apply(self, request: ApplyRequest, author: str) -> Record:
        texts = await self._texts(request.gateways, request.only)
        return await self._made_live(_wish(request, texts, Change.APPLY, author, request.message))

    async def roll_back(self, request: RollbackRequest, author: str) -> Record:
        target = await self._past.target(request)
        entry = target.entry
        message = request.message or f"back to revision {target.revision}"
        texts = {entry.gateway: PolicyText(text=entry.text, file=f"{entry.gateway}.yaml at revision {target.revision}")}
        return await self._made_live(_wish(request, texts, Change.ROLLBACK, author, message))

    async def history(self, gateway: str | None, limit: int, before: int | None) -> Sequence[Record]:
        try:
            return [history_record(one) for one in await self._history.listing(gateway, limit, before)]
        except LOST_DATABASE:
            raise Refused(503, "database_away", "the database with the history does not answer") from None

    async def revision(self, revision: int) -> Record:
        found = await self._found(revision)
        return {**history_record(found), "text": found.entry.text}

    async def rollout(self, revision: int) -> Record:
        found = await self._found(revision)
        name = found.entry.gateway
        running = self._rollouts.running(name)
        mine = running if running is not None and running.intent.revision == revision else None
        live = self._control.policy_of(name)
        return {
            **history_record(found),
            "step": None if mine is None else mine.step,
            "current": live is not None and live.version == found.entry.version,
            **liveness_record(self._control, name),
        }

    async def _found(self, revision: int) -> Recorded:
        try:
            found = await self._history.find(revision)
        except LOST_DATABASE:
            raise Refused(503, "database_away", "the database with the history does not answer") from None
        if found is None:
            raise Refused(404, "revision_not_found", f"there is no revision {revision}")
        return found

    async def _made_live(self, wish: _Wish) -> Record:
        reserved = self._reserve(wish)
        begun: set[str] = set()
        try:
            for rollout in reserved.values():
                await self._rollouts.look(rollout)
            # What was saved a moment ago is live first, and in the history, whatever replaces it then.
            there = await asyncio.to_thread(self._control.folder.names)
            await asyncio.gather(*(self._control.publish_one(name) for name in reserved if name in there))
            drafts = await self._drafts(wish.texts)
            self._check_bases(wish.bases)
            changes = {name: one for name, one in drafts.drafts.items() if self._changes(one)}
            answers = {name: self._unchanged(name) for name in drafts.drafts if name not in changes}
            if changes:
                await self._prepare(changes, wish.plan)
                for name, draft in changes.items():
                    try:
                        task = await self._rollouts.begin(reserved[name], draft, wish.plan)
                    except (BusyError, *LOST_DATABASE) as error:
                        refused = busy(error) if isinstance(error, BusyError) else _away()
                        if not begun:
                            raise refused from None
                        # Others are live already: whoever asked must be told which.
                        answers[name] = _begun_record(reserved[name], Ended(Result.REFUSED, str(refused)))
                        continue
                    begun.add(name)
                    ended = await asyncio.shield(task) if wish.wait and wish.plan is None else None
                    answers[name] = _begun_record(reserved[name], ended)
        finally:
            for name, rollout in reserved.items():
                if name not in begun:
                    self._rollouts.release(rollout)
        return {"rollouts": [answers[name] for name in sorted(answers)], "warnings": list(drafts.warnings)}

    def _reserve(self, wish: _Wish) -> dict[str, Rollout]:
        reserved: dict[str, Rollout] = {}
        for name in wish.texts:
            self._wanted(name)
            try:
                intent = intent_of(wish.source, wish.author, wish.message, wish.plan)
                reserved[name] = self._rollouts.reserve(name, "not known yet", intent)
            except BusyError as error:
                for rollout in reserved.values():
                    self._rollouts.release(rollout)
                raise busy(error) from None
        return reserved

    async def _prepare(self, changes: Mapping[str, Draft], plan: CanaryPlan | None) -> None:
        try:
            await self._files.prepare()
        except ReadOnlyFolderError as error:
            raise Refused(409, "folder_read_only", str(error)) from None
        if plan is not None:
            for name in changes:
                if self._control.publisher.snapshot(name) is None:
                    raise Refused(409, "nothing_live", f"nothing is live of {name}: a first policy has no canary")
                if not self._control.publisher.nodes.count(name):
                    detail = f"no Envoy of {name} is connected here that could try it: apply it without a canary"
                    raise Refused(409, "no_envoys", detail)

    def _check_bases(self, bases: Mapping[str, str]) -> None:
        for name, base in bases.items():
            state = self._control.states.get(name)
            there = "nothing" if state is None else _called(state, base)
            if not there.startswith(base):
                detail = f"{name}: {there} is live, and this change was made from {base}"
                raise Refused(409, "base_outdated", detail)

    def _changes(self, draft: Draft) -> bool:
        state = self._control.states.get(draft.gateway)
        # A file that is broken has another text than the one that is live.
        return state is None or bool(state.errors) or state.version != draft.version or state.text != draft.text

    def _unchanged(self, name: str) -> Record:
        state = self._control.states[name]
        return {"gateway": name, "revision": state.revision, "version": state.version, "result": "unchanged"}

    async def _texts(
        self, given: Mapping[str, PolicyText] | None, only: Sequence[str] | None
    ) -> Mapping[str, PolicyText]:
        """Those of the request, or of the folder that people write in."""
        if given is not None:
            for name in given:
                self._wanted(name)
            return given
        folder = self._control.folder
        names = await asyncio.to_thread(folder.written_names)
        for name in only or ():
            if name not in names:
                raise Refused(404, "gateway_not_found", f"there is no {name}.yaml in {folder.written}")
        try:
            chosen = only or names
            sources = {name: await asyncio.to_thread(read_source, folder.written / f"{name}.yaml") for name in chosen}
        except (PolicyError, OSError) as error:
            raise Refused(422, "policy_invalid", str(error)) from None
        return {name: PolicyText(text=source.text, file=source.name[-300:]) for name, source in sources.items()}

    async def _drafts(self, texts: Mapping[str, PolicyText]) -> Drafts:
        try:
            return await drafts_of(self._control, texts, self._linter)
        except BadPoliciesError as error:
            raise Refused(422, "policy_invalid", str(error), error.records) from None

    def _difference(self, draft: Draft, resources: bool) -> Record:
        """What it would change of what is published now."""
        live = self._control.policy_of(draft.gateway)
        record: dict[str, object] = {
            "gateway": draft.gateway,
            "live": None if live is None else live.version,
            "version": draft.version,
            "changes": policy_changes(live, draft.loaded.gateway, draft.loaded.positions),
        }
        if resources:
            changes = resource_changes(self._control.publisher.intended(draft.gateway), draft.snapshot)
            record["resources"] = [one.as_record() for one in changes]
        return record

    def _summary(self, name: str) -> Record:
        state = self._control.states[name]
        return {
            "gateway": name,
            "version": state.version,
            "digest": None if state.text is None else text_digest(state.text),
            "revision": state.revision,
            "published_at": state.at,
            "restored": state.restored,
            "errors": list(state.errors),
        }

    def _wanted(self, gateway: str) -> None:
        """A gateway that is new may be applied, unless this control plane was told which ones it has."""
        if gateway not in self._control.states and not self._control.folder.wants(gateway):
            self._known(gateway)

    def _known(self, gateway: str) -> None:
        if gateway not in self._control.states:
            known = ", ".join(sorted(self._control.states)) or "none yet"
            raise Refused(404, "gateway_not_found", f"there is no gateway {gateway!r}; there are: {known}")


def _wish(
    request: ApplyRequest | RollbackRequest, texts: Mapping[str, PolicyText], source: Change, author: str, message: str
) -> _Wish:
    return _Wish(texts, source, author, message, request.canary, request.bases, request.wait)


def _called(state: Published, base: str) -> str:
    """What is live, in the same kind of words: its version, or the digest of its text."""
    name = state.version if ":" not in base else None if state.text is None else text_digest(state.text)
    return name or "nothing"


def _away() -> Refused:
    return Refused(503, "database_away", DATABASE_AWAY)


def _begun_record(rollout: Rollout, ended: Ended | None) -> Record:
    return {
        "gateway": rollout.gateway,
        "revision": rollout.intent.revision,
        "version": rollout.version,
        "result": "running" if ended is None else ended.result.value,
        "detail": "" if ended is None else ended.detail,
    }
