"""Drawn lives of a proxy that forgets what has a TTL: nothing that it shall run ever runs out."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.property.xds.budget import drawn
from tests.property.xds.clients import AN_ENVOY, BAD, Client, DeltaClient, SotwClient
from xds.protocol.messages import Response
from xds.snapshot import CLUSTER, LISTENER, ROUTE, RUNTIME, Resource, Snapshot

TTL = 6.0
# How long a response is on its way, and what a proxy that answers at once may miss of a change.
STEP = 0.5
GRACE = 3.0
NAMES = ("a", "b", "c")
NAMED = (ROUTE, RUNTIME)
TEXTS = st.sampled_from(["1", "2", BAD.decode()])

SNAPSHOTS = st.builds(
    lambda clusters, routes, layers, forever: Snapshot.of(
        (type_url, Resource.of(name, text.encode(), ttl=None if name in forever else TTL))
        for type_url, members in ((CLUSTER, clusters), (ROUTE, routes), (RUNTIME, layers), (LISTENER, clusters))
        for name, text in members.items()
    ),
    *(st.dictionaries(st.sampled_from(NAMES), TEXTS) for _ in range(3)),
    st.sets(st.sampled_from(NAMES)),
)


class Forgetful(Client):
    """Notes when each resource would run out; one that is not wanted it drops then, one that is must never."""

    def __init__(self) -> None:
        self.ends: dict[tuple[str, str], float] = {}
        # Gone in state of the world, where that is not said, so that it may run out, whatever it refuses afterwards.
        self.lapsing: set[tuple[str, str]] = set()
        super().__init__()

    def apply(self, response: Response) -> None:
        super().apply(response)
        for each in response.resources:
            self.ends.pop((response.type_url, each.name), None)
            self.lapsing.discard((response.type_url, each.name))
            if each.ttl is not None:
                self.ends[response.type_url, each.name] = self.now + each.ttl

    def ended(self) -> list[tuple[str, str]]:
        ended = [key for key, end in self.ends.items() if end <= self.now]
        return [(kind, name) for kind, name in ended if self.have.get(kind, {}).get(name) and self.covers(kind, name)]


class ForgetfulDelta(Forgetful, DeltaClient):
    pass


class ForgetfulSotw(Forgetful, SotwClient):
    pass


class ForgetfulEnvoy(ForgetfulSotw):
    node = AN_ENVOY


class Life(RuleBasedStateMachine):
    client_type: type[Forgetful]

    def __init__(self) -> None:
        super().__init__()
        self.client = self.client_type()
        self.since: dict[tuple[str, str], float] = {}
        self.target: Snapshot | None = None

    @initialize(snapshot=SNAPSHOTS)
    def like_an_envoy(self, snapshot: Snapshot) -> None:
        self.change(snapshot)
        for type_url in (CLUSTER, LISTENER):
            self.client.subscribe(type_url, ())
        for type_url in NAMED:
            self.client.subscribe(type_url, NAMES)

    @rule(snapshot=SNAPSHOTS)
    def change(self, snapshot: Snapshot) -> None:
        while isinstance(self.client, SotwClient) and self.client.unread:
            # Of complete sets only the answer to the last counts, so what was accepted just before is not known.
            self.client.read_one()
        self.target = snapshot
        now = self.client.now
        wanted = {(kind, each.name) for kind, each in snapshot}
        if isinstance(self.client, SotwClient):
            self.client.lapsing |= self.since.keys() - wanted
        self.since = {key: self.since.get(key, now) for key in wanted}
        self.client.take(self.client.stream.publish(snapshot, now))

    @rule(seconds=st.sampled_from([0.5, 2.0, 7.0, 20.0]))
    def go_on(self, seconds: float) -> None:
        until = self.client.now + seconds
        while self.client.now < until:
            self.client.now += STEP
            while self.client.unread:
                self.client.read_one()
            deadline = self.client.stream.deadline
            if deadline is not None and deadline <= self.client.now:
                self.client.take(self.client.stream.tick(self.client.now))
            self._check()

    @rule(type_url=st.sampled_from(NAMED), names=st.sets(st.sampled_from(NAMES), min_size=1))
    def ask_again(self, type_url: str, names: set[str]) -> None:
        self.client.subscribe(type_url, names)

    @precondition(lambda self: self.client.stream.live and not self.client.unread)
    @rule()
    def lose_the_connection(self) -> None:
        """With what is wanted: of another version nobody knows how long it lasts."""
        assert self.target is not None
        if isinstance(self.client, SotwClient):
            # Nor can it say in state of the world that it still has what is gone.
            there = self.target.resources
            for kind, has in self.client.have.items():
                self.client.have[kind] = {name: each for name, each in has.items() if name in there.get(kind, ())}
        self.client.reconnect()
        self.client.take(self.client.stream.publish(self.target, self.client.now))

    def _check(self) -> None:
        """What has come a moment ago may have been forgotten in the meantime, and is on its way."""
        for key in self.client.ended():
            since = self.since.get(key)
            assert since is None or key in self.client.lapsing or since > self.client.now - GRACE, f"{key} ran out"
            self.client.have[key[0]].pop(key[1])

    def teardown(self) -> None:
        if self.target is None:
            return
        good = Snapshot.of(
            (kind, Resource.of(each.name, each.body.replace(BAD, b"good"), ttl=each.ttl)) for kind, each in self.target
        )
        self.change(good)
        self.go_on(20.0)
        assert self.client.missing(good.resources) == []
        assert self.client.stream.live
        # Nothing but heartbeats is ever sent any more, and of these no more than needed.
        self.client.stream.take_events()
        sent = len(self.client.nonces)
        self.go_on(2 * TTL)
        kinds = {kind for kind, each in good if each.ttl is not None}
        assert len(self.client.nonces) - sent <= 7 * len(kinds) + len(self.client.unread)
        assert self.client.missing(good.resources) == []


class DeltaLife(Life):
    client_type = ForgetfulDelta


class SotwLife(Life):
    client_type = ForgetfulSotw


class LifeOfAnEnvoy(Life):
    client_type = ForgetfulEnvoy


SETTINGS = drawn(30, steps=15)
DeltaLife.TestCase.settings = SETTINGS
SotwLife.TestCase.settings = SETTINGS
LifeOfAnEnvoy.TestCase.settings = SETTINGS
TestDeltaLife = DeltaLife.TestCase
TestSotwLife = SotwLife.TestCase
TestLifeOfAnEnvoy = LifeOfAnEnvoy.TestCase
