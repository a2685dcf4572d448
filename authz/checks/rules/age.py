"""COPPA: how old somebody is, and whether a parent has consented where that is needed (R49, R50).

The age comes from the token's `birthdate` (OpenID Connect Core §5.1), else from its `age`. Consent comes from stored
records alone: the claim `parental_consent` may name one, and proves nothing by itself.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, Self

from pydantic import JsonValue

from authz.checks.rules.given import Breach, Given
from authz.facts import Consent
from authz.principal import Kind, Principal
from authz.reasons import Reason
from policy.rules import AgeRule

BIRTHDATE: Final = "birthdate"
AGE: Final = "age"
CONSENT: Final = "parental_consent"
CLAIMS: Final = frozenset({BIRTHDATE, AGE, CONSENT})

_YOUNGEST: Final = 3
_OLDEST: Final = 120
_DATE: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_SUBJECT: Final = re.compile(r"[\x21-\x7e]{1,255}")
# A birthday begins everywhere only when it begins at UTC-12: until then somebody may still be a year younger.
_LAST_TO_BEGIN: Final = timedelta(hours=12)


def age_at(birthdate: date, now: float) -> int:
    """Full years at a moment (seconds since the epoch), by the calendar of UTC-12; negative before birth.

    Who was born on 29 February completes a year on 1 March where there is no such day.
    """
    today = (datetime.fromtimestamp(now, UTC) - _LAST_TO_BEGIN).date()
    return today.year - birthdate.year - ((today.month, today.day) < (birthdate.month, birthdate.day))


def verified_age(principal: Principal, now: float) -> int | None:
    """The age that the token states, or None where it states none that can be somebody's."""
    claims = principal.claims
    if BIRTHDATE in claims:
        # Preferred, and so not made up for by `age` where it is no date.
        birthdate = _read_date(claims[BIRTHDATE])
        age: JsonValue = None if birthdate is None else age_at(birthdate, now)
    else:
        age = claims.get(AGE)
    if isinstance(age, bool) or not isinstance(age, int) or not _YOUNGEST <= age <= _OLDEST:
        return None
    return age


def _read_date(value: JsonValue) -> date | None:
    found = _DATE.fullmatch(value) if isinstance(value, str) else None
    try:
        return None if found is None else date(int(found[1]), int(found[2]), int(found[3]))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class AgeCheck:
    """One age rule. Ages in full years."""

    consent_under: int
    purposes: frozenset[str]
    guardians: frozenset[str]
    guardian_age: int
    child_header: str
    partners: bool

    @classmethod
    def of(cls, rule: AgeRule) -> Self:
        return cls(
            consent_under=rule.consent_under,
            purposes=frozenset(rule.purposes),
            guardians=frozenset(rule.guardians),
            guardian_age=rule.guardian_age,
            child_header=rule.child_header,
            partners=rule.partners,
        )

    def check(self, given: Given) -> Breach | None:
        principal = given.principal
        if principal.kind is Kind.KEY and self.partners:
            return None
        # Whatever else calls states no age: what is not known is not assumed.
        age = verified_age(principal, given.now) if principal.kind is Kind.TOKEN else None
        if age is None:
            return Breach(Reason.AGE_UNVERIFIED)
        child = given.request.headers.get(self.child_header)
        if principal.role in self.guardians:
            if age < self.guardian_age:
                return Breach(Reason.AGE_UNVERIFIED)
            return None if child is None else self._check_child(given, child)
        if child is not None:
            # Only guardians act for somebody else.
            return Breach(Reason.CONSENT_MISSING)
        return self._check_consent(given) if age < self.consent_under else None

    def _check_child(self, given: Given, child: str) -> Breach | None:
        """A guardian acts for a child that it has consented for itself."""
        if not _SUBJECT.fullmatch(child):
            return Breach(Reason.CONSENT_MISSING)
        return self._covered(given, child, lambda one: one.parent == given.principal.subject)

    def _check_consent(self, given: Given) -> Breach | None:
        named = given.principal.claims.get(CONSENT)
        if isinstance(named, str):
            return self._covered(given, given.principal.subject, lambda one: one.consent_id == named)
        # true, 1 or a list of anything proves nothing: as if the claim were not there.
        return self._covered(given, given.principal.subject, lambda one: True)

    def _covered(self, given: Given, child: str, counts: Callable[[Consent], bool]) -> Breach | None:
        consents = given.facts.consents
        if consents is None or given.now > consents.usable_until:
            return Breach(Reason.CONSENTS_UNAVAILABLE)
        agreed = _agreed(one for one in consents.by_child.get(child, ()) if one.in_force(given.now) and counts(one))
        return None if agreed >= self.purposes else Breach(Reason.CONSENT_MISSING)


def _agreed(consents: Iterable[Consent]) -> frozenset[str]:
    return frozenset(purpose for one in consents for purpose in one.purposes)
