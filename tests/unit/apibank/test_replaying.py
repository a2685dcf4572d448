"""Kept checks on disk - few, the latest, for the process's user alone - and `apibank replay` over them."""

import asyncio
import json
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from apibank.cli import app
from apibank.replaying import replay_all
from apibank.sample_spool import SampleSpool, kept_samples
from authz.audit import Pseudonyms
from authz.modes import in_mode
from authz.pipeline import decide
from authz.request import Request
from authz.rules import Rules, compile_rules
from policy.model import Gateway
from tests.unit.authz.test_authorizer import World
from tests.unit.authz.world import NOW, facts, policy, request, token

KEEPING: Mapping[str, object] = {"sample": 1.0, "keep": 100}


class Spooled:
    """A spool, and the checks that it is told of."""

    def __init__(self, folder: Path, gateway: Gateway | None = None, chance: float = 0.0) -> None:
        self.rules: Rules = compile_rules(gateway or policy(replay=KEEPING))
        self.folder, self.registry = folder, CollectorRegistry()
        self.spool = SampleSpool(folder, "marketing", Pseudonyms(b"key"), self.registry, lambda: chance)

    def take(self, asked: Request, times: int = 1) -> None:
        asked = replace(asked, policy=self.rules.version)
        decision = in_mode(asked, decide(asked, self.rules, facts(), NOW))
        for number in range(times):
            self.spool.take(asked, decision, self.rules, NOW + number)

    def counted(self, outcome: str) -> float | None:
        labels = {"gateway": "marketing", "outcome": outcome}
        return self.registry.get_sample_value("apibank_authz_samples_total", labels)


def test_what_was_kept_is_read_back_in_its_order_by_this_user_alone(tmp_path: Path) -> None:
    spooled = Spooled(tmp_path / "samples")
    spooled.take(request(token=token()), times=3)
    spooled.take(request())
    spooled.spool.flush()
    found = list(kept_samples(spooled.folder, "marketing"))
    assert [one.outcome for one in found] == ["allowed"] * 3 + ["denied"]
    assert [one.at for one in found[:3]] == [NOW, NOW + 1, NOW + 2]
    assert stat.S_IMODE((spooled.folder / "marketing.jsonl").stat().st_mode) == 0o600
    assert stat.S_IMODE(spooled.folder.stat().st_mode) == 0o700
    assert spooled.counted("kept") == 4


def test_no_more_is_kept_than_policy_says_and_no_less_than_half_of_it(tmp_path: Path) -> None:
    spooled = Spooled(tmp_path)
    for _ in range(7):
        spooled.take(request(token=token()), times=45)
        spooled.spool.flush()
        assert len(list(kept_samples(tmp_path, "marketing"))) <= 100
    assert len(list(kept_samples(tmp_path, "marketing"))) >= 50
    # The next process goes on where this one ended.
    following = Spooled(tmp_path)
    following.take(request(token=token()), times=90)
    following.spool.flush()
    assert 50 <= len(list(kept_samples(tmp_path, "marketing"))) <= 100


def test_only_the_share_that_policy_names_is_kept(tmp_path: Path) -> None:
    for sample, chance, wanted in ((0.01, 0.02, 0), (0.01, 0.009, 1), (1.0, 0.999, 1)):
        spooled = Spooled(tmp_path / str(chance), policy(replay={"sample": sample}), chance)
        spooled.take(request())
        spooled.spool.flush()
        assert len(list(kept_samples(spooled.folder, "marketing"))) == wanted


def test_nothing_is_kept_of_a_policy_that_does_not_say_so(tmp_path: Path) -> None:
    spooled = Spooled(tmp_path / "samples", policy())
    spooled.take(request())
    spooled.spool.flush()
    assert not spooled.folder.exists()


def test_what_finds_no_room_is_dropped_and_counted(tmp_path: Path) -> None:
    spooled = Spooled(tmp_path)
    spooled.take(request(), times=1100)
    assert spooled.counted("dropped") == 1100 - 1024
    spooled.take(request(path="/api/marketing/content/waw_live_sk_0123456789ABCDEFGHij"))
    assert spooled.counted("dropped") == 1100 - 1024 + 1


def test_a_line_that_was_cut_short_takes_nothing_from_the_others(tmp_path: Path) -> None:
    spooled = Spooled(tmp_path)
    spooled.take(request(), times=2)
    spooled.spool.flush()
    with (tmp_path / "marketing.jsonl").open("ab") as file:
        file.write(b'{"at": 1, "pol')
    assert len(list(kept_samples(tmp_path, "marketing"))) == 2


async def test_a_sampler_that_has_no_disk_refuses_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    spooled = Spooled(tmp_path / "file" / "samples")
    world = World(spooled.rules, sampler=spooled.spool)
    assert (await world.authorizer.authorize(request(token=token(), rules=spooled.rules))).allowed
    with pytest.raises(OSError, match="Not a directory"):
        spooled.spool.flush()


def test_a_report_counts_by_route_and_reasons_those_that_refuse_first(tmp_path: Path) -> None:
    spooled = Spooled(tmp_path)
    spooled.take(request(), times=5)
    spooled.take(request(token=token()), times=2)
    spooled.take(request("docs"), times=3)
    spooled.spool.flush()
    report = replay_all(policy(tiers=["free"], mode="optional"), kept_samples(tmp_path, "marketing"))
    assert (report.replayed, report.unchanged, report.refuses) == (10, 3, True)
    assert [(one["change"], one["count"], one["after"]) for one in report.changes] == [
        ("newly_refused", 2, "tier_not_admitted"),
        ("newly_admitted", 5, ""),
    ]


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    folder = tmp_path / "policies"
    folder.mkdir()
    document = policy().model_dump(mode="json", exclude_defaults=True)
    (folder / "marketing.yaml").write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return folder


def test_the_command_says_no_where_something_would_be_refused(tmp_path: Path, policies: Path) -> None:
    spooled = Spooled(tmp_path / "state" / "samples")
    asked = ["replay", "marketing", "--policies", str(policies), "--state-dir", str(tmp_path / "state")]
    empty = CliRunner().invoke(app, asked)
    assert (empty.exit_code, "nothing is kept of marketing" in empty.output) == (2, True)
    spooled.take(request(token=token()), times=2)
    spooled.spool.flush()
    same = CliRunner().invoke(app, asked)
    assert same.exit_code == 0
    assert "nothing would change" in same.output
    assert "2 checks of marketing, 2 the same" in same.output
    file = policies / "marketing.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("- customer\n", "- nobody\n"), encoding="utf-8")
    other = CliRunner().invoke(app, asked)
    assert other.exit_code == 1
    assert "newly refused" in other.output
    assert "caller_not_admitted" in other.output
    record = json.loads(CliRunner().invoke(app, [*asked, "-o", "json"]).stdout)
    assert record["refuses"] is True
    assert record["changes"][0]["example"]["path"] == "/api/marketing/content"


async def test_nothing_is_written_through_a_link_and_what_cannot_be_kept_is_counted(tmp_path: Path) -> None:
    spooled = Spooled(tmp_path / "samples")
    spooled.folder.mkdir()
    (spooled.folder / "marketing.jsonl").symlink_to(tmp_path / "elsewhere")
    spooled.take(request(token=token()), times=3)
    running = asyncio.create_task(spooled.spool.run(asyncio.Event()))
    async with asyncio.timeout(10):
        while not spooled.counted("dropped"):
            await asyncio.sleep(0.05)
    running.cancel()
    assert spooled.counted("dropped") == 3
    assert not (tmp_path / "elsewhere").exists()
