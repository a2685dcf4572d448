"""Statements D12 to D22 of docs/conformance.md: the incremental dialect, answers, lifetimes, sizes and collections."""

from collections.abc import Awaitable, Callable

import pytest

from protos import discovery_pb2 as pb
from tests.conformance.clients import AN_ENVOY, TYPE_URLS
from tests.conformance.talks import DELTA, TYPES, Served, Talk, body, cells, until
from xds.snapshot import Resource

Open = Callable[..., Talk]
Counted = Callable[..., float]
Majority = Callable[..., Awaitable[None]]
EACH = cells(DELTA, TYPES)
# In seconds; a third of it is the time between two heartbeats.
TTL = 0.06


@EACH
async def test_d12_a_stale_nonce_does_not_keep_a_subscription_from_counting(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1")
    stream = talk(variant, short)
    await stream.subscribe("A")
    old = await stream.take()
    served.set(short, A="v2")
    await stream.take()
    await stream.subscribe("B", response_nonce=old.nonce)
    assert (await stream.take()).resources == {"B": "v1"}
    await stream.unsubscribe("A", response_nonce="of no response")
    await stream.heard()
    served.set(short, A="v3")
    await stream.ends_silently()


@EACH
async def test_d13_each_of_several_responses_is_answered_on_its_own_and_in_any_order(
    served: Served, talk: Open, counted: Counted, majority: Majority, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1")
    await majority(variant, short)
    stream = talk(variant, short)
    await stream.subscribe("A")
    first = await stream.next()
    await stream.subscribe("B")
    second = await stream.next()
    await stream.write(response_nonce="of no response")
    await stream.nack(second)
    await until(lambda: counted("nacks", type=short) == 1)
    await stream.ack(first)
    await served.answered()
    (refused,) = served.publisher.nodes.status("edge")[0].refused
    assert refused.name == "B"
    assert counted("stale_nonces", type=short) == 1
    await stream.ends_silently()


@EACH
async def test_d14_what_was_refused_is_not_sent_again_and_a_return_sends_nothing_and_a_fix_is_sent(
    served: Served, talk: Open, majority: Majority, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1")
    await majority(variant, short)
    stream = talk(variant, short)
    await stream.subscribe("A")
    await stream.take()
    await served.answered()
    served.set(short, A="v2")
    await stream.nack(await stream.next())
    await served.answered()
    await stream.heard()
    served.set(short, B="v2")
    await stream.heard()
    # Asked for again, it is sent again.
    await stream.subscribe("A")
    refused = await stream.next()
    assert refused.resources == {"A": "v2"}
    await stream.nack(refused)
    await served.answered()
    served.set(short, A="v1")
    await stream.heard()
    served.set(short, A="v3")
    assert (await stream.take()).resources == {"A": "v3"}
    await stream.ends_silently()


@EACH
async def test_d14_what_is_rolled_back_to_is_what_the_client_has(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1")
    stream = talk(variant, short)
    await stream.subscribe("A")
    await stream.take()
    await served.answered()
    served.set(short, A="v2")
    await stream.nack(await stream.next())
    await until(lambda: served.publisher.rolled_back("edge") != ())
    await stream.heard()
    served.set(short, A="v3")
    assert (await stream.take()).resources == {"A": "v3"}
    await stream.ends_silently()


@EACH
async def test_d15_a_request_without_a_nonce_acknowledges_nothing(
    served: Served, talk: Open, counted: Counted, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1")
    stream = talk(variant, short)
    await stream.subscribe("A")
    first = await stream.next()
    await stream.subscribe("B")
    second = await stream.next()
    assert second.resources == {"B": "v1"}
    assert counted("acks") == 0
    for said in (first, second):
        await stream.ack(said)
    await stream.ends_silently()
    assert counted("acks") == 2


@EACH
async def test_d16_an_answer_may_subscribe_too(
    served: Served, talk: Open, counted: Counted, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1")
    stream = talk(variant, short)
    await stream.subscribe("A")
    said = await stream.next()
    await stream.subscribe("B", response_nonce=said.nonce)
    assert (await stream.take()).resources == {"B": "v1"}
    await stream.ends_silently()
    assert counted("acks", type=short) == 2


@EACH
async def test_d16_subscribed_and_let_go_in_one_message_is_let_go(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1")
    stream = talk(variant, short)
    await stream.subscribe("A", "B", resource_names_unsubscribe=["B"])
    said = await stream.take()
    assert (said.resources, said.removed) == ({"A": "v1"}, ())
    served.set(short, B="v2")
    await stream.ends_silently()


@cells(DELTA, tuple(short for short in TYPES if short not in ("SDS", "ECDS")))
async def test_d17_no_name_is_both_brought_and_removed_or_twice_in_a_response(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1")
    stream = talk(variant, short)
    await stream.subscribe("A", "A", "B", "missing", "missing")
    came, gone = [], []
    while len(came) < 2:
        said = await stream.take()
        names = [each.name for each in said.message.resources if each.HasField("resource")]
        assert len({*names, *said.removed}) == len(names) + len(said.removed)
        came += names
        gone += said.removed
    assert sorted(came) == ["A", "B"]
    assert gone == ["missing"]
    # Gone and back before the client was told, it is a change like any other.
    served.remove(short, "A")
    served.set(short, A="v2")
    assert (await stream.take()).resources == {"A": "v2"}
    await stream.ends_silently()


@EACH
async def test_d18_a_response_says_which_configuration_it_is_of(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1")
    stream = talk(variant, short)
    await stream.subscribe("A")
    versions = [(await stream.take()).version]
    assert versions == [served.snapshot().version]
    served.set(short, A="v2")
    versions.append((await stream.take()).version)
    assert versions[1] == served.snapshot().version
    assert versions[0] != versions[1]


@pytest.mark.parametrize("variant", DELTA)
async def test_d19_a_virtual_host_is_found_by_its_aliases(served: Served, talk: Open, variant: str) -> None:
    host = Resource.of("r/shop", b"r/shop@v1", aliases=["r/shop.test", "r/www.shop.test"])
    served.put("VHDS", host)
    stream = talk(variant, "VHDS")
    await stream.subscribe("r/shop.test")
    (entry,) = (await stream.take()).message.resources
    assert (entry.name, sorted(entry.aliases)) == ("r/shop", ["r/shop.test", "r/www.shop.test"])
    assert entry.resource.value == b"r/shop@v1"
    served.put("VHDS", Resource.of("r/shop", b"r/shop@v2", aliases=host.aliases))
    assert (await stream.take()).resources == {"r/shop": "v2"}
    await stream.unsubscribe("r/shop.test")
    await stream.heard()
    served.put("VHDS", Resource.of("r/shop", b"r/shop@v3", aliases=host.aliases))
    await stream.ends_silently()


@EACH
async def test_d20_a_resource_says_how_long_it_lives_and_then_for_how_long_no_more(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.put(short, Resource.of("A", body("A", "v1"), ttl=60))
    stream = talk(variant, short)
    await stream.subscribe("A")
    (entry,) = (await stream.take()).message.resources
    assert entry.ttl.seconds == 60
    served.put(short, Resource.of("A", body("A", "v1")))
    (entry,) = (await stream.take()).message.resources
    assert (entry.HasField("ttl"), entry.resource.value) == (False, b"A@v1")
    await stream.ends_silently()


@EACH
async def test_d20_heartbeats_of_the_same_version_come_before_it_is_over(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.put(short, Resource.of("A", body("A", "v1"), ttl=TTL))
    stream = talk(variant, short)
    await stream.subscribe("A")
    (first,) = (await stream.take()).message.resources
    for _ in range(2):
        (beat,) = (await stream.take()).message.resources
        assert (beat.name, beat.version, beat.ttl.nanos) == ("A", first.version, TTL * 1e9)
        assert not beat.HasField("resource")


@pytest.mark.parametrize("variant", DELTA)
async def test_d20_an_envoy_is_repeated_a_virtual_host_as_it_takes_one_without_a_body_for_a_missing_one(
    served: Served, talk: Open, variant: str
) -> None:
    served.put("VHDS", Resource.of("A", body("A", "v1"), ttl=TTL))
    stream = talk(variant, "VHDS")
    await stream.subscribe("A", node=AN_ENVOY)
    for _ in range(3):
        assert (await stream.take()).resources == {"A": "v1"}


@EACH
async def test_d21_a_large_change_comes_in_parts_that_a_client_can_receive(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, **dict.fromkeys("ABC", "v" * 2000000))
    stream = talk(variant, short)
    await stream.subscribe("A", "B", "C")
    sizes, brought = [], {}
    while len(brought) < 3:
        said = await stream.take()
        sizes.append(said.message.ByteSize())
        assert not brought.keys() & said.resources.keys()
        brought |= said.resources
    assert max(sizes) < 4 * 1024 * 1024
    assert {len(version) for version in brought.values()} == {2_000_000}
    await stream.ends_silently()


@pytest.mark.parametrize("variant", DELTA)
@pytest.mark.parametrize("prefix", ["pool/zone-a", "xdstp://bank.test/envoy.config.endpoint.v3.LbEndpoint/pool"])
async def test_d22_a_collection_brings_its_members_and_what_becomes_of_them(
    served: Served, talk: Open, variant: str, prefix: str
) -> None:
    def of(name: str) -> Resource:
        return Resource.of(f"{prefix}/{name}", body(f"{prefix}/{name}", "v1"))

    served.put("LEDS", of("1"), of("2"), Resource.of("another/1", body("another/1", "v1")), of("deeper/1"))
    stream = talk(variant, "LEDS")
    await stream.subscribe(f"{prefix}/*")
    assert (await stream.collect([f"{prefix}/1", f"{prefix}/2"])).keys() == {f"{prefix}/1", f"{prefix}/2"}
    served.put("LEDS", of("3"))
    assert (await stream.take()).resources == {f"{prefix}/3": "v1"}
    served.drop("LEDS", f"{prefix}/1")
    assert (await stream.take()).removed == (f"{prefix}/1",)
    served.drop("LEDS", "another/1")
    await stream.unsubscribe(f"{prefix}/*")
    await stream.heard()
    served.put("LEDS", of("4"))
    await stream.ends_silently()


@pytest.mark.parametrize("short", TYPES)
async def test_d14_a_refusal_may_say_anything(served: Served, talk: Open, short: str) -> None:
    served.set(short, A="v1")
    stream = talk("delta, ADS", short)
    await stream.subscribe("A")
    said = await stream.next()
    await stream.write(type_url=TYPE_URLS[short], response_nonce=said.nonce, error_detail=pb.Status(code=0, message=""))
    await until(lambda: served.publisher.rolled_back("edge") != ())
