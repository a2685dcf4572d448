"""Business rules: what a request must meet once its caller and the form of its body are known (R49-R51, R56-R58).

Each rule has a name in the file's `rules`; `defaults.rules` and a route's `rules` say where it holds. What a rule does
is in `authz.checks.rules`, one file a type.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final, Literal, Self

import re2
from pydantic import AfterValidator, Field, StringConstraints, model_validator

from policy.kinds import Method, Model, Name, RoleName, Text
from policy.vocabulary import PROTECTED_ATTRIBUTES, SPECIAL_FIELDS, SPECIAL_PHRASES

# What one compiled set of patterns may take; RE2 refuses what would need more when the policy is loaded.
PATTERN_MEMORY: Final = 64 * 1024 * 1024


def pattern_options() -> re2.Options:
    """How patterns of policies are read: RE2's syntax, without regard to case, in linear time."""
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = PATTERN_MEMORY
    return options


def _pattern(text: str) -> str:
    try:
        compiled = re2.compile(text, pattern_options())
    except re2.error as error:
        raise ValueError(f"not a pattern of RE2: {_said(error)}") from None
    if compiled.search("") is not None:
        raise ValueError("a pattern that matches the empty text refuses everything")
    return text


def _said(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)


# RFC 6901, with * for any member or item: /contact/email, /contacts/*/email.
Pointer = Annotated[str, StringConstraints(pattern=r"^(/([^~/\x00-\x20]|~[01])+)+$", max_length=200)]
Pattern = Annotated[str, StringConstraints(min_length=2, max_length=500), AfterValidator(_pattern)]
Word = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Phrase = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9' -]{1,98}[a-z0-9]$")]
ClaimName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,62}$")]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
Region = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
TenantId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]


class RuleMode(StrEnum):
    """`shadow`: what it would refuse is counted and passes."""

    OFF = "off"
    SHADOW = "shadow"
    ENFORCE = "enforce"


class PersonalData(StrEnum):
    """Kinds of personal data that can be told by their form."""

    EMAIL = "email"
    PHONE = "phone"
    IBAN = "iban"
    CARD = "card"
    NATIONAL_ID = "national_id"


class LawfulBasis(StrEnum):
    """GDPR Art. 6(1)."""

    CONSENT = "consent"
    CONTRACT = "contract"
    LEGAL_OBLIGATION = "legal_obligation"
    VITAL_INTERESTS = "vital_interests"
    PUBLIC_TASK = "public_task"
    LEGITIMATE_INTEREST = "legitimate_interest"


class Crm(StrEnum):
    """Systems whose ids have a form that we know."""

    SALESFORCE = "salesforce"
    HUBSPOT = "hubspot"
    DYNAMICS = "dynamics"
    ZOHO = "zoho"
    PIPEDRIVE = "pipedrive"


class _Rule(Model):
    """What every rule has."""

    description: Text | None = None
    mode: RuleMode = RuleMode.ENFORCE
    methods: tuple[Method, ...] | None = Field(
        None, description="Where it holds; unset: every method, or for a rule about bodies, every method with a schema."
    )
    refusal: Text | None = Field(None, description="Detail of the refusal, in place of the reason's own sentence.")

    @property
    def reads_body(self) -> bool:
        """Whether it judges what the body says, and so holds only where a body has a schema."""
        return True


class AgeRule(_Rule):
    """COPPA: how old the caller is, and below `consent_under` whose consent is on record (R49, R50)."""

    type: Literal["age"]
    consent_under: Annotated[int, Field(strict=True, ge=13, le=18)] = Field(
        13, description="Full years of age from which nobody's consent is needed."
    )
    purposes: Annotated[tuple[Name, ...], Field(min_length=1)] = Field(
        ("education",), description="All of these the parent must have agreed to, in one record or in several."
    )
    guardians: tuple[RoleName, ...] = Field(("parent",), description="Roles that may act for a child.")
    guardian_age: Annotated[int, Field(strict=True, ge=18, le=25)] = 18
    child_header: HeaderName = Field("x-child-subject", description="Where a guardian names the child it acts for.")
    partners: bool = Field(False, description="Partner keys, which say nothing of anybody's age, pass all the same.")

    @property
    def reads_body(self) -> bool:
        return False


