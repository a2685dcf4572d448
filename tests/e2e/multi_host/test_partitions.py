"""Networks that part: what is cut off serves what it knows, what cannot be known is refused, others notice nothing."""

from collections.abc import Iterator

import pytest

from tests.e2e.multi_host.federation import CENTRAL, GATEWAYS, HOSTS_OF, PLAN, Federation
from tests.support.client import problem
from tests.support.tokens import Fresh

PATHS = {"marketing": "/api/marketing/content", "sales": "/api/sales/leads", "education": "/api/education/homework"}
BRAND, MOVED = "path: /api/marketing/brand\n", "path: /api/marketing/brands\n"
ALL_HOSTS = [host for hosts in HOSTS_OF.values() for host in hosts]
SECOND = "http://127.0.0.1:9911"


@pytest.fixture(autouse=True)
def _as_before(federation: Federation) -> Iterator[None]:
    """Every file as it was, and every Envoy in sync with it, whatever a test has done."""
    files = [federation.policies(host) / f"{one}.yaml" for host in (*ALL_HOSTS, "control") for one in GATEWAYS]
    before = {file: file.read_text("utf-8") for file in files}
    known = versions(federation)
    yield
    for file, text in before.items():
        file.write_text(text, encoding="utf-8")
    federation.until(lambda: versions(federation) == known and in_sync(federation), "the former policy on every host")


def versions(federation: Federation) -> dict[str, str]:
    return {name: one["version"] for name, one in federation.states().items()}


def in_sync(federation: Federation) -> bool:
    return all(1 <= one["live"] == one["envoys"] and not one["errors"] for one in federation.states().values())


def behind(federation: Federation) -> set[str]:
    """The gateways of which some Envoy does not run what is published."""
    return {name for name, one in federation.states().items() if one["live"] < one["envoys"]}


def move_brand(federation: Federation, *hosts: str) -> None:
    """Marketing's route of that name has another path, in the files of these hosts."""
    for host in hosts:
        file = federation.policies(host) / "marketing.yaml"
        text = file.read_text("utf-8")
        assert text.count(BRAND) == 1
        file.write_text(text.replace(BRAND, MOVED), encoding="utf-8")


def told(federation: Federation, gateway: str, token: str, path: str = "") -> tuple[int, object]:
    """The status of a request from outside, and the code of what was refused."""
    answer = federation.call("client", "GET", path or PATHS[gateway], headers={"authorization": f"Bearer {token}"})
    return answer.status_code, problem(answer)["code"] if answer.status_code >= 400 else None


SERVED = (200, None)


def test_a_policy_that_a_gateways_host_lacks_goes_out_when_it_is_there(federation: Federation, fresh: Fresh) -> None:
    token, old = federation.tokens.of("marketing", fresh), versions(federation)["marketing"]
    move_brand(federation, "control")
    federation.until(lambda: federation.states()["marketing"]["errors"], "the word that a host lacks it")
    state = federation.states()["marketing"]
    assert state["errors"][0]["message"].startswith(f"{PLAN['marketing']['control']}:18002 does not have this policy")
    # By it authorization would refuse everybody; as it is, nobody has noticed anything.
    assert state["version"] == old
    assert told(federation, "marketing", token) == SERVED
    move_brand(federation, "marketing")
    federation.until(lambda: told(federation, "marketing", token, "/api/marketing/brands") == SERVED, "the new path")


@pytest.mark.requirement("R4")
def test_cut_off_from_the_control_plane_a_gateway_serves_what_it_knows_and_catches_up(
    federation: Federation, fresh: Fresh
) -> None:
    token, old = federation.tokens.of("marketing", fresh), versions(federation)["marketing"]
    with federation.hosts.unplugged("marketing", "control"):
        move_brand(federation, "marketing", "control")
        federation.until(lambda: versions(federation)["marketing"] != old, "a policy that cannot get there")
        assert told(federation, "marketing", token) == SERVED
        assert told(federation, "marketing", token, "/api/marketing/brand") == SERVED
        assert told(federation, "marketing", token, "/api/marketing/brands")[0] == 404
        # The connection is silent, not closed: that it is dead is found out by who waits for an answer.
        federation.until(lambda: federation.states()["marketing"]["live"] == 0, "the word that it is behind")
        assert behind(federation) == {"marketing"}
        # An Envoy that comes now has never heard anything, and serves nobody instead of anybody.
        federation.envoy("marketing", node="marketing-2", admin_port=9911)
        failed = "cluster.control-plane.upstream_cx_connect_fail"
        federation.until(lambda: federation.stat("marketing", failed, 9911) > 0, "its attempts to connect")
        ready = federation.call("marketing", "GET", "/ready", to=SECOND)
        assert (ready.status_code, ready.text.strip()) == (503, "PRE_INITIALIZING")
        assert federation.stat("marketing", "listener_manager.workers_started", 9911) == 0
        assert not federation.connects("marketing", PLAN["marketing"]["control"], 9912)
    federation.until(lambda: told(federation, "marketing", token, "/api/marketing/brands") == SERVED, "the new path")
    ready_now = lambda: federation.call("marketing", "GET", "/ready", to=SECOND).status_code == 200  # noqa: E731
    federation.until(ready_now, "the Envoy that waited")
    federation.until(lambda: federation.states()["marketing"]["live"] == 2, "both of them in sync")
    federation.stop("envoy-marketing-2")


