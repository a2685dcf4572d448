"""What `apibank person` does: everything about one person, shown or erased, wherever this machine can reach it."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from apibank.audit_anchors import anchor_line, keep_checkpoint
from apibank.audit_desk import AuditDeskError, with_database
from apibank.audit_shown import row_shown
from apibank.person_files import ErasedList, erase_lines, files_of, lines_of
from authz.audit import Pseudonyms
from records.audit_erasure import AuditErasure, Erased
from records.audit_spool import WAITING
from records.database import Database
from records.persons import Person, Persons

if TYPE_CHECKING:
    from apibank.settings import Settings


@dataclass(slots=True)
class Report:
    """What was done. `anchors`: lines that no folder of this machine keeps. `later`: what is still to come, and why."""

    places: dict[str, int] = field(default_factory=dict)
    anchors: list[str] = field(default_factory=list)
    later: list[str] = field(default_factory=list)

    def add(self, place: str, count: int) -> None:
        if count:
            self.places[place] = self.places.get(place, 0) + count


class PersonDesk:
    """Works on the databases and the files directly, as the audit's commands do, and needs nothing that runs."""

    def __init__(self, settings: "Settings") -> None:
        """Raises AuditDeskError where the key of the pseudonyms is not here."""
        self._settings = settings
        path = settings.audit_key()
        try:
            key = path.read_bytes().strip()
            self._pseudonyms = Pseudonyms(key)
        except (OSError, ValueError) as error:
            raise AuditDeskError(f"the key of the pseudonyms, {path}, cannot be used: {error}") from error
        self._list = ErasedList(settings.audit_folder(), key)

    def person(self, subject: str) -> Person:
        """As everything here names them."""
        return Person(subject, self._pseudonyms.of(subject))

    def show(self, person: Person) -> Mapping[str, object]:
        """Everything, by place."""
        found: dict[str, list[object]] = {}

        async def look(database: Database) -> None:
            for name, rows in (await Persons(database).rows(person)).items():
                found.setdefault(name, []).extend(rows)
            audit = await AuditErasure(database).rows(person.principal, person.pseudonym)
            found.setdefault("admin_audit_logs", []).extend(row_shown(row) for row in audit)

        for url in self._databases():
            with_database(url, look)
        for path in self._files():
            found[str(path)] = list(lines_of(path, _words(person)))
        return {name: rows for name, rows in found.items() if rows}

    def erase(self, person: Person, operator: str, *, keep_audit: bool = False) -> Report:
        """Erase it in every place. What fails is raised, and what was done before it is done; again finds the rest."""
        now, report = datetime.now(UTC), Report()
        try:
            self._list.add(person.pseudonym, now, keep_audit=keep_audit)
            self._erase(person, operator, now, report, keep_audit=keep_audit)
        except OSError as error:
            raise AuditDeskError(f"{error.filename}: {error.strerror}") from error
        report.later.extend(self._spooled(person))
        return report

    def erase_again(self, operator: str) -> tuple[int, Report]:
        """Everybody who is on the list and is there: a backup from before brought them. How many those are."""
        now, report = datetime.now(UTC), Report()
        marks = self._list.marks()
        subjects: set[str] = set()
        pseudonyms: set[str] = set()

        async def collect(database: Database) -> None:
            some, others = await Persons(database).names()
            subjects.update(some)
            pseudonyms.update(others)

        for url in self._databases():
            with_database(url, collect)
        known = {self._pseudonyms.of(subject): subject for subject in subjects}
        there = [one for one in sorted(pseudonyms | known.keys()) if self._list.mark(one) in marks]
        for pseudonym in there:
            # Where nobody knows the subject, no table compares anything with it: what is said for it names nobody else.
            person = Person(known.get(pseudonym, f"sub:{pseudonym}"), pseudonym)
            self._erase(person, operator, now, report, keep_audit=marks[self._list.mark(pseudonym)])
        return len(there), report

    def _erase(self, person: Person, operator: str, now: datetime, report: Report, *, keep_audit: bool) -> None:
        async def work(database: Database) -> None:
            persons = Persons(database)
            # First what is compared, so that nobody is allowed anything by it while the rest goes.
            for name, count in (await persons.erase(person, now)).items():
                report.add(name, count)
            if (until := await persons.kept(person, now)) is not None:
                moment = until.astimezone(UTC).isoformat(timespec="seconds")
                report.later.append(f"revocations that are in force until {moment} name them: run this again after it")
            if not keep_audit:
                erasure = AuditErasure(database)
                self._said(await erasure.erase(person.principal, person.pseudonym, operator, now), now, report)
            await persons.settle()

        for url in self._databases():
            with_database(url, work)
        for path in self._files():
            report.add(str(path), erase_lines(path, _words(person)))

    def _said(self, done: Sequence[Erased], now: datetime, report: Report) -> None:
        for one in done:
            report.add("admin_audit_logs", one.rows)
            for end in one.said:
                line = anchor_line(end, now.timestamp(), is_erasure=True)
                if keep_checkpoint(self._settings.audit_folder(), line, one.gateway) is None:
                    report.anchors.append(line)

    def _spooled(self, person: Person) -> list[str]:
        """Files of the spool: their process has them open, and each line is checked, so that none is overwritten."""
        found: list[str] = []
        for path in sorted(self._settings.audit_folder().glob(f"*/*/*{WAITING}")):
            with contextlib.suppress(FileNotFoundError):
                if any(lines_of(path, _words(person))):
                    found.append(f"{path} names them until its process has filled it or ends: then run this again")
        return found

    def _databases(self) -> list[str]:
        first, second = self._settings.database_url(), self._settings.telemetry_database_url()
        is_there = second != first and Path(second.removeprefix("sqlite:///")).exists()
        return [first, second] if is_there else [first]

    def _files(self) -> list[Path]:
        settings = self._settings
        return list(files_of(settings.state_dir, settings.audit_folder(), settings.samples_folder()))


def _words(person: Person) -> tuple[str, ...]:
    # A subject is looked for whole: that of somebody else may begin with it.
    return (f'"{person.subject}"', person.pseudonym)
