"""The error catalogue as pages: every code that a client can be refused with, and what to do about it."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter, Request, Response
from markupsafe import Markup, escape

from portal.developer.browser import Doorkeeper, Refusal
from portal.developer.pages import page

ERRORS: Final = "/portal/errors"
# What those who run the federation do about it is theirs.
_OPERATORS: Final = "For operators"
_NOT_FOR_CLIENTS: Final = frozenset({"the control API"})
_SUMMARY: Final = re.compile(r"(?P<status>[^·]+) · (?P<title>[^·]+) · answered by (?P<by>.+)")
_INLINE: Final = re.compile(r"`(?P<code>[^`]+)`|\[(?P<words>[^\]]+)\]\((?P<link>[^)]+)\)")
_SIBLING: Final = re.compile(r"([a-z][a-z0-9_]*)\.md(?:#.*)?")


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """One code. `sections`: by their headings, as HTML."""

    code: str
    status: str
    title: str
    by: str
    sections: tuple[tuple[str, Markup], ...]


def read_error_page(text: str) -> ErrorPage | None:
    """A page of docs/errors; None for one that is not for clients. Raises ValueError where it has another form."""
    heading, _, rest = text.partition("\n")
    summary, *parts = re.split(r"^## ", rest, flags=re.MULTILINE)
    found = _SUMMARY.fullmatch(" ".join(summary.split()))
    if not heading.startswith("# ") or found is None:
        raise ValueError("a page begins with `# code` and `status · title · answered by ...`")
    if found["by"] in _NOT_FOR_CLIENTS:
        return None
    named = (part.partition("\n") for part in parts)
    sections = tuple((name.strip(), as_html(body)) for name, _, body in named if name.strip() != _OPERATORS)
    return ErrorPage(heading.removeprefix("# ").strip(), found["status"], found["title"], found["by"], sections)


def as_html(text: str) -> Markup:
    """Paragraphs, code and links to other codes: of Markdown what the pages have. Everything else is escaped text."""
    blocks: list[Markup] = []
    for number, part in enumerate(re.split(r"^```.*$\n?", text, flags=re.MULTILINE)):
        if number % 2:
            blocks.append(Markup('<pre tabindex="0"><code>{}</code></pre>').format(part.rstrip("\n")))
            continue
        paragraphs = (" ".join(one.split()) for one in re.split(r"\n\s*\n", part))
        blocks += [Markup("<p>{}</p>").format(_inline(one)) for one in paragraphs if one]
    return Markup("\n").join(blocks)


def _inline(text: str) -> Markup:
    out, done = Markup(), 0
    for found in _INLINE.finditer(text):
        out += escape(text[done : found.start()])
        done = found.end()
        if found["code"] is not None:
            out += Markup("<code>{}</code>").format(found["code"])
        elif (sibling := _SIBLING.fullmatch(found["link"])) is not None:
            out += Markup('<a href="{}/{}">{}</a>').format(ERRORS, sibling[1], _inline(found["words"]))
        else:
            # What the rest of the documentation says is not served here.
            out += _inline(found["words"])
    return out + escape(text[done:])


def error_routes(door: Doorkeeper, catalogue: Callable[[], Mapping[str, ErrorPage]]) -> APIRouter:
    """`/portal/errors`, for everybody: whoever is refused may not be able to sign in."""
    router = APIRouter(include_in_schema=False)

    @router.get(ERRORS)
    async def index(request: Request, q: str = "") -> Response:
        wanted = q.strip()[:100]
        found = [one for one in catalogue().values() if _meets(one, wanted.lower())]
        return page("errors.html", await door.visitor(request), here=ERRORS, found=_ordered(found), wanted=wanted)

    @router.get(ERRORS + "/{code}")
    async def one(code: str, request: Request) -> Response:
        found = catalogue().get(code)
        if found is None:
            raise Refusal(
                404, "There is no such code", "The catalogue has every code that a client can be refused with."
            )
        return page("error.html", await door.visitor(request), here=ERRORS, error=found)

    return router


def _meets(one: ErrorPage, wanted: str) -> bool:
    return wanted in one.code or wanted in one.title.lower() or wanted == one.status


def _ordered(found: Sequence[ErrorPage]) -> list[ErrorPage]:
    return sorted(found, key=lambda one: (one.status, one.code))
