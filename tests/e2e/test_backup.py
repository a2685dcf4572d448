"""A federation is backed up while it serves, and another one goes on from that on a machine that had nothing."""

import json
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.stack import Stack, free_port_base, running_stack

GATEWAYS = ("--gateways", "central,marketing,platform")


def made_key(stack: Stack) -> dict[str, str]:
    done = stack.run("keys", "create", "--partner", "acme", "--scope", "partner:acme:marketing:read", "-o", "json")
    made: dict[str, str] = json.loads(done.stdout)
    return made


def versions(stack: Stack) -> dict[str, str]:
    gateways = json.loads(stack.run("status", "-o", "json").stdout)["gateways"]
    return {one["gateway"]: one["version"] for one in gateways}


@pytest.mark.requirement("R36", "R97")
def test_a_backup_of_a_running_federation_serves_on_an_empty_machine(tmp_path: Path) -> None:
    state, backup = tmp_path / "state", tmp_path / "backup"
    # Addresses are a part of policies: the other machine has the first one's.
    ports = {"APIBANK_PORT_BASE": str(free_port_base())}
    with running_stack(state, *GATEWAYS, environment=ports) as stack:
        kept, lost = made_key(stack), made_key(stack)
        with Client(stack.ready) as client:
            admin = stack.run("token", "--issuer", "admin").stdout.strip()
            assert client.call("GET", "/api/platform/metrics", token=admin).status_code == 200
            done = stack.run("backup", str(backup))
            assert "files" in done.stdout
            assert client.call("GET", "/api/marketing/content", key=kept["key"]).status_code == 200
        before = versions(stack)
        stack.run("keys", "revoke", lost["id"])
        # An end of the chains that is kept elsewhere: it is later than the backup.
        later = tmp_path / "worm.jsonl"
        later.write_text(stack.run("audit", "anchor").stdout)
        authority = Path(stack.ca_file).read_bytes()

    state.rename(tmp_path / "lost")
    said = stack.run("restore", str(backup))
    # Who restores is told that what was revoked since is good again.
    assert lost["id"] in said.stdout
    assert kept["id"] in said.stdout

    with running_stack(state, *GATEWAYS, environment=ports) as stack:
        assert versions(stack) == before
        # The same authority: clients and agents that trusted it go on.
        assert Path(stack.ca_file).read_bytes() == authority
        with Client(stack.ready) as client:
            assert client.call("GET", "/api/marketing/content", key=kept["key"]).status_code == 200
            # A token that was issued before the machine was lost.
            assert client.call("GET", "/api/platform/metrics", token=admin).status_code == 200
            # And it did come back: so it is revoked again.
            assert client.call("GET", "/api/marketing/content", key=lost["key"]).status_code == 200
            stack.run("keys", "revoke", lost["id"])
            assert client.call("GET", "/api/marketing/content", key=lost["key"]).status_code == 401
        whole = stack.run("audit", "verify", check=False)
        assert whole.returncode == 0, whole.stdout + whole.stderr
        rows = json.loads(stack.run("audit", "list", "--gateway", "platform", "-o", "json").stdout)
        assert any(row["endpoint"] == "/api/platform/metrics" for row in rows)
        # The anchor that is later than the backup shows that the last rows were lost.
        told = stack.run("audit", "verify", "--gateway", "control-plane", "--anchor", str(later), check=False)
        assert told.returncode == 1
        assert "not_anchored" in told.stdout


def test_all_keys_can_be_revoked_by_the_restore(tmp_path: Path, stack: Stack) -> None:
    made = made_key(stack)
    stack.run("backup", str(tmp_path / "backup"))
    restored = Stack(stack.ready, tmp_path / "new", stack.process)
    said = restored.run("restore", str(tmp_path / "backup"), "--revoke-keys")
    assert "API keys revoked" in said.stdout
    # Of the copy alone.
    with Client(stack.ready) as client:
        assert client.call("GET", "/api/marketing/content", key=made["key"]).status_code == 200
