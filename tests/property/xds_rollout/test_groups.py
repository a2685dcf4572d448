"""Drawn lives of a group: changes good and bad, proxies of both dialects that come, go, answer late, or refuse all."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.property.xds.clients import BAD, Client, DeltaClient, SotwClient
from tests.property.xds_rollout.drawn import snapshots
from tests.unit.xds.proxies import Later
from xds.consistency import inconsistencies
from xds.nodes import Connection
from xds.protocol.messages import Node
from xds.publisher import PATIENCE_SECONDS, Publisher
from xds.rollout import holds
from xds.snapshot import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Snapshot

NODE_IDS = ("edge-1", "edge-2", "edge-3", "edge-4")
# More rounds than any rollback of everything there is could take.
ROUNDS = 60


class Hostile(DeltaClient):
    """Refuses whatever it gets."""

    def read_one(self) -> list:
        response = self.unread.popleft()
        return self.take(self.stream.receive(self.answer(response, "never"), self.now))


KINDS = (DeltaClient, SotwClient, DeltaClient, Hostile)


class Group(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.later = Later()
        self.publisher = Publisher(self.later.after)
        self.joined: dict[str, tuple[Client, Connection]] = {}
        self.published: Snapshot | None = None

    @initialize()
    def begin(self) -> None:
        self.join("edge-1")
        self.join("edge-2")

    @rule(snapshot=snapshots(bad=True))
    def change(self, snapshot: Snapshot) -> None:
        self.published = snapshot
        self.publisher.set_snapshot("edge", snapshot)

    @rule(node_id=st.sampled_from(NODE_IDS))
    def come_or_go(self, node_id: str) -> None:
        if node_id in self.joined:
            self.publisher.leave(self.joined.pop(node_id)[1])
        else:
            self.join(node_id)

    def join(self, node_id: str) -> None:
        client = KINDS[NODE_IDS.index(node_id)]()
        self.joined[node_id] = (client, self.publisher.join(Node(node_id, "edge"), "", client.stream, lambda: None))
        client.subscribe(CLUSTER, ())
        client.subscribe(LISTENER, ())
        for type_url in (ENDPOINT, ROUTE, SECRET):
            client.subscribe(type_url, "abc")

    @precondition(lambda self: self.joined)
    @rule(data=st.data())
    def take_up(self, data: st.DataObject) -> None:
        self.fetch(data.draw(st.sampled_from(sorted(self.joined))))

    @precondition(lambda self: any(client.unread for client, _ in self.joined.values()))
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        self.read_one(data.draw(st.sampled_from([each for each in sorted(self.joined) if self.joined[each][0].unread])))

    @rule(seconds=st.sampled_from([0.1, PATIENCE_SECONDS]))
    def let_time_pass(self, seconds: float) -> None:
        self.later.pass_by(seconds)

    @rule()
    def let_all_settle(self) -> None:
        for _ in range(ROUNDS):
            for node_id, (client, connection) in self.joined.items():
                self.fetch(node_id)
                while client.unread:
                    self.read_one(node_id)
                client.now += 6.0
                client.take(client.stream.tick(client.now))
                self.publisher.changed(connection)
            self.later.pass_by(PATIENCE_SECONDS)
        self.check_settled()

    def fetch(self, node_id: str) -> None:
        client, connection = self.joined[node_id]
        snapshot = self.publisher.snapshot_for(connection.node)
        if snapshot is not None and snapshot is not client.stream.target:
            client.take(client.stream.publish(snapshot, client.now))
            self.publisher.changed(connection)

    def read_one(self, node_id: str) -> None:
        client, connection = self.joined[node_id]
        client.read_one()
        self.publisher.changed(connection)

    def check_settled(self) -> None:
        served = self.publisher.snapshot("edge")
        if served is None or not self.joined:
            return
        honest = {node_id for node_id, (client, _) in self.joined.items() if not isinstance(client, Hostile)}
        live = self.publisher.nodes.live("edge")
        assert {node_id for node_id, version in live.items() if version == served.version} >= honest
        assert self.publisher.good("edge") is served
        for node_id in honest:
            assert self.joined[node_id][0].missing(served.resources) == []
        if honest:
            assert not [each for _, each in served if each.body.startswith(BAD)]

    @invariant()
    def what_is_served_is_sound(self) -> None:
        served = self.publisher.snapshot("edge")
        if served is not None:
            assert inconsistencies(served) == []
            assert self.publisher.intended("edge") is self.published

    @invariant()
    def what_is_rolled_back_is_not_served_for_long(self) -> None:
        self.later.pass_by(0.06)
        for each in self.publisher.rolled_back("edge"):
            assert not holds(self.publisher.snapshot("edge"), (each.type_url, each.name, each.refused))
            assert each.message
            assert each.nodes


TestGroup = Group.TestCase
TestGroup.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
