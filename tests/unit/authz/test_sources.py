"""Where facts come from: files, stores and issuers, followed as the policy says and read again when they change."""

import asyncio
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import httpx2
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from prometheus_client import CollectorRegistry

from authz.decision import MissingKey
from authz.facts import FactsBoard
from authz.identity.keys import KeySet, source_of
from authz.metrics import AuthzMetrics
from authz.rules import PolicyUnusableError
from authz.secret_files import MAX_FILE, SecretFileError, read_agents, read_secrets, read_symmetric, stamp
from authz.sources import CredentialSources
from policy.model import Gateway
from tests.unit.authz.world import AUDIENCE, ISSUER, agents_policy, ed_key, policy, rsa_jwk, rsa_key

OLD, NEW = b"o" * 32, b"n" * 40


@pytest.mark.requirement("R24", "R60")
def test_a_file_holds_one_secret_per_line_raw(tmp_path: Path) -> None:
    (tmp_path / "content").write_bytes(NEW + b"\n" + OLD + b"\r\n\n")
    (tmp_path / "vision").write_bytes(b" blanks and \xff count, they are part of it")
    agents, problems = read_agents(tmp_path)
    assert agents.by_agent == {
        "content": (NEW, OLD),
        "vision": (b" blanks and \xff count, they are part of it",),
    }
    assert problems == []


def test_only_files_named_as_agents_are_are_read(tmp_path: Path) -> None:
    for name in ("content", ".hidden", "..data", "Content", "content~", "a.b", "0x"):
        (tmp_path / name).write_bytes(OLD)
    (tmp_path / "folder").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "..data")
    assert set(read_agents(tmp_path)[0].by_agent) == {"content", "linked"}


def test_a_secret_of_the_same_length_and_time_in_the_same_file_is_another(tmp_path: Path) -> None:
    file = tmp_path / "content"
    seen = set()
    for secret in (OLD, b"n" * len(OLD)):
        with file.open("wb") as opened:
            opened.write(secret)
        os.utime(file, ns=(0, 0))
        seen.add(stamp(tmp_path))
        # Longer than the kernel's clock ticks.
        time.sleep(0.02)
    assert len(seen) == 2


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"short", OLD + b"\nshort", (OLD + b"\n") * 5, b"x" * (MAX_FILE + 1)]
)
def test_a_file_that_is_not_a_few_good_secrets_is_refused_and_spoils_no_other(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(content)
    (tmp_path / "good").write_bytes(OLD)
    with pytest.raises(SecretFileError, match="bad") as raised:
        read_secrets(tmp_path / "bad")
    assert "short" not in str(raised.value)
    agents, problems = read_agents(tmp_path)
    assert set(agents.by_agent) == {"good"}
    assert len(problems) == 1


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SecretFileError):
        read_agents(tmp_path / "nowhere")
    with pytest.raises(SecretFileError):
        read_symmetric(tmp_path / "nowhere")


class World:
    def __init__(self, tmp_path: Path) -> None:
        self.published: dict[str, object] = {"k1": rsa_jwk(rsa_key("customer"))}
        self.asked: list[str] = []
        self.down = False
        self.board = FactsBoard()
        self.client = httpx2.AsyncClient(transport=httpx2.MockTransport(self._answer))
        self.sources = CredentialSources(
            self.board,
            AuthzMetrics(CollectorRegistry(), "marketing"),
            self.client,
            base=tmp_path,
            poll=0.01,
        )

    @property
    def key_sets(self) -> Mapping[str, KeySet]:
        """By policy's names of their issuers, where one of that name is known."""
        return {keys.partition("#")[0]: each for keys, each in self.board.current.key_sets.items()}

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(str(request.url))
        if self.down:
            return httpx2.Response(503)
        return httpx2.Response(200, stream=httpx2.ByteStream(json.dumps({"keys": [*self.published.values()]}).encode()))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    await made.sources.close()
    await made.client.aclose()


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


def issuers(**of: dict[str, object]) -> Gateway:
    known = {name: {"issuer": f"{ISSUER}/{name}", "audience": AUDIENCE, **each} for name, each in of.items()}
    admitted = {"tokens": {name: ["customer"] for name in of}}
    return policy(
        issuers=known,
        callers=admitted,
        routes={"plain": {"path": "/api/marketing/plain", "upstream": "service"}},
    )


URL = {"jwks": {"url": "https://auth.example.com/jwks"}}


