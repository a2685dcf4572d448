"""Many patterns at once, in time that is linear in the text (RE2)."""

from collections.abc import Iterable, Sequence
from typing import Final, Generic, TypeVar

import re2

from policy.rules import pattern_options

L = TypeVar("L")

# A character of the private use area: no text that was folded holds it, so it only proves that the set works.
_PROBE: Final = "\ue000"
_TOO_LARGE: Final = "these patterns need more memory than there is for them"


class PatternSet(Generic[L]):
    """Patterns with labels; without regard to case."""

    def __init__(self, patterns: Iterable[tuple[L, str]]) -> None:
        """Raises ValueError where RE2 cannot hold them all in the memory that policies get."""
        self._labels: Sequence[L] = ()
        labels: list[L] = []
        self._set = re2.Set.SearchSet(pattern_options())
        for label, pattern in patterns:
            labels.append(label)
            self._set.Add(pattern)
        self._set.Add(_PROBE)
        try:
            self._set.Compile()
        except re2.error as error:
            raise ValueError(_TOO_LARGE) from error
        self._labels = labels
        # A set that is out of memory says that nothing matches; find that out now, and not by letting requests pass.
        if self._set.Match(_PROBE) != [len(labels)]:
            raise ValueError(_TOO_LARGE)

    def found(self, text: str) -> list[L]:
        """Labels of the patterns that the text holds, in the order in which they were given."""
        held = self._set.Match(text)
        return [self._labels[index] for index in sorted(held) if index < len(self._labels)] if held else []
