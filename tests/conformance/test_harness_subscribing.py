"""XDS.md §6: subscribing and unsubscribing, as the public conformance harness has it."""

from collections.abc import Callable

import pytest

from tests.conformance.clients import Client, Target

Connect = Callable[[str], Client]
SOTW = pytest.mark.parametrize("variant", ["sotw, separate", "sotw, ADS"])
ALL = pytest.mark.parametrize("variant", ["sotw, separate", "sotw, ADS", "delta, separate", "delta, ADS"])
COMPLETE = pytest.mark.parametrize("short", ["CDS", "LDS"])
NAMED = pytest.mark.parametrize("short", ["RDS", "EDS"])
EACH = pytest.mark.parametrize("short", ["CDS", "LDS", "RDS", "EDS"])
ABC = {"A": "v1", "B": "v1", "C": "v1"}


@SOTW
@COMPLETE
async def test_07_a_wildcard_gets_everything_in_one_response(
    target: Target, connect: Connect, variant: str, short: str
) -> None:
    target.set(short, **ABC)
    client = connect(variant)
    await client.subscribe(short)
    assert (await client.next(short)).resources == ABC
    assert await client.is_quiet()
    assert client.no_surplus


@SOTW
@COMPLETE
async def test_08_a_change_sends_the_wildcard_everything_in_one_response(
    target: Target, connect: Connect, variant: str, short: str
) -> None:
    target.set(short, **ABC)
    client = connect(variant)
    await client.subscribe(short)
    before = await client.next(short)
    target.set(short, A="v2")
    after = await client.next(short)
    assert after.resources == ABC | {"A": "v2"}
    assert after.version != before.version
    assert await client.is_quiet()
    assert client.no_surplus


@SOTW
@COMPLETE
async def test_09_an_addition_sends_the_wildcard_everything_in_one_response(
    target: Target, connect: Connect, variant: str, short: str
) -> None:
    target.set(short, **ABC)
    client = connect(variant)
    await client.subscribe(short)
    await client.next(short)
    target.set(short, D="v2")
    assert (await client.next(short)).resources == ABC | {"D": "v2"}
    assert await client.is_quiet()


@ALL
@EACH
async def test_10_a_subset_gets_exactly_itself(target: Target, connect: Connect, variant: str, short: str) -> None:
    target.set(short, **ABC, D="v1")
    client = connect(variant)
    await client.subscribe(short, "A", "B")
    assert await client.collect(short, "AB") == {"A": "v1", "B": "v1"}
    assert await client.is_quiet()
    assert client.no_surplus


@SOTW
@COMPLETE
async def test_11_a_change_sends_the_whole_subset_in_one_response(
    target: Target, connect: Connect, variant: str, short: str
) -> None:
    target.set(short, **ABC, D="v1")
    client = connect(variant)
    await client.subscribe(short, "A", "B", "C")
    await client.next(short)
    target.set(short, B="v2")
    assert (await client.next(short)).resources == ABC | {"B": "v2"}
    assert await client.is_quiet()


@SOTW
@NAMED
async def test_12_a_change_sends_the_changed_one(target: Target, connect: Connect, variant: str, short: str) -> None:
    target.set(short, **ABC)
    client = connect(variant)
    await client.subscribe(short, "A", "B", "C")
    await client.next(short)
    target.set(short, B="v2")
    assert (await client.next(short)).resources == {"B": "v2"}
    assert await client.is_quiet()


@SOTW
@COMPLETE
async def test_13_a_missing_one_is_created_and_the_whole_subset_comes(
    target: Target, connect: Connect, variant: str, short: str
) -> None:
    target.set(short, A="v1", B="v1")
    client = connect(variant)
    await client.subscribe(short, "A", "B", "missing")
    assert (await client.next(short)).resources == {"A": "v1", "B": "v1"}
    target.set(short, missing="v2")
    assert (await client.next(short)).resources == {"A": "v1", "B": "v1", "missing": "v2"}
    assert await client.is_quiet()


@SOTW
@NAMED
async def test_14_a_missing_one_is_created_and_comes(
    target: Target, connect: Connect, variant: str, short: str
) -> None:
    target.set(short, A="v1", B="v1")
    client = connect(variant)
    await client.subscribe(short, "A", "B", "missing")
    assert (await client.next(short)).resources == {"A": "v1", "B": "v1"}
    target.set(short, missing="v2")
    assert (await client.next(short)).resources == {"missing": "v2"}
    assert await client.is_quiet()


@pytest.mark.parametrize(("one", "other"), [("CDS", "LDS"), ("RDS", "EDS")])
async def test_15_two_types_on_one_stream_in_turn(target: Target, connect: Connect, one: str, other: str) -> None:
    target.set(one, **ABC)
    target.set(other, **ABC)
    client = connect("sotw, ADS")
    for short in (one, other):
        await client.subscribe(short, "A")
        assert (await client.next(short)).resources == {"A": "v1"}
    target.set(one, A="v2")
    assert (await client.next(one)).resources == {"A": "v2"}
    assert await client.is_quiet()
    assert client.no_surplus


@SOTW
@COMPLETE
async def test_16_after_shrinking_a_change_of_the_rest_comes(
    target: Target, connect: Connect, variant: str, short: str
) -> None:
    target.set(short, **ABC)
    client = connect(variant)
    await client.subscribe(short, "C", "A", "B")
    await client.next(short)
    await client.unsubscribe(short, "B", "C")
    assert await client.is_quiet()
    target.set(short, A="v2")
    assert (await client.next(short)).resources["A"] == "v2"
    assert await client.is_quiet()


@SOTW
@NAMED
async def test_17_after_shrinking_only_the_rest_comes(
    target: Target, connect: Connect, variant: str, short: str
) -> None:
    target.set(short, **ABC, D="v1")
    client = connect(variant)
    await client.subscribe(short, "B", "D")
    await client.next(short)
    await client.unsubscribe(short, "D")
    assert await client.is_quiet()
    target.set(short, B="v2", D="v2")
    assert (await client.next(short)).resources == {"B": "v2"}
    assert await client.is_quiet()


@SOTW
@EACH
async def test_18_after_unsubscribing_from_everything_nothing_comes(
    target: Target, connect: Connect, variant: str, short: str
) -> None:
    target.set(short, **ABC)
    client = connect(variant)
    await client.subscribe(short, "A", "B")
    await client.next(short)
    await client.unsubscribe(short, "A", "B")
    assert await client.is_quiet()
    target.set(short, A="v2")
    assert await client.is_quiet()
