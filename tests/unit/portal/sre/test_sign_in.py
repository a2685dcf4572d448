"""Who becomes an administrator: by the administrators' issuer alone, whatever a token of another one says."""

from collections.abc import Mapping

import pytest

from apibank.policies import PolicyFolder, shipped
from apibank.sre.sign_in import TwoDoors, admits
from policy.model import Gateway
from portal.developer.person import Person
from portal.developer.sign_in import Begun, SignedIn

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
