"""For each alert: figures under which it fires, and the nearest under which it is silent."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

# By series, what Prometheus read each minute, in promtool's notation.
Figures = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Case:
    """What is looked at after `at` minutes."""

    firing: Figures
    silent: Figures
    at: int = 30


def _one(series: str, firing: str, silent: str, at: int = 30) -> Case:
    return Case({series: firing}, {series: silent}, at)


def _failures(firing: float, silent: float, at: int) -> Case:
    total, failed = (
        'apibank_requests_total{gateway="sales",status="2xx"}',
        'apibank_requests_failed_total{gateway="sales"}',
    )

    def figures(share: float) -> Figures:
        return {total: f"0+1000x{at}", failed: f"0+{1000 * share:g}x{at}"}

    return Case(figures(firing), figures(silent), at)


def _slow(firing: float, silent: float, at: int) -> Case:
    def figures(share: float) -> Figures:
        fast = f"0+{1000 * (1 - share):g}x{at}"
        return {
            'apibank_request_seconds_bucket{gateway="sales",le="0.2"}': fast,
            'apibank_request_seconds_count{gateway="sales"}': f"0+1000x{at}",
        }

    return Case(figures(firing), figures(silent), at)


def _shares(part: str, rest: str, firing: tuple[int, int], silent: tuple[int, int]) -> Case:
    def figures(of_both: tuple[int, int]) -> Figures:
        return {part: f"0+{of_both[0]}x30", rest: f"0+{of_both[1]}x30"}

    return Case(figures(firing), figures(silent))


_DAY: Final = 86_400
_REFUSED: Final = 'apibank_ratelimit_decisions_total{domain="sales",limit="day",outcome="refused"}'
_ADMITTED: Final = 'apibank_ratelimit_decisions_total{domain="sales",limit="day",outcome="admitted"}'
_RELOAD: Final = 'apibank_authz_reloads_total{gateway="sales",what="agents",outcome="%s"}'
_KEY: Final = 'apibank_api_key_expiry_seconds{key_id="k1",partner="acme"}'
_CERTIFICATE: Final = 'apibank_certificate_not_after_seconds{gateway="sales",certificate="central"}'

CASES: Final[Mapping[str, Case]] = {
    "FailureBudgetBurnsFast": _failures(0.02, 0.01, 30),
    "FailureBudgetBurns": _failures(0.008, 0.005, 60),
    "FailureBudgetBurnsSlowly": _failures(0.0015, 0.0005, 90),
    "LatencyBudgetBurnsFast": _slow(0.8, 0.6, 30),
    "LatencyBudgetBurns": _slow(0.4, 0.2, 60),
    "LatencyBudgetBurnsSlowly": _slow(0.1, 0.04, 90),
    "ServerErrors": _shares(
        'apibank_requests_total{gateway="sales",status="5xx"}',
        'apibank_requests_total{gateway="sales",status="2xx"}',
        (10, 90),
        (3, 97),
    ),
    "TargetDown": _one('up{job="portal",instance="a:1"}', "1x20 0x10", "1x28 0x2"),
    # As the control plane has it: no series until the first refusal.
    "ConfigurationRefused": _one('apibank_xds_nacks_total{type="cluster"}', "_x25 1x5", "_x2 1x30"),
    "PolicyNotInForce": _one('apibank_policy_problems{gateway="sales"}', "0x20 3x10", "3x20 0x10"),
    "ConfigurationStale": _one('envoy_control_plane_connected_state{gateway="sales"}', "1x20 0x10", "1x27 0x3"),
    "HistoryNotWritten": _one("apibank_history_pending", "0x10 2x20", "0x25 2x5"),
    "GatewayServicesDown": _one('up{job="gateway",gateway="sales"}', "1x28 0x2", "1x30"),
    "LimitStoreLost": _one('apibank_ratelimit_store_lost{gateway="sales"}', "0x28 1x2", "1x28 0x2"),
    "FailedOpen": Case(
        {'apibank_ratelimit_store_losses_total{domain="sales",loss="away",answer="admitted"}': "_x25 4x5"},
        {'apibank_ratelimit_store_losses_total{domain="sales",loss="away",answer="unavailable"}': "_x25 4x5"},
    ),
    "AuthorizationBypassed": _one("envoy_http_ext_authz_failure_mode_allowed", "_x25 1x5", "0x30"),
    "KeysStale": _one(
        'apibank_authz_keys_fetched_timestamp_seconds{gateway="sales",issuer="customer"}', "0x30", "0x20 1200x10"
    ),
    "FactsNotReloaded": Case(
        {_RELOAD % "failed": "0+2x30", _RELOAD % "ok": "9x30"}, {_RELOAD % "failed": "0+1x30", _RELOAD % "ok": "0+1x30"}
    ),
    "BreakGlassUsed": _one('apibank_authz_break_glass_total{gateway="sales",outcome="allowed"}', "0x25 1x5", "1x30"),
    "LimitViolations": _shares(_REFUSED, _ADMITTED, (50, 50), (10, 90)),
    "LimiterFails": _one('apibank_ratelimit_failures_total{gateway="sales"}', "0x25 1x5", "1x30"),
    "ApiKeyExpires": _one(_KEY, f"{13 * _DAY}x30", f"{15 * _DAY}x30"),
    "CertificateExpires": _one(_CERTIFICATE, f"{13 * _DAY}x30", f"{15 * _DAY}x30"),
    "CertificateEndsSoon": _one(_CERTIFICATE, f"{1 * _DAY}x30", f"{3 * _DAY}x30"),
    "AuditSpoolFilling": _one('apibank_audit_spool_free_ratio{gateway="sales"}', "1x20 0.2x10", "1x20 0.4x10"),
    "AuditNotStored": _one('apibank_audit_oldest_unsent_seconds{gateway="sales"}', "400x30", "200x30"),
    "AuditDropped": _one('apibank_audit_dropped_total{gateway="sales",reason="full"}', "_x25 1x5", "_x2 1x30"),
    "AuditChainBroken": _one('apibank_audit_chain_broken{gateway="sales"}', "0x28 1x2", "0x30"),
    "AccessLogDropped": _one("apibank_access_log_dropped_total", "0x25 7x5", "7x30"),
    "EnvoyLogDropped": _one(
        'envoy_access_logs_grpc_access_log_logs_dropped{gateway="sales"}', "_x25 7x5", "_x2 7x30"
    ),
    "UpgradeThresholdReached": _one(
        'apibank_requests_total{gateway="central",tier="free"}', "0+2000x150", "0+500x150", 150
    ),
}  # fmt: skip
