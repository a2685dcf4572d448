"""XDS.md §6: the incremental scenarios of the public conformance harness, in every variant that they name."""

from collections.abc import Callable

import pytest

from tests.conformance.clients import Client, Target

Connect = Callable[[str], Client]
VARIANT = pytest.mark.parametrize("variant", ["delta, separate", "delta, ADS"])
EACH = pytest.mark.parametrize("short", ["CDS", "LDS", "RDS", "EDS"])


@VARIANT
@EACH
async def test_01_a_second_name_is_subscribed_to_and_comes(
    target: Target, connect: Connect, variant: str, short: str
) -> None:
    target.set(short, A="v1", B="v1")
    client = connect(variant)
    await client.subscribe(short, "A")
    assert (await client.next(short)).resources == {"A": "v1"}
    await client.subscribe(short, "B")
    assert (await client.next(short)).resources == {"B": "v1"}
    assert await client.is_quiet()
    assert client.no_surplus


@VARIANT
@EACH
async def test_02_of_three_the_changed_one_comes_alone(
    target: Target, connect: Connect, variant: str, short: str
) -> None:
    target.set(short, A="v1", B="v1", C="v1")
    client = connect(variant)
    await client.subscribe(short, "A", "B", "C")
    assert await client.collect(short, "ABC") == {"A": "v1", "B": "v1", "C": "v1"}
    target.set(short, A="v2")
    changed = await client.next(short)
    assert (changed.resources, changed.removed) == ({"A": "v2"}, ())
    assert await client.is_quiet()
    assert client.no_surplus


@VARIANT
@EACH
async def test_03_a_name_that_comes_later_is_said_to_be_missing_and_then_comes_alone(
    target: Target, connect: Connect, variant: str, short: str
) -> None:
    target.set(short, A="v1")
    client = connect(variant)
    await client.subscribe(short, "A", "B")
    first = await client.next(short)
    assert (first.resources, first.removed) == ({"A": "v1"}, ("B",))
    target.set(short, B="v1")
    assert (await client.next(short)).resources == {"B": "v1"}
    assert await client.is_quiet()
    assert client.no_surplus


@VARIANT
@EACH
async def test_04_a_removed_name_is_said_to_be_gone_and_comes_again_alone(
    target: Target, connect: Connect, variant: str, short: str
) -> None:
    target.set(short, A="v1", B="v1")
    client = connect(variant)
    await client.subscribe(short, "A", "B")
    await client.collect(short, "AB")
    target.remove(short, "B")
    gone = await client.next(short)
    assert (gone.resources, gone.removed) == ({}, ("B",))
    target.set(short, B="v2")
    assert (await client.next(short)).resources == {"B": "v2"}
    assert await client.is_quiet()
    assert client.no_surplus


@VARIANT
@EACH
async def test_05_what_was_unsubscribed_does_not_come(
    target: Target, connect: Connect, variant: str, short: str
) -> None:
    target.set(short, A="v1", B="v1")
    client = connect(variant)
    await client.subscribe(short, "A", "B")
    await client.collect(short, "AB")
    await client.unsubscribe(short, "B")
    assert await client.is_quiet()
    target.set(short, B="v2")
    assert await client.is_quiet()
    await client.unsubscribe(short, "A")
    assert await client.is_quiet()
    target.set(short, A="v2")
    assert await client.is_quiet()
    assert client.no_surplus


@pytest.mark.parametrize(("one", "other"), [("CDS", "LDS"), ("LDS", "CDS"), ("RDS", "EDS"), ("EDS", "RDS")])
async def test_06_two_types_on_one_stream_are_answered_and_change_on_their_own(
    target: Target, connect: Connect, one: str, other: str
) -> None:
    target.set(one, A="v1", B="v1")
    target.set(other, A="v1", B="v1")
    client = connect("delta, ADS")
    for short in (one, other):
        await client.subscribe(short, "B")
        assert (await client.next(short)).resources == {"B": "v1"}
    for short in (one, other):
        target.set(short, B="v2")
        assert (await client.next(short)).resources == {"B": "v2"}
    assert await client.is_quiet()
    assert client.no_surplus
