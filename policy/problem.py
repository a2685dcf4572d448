"""What is wrong with a policy, and where: for people, like a compiler says it, and for programs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

# Keys of maps and indices of lists, from the root of the policy down: ("routes", "content", "methods", 0).
FieldPath = tuple[str | int, ...]

_LONGEST_LINE = 160
MOST_PROBLEMS = 200


@dataclass(frozen=True, slots=True)
class Source:
    """A policy file that has been read: its name as people know it, and its text."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a policy file; line and column start at 1, columns count characters."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """What a model finds wrong with itself across its fields; the path is relative to that model."""

    path: FieldPath
    message: str
    expected: str = ""
    # Line and column, from 1, within the text that stands at the path.
    within: tuple[int, int] | None = None


@runtime_checkable
class Checked(Protocol):
    """A model that knows rules about several of its fields together."""

    def problems(self) -> Sequence[Problem]:
        """Every rule that is broken, not just the first."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One error at its place. `source_line` is the text of the line; `width` is how much of it is meant.

    `code`: of the linter, where it is the linter's.
    """

    position: Position
    path: FieldPath
    message: str
    found: str = ""
    expected: str = ""
    hint: str = ""
    source_line: str = ""
    width: int = 1
    code: str = ""

    def as_record(self) -> Mapping[str, str | int]:
        """The same for programs (`-o json`); absent texts are left out."""
        record: dict[str, str | int] = {
            "file": self.position.file,
            "line": self.position.line,
            "column": self.position.column,
            "path": written(self.path),
            "message": self.message,
        }
        texts = {"found": self.found, "expected": self.expected, "hint": self.hint, "code": self.code}
        return record | {name: text for name, text in texts.items() if text}


class PolicyError(Exception):
    """A policy that cannot be used, with every reason, in the order of the files and lines.

    Of more reasons than anybody reads, the first, and how many there are.
    """

    def __init__(self, problems: Iterable[Diagnostic]) -> None:
        # The six gateways share an overlay, and so its errors: say each once.
        found = sorted(dict.fromkeys(problems), key=lambda problem: problem.position)
        if len(found) > MOST_PROBLEMS:
            last = found[MOST_PROBLEMS]
            more = Diagnostic(last.position, (), f"and from here on {len(found) - MOST_PROBLEMS} more that are wrong")
            found = [*found[:MOST_PROBLEMS], more]
        self.problems = tuple(found)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n\n".join(render(problem) for problem in self.problems)


def written(path: FieldPath) -> str:
    """A path as people write it: `routes.content.methods[0]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if _plain(step) else f'"{step}"')
    return text


def render(problem: Diagnostic) -> str:
    """An error as compilers show it: the place, the line, what is meant of it, what was found and expected."""
    place = written(problem.path)
    kind = f"error[{problem.code}]" if problem.code else "error"
    lines = [f"{kind}: {problem.position}: {place + ': ' if place else ''}{problem.message}"]
    gutter = " " * len(str(problem.position.line))
    if problem.source_line:
        shown, column = _clipped(problem.source_line, problem.position.column)
        carets = "^" * max(1, min(problem.width, len(shown) - column + 1))
        lines += [f"{gutter} |", f"{problem.position.line} | {shown}", f"{gutter} | {' ' * (column - 1)}{carets}"]
    notes = (("found", problem.found), ("expected", problem.expected), ("hint", problem.hint))
    lines += [f"{gutter} = {label}: {text}" for label, text in notes if text and text not in problem.message]
    return "\n".join(_printable(line) for line in lines)


def _plain(step: str) -> bool:
    return step != "" and step.replace("-", "").replace("_", "").isalnum()


def _printable(text: str) -> str:
    # One character for one, so that the carets stay under what they mean and a terminal is never steered.
    return "".join(character if character.isprintable() else " " if character == "\t" else "�" for character in text)


def _clipped(line: str, column: int) -> tuple[str, int]:
    if len(line) <= _LONGEST_LINE:
        return line, column
    start = max(0, min(column - _LONGEST_LINE // 2, len(line) - _LONGEST_LINE))
    return line[start : start + _LONGEST_LINE], column - start


def source_of(name: str, content: bytes) -> Source:
    """A file's bytes as its text. Raises PolicyError, with the line, where they are none."""
    try:
        return Source(name, content.decode())
    except UnicodeDecodeError as error:
        place = Position(name, content.count(b"\n", 0, error.start) + 1, 1)
        raise PolicyError([Diagnostic(place, (), "bytes that are not UTF-8", expected="UTF-8 text")]) from None
