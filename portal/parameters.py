"""Query parameters that an operation does not know are refused: a misspelt filter would filter nothing."""

from collections.abc import Set
from typing import Final

from fastapi import Request

from portal.problems import Refused, pointer

# Of what somebody made up, so much is repeated.
_LONGEST: Final = 64
_MOST: Final = 20


async def only_known_parameters(request: Request) -> None:
    """A dependency of an application's operations. Raises Refused."""
    if not request.query_params:
        return
    known = _known(request)
    others = sorted(set(request.query_params) - known)
    if others:
        rule = f"one of {', '.join(sorted(known))}" if known else "no parameter"
        errors = [{"pointer": pointer(name), "rule": f"expected {rule}"} for name in others[:_MOST]]
        detail = f"There is no parameter {others[0][:_LONGEST]!r} here; expected {rule}."
        raise Refused(422, "request_invalid", detail, errors)


def _known(request: Request) -> Set[str]:
    path = request.app.openapi()["paths"].get(request.scope["route"].path_format, {})
    declared = path.get(request.method.lower(), {}).get("parameters", ())
    return {one["name"] for one in declared if one["in"] == "query"}