@pytest.mark.requirement("R4")
def test_heard_by_nobody_a_gateway_serves_what_it_hears(federation: Federation, fresh: Fresh) -> None:
    token = federation.tokens.of("marketing", fresh)
    # What marketing sends to the control plane is lost, and what it is sent arrives: its ACKs are never heard.
    with federation.hosts.drop("control", "control", source=PLAN["marketing"]["control"]):
        move_brand(federation, "marketing", "control")
        federation.until(lambda: federation.states()["marketing"]["live"] == 0, "the word that it is behind")
        assert told(federation, "marketing", token) == SERVED
        assert behind(federation) == {"marketing"}
    federation.until(lambda: told(federation, "marketing", token, "/api/marketing/brands") == SERVED, "the new path")


@pytest.mark.requirement("R4")
def test_cut_off_from_the_counters_each_limit_does_what_it_declares(federation: Federation, fresh: Fresh) -> None:
    free = federation.tokens.of("marketing", fresh, tier="free")
    sales, education = federation.tokens.of("sales", fresh), federation.tokens.of("education", fresh)
    with federation.hosts.unplugged("marketing", "data"), federation.hosts.unplugged("sales", "data"):
        # Marketing's are `local` here, and ten a day remain ten; those of sales say nothing, which is closed.
        federation.until(lambda: told(federation, "marketing", free) == SERVED, "marketing's own count")
        counted = [told(federation, "marketing", free) for _ in range(11)]
        assert set(counted) == {SERVED, (429, "daily_limit_reached")}
        assert counted[-1] == (429, "daily_limit_reached")
        assert told(federation, "sales", sales) == (503, "limits_unavailable")
        assert told(federation, "education", education) == SERVED
    federation.until(lambda: told(federation, "sales", sales) == SERVED, "sales counting again")


@pytest.mark.requirement("R4")
@pytest.mark.parametrize("half", [False, True], ids=["both-ways", "no-way-back"])
def test_cut_off_from_central_one_gateway_is_away_and_the_others_serve(
    half: bool, federation: Federation, fresh: Fresh
) -> None:
    tokens = {gateway: federation.tokens.of(gateway, fresh) for gateway in PATHS}
    cut = (
        federation.hosts.drop("central", "mesh", source=PLAN["marketing"]["mesh"])
        if half
        else federation.hosts.unplugged("marketing", "mesh")
    )
    with cut:
        # A connection is found out to be dead by its keep-alive; until then a request waits for an answer.
        federation.until(
            lambda: told(federation, "marketing", tokens["marketing"]) == (503, "service_unavailable"),
            "a clear refusal",
        )
        for gateway in ("sales", "education"):
            assert told(federation, gateway, tokens[gateway]) == SERVED
        # It is central that cannot reach it: it is there, and its own host serves.
        assert federation.connects("marketing", PLAN["marketing"]["mesh"], 8001)
        assert federation.connects("client", CENTRAL["edge"], 443)
    federation.until(lambda: told(federation, "marketing", tokens["marketing"]) == SERVED, "marketing again")


@pytest.mark.requirement("R4")
def test_a_gateway_with_two_hosts_serves_by_the_other_when_one_is_cut_off(federation: Federation, fresh: Fresh) -> None:
    federation.until(lambda: serving(federation, fresh) == {*HOSTS_OF["education"]}, "both hosts serving")
    with federation.hosts.unplugged("education-b", "mesh"):
        federation.until(lambda: healthy(federation) == 1, "central knowing that one is away")
        assert serving(federation, fresh) == {"education"}
    federation.until(lambda: serving(federation, fresh) == {*HOSTS_OF["education"]}, "both hosts serving again")


def serving(federation: Federation, fresh: Fresh) -> set[str]:
    """What ten requests of a new caller met: the hosts by which they passed, or how they failed."""
    path, headers = PATHS["education"], {"authorization": f"Bearer {federation.tokens.of('education', fresh)}"}
    answers = [federation.call("client", "GET", path, headers=headers) for _ in range(10)]
    by_address = {PLAN[host]["services"]: host for host in HOSTS_OF["education"]}
    return {by_address[one.json()["from"]] if one.status_code == 200 else one.text for one in answers}


def healthy(federation: Federation) -> int:
    return federation.stat("central", "cluster.education-gateway.membership_healthy")
