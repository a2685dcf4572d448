"""Who reaches whom: the federation serves over hosts, and from outside nothing but the public door is there."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.multi_host.federation import CENTRAL, DOMAINS, GATEWAYS, PLAN, Federation
from tests.support.client import problem
from tests.support.tokens import ADMITTED, Fresh

INSIDE = f"https://{CENTRAL['inside']}:8444"
MESSAGE = b'{"id": "m1", "type": "task.created", "sender": "vision", "recipient": "memory", "payload": {}}'
VISION = "/api/agents/memory"


@pytest.mark.parametrize("gateway", ADMITTED)
def test_a_request_passes_over_three_hosts(gateway: str, federation: Federation, fresh: Fresh) -> None:
    token = federation.tokens.of(gateway, fresh)
    path = {"marketing": "content", "education": "homework", "sales": "leads"}[gateway]
    answer = federation.call("client", "GET", f"/api/{gateway}/{path}", headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 200, answer.text
    # The service is called by its own gateway's host, and by no other.
    assert answer.json()["from"] == PLAN[gateway]["services"]


@pytest.mark.requirement("R59", "R64")
def test_an_agent_is_served_at_the_door_inside(federation: Federation) -> None:
    headers = {"content-type": "application/json", **federation.signed(VISION, "vision", MESSAGE)}
    answer = federation.call("agent", "POST", VISION, to=INSIDE, content=MESSAGE, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["from"] == PLAN["agents"]["services"]


# What there is to attack: every listener of the house, with a host that does reach it.
PLACES = [
    ("central", CENTRAL["inside"], 8444),
    *(("central", PLAN[name]["mesh"], port) for name, port in DOMAINS.items()),
    ("agents", PLAN["service"]["services"], 8080),
    ("agents", PLAN["store"]["data"], 6379),
    ("agents", PLAN["control"]["control"], 18000),
    *(("control", PLAN[name]["control"], port) for name in GATEWAYS for port in (9902, 18002)),
]


@pytest.fixture
def attacker(federation: Federation) -> Federation:
    """Somebody outside who sends what is for the house's networks to central, as to a router."""
    federation.hosts.route("client", "10.0.0.0/8", CENTRAL["edge"])
    return federation


@pytest.mark.requirement("R64")
def test_by_network_nothing_but_the_public_doors_is_reached_from_outside(attacker: Federation) -> None:
    with attacker.hosts.drop("central", "edge", to="10.0.0.0/8"):
        with ThreadPoolExecutor(len(PLACES)) as side_by_side:
            from_within = list(side_by_side.map(lambda place: attacker.connects(*place), PLACES))
            from_outside = list(side_by_side.map(lambda place: attacker.connects("client", *place[1:]), PLACES))
        assert from_within == [True] * len(PLACES)
        assert from_outside == [False] * len(PLACES)
        assert all(attacker.connects("client", CENTRAL["edge"], port) for port in (80, 443))


@pytest.mark.requirement("R64")
def test_by_policy_the_door_inside_refuses_who_comes_from_outside(attacker: Federation) -> None:
    # Without the firewall, Linux answers for any address of its own at any interface.
    assert attacker.connects("client", CENTRAL["inside"], 8444)
    headers = {"content-type": "application/json", **attacker.signed(VISION, "vision", MESSAGE)}
    for more in ({}, {"x-forwarded-for": PLAN["agent"]["inside"]}):
        answer = attacker.call("client", "POST", VISION, to=INSIDE, content=MESSAGE, headers={**headers, **more})
        assert (answer.status_code, problem(answer)["code"]) == (403, "address_not_allowed")
    public = attacker.call("client", "POST", VISION, content=MESSAGE, headers=headers)
    assert public.status_code == 404


@pytest.mark.requirement("R64")
def test_no_host_of_the_house_that_is_not_central_may_call_the_agents_gateway(federation: Federation) -> None:
    # A neighbour on the same network, with no certificate and with that of another gateway.
    place = (PLAN["agents"]["mesh"], DOMAINS["agents"])
    assert federation.is_taken("central", *place, shows="central")
    assert not federation.is_taken("sales", *place, shows=None)
    assert not federation.is_taken("sales", *place, shows="sales")
