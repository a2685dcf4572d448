"""Sessions of the portal: they end by time and by signing out, and no database gives them away."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from records.database import Database
from records.portal_sessions import IDLE_SECONDS, LONGEST_SECONDS, PortalSessions
from records.revocations import NewRevocation, TokenRevocations

NOW = 1_800_000_000.0
AT = datetime.fromtimestamp(NOW, UTC)
ISS = "https://auth.example.com"
ANN = {"subject": "ann", "scopes": ["marketing:*"], "issuer": ISS, "jti": "t-1", "issued_at": NOW - 5}


def revocation(
    issuer: str = ISS, jti: str | None = None, subject: str | None = None, issued_until: datetime | None = None
) -> NewRevocation:
    return NewRevocation(issuer, jti, subject, issued_until, AT + timedelta(minutes=15), "lost", "ops")


COVERING = [revocation(jti="t-1"), revocation(subject="ann", issued_until=AT - timedelta(seconds=5))]
SPARING = [
    revocation(jti="t-2"),
    revocation("https://other.example.com", jti="t-1"),
    revocation(subject="bob", issued_until=AT),
    revocation("https://other.example.com", subject="ann", issued_until=AT),
    revocation(subject="ann", issued_until=AT - timedelta(seconds=6)),
]


async def test_a_session_says_whose_it_is(database: Database) -> None:
    sessions = PortalSessions(database)
    held = await sessions.open(ANN, NOW)
    assert await sessions.find(held, NOW) == ANN
    assert await sessions.find(held + "x", NOW) is None
    assert await sessions.find("", NOW) is None


async def test_the_database_does_not_have_what_the_browser_holds(database: Database) -> None:
    held = await PortalSessions(database).open(ANN, NOW)
    async with database.reading() as session:
        rows = (await session.execute(text("SELECT * FROM portal_sessions"))).all()
    assert len(rows) == 1
    assert held not in str(rows)


async def test_a_session_ends_when_nobody_uses_it(database: Database) -> None:
    sessions = PortalSessions(database)
    held = await sessions.open(ANN, NOW)
    assert await sessions.find(held, NOW + IDLE_SECONDS - 1) == ANN
    assert await sessions.find(held, NOW + 2 * IDLE_SECONDS - 2) == ANN
    assert await sessions.find(held, NOW + 4 * IDLE_SECONDS) is None


async def test_a_session_ends_however_much_it_is_used(database: Database) -> None:
    sessions = PortalSessions(database)
    held = await sessions.open(ANN, NOW)
    at = NOW
    while at < NOW + LONGEST_SECONDS:
        assert await sessions.find(held, at) == ANN
        at += IDLE_SECONDS / 2
    assert await sessions.find(held, NOW + LONGEST_SECONDS) is None


async def test_whoever_signs_out_is_out_at_once_and_nobody_else(database: Database) -> None:
    sessions = PortalSessions(database)
    one, other = await sessions.open(ANN, NOW), await sessions.open(ANN, NOW)
    await sessions.close(one)
    assert await sessions.find(one, NOW) is None
    assert await sessions.find(other, NOW) == ANN


async def test_sessions_that_have_ended_leave_nothing_behind(database: Database) -> None:
    sessions = PortalSessions(database)
    await sessions.open(ANN, NOW)
    await sessions.open(ANN, NOW + LONGEST_SECONDS)
    async with database.reading() as session:
        assert (await session.execute(text("SELECT count(*) FROM portal_sessions"))).scalar_one() == 1


@pytest.mark.parametrize("new", COVERING, ids=["token", "subject"])
async def test_a_session_ends_for_good_with_the_token_that_it_was_opened_by(
    database: Database, new: NewRevocation
) -> None:
    sessions, revocations = PortalSessions(database), TokenRevocations(database)
    held = await sessions.open(ANN, NOW)
    made, _ = await revocations.revoke(new, now=AT)
    assert await sessions.find(held, NOW) is None
    # A session may outlast the revocation, and comes back neither when that is over nor when it is taken back.
    assert await sessions.find(held, NOW + 1_200) is None
    await revocations.restore(made.revocation_id)
    assert await sessions.find(held, NOW) is None


@pytest.mark.parametrize("new", COVERING, ids=["token", "subject"])
async def test_a_revoked_token_opens_no_session(database: Database, new: NewRevocation) -> None:
    await TokenRevocations(database).revoke(new, now=AT)
    sessions = PortalSessions(database)
    assert await sessions.find(await sessions.open(ANN, NOW), NOW) is None


@pytest.mark.parametrize("new", SPARING)
async def test_a_revocation_ends_nobody_elses_session(database: Database, new: NewRevocation) -> None:
    sessions = PortalSessions(database)
    before = await sessions.open(ANN, NOW)
    await TokenRevocations(database).revoke(new, now=AT)
    after = await sessions.open(ANN, NOW)
    assert [await sessions.find(held, NOW) for held in (before, after)] == [ANN, ANN]


async def test_a_token_without_an_id_is_not_covered_by_those_of_others(database: Database) -> None:
    nameless = {**ANN, "jti": ""}
    sessions = PortalSessions(database)
    held = await sessions.open(nameless, NOW)
    for new in SPARING:
        await TokenRevocations(database).revoke(new, now=AT)
    assert await sessions.find(held, NOW) == nameless


async def test_a_session_that_does_not_say_by_which_token_is_none(database: Database) -> None:
    sessions = PortalSessions(database)
    assert await sessions.find(await sessions.open({"subject": "ann"}, NOW), NOW) is None
