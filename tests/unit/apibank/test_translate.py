"""`apibank policy translate`: resources that can be pasted, and nothing in them that is secret."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from apibank.cli import app
from apibank.policies import shipped
from apibank.ready import CentralPlace, Ready, write_ready
from policy.load import load_gateway
from policy.model import Gateway
from policy.problem import Source
from xds.compiler import compile_
from xds.compiler.shown import REDACTED
from xds.resources_dir import read_group

SHOP = """
gateway: shop
description: A shop.
owners: [tests@waooaw.ai]
callers: {partners: true}
tiers: [free]
services: {authz: {endpoint: "127.0.0.1:1"}, ratelimit: {endpoint: "127.0.0.1:2"}}
listeners: {door: {address: "127.0.0.1:8000"}}
upstreams: {one: {endpoints: ["127.0.0.1:3"]}}
defaults: {methods: {GET: read}}
routes:
  orders: {path: /orders, upstream: one}
"""


@pytest.fixture
def nothing_runs(tmp_path: Path) -> tuple[str, str]:
    return "--state-dir", str(tmp_path / "nothing")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["policy", "translate", *arguments])


def records(*arguments: str) -> list[dict[str, Any]]:
    answer: list[dict[str, Any]] = json.loads(run(*arguments, "-o", "json").stdout)
    return answer


def test_the_yaml_is_served_as_the_bytes_that_the_control_plane_sends(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(SHOP, encoding="utf-8")
    printed = run("shop", "--policies", str(tmp_path)).stdout
    sent = compile_(load_gateway(Gateway, Source("shop.yaml", SHOP)), {})
    again = read_group([Source("resources.yaml", printed)])
    assert {one.name: one.body for _, one in again} == {one.name: one.body for _, one in sent}
    assert again.version == sent.version


def test_each_resource_has_its_version_and_the_place_of_its_policy(nothing_runs: tuple[str, str]) -> None:
    for one in records("sales", "--type", "lds", "--type", "rds", *nothing_runs):
        assert one["file"].endswith("sales.yaml")
        assert one["line"] > 1
        assert len(one["version"]) == 32
        assert one["resource"]["@type"].startswith("type.googleapis.com/envoy.config.")
    assert "# sales LDS mesh: version " in run("sales", "--type", "LDS", *nothing_runs).stdout


def test_what_is_not_on_this_machine_is_a_placeholder_without_a_version(nothing_runs: tuple[str, str]) -> None:
    done = run("sales", "--type", "SDS", *nothing_runs)
    assert "/etc/apibank/tls/sales-mesh.key" in done.stderr
    for one in records("sales", "--type", "SDS", *nothing_runs):
        assert one["version"] is None
        assert one["missing_files"]


def test_private_keys_are_never_printed(tmp_path: Path) -> None:
    folder, key = tmp_path / "gateways", tmp_path / "a.key"
    shutil.copytree(shipped("gateways"), folder)
    key.write_text("the private key", encoding="utf-8")
    file = folder / "sales.yaml"
    text = file.read_text(encoding="utf-8").replace("/etc/apibank/tls/sales-mesh.key", str(key))
    file.write_text(text, encoding="utf-8")
    for output in ("yaml", "json"):
        printed = run("sales", "--policies", str(folder), "-o", output).stdout
        assert REDACTED in printed
        # In base64, too.
        assert "the private" not in printed
        assert "dGhlIHByaXZhdGUga2V5" not in printed


def test_resources_are_chosen_by_type_and_name(nothing_runs: tuple[str, str]) -> None:
    assert {one["name"] for one in records("central", "--type", "CDS", "--name", "*-gateway", *nothing_runs)} == {
        f"{name}-gateway" for name in ("platform", "marketing", "education", "sales", "agents")
    }
    assert {one["gateway"] for one in records("sales", "agents", "--type", "LDS", *nothing_runs)} == {"sales", "agents"}


@pytest.mark.parametrize("arguments", [("nobody",), ("--type", "XDS"), ("--name", "nobody"), ("--profile", "nobody")])
def test_what_cannot_be_translated_is_said_with_exit_code_2(
    nothing_runs: tuple[str, str], arguments: tuple[str, ...]
) -> None:
    done = run(*arguments, *nothing_runs)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "nobody" in done.stderr or "XDS" in done.stderr


def test_a_broken_file_is_said_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(SHOP.replace("upstream: one", "upstraem: one"), encoding="utf-8")
    done = run("--policies", str(tmp_path))
    assert done.exit_code == 2
    assert "shop.yaml:12" in done.stderr


def test_policies_and_profiles_are_those_of_the_stack_that_runs(tmp_path: Path) -> None:
    folder = tmp_path / "gateways"
    folder.mkdir()
    (folder / "shop.yaml").write_text(SHOP, encoding="utf-8")
    overlay = tmp_path / "here.yaml"
    moved = {"upstreams": {"one": {"endpoints": ["127.0.0.1:4444"]}}}
    overlay.write_text(yaml.safe_dump({"profile": "here", "gateways": {"shop": moved}}), encoding="utf-8")
    write_ready(_ready(folder, overlay, tmp_path), tmp_path / "ready.json")
    done = run("--type", "EDS", "--state-dir", str(tmp_path))
    assert "4444" in done.stdout
    assert str(tmp_path) in done.stderr
    told = run("--type", "EDS", "--state-dir", str(tmp_path), "--policies", str(folder))
    assert "4444" not in told.stdout


def _ready(folder: Path, overlay: Path, state: Path) -> Ready:
    central = CentralPlace(
        https="", http="", internal_https="", envoy_admin="", envoy_admins=[], authz="", ratelimit="", metrics=""
    )  # fmt: skip
    return Ready(
        state_dir=str(state), ca_file="", central=central, gateways={}, xds="", control_api="", portal="", metrics=[],
        upstreams={}, store="", bus="", database="", issuers={}, profiles=[str(overlay)], policies=str(folder), pids={},
    )  # fmt: skip
