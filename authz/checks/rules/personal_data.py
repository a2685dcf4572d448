"""GDPR: personal data stands in declared fields, with a lawful basis, and special categories stand nowhere (R56).

What this finds is what has a form. A name, an address or a person's story has none, and passes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import re2

from authz.checks.rules import identifiers, plain_text
from authz.checks.rules.folding import folded, readings
from authz.checks.rules.given import Breach, Given, Steps, Text, breach, find, leads, steps
from authz.checks.rules.identifiers import holds
from authz.checks.rules.patterns import PatternSet
from authz.checks.rules.plain_text import read
from authz.checks.rules.words import spellings
from authz.decision import FieldError
from authz.reasons import Reason
from policy.rules import PersonalData, PersonalDataRule

# Control characters are taken out of texts, so that no candidate reaches over this.
_BETWEEN: Final = "\n"
# Whether looking closer can find anything: most texts hold nothing of all this.
_TRIGGERS: Final[Mapping[PersonalData, str]] = {
    PersonalData.EMAIL: r"@|[\[({] ?at ?[\])}]",
    PersonalData.PHONE: r"[0-9](?:[ \-./()]{0,3}[0-9]){6}",
    PersonalData.IBAN: r"\b[a-z]{2}[ -]?[0-9]{2}",
    PersonalData.CARD: r"[0-9](?:[ \-./_]{0,3}[0-9]){13}",
    PersonalData.NATIONAL_ID: r"[0-9](?:[ \-.]?[0-9]){4}|[a-z]{6}[0-9]{2}[a-z]|[a-z]{5}[0-9]{4}[a-z]",
}
_SPECIAL: Final = "special_category"
_NONE: Final = frozenset[PersonalData]()


@dataclass(frozen=True, slots=True)
class PersonalDataCheck:
    """One rule about personal data. `fields`: declared places, and the kinds that may stand there."""

    kinds: tuple[PersonalData, ...]
    triggers: PatternSet[PersonalData]
    fields: tuple[tuple[Steps, frozenset[PersonalData]], ...]
    basis: Steps
    bases: frozenset[str]
    regions: tuple[str, ...]
    special_names: PatternSet[str]
    special_phrases: PatternSet[str]

    @classmethod
    def of(cls, rule: PersonalDataRule) -> Self:
        """Raises ValueError where the vocabulary cannot be held."""
        plain_text.prepare()
        identifiers.prepare()
        return cls(
            kinds=rule.kinds,
            triggers=PatternSet((kind, _TRIGGERS[kind]) for kind in rule.kinds),
            fields=tuple((steps(pointer), frozenset(kinds)) for pointer, kinds in rule.fields.items()),
            basis=steps(rule.lawful_basis),
            bases=frozenset(basis.value for basis in rule.lawful_bases),
            regions=rule.phone_regions,
            special_names=PatternSet((_SPECIAL, f"_{word}_") for word in rule.special_fields),
            special_phrases=PatternSet(
                (_SPECIAL, rf"\b{re2.escape(folded(phrase))}\b") for phrase in rule.special_phrases
            ),
        )

    def check(self, given: Given) -> Breach | None:
        return (
            breach(Reason.PERSONAL_DATA, self._special(given))
            or breach(Reason.PERSONAL_DATA, self._undeclared(given))
            or self._without_basis(given)
        )

    def _special(self, given: Given) -> list[FieldError]:
        texts = given.texts
        names = _BETWEEN.join(_named(text) for text in texts if text.is_name)
        said = _BETWEEN.join(reading for text in texts if not text.is_name for reading in readings(text.content))
        if not self.special_names.found(names) and not self.special_phrases.found(said):
            return []
        return [given.error(text.path, _SPECIAL) for text in texts if self._is_special(text)]

    def _is_special(self, text: Text) -> bool:
        if text.is_name:
            return bool(self.special_names.found(_named(text)))
        return bool(self.special_phrases.found(_BETWEEN.join(readings(text.content))))

    def _undeclared(self, given: Given) -> list[FieldError]:
        # Texts that may hold the same kinds are searched together: nearly every request is found innocent by that.
        alike: dict[frozenset[PersonalData], list[tuple[Text, str]]] = {}
        for text in given.texts:
            alike.setdefault(self._declared(text), []).append((text, read(text)))
        return [
            given.error(text.path, kind.value)
            for declared, readings in alike.items()
            for kind in self.triggers.found(_BETWEEN.join(reading for _, reading in readings))
            if kind not in declared
            for text, reading in readings
            if holds(reading, kind, self.regions)
        ]

    def _declared(self, text: Text) -> frozenset[PersonalData]:
        if text.is_name:
            return _NONE
        declared = [kinds for field, kinds in self.fields if leads(field, text.path)]
        return _NONE.union(*declared) if declared else _NONE

    def _without_basis(self, given: Given) -> Breach | None:
        holds_any = any(
            value is not None and value != "" for field, _ in self.fields for _, value in find(given.document, field)
        )
        if not holds_any:
            return None
        stated = [value for _, value in find(given.document, self.basis)]
        if len(stated) == 1 and isinstance(stated[0], str) and stated[0] in self.bases:
            return None
        return Breach(Reason.LAWFUL_BASIS_MISSING, (given.error(self.basis, "lawful_basis"),))


def _named(text: Text) -> str:
    return _BETWEEN.join(f"_{spelling}_" for spelling in spellings(text.content))
