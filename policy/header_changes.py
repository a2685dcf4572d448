"""Which headers of requests and answers a route may change. What carries an identity or frames a message it may not."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Self

from pydantic import Field, StringConstraints, model_validator

from policy.descriptors import SPOOFABLE_HEADERS, SPOOFABLE_PREFIXES
from policy.kinds import Model

# In lower case, as HTTP/2 sends them; Envoy refuses requests with an underscore in a name.
HeaderName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
# Visible characters and inner spaces: no CR, LF or NUL can end a header and begin another (RFC 9110 §5.5).
HeaderText = Annotated[str, StringConstraints(pattern=r"^[!-~]([ -~]{0,1022}[!-~])?$")]

_MOST: Final = 20

# What carries a caller's proof of who it is: never set by a policy, but it may be kept from a service.
CREDENTIAL_HEADERS: Final = (
    "authorization",
    "cookie",
    "proxy-authorization",
    "signature",
    "signature-input",
    "x-api-key",
)

# RFC 9110 §7.6.1 and RFC 9112: what frames messages and steers connections, in both directions.
_FRAMING: Final = (
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
)
# The gateways' own: signatures cover the digest, logs and traces join by the ids, addresses come from the connection.
_OF_REQUESTS: Final = ("content-digest", "forwarded", "traceparent", "tracestate", "x-forwarded-", "x-request-id")
# Written by other parts of the policy: CORS, HSTS, limits, authentication, deprecation.
_OF_ANSWERS: Final = (
    "access-control-",
    "allow",
    "deprecation",
    "grpc-",
    "link",
    "location",
    "proxy-authenticate",
    "ratelimit",
    "ratelimit-",
    "retry-after",
    "server",
    "strict-transport-security",
    "sunset",
    "vary",
    "www-authenticate",
    "x-ratelimit-",
    "x-request-id",
)
_EVERYWHERE: Final = (*_FRAMING, *SPOOFABLE_PREFIXES, "x-envoy-")


def _reserved(name: str, words: tuple[str, ...]) -> bool:
    return any(name.startswith(word) if word.endswith("-") else name == word for word in words)


class HeaderChanges(Model):
    """`set` replaces, `add` adds another value, `remove` takes away. Values are sent as they are written."""

    set: Mapping[HeaderName, HeaderText] = Field(default_factory=dict)
    add: Mapping[HeaderName, HeaderText] = Field(default_factory=dict)
    remove: tuple[HeaderName, ...] = ()

    @model_validator(mode="after")
    def _once_and_not_too_many(self) -> Self:
        names = [*self.set, *self.add, *self.remove]
        if len(names) > _MOST:
            raise ValueError(f"at most {_MOST} headers are changed")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{twice[0]} is changed twice")
        return self

    def _refuse(self, words: tuple[str, ...], only_removable: tuple[str, ...]) -> Iterator[str]:
        for name in (*self.set, *self.add):
            if _reserved(name, (*words, *only_removable)):
                yield name
        for name in self.remove:
            if _reserved(name, words):
                yield name


class RequestHeaders(HeaderChanges):
    """Changes that the service sees, and neither authorization nor a limit."""

    @model_validator(mode="after")
    def _not_reserved(self) -> Self:
        for name in self._refuse((*_EVERYWHERE, *_OF_REQUESTS, *SPOOFABLE_HEADERS), CREDENTIAL_HEADERS):
            raise ValueError(f"{name} of a request is not a route's to change here")
        return self


class AnswerHeaders(HeaderChanges):
    """Changes of every answer of the route, refusals included."""

    @model_validator(mode="after")
    def _not_reserved(self) -> Self:
        # A cookie that is the same for everybody would be a session that everybody shares.
        for name in self._refuse((*_EVERYWHERE, *_OF_ANSWERS), ("set-cookie",)):
            raise ValueError(f"{name} of an answer is not a route's to change here")
        return self


class Headers(Model):
    """Headers that a route sets, adds and removes."""

    request: RequestHeaders | None = None
    response: AnswerHeaders | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.request is None and self.response is None:
            raise ValueError("request or response")
        return self
