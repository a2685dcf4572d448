"""/portal/sre/explain: which way a request takes, and what every check says of it. Nothing is sent, counted or kept.

Credentials, headers and the body go on to the control API, and are in no page: whoever asks again types them anew. What
stands in the path is shown again, its query too.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Protocol

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, field_validator

from portal.developer.browser import Doorkeeper, Faults, Visit
from portal.developer.pages import page
from portal.explain_api import ExplainRequest
from portal.explained_words import end_of, pairs_of, place_of
from portal.sre.console import SRE, Guard, away
from portal.sre.federation import SaidNoError

EXPLAIN: Final = f"{SRE}/explain"
_LONGEST_FORM: Final = 256 * 1024
_LONGEST_BODY: Final = 64 * 1024
_CORRIGIBLE: Final = frozenset({400, 404, 413, 422})
_SHOWN: Final = ("method", "path", "gateway", "address")
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def _lines(text: object) -> object:
    return text.replace("\r\n", "\n") if isinstance(text, str) else text


class ExplainForm(BaseModel):
    """A request as somebody writes it down. `credential`: a token or a key. `headers`: NAME: VALUE, one a line."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Annotated[str, Field(pattern=r"^[A-Z]{1,32}$")] = "GET"
    path: Annotated[str, Field(min_length=1, max_length=16_384)] = "/api/"
    gateway: Annotated[str, Field(max_length=63)] = ""
    credential: Annotated[SecretStr, Field(max_length=16_384)] = SecretStr("")
    headers: Annotated[SecretStr, Field(max_length=32_768)] = SecretStr("")
    address: Annotated[str, Field(max_length=64)] = ""
    body: Annotated[str, BeforeValidator(_lines), Field(max_length=_LONGEST_BODY)] = ""

    @field_validator("path")
    @classmethod
    def _is_path(cls, path: str) -> str:
        if not path.startswith("/"):
            raise ValueError("A path starts with a slash.")
        return path

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, headers: SecretStr) -> SecretStr:
        seen = set[str]()
        for number, line in enumerate(headers.get_secret_value().splitlines(), 1):
            name, colon, _ = line.partition(":")
            if not line.strip():
                continue
            if not (colon and name.strip()):
                raise ValueError(f"Line {number} is not NAME: VALUE.")
            if name.strip().lower() in seen:
                raise ValueError(f"Line {number} has a header that is there already; write several values as one.")
            seen.add(name.strip().lower())
        return headers

    def asked(self) -> ExplainRequest:
        """For the control API. Raises ValidationError."""
        headers: dict[str, str] = {}
        for line in self.headers.get_secret_value().splitlines():
            name, _, value = line.partition(":")
            if line.strip():
                headers[name.strip().lower()] = value.strip()
        credential = self.credential.get_secret_value().strip()
        if credential:
            # Keys have this shape, and nothing else does (docs: credentials).
            name, value = ("x-api-key", credential) if "_sk_" in credential[:16] else ("authorization", credential)
            headers[name] = value if name == "x-api-key" or " " in value else f"Bearer {value}"
        if self.body:
            headers.setdefault("content-type", "application/json")
        return ExplainRequest.model_validate(
            {
                "method": self.method,
                "path": self.path,
                "gateway": self.gateway or None,
                "headers": headers or None,
                "body": base64.b64encode(self.body.encode()).decode() if self.body else None,
                "address": self.address.strip() or None,
            }
        )


class Explaining(Protocol):
    """The control API, as far as it explains. Raises SaidNoError."""

    async def explain(self, request: ExplainRequest) -> Mapping[str, Any]: ...


def explain_pages(door: Doorkeeper, control: Explaining) -> APIRouter:
    """`/portal/sre/explain`."""
    router = APIRouter(include_in_schema=False)
    guard = Guard(door)

    @router.get(EXPLAIN)
    async def show(request: Request) -> Response:
        visit = await guard.admit(request)
        return _page(visit, _kept(ExplainForm()))

    @router.post(EXPLAIN)
    async def ask(request: Request) -> Response:
        await guard.admit(request)
        visit, form = await door.form(request, ExplainForm, _LONGEST_FORM)
        if isinstance(form, Faults):
            sent = {name: values[0] for name, values in form.sent.items() if name in _SHOWN and values}
            return _page(visit, _kept(ExplainForm()) | sent, wrong=form.by_field, status=422)
        shown = _kept(form)
        try:
            told = await control.explain(form.asked())
        except ValidationError as error:
            return _page(visit, shown, wrong=_by_field(error), status=422)
        except SaidNoError as error:
            if error.status not in _CORRIGIBLE:
                raise away(error) from None
            return _page(visit, shown, said=error.detail, status=error.status)
        return _page(visit, shown, told=told)

    return router


def _kept(form: ExplainForm) -> dict[str, str]:
    """What the page has of a form: no credential."""
    return {name: str(getattr(form, name)) for name in _SHOWN}


def _by_field(error: ValidationError) -> Mapping[str, str]:
    # What was sent may be a credential: only which field it is, and what is expected of it.
    words = {
        "address": "An address is of IPv4 or IPv6, without a port.",
        "headers": "A header has a name of letters, digits and dashes, and there are at most 100.",
    }
    places = {str(one["loc"][0]) for one in error.errors() if one["loc"]}
    return {place: words.get(place, "This cannot be taken.") for place in sorted(places)}


def _page(
    visit: Visit,
    form: Mapping[str, str],
    *,
    told: Mapping[str, Any] | None = None,
    wrong: Mapping[str, str] | None = None,
    said: str = "",
    status: int = 200,
) -> Response:
    hops: Sequence[object] = ()
    if told is not None:
        hops = [
            (one["gateway"], one["listener"], place_of(one["listener"]), list(pairs_of(one))) for one in told["hops"]
        ]
    return page(
        "sre/explain.html",
        visit,
        here=SRE,
        status=status,
        form=form,
        methods=METHODS,
        told=told,
        hops=hops,
        end="" if told is None else end_of(dict(told)),
        wrong=wrong or {},
        said=said,
    )
