"""Drawn lives of a proxy: any order of changes, requests, answers, refusals, silences and reconnects."""

from collections.abc import Iterable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.property.xds.budget import drawn
from tests.property.xds.clients import BAD, Client, DeltaClient, SotwClient
from xds.protocol.messages import GateExpired, Response
from xds.snapshot import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Resource, Snapshot

NAMES = ("a", "b", "c")
TEXTS = st.sampled_from(["1", "2", "3"])
NAMED = (ENDPOINT, ROUTE, SECRET)
TYPES = (CLUSTER, LISTENER, *NAMED)
TTLS = st.sampled_from([None, None, None, 6.0])
SUBSETS = st.sets(st.sampled_from(NAMES), min_size=1)


@st.composite
def snapshots(draw: st.DrawFn, *, bad: bool) -> Snapshot:
    """Consistent ones: every cluster has endpoints, and every route goes to a cluster that exists."""
    texts = st.one_of(TEXTS, st.just(BAD.decode())) if bad else TEXTS
    pairs: list[tuple[str, Resource]] = []
    clusters = draw(st.dictionaries(st.sampled_from(NAMES), texts))
    for name, text in clusters.items():
        pairs.append((CLUSTER, Resource.of(name, text.encode(), needs=[(ENDPOINT, name)])))
        pairs.append((ENDPOINT, Resource.of(name, draw(TEXTS).encode(), ttl=draw(TTLS))))
    routes = draw(st.dictionaries(st.sampled_from(NAMES), texts)) if clusters else {}
    for name, text in routes.items():
        cluster = draw(st.sampled_from(sorted(clusters)))
        body = f"{text} {cluster}".encode()
        pairs.append((ROUTE, Resource.of(name, body, needs=[(CLUSTER, cluster)], ttl=draw(TTLS))))
    listeners = draw(st.sets(st.sampled_from(sorted(routes)))) if routes else set()
    pairs += [(LISTENER, Resource.of(name, draw(texts).encode(), needs=[(ROUTE, name)])) for name in sorted(listeners)]
    secrets = draw(st.dictionaries(st.sampled_from(NAMES), TEXTS))
    return Snapshot.of([*pairs, *((SECRET, Resource.of(name, text.encode())) for name, text in secrets.items())])


