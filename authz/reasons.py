"""Every reason for which a request is refused, with what the client is told about it.

A reason is at once the `code` of the problem body, the label of the metric and the column of the audit log, so that
one word leads from a complaint to the log line. Nothing here is ever filled with data of the request.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Reason(StrEnum):
    # The check itself cannot be trusted, or cannot be answered.
    CHECK_EMPTY = "check_empty"
    GATEWAY_UNKNOWN = "gateway_unknown"
    POLICY_UNKNOWN = "policy_unknown"
    ROUTE_UNKNOWN = "route_unknown"
    LISTENER_UNKNOWN = "listener_unknown"
    ROUTE_MISMATCH = "route_mismatch"
    INTERNAL_ERROR = "internal_error"
    ISSUER_UNAVAILABLE = "issuer_unavailable"
    CREDENTIALS_UNAVAILABLE = "credentials_unavailable"
    NONCE_STORE_UNAVAILABLE = "nonce_store_unavailable"
    AUDIT_UNAVAILABLE = "audit_unavailable"
    # The request as such.
    HEADER_INVALID = "header_invalid"
    PATH_INVALID = "path_invalid"
    QUERY_INVALID = "query_invalid"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    ADDRESS_NOT_ALLOWED = "address_not_allowed"
    # Who is calling.
    CREDENTIALS_AMBIGUOUS = "credentials_ambiguous"
    CREDENTIALS_IN_URL = "credentials_in_url"
    TOKEN_MISSING = "token_missing"  # noqa: S105
    TOKEN_INVALID = "token_invalid"  # noqa: S105
    TOKEN_EXPIRED = "token_expired"  # noqa: S105
    KEY_MISSING = "key_missing"
    KEY_INVALID = "key_invalid"
    SIGNATURE_MISSING = "signature_missing"
    SIGNATURE_INVALID = "signature_invalid"
    SIGNATURE_OVERSIZED = "signature_oversized"
    SIGNATURE_REPLAYED = "signature_replayed"
    TOO_MANY_FAILURES = "too_many_failures"
    # What the caller may do.
    CALLER_NOT_ADMITTED = "caller_not_admitted"
    INSUFFICIENT_SCOPE = "insufficient_scope"
    TIER_UNKNOWN = "tier_unknown"
    TIER_NOT_ADMITTED = "tier_not_admitted"
    SENDER_MISMATCH = "sender_mismatch"
    # What the body says.
    BODY_MISSING = "body_missing"
    BODY_NOT_ALLOWED = "body_not_allowed"
    BODY_TOO_LARGE = "body_too_large"
    CONTENT_TYPE_UNSUPPORTED = "content_type_unsupported"
    CONTENT_ENCODING_UNSUPPORTED = "content_encoding_unsupported"
    BODY_MALFORMED = "body_malformed"
    BODY_INVALID = "body_invalid"
    # What business rules say.
    CONSENTS_UNAVAILABLE = "consents_unavailable"
    AGE_UNVERIFIED = "age_unverified"
    CONSENT_MISSING = "consent_missing"
    PERSONAL_DATA = "personal_data"
    LAWFUL_BASIS_MISSING = "lawful_basis_missing"
    CONTENT_REFUSED = "content_refused"
    CRM_INVALID = "crm_invalid"
    LEAD_SCORE_INVALID = "lead_score_invalid"
    RULE_REFUSED = "rule_refused"
    # What is left, asked last.
    RATE_LIMITED = "rate_limited"
    LIMITS_UNAVAILABLE = "limits_unavailable"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the client gets: an HTTP status, the `title` and, unless a rule has its own words, the `detail`."""

    status: int
    title: str
    detail: str


_UNSURE: Final = "The gateway cannot decide this request at the moment; nothing was done. Try again."
_TOKEN: Final = "Send a valid access token in the Authorization header, as Bearer."  # noqa: S105