class PersonalDataRule(_Rule):
    """GDPR: personal data only where it is declared and with a lawful basis; special categories never (R56)."""

    type: Literal["personal_data"]
    kinds: tuple[PersonalData, ...] = Field(tuple(PersonalData), description="What is searched for in all texts.")
    fields: Mapping[Pointer, tuple[PersonalData, ...]] = Field(
        default_factory=dict, description="Declared fields, and what each may hold; with any of them a basis is needed."
    )
    lawful_basis: Pointer = Field("/lawful_basis", description="Where the body states its basis (Art. 6).")
    lawful_bases: Annotated[tuple[LawfulBasis, ...], Field(min_length=1)] = tuple(LawfulBasis)
    phone_regions: tuple[Region, ...] = Field(
        ("IN", "US", "GB", "DE"), description="Whose numbering plans are tried for a number without +."
    )
    special_fields: tuple[Word, ...] = Field(
        SPECIAL_FIELDS, description="Names of members that hold special categories (Art. 9); refused at any depth."
    )
    special_phrases: tuple[Phrase, ...] = Field(
        SPECIAL_PHRASES, description="Phrases that state them of somebody; refused in every text."
    )


class ContentRule(_Rule):
    """Texts that are not to be answered, by category and pattern, however they are spelt (R51)."""

    type: Literal["content"]
    categories: Annotated[
        Mapping[Name, Annotated[Mapping[Name, Pattern], Field(min_length=1)]], Field(min_length=1)
    ] = Field(description="Category -> id -> pattern (RE2, in small Latin letters: texts are folded to them first).")
    fields: tuple[Pointer, ...] | None = Field(None, description="Where to look; unset: every text and name.")

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        together = re2.Set.SearchSet(pattern_options())
        for patterns in self.categories.values():
            for pattern in patterns.values():
                together.Add(pattern)
        try:
            together.Compile()
        except re2.error:
            raise ValueError("together these patterns are too large; repeat less, or part the rule") from None
        return self


class Integration(Model):
    """A tenant's connection to a CRM."""

    crm: Crm
    tenant: TenantId = Field(description="Whose it is: a token's tenant_id, or partner:NAME for a partner's keys.")


class CrmRule(_Rule):
    """A CRM record is of a known system and of the caller's own connection, and its URLs lead outside (R57)."""

    type: Literal["crm"]
    system: Pointer = Field("/crm", description="Which CRM.")
    external_id: Pointer = Field("/external_id", description="The record's id there, in that system's form.")
    integration: Pointer = Field("/integration", description="Through which of `integrations`.")
    integrations: Mapping[Name, Integration] = Field(default_factory=dict)
    urls: tuple[Pointer, ...] = Field((), description="Fields with a URL, which must lead to a public host.")


class LeadScoreRule(_Rule):
    """A score is a whole number of 0 to 100 from factors that weigh 1 together and judge nobody (R58)."""

    type: Literal["lead_score"]
    score: Pointer = "/score"
    factors: Pointer = Field("/factors", description="A map from a factor's name to its weight.")
    client_sets_score: bool = Field(False, description="False where a lead is created: its score is ours to compute.")
    protected: tuple[Word, ...] = Field(
        PROTECTED_ATTRIBUTES, description="Words that no factor's name may hold (GDPR Art. 22, equal treatment)."
    )


class ExpressionRule(_Rule):
    """What a team adds itself: an expression (CEL) that must be true."""

    type: Literal["expression"]
    require: Annotated[str, StringConstraints(min_length=1, max_length=2000)] = Field(
        description="CEL over request, caller and body; type-checked when the policy is loaded."
    )
    claims: tuple[ClaimName, ...] = Field((), description="Claims of the token that it reads, as caller.claims.NAME.")

    @property
    def reads_body(self) -> bool:
        from policy.expressions import reads_body

        return reads_body(self.require)


Rule = Annotated[
    AgeRule | PersonalDataRule | ContentRule | CrmRule | LeadScoreRule | ExpressionRule, Field(discriminator="type")
]
