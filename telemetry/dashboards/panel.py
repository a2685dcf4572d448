"""A panel and a dashboard, as Grafana reads them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH: Final = 8
_HEIGHT: Final = 8
_ACROSS: Final = 24 // _WIDTH


@dataclass(frozen=True, slots=True)
class Panel:
    """One figure over time. `legend` names labels, `unit` is Grafana's.

    `quiet`: why it is empty when all is well; None where it always has data.
    """

    title: str
    query: str
    unit: str
    description: str
    legend: str = ""
    quiet: str | None = None


@dataclass(frozen=True, slots=True)
class Dashboard:
    """`uid` is its file's name, and stays: links use it."""

    uid: str
    title: str
    panels: Sequence[Panel]

    def text(self) -> str:
        """The file."""
        return json.dumps(self._content(), indent=2) + "\n"

    def _content(self) -> Mapping[str, object]:
        return {
            "uid": f"apibank-{self.uid}",
            "title": f"apibank: {self.title}",
            "tags": ["apibank"],
            "timezone": "utc",
            "editable": False,
            "refresh": "30s",
            "schemaVersion": 39,
            "time": {"from": "now-1h", "to": "now"},
            "templating": {
                "list": [
                    {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
                    _variable("job", "up"),
                    _variable("instance", 'up{job=~"$job"}'),
                ]
            },
            "panels": [_panel(number, one) for number, one in enumerate(self.panels)],
        }


def _variable(name: str, series: str) -> Mapping[str, object]:
    query = f"label_values({series}, {name})"
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": _DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _panel(number: int, panel: Panel) -> Mapping[str, object]:
    row, column = divmod(number, _ACROSS)
    empty = "" if panel.quiet is None else f" Empty when all is well: {panel.quiet}."
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description + empty,
        "datasource": _DATASOURCE,
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": "A", "datasource": _DATASOURCE, "expr": panel.query, "legendFormat": panel.legend or "all"}
        ],
    }
