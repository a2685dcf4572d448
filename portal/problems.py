"""Refusals of the control API: problem+json (RFC 9457)."""

from collections.abc import Mapping, Sequence
from typing import Final

from fastapi.responses import JSONResponse

MEDIA_TYPE: Final = "application/problem+json"
# Of names that somebody made up, so much is repeated.
_LONGEST_STEP: Final = 100


class Refused(Exception):  # noqa: N818 - a refusal, which becomes an answer
    """Why something is not done. `errors` say each thing that is wrong, and where."""

    def __init__(self, status: int, code: str, detail: str, errors: Sequence[Mapping[str, object]] = ()) -> None:
        self.status, self.code, self.errors = status, code, errors
        super().__init__(detail)


def pointer(*steps: str | int) -> str:
    """A place in what was sent, as a JSON pointer (RFC 6901 §3); the whole of it is empty (§5)."""
    return "".join("/" + str(step)[:_LONGEST_STEP].replace("~", "~0").replace("/", "~1") for step in steps)


def problem(
    status: int,
    code: str,
    detail: str,
    errors: Sequence[Mapping[str, object]] = (),
    headers: Mapping[str, str] | None = None,
    request_id: str = "",
) -> JSONResponse:
    """The answer to a request that is refused. `headers`: such as those that its status demands."""
    body: dict[str, object] = {
        "type": f"https://waooaw.ai/problems/{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": code,
    }
    if request_id:
        body["request_id"] = request_id
    if errors:
        body["errors"] = [dict(one) for one in errors]
    return JSONResponse(body, status, headers, media_type=MEDIA_TYPE)
