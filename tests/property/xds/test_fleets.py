"""Several proxies that follow the same changes, each in its own time: all end alike, and none is told too much."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.property.xds.budget import drawn
from tests.property.xds.clients import Client, DeltaClient, SotwClient
from tests.property.xds.test_streams import NAMES, snapshots
from xds.protocol.messages import Response
from xds.protocol.subscription import FULL_STATE_TYPES
from xds.snapshot import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Snapshot, changed_names

KINDS = (DeltaClient, SotwClient)
QUICK = drawn(60)


def started(kind: type[Client], snapshot: Snapshot) -> Client:
    client = kind()
    client.stream.publish(snapshot, 0.0)
    client.subscribe(CLUSTER, ())
    client.subscribe(ENDPOINT, NAMES)
    client.subscribe(LISTENER, ())
    client.subscribe(ROUTE, NAMES)
    client.subscribe(SECRET, NAMES)
    settle(client)
    return client


def settle(client: Client) -> list[Response]:
    """Answer everything until nothing more comes, without letting time pass; returns what came."""
    read: list[Response] = []
    while client.unread:
        read.append(client.unread[0])
        client.read_one()
    return read


@QUICK
@given(
    st.lists(snapshots(bad=False), min_size=1, max_size=6),
    st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=20), min_size=2, max_size=5),
    st.data(),
)
def test_however_they_keep_up_all_end_with_the_same(
    changes: list[Snapshot], paces: list[list[int]], data: st.DataObject
) -> None:
    clients = [started(KINDS[number % 2], changes[0]) for number, _ in enumerate(paces)]
    for step, change in enumerate(changes):
        for client, pace in zip(clients, paces, strict=True):
            client.take(client.stream.publish(change, client.now))
            for _ in range(pace[step % len(pace)]):
                if client.unread:
                    client.read_one()
            if data.draw(st.integers(0, 9)) == 0:
                client.reconnect()
                client.take(client.stream.publish(change, client.now))
    last = changes[-1]
    for client in clients:
        settle(client)
        # What its routes waited for, but nobody asked for any more.
        client.now += 100.0
        client.take(client.stream.tick(client.now))
        settle(client)
        assert client.missing(last.resources) == []
        assert client.stream.live


@QUICK
@given(snapshots(bad=False), snapshots(bad=False), st.sampled_from(KINDS))
def test_a_change_sends_each_name_once_and_only_what_changed(
    before: Snapshot, after: Snapshot, kind: type[Client]
) -> None:
    client = started(kind, before)
    client.take(client.stream.publish(after, client.now))
    told = settle(client)
    renewed = {
        name
        for each in after.resources.get(CLUSTER, {}).values()
        if each.name in changed_names(before.of_type(CLUSTER), after.of_type(CLUSTER))
        for kind_of, name in each.needs
        if kind_of == ENDPOINT
    }
    brought = Counter((response.type_url, each.name) for response in told for each in response.resources)
    removed = Counter((response.type_url, name) for response in told for name in response.removed)
    for (type_url, name), times in brought.items():
        if kind is SotwClient and type_url in FULL_STATE_TYPES:
            # Once with what shall go, once without.
            assert times <= 2
            continue
        assert times == 1, (type_url, name)
        changed = name in changed_names(before.of_type(type_url), after.of_type(type_url))
        assert changed or (type_url == ENDPOINT and name in renewed)
    for (type_url, name), times in removed.items():
        assert times == 1
        assert name in before.resources[type_url]
        assert name not in after.resources.get(type_url, {})


@QUICK
@given(snapshots(bad=False), st.sampled_from(KINDS))
def test_equal_content_is_never_sent_twice(snapshot: Snapshot, kind: type[Client]) -> None:
    client = started(kind, snapshot)
    again = Snapshot.of(snapshot)
    assert client.take(client.stream.publish(again, client.now)) == []
    client.reconnect()
    client.take(client.stream.publish(again, client.now))
    told = settle(client)
    if kind is DeltaClient:
        assert [each for response in told for each in response.resources] == []
    assert client.missing(snapshot.resources) == []
