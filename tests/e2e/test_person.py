"""A person who has used the federation is erased while it runs: nothing is left but what the answer names."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from authz.audit import Pseudonyms
from tests.support.client import CONTENT, Client
from tests.support.stack import Stack
from tests.support.tokens import Fresh

# Counters and nonces, which are gone when their window ends.
STORE = "valkey"
SECONDS = 30.0


def holders(folder: Path, words: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    for path in folder.rglob("*"):
        place = path.relative_to(folder)
        if path.is_file() and place.parts[0] != STORE:
            content = path.read_bytes()
            found |= {str(place) for word in words if word.encode() in content}
    return found


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.2)


@pytest.mark.requirement("R36")
def test_no_file_has_a_word_of_a_person_who_was_erased_but_what_is_said(
    stack: Stack, internal: Client, fresh: Fresh
) -> None:
    subject = fresh("grace.hopper")
    pseudonym = Pseudonyms((stack.state_dir / "audit" / "subjects.key").read_bytes().strip()).of(subject)
    words = (subject, pseudonym)
    for issuer, options, path in (
        ("customer", ("--role", "customer", "--tier", "business", "--scope", "marketing:*"), "/api/marketing/content"),
        ("admin", (), "/api/platform/metrics"),
    ):
        token = stack.run("token", "--issuer", issuer, "--sub", subject, *options).stdout.strip()
        method, body = ("POST", CONTENT) if "content" in path else ("GET", None)
        assert internal.call(method, path, token=token, json=body).status_code == 200
    stack.run("consents", "grant", "--child", subject, "--parent", "parent_1", "--method", "signed_form")

    def shown() -> set[str]:
        return {Path(name).name for name in json.loads(stack.run("person", "show", subject).stdout)}

    # What Envoys tell, and what waits in a spool, has reached the tables.
    until(lambda: {"access_log", "usage", "admin_audit_logs", "consents"} <= shown())
    assert "apibank.db" in {Path(name).name.removesuffix("-wal") for name in holders(stack.state_dir, words)}

    done = stack.run("person", "erase", subject, "--yes", "-o", "json")
    told = json.loads(done.stdout)
    places = told["places"]
    assert places["consents"] == 1
    assert places["access_log"] >= 2
    assert places["admin_audit_logs"] >= 2
    # A spool's open file is its process's; what is in it has its row already, and the answer names the file.
    left = holders(stack.state_dir, words)
    assert {name for name in left if not name.endswith(".spool")} == set()
    assert {str(stack.state_dir / name) for name in left} == {
        note.partition(" names them")[0] for note in told["later"]
    }
    assert shown() == set()
    whole = stack.run("audit", "verify", check=False)
    assert whole.returncode == 0, whole.stdout + whole.stderr
    # It goes on, and writes to the files whose lines were overwritten.
    token = stack.run("token", "--issuer", "admin").stdout.strip()
    assert internal.call("GET", "/api/platform/metrics", token=token).status_code == 200
