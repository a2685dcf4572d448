"""What a business rule is given, and what it says of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from pydantic import JsonValue

from authz.decision import FieldError
from authz.facts import Facts
from authz.principal import Principal
from authz.reasons import Reason
from authz.request import Request

MAX_ERRORS: Final = 20

# Members' names and items' indices, from the top of a document down.
Path = tuple[str | int, ...]
# A pointer of a policy, taken apart; "*" stands for any member or item.
Steps = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Breach:
    """A rule is broken: for which reason, and where in the body."""

    reason: Reason
    errors: tuple[FieldError, ...] = ()


@dataclass(frozen=True, slots=True)
class Text:
    """A text of a document: a string, a member's name, or a number of many digits."""

    path: Path
    content: str
    is_name: bool = False


@dataclass(slots=True)
class Given:
    """One request, whose caller is known and whose body, where it has one, meets its schema.

    `pointer` writes a path for the client, without names that are the client's own. `now`: seconds since the epoch.
    """

    request: Request
    principal: Principal
    facts: Facts
    now: float
    has_body: bool
    document: JsonValue
    pointer: Callable[[Path], str]
    _texts: tuple[Text, ...] | None = field(default=None)

    @property
    def texts(self) -> tuple[Text, ...]:
        """Every text of the document, found once for all rules."""
        if self._texts is None:
            self._texts = tuple(_texts(self.document))
        return self._texts

    def error(self, path: Path, rule: str) -> FieldError:
        return FieldError(self.pointer(path), rule)


class RuleCheck(Protocol):
    """One rule of a policy, compiled."""

    def check(self, given: Given) -> Breach | None:
        """Why the request is to be refused; None where the rule has nothing against it."""
        ...


def breach(reason: Reason, errors: Sequence[FieldError]) -> Breach | None:
    """A breach with the first errors, each once; None where there are none."""
    return Breach(reason, tuple(dict.fromkeys(errors))[:MAX_ERRORS]) if errors else None


def steps(pointer: str) -> Steps:
    """A policy's pointer (RFC 6901, with `*`), taken apart."""
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:])


def leads(pattern: Steps, path: Path) -> bool:
    """Whether the path is the pattern's, or lies below it."""
    if len(path) < len(pattern):
        return False
    for wanted, step in zip(pattern, path, strict=False):
        if wanted not in ("*", step) and (isinstance(step, str) or wanted != str(step)):
            return False
    return True


def find(document: JsonValue, pattern: Steps) -> Iterator[tuple[Path, JsonValue]]:
    """Everything that a pointer leads to."""
    found: list[tuple[Path, JsonValue]] = [((), document)]
    for step in pattern:
        found = [
            ((*path, name), value) for path, held in found for name, value in _members(held) if step in ("*", str(name))
        ]
    yield from found


def _members(value: JsonValue) -> Iterator[tuple[str | int, JsonValue]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


# Shorter numbers are nobody's.
_LONG_NUMBER: Final = 10**7


def _texts(document: JsonValue) -> Iterator[Text]:
    # Not recursive, though the reader has bounded the depth: a generator in a generator costs at every level.
    open_: list[tuple[Path, JsonValue]] = [((), document)]
    while open_:
        path, value = open_.pop()
        if isinstance(value, str):
            yield Text(path, value)
        elif isinstance(value, dict):
            yield from (Text((*path, name), name, is_name=True) for name in value)
            open_.extend(((*path, name), held) for name, held in reversed(value.items()))
        elif isinstance(value, list):
            open_.extend(((*path, index), value[index]) for index in range(len(value) - 1, -1, -1))
        elif isinstance(value, int | float) and not isinstance(value, bool) and abs(value) >= _LONG_NUMBER:
            # A number is written as its digits: 4111111111111111 is a card's, with quotes or without.
            yield Text(path, str(int(value)))
