"""Statements D1 to D11 of docs/conformance.md: the incremental dialect, subscriptions and what is sent."""

from collections.abc import Callable

import pytest

from tests.conformance.clients import AN_ENVOY
from tests.conformance.talks import DELTA, TYPES, Served, Talk, cells
from xds.snapshot import PUSH_ORDER, SHORT_NAMES, Resource

Open = Callable[..., Talk]
WILDCARDS = ("CDS", "LDS", "SRDS")
# An Envoy is not told that these are gone while it refers to them: it would refuse, or answer 500.
KEPT = ("SDS", "ECDS")
LOSABLE = tuple(short for short in TYPES if short not in KEPT)
assert tuple(SHORT_NAMES[each] for each in PUSH_ORDER) == TYPES
EACH = cells(DELTA, TYPES)
COMPLETE = cells(DELTA, WILDCARDS)


@COMPLETE
@pytest.mark.parametrize("names", [(), ("*",)], ids=["empty", "asterisk"])
async def test_d1_a_first_request_for_nothing_in_particular_gets_everything(
    served: Served, talk: Open, variant: str, short: str, names: tuple[str, ...]
) -> None:
    served.set(short, A="v1", B="v1")
    stream = talk(variant, short)
    await stream.subscribe(*names)
    assert await stream.collect("AB") == {"A": "v1", "B": "v1"}
    served.set(short, C="v1")
    assert (await stream.take()).resources == {"C": "v1"}
    await stream.ends_silently()


@COMPLETE
@pytest.mark.parametrize("names", [(), ("*",)], ids=["empty", "asterisk"])
async def test_d1_the_first_answer_is_given_also_where_there_is_nothing(
    served: Served, talk: Open, variant: str, short: str, names: tuple[str, ...]
) -> None:
    served.change()
    stream = talk(variant, short)
    await stream.subscribe(*names)
    said = await stream.take()
    assert (said.resources, said.removed) == ({}, ())
    await stream.ends_silently()


