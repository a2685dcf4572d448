"""Who reaches whom: the federation serves over hosts, and from outside nothing but the public door is there."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from deploy.make_secrets import make_secrets
from tests.e2e.multi_host.federation import CENTRAL, DOMAINS, GATEWAYS, HOSTS_OF, PLAN, Federation
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
    # The service is called by a host of its own gateway, and by no other.
    assert answer.json()["from"] in {PLAN[host]["services"] for host in HOSTS_OF[gateway]}
    for told in ("central", gateway):
        federation.until(lambda told=told: requests_told(federation, told) > 0, f"what {told} tells of it")


def requests_told(federation: Federation, gateway: str) -> float:
    """How many requests telemetry has heard of from a gateway's Envoys."""
    figures = federation.call("control", "GET", "/metrics", to="http://127.0.0.1:18004").text
    lines = [line for line in figures.splitlines() if line.startswith("apibank_requests_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines if f'gateway="{gateway}"' in line)


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


@pytest.mark.parametrize("gateway", ["central", "agents"])
def test_of_an_envoys_admin_another_host_sees_the_figures_alone(gateway: str, federation: Federation) -> None:
    place = f"http://{PLAN[gateway]['control']}:9902"
    figures = federation.call("control", "GET", "/stats/prometheus", to=place)
    assert figures.status_code == 200
    assert "envoy_server_live" in figures.text
    others = [
        ("POST", "/stats/prometheus"),
        ("POST", "/quitquitquit"),
        ("GET", "/config_dump"),
        ("GET", "/stats"),
        ("GET", "/"),
    ]
    assert [federation.call("control", *other, to=place).status_code for other in others] == [404] * len(others)
    assert not federation.connects("control", PLAN[gateway]["control"], 9901)


def test_a_renewed_certificate_is_shown_to_the_control_plane_without_a_restart(federation: Federation) -> None:
    own = federation.secrets / "envoy-sales" / "node.pem"
    before = serial(own)
    assert before in certificates_of(federation, "sales")
    for file in ("sales-mesh.pem", "sales-mesh.key"):
        (federation.secrets / "authority" / "tls" / file).unlink()
    make_secrets(federation.secrets, datetime.now(UTC))
    assert serial(own) != before
    federation.until(lambda: before not in certificates_of(federation, "sales"), "an Envoy without the former one")
    assert serial(own) in certificates_of(federation, "sales")
    federation.until(federation.is_live, "everybody in sync again")


def serial(file: Path) -> str:
    return f"{x509.load_pem_x509_certificate(file.read_bytes()).serial_number:x}"


def certificates_of(federation: Federation, gateway: str) -> str:
    """Every certificate that its Envoy has, those of connections that it makes too."""
    return federation.call(gateway, "GET", "/certs", to="http://127.0.0.1:9901").text
