"""Changes of policies as tables that fit a terminal of 100 columns."""

import json
import sys
from collections.abc import Mapping
from typing import Any

from apibank.output import Cell, OutputFormat, Row, plain, print_rows

HISTORY_COLUMNS = ("revision", "at", "gateway", "version", "author", "source", "result", "why")
ROLLOUT_COLUMNS = ("gateway", "revision", "version", "result", "live", "why")
_DIFF_COLUMNS = ("op", "path", "before", "after", "place")
_RESOURCE_COLUMNS = ("op", "type", "name", "version")
# Enough of a digest to tell it from others on a screen; -o json has all of it.
_SHORT = 8
_LONGEST = 24


def history_row(one: Mapping[str, Any]) -> Row:
    canary = f" ({one['canary_percent']} %)" if one["canary_percent"] else ""
    return {
        "revision": one["revision"],
        "at": str(one["at"])[:19].replace("T", " "),
        "gateway": one["gateway"],
        "version": one["version"][:_SHORT],
        "author": one["author"],
        "source": one["source"] + canary,
        "result": one["result"],
        "why": _why(one),
    }


def rollout_row(one: Mapping[str, Any]) -> Row:
    live = f"{one['live']} of {one['envoys']}" if "envoys" in one else None
    return {
        "gateway": one["gateway"],
        "revision": one["revision"],
        "version": one["version"][:_SHORT],
        "result": "no longer live"
        if one.get("superseded")
        else "not live in time"
        if one.get("late")
        else one["result"],
        "live": live,
        "why": _reason(one),
    }


def print_diff(answer: Mapping[str, Any]) -> None:
    """Gateway by gateway, then what the linter says."""
    for number, one in enumerate(answer["gateways"]):
        sys.stdout.write("\n" if number else "")
        versions = f"{(one['live'] or 'nothing')[:_SHORT]} -> {one['version'][:_SHORT]}"
        sys.stdout.write(f"{one['gateway']}: {versions if one['changes'] else 'no changes'}\n")
        if one["changes"]:
            rows = [_change_row(change) for change in one["changes"]]
            print_rows(rows, _DIFF_COLUMNS, OutputFormat.TABLE)
        if one.get("resources"):
            sys.stdout.write("\n")
            print_rows([_resource_row(change) for change in one["resources"]], _RESOURCE_COLUMNS, OutputFormat.TABLE)
    for warning in answer.get("warnings", ()):
        place = f"{warning['file']}:{warning.get('line', 0)}: " if warning.get("file") else ""
        sys.stdout.write(plain(f"\nwarning: {place}{warning['message']}") + "\n")


def _change_row(change: Mapping[str, Any]) -> Row:
    place = f"{change['file'].rpartition('/')[2]}:{change['line']}" if change["file"] else None
    return {
        "op": change["op"],
        "path": change["path"],
        "before": _value(change["before"]),
        "after": _value(change["after"]),
        "place": place,
    }


def _resource_row(change: Mapping[str, Any]) -> Row:
    before, after = (str(change.get(side) or "-")[:_SHORT] for side in ("before", "after"))
    return {"op": change["op"], "type": change["type"], "name": change["name"], "version": f"{before} -> {after}"}


def _value(value: object) -> Cell:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _why(one: Mapping[str, Any]) -> str | None:
    detail = one["detail"] if one["result"] not in {"live"} else ""
    return " - ".join(text for text in (one["message"], detail) if text) or None


def _reason(one: Mapping[str, Any]) -> str | None:
    if one.get("superseded"):
        return "another policy was made live meanwhile"
    for withheld in one.get("rolled_back", ()):
        place = f" ({withheld['file']}:{withheld['line']})" if withheld["file"] else ""
        return f"rolled back {withheld['type']} {withheld['name']!r}{place}: {withheld['message']}"
    for refused in one.get("refused", ()):
        return f"{refused['node']} refuses {refused['name']!r}: {refused['message']}"
    if one.get("late"):
        return f"behind: {', '.join(one['behind'][:5])}" if one.get("behind") else "no Envoy is connected"
    return one.get("detail") or one.get("step") or None
