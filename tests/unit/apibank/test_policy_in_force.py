"""A gateway's process decides by its file, and knows a candidate beside it."""

import shutil
from collections.abc import Container
from pathlib import Path

import httpx2
import pytest
from prometheus_client import CollectorRegistry

from apibank.policies import PolicyFolder, shipped
from apibank.policy_in_force import PolicyInForce
from authz.audit import JsonLinesSink
from authz.authorizer import Authorizer
from authz.facts import FactsBoard
from authz.identity.keys import KeySet, source_of
from authz.metrics import AuthzMetrics
from authz.nonces import MemoryNonceStore
from authz.sources import CredentialSources
from policy.model import Gateway
from policy.problem import PolicyError
from ratelimit.limiter import RateLimiter
from ratelimit.memory_store import MemoryStore
from ratelimit.metrics import RateLimitMetrics


@pytest.fixture
def folder(tmp_path: Path) -> PolicyFolder:
    target = tmp_path / "gateways"
    shutil.copytree(shipped("gateways"), target)
    (target / ".candidate").mkdir(exist_ok=True)
    return PolicyFolder(target, ("dev",))


class Process:
    """The parts of a gateway's process that decide."""

    def __init__(self, folder: PolicyFolder) -> None:
        registry, board = CollectorRegistry(), FactsBoard()
        self.board = board
        metrics = AuthzMetrics(registry, "sales")
        self.authorizer = Authorizer(
            "sales", board=board, nonces=MemoryNonceStore(), audit=JsonLinesSink(lambda _: None), metrics=metrics
        )
        limiter = RateLimiter(MemoryStore(), RateLimitMetrics(registry), strict=True)
        sources = CredentialSources(board, metrics, httpx2.AsyncClient(trust_env=False))
        self.still_run: list[Gateway] = []
        self.policy = PolicyInForce(folder, "sales", self.authorizer, limiter, sources, self._still_run)
        self.close = sources.close

    async def _still_run(self, known: Container[str]) -> list[Gateway]:
        return [] if all(one.version in known for one in self.still_run) else self.still_run


def candidate_of(folder: PolicyFolder) -> str:
    """Write one; returns its version."""
    text = (folder.folder / "sales.yaml").read_text(encoding="utf-8")
    tried = text.replace("description:", "description: tried;", 1)
    (folder.candidates / "sales.yaml").write_text(tried, encoding="utf-8")
    loaded = folder.load_candidate("sales")
    assert loaded is not None
    return loaded.gateway.version


async def test_a_candidate_is_decided_by_beside_the_file_and_takes_nothing_from_it(folder: PolicyFolder) -> None:
    process = Process(folder)
    await process.policy.take()
    version = candidate_of(folder)
    await process.policy.consider()
    assert process.policy.gateway is not None
    assert process.authorizer.versions == (process.policy.gateway.version, version)
    assert process.policy.gateway.version != version
    await process.close()


async def test_a_candidate_that_is_broken_changes_nothing(folder: PolicyFolder) -> None:
    process = Process(folder)
    await process.policy.take()
    (folder.candidates / "sales.yaml").write_text("gateway: sales\n", encoding="utf-8")
    with pytest.raises(PolicyError):
        await process.policy.consider()
    assert len(process.authorizer.versions) == 1
    await process.close()


async def test_without_a_candidate_there_is_nothing_to_consider(folder: PolicyFolder) -> None:
    process = Process(folder)
    await process.policy.take()
    await process.policy.consider()
    assert len(process.authorizer.versions) == 1
    await process.close()


async def test_what_envoys_may_still_run_is_known_after_a_restart(folder: PolicyFolder) -> None:
    process = Process(folder)
    await process.policy.take()
    version = candidate_of(folder)
    former = folder.load_candidate("sales")
    assert former is not None
    process.still_run = [former.gateway]
    await process.policy.remember()
    assert process.authorizer.versions[-1] == version
    await process.close()


async def test_the_issuers_of_what_envoys_still_ask_by_are_known_until_it_is_long_gone(folder: PolicyFolder) -> None:
    process = Process(folder)
    await process.policy.take()
    first = process.policy.gateway
    assert first is not None
    (name, issuer), *_ = first.issuers.items()
    kept_as = source_of(name, issuer)
    process.board.put_key_set(kept_as, KeySet())
    document = first.model_dump(mode="json", exclude_defaults=True)
    document["issuers"][name]["jwks"]["url"] = "http://127.0.0.1:9/moved"
    for number in range(12):
        await process.policy.put(Gateway.model_validate({**document, "description": f"{number}"}))
        assert (kept_as in process.board.current.key_sets) == (number < 8)
    await process.close()


async def test_what_envoys_go_on_with_is_known_however_many_versions_they_refuse(folder: PolicyFolder) -> None:
    process = Process(folder)
    await process.policy.take()
    first = process.policy.gateway
    assert first is not None
    process.still_run = [first]
    for number in range(40):
        document = first.model_dump(mode="json", exclude_defaults=True)
        await process.policy.put(Gateway.model_validate({**document, "description": f"refused by Envoys, {number}"}))
        await process.policy.remember()
        assert first.version in process.authorizer.versions
    await process.close()
