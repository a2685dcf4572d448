"""The administrators' issuer is down, and somebody with the sealed key administers all the same; everybody hears it."""

import asyncio
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml

from tests.support.client import Client, problem
from tests.support.published import eventually
from tests.support.stack import ROOT, Stack, running_stack
from tests.support.tokens import Tokens

WHY = "INC-42: the issuer is down"
EXAMPLE = ROOT / "docs" / "operate" / "break-glass.yaml"


def command(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "apibank", "break-glass", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout


def overlay(public_key: Path) -> str:
    """The example of the documents, with this key, and an issuer of administrators that nobody answers for."""
    document = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    for part in document["gateways"].values():
        part["issuers"]["break-glass"]["public_key_file"] = str(public_key)
        part["issuers"]["admin"] = {"issuer": "https://down.auth.example.com", "audience": "https://x.example.com"}
    return str(yaml.safe_dump(document))


def metric(stack: Stack, name: str) -> str:
    (place,) = (one for one in stack.ready.metrics if one_of_platform(one, stack))
    with urllib.request.urlopen(place, timeout=5) as answer:
        return "\n".join(line for line in answer.read().decode().splitlines() if line.startswith(name))


def one_of_platform(place: str, stack: Stack) -> bool:
    with urllib.request.urlopen(place, timeout=5) as answer:
        return 'apibank_authz_break_glass_total{gateway="platform"' in answer.read().decode()


@pytest.mark.requirement("R33", "R36")
def test_the_sealed_key_administers_while_the_issuer_is_down_and_every_use_is_told(tmp_path: Path) -> None:
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse battery staple", encoding="utf-8")
    safe = tmp_path / "safe"
    command("init", "--out", str(safe), "--passphrase-file", str(passphrase))
    profile = tmp_path / "broken.yaml"
    profile.write_text(overlay(safe / "break-glass.pub.pem"), encoding="utf-8")
    arguments = ("--gateways", "central,platform", "--profile", "dev", "--profile", str(profile))
    with running_stack(tmp_path / "state", *arguments) as stack, Client(stack.ready) as client:
        path = "/api/platform/admin/logs"
        administrator = Tokens(stack.state_dir).admin(lambda kind: kind)
        assert client.call("GET", path, token=administrator).status_code == 401
        options = ("--key", str(safe / "break-glass.sealed"), "--passphrase-file", str(passphrase))
        token = command("issue", *options, "--as", "asha", "--reason", WHY, "--for", "5m").strip()
        answer = client.call("GET", path, token=token)
        assert answer.status_code == 200, answer.text
        # The service is told who it is, or would have refused.
        assert answer.json().keys() == {"requests", "next"}
        assert 'outcome="allowed"} 1.0' in metric(stack, "apibank_authz_break_glass_total")
        for process in ("gateway-central", "gateway-platform"):
            told = [line for line in stack.log(process).splitlines() if "break_glass_used" in line]
            assert WHY in "".join(told), process
        assert token not in stack.log("gateway-platform") + stack.log("gateway-central")
        # The door is closed by taking the key away.
        (safe / "break-glass.pub.pem").unlink()
        for process in ("gateway-central", "gateway-platform"):
            asyncio.run(eventually(lambda name=process: "break_glass_key" in stack.log(name)))  # type: ignore[misc]
        answer = client.call("GET", path, token=token)
        assert (answer.status_code, problem(answer)["code"]) == (503, "issuer_unavailable")
