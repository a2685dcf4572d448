"""The incremental scenarios of the public conformance harness, in every variant that they name."""

from collections.abc import Callable

import pytest

from tests.conformance.talks import Served, Talk

Open = Callable[..., Talk]
VARIANT = pytest.mark.parametrize("variant", ["delta, separate", "delta, ADS"])
EACH = pytest.mark.parametrize("short", ["CDS", "LDS", "RDS", "EDS"])


@VARIANT
@EACH
async def test_01_a_second_name_is_subscribed_to_and_comes(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1")
    client = talk(variant, short)
    await client.subscribe("A")
    assert (await client.take()).resources == {"A": "v1"}
    await client.subscribe("B", of=short)
    assert (await client.take()).resources == {"B": "v1"}
    await client.ends_silently()


@VARIANT
@EACH
async def test_02_of_three_the_changed_one_comes_alone(served: Served, talk: Open, variant: str, short: str) -> None:
    served.set(short, A="v1", B="v1", C="v1")
    client = talk(variant, short)
    await client.subscribe("A", "B", "C")
    assert await client.collect("ABC") == {"A": "v1", "B": "v1", "C": "v1"}
    served.set(short, A="v2")
    changed = await client.take()
    assert (changed.resources, changed.removed) == ({"A": "v2"}, ())
    await client.ends_silently()


@VARIANT
@EACH
async def test_03_a_name_that_comes_later_is_said_to_be_missing_and_then_comes_alone(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1")
    client = talk(variant, short)
    await client.subscribe("A", "B")
    first = await client.take()
    assert (first.resources, first.removed) == ({"A": "v1"}, ("B",))
    served.set(short, B="v1")
    assert (await client.take()).resources == {"B": "v1"}
    await client.ends_silently()


@VARIANT
@EACH
async def test_04_a_removed_name_is_said_to_be_gone_and_comes_again_alone(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1")
    client = talk(variant, short)
    await client.subscribe("A", "B")
    await client.collect("AB")
    served.remove(short, "B")
    gone = await client.take()
    assert (gone.resources, gone.removed) == ({}, ("B",))
    served.set(short, B="v2")
    assert (await client.take()).resources == {"B": "v2"}
    await client.ends_silently()


@VARIANT
@EACH
async def test_05_what_was_unsubscribed_does_not_come(served: Served, talk: Open, variant: str, short: str) -> None:
    served.set(short, A="v1", B="v1")
    client = talk(variant, short)
    await client.subscribe("A", "B")
    await client.collect("AB")
    await client.unsubscribe("B")
    await client.heard()
    served.set(short, B="v2")
    await client.heard()
    await client.unsubscribe("A")
    await client.heard()
    served.set(short, A="v2")
    await client.ends_silently()


@pytest.mark.parametrize(("one", "other"), [("CDS", "LDS"), ("LDS", "CDS"), ("RDS", "EDS"), ("EDS", "RDS")])
async def test_06_two_types_on_one_stream_are_answered_and_change_on_their_own(
    served: Served, talk: Open, one: str, other: str
) -> None:
    served.set(one, A="v1", B="v1")
    served.set(other, A="v1", B="v1")
    client = talk("delta, ADS", one)
    for short in (one, other):
        await client.subscribe("B", of=short)
        assert (await client.take()).resources == {"B": "v1"}
    for short in (one, other):
        served.set(short, B="v2")
        assert (await client.take()).resources == {"B": "v2"}
    await client.ends_silently()
