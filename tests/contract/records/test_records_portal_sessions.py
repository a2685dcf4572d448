"""Sessions of the portal: they end by time and by signing out, and no database gives them away."""

from sqlalchemy import text

from records.database import Database
from records.portal_sessions import IDLE_SECONDS, LONGEST_SECONDS, PortalSessions

NOW = 1_800_000_000.0
ANN = {"subject": "ann", "scopes": ["marketing:*"]}


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
