"""Signing in and out: the pages around the issuer's own (OpenID Connect Core §3.1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict

from portal.developer.browser import (
    HOME,
    SESSION_COOKIE,
    SIGN_IN,
    Doorkeeper,
    Refusal,
    Sessions,
    give_cookie,
    held_cookie,
    own_page,
    take_cookie,
)
from portal.developer.person import Person

CALLBACK: Final = f"{HOME}/callback"
# What the browser keeps while its person is at the issuer.
PENDING_COOKIE: Final = "__Host-apibank-sign-in"
PENDING_SECONDS: Final = 600


@dataclass(frozen=True, slots=True)
class Begun:
    """On the way to the issuer. `kept` is for the browser alone: it ties the answer to who asked."""

    address: str
    kept: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Back from the issuer. `then`: the page that was asked for first."""

    person: Person
    then: str


class SignInFailedError(Exception):
    """Nobody was signed in; `status` of the page, and its words."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(text)


class Issuing(Protocol):
    """The issuer, by its code flow. Both raise SignInFailedError."""

    async def begin(self, callback: str, then: str) -> Begun: ...

    async def finish(self, callback: str, kept: str, answer: Mapping[str, str]) -> SignedIn:
        """Who has signed in, by what the issuer sent the browser back with."""
        ...


class _Nothing(BaseModel):
    """A form without fields of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def sign_in_routes(issuing: Issuing, sessions: Sessions, door: Doorkeeper) -> APIRouter:
    """`/portal/sign-in`, `/portal/callback` and `/portal/sign-out`."""
    router = APIRouter(include_in_schema=False)

    @router.get(SIGN_IN)
    async def sign_in(request: Request) -> Response:
        wanted = request.query_params.getlist("next")
        then = wanted[0] if len(wanted) == 1 and own_page(wanted[0]) else HOME
        try:
            begun = await issuing.begin(door.origin(request) + CALLBACK, then)
        except SignInFailedError as error:
            raise _not_signed_in(error) from None
        response = _redirect(begun.address)
        give_cookie(response, PENDING_COOKIE, begun.kept, PENDING_SECONDS)
        return response

    @router.get(CALLBACK)
    async def callback(request: Request) -> Response:
        kept = held_cookie(request, PENDING_COOKIE)
        pairs = request.query_params.multi_items()
        answer = dict(pairs)
        try:
            # A parameter that is there twice would be read by each in their own way (RFC 6749 §3.1).
            if kept is None or len(answer) != len(pairs):
                raise SignInFailedError(400, "This browser did not ask to sign in, or did so long ago.")
            signed_in = await issuing.finish(door.origin(request) + CALLBACK, kept, answer)
        except SignInFailedError as error:
            raise _not_signed_in(error) from None
        # Whatever session there was is over: nobody gets into one that somebody else has prepared.
        if before := held_cookie(request, SESSION_COOKIE):
            await sessions.close(before)
        response = _redirect(signed_in.then if own_page(signed_in.then) else HOME)
        give_cookie(response, SESSION_COOKIE, await sessions.open(signed_in.person))
        take_cookie(response, PENDING_COOKIE)
        return response

    @router.post("/portal/sign-out")
    async def sign_out(request: Request) -> Response:
        await door.form(request, _Nothing)
        if held := held_cookie(request, SESSION_COOKIE):
            await sessions.close(held)
        response = _redirect(HOME)
        take_cookie(response, SESSION_COOKIE)
        return response

    return router


def _redirect(location: str) -> Response:
    return RedirectResponse(location, 303, headers={"cache-control": "no-store", "referrer-policy": "same-origin"})


def _not_signed_in(error: SignInFailedError) -> Refusal:
    return Refusal(error.status, "You are not signed in", str(error))
