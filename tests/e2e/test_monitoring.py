"""A real Prometheus that scrapes the federation: names by convention, dashboards with data, an alert that arrives."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
import yaml

from apibank.ready import read_ready
from apibank.scraping import RULES
from telemetry.dashboards.content import DASHBOARDS
from telemetry.dashboards.panel import Panel
from tests.support.client import CONTENT, Client
from tests.support.metric_labels import declared_labels, metrics_of
from tests.support.monitoring import MISSING, Monitoring, eventually, monitoring
from tests.support.stack import Stack
from tests.support.tokens import Tokens

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} cannot be had here")
PANELS: Final = [(board.uid, panel) for board in DASHBOARDS for panel in board.panels]
# Those that tell figures at the address at which they serve.
TELLING_UPSTREAMS: Final = ("platform", "agents")
# Prometheus' own.
OWN: Final[Mapping[str, frozenset[str]]] = {"ALERTS": frozenset({"alertname", "alertstate", "severity"})}


@pytest.fixture(scope="module")
def watched(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitoring]:
    with monitoring(stack, tmp_path_factory.mktemp("monitoring")) as running:
        yield running


@pytest.fixture(scope="module")
def traffic(stack: Stack, watched: Monitoring, policies: Path) -> Monitoring:
    """Requests that are good, without a token, above their limit; a change of a policy; Prometheus has seen them."""
    names = iter(range(1000))

    def fresh(kind: str) -> str:
        return f"monitored-{kind}-{next(names)}"

    tokens = Tokens(stack.state_dir)
    free = tokens.of("marketing", fresh, tier="free")
    with Client(stack.ready) as client:

        def send() -> None:
            for token in (tokens.of("marketing", fresh), None, *[free] * 6):
                client.call("POST", "/api/marketing/content", token=token, json=CONTENT)

        send()
        assert eventually(lambda: watched.query('apibank_requests_total{gateway="central"} > 0'))
        send()
        assert eventually(lambda: watched.query("sum(rate(apibank_requests_total[5m])) > 0"))
    file = policies / "education.yaml"
    before = file.read_text(encoding="utf-8")
    compiled = 'increase(apibank_xds_compile_seconds_count{group="education"}[5m]) > 0'
    route = "routes:\n  watched:\n    path: /api/education/watched\n    upstream: education-agents\n"
    assert eventually(lambda: watched.query('apibank_xds_compile_seconds_count{group="education"}'))
    try:
        file.write_text(before.replace("routes:\n", route, 1), encoding="utf-8")
        assert eventually(lambda: watched.query(compiled))
    finally:
        file.write_text(before, encoding="utf-8")
    return watched


@pytest.mark.requirement("R80")
def test_the_figures_of_every_service_follow_prometheus_conventions(stack: Stack) -> None:
    urls = [*stack.ready.metrics, *(f"{stack.ready.upstreams[name]}/metrics" for name in TELLING_UPSTREAMS)]
    for url in urls:
        text = httpx2.get(url, timeout=10).content
        ran = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False, timeout=20)
        assert (ran.returncode, ran.stdout + ran.stderr) == (0, b""), url


@pytest.mark.requirement("R82")
def test_every_process_of_the_stack_is_scraped(stack: Stack, watched: Monitoring) -> None:
    envoys = [
        *stack.ready.central.envoy_admins,
        *(url for one in stack.ready.gateways.values() for url in one.envoy_admins),
    ]
    count = len(stack.ready.metrics) + len(TELLING_UPSTREAMS) + len(envoys)
    assert eventually(lambda: len(watched.query("up == 1")) == count), watched.query("up")
    written = yaml.safe_load((stack.state_dir / "prometheus.yml").read_text(encoding="utf-8"))
    assert [job["job_name"] for job in written["scrape_configs"]] == ["control-plane", "gateway", "services", "envoy"]
    assert list(Path(written["rule_files"][0]).parent.glob("*.yaml"))


@pytest.mark.requirement("R82")
@pytest.mark.parametrize(("board", "panel"), PANELS, ids=lambda one: one.title if isinstance(one, Panel) else one)
def test_every_panel_has_data(traffic: Monitoring, board: str, panel: Panel) -> None:
    query = filled(panel.query)
    if panel.quiet is not None:
        traffic.query(query)
        return
    assert eventually(lambda: traffic.query(query), within=30), f"{board}: {query}"


def filled(query: str) -> str:
    """As Grafana asks, where nothing is chosen."""
    return query.replace("$__rate_interval", "5m").replace("$job", ".*").replace("$instance", ".*")


def rules() -> list[Mapping[str, Any]]:
    files = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in RULES.glob("*.yaml")]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def of_envoy(stack: Stack) -> str:
    """All figures of an Envoy, those that never moved included."""
    return httpx2.get(f"{stack.ready.central.envoy_admin}/stats/prometheus", timeout=20).text


def test_every_name_in_a_rule_or_a_panel_is_one_that_the_federation_tells(stack: Stack, traffic: Monitoring) -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    told = {"up", "ALERTS", *recorded, *traffic.ask("metadata")}
    told |= set(re.findall(r"^# TYPE (\S+)", of_envoy(stack), re.MULTILINE))
    expressions = [rule["expr"] for rule in rules()] + [filled(panel.query) for _, panel in PANELS]
    unknown = {
        name
        for expression in expressions
        for name, _ in metrics_of(expression)
        if name not in told and re.sub(r"_(bucket|count|sum)$", "", name) not in told
    }
    assert unknown == set()


def test_every_label_that_a_rule_or_a_panel_asks_for_is_one_that_its_metric_has(
    stack: Stack, traffic: Monitoring
) -> None:
    everything = of_envoy(stack)
    expressions = [rule["expr"] for rule in rules()] + [filled(panel.query) for _, panel in PANELS]
    asked = {(name, label) for expression in expressions for name, labels in metrics_of(expression) for label in labels}
    wrong = []
    for name, label in sorted(asked):
        series = traffic.ask("series", **{"match[]": name})
        labels = {key for one in series for key in one} if series else declared_labels(name)
        if not series and (line := re.search(rf"^{name}{{(.*)}}", everything, re.MULTILINE)):
            labels = {"gateway", *re.findall(r'(\w+)="', line[1])}
        if label not in labels | OWN.get(name, frozenset()) | {"job", "instance"}:
            wrong.append((name, label))
    assert wrong == []


@pytest.mark.requirement("R82")
@pytest.mark.requirement("R80")
def test_an_alert_reaches_who_is_on_call_when_a_gateways_services_are_down_and_ends_when_they_are_back(
    stack: Stack, watched: Monitoring
) -> None:
    def told(status: str) -> list[Mapping[str, Any]]:
        return [
            one
            for one in watched.told
            if one["labels"]["alertname"] == "GatewayServicesDown"
            and one["labels"]["gateway"] == "sales"
            and one["status"] == status
        ]

    assert eventually(lambda: watched.query('up{job="gateway",gateway="sales"} == 1'))
    # Others may have had it started anew since the federation came up.
    pid = read_ready(stack.state_dir).pids["gateway-sales"]
    os.kill(pid, signal.SIGSTOP)
    try:
        (alert, *_) = eventually(lambda: told("firing"))
    finally:
        os.kill(pid, signal.SIGCONT)
    assert alert["labels"]["severity"] == "page"
    assert alert["annotations"]["summary"] == "authorization and limits of sales are down"
    assert alert["annotations"]["runbook_url"].endswith("/GatewayServicesDown")
    assert eventually(lambda: told("resolved"))
