"""What is believed of a browser's request: who is signed in, and that a form was sent by a page of ours.

A form that a foreign page makes a browser send is refused twice over, beside SameSite=Lax: by its Origin, and as it
does not have the session's own token.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar
from urllib.parse import parse_qsl, quote, urlsplit

from fastapi import Request, Response
from pydantic import BaseModel, ValidationError

from portal.developer.person import Person

HOME: Final = "/portal"
SIGN_IN: Final = "/portal/sign-in"
# `__Host-`: from this very host alone, over TLS, for every path (RFC 6265bis §4.1.3.2).
SESSION_COOKIE: Final = "__Host-apibank-portal"
TOKEN_FIELD: Final = "csrf_token"  # noqa: S105 the name of a field

_LONGEST_FORM: Final = 16_384
_MOST_FIELDS: Final = 100
# A path of ours and its query, of characters that no browser reads as the beginning of another address.
_OURS: Final = re.compile(r"/portal(?:/[A-Za-z0-9_-]+)*(?:\?[A-Za-z0-9_.=&%+-]*)?")
_NOT_AGAIN: Final = (SIGN_IN, "/portal/callback", "/portal/sign-out")

Form = TypeVar("Form", bound=BaseModel)


class Refusal(Exception):  # noqa: N818 - a refusal, which becomes a page
    """Why there is no such page for this request."""

    def __init__(self, status: int, title: str, text: str) -> None:
        self.status, self.title, self.text = status, title, text
        super().__init__(title)


class Elsewhere(Exception):  # noqa: N818 - leads on
    """The answer is at another address of ours."""

    def __init__(self, location: str) -> None:
        self.location = location
        super().__init__(location)


class Sessions(Protocol):
    """Who is signed in, by what their browsers hold."""

    async def open(self, person: Person) -> str: ...

    async def find(self, held: str) -> Person | None: ...

    async def close(self, held: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Visit:
    """A request of somebody who is signed in. `token` is what their forms carry."""

    person: Person
    token: str
    request_id: str
    address: str


@dataclass(frozen=True, slots=True)
class Faults:
    """A form that cannot be taken: by field what is wrong, and what was sent."""

    by_field: Mapping[str, str]
    sent: Mapping[str, Sequence[str]]


class Doorkeeper:
    """Knows visitors by their cookies, and forms by where they come from."""

    def __init__(self, sessions: Sessions, origins: Sequence[str]) -> None:
        """`origins`: where browsers reach the portal, https://HOST[:PORT]; the first is its own name."""
        self._sessions = sessions
        self._origins = tuple(origins)

    def origin(self, request: Request) -> str:
        """The origin by which this browser came, if it is one of ours; else our own name."""
        host = request.headers.get("host", "")
        return next((one for one in self._origins if urlsplit(one).netloc == host), self._origins[0])

    async def visitor(self, request: Request) -> Visit | None:
        """Who is signed in, if anybody is."""
        held = held_cookie(request, SESSION_COOKIE)
        person = await self._sessions.find(held) if held else None
        if held is None or person is None:
            return None
        address = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
        return Visit(person, _token(held), request.headers.get("x-request-id", ""), address)

    async def visit(self, request: Request) -> Visit:
        """Who is signed in; everybody else is sent to sign in, and comes back to the page that they asked for."""
        visit = await self.visitor(request)
        if visit is None:
            here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            then = f"?next={quote(here, safe='')}" if request.method == "GET" and own_page(here) else ""
            raise Elsewhere(SIGN_IN + then)
        return visit

    async def form(
        self, request: Request, model: type[Form], longest: int = _LONGEST_FORM
    ) -> tuple[Visit, Form | Faults]:
        """A form that somebody has sent who is signed in, from a page of ours. `longest`: bytes."""
        if not self.is_ours(request):
            raise Refusal(403, "This form came from elsewhere", "Open the page here and send the form again.")
        visit = await self.visit(request)
        sent = await _sent(request, longest)
        tokens = sent.pop(TOKEN_FIELD, [])
        if len(tokens) != 1 or not hmac.compare_digest(tokens[0].encode(), visit.token.encode()):
            raise Refusal(403, "This form is from another session", "Open the page again and send the form anew.")
        return visit, _read(sent, model)

    def is_ours(self, request: Request) -> bool:
        """Whether a page of ours has sent this (Fetch standard, Origin): one that says nothing is not."""
        origin = request.headers.get("origin")
        site = request.headers.get("sec-fetch-site", "same-origin")
        return origin in self._origins and site == "same-origin"


def own_page(address: str) -> bool:
    """Whether this is a page of the portal to come back to, and nothing that leads to another host."""
    match = _OURS.fullmatch(address)
    return match is not None and address.partition("?")[0] not in _NOT_AGAIN


def held_cookie(request: Request, name: str) -> str | None:
    """The one value of a cookie. Of two by one name somebody else has planted one: neither is believed."""
    pairs = [pair.strip().partition("=") for line in request.headers.getlist("cookie") for pair in line.split(";")]
    values = [value for key, _, value in pairs if key == name]
    return values[0] if len(values) == 1 else None


def give_cookie(response: Response, name: str, value: str, seconds: int | None = None) -> None:
    """Set a cookie that no script reads; without `seconds` it lasts as long as the browser runs."""
    response.set_cookie(name, value, max_age=seconds, path="/", secure=True, httponly=True, samesite="lax")


def take_cookie(response: Response, name: str) -> None:
    """Make the browser forget a cookie."""
    response.delete_cookie(name, path="/", secure=True, httponly=True, samesite="lax")


def _token(held: str) -> str:
    # Whoever reads it in a page learns nothing of the cookie that it is made of.
    return hmac.new(held.encode("utf-8", "replace"), b"apibank portal form", hashlib.sha256).hexdigest()


async def _sent(request: Request, longest: int) -> dict[str, list[str]]:
    """The fields of a form, each with its values in their order."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise Refusal(415, "This is not a form", "Send the form of the page.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > longest:
            raise Refusal(413, "This form is too long", "Send less.")
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError:
        raise Refusal(400, "This form cannot be read", "Open the page again and send the form anew.") from None
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return fields


def _read(sent: Mapping[str, Sequence[str]], model: type[Form]) -> Form | Faults:
    """The form as its model has it. Fields that the model does not know are faults, not left out."""
    lists = {name for name, field in model.model_fields.items() if "list" in str(field.annotation)}
    given: dict[str, object] = {}
    for name, values in sent.items():
        given[name] = list(values) if name in lists or len(values) != 1 else values[0]
    try:
        return model.model_validate(given)
    except ValidationError as error:
        faults: dict[str, str] = {}
        for one in error.errors():
            field = str(one["loc"][0]) if one["loc"] else ""
            faults.setdefault(field, one["msg"].removeprefix("Value error, "))
        return Faults(faults, sent)