ANSWERS: Final[Mapping[Reason, Answer]] = MappingProxyType(
    {
        Reason.CHECK_EMPTY: Answer(503, "Request not described", _UNSURE),
        Reason.GATEWAY_UNKNOWN: Answer(503, "Wrong gateway", _UNSURE),
        Reason.POLICY_UNKNOWN: Answer(503, "Policy not loaded", _UNSURE),
        Reason.ROUTE_UNKNOWN: Answer(503, "Route not known", _UNSURE),
        Reason.LISTENER_UNKNOWN: Answer(503, "Route not served here", _UNSURE),
        Reason.ROUTE_MISMATCH: Answer(503, "Route does not serve this path", _UNSURE),
        Reason.INTERNAL_ERROR: Answer(503, "Decision failed", _UNSURE),
        Reason.ISSUER_UNAVAILABLE: Answer(
            503, "Token issuer unavailable", "The keys of the token's issuer cannot be had; try again later."
        ),
        Reason.CREDENTIALS_UNAVAILABLE: Answer(
            503, "Credentials unavailable", "The credentials cannot be checked at the moment; try again later."
        ),
        Reason.NONCE_STORE_UNAVAILABLE: Answer(
            503, "Replay protection unavailable", "Signed requests cannot be admitted at the moment; try again later."
        ),
        Reason.AUDIT_UNAVAILABLE: Answer(
            503, "Audit unavailable", "This request must be recorded and cannot be at the moment; try again later."
        ),
        Reason.HEADER_INVALID: Answer(
            400,
            "Invalid header",
            "A header that may be sent once was sent twice, is not of its form, or holds octets that are not UTF-8.",
        ),
        Reason.PATH_INVALID: Answer(400, "Invalid path", "The path is not in its normal form."),
        Reason.QUERY_INVALID: Answer(400, "Invalid query", "A query has at most 8192 octets and 256 parameters."),
        Reason.METHOD_NOT_ALLOWED: Answer(405, "Method not allowed", "See the Allow header for the methods served."),
        Reason.ADDRESS_NOT_ALLOWED: Answer(
            403, "Address not allowed", "Requests from your network address are not admitted here."
        ),
        Reason.CREDENTIALS_AMBIGUOUS: Answer(
            400, "More than one credential", "Send one token, one key or one signature, once."
        ),
        Reason.CREDENTIALS_IN_URL: Answer(
            400, "Credential in the URL", "Credentials belong in headers; take this one for known and replace it."
        ),
        Reason.TOKEN_MISSING: Answer(401, "Access token missing", _TOKEN),
        Reason.TOKEN_INVALID: Answer(401, "Access token invalid", _TOKEN),
        Reason.TOKEN_EXPIRED: Answer(
            401, "Access token expired", "Refresh the access token, then send the request again."
        ),
        Reason.KEY_MISSING: Answer(401, "API key missing", "Send your API key in the x-api-key header."),
        Reason.KEY_INVALID: Answer(401, "API key invalid", "Send a live API key in the x-api-key header."),
        Reason.SIGNATURE_MISSING: Answer(
            401, "Signature missing", "Sign the request (RFC 9421) as the Accept-Signature header says."
        ),
        Reason.SIGNATURE_INVALID: Answer(
            401, "Signature invalid", "Sign the request (RFC 9421) as the Accept-Signature header says."
        ),
        Reason.SIGNATURE_OVERSIZED: Answer(
            400, "Signature fields too large", "Signature fields and nonces are bounded; send shorter ones."
        ),
        Reason.SIGNATURE_REPLAYED: Answer(
            401, "Signature used before", "Sign each request anew, with a nonce of its own."
        ),
        Reason.TOO_MANY_FAILURES: Answer(
            429, "Too many failed credentials", "Wait as the Retry-After header says, then send a valid credential."
        ),
        Reason.CALLER_NOT_ADMITTED: Answer(
            403, "Caller not admitted", "This gateway does not admit your kind of caller."
        ),
        Reason.INSUFFICIENT_SCOPE: Answer(
            403, "Scope missing", "The credential lacks the scope that this request needs."
        ),
        Reason.TIER_UNKNOWN: Answer(403, "Tier unknown", "The credential states no tier that is known."),
        Reason.TIER_NOT_ADMITTED: Answer(403, "Tier not admitted", "Your tier does not include this endpoint."),
        Reason.SENDER_MISMATCH: Answer(
            403, "Sender is not the signer", "The message must name the agent that signed it as its sender."
        ),
        Reason.BODY_MISSING: Answer(400, "Body missing", "This endpoint needs a JSON body."),
        Reason.BODY_NOT_ALLOWED: Answer(400, "Body not allowed", "A request with this method has no body."),
        Reason.BODY_TOO_LARGE: Answer(413, "Body too large", "The body is longer than this endpoint admits."),
        Reason.CONTENT_TYPE_UNSUPPORTED: Answer(
            415, "Content type not supported", "Send the body as application/json, in UTF-8."
        ),
        Reason.CONTENT_ENCODING_UNSUPPORTED: Answer(
            415, "Content encoding not supported", "Send the body without a content encoding."
        ),
        Reason.BODY_MALFORMED: Answer(400, "Body is not JSON", "The body is not one well-formed JSON text."),
        Reason.BODY_INVALID: Answer(400, "Body invalid", "The body does not meet the schema of this endpoint."),
        Reason.CONSENTS_UNAVAILABLE: Answer(
            503, "Consent records unavailable", "Parents' consents cannot be looked up at the moment; try again later."
        ),
        Reason.AGE_UNVERIFIED: Answer(
            403, "Age not verified", "The access token must state a birthdate that can be somebody's here."
        ),
        Reason.CONSENT_MISSING: Answer(
            403, "Parental consent missing", "A parent must consent first, and to everything that this needs."
        ),
        Reason.PERSONAL_DATA: Answer(
            422, "Personal data refused", "Personal data belongs in the fields that are declared for it, or nowhere."
        ),
        Reason.LAWFUL_BASIS_MISSING: Answer(
            422, "Lawful basis missing", "Personal data needs a lawful basis (GDPR Art. 6), stated in the body."
        ),
        Reason.CONTENT_REFUSED: Answer(422, "Content refused", "Requests for content of this kind are not answered."),
        Reason.CRM_INVALID: Answer(
            422, "CRM reference invalid", "The record must be one of a CRM that your account is connected to."
        ),
        Reason.LEAD_SCORE_INVALID: Answer(
            422, "Lead score invalid", "A score, or the factors that it is made of, are not as this endpoint admits."
        ),
        Reason.RULE_REFUSED: Answer(403, "Refused by a rule", "A rule of this endpoint refuses the request."),
        Reason.RATE_LIMITED: Answer(429, "Too Many Requests", "Wait as the Retry-After header says."),
        Reason.LIMITS_UNAVAILABLE: Answer(503, "Service Unavailable", "Nobody could count the request."),
    }
)
