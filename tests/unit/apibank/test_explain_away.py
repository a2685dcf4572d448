"""`apibank explain` where something cannot be looked up: that is no refusal, and nothing for anybody's log."""

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import yaml
from typer.testing import CliRunner, Result

from apibank.cli import app
from apibank.explain_desk import ExplainDesk
from apibank.policies import PolicyFolder, shipped
from apibank.published import Published
from apibank.untold import untold, without_untold
from portal.explain_api import ExplainRequest
from records.database import Database
from records.upgrade import upgrade
from tests.unit.apibank.test_explain_credentials import token


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The shipped policies, with issuers' keys at an address of this machine where nobody listens."""
    there = Path(shutil.copytree(shipped("gateways"), tmp_path / "gateways"))
    for file in there.glob("*.yaml"):
        policy = yaml.safe_load(file.read_text(encoding="utf-8"))
        for issuer in policy.get("issuers", {}).values():
            issuer["jwks"] = {"url": "http://127.0.0.1:9/keys"}
        file.write_text(yaml.safe_dump(policy, sort_keys=False), encoding="utf-8")
    return there


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    former, written = structlog.get_config(), io.StringIO()
    structlog.configure(
        processors=[without_untold, structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(written),
    )
    yield written
    structlog.configure(**former)


def explained(folder: Path, *options: str) -> Result:
    asked = ["explain", "GET", "/api/marketing/content", "--policies", str(folder), *options]
    return CliRunner().invoke(app, asked)


def test_a_token_whose_issuer_cannot_be_asked_is_neither_admitted_nor_refused(folder: Path) -> None:
    done = explained(folder, "--token", token())
    assert done.exit_code == 2
    assert "that cannot be said: what central needs to decide could not be looked up" in done.stdout
    assert "the keys of the issuer customer cannot be had here" in done.stdout
    assert "reload_failed" not in done.output
    assert json.loads(explained(folder, "--token", token(), "-o", "json").stdout)["certain"] is False


def test_what_would_be_refused_whoever_answers_is_refused(folder: Path) -> None:
    done = explained(folder, "--address", "192.0.2.1", "-o", "json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["certain"] is True


async def test_what_the_control_plane_cannot_look_up_is_in_its_answer_and_not_in_its_log(
    folder: Path, tmp_path: Path, log: io.StringIO
) -> None:
    loaded = PolicyFolder(folder, (), linted=False).load().gateways
    url = f"sqlite:///{tmp_path / 'explain.db'}"
    await upgrade(url)
    async with Database(url) as database:
        desk = ExplainDesk({name: Published(gateway=one.gateway, loaded=one) for name, one in loaded.items()}, database)
        wanted = {"method": "GET", "path": "/api/marketing/content", "headers": {"authorization": f"Bearer {token()}"}}
        answer = await desk.explain(ExplainRequest.model_validate(wanted))
    assert answer["certain"] is False
    assert log.getvalue() == ""


def test_what_is_logged_otherwise_is_written(log: io.StringIO) -> None:
    logger = structlog.get_logger()
    with untold():
        logger.error("within")
    logger.error("after")
    assert [json.loads(line)["event"] for line in log.getvalue().splitlines()] == ["after"]
