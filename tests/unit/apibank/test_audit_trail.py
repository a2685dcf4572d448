"""What of a decision becomes a row, and what never does."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from apibank.audit_anchors import AnchorKeeper, read_anchors
from apibank.audit_metrics import AuditCollector
from apibank.audit_trail import AuditTrail, principal_of, subject_key
from authz.audit import AuditEvent, Pseudonyms, audit_event
from authz.decision import Decision, Refusal
from authz.pipeline import decide
from authz.principal import NOBODY, Kind
from authz.reasons import Reason
from records.audit_entry import AuditEntry
from records.audit_figures import AuditFigures, Lost
from records.audit_journal import AuditJournal
from records.audit_log import AuditLog, ChainEnd
from records.audit_verify import Flaw
from records.database import Database
from tests.unit.authz.world import API_KEY, NOW, VERSION, facts, request, rules, token

KEY = b"a key of the tests, of 32 octets."


class Taken(AuditJournal):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__(AuditFigures(), wait_seconds=1.0)
        self.entries: list[AuditEntry] = []

    def record(self, entry: AuditEntry) -> "asyncio.Future[bool]":
        self.entries.append(entry)
        return super().record(entry)


async def entry_of(event: AuditEvent) -> AuditEntry:
    journal = Taken()
    await AuditTrail("marketing", journal).record(event)
    return journal.entries[0]


def decided(**changes: object) -> AuditEvent:
    asked = request(**changes)  # type: ignore[arg-type]
    return audit_event(asked, decide(asked, rules(), facts(), NOW), NOW, Pseudonyms(KEY))


@pytest.mark.requirement("R20", "R36", "R95")
async def test_a_row_tells_who_what_when_and_from_where_without_a_secret_or_a_name() -> None:
    text = token(sub="jane.doe@example.com", jti="t-9")
    event = decided(token=text, path="/api/marketing/content?secret=1", headers={"user-agent": f"curl {API_KEY}"})
    entry = await entry_of(replace(event, request_id="r-1"))
    assert entry.principal == "sub:" + Pseudonyms(KEY).of("jane.doe@example.com")
    assert (entry.timestamp, entry.gateway, entry.route) == (datetime.fromtimestamp(NOW, UTC), "marketing", "content")
    assert (entry.endpoint, entry.method, entry.ip) == ("/api/marketing/content", "GET", "192.0.2.7")
    assert (entry.outcome, entry.status, entry.reason) == ("allowed", 200, "")
    assert (entry.role, entry.credential_id, entry.policy_version) == ("customer", "t-9", VERSION)
    for secret in ("jane", API_KEY, text, "secret"):
        assert secret not in repr(entry)


async def test_a_refusal_has_its_reason_and_its_status() -> None:
    refused = await entry_of(decided())
    assert (refused.outcome, refused.status, refused.reason) == ("denied", 401, "token_missing")
    assert refused.principal == ""


async def test_a_row_is_of_the_gateway_that_decided_whatever_the_check_said() -> None:
    asked = request(gateway="another")
    event = audit_event(asked, Decision(Refusal(Reason.GATEWAY_UNKNOWN), NOBODY), NOW, Pseudonyms(KEY))
    assert (await entry_of(event)).gateway == "marketing"


async def test_every_event_has_a_name_that_no_other_has() -> None:
    journals = [Taken(), Taken()]
    for journal in journals:
        trail = AuditTrail("marketing", journal)
        for _ in range(3):
            await trail.record(decided())
    names = [entry.event_id for journal in journals for entry in journal.entries]
    assert len(set(names)) == 6
    assert max(map(len, names)) <= 64


@pytest.mark.parametrize(
    ("fields", "principal"),
    [
        ({"kind": Kind.TOKEN, "subject": "ab12"}, "sub:ab12"),
        ({"kind": Kind.KEY, "partner": "acme"}, "partner:acme"),
        ({"kind": Kind.SIGNATURE, "agent": "content", "subject": "content"}, "agent:content"),
        ({"kind": Kind.BREAK_GLASS, "subject": "break-glass:ann"}, "break-glass:ann"),
        ({"kind": Kind.ANONYMOUS}, ""),
    ],
)
def test_everybody_has_one_word(fields: Mapping[str, str], principal: str) -> None:
    assert principal_of(**{"subject": "", "partner": "", "agent": "", **fields}) == principal


async def test_why_the_glass_was_broken_is_in_the_row() -> None:
    event = replace(decided(token=token()), kind=Kind.BREAK_GLASS, cause="break_glass: the issuer is down")
    assert (await entry_of(event)).reason == "break_glass: the issuer is down"


def test_the_key_of_the_pseudonyms_is_made_once_and_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "audit" / "subjects.key"
    key = subject_key(path)
    assert len(key) == 64
    assert subject_key(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["subjects.key"]
    for wrong in (b"", b"short", b"x" * 65):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match="32 to 64 bytes"):
            subject_key(path)


class Chain(AuditLog):
    """A chain that leads over what it is told."""

    def __init__(self) -> None:
        super().__init__(Database("sqlite:///unused"))
        self.over: set[ChainEnd] = set()

    async def holds(self, end: ChainEnd) -> bool:
        return end in self.over


def end(position: int, digit: str = "a") -> ChainEnd:
    return ChainEnd("platform", position, digit * 64)


async def test_an_anchor_is_replaced_only_while_the_chain_leads_over_it(tmp_path: Path) -> None:
    path, chain, figures = tmp_path / "anchor.json", Chain(), AuditFigures()
    keeper = AnchorKeeper(path, chain, figures, lambda: NOW)
    await keeper.keep()
    assert not path.exists()
    for position in (1, 2):
        keeper.note(end(position))
        chain.over.add(end(position))
        await keeper.keep()
        assert read_anchors(path).ends == (end(position),)
    assert path.stat().st_mode & 0o777 == 0o600
    chain.over.clear()
    keeper.note(end(3, "b"))
    await keeper.keep()
    assert (read_anchors(path).ends, figures.broken) == ((end(2),), True)
    # Another process that starts finds the same.
    again, fresh = AuditFigures(), Chain()
    later = AnchorKeeper(path, fresh, again, lambda: NOW)
    later.note(end(4, "b"))
    await later.keep()
    assert (read_anchors(path).ends, again.broken) == ((end(2),), True)
    # What was repaired is whole again.
    fresh.over.add(end(2))
    await later.keep()
    assert (read_anchors(path).ends, again.broken) == ((end(4, "b"),), False)


def test_every_figure_is_explained_to_operators() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "operate" / "audit.md").read_text("utf-8")
    collector = AuditCollector("platform", AuditFigures(), lambda: None, lambda: NOW)
    registry = CollectorRegistry()
    registry.register(collector)
    names = {line.split("{")[0] for line in generate_latest(registry).decode().splitlines() if line[:1] != "#"}
    assert len(names) == 9
    assert [name for name in sorted(names) if name not in page] == []
    assert [reason for reason in Lost if f"`{reason}`" not in page] == []
    assert [flaw for flaw in Flaw if f"`{flaw}`" not in page] == []
