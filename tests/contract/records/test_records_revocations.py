"""Revoked tokens in the database: made, followed, taken back, and gone when they are over."""

import asyncio
from datetime import timedelta
from itertools import pairwise

import pytest
from sqlalchemy import text

from records import revocations as module
from records.database import Database
from records.errors import RevocationRefusedError, UnknownRevocationError
from records.fact_versions import REVOCATIONS, FactVersions
from records.revocations import AT_ONCE, Covered, NewRevocation, TokenRevocations
from tests.contract.records.conftest import NOW

ISS = "https://auth.example.com"
HOUR = timedelta(hours=1)


@pytest.fixture
def revocations(database: Database) -> TokenRevocations:
    return TokenRevocations(database)


def token(jti: str = "t-1", **changes: object) -> NewRevocation:
    good: dict[str, object] = {
        "subject": None,
        "issued_until": None,
        "until": NOW + HOUR,
        "reason": "lost",
        "by": "ops",
    }
    return NewRevocation(issuer=ISS, jti=jti, **{**good, **changes})  # type: ignore[arg-type]


def subject(name: str = "user_1", **changes: object) -> NewRevocation:
    return token(**{"jti": None, "subject": name, "issued_until": NOW, **changes})  # type: ignore[arg-type]


async def test_what_is_revoked_is_in_force_and_says_why(revocations: TokenRevocations) -> None:
    made, version = await revocations.revoke(token(), now=NOW)
    other, later = await revocations.revoke(subject(), now=NOW + timedelta(seconds=1))
    assert await revocations.in_force(NOW) == ([made, other], 2)
    assert (version, later) == (1, 2)
    assert (made.jti, made.subject, made.reason, made.by, made.at) == ("t-1", None, "lost", "ops", NOW)
    assert (other.subject, other.issued_until) == ("user_1", NOW)


async def test_what_is_over_is_not_read_and_goes_with_the_next_change(
    revocations: TokenRevocations, database: Database
) -> None:
    await revocations.revoke(token(), now=NOW)
    assert await revocations.in_force(NOW + HOUR) == ([], 1)
    await revocations.revoke(token("t-2", until=NOW + 2 * HOUR), now=NOW + HOUR)
    async with database.reading() as session:
        assert list(await session.scalars(text("SELECT jti FROM revocations"))) == ["t-2"]


async def test_what_is_taken_back_is_in_force_no_more(revocations: TokenRevocations) -> None:
    made, _ = await revocations.revoke(token(), now=NOW)
    assert await revocations.restore(made.revocation_id) == (made, 2)
    assert await revocations.in_force(NOW) == ([], 2)
    with pytest.raises(UnknownRevocationError, match=made.revocation_id):
        await revocations.restore(made.revocation_id)


@pytest.mark.parametrize(
    "bad",
    [
        token(jti=""),
        token(jti="x" * 129),
        token(jti="with blank"),
        token(jti="é"),
        token(subject="user_1"),
        token(jti=None),
        subject(name="x" * 256),
        subject(issued_until=None),
        token(issued_until=NOW),
        token(until=NOW),
        token(reason=""),
        token(reason="x" * 501),
    ],
)
async def test_what_would_refuse_nothing_is_refused(bad: NewRevocation, revocations: TokenRevocations) -> None:
    with pytest.raises(RevocationRefusedError):
        await revocations.revoke(bad, now=NOW)
    assert await revocations.in_force(NOW) == ([], 0)


async def test_the_list_is_bounded(revocations: TokenRevocations, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    for jti in ("t-1", "t-2"):
        await revocations.revoke(token(jti), now=NOW)
    with pytest.raises(RevocationRefusedError, match="subjects"):
        await revocations.revoke(token("t-3"), now=NOW)
    await revocations.revoke(token("t-3", until=NOW + 2 * HOUR), now=NOW + HOUR)


async def test_a_process_that_fell_silent_is_named_and_one_that_said_so_is_not(database: Database) -> None:
    versions = FactVersions(database)
    for instance in ("here@1", "silent@1", "stopped@1", "forgotten@1"):
        await versions.report(instance, "marketing", REVOCATIONS, 3)
    await versions.withdraw("stopped@1")
    async with database.writing() as session:
        for instance, seconds in (("silent@1", 60), ("forgotten@1", 7200)):
            await session.execute(
                text("UPDATE fact_applied SET seen_at = seen_at - :age WHERE instance = :instance"),
                {"age": seconds, "instance": instance},
            )
    assert [one.instance for one in await versions.applied(REVOCATIONS)] == ["here@1"]
    assert [one.instance for one in await versions.silent(REVOCATIONS, 3600)] == ["silent@1"]


async def test_what_decides_is_handed_over_in_the_order_of_its_end(revocations: TokenRevocations) -> None:
    await revocations.revoke(token("late", until=NOW + 2 * HOUR), now=NOW)
    await revocations.revoke(subject(), now=NOW)
    await revocations.revoke(token("over", until=NOW + HOUR / 2), now=NOW)
    taken: list[Covered] = []
    assert await revocations.each(NOW + HOUR / 2, taken.append) == 3
    assert taken == [
        Covered(ISS, None, "user_1", NOW, NOW + HOUR),
        Covered(ISS, "late", None, None, NOW + 2 * HOUR),
    ]


async def test_whoever_decides_has_its_turn_while_many_are_read(
    revocations: TokenRevocations, database: Database
) -> None:
    many = 3 * AT_ONCE + 1
    row = "(:id, :issuer, :jti, '2999-01-01 00:00:00', 'x', 'y', '2026-01-01 00:00:00')"
    names = "(id, issuer, jti, until, reason, revoked_by, revoked_at)"
    async with database.writing() as session:
        each = [{"id": f"r_{number}", "issuer": ISS, "jti": f"t-{number}"} for number in range(many)]
        await session.execute(text(f"INSERT INTO revocations {names} VALUES {row}"), each)
    taken: list[Covered] = []
    turns: list[int] = []

    async def decide() -> None:
        while True:
            turns.append(len(taken))
            await asyncio.sleep(0)

    deciding = asyncio.create_task(decide())
    await revocations.each(NOW, taken.append)
    deciding.cancel()
    assert len(taken) == many
    assert max(later - earlier for earlier, later in pairwise([*turns, many])) <= AT_ONCE
