"""What is asked: one HTTP request as Envoy describes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from authz.reasons import Reason

# gRPC servers take no larger message by default; what would not fit must not be asked for (attack A53).
MAX_CHECK_BYTES: Final = 4 * 1024 * 1024
# Leaves room for everything of a request that is not its body.
MAX_BODY_BYTES: Final = MAX_CHECK_BYTES - 512 * 1024


@dataclass(slots=True)
class Request:
    """One request. Nobody writes to it; it is not frozen because freezing costs a microsecond per request.

    `headers` has lower-case names; repeated fields are joined with commas. `path` is the request target without its
    query, `query` what follows the first `?` (None where there is none). `exact` says that header values, path and
    query hold the very octets that Envoy received; otherwise a `!` may stand for an octet that was not UTF-8.
    `body` is None where the check carries none. `defect` is what keeps the request from being judged at all.
    """

    gateway: str
    policy: str
    listener: str
    route: str
    method: str
    scheme: str
    authority: str
    path: str
    query: str | None
    headers: Mapping[str, str]
    body: bytes | None
    # Octets of the whole body as far as Envoy knows; -1 when it does not.
    size: int = -1
    exact: bool = False
    defect: Reason | None = None

    @property
    def request_id(self) -> str:
        """As Envoy made it, or as a client sent it: to be repeated only where it has the form of one."""
        return self.headers.get("x-request-id", "")
