"""Webhooks, as those who receive them meet them: added, tried, looked at, sent again (R119)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final, Protocol

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from portal.developer.browser import Doorkeeper, Faults, Visit
from portal.developer.pages import page
from portal.developer.person import Person
from records.webhooks import Delivery, Webhook

WEBHOOKS: Final = "/portal/webhooks"
MOST: Final = 10
# What there is to be told of, each with its words.
EVENTS: Final = {
    "key.created": "a key was made",
    "key.rotated": "a key was rotated",
    "key.revoked": "a key was revoked",
    "key.expiring": "a key ends in 14, 7 or 1 days and has no successor",
    "key.expired": "a key has come to its end and has no successor",
    "quota.reached": "the quota of a day or a month is spent",
}
# What administrators alone are told of.
_OF_ADMINISTRATORS: Final = {"policy.rejected": "a policy did not become live"}
OVERLAP_SECONDS: Final = 86_400.0
TEST_EVENT: Final = "portal.test"

_Url = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500, pattern=r"^https?://[^\s\x00-\x1f]+$")]


class NewWebhookForm(BaseModel):
    """Where to, and of what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: _Url
    event: Annotated[list[str], Field(min_length=1, max_length=len(EVENTS) + len(_OF_ADMINISTRATORS))]


class NothingForm(BaseModel):
    """A button."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def offered(person: Person) -> Mapping[str, str]:
    """The events that a person's webhooks may be told of, each with its words."""
    return EVENTS | (_OF_ADMINISTRATORS if person.role == "admin" else {})


class OwnWebhooks(Protocol):
    """The webhooks of whoever visits. All of it raises Refusal, 404 also for one that is somebody else's."""

    async def list(self, visit: Visit) -> Sequence[Webhook]: ...

    async def find(self, visit: Visit, webhook_id: str) -> Webhook: ...

    async def add(self, visit: Visit, form: NewWebhookForm) -> Webhook | Faults: ...

    async def remove(self, visit: Visit, webhook_id: str) -> None: ...

    async def deliveries(self, visit: Visit, webhook_id: str) -> Sequence[Delivery]: ...

    async def test(self, visit: Visit, webhook_id: str) -> None: ...

    async def renew(self, visit: Visit, webhook_id: str) -> Webhook: ...

    async def switch(self, visit: Visit, webhook_id: str, *, on: bool) -> None: ...

    async def again(self, visit: Visit, webhook_id: str, delivery_id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class WebhookPages:
    """`/portal/webhooks` and what is below it."""

    door: Doorkeeper
    webhooks: OwnWebhooks
    clock: Callable[[], datetime]

    async def list(self, request: Request) -> Response:
        """All webhooks of the visitor, and the form for another."""
        return await self._listing(await self.door.visit(request))

    async def add(self, request: Request) -> Response:
        """A new webhook; its secret is shown once."""
        visit, form = await self.door.form(request, NewWebhookForm)
        added = form if isinstance(form, Faults) else await self.webhooks.add(visit, form)
        if isinstance(added, Faults):
            return await self._listing(visit, added)
        return page("webhook_added.html", visit, here=WEBHOOKS, status=201, webhook=added, renewed=False)

    async def renew(self, webhook_id: str, request: Request) -> Response:
        """A new secret, shown once."""
        visit, _ = await self.door.form(request, NothingForm)
        renewed = await self.webhooks.renew(visit, webhook_id)
        return page("webhook_added.html", visit, here=WEBHOOKS, status=201, webhook=renewed, renewed=True)

    async def enable(self, webhook_id: str, request: Request) -> Response:
        """Send to it again."""
        visit, _ = await self.door.form(request, NothingForm)
        await self.webhooks.switch(visit, webhook_id, on=True)
        return _to(f"{WEBHOOKS}/{webhook_id}")

    async def disable(self, webhook_id: str, request: Request) -> Response:
        """Send nothing there for a while."""
        visit, _ = await self.door.form(request, NothingForm)
        await self.webhooks.switch(visit, webhook_id, on=False)
        return _to(f"{WEBHOOKS}/{webhook_id}")

    async def show(self, webhook_id: str, request: Request) -> Response:
        """One webhook, and what was sent by it."""
        visit = await self.door.visit(request)
        webhook = await self.webhooks.find(visit, webhook_id)
        sent = await self.webhooks.deliveries(visit, webhook_id)
        now = self.clock().timestamp()
        return page("webhook.html", visit, here=WEBHOOKS, webhook=webhook, deliveries=sent, at=_at, now=now)

    async def test(self, webhook_id: str, request: Request) -> Response:
        """An event to try it with."""
        visit, _ = await self.door.form(request, NothingForm)
        await self.webhooks.test(visit, webhook_id)
        return _to(f"{WEBHOOKS}/{webhook_id}")

    async def again(self, webhook_id: str, delivery_id: str, request: Request) -> Response:
        """The same event once more, by the same name."""
        visit, _ = await self.door.form(request, NothingForm)
        await self.webhooks.again(visit, webhook_id, delivery_id)
        return _to(f"{WEBHOOKS}/{webhook_id}")

    async def remove(self, webhook_id: str, request: Request) -> Response:
        """One webhook less."""
        visit, _ = await self.door.form(request, NothingForm)
        await self.webhooks.remove(visit, webhook_id)
        return _to(WEBHOOKS)

    async def _listing(self, visit: Visit, faults: Faults | None = None) -> Response:
        found = await self.webhooks.list(visit) if visit.person.partner else []
        sent, wrong = ({}, {}) if faults is None else (faults.sent, faults.by_field)
        status = 422 if wrong else 200
        return page(
            "webhooks.html", visit, here=WEBHOOKS, status=status, found=found, events=offered(visit.person), sent=sent,
            wrong=wrong,
        )  # fmt: skip


def webhook_routes(pages: WebhookPages) -> APIRouter:
    """The pages by their addresses."""
    router = APIRouter(include_in_schema=False)
    one = WEBHOOKS + "/{webhook_id}"
    router.add_api_route(WEBHOOKS, pages.list)
    router.add_api_route(WEBHOOKS, pages.add, methods=["POST"])
    router.add_api_route(one, pages.show)
    router.add_api_route(one + "/test", pages.test, methods=["POST"])
    router.add_api_route(one + "/secret", pages.renew, methods=["POST"])
    router.add_api_route(one + "/enable", pages.enable, methods=["POST"])
    router.add_api_route(one + "/disable", pages.disable, methods=["POST"])
    router.add_api_route(one + "/remove", pages.remove, methods=["POST"])
    router.add_api_route(one + "/deliveries/{delivery_id}", pages.again, methods=["POST"])
    return router


def _to(location: str) -> Response:
    return RedirectResponse(location, 303, headers={"cache-control": "no-store"})


_at: Callable[[float], datetime] = lambda moment: datetime.fromtimestamp(moment, UTC)  # noqa: E731
