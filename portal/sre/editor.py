"""Policies by the console: change, check, apply, follow, and go back. Whoever is signed in is the author."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from portal.developer.browser import Doorkeeper, Faults, Refusal, Visit
from portal.developer.pages import page
from portal.sre.console import SRE, Guard, away, named, nothing_here
from portal.sre.federation import Change, Control, Draft, SaidNoError

_LONGEST_TEXT: Final = 1024 * 1024
# Each character may be sent as three (application/x-www-form-urlencoded).
_LONGEST_FORM: Final = 3 * _LONGEST_TEXT + 16_384
_FOLLOW_SECONDS: Final = "2"
# These mean what was sent, and not that the control plane is away.
_CORRIGIBLE: Final = frozenset({400, 409, 413, 422})
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Message = Annotated[str, Field(max_length=1000)]


def _lines(text: object) -> object:
    # Browsers send CRLF (HTML, constructing the entry list).
    return text.replace("\r\n", "\n") if isinstance(text, str) else text


def _none(text: object) -> object:
    return None if text == "" else text


class EditForm(BaseModel):
    """A text, and what to do with it. `base`: of the text that it was made from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: Annotated[str, BeforeValidator(_lines), Field(max_length=_LONGEST_TEXT)]
    base: Digest
    action: Literal["check", "apply"]
    message: Message = ""
    percent: Annotated[Annotated[int, Field(ge=1, le=100)] | None, BeforeValidator(_none)] = None


class PolicyPages:
    """Each method is one page."""

    def __init__(self, door: Doorkeeper, control: Control) -> None:
        self._door = door
        self._guard = Guard(door)
        self._control = control

    async def show(self, request: Request, gateway: str) -> Response:
        visit = await self._guard.admit(request)
        try:
            policy = await self._control.policy(named(gateway))
        except SaidNoError as error:
            raise away(error) from None
        if policy.text is None or policy.digest is None:
            raise Refusal(409, "There is nothing to edit", f"No policy of {gateway} is live.")
        return _editor(visit, gateway, EditForm.model_construct(text=policy.text, base=policy.digest))

    async def send(self, request: Request, gateway: str) -> Response:
        await self._guard.admit(request)
        named(gateway)
        visit, form = await self._door.form(request, EditForm, _LONGEST_FORM)
        if isinstance(form, Faults):
            raise Refusal(422, "This form cannot be taken", "; ".join(f"{k}: {v}" for k, v in form.by_field.items()))
        try:
            if form.action == "check":
                return _editor(visit, gateway, form, changes=await self._control.diff(gateway, form.text))
            draft = Draft(gateway, form.text, form.base, form.message, form.percent)
            begun = await self._control.apply(draft, visit.person.subject)
        except SaidNoError as error:
            if error.status not in _CORRIGIBLE:
                raise away(error) from None
            return _editor(visit, gateway, form, error=error)
        if begun.revision is None or begun.result == "unchanged":
            return _editor(visit, gateway, form, said=begun.detail or f"{begun.result}: nothing was changed")
        return to_rollout(begun.revision)

    async def follow(self, request: Request, revision: int) -> Response:
        visit = await self._guard.admit(request)
        try:
            found = await self._control.rollout(revision)
        except SaidNoError as error:
            raise away(error) from None
        settled = not found.current or bool(found.refused or found.rolled_back) or found.live == found.envoys > 0
        goes_on = found.result == "running" or found.step is not None or not settled
        response = page("sre/rollout.html", visit, here=SRE, one=found, goes_on=goes_on)
        if goes_on:
            response.headers["refresh"] = _FOLLOW_SECONDS
        return response


def policy_pages(door: Doorkeeper, control: Control) -> APIRouter:
    """`/portal/sre/policies/…` and `/portal/sre/rollouts/REVISION`."""
    router = APIRouter(include_in_schema=False)
    pages = PolicyPages(door, control)

    @router.get(SRE + "/policies/{gateway}")
    async def show(gateway: str, request: Request) -> Response:
        return await pages.show(request, gateway)

    @router.post(SRE + "/policies/{gateway}")
    async def send(gateway: str, request: Request) -> Response:
        return await pages.send(request, gateway)

    # A text: whether it is a number is told to administrators alone.
    @router.get(SRE + "/rollouts/{revision}")
    async def follow(revision: str, request: Request) -> Response:
        if not (revision.isascii() and revision.isdigit() and len(revision) < 16):
            raise nothing_here()
        return await pages.follow(request, int(revision))

    return router


def _editor(
    visit: Visit,
    gateway: str,
    form: EditForm,
    *,
    changes: Sequence[Change] | None = None,
    error: SaidNoError | None = None,
    said: str = "",
) -> Response:
    lines = form.text.split("\n")
    mistakes = [
        (one, lines[one.line - 1] if one.line is not None and 0 < one.line <= len(lines) else "")
        for one in (() if error is None else error.mistakes)
    ]
    return page(
        "sre/policy.html",
        visit,
        here=SRE,
        status=200 if error is None else error.status,
        gateway=gateway,
        form=form,
        changes=changes,
        error=error,
        mistakes=mistakes,
        said=said,
    )


def to_rollout(revision: int) -> Response:
    """On to the page that follows a change."""
    return RedirectResponse(f"{SRE}/rollouts/{revision}", 303, headers={"cache-control": "no-store"})
