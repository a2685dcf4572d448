"""Everything that can be said of policy files before they are live: schema, linter, consistency, and Envoy's word."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from apibank.envoy_check import envoy_refusals
from apibank.policies import PolicyFolder
from apibank.stand_ins import with_stand_ins
from policy.lint import Severity, diagnostic_of, lint
from policy.lint.finding import Finding
from policy.load import Loaded
from policy.model import Gateway
from policy.problem import Diagnostic, PolicyError, Position, render
from xds.compiler import compile_
from xds.consistency import InconsistentError
from xds.snapshot import Snapshot

Check = Literal["schema", "lint", "consistency", "envoy"]
_ENVOYS_AT_A_TIME: Final = 2


@dataclass(frozen=True, slots=True)
class Issue:
    """Something that is wrong, or may be, which check has found it, and where it is."""

    check: Check
    severity: Severity
    diagnostic: Diagnostic
    gateway: str = ""
    excepted: str = ""

    @property
    def code(self) -> str:
        """The linter's, where it has found it."""
        return self.diagnostic.code

    def as_record(self) -> Mapping[str, str | int]:
        """The same for programs; what is empty is left out."""
        texts = {"gateway": self.gateway, "excepted": self.excepted}
        head = {"severity": self.severity.value, "check": self.check}
        return head | {name: text for name, text in texts.items() if text} | dict(self.diagnostic.as_record())

    def __str__(self) -> str:
        """As compilers show it."""
        kind = f"{self.severity.value}[envoy]" if self.check == "envoy" else self.severity.value
        shown = render(self.diagnostic).removeprefix("error")
        if not self.excepted:
            return kind + shown
        gutter = " " * len(str(self.diagnostic.position.line))
        return f"excepted {kind}{shown}\n{gutter} = meant: {self.excepted}"


@dataclass(frozen=True, slots=True)
class Inspection:
    """The gateways that could be read, what is to be said of any, and what should be known about the inspection."""

    gateways: Mapping[str, Loaded[Gateway]]
    issues: Sequence[Issue]
    notes: Sequence[str] = ()

    @property
    def errors(self) -> list[Issue]:
        return [one for one in self.issues if one.severity is Severity.ERROR and not one.excepted]

    @property
    def warnings(self) -> list[Issue]:
        return [one for one in self.issues if one.severity is Severity.WARNING and not one.excepted]


def read(folder: PolicyFolder, *, whole: bool) -> Inspection:
    """The files under their overlays. A broken one takes nothing from the others; OSError where one cannot be read.

    `whole`: these are all the gateways that there are, so an overlay that speaks of another is wrong.
    """
    try:
        if whole:
            return Inspection(folder.load_strictly(), ())
        problems: Sequence[Diagnostic] = ()
    except PolicyError as error:
        problems = error.problems
    found = folder.load()
    if not whole:
        problems = PolicyError(each for error in found.errors.values() for each in error.problems).problems
    return Inspection(found.gateways, [Issue("schema", Severity.ERROR, one) for one in problems])


def linted(inspection: Inspection) -> Inspection:
    """With what the linter finds."""
    found = [
        issue_of(name, loaded, one)
        for name, loaded in inspection.gateways.items()
        for one in lint(loaded.gateway, loaded.positions)
    ]
    return replace(inspection, issues=[*inspection.issues, *found])


def issue_of(gateway: str, loaded: Loaded[Gateway], finding: Finding) -> Issue:
    """What the linter has found, with the line to show."""
    diagnostic = diagnostic_of(finding, loaded.positions)
    return Issue("lint", finding.severity, diagnostic, gateway, finding.excepted)


def compiled(inspection: Inspection, envoy: Path | None) -> Inspection:
    """With what is wrong when the policies are compiled, and, where there is an Envoy to ask, with what it refuses.

    Raises EnvoyFailedError.
    """
    issues, notes = list(inspection.issues), list(inspection.notes)
    snapshots: dict[str, Snapshot] = {}
    made_up: list[str] = []
    for name, loaded in inspection.gateways.items():
        stand_ins = with_stand_ins(loaded.gateway)
        try:
            snapshots[name] = compile_(loaded, stand_ins.material)
        except InconsistentError as error:
            issues += _inconsistent(name, error)
        if stand_ins.made_up:
            made_up.append(name)
    if envoy is not None:
        with ThreadPoolExecutor(_ENVOYS_AT_A_TIME, "envoy") as pool:
            asked = {
                name: pool.submit(envoy_refusals, envoy, snapshot, inspection.gateways[name])
                for name, snapshot in snapshots.items()
            }
            for name, refusals in asked.items():
                for one in refusals.result():
                    loaded = inspection.gateways[name]
                    message = f"{name} {one.resource}: {one.message}"
                    diagnostic = loaded.positions.diagnostic(one.path, message)
                    issues.append(Issue("envoy", Severity.ERROR, diagnostic, name))
        if made_up:
            notes.append(f"not all certificates of {', '.join(made_up)} are on this machine; Envoy saw made-up ones")
    return Inspection(inspection.gateways, issues, notes)


def _inconsistent(name: str, error: InconsistentError) -> Iterator[Issue]:
    for one in error.problems:
        place = Position(one.origin.file, one.origin.line, 1) if one.origin else Position("", 0, 1)
        yield Issue("consistency", Severity.ERROR, Diagnostic(place, (), str(replace(one, origin=None))), name)