class Life(RuleBasedStateMachine):
    """One proxy on one aggregated stream."""

    client_type: type[Client]

    def __init__(self) -> None:
        super().__init__()
        self.client = self.client_type()
        self.target: Snapshot | None = None
        # Set while nothing happened that excuses a reference to what is not there.
        self.faultless = True
        self.orphans: set[Resource] = set()

    @initialize()
    def like_an_envoy(self) -> None:
        self.client.subscribe(CLUSTER, ())
        self.client.subscribe(LISTENER, ())

    @rule(snapshot=snapshots(bad=False))
    def change(self, snapshot: Snapshot) -> None:
        self._publish(snapshot)

    @rule(snapshot=snapshots(bad=True))
    def change_for_the_worse(self, snapshot: Snapshot) -> None:
        self.faultless = False
        self._publish(snapshot)

    def _publish(self, snapshot: Snapshot) -> None:
        before = self.target
        # What was refused late, when it was offered no longer, may be offered anew.
        for self.target in (before, snapshot):
            self.client.refused = {
                (type_url, name): version
                for (type_url, name), version in self.client.refused.items()
                if self._same(type_url, name, version)
            }
        self._note_orphans()
        self._check_unasked(self.client.take(self.client.stream.publish(snapshot, self.client.now)), before)

    @precondition(lambda self: self.client.unread)
    @rule()
    def read(self) -> None:
        self.client.read_one()

    @precondition(lambda self: self.client.unread)
    @rule()
    def read_all(self) -> None:
        while self.client.unread:
            self.client.read_one()

    @rule(type_url=st.sampled_from(NAMED), names=SUBSETS)
    def subscribe(self, type_url: str, names: set[str]) -> None:
        self.client.subscribe(type_url, names)

    @rule(type_url=st.sampled_from((CLUSTER, LISTENER)), names=SUBSETS)
    def subscribe_by_name_under_a_wildcard(self, type_url: str, names: set[str]) -> None:
        self.client.wildcards.add(type_url)
        self.client.subscribe(type_url, names)

    @rule(type_url=st.sampled_from(TYPES), names=SUBSETS)
    def unsubscribe(self, type_url: str, names: set[str]) -> None:
        if type_url in (CLUSTER, LISTENER):
            # What it drops of these it is told again, but until then it lacks it.
            self.faultless = False
        if isinstance(self.client, SotwClient) and any(each.type_url == type_url for each in self.client.unread):
            # The request would be stale: a name dropped and taken up again meanwhile would never be heard of.
            return
        self.client.unsubscribe(type_url, names)

    @rule(seconds=st.sampled_from([1.0, 4.0, 6.0]))
    def fall_silent(self, seconds: float) -> None:
        self.client.now += seconds
        self.client.take(self.client.stream.tick(self.client.now))
        if any(isinstance(event, GateExpired) for event in self.client.stream.take_events()):
            self.faultless = False

    @precondition(lambda self: self.client.stream.target is not None)
    @rule()
    def lose_the_connection(self) -> None:
        self.faultless = False
        self.client.reconnect()
        assert self.target is not None
        self.client.take(self.client.stream.publish(self.target, self.client.now))

    @rule(nonce=st.sampled_from(["", "0", "stale"]), type_url=st.sampled_from(TYPES))
    def answer_what_was_never_sent(self, nonce: str, type_url: str) -> None:
        before = {url: dict(each.acked) for url, each in self.client.stream.subscriptions.items()}
        response = Response(type_url, nonce, "", ())
        if type_url in before and nonce:
            request = DeltaClient.answer(self.client, response, None)
            if isinstance(self.client, SotwClient):
                if not self.client.stream.subscriptions[type_url].last_nonce:
                    return
                request = self.client.request(type_url)
                request = type(request)(type_url=type_url, nonce=nonce, names=("b",))
            assert self.client.stream.receive(request, self.client.now) == []
            assert {url: each.acked for url, each in self.client.stream.subscriptions.items()} == before

    @invariant()
    def nothing_before_the_first_snapshot(self) -> None:
        assert self.target is not None or not self.client.unread

    @invariant()
    def no_route_goes_to_a_cluster_that_the_proxy_lacks(self) -> None:
        self._note_orphans()
        if self.faultless:
            clusters = self.client.have.get(CLUSTER, {})
            for route in self.client.have.get(ROUTE, {}).values():
                if self.client.covers(ROUTE, route.name) and route not in self.orphans:
                    assert all(name in clusters for _, name in route.needs), (route, clusters)

    @invariant()
    def live_means_that_everything_has_arrived(self) -> None:
        if self.client.stream.live:
            assert self.target is not None
            assert all(each.heartbeat for each in self.client.unread)
            # Clusters that nothing uses may still have to go.
            assert self.client.missing(self.target.resources, surplus=(CLUSTER, ENDPOINT)) == []

    def _same(self, type_url: str, name: str, version: str) -> bool:
        """What was refused is still offered, and is not sent again for any change elsewhere.

        In state of the world those that were refused together are tried again, each alone.
        """
        resources = self.target.resources if self.target else {}
        resource = resources.get(type_url, {}).get(name)
        return isinstance(self.client, DeltaClient) and resource is not None and resource.version == version

    def _note_orphans(self) -> None:
        """A proxy may keep a route that is no longer wanted, and nobody looks after what that one refers to."""
        if self.target is not None:
            wanted = self.target.resources.get(ROUTE, {})
            self.orphans |= {each for each in self.client.have.get(ROUTE, {}).values() if each.name not in wanted}

    def _check_unasked(self, responses: Iterable[Response], before: Snapshot | None) -> None:
        """A change alone sends only what is subscribed to and, of that, only what is new."""
        if isinstance(self.client, SotwClient):
            # A request that crosses a response is stale, so the control plane learns of a dropped name later.
            return
        for response in responses:
            for each in response.resources:
                assert self.client.covers(response.type_url, each.name)
                assert self.client.refused.get((response.type_url, each.name)) != each.version, "refused before"
                if before is not None and response.type_url != ENDPOINT:
                    subscription = self.client.stream.subscriptions[response.type_url]
                    assert subscription.acked.get(each.name) != each.version or len(subscription.in_flight) > 1

    def teardown(self) -> None:
        """Once nothing changes any more, an obedient proxy ends with exactly what it subscribed to."""
        if self.target is None:
            return
        self._settle()
        good = Snapshot.of(
            (type_url, Resource.of(each.name, each.body.replace(BAD, b"good"), needs=each.needs, ttl=each.ttl))
            for type_url, each in self.target
        )
        self.client.take(self.client.stream.publish(good, self.client.now))
        self._settle()
        assert self.client.missing(good.resources) == []
        assert self.client.stream.live
        self.client.take(self.client.stream.publish(Snapshot.of(good), self.client.now))
        assert not self.client.unread

    def _settle(self) -> None:
        for _ in range(5):
            for _ in range(500):
                if not self.client.unread:
                    break
                self.client.read_one()
            assert not self.client.unread, "responses without end"
            self.client.now += 10.0
            self.client.take(self.client.stream.tick(self.client.now))
        while self.client.unread:
            self.client.read_one()


class DeltaLife(Life):
    client_type = DeltaClient


class SotwLife(Life):
    client_type = SotwClient


SETTINGS = drawn(40, steps=30)
DeltaLife.TestCase.settings = SETTINGS
SotwLife.TestCase.settings = SETTINGS
TestDeltaLife = DeltaLife.TestCase
TestSotwLife = SotwLife.TestCase
