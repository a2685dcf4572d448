"""The stack's ports: where they are, and who is named when one is taken."""

import os
import socket
from itertools import count

import pytest

from apibank.ports import KNOWN_GATEWAYS, PortPlan, PortsTakenError, claim_ports, is_free, plan_ports


def _free_plan() -> PortPlan:
    start = 30_000 + os.getpid() % 20 * 1000
    for base in count(start, 1000):
        plan = plan_ports(base)
        if is_free(base) and all(is_free(port) for port in plan.named().values()):
            return plan
    raise AssertionError


def test_the_landmarks_are_where_the_interface_says() -> None:
    plan = plan_ports(10_000)
    assert (plan.https, plan.http, plan.internal_https) == (10_443, 10_080, 10_444)
    assert plan.gateways["central"].envoy_admin == 10_001


def test_no_two_purposes_share_a_port() -> None:
    ports = list(plan_ports(10_000, (*KNOWN_GATEWAYS, "health", "travel", "legal")).named().values())
    assert len(set(ports)) == len(ports)
    assert 10_000 not in ports


def test_stacks_a_thousand_apart_share_no_port() -> None:
    one, other = plan_ports(10_000), plan_ports(11_000)
    assert not {10_000, *one.named().values()} & {11_000, *other.named().values()}


def test_a_gateway_keeps_its_ports_whichever_others_run() -> None:
    alone = plan_ports(10_000, ("central", "sales"))
    assert alone.gateways["sales"] == plan_ports(10_000).gateways["sales"]
    assert set(alone.gateways) == {"central", "sales"}


def test_central_has_no_mesh_listener_and_no_service_of_its_own() -> None:
    central = plan_ports(10_000).gateways["central"]
    assert central.mesh is None
    assert central.upstream is None


@pytest.mark.parametrize("base", [0, -1, 65_000])
def test_a_base_that_leaves_no_room_is_refused(base: int) -> None:
    with pytest.raises(ValueError, match="between 1 and"):
        plan_ports(base)


def test_more_gateways_than_ports_are_refused() -> None:
    with pytest.raises(ValueError, match="for 9 gateways"):
        plan_ports(10_000, (*KNOWN_GATEWAYS, "a", "b", "c", "d"))


def test_a_busy_port_is_an_error_that_names_who_holds_it() -> None:
    plan = _free_plan()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", plan.https))
        holder.listen()
        with pytest.raises(PortsTakenError) as refused:
            claim_ports(plan)
    assert f"port {plan.https} (https) is taken by process {os.getpid()} (" in str(refused.value)
    assert "APIBANK_PORT_BASE" in str(refused.value)
    assert is_free(plan.base), "a failed start keeps no claim"


def test_every_busy_port_is_named_at_once() -> None:
    plan = _free_plan()
    with socket.socket() as one, socket.socket() as other:
        for holder, port in ((one, plan.http), (other, plan.valkey)):
            holder.bind(("127.0.0.1", port))
            holder.listen()
        with pytest.raises(PortsTakenError) as refused:
            claim_ports(plan)
    assert {busy.port for busy in refused.value.busy} == {plan.http, plan.valkey}


def test_a_second_stack_with_the_same_base_is_refused_even_before_the_first_listens() -> None:
    plan = _free_plan()
    with claim_ports(plan), pytest.raises(PortsTakenError, match=f"process {os.getpid()}"):
        claim_ports(plan)
    claim_ports(plan).release()


def test_each_further_envoy_of_a_gateway_has_an_admin_port_of_its_own() -> None:
    plan = plan_ports(10_000, envoys={"central": 2, "marketing": 9})
    assert plan.gateways["central"].more_envoy_admins == (10_102,)
    assert plan.gateways["marketing"].more_envoy_admins == tuple(range(10_122, 10_130))
    assert plan.gateways["sales"].more_envoy_admins == ()
    ports = list(plan.named().values())
    assert len(set(ports)) == len(ports)


@pytest.mark.parametrize(("name", "count"), [("marketing", 0), ("marketing", 10), ("travel", 2)])
def test_envoys_that_cannot_be_run_are_refused(name: str, count: int) -> None:
    with pytest.raises(ValueError, match=r"Envoys of|Envoys on"):
        plan_ports(10_000, envoys={name: count})