async def test_keys_are_there_when_apply_returns(world: World) -> None:
    inline = {"jwks": {"keys": [rsa_jwk(rsa_key("other"), "k9")]}}
    await world.sources.apply(issuers(fetched=URL, inline=inline))
    sets = world.key_sets
    assert set(sets["fetched"].keys) == {"k1"}
    assert set(sets["inline"].keys) == {"k9"}
    assert world.asked == ["https://auth.example.com/jwks"]


async def test_the_same_policy_again_asks_nobody_again(world: World) -> None:
    await world.sources.apply(issuers(fetched=URL))
    before = world.key_sets["fetched"]
    await world.sources.apply(issuers(fetched=URL))
    assert world.key_sets["fetched"] is before
    assert len(world.asked) == 1


async def test_an_issuer_that_is_gone_or_changed_loses_its_keys(world: World) -> None:
    await world.sources.apply(issuers(one=URL, two=URL))
    world.published = {}
    await world.sources.apply(issuers(two={"jwks": {"url": "https://new.example.com/jwks"}}))
    assert dict(world.board.current.key_sets) == {}


async def test_keys_in_the_policy_that_cannot_be_used_leave_everything_as_it_was(world: World) -> None:
    await world.sources.apply(issuers(one=URL))
    with pytest.raises(PolicyUnusableError, match="two"):
        await world.sources.apply(issuers(two={"jwks": {"keys": [{"kty": "RSA"}]}}))
    assert set(world.key_sets) == {"one"}


async def test_a_key_that_a_token_names_is_looked_for_at_its_issuer_alone(world: World) -> None:
    applied = issuers(one=URL, two=URL)
    await world.sources.apply(applied.model_copy(update={"issuers": {"one": applied.issuers["one"]}}))
    one, two = (source_of(name, issuer) for name, issuer in applied.issuers.items())
    assert await world.sources.find(MissingKey(one, "k1"))
    assert not await world.sources.find(MissingKey(one, "k2"))
    assert not await world.sources.find(MissingKey(two, "k1"))


async def test_agents_secrets_are_read_again_when_a_file_changes_comes_or_goes(world: World, tmp_path: Path) -> None:
    directory = tmp_path / "agents"
    directory.mkdir()
    (directory / "content").write_bytes(OLD)
    await world.sources.apply(agents_policy(agents={"secrets_directory": "agents"}))

    def secrets() -> Mapping[str, tuple[bytes, ...]]:
        known = world.board.current.agent_secrets
        return {} if known is None else known.by_agent

    assert secrets() == {"content": (OLD,)}
    (directory / "content").write_bytes(NEW + b"\n" + OLD)
    await eventually(lambda: secrets() == {"content": (NEW, OLD)})
    (directory / "vision").write_bytes(OLD)
    await eventually(lambda: "vision" in secrets())
    (directory / "content").unlink()
    await eventually(lambda: "content" not in secrets())


async def test_secrets_whose_directory_is_gone_stay_and_return_with_it(world: World, tmp_path: Path) -> None:
    directory = tmp_path / "agents"
    await world.sources.apply(agents_policy(agents={"secrets_directory": "agents"}))
    assert world.board.current.agent_secrets is None
    directory.mkdir()
    (directory / "content").write_bytes(OLD)
    await eventually(lambda: world.board.current.agent_secrets is not None)
    directory.rename(tmp_path / "elsewhere")
    await asyncio.sleep(0.05)
    assert world.board.current.agent_secrets is not None
    assert world.board.current.agent_secrets.by_agent == {"content": (OLD,)}


async def test_a_symmetric_issuers_secret_is_read_again_when_it_changes(world: World, tmp_path: Path) -> None:
    (tmp_path / "hs").write_bytes(OLD)
    await world.sources.apply(issuers(symmetric={"algorithm": "HS256", "secret_file": "hs"}))
    before = world.key_sets["symmetric"].secrets
    assert len(before) == 1
    (tmp_path / "hs").write_bytes(NEW + b"\n" + OLD)
    await eventually(lambda: len(world.key_sets["symmetric"].secrets) == 2)
    assert world.key_sets["symmetric"].secrets[1] == before[0]


SYMMETRIC: dict[str, object] = {"algorithm": "HS256", "secret_file": "hs"}
SEALED: dict[str, object] = {"algorithm": "EdDSA", "break_glass": True, "public_key_file": "sealed.pem"}


def with_files(folder: Path) -> None:
    (folder / "hs").write_bytes(OLD)
    public = ed_key("sealed").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "sealed.pem").write_bytes(public)


