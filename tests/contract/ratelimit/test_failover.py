"""Counters whose servers change places: under Sentinels, and in a cluster."""

import asyncio
import signal
import time
from collections.abc import Iterator

import pytest

from ratelimit.algorithms import SlidingWindow
from ratelimit.cluster_store import slot_of
from ratelimit.store import Charge, CounterStore, Loss, Outcome, Unavailable
from tests.contract.ratelimit.stores import admitted, opened, remaining
from tests.support.redis_servers import Cluster, Server, Watched, cluster, until, watched

DAY = 86_400_000_000
PLENTY = SlidingWindow(1000, DAY)
A, B = Charge(b"rl:{a}:one", PLENTY), Charge(b"rl:{b}:one", PLENTY)


@pytest.fixture
def group() -> Iterator[Watched]:
    with watched() as found:
        yield found


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    with cluster() as found:
        yield found


async def decided_again(store: CounterStore, charge: Charge, seconds: float = 20) -> int:
    """How many times it was charged until that was decided: once, or more where answers were lost."""
    end = time.monotonic() + seconds
    tried = 0
    while time.monotonic() < end:
        tried += 1
        if isinstance(await store.charge((charge,)), Outcome):
            return tried
        await asyncio.sleep(0.05)
    raise AssertionError("not decided again")


async def test_the_next_master_goes_on_counting(group: Watched) -> None:
    async with opened(group.url, timeout=1) as store:
        assert [await admitted(store, A) for _ in range(3)] == [True] * 3
        await asyncio.to_thread(_in_step, group)
        await asyncio.to_thread(group.fail_over)
        tried = await decided_again(store, A)
        # The last one was decided; of those before it none can have been charged twice.
        left = (await remaining(store, A))[0]
        assert 1000 - 3 - tried <= left <= 1000 - 3 - 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_master_that_dies_or_hangs_is_replaced(group: Watched, number: int) -> None:
    async with opened(group.url, timeout=0.5) as store:
        assert await admitted(store, A)
        master = group.master
        await asyncio.to_thread(_in_step, group)
        master.send(number)
        try:
            lost = await store.charge((A,))
            assert isinstance(lost, Unavailable)
            await decided_again(store, A)
            # The store may hear of the change before the Sentinel that is asked here.
            await asyncio.to_thread(until, lambda: group.master is not master, "another master")
        finally:
            master.send(signal.SIGCONT)


async def test_sentinels_that_know_no_such_master_are_a_loss(group: Watched) -> None:
    async with opened(group.url.replace("master=counters", "master=others"), timeout=5) as store:
        assert await store.charge((A,)) == Unavailable(Loss.UNREACHABLE)


async def test_one_sentinel_of_three_suffices(group: Watched) -> None:
    for sentinel in group.sentinels[1:]:
        sentinel.stop()
    async with opened(group.url, timeout=5) as store:
        assert await admitted(store, A)


def _in_step(group: Watched) -> None:
    with group.master.client() as client:
        client.wait(1, 5000)


def test_slots_are_those_of_the_cluster(nodes: Cluster) -> None:
    with nodes.masters[0].client() as client:
        for key in ("foo", "rl:{central}:g:x", "{}x", "a{b", "a{b}c{d}", "{a", "}{a}"):
            assert client.execute_command("CLUSTER", "KEYSLOT", key) == slot_of(key.encode())


async def test_domains_on_several_nodes_are_charged_at_once(nodes: Cluster) -> None:
    async with opened(nodes.url) as store:
        charges = [Charge(b"rl:{%d}:many" % number, SlidingWindow(1, DAY)) for number in range(20)]
        for expected in (True, False):
            outcomes = await store.charge_many([(charge,) for charge in charges])
            assert [isinstance(each, Outcome) and each.admitted for each in outcomes] == [expected] * 20
        assert await remaining(store, *charges) == [0] * 20


async def test_a_request_over_two_slots_is_not_charged(nodes: Cluster) -> None:
    nodes.flush()
    async with opened(nodes.url) as store:
        assert await store.charge((A, B)) == Unavailable(Loss.REFUSED)
        assert await remaining(store, A, B) == [1000, 1000]


