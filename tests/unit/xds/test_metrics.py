"""What the control plane counts, and that its labels have a bound."""

import re
from dataclasses import fields
from pathlib import Path

from prometheus_client import CollectorRegistry

from tests.unit.xds.proxies import TYPE_URLS, snapshot
from xds.admission import ServerLimits
from xds.metrics import XdsMetrics


class Figures:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = XdsMetrics(self.registry)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"apibank_xds_{name}", labels)

    def series(self, name: str) -> int:
        return sum(
            sample.name == f"apibank_xds_{name}" for family in self.registry.collect() for sample in family.samples
        )


def test_a_change_is_timed_from_its_saving_to_its_sending_and_to_its_running() -> None:
    figures = Figures()
    figures.metrics.change_saved("edge", "v1", at=100.0)
    figures.metrics.change_sent("edge", "v1", now=100.2)
    figures.metrics.change_acked("edge", "v1", now=100.4)
    assert round(figures.value("change_sent_seconds_sum", group="edge") or 0, 3) == 0.2
    assert round(figures.value("change_acked_seconds_sum", group="edge") or 0, 3) == 0.4


def test_what_nobody_saved_is_not_timed() -> None:
    figures = Figures()
    figures.metrics.change_saved("edge", "v1", at=100.0)
    figures.metrics.change_sent("edge", "v2", now=100.2)
    figures.metrics.change_acked("other", "v1", now=100.2)
    assert figures.series("change_sent_seconds_count") == figures.series("change_acked_seconds_count") == 0


def test_changes_of_long_ago_are_forgotten() -> None:
    figures = Figures()
    for number in range(1000):
        figures.metrics.change_saved("edge", f"v{number}", at=float(number))
    assert len(figures.metrics._saved_at) == 256
    figures.metrics.change_sent("edge", "v0", now=2000.0)
    assert figures.series("change_sent_seconds_count") == 0


def test_of_each_group_only_the_version_of_the_day_is_shown() -> None:
    figures = Figures()
    for text in "123":
        figures.metrics.published("edge", latest := snapshot(CDS={"a": text}))
    assert figures.series("snapshot_info") == 1
    assert figures.value("snapshot_info", group="edge", version=latest.version) == 1


def test_a_group_that_is_forgotten_has_no_figures_and_may_come_back() -> None:
    figures = Figures()
    for _ in range(2):
        figures.metrics.opened("edge", "delta", 1)
        figures.metrics.published("edge", snapshot(CDS={"a": "1"}))
        figures.metrics.compiled("edge", 0.1)
        figures.metrics.published("other", snapshot(CDS={"a": "1"}))
        assert _of(figures, "edge")
        figures.metrics.forget("edge")
        assert not _of(figures, "edge")
        assert _of(figures, "other")


def _of(figures: Figures, group: str) -> list[str]:
    return [
        sample.name
        for family in figures.registry.collect()
        for sample in family.samples
        if sample.labels.get("group") == group
    ]


def test_groups_that_clients_make_up_share_their_figures_beyond_a_bound() -> None:
    figures = Figures()
    for number in range(1000):
        figures.metrics.opened(f"group-{number}", "delta", 1)
    assert figures.series("streams") == figures.series("connected_nodes") == 257
    assert figures.value("streams", group="others", dialect="delta") == 744
    for number in range(1000):
        figures.metrics.closed(f"group-{number}", "delta", 0)
    assert figures.value("streams", group="others", dialect="delta") == 0


def test_the_figures_of_compiling_rolling_back_and_trying() -> None:
    figures = Figures()
    figures.metrics.compiled("edge", 0.01)
    figures.metrics.debounced(0.1)
    figures.metrics.rolled_back("edge", TYPE_URLS["RDS"])
    figures.metrics.canary_running("edge", 2)
    figures.metrics.canary_ended("edge", "passed")
    figures.metrics.admission_refused("rate")
    assert figures.value("compile_seconds_count", group="edge") == 1
    assert figures.value("debounce_seconds_count") == 1
    assert figures.value("rollbacks_total", group="edge", type="RDS") == 1
    assert figures.value("canary_nodes", group="edge") == 2
    assert figures.value("canaries_total", group="edge", verdict="passed") == 1
    assert figures.value("admission_refusals_total", reason="rate") == 1


def test_every_figure_and_every_limit_is_explained_to_who_runs_it() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "operate" / "xds-server.md").read_text("utf-8")
    explained = set(re.findall(r"`([a-z_]+)`", page))
    named = {
        family.name.removeprefix("apibank_xds_") + ("_total" if family.type == "counter" else "")
        for family in Figures().registry.collect()
    }
    assert named - explained == set()
    assert {field.name for field in fields(ServerLimits)} - explained == set()
