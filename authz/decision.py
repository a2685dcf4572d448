"""What is answered: values that say why, for the client, for the metrics and for the audit log alike."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from authz.principal import Principal
from authz.reasons import ANSWERS, Reason

if TYPE_CHECKING:
    from authz.rules import RouteRules


@dataclass(frozen=True, slots=True)
class FieldError:
    """Where a body breaks which rule: a JSON Pointer (RFC 6901) and a keyword, never the value that was found.

    Members that the schema does not name stand as `*` in the pointer, since their names are the client's.
    """

    pointer: str
    rule: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason not to let a request pass.

    `detail` replaces the reason's usual sentence and comes from policy alone; `cause` is for operators (audit,
    explain) and never leaves; `allow`, `scope` and `retry_after` (seconds) are the values of the headers that the
    answer needs. A limit has a code of its own, by policy: `named`.
    """

    reason: Reason
    cause: str = ""
    detail: str = ""
    errors: tuple[FieldError, ...] = ()
    allow: str = ""
    scope: str = ""
    retry_after: int = 0
    named: str = ""

    @property
    def code(self) -> str:
        """The word for it that the client, the metrics and the audit log are given."""
        return self.named or self.reason.value

    @property
    def status(self) -> int:
        return ANSWERS[self.reason].status

    @property
    def title(self) -> str:
        return ANSWERS[self.reason].title

    @property
    def sentence(self) -> str:
        return self.detail or ANSWERS[self.reason].detail


@dataclass(frozen=True, slots=True)
class NonceClaim:
    """A signature was good; its nonce must now be spent, once, for all replicas of the gateway.

    `seconds`: how long the nonce must be remembered.
    """

    key_id: str
    nonce: str
    seconds: int


@dataclass(frozen=True, slots=True)
class MissingKey:
    """A token names a key that its issuer had not published when we last asked: asking again may help."""

    issuer: str
    kid: str


@dataclass(frozen=True, slots=True)
class Shadowed:
    """What a rule in shadow mode would have refused: policy's name of the rule, and why."""

    rule: str
    reason: Reason


@dataclass(slots=True)
class Decision:
    """The outcome of one check. Allowed means: no refusal, and the nonce, if there is one, was unspent.

    Nobody writes to it; it is not frozen because freezing costs a microsecond per check.
    """

    refusal: Refusal | None
    principal: Principal
    route: "RouteRules | None" = None
    claim: NonceClaim | None = None
    missing_key: MissingKey | None = None
    shadowed: tuple[Shadowed, ...] = ()
    # What the mode of the route let pass.
    waived: Refusal | None = None
    # What the client is told in headers besides: (name, value).
    told: tuple[tuple[str, str], ...] = ()

    @property
    def allowed(self) -> bool:
        return self.refusal is None
