"""Each alert fires when it should and is silent when it should be, by Prometheus' own rule tests, and has a runbook."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support.stack import ROOT
from tests.unit.telemetry.alert_cases import CASES, Case, Figures

FOLDER: Final = ROOT / "telemetry" / "alerts"
RUNBOOKS: Final = ROOT / "docs" / "runbooks"
FILES: Final = sorted(FOLDER.glob("*.yaml"))


def alerts_of(file: Path) -> Mapping[str, Mapping[str, Any]]:
    """The alerts of a file, by name."""
    groups = yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


ALERTS: Final = {name: rule for file in FILES for name, rule in alerts_of(file).items()}
HEADINGS: Final = ("## What it means", "## What it does to callers", "## How to see it", "## How to fix it")
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is in Debian's prometheus")


def promtool(*arguments: str) -> None:
    ran = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=110, check=False)
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-6000:]


def group(alert: str, figures: Figures, at: int, fires: bool) -> dict[str, object]:
    expression = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
    expected = [{"labels": "{}", "value": 1}] if fires else []
    return {
        "name": f"{alert} {'fires' if fires else 'is silent'}",
        "interval": "1m",
        "input_series": [{"series": series, "values": values} for series, values in figures.items()],
        "promql_expr_test": [{"expr": expression, "eval_time": f"{at}m", "exp_samples": expected}],
    }


def groups(alert: str, case: Case) -> list[dict[str, object]]:
    return [group(alert, case.firing, case.at, True), group(alert, case.silent, case.at, False)]


@needs_promtool
@pytest.mark.requirement("R80")
@pytest.mark.parametrize("rules", FILES, ids=lambda path: path.stem)
def test_each_alert_fires_when_it_should_and_is_silent_just_below_that(rules: Path, tmp_path: Path) -> None:
    here = alerts_of(rules)
    tests = [one for alert in here for one in groups(alert, CASES[alert])]
    file = tmp_path / "tests.yaml"
    content = {"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests}
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    promtool("test", "rules", str(file))


def test_every_alert_has_its_case() -> None:
    assert CASES.keys() == ALERTS.keys()


@needs_promtool
@pytest.mark.requirement("R81")
def test_the_rules_are_rules() -> None:
    promtool("check", "rules", *(str(path) for path in FILES))


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_who_is_woken_is_told_what_happened_and_where_to_read_on(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"] in ({"severity": "page"}, {"severity": "ticket"})
    annotations = rule["annotations"]
    assert annotations.keys() == {"summary", "description", "runbook_url"}
    assert len(annotations["summary"]) < 100
    assert annotations["runbook_url"] == f"https://waooaw.ai/runbooks/{alert}"


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_each_runbook_says_what_it_means_does_shows_and_takes(alert: str) -> None:
    text = (RUNBOOKS / f"{alert}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {alert}\n")
    places = [text.find(heading) for heading in HEADINGS]
    assert -1 not in places
    assert places == sorted(places)


def test_there_are_as_many_runbooks_as_alerts_and_the_index_has_them_all() -> None:
    pages = {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"}
    assert pages == ALERTS.keys()
    rows = re.findall(r"^\| \[(\w+)\]\((\w+)\.md\) \| (page|ticket) \|", (RUNBOOKS / "README.md").read_text(), re.M)
    assert {name: severity for name, link, severity in rows if name == link} == {
        name: rule["labels"]["severity"] for name, rule in ALERTS.items()
    }


@needs_promtool
@pytest.mark.requirement("R85")
def test_requests_cost_the_declared_price_by_domain_and_tier(tmp_path: Path) -> None:
    rules = FOLDER / "cost.yaml"
    series = 'apibank_requests_total{{gateway="{}",tier="{}"}}'
    values = {("central", ""): "0+1000x100", ("sales", "free"): "0+1000x100", ("sales", "internal"): "0+3000x100"}
    cost = "round(gateway:cost_dollars:increase30d, 0.01)"
    # 100,000 requests at 3.50 dollars for a million.
    dollars = {
        '{gateway="central"}': 0.35,
        '{gateway="sales",tier="free"}': 0.35,
        '{gateway="sales",tier="internal"}': 1.05,
    }
    content = {
        "rule_files": [str(rules)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": series.format(*key), "values": one} for key, one in values.items()],
                "promql_expr_test": [
                    {
                        "expr": cost,
                        "eval_time": "100m",
                        "exp_samples": [{"labels": labels, "value": value} for labels, value in dollars.items()],
                    }
                ],
            }
        ],
    }
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    promtool("test", "rules", str(file))
