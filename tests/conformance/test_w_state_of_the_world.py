"""Statements W1 to W11 of docs/conformance.md: state of the world, what is sent and how answers count."""

from collections.abc import Awaitable, Callable

from tests.conformance.clients import TYPE_URLS
from tests.conformance.talks import FULL_STATE, NAMED, SOTW, Served, Talk, cells, until
from xds.publisher import Publisher
from xds.server import RunningServer

Open = Callable[..., Talk]
Counted = Callable[..., float]
Majority = Callable[..., Awaitable[None]]
Server = tuple[Publisher, RunningServer]
EVERY = FULL_STATE + NAMED
COMPLETE = cells(SOTW, FULL_STATE)
BY_NAME = cells(SOTW, NAMED)
EACH = cells(SOTW, EVERY)


@COMPLETE
async def test_w1_a_first_request_without_names_gets_everything_in_one_response(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1", C="v1")
    stream = talk(variant, short)
    await stream.subscribe()
    assert (await stream.take()).resources == {"A": "v1", "B": "v1", "C": "v1"}
    await stream.ends_silently()


@COMPLETE
async def test_w2_every_change_brings_the_complete_set_in_one_response(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1")
    stream = talk(variant, short)
    await stream.subscribe()
    await stream.take()
    served.set(short, B="v2")
    assert (await stream.take()).resources == {"A": "v1", "B": "v2"}
    served.set(short, C="v1")
    assert (await stream.take()).resources == {"A": "v1", "B": "v2", "C": "v1"}
    served.remove(short, "A")
    assert (await stream.take()).resources == {"B": "v2", "C": "v1"}
    served.remove(short, "B", "C")
    assert (await stream.take()).resources == {}
    await stream.ends_silently()


@BY_NAME
async def test_w3_a_response_holds_every_changed_name_and_a_removal_is_not_said(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1", C="v1", D="v1")
    stream = talk(variant, short)
    await stream.subscribe("A", "B", "C")
    assert (await stream.take()).resources == {"A": "v1", "B": "v1", "C": "v1"}
    served.set(short, A="v2", C="v2", D="v2")
    changed = (await stream.take()).resources
    assert changed.items() >= {"A": "v2", "C": "v2"}.items()
    assert "D" not in changed
    served.remove(short, "B")
    await stream.ends_silently()


@EACH
async def test_w4_an_acknowledgement_is_not_answered(served: Served, talk: Open, variant: str, short: str) -> None:
    served.set(short, A="v1")
    stream = talk(variant, short)
    await stream.subscribe("A")
    said = await stream.take()
    await stream.ack(said)
    await stream.ends_silently()


@EACH
async def test_w5_an_older_version_without_an_error_is_no_refusal(
    served: Served, talk: Open, counted: Counted, variant: str, short: str
) -> None:
    served.set(short, A="v1")
    stream = talk(variant, short)
    await stream.subscribe("A")
    first = await stream.take()
    await until(lambda: counted("acks", type=short) == 1)
    served.set(short, A="v2")
    second = await stream.next()
    await stream.ack(second, version_info=first.version)
    await stream.ends_silently()
    assert (counted("acks", type=short), counted("nacks")) == (2, 0)


@EACH
async def test_w5_an_error_is_a_refusal_whatever_the_version(
    served: Served, talk: Open, majority: Majority, counted: Counted, variant: str, short: str
) -> None:
    served.set(short, A="v1")
    await majority(variant, short)
    stream = talk(variant, short)
    await stream.subscribe("A")
    await stream.take()
    served.set(short, A="v2")
    said = await stream.next()
    await stream._say(short, {}, {"version_info": said.version, "error_detail": {"code": 13, "message": "no"}})
    await stream.ends_silently()
    assert counted("nacks", type=short) == 1


@EACH
async def test_w6_after_a_nack_nothing_is_sent_until_the_resources_change(
    served: Served, talk: Open, majority: Majority, variant: str, short: str
) -> None:
    served.set(short, A="v1")
    await majority(variant, short)
    stream = talk(variant, short)
    await stream.subscribe("A")
    await stream.take()
    await served.answered()
    served.set(short, A="v2")
    await stream.nack(await stream.next())
    await served.answered()
    await stream.heard()
    # What is published again without a change is no change.
    served.set(short, A="v2")
    served.set(short, A="v3")
    assert (await stream.take()).resources["A"] == "v3"
    await stream.ends_silently()


@EACH
async def test_w6_what_is_rolled_back_is_a_change_and_comes_at_once(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1")
    stream = talk(variant, short)
    await stream.subscribe("A")
    await stream.take()
    await served.answered()
    served.set(short, A="v2")
    await stream.nack(await stream.next())
    if short in FULL_STATE:
        # What it falls back to is the set that it runs.
        await until(lambda: served.publisher.rolled_back("edge") != ())
    assert (await stream.take()).resources == {"A": "v1"}
    served.set(short, A="v3")
    assert (await stream.take()).resources == {"A": "v3"}
    await stream.ends_silently()


@EACH
async def test_w6_what_changed_while_the_nack_was_under_way_is_sent_at_once_and_only_once(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1")
    stream = talk(variant, short)
    await stream.subscribe("A")
    await stream.take()
    await served.answered()
    served.set(short, A="v2")
    refused = await stream.next()
    served.set(short, A="v3")
    await stream.nack(refused)
    assert (await stream.take()).resources == {"A": "v3"}
    await stream.ends_silently()


@BY_NAME
async def test_w7_a_nack_with_other_names_is_honoured_and_resends_nothing(
    served: Served, talk: Open, majority: Majority, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1", C="v1")
    await majority(variant, short)
    stream = talk(variant, short)
    await stream.subscribe("A", "B")
    await stream.take()
    await served.answered()
    served.set(short, A="v2")
    refused = await stream.next()
    stream.names[short] = ["A", "C"]
    await stream.nack(refused)
    assert (await stream.take()).resources == {"C": "v1"}
    served.set(short, B="v2")
    await stream.ends_silently()


@COMPLETE
async def test_w7_a_nack_with_other_names_gets_them_beside_what_was_accepted(
    served: Served, talk: Open, majority: Majority, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1", C="v1")
    await majority(variant, short)
    stream = talk(variant, short)
    await stream.subscribe("A", "B")
    await stream.take()
    await served.answered()
    served.set(short, A="v2")
    refused = await stream.next()
    stream.names[short] = ["A", "C"]
    await stream.nack(refused)
    assert (await stream.take()).resources == {"A": "v1", "C": "v1"}
    await stream.ends_silently()


@EACH
async def test_w8_a_request_with_a_stale_nonce_changes_nothing_and_is_counted(
    served: Served, talk: Open, counted: Counted, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1")
    stream = talk(variant, short)
    await stream.subscribe("A")
    old = await stream.take()
    await served.answered()
    served.set(short, A="v2")
    new = await stream.next()
    await stream.ack(old, resource_names=["A", "B"])
    await stream.ack(new)
    await served.answered()
    assert counted("stale_nonces", type=short) == 1
    served.set(short, B="v2")
    served.set(short, A="v3")
    assert (await stream.take()).resources == {"A": "v3"}
    await stream.ends_silently()


@EACH
async def test_w9_only_the_newest_request_is_answered(
    served: Served, talk: Open, server: Server, variant: str, short: str
) -> None:
    stream = talk(variant, short)
    for name in ("A", "B", "C"):
        await stream.write(type_url=TYPE_URLS[short], resource_names=[name])

    def said() -> set[str]:
        connections = server[0].nodes.connections("edge")
        return {name for one in connections for each in one.stream.subscriptions.values() for name in each.names}

    await until(lambda: said() == {"C"})
    stream.names[short] = ["C"]
    served.set(short, A="v1", B="v1", C="v1")
    assert (await stream.take()).resources == {"C": "v1"}
    await stream.ends_silently()


@EACH
async def test_w9_what_was_built_for_a_superseded_subscription_is_not_sent(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1")
    stream = talk(variant, short)
    await stream.subscribe("A")
    said = await stream.take()
    await stream.write(type_url=TYPE_URLS[short], resource_names=["B"], response_nonce=said.nonce)
    served.set(short, A="v2")
    stream.names[short] = ["B"]
    came = [await stream.take()]
    if came[0].resources != {"B": "v1"}:
        # The change was there before the request was; its answer is what counts.
        came.append(await stream.take())
    assert came[-1].resources == {"B": "v1"}
    served.set(short, A="v3")
    await stream.ends_silently()


@BY_NAME
async def test_w10_added_names_are_sent_although_no_version_has_changed(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1")
    stream = talk(variant, short)
    await stream.subscribe("A")
    await stream.take()
    await stream.subscribe("B")
    assert (await stream.take()).resources["B"] == "v1"
    await stream.ends_silently()


@COMPLETE
async def test_w10_added_names_bring_the_complete_set_also_where_a_wildcard_has_brought_them(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1")
    stream = talk(variant, short)
    await stream.subscribe("*")
    first = await stream.take()
    await stream.subscribe("A")
    second = await stream.take()
    assert first.resources == second.resources == {"A": "v1", "B": "v1"}
    assert first.version == second.version
    await stream.ends_silently()


@EACH
async def test_w11_removed_names_are_not_answered_and_their_changes_not_sent(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1")
    stream = talk(variant, short)
    await stream.subscribe("A", "B")
    await stream.take()
    await stream.unsubscribe("B")
    await stream.heard()
    served.set(short, B="v2")
    await stream.ends_silently()
