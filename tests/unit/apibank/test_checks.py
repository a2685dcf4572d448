"""`apibank policy validate|lint`: what people and scripts are told of files before they are live."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from apibank import __version__
from apibank.cli import app
from apibank.policies import shipped

runner = CliRunner()


def run(*arguments: str) -> Result:
    return runner.invoke(app, list(arguments))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The gateway of the linter's pages, alone."""
    there = tmp_path / "gateways"
    there.mkdir()
    example = Path(__file__).parents[3] / "docs" / "lint" / "example.yaml"
    shutil.copy(example, there / "example.yaml")
    return there


def change(folder: Path, before: str, after: str) -> None:
    file = folder / "example.yaml"
    text = file.read_text(encoding="utf-8")
    assert before in text
    file.write_text(text.replace(before, after, 1), encoding="utf-8")


def validate(folder: Path, *arguments: str) -> Result:
    return run("policy", "validate", "--policies", str(folder), "--no-envoy", *arguments)


def lint(folder: Path, *arguments: str) -> Result:
    return run("policy", "lint", "--policies", str(folder), *arguments)


def records(done: Result) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


UNLIMITED = ("    upstream: shop\n", "    upstream: shop\n    access: public\n    limits: []\n    scopes: null\n")


def test_a_good_file_is_valid_and_it_is_said_who_was_not_asked(folder: Path) -> None:
    done = validate(folder)
    assert done.exit_code == 0
    assert done.stdout.endswith("no issues found\n")
    assert "note: Envoy was not asked" in done.stdout


def test_an_error_of_the_linter_is_an_error_of_validate_with_its_line_and_page(folder: Path) -> None:
    change(folder, *UNLIMITED)
    done = validate(folder)
    assert done.exit_code == 1
    assert "error[AB201]: " in done.stdout
    assert "docs/lint/AB201.md" in done.stdout
    told = json.loads(validate(folder, "-o", "json").stdout)
    (one,) = told["errors"]
    assert (told["valid"], one["code"], one["check"], one["gateway"]) == (False, "AB201", "lint", "example")
    lines = (folder / "example.yaml").read_text(encoding="utf-8").splitlines()
    assert lines[one["line"] - 1] == "  orders:"


def test_a_warning_is_told_and_refuses_nothing(folder: Path) -> None:
    change(folder, "    path: /orders\n", "    path: /orders\n    timeout_ms: 600000\n")
    done = validate(folder)
    assert done.exit_code == 0
    assert "warning[AB303]: " in done.stdout
    assert done.stdout.endswith("0 error(s), 1 warning(s)\n")


def test_what_the_schema_refuses_in_one_file_hides_nothing_of_another(folder: Path) -> None:
    other = (folder / "example.yaml").read_text(encoding="utf-8").replace("gateway: example", "gateway: other")
    (folder / "other.yaml").write_text(other, encoding="utf-8")
    change(folder, "    path: /orders\n", "    path: /orders\n    timeout_ms: 600000\n")
    (folder / "other.yaml").write_text(other.replace("upstream: shop", "upstraem: shop"), encoding="utf-8")
    told = json.loads(validate(folder, "-o", "json").stdout)
    assert [one["check"] for one in told["errors"]] == ["schema"] * len(told["errors"])
    assert [one["code"] for one in told["warnings"]] == ["AB303"]


def test_a_gateway_that_is_named_is_checked_alone(folder: Path) -> None:
    (folder / "other.yaml").write_text("nonsense", encoding="utf-8")
    assert validate(folder).exit_code == 1
    assert validate(folder, "example").exit_code == 0
    done = validate(folder, "nobody")
    assert done.exit_code == 2
    assert "no nobody.yaml" in done.stderr


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_scripts_get_findings_with_code_place_and_help(folder: Path, form: str) -> None:
    change(folder, *UNLIMITED)
    done = lint(folder, "-o", form)
    assert done.exit_code == 1
    (one,) = [each for each in yaml.safe_load(done.stdout) if each["code"] == "AB201"]
    assert {"severity", "check", "file", "line", "column", "path", "message", "hint"} <= set(one)


def test_what_is_excepted_is_told_only_on_demand_with_its_reason(folder: Path) -> None:
    change(
        folder,
        "    path: /orders\n",
        '    path: /orders\n    timeout_ms: 600000\n    lint_exceptions: {AB303: "reports take ten minutes"}\n',
    )
    assert records(lint(folder, "-o", "json")) == []
    (one,) = records(lint(folder, "--all", "-o", "json"))
    assert one["excepted"] == "reports take ten minutes"
    done = lint(folder, "--all")
    assert done.exit_code == 0
    assert "= meant: reports take ten minutes" in done.stdout


def test_every_code_is_listed_with_a_page_that_is_there() -> None:
    listed = records(run("policy", "lint", "--codes", "-o", "json"))
    assert all((shipped("..") / one["page"]).is_file() for one in listed)
    assert [one["code"] for one in listed] == sorted(one["code"] for one in listed)


def test_an_envoy_that_was_named_and_is_not_there_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APIBANK_ENVOY_BINARY", str(folder / "envoy"))
    done = run("policy", "validate", "--policies", str(folder))
    assert done.exit_code == 2
    assert "no Envoy at" in done.stderr


def test_the_version_is_printed_by_a_command_and_by_an_option() -> None:
    for asked in ("version", "--version"):
        done = run(asked)
        assert (done.exit_code, done.stdout) == (0, f"{__version__}\n")
