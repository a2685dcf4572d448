"""What every bus does: each message is delivered until somebody acknowledges it, and is never forgotten silently."""

import asyncio
from dataclasses import replace

import pytest

from messaging.bus import Bus, BusLimits, Depth, IdConflictError, Message, QueueFullError, Receipt
from tests.contract.messaging.conftest import Make

SHORT = BusLimits(lease=0.05, attempts=2)


def message(recipient: str, identity: str = "m-1", payload: bytes = b'{"a":1}') -> Message:
    return Message(identity, "task.assigned", "coordinator", recipient, payload, "request-1", "00-trace-01")


async def test_a_message_arrives_as_it_was_sent_and_goes_when_it_is_acknowledged(make: Make, name: str) -> None:
    bus = make(BusLimits())
    sent = replace(message(name), payload='{"wörter":"\\u0000 \U0001f600"}'.encode())
    assert not (await bus.publish(sent)).repeated
    (delivery,) = await bus.receive(name, "one")
    assert (delivery.message, delivery.consumer, delivery.attempt) == (sent, "one", 1)
    assert await bus.depth(name) == Depth(0, 1, 0, 0)
    assert await bus.acknowledge(delivery)
    assert not await bus.acknowledge(delivery)
    assert await bus.depth(name) == Depth(0, 0, 0, 0)


async def test_messages_are_taken_in_their_order_each_by_one_consumer(make: Make, name: str) -> None:
    bus = make(BusLimits())
    for number in range(10):
        await bus.publish(message(name, f"m-{number}"))
    first, second = await bus.receive(name, "one", 4), await bus.receive(name, "two", 100)
    assert [one.message.id for one in (*first, *second)] == [f"m-{number}" for number in range(10)]
    assert await bus.receive(name, "three", 10) == []


async def test_recipients_have_queues_of_their_own(make: Make, name: str) -> None:
    bus = make(BusLimits())
    await bus.publish(message(name))
    assert await bus.receive(name + "-x", "one") == []
    assert len(await bus.receive(name, "one")) == 1


async def test_the_same_message_again_is_not_added_again(make: Make, name: str) -> None:
    bus = make(BusLimits())
    first = await bus.publish(message(name))
    assert await bus.publish(replace(message(name), request_id="another")) == Receipt(first.position, repeated=True)
    (delivery,) = await bus.receive(name, "one", 10)
    await bus.acknowledge(delivery)
    # Also when it is done with.
    assert (await bus.publish(message(name))).repeated
    assert await bus.depth(name) == Depth(0, 0, 0, 0)


@pytest.mark.parametrize("changed", [{"payload": b"{}"}, {"type": "other"}])
async def test_an_id_says_one_thing(make: Make, name: str, changed: dict[str, object]) -> None:
    bus = make(BusLimits())
    await bus.publish(message(name))
    with pytest.raises(IdConflictError):
        await bus.publish(replace(message(name), **changed))  # type: ignore[arg-type]
    # Another sender's ids are its own.
    await bus.publish(replace(message(name), sender="someone", **changed))  # type: ignore[arg-type]
    assert (await bus.depth(name)).waiting == 2


async def test_no_pair_of_sender_and_id_is_taken_for_another(make: Make, name: str) -> None:
    bus = make(BusLimits())
    assert not (await bus.publish(replace(message(name), sender="a:b", id="c"))).repeated
    assert not (await bus.publish(replace(message(name), sender="a", id="b:c"))).repeated


async def test_an_id_is_remembered_for_its_time(make: Make, name: str) -> None:
    bus = make(BusLimits(remembered=0.05))
    await bus.publish(message(name))
    await asyncio.sleep(0.1)
    assert not (await bus.publish(message(name, payload=b"{}"))).repeated


async def test_a_full_queue_refuses_and_forgets_nothing(make: Make, name: str) -> None:
    bus = make(BusLimits(capacity=2))
    for identity in ("m-1", "m-2"):
        await bus.publish(message(name, identity))
    with pytest.raises(QueueFullError):
        await bus.publish(message(name, "m-3"))
    first, second = await bus.receive(name, "one", 10)
    # Taken is not done.
    with pytest.raises(QueueFullError):
        await bus.publish(message(name, "m-3"))
    await bus.acknowledge(first)
    assert not (await bus.publish(message(name, "m-3"))).repeated
    assert second.message.id == "m-2"


async def test_what_nobody_acknowledges_in_time_is_delivered_again_and_then_buried(make: Make, name: str) -> None:
    bus = make(SHORT)
    await bus.publish(message(name))
    assert [one.attempt for one in await bus.receive(name, "one")] == [1]
    assert await bus.receive(name, "two") == []
    (again,) = await bus.receive(name, "two", wait=2.0)
    assert (again.attempt, again.consumer, again.message.id) == (2, "two", "m-1")
    await asyncio.sleep(0.1)
    assert await bus.receive(name, "one") == []
    (letter,) = await bus.dead_letters(name)
    assert (letter.message, letter.attempts) == (message(name), 2)
    assert letter.reason == "nobody acknowledged it in time"
    assert await bus.depth(name) == Depth(0, 0, 1, 0)


async def test_who_lost_its_lease_can_neither_renew_nor_bury_it(make: Make, name: str) -> None:
    bus = make(replace(SHORT, attempts=5))
    await bus.publish(message(name))
    (lost,) = await bus.receive(name, "one")
    (taken,) = await bus.receive(name, "two", wait=2.0)
    assert not await bus.renew(lost)
    assert not await bus.release(lost)
    assert not await bus.reject(lost, "no")
    assert await bus.renew(taken)
    # What has been done has been done, whoever did it.
    assert await bus.acknowledge(lost)
    assert not await bus.acknowledge(taken)


