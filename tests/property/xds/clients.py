"""Model proxies: they apply responses as an Envoy does, and know nothing of how the control plane decides."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace

from xds.protocol.delta import Delta
from xds.protocol.messages import ENVOY, WRAPPED_RESOURCES, DeltaRequest, Node, Refused, Response, SotwRequest
from xds.protocol.sotw import Sotw
from xds.protocol.stream import Stream
from xds.protocol.subscription import FULL_STATE_TYPES, KEPT_WHILE_SUBSCRIBED
from xds.snapshot import Resource

NODE = Node("edge-1", "edge", client_features=frozenset({WRAPPED_RESOURCES}))
AN_ENVOY = replace(NODE, user_agent=ENVOY)
BAD = b"bad"


class Client:
    """`have` is what it runs, by type and name; `unread` what is on its way to it.

    It refuses a response that holds a resource whose body starts with `BAD`, entirely.
    """

    node = NODE

    def __init__(self) -> None:
        self.have: dict[str, dict[str, Resource]] = {}
        self.wildcards: set[str] = set()
        self.names: dict[str, set[str]] = {}
        self.refused: dict[tuple[str, str], str] = {}
        self.unread: deque[Response] = deque()
        self.nonces: set[str] = set()
        self.now = 0.0
        self.stream: Stream = self.connect()

    def connect(self) -> Stream:
        raise NotImplementedError

    def take(self, responses: list[Response] | Refused) -> list[Response]:
        assert not isinstance(responses, Refused), responses
        for response in responses:
            assert response.nonce
            assert response.nonce not in self.nonces
            self.nonces.add(response.nonce)
            names = [each.name for each in response.resources]
            assert len({*names, *response.removed}) == len(names) + len(response.removed), "a name twice"
            self.unread.append(response)
        return responses

    def covers(self, type_url: str, name: str) -> bool:
        return type_url in self.wildcards or name in self.names.get(type_url, ())

    def read_one(self) -> list[Response]:
        """Apply the oldest response, or refuse it, and say so; returns what that brings."""
        response = self.unread.popleft()
        if response.bare:
            has = self.have.get(response.type_url, {})
            told = [each for each in response.resources if self.covers(response.type_url, each.name)]
            assert all(has[each.name].version == each.version for each in told if each.name in has)
            # An Envoy renews nothing by these in state of the world.
            assert self.node.user_agent != ENVOY or isinstance(self, DeltaClient)
            if any(each.name not in has for each in told):
                return self.take(self.stream.receive(self.answer(response, "never had it"), self.now))
        if any(each.body.startswith(BAD) for each in response.resources):
            self.refuse(response)
            return self.take(self.stream.receive(self.answer(response, "bad"), self.now))
        self.apply(response)
        return self.take(self.stream.receive(self.answer(response, None), self.now))

    def apply(self, response: Response) -> None:
        raise NotImplementedError

    def refuse(self, response: Response) -> None:
        """Go on with what it has, and remember what it refused."""
        for each in response.resources:
            if each.body.startswith(BAD):
                self.refused[response.type_url, each.name] = each.version

    def answer(self, response: Response, error: str | None) -> DeltaRequest | SotwRequest:
        raise NotImplementedError

    def subscribe(self, type_url: str, names: Iterable[str]) -> list[Response]:
        """Add names; with none, the first time, everything."""
        raise NotImplementedError

    def unsubscribe(self, type_url: str, names: Iterable[str]) -> list[Response]:
        raise NotImplementedError

    def reconnect(self) -> None:
        """A new stream; what was on its way is lost. The subscriptions are made anew, clusters first."""
        self.unread.clear()
        self.nonces.clear()
        self.stream = self.connect()

    def missing(self, wanted: Mapping[str, Mapping[str, Resource]], surplus: Iterable[str] = ()) -> list[str]:
        """How what it runs differs from what it subscribes to of these; of the types `surplus` it may have more."""
        wrong = []
        for type_url in self.wildcards | self.names.keys():
            there = wanted.get(type_url, {})
            has = self.have.get(type_url, {})
            for name in {*there, *has}:
                if not self.covers(type_url, name):
                    continue
                if name not in there and (self.keeps(type_url) or type_url in surplus):
                    continue
                if has.get(name) != there.get(name):
                    wrong.append(f"{type_url} {name}: {has.get(name)} instead of {there.get(name)}")
        return wrong

    def keeps(self, type_url: str) -> bool:
        """What is deleted of this type stays with the client."""
        raise NotImplementedError


class DeltaClient(Client):
    def connect(self) -> Stream:
        self.started: set[str] = set()
        return Stream(Delta())

    def keeps(self, type_url: str) -> bool:
        return type_url in KEPT_WHILE_SUBSCRIBED

    def apply(self, response: Response) -> None:
        has = self.have.setdefault(response.type_url, {})
        for each in response.resources:
            if self.covers(response.type_url, each.name) and not response.bare:
                has[each.name] = each
        for name in response.removed:
            has.pop(name, None)

    def answer(self, response: Response, error: str | None) -> DeltaRequest:
        return DeltaRequest(type_url=response.type_url, nonce=response.nonce, error=error)

    def request(self, type_url: str, subscribe: Iterable[str], unsubscribe: Iterable[str] = ()) -> list[Response]:
        first = type_url not in self.started
        self.started.add(type_url)
        known = {name: each.version for name, each in self.have.get(type_url, {}).items()} if first else {}
        return self.take(
            self.stream.receive(
                DeltaRequest(
                    type_url=type_url,
                    node=self.node,
                    subscribe=tuple(sorted(subscribe)),
                    unsubscribe=tuple(sorted(unsubscribe)),
                    initial_versions=known,
                ),
                self.now,
            )
        )

    def subscribe(self, type_url: str, names: Iterable[str]) -> list[Response]:
        names = set(names)
        if not names:
            self.wildcards.add(type_url)
        self.names.setdefault(type_url, set()).update(names)
        return self.request(type_url, names)

    def unsubscribe(self, type_url: str, names: Iterable[str]) -> list[Response]:
        gone = set(names) & self.names.get(type_url, set())
        self.names[type_url] = self.names.get(type_url, set()) - gone
        for name in gone:
            # Whatever it had is dropped; under a wildcard the control plane must say again what it is.
            self.have.get(type_url, {}).pop(name, None)
        return self.request(type_url, (), gone)

    def reconnect(self) -> None:
        super().reconnect()
        for type_url in sorted(self.wildcards | self.names.keys()):
            starred = {"*"} if type_url in self.wildcards else set()
            self.request(type_url, self.names.get(type_url, set()) | starred)


class SotwClient(Client):
    def connect(self) -> Stream:
        self.last: dict[str, str] = {}
        self.versions: dict[str, str] = getattr(self, "versions", {})
        return Stream(Sotw())

    def keeps(self, type_url: str) -> bool:
        return type_url not in FULL_STATE_TYPES

    def take(self, responses: list[Response] | Refused) -> list[Response]:
        taken = super().take(responses)
        for response in taken:
            assert not response.removed
        return taken

    def read_one(self) -> list[Response]:
        self.last[self.unread[0].type_url] = self.unread[0].nonce
        return super().read_one()

    def apply(self, response: Response) -> None:
        self.versions[response.type_url] = response.version
        covered = {each.name: each for each in response.resources if self.covers(response.type_url, each.name)}
        if response.bare:
            return
        if response.type_url in FULL_STATE_TYPES:
            self.have[response.type_url] = covered
        else:
            self.have.setdefault(response.type_url, {}).update(covered)

    def answer(self, response: Response, error: str | None) -> SotwRequest:
        return self.request(response.type_url, error)

    def request(self, type_url: str, error: str | None = None) -> SotwRequest:
        starred = {"*"} if type_url in self.wildcards else set()
        return SotwRequest(
            type_url=type_url,
            node=self.node,
            nonce=self.last.get(type_url, ""),
            version=self.versions.get(type_url, ""),
            error=error,
            names=tuple(sorted(self.names.get(type_url, set()) | starred)),
        )

    def send(self, type_url: str) -> list[Response]:
        return self.take(self.stream.receive(self.request(type_url), self.now))

    def subscribe(self, type_url: str, names: Iterable[str]) -> list[Response]:
        names = set(names)
        if not names:
            self.wildcards.add(type_url)
        self.names.setdefault(type_url, set()).update(names)
        return self.send(type_url)

    def unsubscribe(self, type_url: str, names: Iterable[str]) -> list[Response]:
        for name in set(names) & self.names.get(type_url, set()):
            self.names[type_url].discard(name)
            if type_url not in self.wildcards:
                self.have.get(type_url, {}).pop(name, None)
        return self.send(type_url)

    def reconnect(self) -> None:
        super().reconnect()
        for type_url in sorted(self.wildcards | self.names.keys()):
            self.send(type_url)
