"""API keys, as their owner meets them: made, shown once, rotated with overlap, revoked (R93-R97, R116)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Annotated, Final, Protocol

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from policy.model import Gateway
from portal.developer.browser import Doorkeeper, Faults, Refusal, Visit
from portal.developer.offers import offered
from portal.developer.pages import page
from records.api_keys import ApiKey

KEYS: Final = "/portal/keys"
# Whoever has more wants something else, and each change is read by every gateway.
MOST_LIVE: Final = 50
_SOON: Final = timedelta(days=14)
_OVERLAPS: Final = (0, 1, 24, 72, 168, 720)

_Line = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
_Scope = Annotated[str, StringConstraints(max_length=128)]


class NewKeyForm(BaseModel):
    """What a person decides about a new key. Whose it is and of which tier is not among it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[_Line, Field(min_length=1, max_length=64)]
    scope: Annotated[list[_Scope], Field(min_length=1, max_length=20)]
    expires_in_days: Annotated[int, Field(ge=1, le=90)] = 90
    networks: Annotated[str, Field(max_length=1000)] = ""

    @field_validator("networks")
    @classmethod
    def _are_networks(cls, networks: str) -> str:
        for one in networks.split():
            try:
                ip_network(one)
            except ValueError:
                raise ValueError(f"{one[:60]} is no address and no network, such as 203.0.113.0/24") from None
        return networks


class RotateForm(BaseModel):
    """For how long the old key goes on beside the new one, and why it is rotated."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    overlap_hours: Annotated[int, Field(ge=0, le=720)] = 24
    why: _Line = ""


class RevokeForm(BaseModel):
    """Why a key is revoked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    why: _Line = ""


@dataclass(frozen=True, slots=True)
class Issued:
    """A key that was just made. `late`: gateways that did not say in time that they know it."""

    key: ApiKey
    text: str = field(repr=False)
    late: tuple[str, ...] = ()


class OwnKeys(Protocol):
    """The keys of whoever visits. All of it raises Refusal, 404 also for a key that is somebody else's."""

    async def list(self, visit: Visit) -> Sequence[ApiKey]: ...

    async def find(self, visit: Visit, key_id: str) -> ApiKey: ...

    async def create(self, visit: Visit, form: NewKeyForm) -> Issued: ...

    async def rotate(self, visit: Visit, key_id: str, form: RotateForm) -> Issued: ...

    async def revoke(self, visit: Visit, key_id: str, form: RevokeForm) -> tuple[str, ...]:
        """The gateways that did not say in time that they refuse it."""
        ...


@dataclass(frozen=True, slots=True)
class Shown:
    """A key in a list: how it is, in a word and a colour."""

    key: ApiKey
    mood: str
    words: str

    @property
    def is_live(self) -> bool:
        return self.words not in {"revoked", "expired"}

    @property
    def may_rotate(self) -> bool:
        return self.is_live and self.key.replaced_by is None


def shown(key: ApiKey, now: datetime) -> Shown:
    """How a key is at a moment."""
    status = key.status(now)
    if status != "live":
        return Shown(key, "", status)
    if key.replaced_by is not None:
        return Shown(key, "warn", "being replaced")
    if key.expires_at - now <= _SOON:
        return Shown(key, "warn", "expires soon")
    return Shown(key, "good", "live")


@dataclass(frozen=True, slots=True)
class KeyPages:
    """`/portal/keys` and what is below it."""

    door: Doorkeeper
    keys: OwnKeys
    policies: Callable[[], Mapping[str, Gateway]]
    clock: Callable[[], datetime]

    async def list(self, request: Request) -> Response:
        """All keys of the visitor, and the form for another."""
        return await self._listing(await self.door.visit(request))

    async def create(self, request: Request) -> Response:
        """A new key, shown once."""
        visit, form = await self.door.form(request, NewKeyForm)
        if isinstance(form, Faults):
            return await self._listing(visit, form)
        if strange := set(form.scope) - set(offered(self.policies(), visit.person)):
            text = f"You may not give away {', '.join(sorted(strange))[:200]}"
            sent = {"name": [form.name], "scope": form.scope, "networks": [form.networks]}
            return await self._listing(visit, Faults({"scope": text}, sent))
        return self._issued(visit, await self.keys.create(visit, form))

    async def show(self, key_id: str, request: Request) -> Response:
        """One key, and what can be done with it."""
        return await self._one(await self.door.visit(request), key_id)

    async def rotate(self, key_id: str, request: Request) -> Response:
        """The key that replaces another, shown once."""
        visit, form = await self.door.form(request, RotateForm)
        if isinstance(form, Faults):
            return await self._one(visit, key_id, form)
        return self._issued(visit, await self.keys.rotate(visit, key_id, form))

    async def revoke(self, key_id: str, request: Request) -> Response:
        """The key that has ended."""
        visit, form = await self.door.form(request, RevokeForm)
        if isinstance(form, Faults):
            return await self._one(visit, key_id, form)
        return await self._one(visit, key_id, late=await self.keys.revoke(visit, key_id, form))

    async def _listing(self, visit: Visit, faults: Faults | None = None) -> Response:
        now = self.clock()
        found = [shown(key, now) for key in await self.keys.list(visit)] if visit.person.partner else []
        found.sort(key=lambda one: (not one.is_live, -one.key.created_at.timestamp()))
        about = {"keys": found, "scopes": offered(self.policies(), visit.person)}
        sent, wrong = ({}, {}) if faults is None else (faults.sent, faults.by_field)
        return page("keys.html", visit, here=KEYS, status=422 if wrong else 200, sent=sent, wrong=wrong, **about)

    async def _one(self, visit: Visit, key_id: str, faults: Faults | None = None, late: Sequence[str] = ()) -> Response:
        key = shown(await self.keys.find(visit, key_id), self.clock())
        wrong = {} if faults is None else faults.by_field
        about = {"shown": key, "overlaps": _OVERLAPS, "wrong": wrong, "late": late}
        return page("key.html", visit, here=KEYS, status=422 if wrong else 200, **about)

    def _issued(self, visit: Visit, one: Issued) -> Response:
        return page("key_issued.html", visit, here=KEYS, status=201, key=one.key, text=one.text, late=one.late)


def key_routes(pages: KeyPages) -> APIRouter:
    """The pages by their addresses."""
    router = APIRouter(include_in_schema=False)
    router.add_api_route(KEYS, pages.list)
    router.add_api_route(KEYS, pages.create, methods=["POST"])
    router.add_api_route(KEYS + "/{key_id}", pages.show)
    router.add_api_route(KEYS + "/{key_id}/rotate", pages.rotate, methods=["POST"])
    router.add_api_route(KEYS + "/{key_id}/revoke", pages.revoke, methods=["POST"])
    return router


def partner_of(visit: Visit) -> str:
    """Under whose name a visitor's keys are. Raises Refusal where there can be none."""
    partner = visit.person.partner
    if partner is None:
        text = "Keys name their owner, and the name of your organization cannot be in one. Ask support."
        raise Refusal(403, "You cannot have keys", text)
    return partner
