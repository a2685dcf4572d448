"""A server that stops answers what it took, and says so where it cannot."""

import asyncio
from typing import get_args

import pytest
from grpc import StatusCode

from rpc.server import ServerKind, is_private, serve_method
from rpc.service import Method
from tests.contract.rpc.toy import SERVICE, Served, Toy, is_serving, serving

LEAVING = {StatusCode.UNAVAILABLE, StatusCode.CANCELLED}


async def test_what_was_taken_is_answered_and_no_more_is_taken(served: Served) -> None:
    waiting = [asyncio.ensure_future(served.say("wait", "gate", f"w{number}")) for number in range(20)]
    await served.toy.holds(20)
    stopping = asyncio.ensure_future(served.running.stop(10))
    await asyncio.sleep(0)
    assert await served.code("say", "w", timeout=5) in LEAVING
    served.toy.gate("gate").set()
    assert await asyncio.gather(*waiting) == [f"w{number}".encode() for number in range(20)]
    await stopping
    assert await served.code("say", "w", timeout=5) in LEAVING


async def test_what_the_grace_is_too_short_for_fails_and_the_service_is_told(served: Served) -> None:
    waiting = [asyncio.ensure_future(served.code("wait", "gate", "w")) for _ in range(5)]
    await served.toy.holds(5)
    async with asyncio.timeout(10):
        await served.running.stop(0.05)
        assert set(await asyncio.gather(*waiting)) <= LEAVING
        while served.toy.cancelled < 5:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("kind", get_args(ServerKind))
async def test_answers_that_were_just_given_reach_their_callers(kind: ServerKind) -> None:
    for _ in range(5):
        async with serving(kind) as one:
            waiting = [asyncio.ensure_future(one.say("wait", "gate", "w")) for _ in range(50)]
            await one.toy.holds(50)
            one.toy.gate("gate").set()
            await one.running.stop(10)
            assert await asyncio.gather(*waiting) == [b"w"] * 50


async def test_callers_that_have_left_do_not_hold_a_server_up() -> None:
    async with serving("native") as one:
        leavers = [asyncio.ensure_future(one.say("wait", "gate", "w")) for _ in range(5)]
        await one.toy.holds(5)
        for each in leavers:
            each.cancel()
        async with asyncio.timeout(10):
            while not all(each.given_up for each in one.toy.held):
                await asyncio.sleep(0.005)
        one.toy.gate("gate").set()
        # Far less than the grace, which nobody needs.
        async with asyncio.timeout(10):
            await one.running.stop(1000)


@pytest.mark.parametrize(
    ("listen", "private"),
    [
        ("unix:/run/a.sock", True),
        ("127.0.0.1:0", True),
        ("127.8.9.1:80", True),
        ("[::1]:80", True),
        ("0.0.0.0:80", False),
        ("[::]:80", False),
        ("192.0.2.1:80", False),
        ("localhost.evil:80", False),
        (":80", False),
        ("", False),
    ],
)
def test_only_this_machine_reaches_a_socket_or_a_loopback_address(listen: str, private: bool) -> None:
    assert is_private(listen) is private


@pytest.mark.parametrize("kind", get_args(ServerKind))
async def test_an_address_that_is_taken_is_an_error_at_once(kind: ServerKind) -> None:
    method = Method(SERVICE, "Say", Toy(), is_serving)
    async with serving(kind) as one:
        with pytest.raises(RuntimeError):
            await serve_method(method, f"127.0.0.1:{one.running.port}", kind)


async def test_a_network_of_its_own_may_reach_it_if_told_so() -> None:
    method = Method(SERVICE, "Say", Toy(), is_serving)
    with pytest.raises(ValueError, match=r"toy\.v1\.Toy on 0\.0\.0\.0:0 needs TLS"):
        await serve_method(method, "0.0.0.0:0")
    await (await serve_method(method, "0.0.0.0:0", exposed=True)).stop(0)
