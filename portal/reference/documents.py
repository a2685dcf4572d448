"""The documents of the reference, made again only when a policy changes."""

from collections.abc import Callable, Mapping
from typing import Final

import orjson

from policy.model import Gateway
from portal.reference.openapi import openapi

TITLE: Final = "WAOOAW API"


class PolicyDocuments:
    """Of the policies in force: one for each domain of `domains`, and one of all `domains` together.

    `gateways` is asked at each question, and the document made anew where it answers with another policy than before.
    """

    def __init__(self, gateways: Callable[[], Mapping[str, Gateway]], domains: tuple[str, ...], version: str) -> None:
        self._gateways = gateways
        self._domains = domains
        self._version = version
        self._made: dict[str | None, tuple[tuple[Gateway, ...], bytes]] = {}

    def document(self, domain: str | None) -> bytes | None:
        """As `portal.reference.site.Documents` says."""
        there = self._gateways()
        names = self._domains if domain is None else (domain,) if domain in self._domains else ()
        told = tuple(there[name] for name in names if name in there)
        if not told:
            return None
        made = self._made.get(domain)
        # By identity: a policy that was loaded again is another object, and comparing two takes as long as a document.
        if made is None or len(made[0]) != len(told) or any(a is not b for a, b in zip(made[0], told, strict=True)):
            made = (told, self._write(domain, told))
            self._made[domain] = made
        return made[1]

    def _write(self, domain: str | None, told: tuple[Gateway, ...]) -> bytes:
        title = TITLE if domain is None else f"{TITLE}: {domain}"
        description = "" if domain is None else told[0].description
        # No servers: what is tried out goes to the host that served the page.
        return orjson.dumps(openapi(told, title=title, version=self._version, description=description))
