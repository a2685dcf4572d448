"""The sign-in page of the development issuer: who do you want to be?"""

import base64
import hashlib
from html import escape
from typing import Final

from apibank.issuer.realms import Realm

_STYLE: Final = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:4rem auto;padding:0 1rem}"
    "button{display:block;width:100%;margin:.5rem 0;padding:.75rem 1rem;font:inherit;text-align:left;cursor:pointer}"
    "small{display:block;opacity:.75}"
    "@media(prefers-color-scheme:dark){body{background:#16181d;color:#e8e8e8}}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

PAGE_HEADERS: Final = {
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def sign_in_page(realm: Realm, client_id: str) -> str:
    """A form that posts `account`, the chosen subject, to the address of the page itself; empty is a refusal."""
    choices = "".join(
        f'<button name="account" value="{escape(person.subject)}">{escape(person.name)}'
        f"<small>{escape(person.subject)} · {escape(person.role)} · {escape(person.tier)} · "
        f"{escape(' '.join(person.scopes))}</small></button>"
        for person in realm.people
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Sign in</title><style>{_STYLE}</style></head><body>"
        f"<h1>Sign in to {escape(client_id)}</h1>"
        f"<p>Development issuer of <b>{escape(realm.issuer)}</b>. It asks for no password: choose who you are.</p>"
        f'<form method="post">{choices}<button name="account" value="">Nobody: go back</button></form>'
        "</body></html>"
    )
