"""What is wrong with a policy, and where."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend.

    `path` leads from the root of the gateway to the value (names of maps, indexes of lists); the loader turns it into
    a file, a line and a column. `message` says what was found, `expected` what would be right.
    """

    path: tuple[str | int, ...]
    message: str
    expected: str
