"""Who waits for an answer does not hold against others that the own process stood still."""

import asyncio
import time

import pytest

from portal.patience import within


async def test_an_answer_in_time_is_taken_and_a_failure_is_passed_on() -> None:
    async def fails() -> None:
        raise KeyError("as it is")

    await within(1.0, lambda: asyncio.sleep(0))
    with pytest.raises(KeyError):
        await within(1.0, fails)


async def test_silence_ends_the_wait_and_the_question() -> None:
    ended = asyncio.Event()

    async def silent() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(TimeoutError):
        await within(0.05, silent)
    assert ended.is_set()


async def test_a_process_that_stood_still_blames_nobody() -> None:
    async def in_steps() -> None:
        # Stands still for longer than the patience, as a process does that gets no processor, with answers to come.
        await asyncio.sleep(0.001)
        time.sleep(0.3)
        for _ in range(20):
            await asyncio.sleep(0.001)

    await within(0.2, in_steps)


async def test_who_is_called_off_calls_off_the_question() -> None:
    ended = asyncio.Event()

    async def silent() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    waiting = asyncio.ensure_future(within(60.0, silent))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()
