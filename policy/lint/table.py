"""Every rule by its code. A code is never given to another rule; one that goes leaves its number free."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from policy.lint import access, edge, law, limits, routes, unused
from policy.lint.finding import Check, Rule, Severity

_ERROR, _WARNING = Severity.ERROR, Severity.WARNING

_ROWS: Final[tuple[tuple[str, Severity, str, str, Check], ...]] = (
    # Who gets in.
    ("AB101", _ERROR, "public catch-all", "access: callers, or a route for each public path", access.public_catch_all),
    ("AB102", _ERROR, "undeclared hops", "trusted_hops: 0, or how many there are", access.undeclared_hops),
    ("AB103", _ERROR, "empty allow-list", "the networks that are meant, or no allow-list", access.empty_allow_list),
    ("AB104", _WARNING, "everybody allowed", "the networks that are meant, or no allow-list", access.everybody_allowed),
    ("AB105", _WARNING, "shared secret", "an asymmetric algorithm, such as RS256", access.shared_secret),
    ("AB106", _ERROR, "keys in the clear", "an https URL, or the keys themselves", access.keys_in_the_clear),
    ("AB107", _WARNING, "long-lived tokens", "an hour, and a refresh token", access.long_lived_tokens),
    ("AB108", _ERROR, "public key as secret", "a secret of its own, or the keys that fit", access.public_key_as_secret),
    ("AB109", _ERROR, "private key in the file", "the public parts alone", access.private_keys_in_the_file),
    ("AB110", _ERROR, "allow-list taken away", "the networks that are meant, or no such field", access.list_taken_away),
    ("AB111", _WARNING, "not enforced", "mode: enforce, when it has been tried", access.not_enforced),
    ("AB112", _ERROR, "law waived", "mode: enforce, whatever else is in shadow", law.waived),
    ("AB113", _WARNING, "consents of others", "one issuer where ages are asked", law.consents_of_others),
    # How often.
    ("AB201", _ERROR, "public without a limit", "a limit per address or gateway", limits.unlimited_public),
    ("AB202", _WARNING, "callers without a limit", "a limit per caller, or a local_limit", limits.unlimited_callers),
    ("AB203", _WARNING, "limits that only count", "a limit that refuses beside it", limits.refuses_nobody),
    ("AB204", _WARNING, "limit that fails open", "on_store_failure: closed", limits.fails_open),
    ("AB205", _WARNING, "one caller takes all", "more for all than for one", limits.one_takes_all),
    (
        "AB206",
        _WARNING,
        "counted apart",
        "both services in one process, or answered_by: ratelimit",
        limits.counted_apart,
    ),
    ("AB207", _WARNING, "nothing to count", "limits, or no answered_by", limits.nothing_to_count),
    # Routes.
    ("AB301", _ERROR, "route out of reach", "what it is to admit, or no such route", routes.unreachable),
    ("AB302", _ERROR, "unchecked bodies", "a schema for each method with a body", routes.unchecked_body),
    (
        "AB303",
        _WARNING,
        "very long time-out",
        "streaming, which bounds what moves and what does not",
        routes.long_timeout,
    ),
    ("AB304", _WARNING, "fault left on", "no fault outside of tests", routes.fault_left_on),
    ("AB305", _WARNING, "maintenance", "no maintenance when it is over", routes.maintenance_left_on),
    ("AB306", _WARNING, "deprecation without an end", "sunset, a date", routes.endless_deprecation),
    ("AB307", _WARNING, "mirrored credentials", "credentials: false", routes.mirrored_credentials),
    ("AB308", _WARNING, "schema beyond the longest body", "max_body_bytes that fit", routes.longer_than_admitted),
    ("AB309", _WARNING, "retried writes", "methods that may be repeated, or safe retries", routes.retried_writes),
    ("AB310", _ERROR, "mirrored to itself", "another upstream for copies", routes.mirrored_to_itself),
    ("AB311", _WARNING, "redirect to any host", "host, one of ours", routes.redirect_to_any_host),
    ("AB312", _ERROR, "redirect without end", "another place, or no redirect", routes.endless_redirect),
    # Listeners and upstreams.
    ("AB401", _ERROR, "service in the clear", "tls, or a loopback address", edge.in_the_clear),
    ("AB402", _WARNING, "no promise of https", "hsts_seconds", edge.no_hsts),
    ("AB403", _ERROR, "credentials for pages in the clear", "https origins", edge.cors_in_the_clear),
    ("AB404", _WARNING, "upstream without hosts", "endpoints, or no such upstream", edge.no_hosts),
    ("AB405", _WARNING, "plain text beyond the network", "tls for the upstream", edge.plain_text_abroad),
    ("AB406", _ERROR, "no place for a service", "the address of a service", edge.no_service),
    # The file itself.
    ("AB501", _WARNING, "unused definition", "its use, or its removal", unused.unused),
    ("AB503", _WARNING, "network within another", "one of the two", unused.overlapping),
)

RULES: Final[Mapping[str, Rule]] = MappingProxyType({row[0]: Rule(*row) for row in _ROWS})

# What it finds must not be repeated.
PRIVATE_KEY: Final = "AB109"
# Not a rule of the table: it is about what the table has found.
UNUSED_EXCEPTION: Final = "AB502"

CODES: Final[Mapping[str, tuple[str, Severity]]] = MappingProxyType(
    {code: (rule.title, rule.severity) for code, rule in RULES.items()}
    | {UNUSED_EXCEPTION: ("exception for nothing", _WARNING)}
)
"""Title and severity of every code."""