@pytest.mark.parametrize("source", [URL, SYMMETRIC, SEALED], ids=["fetched", "symmetric", "sealed"])
async def test_what_a_policy_says_of_an_issuers_tokens_costs_it_none_of_its_keys(
    source: dict[str, object], world: World, tmp_path: Path
) -> None:
    with_files(tmp_path)
    await world.sources.apply(issuers(one=source))
    before = world.key_sets["one"]
    world.down = True
    await world.sources.apply(issuers(one={**source, "leeway_seconds": 30}))
    assert world.key_sets == {"one": before}


async def test_keys_that_are_asked_for_at_other_times_stay_while_their_issuer_is_down(world: World) -> None:
    await world.sources.apply(issuers(one=URL))
    before = world.key_sets["one"]
    world.down = True
    await world.sources.apply(issuers(one={"jwks": {**URL["jwks"], "refresh_seconds": 20}}))
    assert world.key_sets == {"one": before}
    assert len(world.asked) == 2


@pytest.mark.parametrize("source", [SYMMETRIC, SEALED], ids=["symmetric", "sealed"])
async def test_an_issuer_that_comes_back_has_its_file_read_again(
    source: dict[str, object], world: World, tmp_path: Path
) -> None:
    with_files(tmp_path)
    await world.sources.apply(issuers(one=source))
    await world.sources.apply(issuers(two=URL))
    assert set(world.key_sets) == {"two"}
    await world.sources.apply(issuers(one=source))
    assert set(world.key_sets) == {"one"}


async def test_two_issuers_may_have_their_secret_in_one_file(world: World, tmp_path: Path) -> None:
    with_files(tmp_path)
    await world.sources.apply(issuers(one=SYMMETRIC, two=SYMMETRIC))
    assert set(world.key_sets) == {"one", "two"}


async def test_the_issuers_of_policies_that_envoys_still_ask_by_keep_their_keys(world: World) -> None:
    old, new = issuers(one=URL), issuers(one={"jwks": {"url": "https://new.example.com/jwks"}})
    await world.sources.apply(old)
    world.down = True
    await world.sources.apply(new, old)
    known = world.board.current.key_sets
    assert set(known) == {source_of("one", old.issuers["one"])}
    await world.sources.apply(new)
    assert dict(world.board.current.key_sets) == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://somebody.example.com"},
        {"algorithm": "ES256"},
        {"jwks": {"url": "https://new.example.com/jwks"}},
        {"jwks": {"keys": [{"kty": "RSA"}]}},
    ],
    ids=["of another name", "of another algorithm", "from elsewhere", "written down"],
)
def test_keys_of_another_issuer_under_the_same_name_are_other_keys(changes: dict[str, object]) -> None:
    one = issuers(one=URL).issuers["one"]
    assert source_of("one", one) != source_of("one", issuers(one={**URL, **changes}).issuers["one"])


def secrets_of(world: World) -> Mapping[str, tuple[bytes, ...]] | None:
    known = world.board.current.agent_secrets
    return None if known is None else known.by_agent


async def test_agents_secrets_are_those_of_the_folder_that_the_policy_names(world: World, tmp_path: Path) -> None:
    for folder, secret in (("here", OLD), ("there", NEW)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "content").write_bytes(secret)
    for folder, secret in (("here", OLD), ("there", NEW), ("here", OLD)):
        await world.sources.apply(agents_policy(agents={"secrets_directory": folder}))
        assert secrets_of(world) == {"content": (secret,)}
    # Nobody has said that the secrets of another folder are these agents'.
    await world.sources.apply(agents_policy(agents={"secrets_directory": "nowhere"}))
    assert secrets_of(world) is None


async def test_a_secret_is_taken_away_while_every_thread_of_the_loop_hangs(world: World, tmp_path: Path) -> None:
    # Such as over the name of an issuer, while its resolver does not answer.
    (tmp_path / "agents").mkdir()
    for agent in ("content", "vision"):
        (tmp_path / "agents" / agent).write_bytes(OLD)
    await world.sources.apply(agents_policy(agents={"secrets_directory": "agents"}))
    over = threading.Event()
    hanging = [asyncio.ensure_future(asyncio.to_thread(over.wait)) for _ in range(64)]
    try:
        (tmp_path / "agents" / "vision").unlink()
        await eventually(lambda: secrets_of(world) == {"content": (OLD,)})
    finally:
        over.set()
        await asyncio.gather(*hanging)
