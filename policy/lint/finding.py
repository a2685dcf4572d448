"""What the linter says: rules with stable codes, and findings at their places."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from policy.model import Gateway
from policy.problem import FieldPath, Position


class Severity(StrEnum):
    """An error refuses the policy; a warning informs."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Fault:
    """What a rule has found: where, and what is wrong there. The path is that of the policy's fields."""

    path: FieldPath
    message: str


Check = Callable[[Gateway], Iterator[Fault]]


@dataclass(frozen=True, slots=True)
class Rule:
    """`code` never changes its meaning; `help` says what to do instead. Its page is docs/lint/CODE.md."""

    code: str
    severity: Severity
    title: str
    help: str
    check: Check


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault under its rule, at its place in the files, where these are known; `excepted`: why it is meant."""

    code: str
    severity: Severity
    path: FieldPath
    message: str
    help: str
    position: Position | None
    excepted: str = ""
