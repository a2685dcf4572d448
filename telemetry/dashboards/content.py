"""What the dashboards show."""

from collections.abc import Sequence
from typing import Final

from telemetry.dashboards.panel import Dashboard, Panel

_RATE: Final = "$__rate_interval"
_CHOSEN: Final = ('job=~"$job"', 'instance=~"$instance"')
_REFUSED: Final = 'outcome="refused"'


def _of(metric: str, *matchers: str) -> str:
    """A metric of the chosen processes."""
    return metric + "{" + ", ".join((*matchers, *_CHOSEN)) + "}"


def _rate(by: str, metric: str, *matchers: str) -> str:
    return f"sum by ({by}) (rate({_of(metric, *matchers)}[{_RATE}]))"


def _percentile(share: str, by: str, metric: str) -> str:
    return f"histogram_quantile({share}, {_rate(f'{by}, le', f'{metric}_bucket')})"


_FEDERATION: Final = Dashboard("federation", "federation", (
    Panel("Requests", _rate("gateway", "apibank_requests_total"), "reqps",
          "Requests that ended, by gateway; those of a domain went through central, too.", "{{gateway}}"),
    Panel("Requests by status", _rate("status", "apibank_requests_total", 'gateway="central"'), "reqps",
          "What clients were answered at central; 0xx: no answer.", "{{status}}"),
    Panel("Failed by us", f"{_rate('gateway', 'apibank_requests_failed_total')} / "
          f"{_rate('gateway', 'apibank_requests_total')}",
          "percentunit", "The share of requests that the federation failed; promised is below 0.1 %.", "{{gateway}}"),
    Panel("Latency, median", _percentile("0.5", "gateway", "apibank_request_seconds"), "s",
          "Half of the requests took less.", "{{gateway}}"),
    Panel("Latency, p95", _percentile("0.95", "gateway", "apibank_request_seconds"), "s",
          "19 of 20 requests took less; promised is below 0.2 s.", "{{gateway}}"),
    Panel("Latency, p99", _percentile("0.99", "gateway", "apibank_request_seconds"), "s",
          "99 of 100 requests took less.", "{{gateway}}"),
    Panel("Requests by tier", _rate("tier", "apibank_requests_total", 'gateway="central"'), "reqps",
          "At central, by the caller's tier; callers who were not known have none.", "{{tier}}"),
    Panel("Processes", f"sum by (job) ({_of('up')})", "short", "How many answer Prometheus.", "{{job}}"),
    Panel("Firing alerts", 'sum by (alertname, severity) (ALERTS{alertstate="firing"})', "short",
          "What the rules say just now.", "{{alertname}} ({{severity}})", quiet="no alert fires"),
))  # fmt: skip

_GATEWAY: Final = Dashboard("gateway", "gateway", (
    Panel("Requests by status", _rate("gateway, envoy_response_code_class", "envoy_http_downstream_rq_xx",
          'envoy_http_conn_manager_prefix!="admin"'), "reqps",
          "As Envoy counts them, by gateway and class of status.", "{{gateway}} {{envoy_response_code_class}}xx"),
    Panel("Connections", f"sum by (gateway) ({_of('envoy_listener_downstream_cx_active')})", "short",
          "Open connections of clients.", "{{gateway}}"),
    Panel("Services behind, by status",
          _rate("envoy_cluster_name, envoy_response_code_class", "envoy_cluster_upstream_rq_xx"), "reqps",
          "What the services that Envoys ask answered.", "{{envoy_cluster_name}} {{envoy_response_code_class}}xx"),
    Panel("Time of the services behind, p95",
          f"histogram_quantile(0.95, {_rate('envoy_cluster_name, le', 'envoy_cluster_upstream_rq_time_bucket')})",
          "ms", "Until their answer ended, in milliseconds, as Envoy has it.", "{{envoy_cluster_name}}"),
    Panel("Healthy hosts",
          f"sum by (gateway, envoy_cluster_name) ({_of('envoy_cluster_membership_healthy')})", "short",
          "Hosts that a cluster would send requests to.", "{{gateway}} {{envoy_cluster_name}}"),
    Panel("Connections that failed",
          _rate("gateway, envoy_cluster_name", "envoy_cluster_upstream_cx_connect_fail"), "cps",
          "Connections to services that were not made.", "{{gateway}} {{envoy_cluster_name}}",
          quiet="every service takes connections"),
    Panel("Memory", f"sum by (gateway) ({_of('envoy_server_memory_allocated')})", "bytes",
          "What Envoys have allocated.", "{{gateway}}"),
    Panel("Flood guard", _rate("gateway", "envoy_http_local_rate_limit_ok"), "reqps",
          "Requests that Envoy's own ceiling let pass.", "{{gateway}}"),
    Panel("Control plane connected", f"min by (gateway) ({_of('envoy_control_plane_connected_state')})", "short",
          "1 where every Envoy of the gateway has a control plane.", "{{gateway}}"),
))  # fmt: skip

