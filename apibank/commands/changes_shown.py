"""Changes of policies as people read them in a terminal of 80 columns."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from apibank.output import OutputFormat, Row, plain, print_rows

_HISTORY_COLUMNS = ("revision", "at", "gateway", "version", "result", "what")
ROLLOUT_COLUMNS = ("gateway", "revision", "version", "result", "live", "why")
_RESOURCE_COLUMNS = ("op", "type", "name", "version")
_WELL = frozenset({"live", "running"})
# Enough of a digest to tell it from others on a screen; -o json has all of it.
_SHORT = 8
# Of an RFC 3339 time.
_MINUTE = 16
# Of a value that has changed, so much is shown; -o json has all of it.
_LONGEST = 300
_BEFORE_THE_DIFFERENCE = 40


def print_history(changes: Sequence[Mapping[str, Any]]) -> None:
    """A line for each change, and below them what is to be said of those that did not go well."""
    print_rows(list(map(_history_row, changes)), _HISTORY_COLUMNS, OutputFormat.TABLE, empty="nothing has changed yet")
    for one in changes:
        if one["result"] not in _WELL and one["detail"]:
            sys.stdout.write(plain(f"\n{one['revision']} {one['result']}: {one['detail']}") + "\n")


def _history_row(one: Mapping[str, Any]) -> Row:
    canary = f" to {one['canary_percent']} % first" if one["canary_percent"] else ""
    why = f": {one['message']}" if one["message"] else ""
    return {
        "revision": one["revision"],
        "at": str(one["at"])[:_MINUTE].replace("T", " "),
        "gateway": one["gateway"],
        "version": one["version"][:_SHORT],
        "result": one["result"],
        # One text, which folds where the terminal is narrow.
        "what": f"{one['source']}{canary} by {one['author']}{why}",
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
        for change in one["changes"]:
            sys.stdout.write(plain(_change(change)) + "\n")
        if one.get("resources"):
            sys.stdout.write("\n")
            print_rows([_resource_row(change) for change in one["resources"]], _RESOURCE_COLUMNS, OutputFormat.TABLE)
    warnings = [warning_line(one) for one in answer.get("warnings", ())]
    sys.stdout.write("".join(f"{line}\n" for line in ["", *warnings]) if warnings else "")


def warning_line(one: Mapping[str, Any]) -> str:
    """What the linter says of a file, as `policy lint` has it, in a line."""
    code = f"[{one['code']}]" if one.get("code") else ""
    place = f"{one['file']}:{one['line']}:{one.get('column', 1)}: " if one.get("file") else ""
    path = f"{one['path']}: " if one.get("path") else ""
    return plain(f"warning{code}: {place}{path}{one['message']}")


def _change(change: Mapping[str, Any]) -> str:
    """What was above what is, both where they begin to differ, so that no line is too short to show it."""
    place = f"  {change['file']}:{change['line']}" if change["file"] else ""
    lines = [f"{change['op']} {change['path']}{place}"]
    before, after = _text(change["before"]), _text(change["after"])
    same = next(
        (at for at, (old, new) in enumerate(zip(before, after, strict=False)) if old != new),
        min(len(before), len(after)),
    )
    lines += [f"  - {_part(before, same)}"] if change["op"] != "added" else []
    lines += [f"  + {_part(after, same)}"] if change["op"] != "removed" else []
    return "\n".join(lines)


def _resource_row(change: Mapping[str, Any]) -> Row:
    before, after = (str(change.get(side) or "-")[:_SHORT] for side in ("before", "after"))
    return {"op": change["op"], "type": change["type"], "name": change["name"], "version": f"{before} -> {after}"}


def _text(value: object) -> str:
    return value if isinstance(value, str) and "\n" not in value else json.dumps(value, ensure_ascii=False)


def _part(text: str, same: int) -> str:
    """All of a text, or where it is long, what is around the first character that is not the `same` as before."""
    if len(text) <= _LONGEST:
        return text
    start = max(same - _BEFORE_THE_DIFFERENCE, 0)
    part = text[start : start + _LONGEST]
    return f"{'…' if start else ''}{part}{'…' if start + _LONGEST < len(text) else ''}"


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
