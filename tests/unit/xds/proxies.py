"""Proxies without a network: each drives a `Stream` and says in short what it was sent.

`"CDS a@1 b@2 -c"` is a response of clusters that brings a and b and takes c away.
"""

from collections.abc import Callable, Iterable, Mapping

from xds.protocol.delta import Delta
from xds.protocol.messages import DeltaRequest, Event, Node, Refused, Request, Response, SotwRequest
from xds.protocol.sotw import Sotw
from xds.protocol.stream import Stream
from xds.publisher import Publisher
from xds.snapshot import SHORT_NAMES, Origin, Resource, Snapshot

NODE = Node("edge-1", "edge")
TYPE_URLS = {short: type_url for type_url, short in SHORT_NAMES.items()}


def resource(name: str, text: str, needs: Iterable[str] = (), line: int = 1) -> Resource:
    """`needs` are written like "RDS r"."""
    pairs = [(TYPE_URLS[need.split()[0]], need.split()[1]) for need in needs]
    return Resource.of(name, text.encode(), Origin("edge.yaml", line), pairs)


def snapshot(needs: Mapping[str, Iterable[str]] | None = None, **types: Mapping[str, str]) -> Snapshot:
    """`snapshot(CDS={"a": "1"}, needs={"CDS a": ["EDS a"]})`."""
    needs = needs or {}
    return Snapshot.of(
        (TYPE_URLS[short], resource(name, text, needs.get(f"{short} {name}", ())))
        for short, members in types.items()
        for name, text in members.items()
    )


def show(response: Response) -> str:
    brought = [f"{each.name}@{each.body.decode()}" for each in response.resources]
    removed = [f"-{name}" for name in response.removed]
    return " ".join([SHORT_NAMES[response.type_url], *brought, *removed])


class Proxy:
    """What both dialects share. `outstanding` are the responses that it has not answered, oldest first."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.now = 0.0
        self.outstanding: list[Response] = []
        self.responses: list[Response] = []
        self._node: Node | None = NODE

    def publish(self, snapshot: Snapshot) -> list[str]:
        return self._note(self.stream.publish(snapshot, self.now))

    def later(self, seconds: float) -> list[str]:
        self.now += seconds
        return self._note(self.stream.tick(self.now))

    def send(self, request: Request) -> list[str]:
        responses = self.stream.receive(request, self.now)
        assert not isinstance(responses, Refused), responses
        return self._note(responses)

    def ack(self, *shorts: str) -> list[str]:
        """Accept what is outstanding, of these types or of all."""
        return [shown for each in self._take(shorts) for shown in self.answer(each)]

    def ack_all(self) -> None:
        """Accept until nothing more comes."""
        while self.outstanding:
            self.ack()

    def nack(self, short: str, message: str = "no") -> list[str]:
        return [shown for each in self._take([short]) for shown in self.answer(each, message)]

    def answer(self, response: Response, error: str | None = None) -> list[str]:
        raise NotImplementedError

    def events(self) -> list[Event]:
        return self.stream.take_events()

    def node(self) -> Node | None:
        node, self._node = self._node, None
        return node

    def _take(self, shorts: Iterable[str]) -> list[Response]:
        wanted = {TYPE_URLS[short] for short in shorts} or set(SHORT_NAMES)
        taken = [each for each in self.outstanding if each.type_url in wanted]
        self.outstanding = [each for each in self.outstanding if each.type_url not in wanted]
        return taken

    def _note(self, responses: list[Response]) -> list[str]:
        self.outstanding += responses
        self.responses += responses
        return [show(each) for each in responses]


class DeltaProxy(Proxy):
    def __init__(self, only: str | None = None, **options: float | int | None) -> None:
        super().__init__(Stream(Delta(), only=only and TYPE_URLS[only], **options))

    def ask(
        self,
        short: str,
        *subscribe: str,
        unsubscribe: Iterable[str] = (),
        initial: Mapping[str, str] | None = None,
        nonce: str = "",
    ) -> list[str]:
        """`initial` is name -> text of the resource."""
        versions = {name: resource(name, text).version for name, text in (initial or {}).items()}
        return self.send(
            DeltaRequest(
                type_url=TYPE_URLS[short],
                node=self.node(),
                nonce=nonce,
                subscribe=subscribe,
                unsubscribe=tuple(unsubscribe),
                initial_versions=versions,
            )
        )

    def answer(self, response: Response, error: str | None = None) -> list[str]:
        return self.send(DeltaRequest(type_url=response.type_url, nonce=response.nonce, error=error))


class SotwProxy(Proxy):
    def __init__(self, only: str | None = None, **options: float | int | None) -> None:
        super().__init__(Stream(Sotw(), only=only and TYPE_URLS[only], **options))
        self.names: dict[str, tuple[str, ...]] = {}
        self.nonces: dict[str, str] = {}
        self.versions: dict[str, str] = {}

    def ask(self, short: str, *names: str, version: str | None = None, nonce: str | None = None) -> list[str]:
        """The whole subscription, with the last nonce and version unless told otherwise."""
        type_url = TYPE_URLS[short]
        self.names[type_url] = names
        return self._request(type_url, version=version, nonce=nonce)

    def answer(self, response: Response, error: str | None = None) -> list[str]:
        if error is None:
            self.versions[response.type_url] = response.version
        return self._request(response.type_url, nonce=response.nonce, error=error)

    def _request(
        self, type_url: str, version: str | None = None, nonce: str | None = None, error: str | None = None
    ) -> list[str]:
        return self.send(
            SotwRequest(
                type_url=type_url,
                node=self.node(),
                version=self.versions.get(type_url, "") if version is None else version,
                nonce=self.nonces.get(type_url, "") if nonce is None else nonce,
                error=error,
                names=self.names.get(type_url, ()),
            )
        )

    def _note(self, responses: list[Response]) -> list[str]:
        for each in responses:
            self.nonces[each.type_url] = each.nonce
        return super()._note(responses)


class Joined:
    """A proxy at a publisher. It does nothing by itself: `follow` lets it take and accept what it shall run."""

    def __init__(self, publisher: Publisher, node: Node = NODE, proxy: Proxy | None = None) -> None:
        self.proxy = proxy or DeltaProxy()
        self.publisher = publisher
        self.woken = 0
        self.connection = publisher.join(node, "peer", self.proxy.stream, self.wake)
        self.fetch()
        for short in ("CDS", "LDS"):
            self.proxy.ask(short)

    def wake(self) -> None:
        self.woken += 1

    def fetch(self) -> list[str]:
        """Take up what it shall run now; returns what it is sent."""
        snapshot = self.publisher.snapshot_for(self.connection.node)
        if snapshot is None or snapshot is self.proxy.stream.target:
            return []
        return self.proxy.publish(snapshot)

    def ack(self) -> None:
        self.proxy.ack_all()
        self.publisher.changed(self.connection)

    def nack(self, short: str, message: str = "no") -> None:
        self.proxy.nack(short, message)
        self.publisher.changed(self.connection)

    def follow(self) -> None:
        self.fetch()
        self.ack()

    def leave(self) -> None:
        self.publisher.leave(self.connection)


class Later:
    """Instead of a clock: what is to be done `after` some seconds is done when a test says that they have passed."""

    def __init__(self) -> None:
        self._now = 0.0
        self._due: list[tuple[float, Callable[[], None]]] = []

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        self._due.append((self._now + seconds, do))

    def pass_by(self, seconds: float) -> None:
        self._now += seconds
        due = [do for at, do in self._due if at <= self._now]
        self._due = [(at, do) for at, do in self._due if at > self._now]
        for do in due:
            do()
