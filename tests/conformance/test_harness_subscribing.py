"""Subscribing and unsubscribing, as the public conformance harness has it."""

from collections.abc import Callable

import pytest

from tests.conformance.talks import Served, Talk

Open = Callable[..., Talk]
SOTW = pytest.mark.parametrize("variant", ["sotw, separate", "sotw, ADS"])
ALL = pytest.mark.parametrize("variant", ["sotw, separate", "sotw, ADS", "delta, separate", "delta, ADS"])
COMPLETE = pytest.mark.parametrize("short", ["CDS", "LDS"])
NAMED = pytest.mark.parametrize("short", ["RDS", "EDS"])
EACH = pytest.mark.parametrize("short", ["CDS", "LDS", "RDS", "EDS"])
ABC = {"A": "v1", "B": "v1", "C": "v1"}


@SOTW
@COMPLETE
async def test_07_a_wildcard_gets_everything_in_one_response(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, **ABC)
    client = talk(variant, short)
    await client.subscribe()
    assert (await client.take()).resources == ABC
    await client.ends_silently()


@SOTW
@COMPLETE
async def test_08_a_change_sends_the_wildcard_everything_in_one_response(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, **ABC)
    client = talk(variant, short)
    await client.subscribe()
    before = await client.take()
    served.set(short, A="v2")
    after = await client.take()
    assert after.resources == ABC | {"A": "v2"}
    assert after.version != before.version
    await client.ends_silently()


@SOTW
@COMPLETE
async def test_09_an_addition_sends_the_wildcard_everything_in_one_response(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, **ABC)
    client = talk(variant, short)
    await client.subscribe()
    await client.take()
    served.set(short, D="v2")
    assert (await client.take()).resources == ABC | {"D": "v2"}
    await client.ends_silently()


@ALL
@EACH
async def test_10_a_subset_gets_exactly_itself(served: Served, talk: Open, variant: str, short: str) -> None:
    served.set(short, **ABC, D="v1")
    client = talk(variant, short)
    await client.subscribe("A", "B")
    assert await client.collect("AB") == {"A": "v1", "B": "v1"}
    await client.ends_silently()


@SOTW
@COMPLETE
async def test_11_a_change_sends_the_whole_subset_in_one_response(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, **ABC, D="v1")
    client = talk(variant, short)
    await client.subscribe("A", "B", "C")
    await client.take()
    served.set(short, B="v2")
    assert (await client.take()).resources == ABC | {"B": "v2"}
    await client.ends_silently()


@SOTW
@NAMED
async def test_12_a_change_sends_the_changed_one(served: Served, talk: Open, variant: str, short: str) -> None:
    served.set(short, **ABC)
    client = talk(variant, short)
    await client.subscribe("A", "B", "C")
    await client.take()
    served.set(short, B="v2")
    assert (await client.take()).resources == {"B": "v2"}
    await client.ends_silently()


@SOTW
@COMPLETE
async def test_13_a_missing_one_is_created_and_the_whole_subset_comes(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1")
    client = talk(variant, short)
    await client.subscribe("A", "B", "missing")
    assert (await client.take()).resources == {"A": "v1", "B": "v1"}
    served.set(short, missing="v2")
    assert (await client.take()).resources == {"A": "v1", "B": "v1", "missing": "v2"}
    await client.ends_silently()


@SOTW
@NAMED
async def test_14_a_missing_one_is_created_and_comes(served: Served, talk: Open, variant: str, short: str) -> None:
    served.set(short, A="v1", B="v1")
    client = talk(variant, short)
    await client.subscribe("A", "B", "missing")
    assert (await client.take()).resources == {"A": "v1", "B": "v1"}
    served.set(short, missing="v2")
    assert (await client.take()).resources == {"missing": "v2"}
    await client.ends_silently()


@pytest.mark.parametrize(("one", "other"), [("CDS", "LDS"), ("RDS", "EDS")])
async def test_15_two_types_on_one_stream_in_turn(served: Served, talk: Open, one: str, other: str) -> None:
    served.set(one, **ABC)
    served.set(other, **ABC)
    client = talk("sotw, ADS", one)
    for short in (one, other):
        await client.subscribe("A", of=short)
        assert (await client.take()).resources == {"A": "v1"}
    served.set(one, A="v2")
    assert (await client.take()).resources == {"A": "v2"}
    await client.ends_silently()


@SOTW
@COMPLETE
async def test_16_after_shrinking_a_change_of_the_rest_comes(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, **ABC)
    client = talk(variant, short)
    await client.subscribe("C", "A", "B")
    await client.take()
    await client.unsubscribe("B", "C")
    await client.heard()
    served.set(short, A="v2")
    assert (await client.take()).resources["A"] == "v2"
    await client.ends_silently()


@SOTW
@NAMED
async def test_17_after_shrinking_only_the_rest_comes(served: Served, talk: Open, variant: str, short: str) -> None:
    served.set(short, **ABC, D="v1")
    client = talk(variant, short)
    await client.subscribe("B", "D")
    await client.take()
    await client.unsubscribe("D")
    await client.heard()
    served.set(short, B="v2", D="v2")
    assert (await client.take()).resources == {"B": "v2"}
    await client.ends_silently()


@SOTW
@EACH
async def test_18_after_unsubscribing_from_everything_nothing_comes(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, **ABC)
    client = talk(variant, short)
    await client.subscribe("A", "B")
    await client.take()
    await client.unsubscribe("A", "B")
    await client.heard()
    served.set(short, A="v2")
    await client.ends_silently()
