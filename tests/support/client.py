"""A client of the federation that checks certificates, chooses its address, and counts what reaches a service."""

import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import httpx2

from apibank.ready import Ready

CONTENT = {"topic": "AI agents", "tone": "professional", "length": 500, "keywords": ["AI", "automation"]}
QUESTION = {"subject": "algebra", "grade": 10, "question": "What is a group?"}
LEAD = {"company": "Acme", "source": "web"}


class Client:
    """HTTP/1.1 over TLS to the central gateway; `address` is the loopback address it calls from."""

    def __init__(self, ready: Ready, *, address: str = "127.0.0.1", timeout: float = 10.0) -> None:
        self._ready = ready
        context = ssl.create_default_context(cafile=ready.ca_file)
        transport = httpx2.HTTPTransport(verify=context, local_address=address)
        self._http = httpx2.Client(transport=transport, timeout=timeout, follow_redirects=False)
        # Its certificates are never asked for, and reading those of all authorities takes longer than most tests.
        self._plain = httpx2.Client(timeout=timeout, verify=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.close()
        self._plain.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        key: str | None = None,
        json: object = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | list[tuple[str, str]] | None = None,
        door: str = "https",
    ) -> httpx2.Response:
        """Send one request to a door of central: https, http or internal_https."""
        base = getattr(self._ready.central, door)
        sent = list(headers.items()) if isinstance(headers, Mapping) else list(headers or ())
        if token is not None:
            sent.append(("authorization", f"Bearer {token}"))
        if key is not None:
            sent.append(("x-api-key", key))
        return self._http.request(method, base + path, json=json, content=content, headers=sent)

    def hits(self, service: str) -> int:
        """How many requests have reached a demo service, asked on its own port."""
        return int(self._plain.get(self._ready.upstreams[service] + "/__hits").text)


def problem(response: httpx2.Response) -> dict[str, object]:
    """The problem body of a refusal, after checking what every refusal has (RFC 9457, R26)."""
    assert response.headers["content-type"].split(";")[0] == "application/problem+json", response.text
    body: dict[str, object] = response.json()
    assert body["status"] == response.status_code
    assert body["type"] == f"https://waooaw.ai/problems/{body['code']}"
    assert body["title"]
    assert response.headers["x-request-id"]
    return body
