"""What was rolled back, in the words of the policy: which Envoy said what, and which changed routes are suspect."""

from collections.abc import Mapping

from apibank.policy_diff import policy_changes
from apibank.published import Published
from policy.load import Loaded
from policy.model import Gateway
from xds.rollback import RolledBack
from xds.snapshot import ROUTE, SHORT_NAMES

# Enough to look at by hand.
_MOST_SUSPECTS = 20
_LONGEST_MESSAGE = 500


def record_of_rollback(one: RolledBack, state: Published) -> Mapping[str, object]:
    """For the control API."""
    return {
        "type": SHORT_NAMES.get(one.type_url, one.type_url),
        "name": one.name,
        "refused": one.refused,
        "served": one.served,
        "message": one.message.strip()[:_LONGEST_MESSAGE],
        "file": one.origin.file if one.origin else None,
        "line": one.origin.line if one.origin else None,
        "nodes": list(one.nodes),
        "suspects": suspects(one, state),
    }


def told(one: RolledBack, state: Published) -> str:
    """In one line, for the history."""
    place = f" ({one.origin})" if one.origin else ""
    changed = [f"{suspect['file']}:{suspect['line']} {suspect['path']}" for suspect in suspects(one, state)]
    kind = SHORT_NAMES.get(one.type_url, one.type_url)
    text = f"{kind} {one.name!r}{place}: {one.message.strip()[:_LONGEST_MESSAGE]}"
    return text + (f"; changed: {', '.join(changed)}" if changed else "")


def suspects(one: RolledBack, state: Published) -> list[dict[str, object]]:
    """Of a refused table of routes: the routes that have changed since the policy before.

    Envoy refuses a table of routes as a whole, and its words seldom say which of a thousand routes it means.
    """
    if one.type_url != ROUTE or state.loaded is None:
        return []
    if state.suspects is None:
        # Asked for again and again while somebody waits, and the same for all tables of a policy.
        state.suspects = _changed_routes(state, state.loaded)
    return list(state.suspects)


def _changed_routes(state: Published, loaded: Loaded[Gateway]) -> list[dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    for change in policy_changes(state.before, loaded.gateway, loaded.positions):
        match change["parts"]:
            case ["routes", str(name), *fields] if fields or change["op"] != "removed":
                place = loaded.positions.nearest(("routes", name))
                found.setdefault(name, {"path": f"routes.{name}", "file": place.file, "line": place.line})
    return list(found.values())[:_MOST_SUSPECTS]
