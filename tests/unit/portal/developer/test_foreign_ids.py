"""Every address with somebody's id in it is, to everybody else, one that is not there; none is left out here."""

from collections.abc import Callable, Iterable, Iterator

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from sqlalchemy import select
from starlette.routing import BaseRoute

from records.api_keys import ApiKeys
from records.database import Database
from records.tables import DeliveryRow, KeyRow, Table, WebhookRow
from records.webhooks import Webhooks
from tests.unit.portal.developer.conftest import Clock
from tests.unit.portal.developer.test_webhooks import OWNER, add, tell
from tests.unit.portal.developer.world import Browser

# Addresses whose last part is nobody's.
_EVERYBODYS = {"/portal/assets/{name}", "/portal/errors/{code}", "/portal/{rest:path}"}
_TABLES: tuple[type[Table], ...] = (KeyRow, WebhookRow, DeliveryRow)


def flat(routes: Iterable[BaseRoute]) -> Iterator[APIRoute]:
    """Of an application and of all that was included in it."""
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        elif (included := getattr(route, "original_router", None)) is not None:
            yield from flat(included.routes)


def with_ids(site: FastAPI) -> list[tuple[str, str]]:
    """The method and the address of every page that takes an id."""
    return sorted(
        (method, route.path)
        for route in flat(site.routes)
        if "{" in route.path
        for method in route.methods or ()
        if route.path not in _EVERYBODYS and method != "HEAD"
    )


async def rows(database: Database) -> list[object]:
    async with database.reading() as session:
        return [
            [getattr(row, column.name) for column in table.__table__.columns]
            for table in _TABLES
            for row in await session.scalars(select(table))
        ]


@pytest.mark.requirement("R116", "R119")
async def test_no_page_of_somebody_elses_is_there_and_no_form_changes_anything(
    open_browser: Callable[[], Browser], site: FastAPI, database: Database, clock: Clock
) -> None:
    owner, other = open_browser(), open_browser()
    await owner.sign_in()
    await other.sign_in("user_enterprise")
    await add(owner, "https://hooks.example/x")
    await owner.post("/portal/keys", {"name": "mine", "scope": ["marketing:read"]})
    (key,) = await ApiKeys(database).list(OWNER)
    (hook,) = await Webhooks(database).of(OWNER)
    await tell(Webhooks(database), hook, "portal.test", {}, clock())
    delivery = (await Webhooks(database).deliveries(hook.webhook_id))[0]
    ids = {"key_id": key.key_id, "webhook_id": hook.webhook_id, "delivery_id": delivery.delivery_id}
    forms = {
        "/portal/keys/{key_id}/rotate": {"overlap_hours": "1", "why": ""},
        "/portal/keys/{key_id}/revoke": {"why": ""},
    }
    found = with_ids(site)
    assert {path.split("/")[2] for _, path in found} == {"keys", "webhooks"}
    assert len(found) >= 10
    before = await rows(database)
    for method, path in found:
        address = path.format(**ids)
        if method == "GET":
            answers = [await other.get(address)]
        else:
            # Also one that says whose it is.
            sent = forms.get(path, {})
            answers = [await other.post(address, sent), await other.post(address, {**sent, "partner": OWNER})]
        assert {one.status_code for one in answers} <= {404, 422}, (method, path)
        assert answers[0].status_code == 404, (method, path)
        for answer in answers:
            assert "hooks.example/x" not in answer.text
    assert await rows(database) == before
    # The same by their owner: it is not that nothing is there.
    for method, path in found:
        if method == "GET":
            assert (await owner.get(path.format(**ids))).status_code == 200, path
