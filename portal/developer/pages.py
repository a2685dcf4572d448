"""Pages: a template, filled in where everything is escaped, under a policy that lets nothing else run in it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Final

from fastapi import Response
from jinja2 import ChoiceLoader, Environment, PackageLoader, PrefixLoader, StrictUndefined
from markupsafe import Markup, escape

from portal.developer.browser import HOME, TOKEN_FIELD, Visit

ASSETS: Final = f"{HOME}/assets"

# Styles, scripts and images are files from here; forms go nowhere else, and nobody frames a page (CSP Level 3).
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    # To none of ours but ours; `no-referrer` would take away the Origin of our own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}
_TYPES: Final[Mapping[str, str]] = {
    "portal.css": "text/css; charset=utf-8",
    "portal.js": "text/javascript; charset=utf-8",
    "portal.svg": "image/svg+xml",
}


def page(template: str, visit: Visit | None, *, here: str = "", status: int = 200, **about: object) -> Response:
    """An HTML page. `about` is what its template asks for; `here` its address, where the navigation has it."""
    text = _environment().get_template(template).render(
        visit=visit,
        here=here,
        person=None if visit is None else visit.person,
        assets=ASSETS,
        stamp=_stamp(),
        token_field=TOKEN_FIELD,
        **about,
    )  # fmt: skip
    return Response(text, status, _HEADERS, "text/html; charset=utf-8")


def asset(name: str) -> Response | None:
    """A file of the pages; None where there is none of that name."""
    if name not in _TYPES:
        return None
    headers = {"x-content-type-options": "nosniff", "cache-control": "public, max-age=31536000, immutable"}
    return Response(_file(name), media_type=_TYPES[name], headers=headers)


@cache
def _file(name: str) -> bytes:
    return (files("portal.developer") / "assets" / name).read_bytes()


@cache
def _stamp() -> str:
    """In the address of each file, so that browsers keep files for good, and never an old one."""
    return sha256(b"".join(_file(name) for name in sorted(_TYPES))).hexdigest()[:12]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("portal.developer"), PrefixLoader({"sre": PackageLoader("portal.sre")})]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["moment"] = _moment
    environment.filters["iso"] = _iso
    environment.filters["figure"] = _figure
    environment.filters["duration"] = _duration
    environment.filters["dollars"] = _dollars
    environment.filters["wait"] = _wait
    environment.filters["ticks"] = _ticks
    return environment


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%d %b %Y, %H:%M UTC")


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _figure(number: float | None) -> str:
    """With thin spaces between thousands, which no language takes for a decimal point."""
    return "unlimited" if number is None else f"{number:,.0f}".replace(",", "\u202f")


def _duration(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "–"
    return f"{milliseconds:.1f} ms" if milliseconds < 100 else f"{milliseconds:.0f} ms"


def _dollars(amount: float) -> str:
    return f"{amount:.2f} $" if amount >= 1 or not amount else f"{amount:.4f} $"


def _ticks(text: str) -> Markup:
    """What is between backticks as code; all of it escaped."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    code = Markup("<code>{}</code>")
    return Markup().join(code.format(part) if number % 2 else escape(part) for number, part in enumerate(parts))


def _wait(seconds: float) -> str:
    """How long that is, as people say it."""
    if seconds < 1:
        return "less than a second"
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size:
            count = round(seconds / size)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    raise AssertionError
