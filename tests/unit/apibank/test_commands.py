"""The command line: what people and scripts see."""

import base64
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from apibank.cli import app
from apibank.issuer.keys import KeyStore
from apibank.policies import shipped

runner = CliRunner()


def run(*arguments: str) -> Result:
    return runner.invoke(app, list(arguments))


def claims(token: str) -> dict[str, object]:
    payload = token.split(".")[1]
    decoded: dict[str, object] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return decoded


@pytest.fixture
def state(tmp_path: Path) -> str:
    for issuer in ("customer", "admin"):
        KeyStore(tmp_path, issuer).ensure()
    return str(tmp_path)


@pytest.mark.requirement("R86")
def test_a_token_says_what_it_was_asked_to_say_and_nothing_is_validated(state: str) -> None:
    done = run(
        "token", "--issuer", "customer", "--state-dir", state, "--sub", "", "--role", "x", "--tier", "y",
        "--scope", "a", "--scope", "b", "--claim", 'exp="never"', "--claim", "sub=null", "--claim", "n=[1,{}]",
    )  # fmt: skip
    said = claims(done.stdout)
    assert (said["role"], said["tier"], said["scopes"], said["exp"]) == ("x", "y", ["a", "b"], "never")
    assert said["sub"] is None
    assert said["n"] == [1, {}]
    assert done.stdout.count("\n") == 1


def test_a_token_is_a_customers_unless_said_otherwise(state: str) -> None:
    said = claims(run("token", "--state-dir", state, "--role", "student").stdout)
    assert said["role"] == "student"
    assert said["iss"] == claims(run("token", "--issuer", "customer", "--state-dir", state).stdout)["iss"]


def test_an_empty_subject_is_honoured(state: str) -> None:
    assert claims(run("token", "--issuer", "customer", "--state-dir", state, "--sub", "").stdout)["sub"] == ""


def test_a_token_that_has_expired_was_issued_before_it_did(state: str) -> None:
    said = claims(run("token", "--issuer", "customer", "--state-dir", state, "--expires-in", "-60").stdout)
    assert isinstance(said["iat"], int)
    assert isinstance(said["exp"], int)
    assert said["exp"] - said["iat"] == 3600


@pytest.mark.requirement("R33", "R68")
def test_an_administrator_s_token_has_an_administrator_s_defaults(state: str) -> None:
    said = claims(run("token", "--issuer", "admin", "--state-dir", state).stdout)
    assert (said["role"], said["tier"], said["scopes"]) == ("admin", "internal", ["platform:*"])
    assert said["iss"] != claims(run("token", "--issuer", "customer", "--state-dir", state).stdout)["iss"]


@pytest.mark.parametrize("claim", ["novalue", "=1", "a=b", "a={"])
def test_a_claim_that_is_no_json_is_said_to_be_none(claim: str, state: str) -> None:
    done = run("token", "--issuer", "customer", "--state-dir", state, "--claim", claim)
    assert done.exit_code == 2
    assert "--claim" in done.stderr


def test_good_policies_have_no_issues() -> None:
    done = run("policy", "validate", "--profile", "dev")
    assert done.exit_code == 0
    assert done.stdout.endswith("no issues found\n")
    listed = json.loads(run("policy", "validate", "-o", "json").stdout)
    assert listed["valid"] is True
    assert len(listed["gateways"]) == 6


def test_every_error_of_every_file_is_shown_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "gateways"
    shutil.copytree(shipped("gateways"), folder)
    for name in ("sales", "education"):
        file = folder / f"{name}.yaml"
        file.write_text(file.read_text(encoding="utf-8").replace("upstream:", "upstraem:", 1), encoding="utf-8")
    done = run("policy", "validate", "--policies", str(folder))
    assert done.exit_code == 1
    assert "sales.yaml:" in done.stdout
    assert "education.yaml:" in done.stdout
    errors = json.loads(run("policy", "validate", "--policies", str(folder), "-o", "json").stdout)["errors"]
    assert {"file", "line", "column", "path", "message"} <= set(errors[0])


def test_a_folder_without_policies_is_an_error(tmp_path: Path) -> None:
    done = run("policy", "validate", "--policies", str(tmp_path))
    assert done.exit_code == 2
    assert "no gateway file" in done.stderr


def test_commands_say_how_to_start_a_stack_where_none_runs(tmp_path: Path) -> None:
    for command in (("status",), ("keys", "list")):
        done = run(*command, "--state-dir", str(tmp_path))
        assert done.exit_code == 2
        assert "apibank up" in done.stderr


def test_a_setting_that_is_wrong_is_named_with_what_was_found(tmp_path: Path) -> None:
    done = run("up", "--state-dir", str(tmp_path), "--store", "nonsense")
    assert done.exit_code == 2
    assert "store" in done.stderr
    assert "nonsense" in done.stderr


def test_every_command_has_an_example() -> None:
    import typer.main

    def leaves(command: object, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], str]]:
        children = getattr(command, "commands", None)
        if children is None:
            return [(path, getattr(command, "help", "") or "")]
        return [leaf for name, child in children.items() for leaf in leaves(child, (*path, name))]

    for path, text in leaves(typer.main.get_command(app)):
        assert f"Example: apibank {' '.join(path)}" in text, path


def test_times_of_revocations_are_shown_to_the_second_and_whole_to_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"id": "r_1", "issued_until": "2026-11-23T05:34:41.165321+00:00", "until": None}
    monkeypatch.setattr("apibank.commands.tokens.ask", lambda *_: [row])
    shown = run("tokens", "revocations").stdout
    assert "2026-11-23 05:34:41" in shown
    assert ".165321" not in shown
    assert json.loads(run("tokens", "revocations", "-o", "json").stdout) == [row]