_CONTROL: Final = Dashboard("control-plane", "control plane", (
    Panel("Connected proxies", f"sum by (group) ({_of('apibank_xds_connected_nodes')})", "short",
          "Envoys that get their configuration here.", "{{group}}"),
    Panel("Responses sent", _rate("type", "apibank_xds_pushes_total"), "ops", "By type of resource.", "{{type}}"),
    Panel("Accepted", _rate("type", "apibank_xds_acks_total"), "ops", "Responses that proxies took.", "{{type}}"),
    Panel("Refused", _rate("type", "apibank_xds_nacks_total"), "ops",
          "Responses that proxies did not take.", "{{type}}",
          quiet="no proxy refuses anything"),
    Panel("Time to acceptance, p95", _percentile("0.95", "type", "apibank_xds_push_ack_seconds"), "s",
          "From sending a response to its acceptance.", "{{type}}"),
    Panel("Time to compile, p95", _percentile("0.95", "group", "apibank_xds_compile_seconds"), "s",
          "From a policy to its snapshot.", "{{group}}"),
    Panel("Resources", f"sum by (group, type) ({_of('apibank_xds_resources')})", "short",
          "Of the current snapshots.", "{{group}} {{type}}"),
    Panel("Problems of policy files", f"max by (gateway) ({_of('apibank_policy_problems')})", "short",
          "Above 0, the file is not in force.", "{{gateway}}"),
    Panel("Certificates",
          f"min by (gateway, certificate) ({_of('apibank_certificate_not_after_seconds')}) - time()", "s",
          "Until a certificate ends.", "{{gateway}} {{certificate}}"),
))  # fmt: skip

_AUTHZ: Final = Dashboard("authz", "authorization", (
    Panel("Decisions", _rate("gateway, outcome", "apibank_authz_decisions_total"), "reqps",
          "Checks by outcome.", "{{gateway}} {{outcome}}"),
    Panel("Refusals by reason", _rate("reason", "apibank_authz_decisions_total", 'outcome="denied"'), "reqps",
          "Why requests were refused; each reason is a page of the error catalogue.", "{{reason}}"),
    Panel("Time of a decision, p99", _percentile("0.99", "gateway", "apibank_authz_decision_seconds"), "s",
          "From a check's arrival to its answer.", "{{gateway}}"),
    Panel("Age of issuers' keys",
          f"time() - min by (gateway, issuer) ({_of('apibank_authz_keys_fetched_timestamp_seconds')})",
          "s", "Since the last fetch.", "{{gateway}} {{issuer}}"),
    Panel("Reloads", _rate("what, outcome", "apibank_authz_reloads_total"), "ops",
          "Of agents' secrets, partners' keys and revocations.", "{{what}} {{outcome}}"),
    Panel("Audit stored", _rate("gateway", "apibank_audit_stored_total"), "ops",
          "Events whose rows are in the database.", "{{gateway}}"),
    Panel("Audit spool, free", f"min by (gateway) ({_of('apibank_audit_spool_free_ratio')})", "percentunit",
          "When it is full, requests that must be audited are refused.", "{{gateway}}"),
    Panel("Audit, oldest that waits", f"max by (gateway) ({_of('apibank_audit_oldest_unsent_seconds')})", "s",
          "0 where none waits.", "{{gateway}}"),
    Panel("Break-glass", _rate("gateway, outcome", "apibank_authz_break_glass_total"), "ops",
          "Uses of the sealed credential.", "{{gateway}} {{outcome}}"),
))  # fmt: skip

_LIMITS: Final = Dashboard("ratelimit", "limits", (
    Panel("Limits asked", _rate("domain, limit, outcome", "apibank_ratelimit_decisions_total"), "reqps",
          "By limit and outcome.", "{{domain}} {{limit}} {{outcome}}"),
    Panel("Refused", _rate("domain, limit", "apibank_ratelimit_decisions_total", _REFUSED), "reqps",
          "Requests answered 429, by limit.", "{{domain}} {{limit}}"),
    Panel("Refused share", f"{_rate('domain', 'apibank_ratelimit_decisions_total', _REFUSED)} / "
          f"{_rate('domain', 'apibank_ratelimit_decisions_total')}", "percentunit",
          "Of all limits asked.", "{{domain}}"),
    Panel("Time of a decision, p99", _percentile("0.99", "gateway", "apibank_ratelimit_decision_seconds"), "s",
          "From a request's arrival to its answer.", "{{gateway}}"),
    Panel("Store lost", f"max by (gateway) ({_of('apibank_ratelimit_store_lost')})", "short",
          "1 where the store did not decide the last time.", "{{gateway}}"),
    Panel("Decided without the store", _rate("domain, loss, answer", "apibank_ratelimit_store_losses_total"), "reqps",
          "How it failed, and what was answered.", "{{domain}} {{loss}} {{answer}}", quiet="the store decides"),
))  # fmt: skip

_COST: Final = Dashboard("cost", "cost", (
    Panel("Cost by domain", "sum by (gateway) (gateway:cost_dollars:rate5m) * 3600", "currencyUSD",
          "Dollars an hour at the declared prices.", "{{gateway}}"),
    Panel("Cost by tier", 'sum by (tier) (gateway:cost_dollars:rate5m{gateway="central"}) * 3600', "currencyUSD",
          "Dollars an hour at central, by the caller's tier.", "{{tier}}"),
    Panel("Cost of 30 days", "sum by (gateway, tier) (gateway:cost_dollars:increase30d)", "currencyUSD",
          "By domain and tier.", "{{gateway}} {{tier}}"),
    Panel("Requests of 30 days", "central:requests:increase30d", "short", "At central."),
    Panel("Share of the upgrade's threshold", "central:requests:increase30d / on () apibank:upgrade_requests:limit",
          "percentunit", "Of the declared requests from which on to think of something bigger."),
    Panel("Declared price", "max by (tier) (apibank:request_price_dollars) * 1000000", "currencyUSD",
          "Dollars for a million requests, by tier.", "{{tier}}"),
))  # fmt: skip

DASHBOARDS: Final[Sequence[Dashboard]] = (_FEDERATION, _GATEWAY, _CONTROL, _AUTHZ, _LIMITS, _COST)
