"""Texts that are not to be answered: leaked exams, plagiarism, and whatever a team's patterns name (R51)."""

from dataclasses import dataclass
from typing import Final, Self

from authz.checks.rules.folding import prepare, readable, readings, variants
from authz.checks.rules.given import Breach, Given, Steps, Text, breach, leads, steps
from authz.checks.rules.patterns import PatternSet
from authz.checks.rules.wrapped import decoded
from authz.reasons import Reason
from policy.rules import ContentRule

# A line ends a text here; patterns that are to reach over several texts say \s.
_BETWEEN: Final = "\n"


@dataclass(frozen=True, slots=True)
class ContentCheck:
    """One content rule: every pattern of every category in one set, labelled CATEGORY.ID."""

    patterns: PatternSet[str]
    fields: tuple[Steps, ...] | None

    @classmethod
    def of(cls, rule: ContentRule) -> Self:
        """Raises ValueError where the patterns cannot be held."""
        labelled = [
            (f"{category}.{name}", pattern)
            for category, patterns in rule.categories.items()
            for name, pattern in patterns.items()
        ]
        prepare()
        fields = None if rule.fields is None else tuple(steps(pointer) for pointer in rule.fields)
        return cls(PatternSet(labelled), fields)

    def check(self, given: Given) -> Breach | None:
        looked_at = [text for text in given.texts if self._looks_at(text)]
        # All at once first: nearly every request is found innocent by this one search, and what was divided among
        # several fields is whole again.
        found = self.patterns.found(_BETWEEN.join(_readings(looked_at)))
        if not found:
            return None
        errors = [
            given.error(text.path, label)
            for text in looked_at
            for label in self.patterns.found(_BETWEEN.join(variants(text.content)))
        ]
        return breach(Reason.CONTENT_REFUSED, errors or [given.error((), label) for label in found])

    def _looks_at(self, text: Text) -> bool:
        return self.fields is None or any(leads(field, text.path) for field in self.fields)


def _readings(texts: list[Text]) -> list[str]:
    """Everything that the texts can be read as together, and what each of them says in base64 or hexadecimal."""
    return [
        *readings(_BETWEEN.join(text.content for text in texts)),
        *(reading for text in texts for said in decoded(readable(text.content)) for reading in readings(said)),
    ]