@EACH
async def test_d2_resources_have_names_and_versions_and_only_those_with_another_version_are_sent(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1")
    stream = talk(variant, short)
    await stream.subscribe("A", "B")
    versions = {}
    while len(versions) < 2:
        versions |= {each.name: each.version for each in (await stream.take()).message.resources}
    assert all(versions.values())
    served.set(short, B="v2")
    (changed,) = (await stream.take()).message.resources
    assert changed.name == "B"
    assert changed.version not in versions.values()
    served.set(short, B="v1")
    (back,) = (await stream.take()).message.resources
    assert back.version == versions["B"]
    served.set(short, A="v1", B="v1")
    await stream.ends_silently()


@cells(DELTA, LOSABLE)
async def test_d3_a_deletion_is_said_exactly_once_to_who_named_it(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1")
    stream = talk(variant, short)
    await stream.subscribe("A", "B")
    await stream.collect("AB")
    served.remove(short, "A")
    said = await stream.take()
    assert (said.resources, said.removed) == ({}, ("A",))
    served.set(short, B="v2")
    said = await stream.take()
    assert (said.resources, said.removed) == ({"B": "v2"}, ())
    await stream.ends_silently()


@COMPLETE
async def test_d3_a_deletion_is_said_exactly_once_to_a_wildcard(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1")
    stream = talk(variant, short)
    await stream.subscribe("*")
    await stream.collect("AB")
    served.remove(short, "A")
    assert (await stream.take()).removed == ("A",)
    served.set(short, B="v2")
    assert (await stream.take()).removed == ()
    await stream.ends_silently()


@EACH
async def test_d4_a_name_that_does_not_exist_is_said_to_be_missing(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1")
    stream = talk(variant, short)
    await stream.subscribe("missing")
    said = await stream.take()
    assert (said.resources, said.removed) == ({}, ("missing",))
    assert not said.message.resources
    await stream.ends_silently()


@pytest.mark.parametrize("variant", DELTA)
async def test_d4_an_envoy_is_told_so_of_a_virtual_host_by_an_entry_that_is_empty(
    served: Served, talk: Open, variant: str
) -> None:
    # It holds a request for a host until it hears of an entry of that alias.
    served.set("VHDS", A="v1")
    stream = talk(variant, "VHDS")
    await stream.subscribe("missing", node=AN_ENVOY)
    said = await stream.take()
    (entry,) = said.message.resources
    assert (entry.name, list(entry.aliases), entry.HasField("resource")) == ("missing", ["missing"], False)
    assert said.removed == ()
    await stream.ends_silently()


@EACH
async def test_d5_and_comes_unasked_when_it_exists(served: Served, talk: Open, variant: str, short: str) -> None:
    served.set(short, A="v1")
    stream = talk(variant, short)
    await stream.subscribe("missing")
    await stream.take()
    served.set(short, missing="v1")
    said = await stream.take()
    assert (said.resources, said.removed) == ({"missing": "v1"}, ())
    await stream.ends_silently()


@EACH
async def test_d6_a_name_that_is_asked_for_again_is_answered_again(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1")
    stream = talk(variant, short)
    await stream.subscribe("A", "B")
    await stream.collect("AB")
    await stream.subscribe("A")
    assert (await stream.take()).resources == {"A": "v1"}
    await stream.ends_silently()


@EACH
async def test_d7_what_was_let_go_is_neither_answered_nor_sent_later(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1")
    stream = talk(variant, short)
    await stream.subscribe("A", "B")
    await stream.collect("AB")
    await stream.unsubscribe("B", "never asked for")
    await stream.heard()
    served.set(short, B="v2")
    served.remove(short, "B")
    await stream.ends_silently()


@COMPLETE
async def test_d8_a_name_that_is_let_go_beside_a_wildcard_is_said_once_more(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1")
    stream = talk(variant, short)
    await stream.subscribe("*", "A", "missing")
    await stream.collect("AB")
    await stream.unsubscribe("A")
    assert (await stream.take()).resources == {"A": "v1"}
    await stream.unsubscribe("missing")
    assert (await stream.take()).removed == ("missing",)
    served.set(short, A="v2")
    assert (await stream.take()).resources == {"A": "v2"}
    await stream.ends_silently()


@COMPLETE
async def test_d9_without_the_wildcard_the_names_stay_and_without_these_nothing_does(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1")
    stream = talk(variant, short)
    await stream.subscribe("*", "A")
    await stream.collect("AB")
    await stream.unsubscribe("*")
    await stream.heard()
    served.set(short, B="v2")
    served.set(short, A="v2")
    assert (await stream.take()).resources == {"A": "v2"}
    await stream.unsubscribe("A", *[each for each in stream.names[short] if each != "A"])
    await stream.write()
    await served.knows(short)
    served.set(short, A="v3", B="v3")
    await stream.ends_silently()


async def known(served: Served, talk: Open, variant: str, short: str) -> dict[str, str]:
    """The versions that a client had when its stream ended."""
    served.set(short, A="v1", B="v1")
    stream = talk(variant, short)
    await stream.subscribe("A", "B")
    versions = {}
    while len(versions) < 2:
        versions |= {each.name: each.version for each in (await stream.take()).message.resources}
    await stream.ends_silently()
    return versions


@cells(DELTA, LOSABLE)
async def test_d10_who_reconnects_is_sent_what_has_changed_and_told_what_has_gone(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    versions = await known(served, talk, variant, short)
    served.set(short, B="v2")
    stream = talk(variant, short)
    await stream.subscribe("A", "B", "gone", initial_resource_versions=versions | {"gone": "1"})
    brought: dict[str, str] = {}
    removed: tuple[str, ...] = ()
    while not (brought and (removed or short == "VHDS")):
        said = await stream.take()
        brought |= said.resources
        removed += said.removed
    assert brought == {"B": "v2"}
    assert removed == ("gone",)
    await stream.ends_silently()


@COMPLETE
async def test_d10_likewise_a_wildcard(served: Served, talk: Open, variant: str, short: str) -> None:
    versions = await known(served, talk, variant, short)
    served.set(short, B="v2")
    stream = talk(variant, short)
    await stream.subscribe(initial_resource_versions=versions | {"gone": "1"})
    said = await stream.take()
    assert (said.resources, said.removed) == ({"B": "v2"}, ("gone",))
    await stream.ends_silently()


@EACH
async def test_d10_on_a_later_message_they_mean_nothing(served: Served, talk: Open, variant: str, short: str) -> None:
    versions = await known(served, talk, variant, short)
    stream = talk(variant, short)
    await stream.subscribe("A")
    await stream.take()
    await stream.subscribe("B", initial_resource_versions=versions)
    assert (await stream.take()).resources == {"B": "v1"}
    await stream.ends_silently()


@EACH
async def test_d11_what_a_client_says_that_it_has_is_not_subscribed_to(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    versions = await known(served, talk, variant, short)
    stream = talk(variant, short)
    await stream.subscribe("A", initial_resource_versions=versions | {"gone": "1"})
    await stream.heard()
    served.set(short, B="v2")
    served.set(short, A="v2")
    assert (await stream.take()).resources == {"A": "v2"}
    await stream.ends_silently()


@cells(DELTA, KEPT)
async def test_d3_what_a_client_refers_to_is_not_taken_away(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1")
    stream = talk(variant, short)
    await stream.subscribe("A", "B")
    await stream.collect("AB")
    served.remove(short, "A")
    await stream.heard()
    served.set(short, B="v2")
    said = await stream.take()
    assert (said.resources, said.removed) == ({"B": "v2"}, ())
    # Once it has let go it learns the truth.
    await stream.unsubscribe("A")
    await stream.subscribe("A")
    assert (await stream.take()).removed == ("A",)
    served.put(short, Resource.of("A", b"A@v3"))
    assert (await stream.take()).resources == {"A": "v3"}
    await stream.ends_silently()
