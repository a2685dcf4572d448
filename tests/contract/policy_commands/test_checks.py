"""`apibank policy lint` and `validate` as people and scripts use them; the Envoy that is asked is a real one."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from apibank.cli import app
from apibank.policies import shipped


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two gateways: an Envoy is asked for each."""
    target = tmp_path / "gateways"
    target.mkdir()
    for name in ("marketing", "sales"):
        shutil.copy(shipped("gateways", f"{name}.yaml"), target)
    return target


def run(command: str, folder: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["policy", command, "--policies", str(folder), *options])


def change(folder: Path, **fields: Any) -> None:
    """Give the gateway of sales other fields, each in its section."""
    file = folder / "sales.yaml"
    policy = yaml.safe_load(file.read_text(encoding="utf-8"))
    for section, entries in fields.items():
        policy.setdefault(section, {}).update(entries)
    file.write_text(yaml.safe_dump(policy, sort_keys=False), encoding="utf-8")


def upstream_of(folder: Path) -> str:
    policy = yaml.safe_load((folder / "sales.yaml").read_text(encoding="utf-8"))
    return str(next(iter(policy["upstreams"])))


def warn(folder: Path) -> None:
    route = {"path": "/off", "upstream": upstream_of(folder), "maintenance": {"message": "Back soon"}}
    change(folder, routes={"off": {**route, "rules": []}})


def err(folder: Path) -> None:
    route = {"path": "/open", "upstream": upstream_of(folder), "access": "public", "limits": []}
    change(folder, routes={"open": {**route, "rules": []}})


def test_good_files_have_nothing_to_say_of_and_exit_with_zero(folder: Path) -> None:
    done = run("lint", folder)
    assert (done.exit_code, done.stdout) == (0, "no issues found\n")


def test_a_warning_fails_where_that_is_asked_for(folder: Path) -> None:
    warn(folder)
    done = run("lint", folder)
    assert done.exit_code == 0
    assert "warning[AB305]: " in done.stdout
    assert "docs/lint/AB305.md" in done.stdout
    assert run("lint", folder, "--strict").exit_code == 1


def test_an_error_fails_and_programs_get_its_place_and_code(folder: Path) -> None:
    err(folder)
    done = run("lint", folder, "-o", "json")
    assert done.exit_code == 1
    (found,) = json.loads(done.stdout)
    assert (found["code"], found["severity"], found["path"]) == ("AB201", "error", "routes.open")
    assert found["file"].endswith("sales.yaml")
    assert found["line"] > 1


def test_yaml_says_the_same_as_json(folder: Path) -> None:
    err(folder)
    assert yaml.safe_load(run("lint", folder, "-o", "yaml").stdout) == json.loads(
        run("lint", folder, "-o", "json").stdout
    )


def test_only_the_named_gateways_are_looked_at_and_an_unknown_one_cannot_be(folder: Path) -> None:
    err(folder)
    assert run("lint", folder, "marketing").exit_code == 0
    assert run("lint", folder, "nobody").exit_code == 2


def test_what_is_excepted_is_shown_with_its_reason_on_demand(folder: Path) -> None:
    err(folder)
    change(folder, lint_exceptions={"AB201": "central limits these callers"})
    assert run("lint", folder).stdout == "no issues found\n"
    shown = run("lint", folder, "--all")
    assert shown.exit_code == 0
    assert "central limits these callers" in shown.stdout


def test_every_code_is_listed_with_its_page(folder: Path) -> None:
    listed = json.loads(run("lint", folder, "--codes", "-o", "json").stdout)
    assert {one["code"] for one in listed} >= {"AB101", "AB201", "AB301", "AB401", "AB501", "AB502"}
    root = Path(__file__).parents[3]
    assert all((root / one["page"]).is_file() for one in listed)


def test_a_good_folder_is_valid_to_an_envoy_too(folder: Path) -> None:
    done = run("validate", folder)
    assert done.exit_code == 0, done.output
    assert "no issues found" in done.stdout
    # The certificates of the mesh are on no machine that only looks.
    assert "made-up ones" in done.stdout


def test_what_only_an_envoy_refuses_is_found_and_said_at_its_line(folder: Path) -> None:
    # Two sockets cannot have one address; no schema of ours says so.
    policy = yaml.safe_load((folder / "sales.yaml").read_text(encoding="utf-8"))
    (first, *_) = policy["listeners"]
    change(folder, listeners={"twin": policy["listeners"][first]})
    done = run("validate", folder, "sales", "-o", "json")
    answer = json.loads(done.stdout)
    assert done.exit_code == 1, done.output
    assert not answer["valid"]
    assert {one["check"] for one in answer["errors"]} == {"envoy"}
    # Each of the two is in the other's way.
    assert {one["path"] for one in answer["errors"]} == {f"listeners.{name}" for name in (first, "twin")}
    assert all(one["file"].endswith("sales.yaml") and one["line"] > 1 for one in answer["errors"])
    assert all("address" in one["message"] for one in answer["errors"])


def test_an_error_of_the_linter_makes_a_folder_invalid_without_an_envoy(folder: Path) -> None:
    err(folder)
    done = run("validate", folder, "--no-envoy")
    assert done.exit_code == 1
    assert "error[AB201]: " in done.stdout
    assert "Envoy was not asked" in done.stdout


def test_a_folder_without_policies_cannot_be_judged(tmp_path: Path) -> None:
    assert run("validate", tmp_path).exit_code == 2
    assert run("lint", tmp_path).exit_code == 2
