"""The dashboards' files are those of their source, and each panel says what it shows, in which unit, of which data."""

import json
from typing import Any, Final

import pytest

from telemetry.dashboards.content import DASHBOARDS
from telemetry.dashboards.panel import Dashboard
from tests.support.stack import ROOT

FOLDER: Final = ROOT / "telemetry" / "dashboards"
boards = pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.uid)
# Empty panels hide a rule that asks for the wrong thing: few may be.
MOST_QUIET: Final = 4


@pytest.mark.requirement("R81")
@boards
def test_the_file_is_that_of_the_source(board: Dashboard) -> None:
    assert (FOLDER / f"{board.uid}.json").read_text(encoding="utf-8") == board.text()


def test_there_is_no_file_without_a_source() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == {board.uid for board in DASHBOARDS}


@boards
def test_each_panel_can_be_read_and_asks_the_chosen_data_source(board: Dashboard) -> None:
    content: Any = json.loads(board.text())
    assert content["editable"] is False
    assert [one["name"] for one in content["templating"]["list"]] == ["datasource", "job", "instance"]
    assert len({panel["title"] for panel in content["panels"]}) == len(content["panels"])
    for panel in content["panels"]:
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        for target in (panel, *panel["targets"]):
            assert target["datasource"]["uid"] == "${datasource}"


@boards
def test_rates_are_over_grafanas_interval_and_recorded_figures_alone_are_of_all_processes(board: Dashboard) -> None:
    for panel in board.panels:
        assert panel.query.count("rate(") == panel.query.count("[$__rate_interval]")
        recorded = ":" in panel.query or "ALERTS" in panel.query
        assert recorded or ('job=~"$job"' in panel.query and 'instance=~"$instance"' in panel.query)


def test_few_panels_are_empty_when_all_is_well() -> None:
    assert sum(panel.quiet is not None for board in DASHBOARDS for panel in board.panels) <= MOST_QUIET
