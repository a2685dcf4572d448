"""Writes the dashboards' files anew."""

from pathlib import Path

from telemetry.dashboards.content import DASHBOARDS

for dashboard in DASHBOARDS:
    Path(__file__).with_name(f"{dashboard.uid}.json").write_text(dashboard.text(), encoding="utf-8")
