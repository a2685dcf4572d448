"""Every call has its own end, whatever becomes of the others, and both servers say the same."""

import asyncio
import time

import grpc
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.contract.rpc.toy import PATH, SECRET, SERVICE, Served, Toy, serving


async def test_calls_that_come_together_are_answered_each_to_its_caller(served: Served) -> None:
    answers = await asyncio.gather(*(served.say("say", f"w{number}") for number in range(200)))
    assert answers == [f"w{number}".encode() for number in range(200)]


async def test_what_needs_no_waiting_does_not_wait_for_what_does(served: Served) -> None:
    waiting = asyncio.ensure_future(served.say("wait", "one", "late"))
    await served.toy.holds(1)
    assert await served.say("say", "soon") == b"soon"
    assert not waiting.done()
    served.toy.gate("one").set()
    assert await waiting == b"late"


async def test_calls_that_wait_for_different_things_do_not_wait_for_each_other(served: Served) -> None:
    slow = asyncio.ensure_future(served.say("wait", "slow", "a"))
    quick = asyncio.ensure_future(served.say("wait", "quick", "b"))
    await served.toy.holds(2)
    served.toy.gate("quick").set()
    assert await quick == b"b"
    assert not slow.done()
    served.toy.gate("slow").set()
    assert await slow == b"a"


async def test_calls_of_a_batch_that_wait_for_the_same_are_settled_together_by_the_native_server() -> None:
    async with serving("native") as one:
        calls = [asyncio.ensure_future(one.say("wait", "g", f"w{number}")) for number in range(40)]
        one.toy.gate("g").set()
        answers = await asyncio.gather(*calls)
    assert answers == [f"w{number}".encode() for number in range(40)]
    assert sum(map(len, one.toy.settled)) == 40
    assert max(map(len, one.toy.settled)) <= 16


@pytest.mark.parametrize(("words", "code"), [(["fail"], "INVALID_ARGUMENT"), (["raise"], "INTERNAL")])
async def test_one_call_s_failure_is_no_other_s_and_tells_nothing(served: Served, words: list[str], code: str) -> None:
    calls = [served.code(*words), served.code("say", "w"), served.code(*words), served.code("say", "w")]
    bad, good = StatusCode[code], StatusCode.OK
    assert await asyncio.gather(*calls) == [bad, good, bad, good]


@pytest.mark.parametrize("gate", ["raising", "short"])
async def test_where_nobody_knows_how_calls_ended_none_is_answered(served: Served, gate: str) -> None:
    served.toy.gate(gate).set()
    assert await served.code("wait", gate, "a") is StatusCode.INTERNAL
    assert await served.say("say", "w") == b"w"


async def test_a_call_that_waited_may_fail_alone() -> None:
    async with serving("native") as one:
        one.toy.gate("mixed").set()
        codes = await asyncio.gather(*(one.code("wait", "mixed", "a") for _ in range(30)))
    assert codes.count(StatusCode.UNAVAILABLE) == len(one.toy.settled)
    assert codes.count(StatusCode.OK) == 30 - len(one.toy.settled)


async def test_the_log_tells_of_an_exception_where_it_was_and_not_what_it_says(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    assert await served.code("raise") is StatusCode.INTERNAL
    logged = "".join(capfd.readouterr())
    assert "call_failed" in logged
    assert "toy.py" in logged
    assert SECRET not in logged


async def test_a_call_whose_deadline_passes_is_given_up(served: Served) -> None:
    assert await served.code("wait", "gate", "a", timeout=0.2) is StatusCode.DEADLINE_EXCEEDED
    await served.toy.holds(1)
    async with asyncio.timeout(10):
        while not (served.toy.held[0].given_up or served.toy.cancelled):
            await asyncio.sleep(0.005)
    served.toy.gate("gate").set()
    assert await served.say("say", "w") == b"w"


async def test_a_call_that_is_cancelled_is_given_up_and_the_others_are_not(served: Served) -> None:
    leaver, stayer = (asyncio.ensure_future(served.say("wait", "gate", word)) for word in ("a", "b"))
    await served.toy.holds(2)
    leaver.cancel()
    async with asyncio.timeout(10):
        while not (any(each.given_up for each in served.toy.held) or served.toy.cancelled):
            await asyncio.sleep(0.005)
    served.toy.gate("gate").set()
    assert await stayer == b"b"


async def test_who_has_left_before_its_turn_is_not_begun_for() -> None:
    def asks(port: int, toy: Toy) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary(PATH)
            blocking = call.future(b"block", timeout=60)
            while not toy.begun:
                time.sleep(0.005)
            staying = call.future(b"say stayed", timeout=60)
            leavers = [call.future(b"say left", timeout=0.3) for _ in range(20)]
            codes = {each.exception(timeout=60).code() for each in leavers}
            # Time for the server to be told of it.
            time.sleep(0.2)
            toy.blocked = False
            assert [each.result(timeout=60) for each in (blocking, staying)] == [b"done", b"stayed"]
            assert codes == {StatusCode.DEADLINE_EXCEEDED}

    async with serving("native") as one:
        await asyncio.to_thread(asks, one.running.port, one.toy)
        assert sorted(set(one.toy.begun)) == [b"block", b"say stayed"]


async def test_a_message_that_is_too_long_is_refused(served: Served) -> None:
    assert await served.code("say", "x" * 996) is StatusCode.OK
    assert await served.code("say", "x" * 997) is StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("path", [f"/{SERVICE}/Shout", "/toy.v2.Toy/Say"])
async def test_what_is_not_served_is_unimplemented(served: Served, path: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.channel.unary_unary(path)(b"say w", timeout=10)
    assert raised.value.code() is StatusCode.UNIMPLEMENTED


async def test_health_is_what_the_service_says_of_itself(served: Served) -> None:
    stub = health_pb2_grpc.HealthStub(served.channel)
    for name in ("", SERVICE, "more"):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.Check(health_pb2.HealthCheckRequest(service="other"), timeout=10)
    assert raised.value.code() is StatusCode.NOT_FOUND
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.Check(health_pb2.HealthCheckRequest(service="broken"), timeout=10)
    assert raised.value.code() is StatusCode.INTERNAL
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(("name", "status"), [("", "SERVING"), (SERVICE, "SERVING"), ("other", "SERVICE_UNKNOWN")])
async def test_who_watches_health_is_told_at_once_and_kept(served: Served, name: str, status: str) -> None:
    stub = health_pb2_grpc.HealthStub(served.channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=name), timeout=10)
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.ServingStatus.Value(status)
    assert not watch.done()
    watch.cancel()
