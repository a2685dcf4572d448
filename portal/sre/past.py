"""Former policies in the console: what each changed, what going back to it would change, and the way back."""

import asyncio
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from portal.developer.browser import Doorkeeper, Faults, Refusal
from portal.developer.pages import page
from portal.sre.console import SRE, Guard, away, named, nothing_here
from portal.sre.editor import Digest, Message, to_rollout
from portal.sre.federation import Control, Revision, SaidNoError

# Longer texts would take a reader, and difflib, for ever.
_MOST_LINES: Final = 5_000
_MOST_SHOWN: Final = 1_000
_AROUND: Final = 3
_CONFLICT: Final = 409
# Wholly, or but for what was rolled back.
_EVER_LIVE: Final = frozenset({"live", "rolled back"})


class RollbackForm(BaseModel):
    """Which revision shall be live again, and why. `base`: of the text that was live when somebody decided so."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    revision: Annotated[int, Field(ge=1, le=2**53)]
    base: Digest
    message: Message = ""


@dataclass(frozen=True, slots=True)
class Compared:
    """Two texts, line by line: each line with `+`, `-`, `@` or a space ahead. `cut`: how many more there are."""

    lines: Sequence[tuple[str, str]]
    cut: int = 0
    too_long: bool = False


def compared(before: str, after: str) -> Compared:
    """What changes from the one to the other."""
    old, new = before.splitlines(), after.splitlines()
    if max(len(old), len(new)) > _MOST_LINES:
        return Compared((), too_long=True)
    lines = list(difflib.unified_diff(old, new, lineterm="", n=_AROUND))[2:]
    shown = [(line[:1], line if line.startswith("@") else line[1:]) for line in lines[:_MOST_SHOWN]]
    return Compared(shown, max(len(lines) - _MOST_SHOWN, 0))


class PastPages:
    """Each method is one page."""

    def __init__(self, door: Doorkeeper, control: Control) -> None:
        self._door = door
        self._guard = Guard(door)
        self._control = control

    async def history(self, request: Request, gateway: str) -> Response:
        visit = await self._guard.admit(request)
        try:
            live = await self._control.policy(named(gateway))
            found = await self._control.history(gateway)
        except SaidNoError as error:
            raise away(error) from None
        return page("sre/history.html", visit, here=SRE, gateway=gateway, revisions=found, live=live.revision)

    async def revision(self, request: Request, revision: int) -> Response:
        visit = await self._guard.admit(request)
        try:
            one = await self._control.revision(revision)
            live = await self._control.policy(named(one.gateway))
            earlier = await self._earlier(one)
        except SaidNoError as error:
            raise away(error) from None
        changed = None if earlier is None else await asyncio.to_thread(compared, earlier.text, one.text)
        back = None
        if live.text is not None and live.text != one.text:
            back = await asyncio.to_thread(compared, live.text, one.text)
        return page(
            "sre/revision.html", visit, here=SRE, one=one, earlier=earlier, changed=changed, live=live, back=back
        )

    async def roll_back(self, request: Request, gateway: str) -> Response:
        await self._guard.admit(request)
        named(gateway)
        visit, form = await self._door.form(request, RollbackForm)
        if isinstance(form, Faults):
            raise Refusal(422, "This form cannot be taken", "; ".join(f"{k}: {v}" for k, v in form.by_field.items()))
        try:
            begun = await self._control.roll_back(gateway, form.revision, form.base, form.message, visit.person.subject)
        except SaidNoError as error:
            if error.status == _CONFLICT and error.code == "base_outdated":
                text = "Compare again, and decide anew. Nothing was changed."
                raise Refusal(_CONFLICT, "Somebody else has changed this policy meanwhile", text) from None
            raise away(error) from None
        if begun.revision is None:
            raise Refusal(_CONFLICT, "Nothing was changed", begun.detail or begun.result)
        return to_rollout(begun.revision)

    async def _earlier(self, one: Revision) -> Revision | None:
        """What was live before it; None where nobody remembers."""
        for each in await self._control.history(one.gateway, before=one.revision):
            if each.result in _EVER_LIVE:
                return await self._control.revision(each.revision)
        return None


def past_pages(door: Doorkeeper, control: Control) -> APIRouter:
    """`/portal/sre/policies/NAME/history`, `…/rollback` and `/portal/sre/revisions/REVISION`."""
    router = APIRouter(include_in_schema=False)
    pages = PastPages(door, control)

    @router.get(SRE + "/policies/{gateway}/history")
    async def history(gateway: str, request: Request) -> Response:
        return await pages.history(request, gateway)

    @router.post(SRE + "/policies/{gateway}/rollback")
    async def roll_back(gateway: str, request: Request) -> Response:
        return await pages.roll_back(request, gateway)

    # A text: whether it is a number is told to administrators alone.
    @router.get(SRE + "/revisions/{revision}")
    async def revision(revision: str, request: Request) -> Response:
        if not (revision.isascii() and revision.isdigit() and len(revision) < 16):
            raise nothing_here()
        return await pages.revision(request, int(revision))

    return router
