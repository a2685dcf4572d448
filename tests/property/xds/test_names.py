"""Drawn subscriptions by name, alias and collection, against what they mean."""

from collections.abc import Iterable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.property.xds.budget import drawn
from xds.protocol.delta import Delta
from xds.protocol.messages import ENVOY, DeltaRequest, Node, Refused, Response
from xds.protocol.stream import Stream
from xds.snapshot import LOCALITY_ENDPOINT, VIRTUAL_HOST, Resource, Snapshot

HOSTS = ("rc/one", "rc/two", "rc/three")
ALIASES = ("rc/a.test", "rc/b.test", "rc/c.test", "rc/one")
MEMBERS = ("x/a", "x/b", "y/a", "x/y/a")
ASKED = {VIRTUAL_HOST: (*HOSTS, *ALIASES, "rc/nothing"), LOCALITY_ENDPOINT: (*MEMBERS, "x/*", "y/*", "z/*", "x/y/*")}


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """No two hosts share an alias, and none has the name of another for one."""
    hosts = draw(st.lists(st.sampled_from(HOSTS), unique=True))
    leads = draw(st.dictionaries(st.sampled_from([each for each in ALIASES if each not in hosts]), st.integers(0, 2)))
    texts = st.sampled_from([b"1", b"2"])
    pairs = [
        (VIRTUAL_HOST, Resource.of(host, draw(texts), aliases=[each for each, to in leads.items() if to == number]))
        for number, host in enumerate(hosts)
    ]
    members = draw(st.sets(st.sampled_from(MEMBERS)))
    return Snapshot.of([*pairs, *((LOCALITY_ENDPOINT, Resource.of(name, draw(texts))) for name in members)])


def wanted(snapshot: Snapshot, type_url: str, names: set[str]) -> dict[str, Resource]:
    """What a subscription to these names means."""
    resources = snapshot.resources.get(type_url, {})
    found = {name for name in names if name in resources}
    if type_url == VIRTUAL_HOST:
        found |= {each.name for each in resources.values() if any(alias in names for alias in each.aliases)}
    else:
        found |= {name for name in resources if f"{name.rpartition('/')[0]}/*" in names}
    return {name: resources[name] for name in found}


class Life(RuleBasedStateMachine):
    """An obedient proxy; it is told at once of everything, and knows what every name that it asked for means."""

    node = Node("edge-1", "edge")

    def __init__(self) -> None:
        super().__init__()
        self.stream = Stream(Delta())
        self.names: dict[str, set[str]] = {VIRTUAL_HOST: set(), LOCALITY_ENDPOINT: set()}
        self.have: dict[str, dict[str, Resource]] = {VIRTUAL_HOST: {}, LOCALITY_ENDPOINT: {}}
        self.target = Snapshot.of(())
        self.missing: set[str] = set()
        self._read(self.stream.publish(self.target, 0.0))

    @rule(snapshot=snapshots())
    def change(self, snapshot: Snapshot) -> None:
        self.target = snapshot
        self._read(self.stream.publish(snapshot, 0.0))

    @rule(data=st.data(), type_url=st.sampled_from(sorted(ASKED)))
    def subscribe(self, data: st.DataObject, type_url: str) -> None:
        names = data.draw(st.sets(st.sampled_from(ASKED[type_url]), min_size=1))
        self.names[type_url] |= names
        self.missing.clear()
        told = self._send(type_url, subscribe=names)
        answered = {each.name for response in told for each in response.resources}
        assert wanted(self.target, type_url, names).keys() <= answered
        if type_url == VIRTUAL_HOST:
            assert self.missing == {name for name in names if not wanted(self.target, type_url, {name})}

    @precondition(lambda self: any(self.names.values()))
    @rule(data=st.data())
    def unsubscribe(self, data: st.DataObject) -> None:
        type_url = data.draw(st.sampled_from([each for each in sorted(self.names) if self.names[each]]))
        names = data.draw(st.sets(st.sampled_from(sorted(self.names[type_url])), min_size=1))
        self.names[type_url] -= names
        left = wanted(self.target, type_url, self.names[type_url])
        dropped = {name: each for name, each in self.have[type_url].items() if name not in left or name in names}
        for name in dropped:
            del self.have[type_url][name]
        still = {name for name in dropped if name in left}
        self._send(type_url, unsubscribe=names)
        # A name that another still leads to is dropped by who unsubscribes from it, and asked for again.
        if still:
            self.names[type_url] |= still
            self._send(type_url, subscribe=still)

    @invariant()
    def it_has_what_it_asked_for(self) -> None:
        for type_url, names in self.names.items():
            assert self.have[type_url] == wanted(self.target, type_url, names)
        assert self.stream.live or not self.stream.subscriptions

    def _send(self, type_url: str, subscribe: Iterable[str] = (), unsubscribe: Iterable[str] = ()) -> list[Response]:
        if type_url not in self.stream.subscriptions and not subscribe:
            return []
        request = DeltaRequest(
            type_url=type_url,
            node=self.node,
            subscribe=tuple(sorted(subscribe)),
            unsubscribe=tuple(sorted(unsubscribe)),
        )
        return self._read(self.stream.receive(request, 0.0))

    def _read(self, responses: list[Response] | Refused) -> list[Response]:
        assert not isinstance(responses, Refused)
        told = list(responses)
        for response in told:
            has = self.have[response.type_url]
            for each in response.resources:
                has[each.name] = each
            for name in response.removed:
                has.pop(name, None)
            self.missing |= set(response.unresolved if self.node.user_agent == ENVOY else response.removed)
            assert not set(response.removed) & {each.name for each in response.resources}
            more = self.stream.receive(DeltaRequest(type_url=response.type_url, nonce=response.nonce), 0.0)
            assert not isinstance(more, Refused)
            told += more
        return told


class LifeOfAnEnvoy(Life):
    node = Node("edge-1", "edge", ENVOY)


SETTINGS = drawn(40, steps=20)
Life.TestCase.settings = SETTINGS
LifeOfAnEnvoy.TestCase.settings = SETTINGS
TestLife = Life.TestCase
TestLifeOfAnEnvoy = LifeOfAnEnvoy.TestCase
