"""What commands print of the control API's answers, and what they say of typing errors."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from apibank import output
from apibank.cli import app
from apibank.commands.changes_shown import print_diff

# Path -> status and what is answered there; what else is asked for is 404.
Answers = dict[str, tuple[int, object]]

LIVE = {
    "revision": 16, "gateway": "marketing", "version": "7754e1e2cfb175cf", "at": "2026-11-23T03:51:47.5Z",
    "author": "ana", "message": "new tones", "source": "apply", "result": "live", "detail": "", "canary_percent": 20,
}  # fmt: skip
PLACE = "LDS 'extra' (marketing.yaml:135)"
REFUSED = LIVE | {"revision": 9, "result": "rolled back", "detail": f"{PLACE}: cannot bind", "canary_percent": None}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Answers]:
    """What a control API answers, at the address that commands are told."""
    given: Answers = {}

    class Answering(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            status, body = given.get(self.path, (404, {"detail": "there is no gateway of this name"}))
            content = body if isinstance(body, str) else json.dumps(body)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(content.encode())

        do_GET = do_POST = _answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        (tmp_path / "control.token").write_text("secret")
        monkeypatch.setenv("APIBANK_STATE_DIR", str(tmp_path))
        monkeypatch.setenv("APIBANK_CONTROL_API", f"http://127.0.0.1:{server.server_port}")
        yield given
        server.shutdown()
        thread.join()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_console", lambda: Console(width=80, highlight=False))


@pytest.mark.usefixtures("narrow")
def test_a_history_has_a_line_for_each_change_in_80_columns(answers: Answers) -> None:
    answers["/v1/policies/history?limit=20"] = (200, [LIVE, REFUSED])
    lines = run("policy", "history").stdout.splitlines()
    assert lines[0].split() == ["REVISION", "AT", "GATEWAY", "VERSION", "RESULT", "WHAT"]
    assert lines[1].startswith("16 ")
    assert max(map(len, lines)) <= 80


def test_a_history_says_below_its_table_what_was_wrong(answers: Answers) -> None:
    answers["/v1/policies/history?limit=20"] = (200, [LIVE, REFUSED])
    shown = run("policy", "history").stdout
    assert "apply to 20 % first by ana: new tones" in shown
    assert shown.endswith(f"\n9 rolled back: {PLACE}: cannot bind\n")


def test_a_history_of_a_gateway_that_is_not_there_is_no_empty_one(answers: Answers) -> None:
    answers["/v1/policies/history?limit=20&gateway=marketin"] = (200, [])
    answers["/v1/policies/history?limit=20&gateway=marketing"] = (200, [])
    answers["/v1/policies/marketing"] = (200, {"gateway": "marketing"})
    done = run("policy", "history", "marketin")
    assert (done.exit_code, done.stderr) == (2, "error: there is no gateway of this name\n")
    assert run("policy", "history", "marketing").stdout == "nothing has changed yet\n"


@pytest.mark.usefixtures("narrow")
def test_the_status_fits_80_columns_and_counts_errors_in_its_notes(answers: Answers) -> None:
    error = {"file": "e.yaml", "line": 1, "column": 2, "path": "routes.a.upstraem", "message": "unknown field"}
    gateway = {
        "gateway": "education", "version": "7754e1e2cfb175cf", "published_at": "2026-11-23T03:51:47.5Z", "envoys": 1,
        "live": 1, "errors": [error], "behind": [], "refused": [], "rolled_back": [], "canary": None, "revision": 100,
        "restored": True, "endpoints": [{"upstream": "service"}], "condition": "out of sync",
    }  # fmt: skip
    answers["/v1/status"] = (200, {"gateways": [gateway], "resources": []})
    done = run("status")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["GATEWAY", "POLICY", "REVISION", "LIVE", "PUBLISHED", "NOTES"]
    assert done.exit_code == 1
    assert max(map(len, lines)) <= 80
    assert " ".join(" ".join(lines[1:4]).split()).count("1 error(s), restored") == 1
    assert "endpoints" in done.stdout


def test_a_diff_shows_both_values_where_they_begin_to_differ(capsys: pytest.CaptureFixture[str]) -> None:
    def shown(before: object, after: object, op: str = "changed") -> list[str]:
        change = {"op": op, "path": "schemas.x.enum", "before": before, "after": after, "file": "d/m.yaml", "line": 46}
        print_diff({"gateways": [{"gateway": "m", "live": "a" * 16, "version": "b" * 16, "changes": [change]}]})
        return capsys.readouterr().out.splitlines()

    assert shown(["calm"], ["calm", "loud"]) == [
        "m: aaaaaaaa -> bbbbbbbb",
        "changed schemas.x.enum  d/m.yaml:46",
        '  - ["calm"]',
        '  + ["calm", "loud"]',
    ]
    assert shown(None, 3, "added")[2:] == ["  + 3"]
    assert shown("two\nlines", None, "removed")[2:] == [r'  - "two\nlines"']
    old, new = shown("x" * 1000 + "old" + "y" * 1000, "x" * 1000 + "new" + "y" * 1000)[2:]
    assert "xxold" in old
    assert "xxnew" in new
    assert len(new) < 320


def test_a_diff_names_the_linter_s_codes_below(capsys: pytest.CaptureFixture[str]) -> None:
    warning = {"code": "AB404", "file": "m.yaml", "line": 3, "column": 9, "path": "upstreams.a", "message": "no hosts"}
    print_diff({"gateways": [], "warnings": [warning, warning]})
    assert capsys.readouterr().out == "\n" + "warning[AB404]: m.yaml:3:9: upstreams.a: no hosts\n" * 2


def test_a_token_that_is_not_known_is_named_with_its_file(answers: Answers, tmp_path: Path) -> None:
    answers["/v1/status"] = (401, {"detail": "Send the control token."})
    done = run("status")
    assert done.exit_code == 2
    assert f"does not know the secret in {tmp_path / 'control.token'}" in done.stderr


@pytest.mark.parametrize(("status", "body"), [(200, "<html>\nwelcome"), (404, "invalid path. These are:\n  /stats\n")])
def test_another_server_is_not_taken_for_the_control_api(answers: Answers, status: int, body: str) -> None:
    answers["/v1/status"] = (status, body)
    done = run("status")
    assert done.exit_code == 2
    assert f"answers {status}, and not as a control API does" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "path", "pointer", "option"),
    [
        ("keys create --partner A --scope x", "/v1/keys", "/scopes/0", "--scope"),
        ("tokens revoke --issuer a --sub b --reason c", "/v1/revocations", "/subject", "--sub"),
        ("consents grant --child a --parent b --method c", "/v1/consents", "/purposes/3", "--purpose"),
        ("consents grant --child a --parent b --method c", "/v1/consents", "/other", "/other"),
    ],
)
def test_what_is_wrong_is_named_by_the_option_that_says_it(
    command: str, path: str, pointer: str, option: str, answers: Answers
) -> None:
    told = {"code": "request_invalid", "detail": "...", "errors": [{"pointer": pointer, "rule": "too short"}]}
    answers[path] = (422, told)
    done = run(*command.split())
    assert (done.exit_code, done.stderr) == (2, f"error: {option}: too short\n")


def test_a_control_plane_that_lacks_what_is_asked_for_is_said_to_be_another_version(answers: Answers) -> None:
    answers["/v1/revocations"] = (404, {"code": "not_found", "detail": "Not Found"})
    done = run("tokens", "revocations")
    assert done.exit_code == 2
    assert "is it of another version" in done.stderr


def test_an_id_stays_one_part_of_the_path(answers: Answers) -> None:
    answers["/v1/keys/..%2F%3Fx/revoke"] = (404, {"code": "key_not_found", "detail": "there is no key ../?x"})
    assert run("keys", "revoke", "../?x").stderr == "error: there is no key ../?x\n"


@pytest.mark.parametrize("command", ["apply", "diff", "history", "rollback"])
def test_an_answer_of_another_form_is_no_crash(answers: Answers, command: str) -> None:
    path = "history?limit=20" if command == "history" else command
    answers[f"/v1/policies/{path}"] = (200, {"hello": "there"})
    done = run("policy", command)
    assert (done.exit_code, done.exception.__class__) == (2, SystemExit)
    assert "something else than was asked for" in done.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("policy", "rollback", "newest"), "'newest' is no revision"),
        (("policy", "apply", "--base", "marketing=xyz0"), "'marketing=xyz0' is not GATEWAY=VERSION"),
        (("policy", "apply", "--base", "marketing=abc"), "4 digits of the version at least"),
        (("policy", "apply", "--policies", "nowhere"), "there is no folder of policies at nowhere"),
        (("policy", "apply", "shop", "--policies", "nowhere"), "there is no folder of policies at nowhere"),
        (("policy", "diff", "--profile", "production"), "--profile needs --against"),
        (("policy", "validate", "marketin"), "there is no marketin.yaml in "),
        (("policy", "diff", "marketin", "--against", "plain"), "; there are: central, agents, "),
        (("serve", "ratelimit", "--config", "nowhere"), "there is no folder of rate-limit files at nowhere"),
        (("up", "--gateways", "shop"), "; there are: central, agents, "),
        (("up", "--envoys", "shop=2"), "; there are: central, agents, "),
        (("up", "--database", "nonsense"), "error: --database: "),
        (("serve", "control-plane", "--resources", "here", "--gateway", "shop"), "--resources serves no policies"),
        (("serve", "control-plane", "--gateway-host", "shop=10.0.0.3"), "'shop=10.0.0.3' is not NAME=HOST:PORT"),
        (("bootstrap", "shop", "--control-plane", "10.0.0.2:18000"), "private keys travel by xDS"),
        (("bootstrap", "shop", "--control-plane", "10.0.0.2"), "'10.0.0.2' is not HOST:PORT"),
        (("bootstrap", "shop", "--control-plane", "[::1]:1", "--key", "a.key"), "go together"),
        (("bootstrap", "shop", "--control-plane", "[::1]:1", "--metrics-listen", "9902"), "'9902' is not HOST:PORT"),
    ],
)
def test_what_cannot_be_meant_is_said_before_anything_is_asked(
    command: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("APIBANK_STATE_DIR", str(tmp_path))
    done = run(*command)
    assert done.exit_code == 2
    assert said in done.stderr


@pytest.mark.parametrize("variable", ["APIBANK_PROFILE", "APIBANK_ENVOYS"])
def test_a_variable_that_is_no_json_is_named(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "production")
    done = run("policy", "validate")
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {variable} is no JSON")


def test_a_variable_that_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APIBANK_PORT_BASE", "abc")
    done = run("policy", "validate")
    assert done.exit_code == 2
    assert done.stderr.startswith("error: APIBANK_PORT_BASE: ")


@pytest.mark.usefixtures("narrow")
def test_validate_shows_owners_whole_in_80_columns() -> None:
    done = run("policy", "validate", "--no-envoy")
    assert "platform-team@waooaw.ai" in done.stdout


@pytest.mark.parametrize("group", ["", "serve", "keys", "tokens", "break-glass", "policy", "endpoints"])
def test_no_description_in_a_list_of_commands_breaks_off(group: str) -> None:
    shown = run(*group.split(), "--help").stdout.partition("Commands:")[2]
    assert shown
    assert "..." not in shown
