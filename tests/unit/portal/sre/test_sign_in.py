"""Who becomes an administrator: by the administrators' issuer alone, whatever a token of another one says."""

import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from apibank.developer.provider import Client, Provider
from apibank.developer.sign_in import CodeFlow
from apibank.issuer.clients import PORTAL
from apibank.issuer.realms import CUSTOMER
from apibank.policies import PolicyFolder, shipped
from apibank.sre.sign_in import TwoDoors, admits
from policy.access import Issuer, Jwks
from policy.model import Gateway
from portal.developer.person import Person
from portal.developer.sign_in import Begun, SignedIn, SignInFailedError
from tests.support.issuer_client import PORTAL_CALLBACK, issuer_of

CUSTOMERS = "https://auth.waooaw.ai"
ADMINS = "https://admin.auth.waooaw.ai"


@pytest.fixture(scope="module")
def policies() -> Mapping[str, Gateway]:
    found = PolicyFolder(shipped("gateways"), ("dev",), linted=False).load().gateways
    return {name: one.gateway for name, one in found.items()}


class Door:
    """An issuer's flow that says who it is."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def begin(self, callback: str, then: str) -> Begun:
        return Begun(f"{self.name}{callback}", f"{self.name}.kept")

    async def finish(self, callback: str, kept: str, answer: Mapping[str, str]) -> SignedIn:
        return SignedIn(Person(f"{self.name} {kept}", "", "", "", ()), "/portal")


def test_a_role_counts_where_the_central_gateway_admits_it_by_that_issuer(policies: Mapping[str, Gateway]) -> None:
    assert admits(policies, ADMINS, "admin")
    assert admits(policies, CUSTOMERS, "customer")
    assert not admits(policies, CUSTOMERS, "admin")
    assert not admits(policies, ADMINS, "customer")
    assert not admits(policies, "https://evil.example", "admin")
    assert not admits({}, ADMINS, "admin")


@pytest.mark.parametrize(
    ("then", "door"),
    [
        ("/portal", "people"),
        ("/portal/srex", "people"),
        ("/portal/sre?x=1", "people"),
        ("/portal/sre", "admins"),
        ("/portal/sre/policies/marketing", "admins"),
    ],
)
async def test_the_page_that_somebody_wants_leads_to_the_issuer(then: str, door: str) -> None:
    doors = TwoDoors(Door("people"), Door("admins"))
    begun = await doors.begin("/cb", then)
    assert begun.address == f"{door}/cb"
    assert (await doors.finish("/cb", begun.kept, {})).person.subject == f"{door} {door}.kept"


@pytest.mark.parametrize("admitted", [True, False])
async def test_a_role_that_the_issuer_may_not_state_signs_nobody_in(tmp_path: Path, admitted: bool) -> None:
    asked: list[tuple[str, str]] = []

    def admitting(issuer: str, role: str) -> bool:
        asked.append((issuer, role))
        return admitted

    async with issuer_of("customer", tmp_path / "state") as issuer:
        issuer.clock.now = time.time()
        client = Client(PORTAL, lambda: issuer.secrets[PORTAL])
        provider = Provider("http://127.0.0.1:1/.well-known/openid-configuration", client, issuer.http)
        trusted = Issuer(issuer=CUSTOMERS, audience=CUSTOMER.audience, jwks=Jwks(url="http://127.0.0.1:1/jwks"))
        flow = CodeFlow(provider, PORTAL, lambda _: trusted, b"k" * 32, admits=admitting)
        begun = await flow.begin(PORTAL_CALLBACK, "/portal")
        query = urlsplit(begun.address).query
        sent = await issuer.http.post(f"/api/auth/authorize?{query}", data={"account": "user_12345"})
        answer = dict(parse_qsl(urlsplit(sent.headers["location"]).query))
        if admitted:
            assert (await flow.finish(PORTAL_CALLBACK, begun.kept, answer)).person.role == "customer"
        else:
            with pytest.raises(SignInFailedError) as told:
                await flow.finish(PORTAL_CALLBACK, begun.kept, answer)
            assert told.value.status == 403
    assert asked == [(CUSTOMERS, "customer")]
