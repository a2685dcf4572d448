"""The store of `apibank serve ratelimit`: which one it is, and what is answered while it is away."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from protos import rls_pb2 as pb
from ratelimit.store import Loss
from tests.contract.ratelimit.process import Served, get, served, until, within_one
from tests.contract.ratelimit.service import OK, OVER, descriptor
from tests.contract.ratelimit.valkey import server_on, socket_path

FILE = """\
domain: d
descriptors:
  - {key: user, rate_limit: {unit: hour, requests_per_unit: 9}}
"""
HOUR = 3600
EXPECTED: dict[str, tuple[list[int | None], list[int | None]]] = {
    "closed": ([None] * 4, [None] * 2),
    "open": ([OK] * 4, [OK] * 2),
    "local": ([OK] * 3 + [OVER], [OK, OVER]),
}
LOSSES = "apibank_ratelimit_store_losses_total"


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rl-") as name:
        folder = Path(name) / "config"
        folder.mkdir()
        (folder / "file.yaml").write_text(FILE)
        yield Path(name)


def overridden(value: str) -> pb.RateLimitDescriptor:
    made = descriptor(("anything", value))
    made.limit.requests_per_unit = 3
    made.limit.unit = 3
    return made


@pytest.mark.parametrize("mode", ["closed", "open", "local"])
def test_while_the_store_is_away_what_was_asked_for_is_answered(
    place: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APIBANK_REPLICAS", "3")
    with socket_path() as path, ExitStack() as first:
        first.enter_context(server_on(path))
        with served(place / "config", f"unix://{path}", place, "--on-store-failure", mode) as it:

            def counted() -> None:
                name, own = descriptor(("user", it.fresh())), overridden(it.fresh())
                assert it.codes(name, times=10, domain="d") == [OK] * 9 + [OVER]
                assert it.codes(own, times=4, domain="d") == [OK] * 3 + [OVER]

            def away() -> None:
                # Nobody whom the store has heard of: a third of 9, and of the 3 that come with the request.
                name, own = descriptor(("user", it.fresh())), overridden(it.fresh())
                assert answers(it, name, 4) == EXPECTED[mode][0]
                assert answers(it, own, 2) == EXPECTED[mode][1]

            within_one(HOUR, counted)
            first.close()
            within_one(HOUR, away)
            label = {"closed": "unavailable", "open": "admitted", "local": "local"}[mode]
            assert sum(it.metric(LOSSES, domain="d", loss=loss, answer=label) for loss in Loss) >= 6
            status = 503 if mode == "closed" else 200
            assert get(it.metrics_url + "/ready")[0] == get(it.http_url + "/healthcheck")[0] == status
            with server_on(path):
                # In the mode `open` ten would pass for as long as nobody counts.
                until(lambda: answers(it, descriptor(("user", it.fresh())), 10) == [OK] * 9 + [OVER])
                within_one(HOUR, counted)


def answers(it: Served, one: pb.RateLimitDescriptor, times: int) -> list[int | None]:
    """None where there was an error."""

    def code() -> int | None:
        try:
            return it.ask(one, domain="d").overall_code
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return None

    return [code() for _ in range(times)]


def test_counters_in_memory_are_as_many_as_the_environment_says(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APIBANK_COUNTERS", "2")
    with served(place / "config", "memory", place) as it:
        assert [it.codes(descriptor(("user", name)), times=1, domain="d") for name in "ab"] == [[OK], [OK]]
        with pytest.raises(grpc.RpcError) as raised:
            it.codes(descriptor(("user", "c")), times=1, domain="d")
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("option", "variable", "words"),
    [
        (["--store", "valkey"], None, "--store: no valkey comes with this service"),
        ([], "valkey", "APIBANK_STORE: no valkey comes with this service"),
        (["--store", "redis:/127.0.0.1"], None, "--store"),
        (["--store", "memory", "--on-store-failure", "never"], None, "--on-store-failure"),
    ],
)
def test_a_store_that_was_asked_for_is_that_store_or_none(
    place: Path, option: list[str], variable: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several processes that count in their own memory, although a store was asked for, would admit too many."""
    monkeypatch.delenv("APIBANK_STORE", raising=False)
    if variable is not None:
        monkeypatch.setenv("APIBANK_STORE", variable)
    command = [sys.executable, "-m", "apibank", "serve", "ratelimit", "--config", str(place / "config"), *option]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode != 0
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_folder_without_files_limits_nothing_says_so_and_is_not_ready(place: Path) -> None:
    with served(place / "config", "memory", place) as it:
        user = descriptor(("user", it.fresh()))
        it.loaded((place / "config" / "file.yaml").unlink)
        assert it.codes(user, times=20, domain="d") == [OK] * 20
        assert get(it.metrics_url + "/ready")[0] == 503
        assert "nothing_is_limited" in (place / "log").read_text()
        it.loaded(lambda: (place / "config" / "file.yaml").write_text(FILE))
        assert it.codes(user, times=10, domain="d") == [OK] * 9 + [OVER]
        assert get(it.metrics_url + "/ready")[0] == 200
