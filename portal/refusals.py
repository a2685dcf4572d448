"""What a service behind a gateway refuses, as every refusal: problem+json with the request's id (RFC 9457)."""

from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from portal.problems import MEDIA_TYPE, Refused, pointer, problem
from portal.reference.problems import SCHEMA

REQUEST_ID_HEADER: Final = "x-request-id"
_CODES: Final = {404: "not_found", 405: "method_not_allowed"}
# Whoever is told that something is away asks again after so many seconds.
_AGAIN: Final = {"retry-after": "1"}


def documented_refusals(not_done: str) -> dict[int | str, dict[str, Any]]:
    """What an application's document says of them, by the family of their statuses. `not_done`: of 5xx."""
    words = {"4XX": "Refused: `code` and `detail` say why, `errors` where.", "5XX": not_done}
    return {
        family: {"description": text, "content": {MEDIA_TYPE: {"schema": SCHEMA}}} for family, text in words.items()
    }


def refusals_are_problems(app: FastAPI) -> None:
    """Whatever an application refuses, it answers as a problem."""

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Refused)
        headers = _AGAIN if error.status == 503 else None
        return problem(error.status, error.code, str(error), error.errors, headers, _id(request))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        # Where and which rule, never the value.
        errors = [
            {"pointer": _place(one["loc"][1:]), "rule": one["msg"].removeprefix("Value error, ")}
            for one in error.errors()
        ]
        detail = "; ".join(f"{one['pointer'] or 'the request'}: {one['rule']}" for one in errors)
        return problem(422, "request_invalid", detail, errors, None, _id(request))

    @app.exception_handler(HTTPException)
    async def elsewhere(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        code = _CODES.get(error.status_code, "request_invalid")
        return problem(error.status_code, code, str(error.detail), (), error.headers, _id(request))


def _place(steps: tuple[str | int, ...]) -> str:
    # Where a key itself is wrong, pydantic says so with a step of its own.
    return pointer(*(steps[:-1] if steps and steps[-1] == "[key]" else steps))


def _id(request: Request) -> str:
    return request.headers.get(REQUEST_ID_HEADER, "")
