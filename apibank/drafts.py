"""Texts that may become policies: loaded under the overlays, linted and compiled, with everything that is wrong."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from apibank.control_plane import ControlPlane
from apibank.preparation import ErrorRecord, UnpreparedError
from apibank.rollouts import Draft
from policy.load import Loaded
from policy.model import Gateway
from policy.problem import PolicyError
from portal.policies_api import PolicyText
from xds.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Complaint:
    """What a linter finds; the record has `message`, and where it can `file`, `line`, `column`, `path`, `code`."""

    is_error: bool
    record: ErrorRecord


Linter = Callable[[Loaded[Gateway]], Iterable[Complaint]]


def no_complaints(_: Loaded[Gateway]) -> Iterable[Complaint]:
    """The linter of those who have none: policies are still checked by their model, and compiled."""
    return ()


class BadPoliciesError(Exception):
    """Texts that cannot become policies; `records` say everything that is wrong with any of them."""

    def __init__(self, records: Sequence[ErrorRecord]) -> None:
        self.records = records
        super().__init__(f"{len(records)} error(s)")


@dataclass(frozen=True, slots=True)
class Drafts:
    """Good drafts by gateway, and what the linter warns of."""

    drafts: Mapping[str, Draft]
    warnings: Sequence[ErrorRecord]


async def loaded_texts(control: ControlPlane, texts: Mapping[str, PolicyText]) -> Mapping[str, Loaded[Gateway]]:
    """Each text under the overlays of the control plane. Raises BadPoliciesError."""
    loaded: dict[str, Loaded[Gateway]] = {}
    wrong: list[ErrorRecord] = []
    for name, one in texts.items():
        try:
            shown = one.file or f"{name}.yaml"
            loaded[name] = await asyncio.to_thread(control.folder.load_text, name, one.text, shown)
        except PolicyError as error:
            wrong += [{"gateway": name, **each.as_record()} for each in error.problems]
        except OSError as error:
            wrong.append({"gateway": name, "message": f"{error.filename}: {error.strerror}"})
    if wrong:
        raise BadPoliciesError(wrong)
    return loaded


async def drafts_of(control: ControlPlane, texts: Mapping[str, PolicyText], linter: Linter) -> Drafts:
    """Each text as it would be published now. Raises BadPoliciesError: one that is bad holds up all of them."""
    live = {name: state.version for name, state in control.states.items()}
    loaded = await loaded_texts(control, texts)
    complaints = await asyncio.to_thread(
        lambda: [
            (one.is_error, {"gateway": name, **one.record}) for name, each in loaded.items() for one in linter(each)
        ]
    )
    wrong: list[ErrorRecord] = [record for is_error, record in complaints if is_error]
    drafts: dict[str, Draft] = {}
    for name, each in loaded.items():
        try:
            snapshot = await snapshot_of(control, each)
        except UnpreparedError as error:
            wrong += [{"gateway": name, **record} for record in error.records]
            continue
        drafts[name] = Draft(name, texts[name].text, each, snapshot, live.get(name))
    if wrong:
        raise BadPoliciesError(wrong)
    return Drafts(drafts, [record for is_error, record in complaints if not is_error])


async def snapshot_of(control: ControlPlane, loaded: Loaded[Gateway]) -> Snapshot:
    """What a policy would give the Envoys, with the endpoints of the moment. Raises UnpreparedError."""
    material = await control.preparation.material(loaded.gateway, loaded.positions)
    return await control.preparation.snapshot(loaded, material, control.endpoints.of(loaded.gateway))
