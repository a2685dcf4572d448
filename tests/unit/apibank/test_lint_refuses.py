"""What the linter calls an error refuses a file for everybody who goes by it; what only looks at it still can."""

import shutil
from pathlib import Path

import pytest

from apibank.inspection import linted, read
from apibank.linter import complaints_of
from apibank.policies import PolicyFolder, shipped
from policy.problem import PolicyError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped("gateways"), tmp_path / "gateways"))


def spoil(file: Path) -> int:
    """Give the gateway a public route without limits; the line that it is in."""
    text = file.read_text(encoding="utf-8")
    assert text.count("\nroutes:\n") == 1
    upstream = next(line.split(":")[1].strip() for line in text.splitlines() if line.strip().startswith("upstream: "))
    bad = f"  anybody: {{path: /anybody, access: public, limits: [], rules: [], upstream: {upstream}}}\n"
    spoiled = text.replace("\nroutes:\n", "\nroutes:\n" + bad)
    file.write_text(spoiled, encoding="utf-8")
    return spoiled[: spoiled.index("  anybody:")].count("\n") + 1


def test_an_error_of_the_linter_is_an_error_of_the_file_at_its_line_with_its_code(folder: Path) -> None:
    line = spoil(folder / "sales.yaml")
    found = PolicyFolder(folder, ("dev",)).load()
    (error,) = found.errors["sales"].problems
    assert (error.code, error.position.line) == ("AB201", line)
    assert error.position.file.endswith("sales.yaml")
    assert "docs/lint/AB201.md" in str(found.errors["sales"])
    assert str(found.errors["sales"]).startswith("error[AB201]: ")
    assert error.as_record()["code"] == "AB201"
    assert set(found.gateways) == {"central", "platform", "marketing", "education", "agents"}


def test_a_candidate_is_refused_as_a_file_is(folder: Path) -> None:
    policies = PolicyFolder(folder, ("dev",))
    policies.candidates.mkdir(exist_ok=True)
    shutil.copy(folder / "sales.yaml", policies.candidates / "sales.yaml")
    assert policies.load_candidate("sales") is not None
    spoil(policies.candidates / "sales.yaml")
    with pytest.raises(PolicyError, match="AB201"):
        policies.load_candidate("sales")


def test_an_exception_with_a_reason_lets_the_file_pass(folder: Path) -> None:
    file = folder / "sales.yaml"
    spoil(file)
    text = file.read_text(encoding="utf-8")
    file.write_text(
        text.replace("limits: [], rules", "limits: [], lint_exceptions: {AB201: central limits it}, rules"),
        encoding="utf-8",
    )
    assert PolicyFolder(folder, ("dev",)).load_one("sales")


def test_who_only_looks_is_shown_the_policy_and_what_is_wrong_with_it(folder: Path) -> None:
    spoil(folder / "sales.yaml")
    policies = PolicyFolder(folder, ("dev",), linted=False)
    assert "anybody" in policies.load_one("sales").gateway.routes
    (issue,) = linted(read(policies, whole=True)).errors
    assert (issue.check, issue.code, issue.gateway) == ("lint", "AB201", "sales")
    assert str(issue).startswith("error[AB201]: ")


def test_what_is_applied_hears_the_same_of_the_linter(folder: Path) -> None:
    spoil(folder / "sales.yaml")
    loaded = PolicyFolder(folder, ("dev",), linted=False).load_one("sales")
    (complaint,) = [one for one in complaints_of(loaded) if one.is_error]
    assert complaint.record["code"] == "AB201"


def test_warnings_refuse_nothing_and_are_known(folder: Path) -> None:
    file = folder / "sales.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("\nroutes:\n", "\nroutes:\n  off: OFF\n"), encoding="utf-8")
    upstream = next(line.split(":")[1].strip() for line in text.splitlines() if line.strip().startswith("upstream: "))
    off = f"{{path: /off, rules: [], upstream: {upstream}, maintenance: {{message: Back soon}}}}"
    file.write_text(file.read_text(encoding="utf-8").replace("OFF", off), encoding="utf-8")
    policies = PolicyFolder(folder, ("dev",))
    policies.load_one("sales")
    assert [one.code for one in policies.warnings("sales")] == ["AB305"]
