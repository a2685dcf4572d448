"""Who calls: customers of the business tier with tokens, and agents that sign; as many as keep below their limits."""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from apibank.issuer.mint import mint
from apibank.ready import Ready
from waooaw_signing import sign

CONTENT: Final = {"topic": "AI agents", "tone": "professional", "length": 500, "keywords": ["AI", "automation"]}
LEAD: Final = {"company": "Acme", "source": "web"}
# A customer may send 500 requests a minute; so many customers are below it at every rate here.
CUSTOMERS: Final = 100
# Tokens are good for an hour; a long run needs new ones.
_RENEWED_SECONDS: Final = 1_200.0


@dataclass(frozen=True, slots=True)
class Sent:
    """One request as it leaves. `name`: what it is counted as."""

    name: str
    url: str
    body: bytes
    headers: dict[str, str]


class Callers:
    """Makes requests of a running federation, each kind by a method."""

    def __init__(self, ready: Ready, clock: Callable[[], float] = time.monotonic) -> None:
        self._ready, self._clock = ready, clock
        self._numbers = itertools.count()
        self._tokens: dict[tuple[str, int], tuple[str, float]] = {}
        folder = Path(ready.state_dir) / "secrets" / "agents"
        self._secrets = {one.name: one.read_text(encoding="utf-8").split()[0] for one in sorted(folder.iterdir())}
        self._agents = itertools.cycle(self._secrets)

    def content(self) -> Sent:
        """R101."""
        return self._customers("marketing", "customer", "/api/marketing/content", CONTENT)

    def lead(self) -> Sent:
        return self._customers("sales", "company", "/api/sales/leads", LEAD)

    def message(self) -> Sent:
        """R60 to R62: a message to the bus, signed, of each agent in turn."""
        agent = next(self._agents)
        url = self._ready.central.internal_https + "/api/agents/memory"
        message = {
            "id": f"load-{time.time_ns()}-{next(self._numbers)}", "type": "task.created", "sender": agent,
            "recipient": "vision", "payload": {"n": 1},
        }  # fmt: skip
        body = json.dumps(message).encode()
        headers = sign("POST", url, body, agent, self._secrets[agent])
        return Sent("agents", url, body, {**headers, "content-type": "application/json"})

    def cycle(self, kinds: tuple[str, ...]) -> Iterator[Callable[[], Sent]]:
        """The kinds in turn, for ever."""
        known = {"content": self.content, "lead": self.lead, "message": self.message}
        return itertools.cycle([known[kind] for kind in kinds])

    def _customers(self, gateway: str, role: str, path: str, body: object) -> Sent:
        token = self._token(gateway, role, next(self._numbers) % CUSTOMERS)
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        return Sent(gateway, self._ready.central.https + path, json.dumps(body).encode(), headers)

    def _token(self, gateway: str, role: str, number: int) -> str:
        known = self._tokens.get((gateway, number))
        if known is None or self._clock() - known[1] > _RENEWED_SECONDS:
            claims = {
                "sub": f"load-{gateway}-{number}", "role": role, "tier": "business", "scopes": [f"{gateway}:*"],
            }  # fmt: skip
            token = mint(Path(self._ready.state_dir), "customer", claims=claims, without=(), expires_in=3600)
            known = self._tokens[gateway, number] = (token, self._clock())
        return known[0]