async def test_counters_are_followed_when_their_slot_is_moved(nodes: Cluster) -> None:
    nodes.flush()
    slot = slot_of(A.key)
    old, new = _owner(nodes, slot), nodes.masters[1]
    assert old is not new
    known, fresh = A, Charge(b"rl:{a}:fresh", PLENTY)
    async with opened(nodes.url) as store:
        assert await admitted(store, known)
        _tell(new, "CLUSTER", "SETSLOT", slot, "IMPORTING", nodes.node_id(old))
        _tell(old, "CLUSTER", "SETSLOT", slot, "MIGRATING", nodes.node_id(new))
        # What is still there is counted there, what is new on the other side, and both together when they are together.
        assert await admitted(store, known)
        assert await admitted(store, fresh)
        both = asyncio.create_task(admitted(store, known, fresh))
        await asyncio.sleep(0.1)
        assert not both.done()
        _tell(old, "MIGRATE", "127.0.0.1", new.port, known.key, 0, 5000)
        for node in (new, old):
            _tell(node, "CLUSTER", "SETSLOT", slot, "NODE", nodes.node_id(new))
        assert await both
        assert await remaining(store, known, fresh) == [997, 998]
    async with opened(nodes.url) as other:
        assert await remaining(other, known, fresh) == [997, 998]


async def test_counters_that_have_moved_and_such_as_are_new_wait_for_each_other(nodes: Cluster) -> None:
    nodes.flush()
    old, new = nodes.masters[1:]
    moved, fresh = next(
        (Charge(b"rl:{%d}:moved" % number, PLENTY), Charge(b"rl:{%d}:fresh" % number, PLENTY))
        for number in range(99)
        if _owner(nodes, slot_of(b"rl:{%d}:x" % number)) is old
    )
    slot = slot_of(moved.key)
    async with opened(nodes.url) as store:
        assert await admitted(store, moved)
        _tell(new, "CLUSTER", "SETSLOT", slot, "IMPORTING", nodes.node_id(old))
        _tell(old, "CLUSTER", "SETSLOT", slot, "MIGRATING", nodes.node_id(new))
        _tell(old, "MIGRATE", "127.0.0.1", new.port, moved.key, 0, 5000)
        # The old node has neither, and the new one only one of them.
        both = asyncio.create_task(admitted(store, moved, fresh))
        await asyncio.sleep(0.1)
        assert not both.done()
        for node in (new, old):
            _tell(node, "CLUSTER", "SETSLOT", slot, "NODE", nodes.node_id(new))
        assert await both
        assert await remaining(store, moved, fresh) == [998, 999]


async def test_a_replica_takes_the_slots_of_a_node_that_died(nodes: Cluster) -> None:
    charge = next(
        Charge(b"rl:{%d}:x" % number, PLENTY)
        for number in range(99)
        if _owner(nodes, slot_of(b"rl:{%d}:x" % number)) is nodes.masters[0]
    )
    async with opened(nodes.url, timeout=0.5) as store:
        assert await admitted(store, charge)
        with nodes.masters[0].client() as client:
            client.wait(1, 5000)
        with nodes.masters[0].paused():
            assert isinstance(await store.charge((charge,)), Unavailable)
            await decided_again(store, charge, 30)
            assert (await remaining(store, charge))[0] < 999
    until(lambda: _role(nodes.masters[0]) == "slave", "the node's return as a replica")


def _owner(nodes: Cluster, slot: int) -> Server:
    with nodes.masters[0].client() as client:
        for first, last, master, *_ in client.execute_command("CLUSTER SLOTS"):
            if first <= slot <= last:
                return next(node for node in (*nodes.masters, nodes.replica) if node.port == master[1])
    raise AssertionError(slot)


def _tell(server: Server, *words: object) -> None:
    with server.client() as client:
        client.execute_command(*words)


def _role(server: Server) -> str:
    with server.client() as client:
        return str(client.role()[0])
