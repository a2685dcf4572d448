"""`apibank traffic` and `apibank cost`, as a person and as a script see them."""

import asyncio
import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from apibank.cli import app
from records.database import Database
from records.upgrade import upgrade
from records.usage import Counts, Key, Scope, Usage

runner = CliRunner()


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Usage of a minute ago: 90 good requests of a partner and ten that failed, through central to marketing."""
    url = f"sqlite:///{tmp_path / 'usage.db'}"

    async def fill() -> None:
        await upgrade(url)
        rows = {}
        for scope, caller in ((Scope.ALL, ""), (Scope.CALLER, "partner:acme")):
            for gateway, route in (("central", "marketing"), ("marketing", "content")):
                for status, requests in ((200, 90), (503, 10)):
                    key = Key(int(time.time()) - 60, scope, gateway, route, caller, "", "business", status)
                    rows[key] = Counts(requests, 0, 2**20, 0, 1.0, f"24:{requests}")
        async with Database(url) as database:
            await Usage(database).add(rows)

    asyncio.run(fill())
    return url


def asked(*arguments: str) -> tuple[int, str, str]:
    answer = runner.invoke(app, list(arguments))
    return answer.exit_code, answer.stdout, answer.stderr


@pytest.mark.requirement("R18", "R19", "R21")
def test_traffic_is_a_table_for_people_and_whole_for_scripts(url: str) -> None:
    code, out, _ = asked("traffic", "--by", "caller", "--database", url)
    assert code == 0
    heads, line = out.splitlines()
    assert heads.split() == ["NAME", "REQUESTS", "4XX", "5XX", "ERRORS", "P50", "MS", "P95", "MS", "P99", "MS", "MIB"]
    assert line.split() == ["partner:acme", "100", "0", "10", "10.0%", "8.4", "8.4", "8.4", "2.0"]
    code, out, _ = asked("traffic", "--by", "route", "--database", url, "-o", "json")
    (route,) = json.loads(out)
    assert (route["name"], route["requests"], route["server_errors"]) == ("marketing / content", 100, 10)
    assert len(json.loads(asked("traffic", "--by", "hour", "--database", url, "-o", "json")[1])) == 24


@pytest.mark.requirement("R80", "R85")
def test_cost_is_by_domain_and_tier_with_the_way_to_the_next_upgrade(url: str, tmp_path: Path) -> None:
    code, out, _ = asked("cost", "--database", url)
    assert code == 0
    assert out.splitlines()[1].split() == ["marketing", "business", "100", "0.00035"]
    assert "100 requests in 30 days; an upgrade is thought of from 100000 on (not reached)" in out
    told = json.loads(asked("cost", "--database", url, "-o", "json")[1])
    assert told["upgrade"] == {"requests_in_30_days": 100, "at_requests": 100_000, "at_revenue": 10_000}
    assert told["dollars"] == 0.00035


def test_what_cannot_be_answered_is_said_in_one_line(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = asked("traffic", "--period", "year", "--database", url)
    assert (code, err) == (2, "error: --period 'year' is none of day, week, month\n")
    code, _, err = asked("traffic", "--database", f"sqlite:///{tmp_path / 'none.db'}")
    assert code == 2
    assert "there is no database at" in err
    (tmp_path / "empty.db").touch()
    code, _, err = asked("cost", "--database", f"sqlite:///{tmp_path / 'empty.db'}")
    assert (code, err.count("\n")) == (2, 1)
    assert "has no usage" in err
    monkeypatch.setenv("APIBANK_PRICES", str(tmp_path / "prices.yaml"))
    code, _, err = asked("cost", "--database", url)
    assert code == 2
    assert "prices.yaml is no file of Prometheus' rules" in err
