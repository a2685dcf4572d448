"""One request as an Envoy saw it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AccessRecord:
    """`at`: when it came, in seconds since the epoch. Durations in milliseconds; None where nothing came of it.

    `gateway` and `node` are who reports. `path` has no query, and is what
    the service was asked for, where the route rewrites it. `status`: 0 where no answer was begun. `flags`: Envoy's
    short names, such as UF, in their order (envoy.data.accesslog.v3.ResponseFlags). `details`: Envoy's
    response_code_details. What authorization said of the caller is empty where it was not asked, or knew nobody.
    `caller` has its kind ahead, as limits count it (policy.descriptors). `credential`: the public id of an API key.
    """

    at: float
    gateway: str
    node: str
    request_id: str
    method: str
    path: str
    route: str
    status: int
    details: str
    flags: str
    duration: float | None
    upstream_duration: float | None
    upstream: str
    attempts: int
    octets_in: int
    octets_out: int
    address: str
    user_agent: str
    caller: str = ""
    subject: str = ""
    tenant: str = ""
    tier: str = ""
    role: str = ""
    outcome: str = ""
    credential: str = ""

    @property
    def failed(self) -> bool:
        """Whether the federation failed, and not the client: a 5xx, or no answer though the client waited for it."""
        return self.status >= 500 or (self.status == 0 and "DC" not in self.flags.split(","))