async def test_a_lease_that_is_renewed_does_not_end(make: Make, name: str) -> None:
    bus = make(BusLimits(lease=0.4))
    await bus.publish(message(name))
    (delivery,) = await bus.receive(name, "one")
    for _ in range(6):
        await asyncio.sleep(0.1)
        assert await bus.renew(delivery)
        assert await bus.receive(name, "two") == []


async def test_what_is_released_is_delivered_at_once(make: Make, name: str) -> None:
    bus = make(BusLimits())
    await bus.publish(message(name))
    (delivery,) = await bus.receive(name, "one")
    assert await bus.release(delivery)
    (again,) = await bus.receive(name, "two")
    assert again.attempt == 2


async def test_what_is_rejected_is_a_dead_letter_that_can_be_revived_or_discarded(make: Make, name: str) -> None:
    bus = make(BusLimits())
    for identity in ("m-1", "m-2"):
        await bus.publish(message(name, identity))
    for delivery in await bus.receive(name, "one", 2):
        assert await bus.reject(delivery, f"{delivery.message.id} is of no use")
    first, second = await bus.dead_letters(name)
    assert (first.reason, first.attempts) == ("m-1 is of no use", 1)
    assert await bus.dead_letters(name, 1) == [first]
    assert await bus.revive(name, first.position)
    assert not await bus.revive(name, first.position)
    assert await bus.discard(name, second.position)
    assert not await bus.discard(name, second.position)
    (again,) = await bus.receive(name, "one", 10)
    assert (again.message, again.attempt) == (message(name), 1)


@pytest.mark.parametrize("position", ["", "none", "-", "+", "999999", "9-9", "0-0 DEL"])
async def test_no_other_text_names_a_dead_letter(make: Make, name: str, position: str) -> None:
    bus = make(BusLimits())
    await bus.publish(message(name))
    (delivery,) = await bus.receive(name, "one")
    await bus.reject(delivery, "no")
    assert not await bus.revive(name, position)
    assert not await bus.discard(name, position)
    assert (await bus.depth(name)).dead == 1


async def test_a_dead_letter_is_revived_only_where_there_is_room(make: Make, name: str) -> None:
    bus = make(BusLimits(capacity=1))
    await bus.publish(message(name))
    (delivery,) = await bus.receive(name, "one")
    await bus.reject(delivery, "no")
    await bus.publish(message(name, "m-2"))
    (letter,) = await bus.dead_letters(name)
    with pytest.raises(QueueFullError):
        await bus.revive(name, letter.position)
    assert (await bus.depth(name)).dead == 1


async def test_dead_letters_are_bounded_and_those_that_go_are_counted(make: Make, name: str) -> None:
    bus = make(BusLimits(dead_letters=2))
    for number in range(5):
        await bus.publish(message(name, f"m-{number}"))
        (delivery,) = await bus.receive(name, "one")
        await bus.reject(delivery, "no")
    assert [one.message.id for one in await bus.dead_letters(name)] == ["m-3", "m-4"]
    assert await bus.depth(name) == Depth(0, 0, 2, 3)


async def test_who_waits_gets_a_message_as_soon_as_it_comes(make: Make, name: str) -> None:
    bus = make(BusLimits())
    waiting = asyncio.create_task(bus.receive(name, "one", wait=20.0))
    await asyncio.sleep(0.05)
    await bus.publish(message(name))
    (delivery,) = await asyncio.wait_for(waiting, 5.0)
    assert delivery.message.id == "m-1"


async def test_who_gives_up_waiting_leaves_the_message_to_the_next(make: Make, name: str) -> None:
    bus = make(BusLimits())
    waiting = asyncio.create_task(bus.receive(name, "one", wait=20.0))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await bus.publish(message(name))
    assert len(await bus.receive(name, "two", wait=2.0)) == 1


@pytest.mark.parametrize("recipient", ["", "a b", "a{b}", "a\n", "ä", "a" * 129, "a/b"])
async def test_what_is_no_name_is_no_recipient(make: Make, recipient: str) -> None:
    bus = make(BusLimits())
    for asked in (bus.publish(message(recipient)), bus.receive(recipient, "one"), bus.depth(recipient)):
        with pytest.raises(ValueError, match="no recipient"):
            await asked


async def test_a_message_has_names_and_a_bound(make: Make, name: str) -> None:
    bus = make(BusLimits(octets=10))
    await bus.publish(message(name, payload=b"1" * 10))
    for wrong in (message(name, "m-2", b"1" * 11), message(name, ""), replace(message(name), sender="")):
        with pytest.raises(ValueError, match=r"octets|an id"):
            await bus.publish(wrong)
    assert (await bus.depth(name)).waiting == 1


async def test_of_many_consumers_each_message_has_one(make: Make, name: str) -> None:
    bus = make(BusLimits())
    for number in range(200):
        await bus.publish(message(name, f"m-{number}"))

    async def consumer(own: str) -> list[str]:
        done: list[str] = []
        while taken := await bus.receive(name, own, 3):
            for one in taken:
                done.append(one.message.id)
                assert await bus.acknowledge(one)
        return done

    shares = await asyncio.gather(*(consumer(f"c-{number}") for number in range(8)))
    assert sorted(each for share in shares for each in share) == sorted(f"m-{number}" for number in range(200))


async def test_it_is_ready(make: Make) -> None:
    bus: Bus = make(BusLimits())
    assert await bus.ready()


async def test_who_asks_for_messages_is_known_for_a_time(make: Make, name: str) -> None:
    bus = make(BusLimits())
    assert await bus.consumers(name, 60) == 0
    for consumer in ("one", "two", "one"):
        await bus.receive(name, consumer)
    assert await bus.consumers(name, 60) == 2
    await asyncio.sleep(0.02)
    assert await bus.consumers(name, 0.001) == 0
