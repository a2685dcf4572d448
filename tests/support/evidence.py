"""What an attack leaves behind: who was reached, what was recorded, and whether a log holds what it should not."""

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx2

from tests.support.client import problem
from tests.support.stack import Stack

# Shorter texts are found by chance.
_SHORTEST_SECRET = 16
_PATIENCE = 10.0


class Answered(Protocol):
    """An answer of any of the clients."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def content(self) -> bytes: ...
    @property
    def text(self) -> str: ...
    def json(self) -> Any: ...


Event = dict[str, Any]


@dataclass
class Evidence:
    """Looks at a running federation from the side: its services' counts and its processes' logs."""

    stack: Stack
    http: httpx2.Client = field(default_factory=lambda: httpx2.Client(timeout=10, verify=False))
    _services: dict[str, HTTPConnection] = field(default_factory=dict)

    def hits(self) -> dict[str, int]:
        """How many requests each service has had."""
        return {name: self._hits_of(name) for name in self.stack.ready.upstreams}

    def _hits_of(self, service: str) -> int:
        place = urlsplit(self.stack.ready.upstreams[service])
        connection = self._services.setdefault(service, HTTPConnection(place.netloc, timeout=10))
        for attempt in range(2):
            try:
                connection.request("GET", "/__hits")
                return int(connection.getresponse().read())
            except (ConnectionError, HTTPException):
                # It had been idle for too long.
                connection.close()
                if attempt:
                    raise
        raise AssertionError

    def logs(self) -> list[Path]:
        return sorted((self.stack.state_dir / "logs").iterdir())

    @contextmanager
    def attempt(self, *secrets: str) -> Iterator["Attempt"]:
        """What happens within is looked at afterwards; `secrets` are what no log may hold of it."""
        attempt = Attempt(self, self.hits(), {path: path.stat().st_size for path in self.logs()}, list(secrets))
        yield attempt
        attempt.check()


@dataclass
class Attempt:
    """One attack, and the state of things before it."""

    evidence: Evidence
    hits: dict[str, int]
    sizes: dict[Path, int]
    secrets: list[str]
    began: float = field(default_factory=time.time)
    judged: bool = False

    def refused(self, answer: Answered, status: int, code: str) -> Event:
        """Refused by authorization: the documented answer, no service reached, one event with the reason."""
        body = problem(answer)  # type: ignore[arg-type]
        assert (answer.status_code, body["code"]) == (status, code), body
        self._spared(answer)
        events = self.events(str(body["request_id"]))
        (denied,) = [one for one in events if one["outcome"] == "denied"]
        assert (denied["reason"], denied["status"]) == (code, status), denied
        # Central may have let it pass to the gateway that refused it, and nothing comes after a refusal.
        assert events[-1] == denied
        assert len(events) == (1 if denied["gateway"] == "central" else 2), events
        return denied

    def refused_by_envoy(self, answer: Answered | None, statuses: Collection[int] = (400,)) -> None:
        """Refused before anybody was asked: an answer of the common form, or a stream that was reset."""
        if answer is not None:
            assert answer.status_code in statuses, (answer.status_code, answer.text)
            body = problem(answer)  # type: ignore[arg-type]
            assert self.events(str(body["request_id"]), patience=0) == []
            self._spared(answer)
        self.reached_nobody()

    def reached_nobody(self) -> None:
        """No service was reached."""
        self.judged = True
        assert self.evidence.hits() == self.hits

    def let_pass(self, answer: Answered, *services: str) -> Event:
        """A control: this very request, without the attack, reaches its service; what the service says it was sent."""
        self.judged = True
        assert answer.status_code == 200, answer.text
        now = self.evidence.hits()
        assert {name for name in now if now[name] > self.hits[name]} == set(services)
        echo: Event = answer.json()
        return echo

    def events(self, request_id: str, *, patience: float = _PATIENCE) -> list[Event]:
        """The decisions about one request, central's first; waits until there is a refusal."""
        deadline = time.monotonic() + patience
        while True:
            found = [one for one in self.decisions() if one["request_id"] == request_id]
            # Each process writes when it comes to it: central has seen whatever another has refused.
            if (_has(found, "outcome", "denied") and _has(found, "gateway", "central")) or time.monotonic() >= deadline:
                return sorted(found, key=lambda one: float(one["at"]))
            time.sleep(0.02)

    def told(self, request_id: str, count: int) -> list[Event]:
        """The decisions about one request, as soon as there are so many."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            found = [one for one in self.decisions() if one["request_id"] == request_id]
            if len(found) >= count or time.monotonic() >= deadline:
                return found
            time.sleep(0.02)

    def allowed(self, gateway: str, control: Callable[[], Answered]) -> list[Event]:
        """What a gateway let pass since the attempt began, but for `control`, a request that passes it.

        A gateway writes its events in their order: when the control's is there, all earlier ones are.
        """
        answer = control()
        assert answer.status_code == 200, answer.text
        last = str(answer.json()["headers"]["x-request-id"])
        deadline = time.monotonic() + _PATIENCE
        while True:
            found = [one for one in self.decisions() if (one["gateway"], one["outcome"]) == (gateway, "allowed")]
            if _has(found, "request_id", last):
                return [one for one in found if one["request_id"] != last]
            assert time.monotonic() < deadline, f"{gateway} did not write what it decided about {last}"
            time.sleep(0.02)

    def decisions(self) -> list[Event]:
        """All events of what was decided since the attempt began; one of before may be written only now."""
        events = (json.loads(line) for line in self.said().splitlines() if line.startswith('{"at":'))
        return [event for event in events if event["at"] >= self.began]

    def said(self) -> str:
        """What all processes have logged since the attempt began."""
        return "".join(_rest(path, self.sizes.get(path, 0)) for path in self.evidence.logs())

    def check(self) -> None:
        """No log of any process holds a secret, and nothing failed unexpectedly."""
        assert self.judged, "the test did not say what came of the attack"
        said = self.said()
        for secret in self.secrets:
            for part in _parts(secret):
                assert part not in said
        for sign in ("Traceback (most recent call last)", '"reason":"internal_error"', '"event": "check_failed"'):
            assert sign not in said

    def _spared(self, answer: Answered) -> None:
        self.reached_nobody()
        shown = answer.text + "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
        for secret in self.secrets:
            for part in _parts(secret):
                assert part not in shown


def _parts(secret: str) -> list[str]:
    """The whole, and of a token the signature, without which the rest is worth nothing."""
    return [part for part in {secret, secret.rpartition(".")[2]} if len(part) >= _SHORTEST_SECRET]


def _has(events: list[Event], name: str, value: str) -> bool:
    return any(one[name] == value for one in events)


def _rest(path: Path, offset: int) -> str:
    with path.open("rb") as log:
        log.seek(offset)
        return log.read().decode("utf-8", "replace")
