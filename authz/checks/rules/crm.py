"""A CRM record: of a known system, with an id of its form, through the caller's own connection (R57)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from pydantic import JsonValue

from authz.checks.rules.given import Breach, Given, Steps, breach, find, steps
from authz.checks.rules.hosts import leads_outside
from authz.decision import FieldError
from authz.principal import Kind, Principal
from authz.reasons import Reason
from policy.descriptors import CALLER_PARTNER
from policy.rules import Crm, CrmRule

# Salesforce: 15 characters, or 18 with a check; Dynamics: a GUID; HubSpot, Zoho and Pipedrive: numbers.
_IDS: Final[Mapping[Crm, re.Pattern[str]]] = {
    Crm.SALESFORCE: re.compile("[A-Za-z0-9]{15}(?:[A-Z0-5]{3})?"),
    Crm.HUBSPOT: re.compile("[1-9][0-9]{0,19}"),
    Crm.DYNAMICS: re.compile("[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
    Crm.ZOHO: re.compile("[1-9][0-9]{14,19}"),
    Crm.PIPEDRIVE: re.compile("[1-9][0-9]{0,9}"),
}
_CHECK_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"


def has_form(crm: Crm, record_id: str) -> bool:
    """Whether the system gives such ids."""
    if not _IDS[crm].fullmatch(record_id):
        return False
    return crm is not Crm.SALESFORCE or len(record_id) == 15 or record_id[15:] == _salesforce_check(record_id[:15])


def _salesforce_check(record_id: str) -> str:
    """The three characters that say which of each five letters are capitals, so that case cannot get lost."""
    groups = (record_id[start : start + 5] for start in (0, 5, 10))
    return "".join(
        _CHECK_LETTERS[sum(1 << place for place, character in enumerate(group) if character.isupper())]
        for group in groups
    )


def tenant_of(principal: Principal) -> str:
    """Who owns integrations: the token's tenant, or `partner:NAME`; empty where there is nobody."""
    if principal.kind is Kind.KEY:
        return CALLER_PARTNER + principal.partner
    # A tenant may be called anything, and yet is no partner.
    return "" if principal.tenant.startswith(CALLER_PARTNER) else principal.tenant


@dataclass(frozen=True, slots=True)
class CrmCheck:
    """One CRM rule. `integrations`: name -> the system, and whose it is."""

    system: Steps
    external_id: Steps
    integration: Steps
    integrations: Mapping[str, tuple[Crm, str]]
    urls: tuple[Steps, ...]

    @classmethod
    def of(cls, rule: CrmRule) -> Self:
        return cls(
            system=steps(rule.system),
            external_id=steps(rule.external_id),
            integration=steps(rule.integration),
            integrations={name: (one.crm, one.tenant) for name, one in rule.integrations.items()},
            urls=tuple(steps(pointer) for pointer in rule.urls),
        )

    def check(self, given: Given) -> Breach | None:
        errors = [*self._record_errors(given), *self._url_errors(given)]
        return breach(Reason.CRM_INVALID, errors)

    def _record_errors(self, given: Given) -> list[FieldError]:
        system, record, through = (_one(given, field) for field in (self.system, self.external_id, self.integration))
        if system is None and record is None and through is None:
            return []
        # All three or none: a reference that nobody can follow is none.
        crm = Crm(system) if isinstance(system, str) and system in set(Crm) else None
        if crm is None:
            return [given.error(self.system, "system")]
        errors: list[FieldError] = []
        if not isinstance(record, str) or not has_form(crm, record):
            errors.append(given.error(self.external_id, "external_id"))
        tenant = tenant_of(given.principal)
        # An integration of somebody else is answered like one that there is not.
        if not isinstance(through, str) or not tenant or self.integrations.get(through) != (crm, tenant):
            errors.append(given.error(self.integration, "integration"))
        return errors

    def _url_errors(self, given: Given) -> list[FieldError]:
        return [
            given.error(path, "url")
            for field in self.urls
            for path, value in find(given.document, field)
            if value is not None and not (isinstance(value, str) and leads_outside(value))
        ]


def _one(given: Given, field: Steps) -> JsonValue:
    return next((value for _, value in find(given.document, field)), None)
