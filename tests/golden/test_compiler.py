"""Policy in, Envoy configuration out. Whoever changes the compiler reads the difference: `make golden`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from policy.load import load_gateway
from policy.model import Gateway
from policy.problem import Source
from tests.golden.rendered import rendered
from xds.compiler import Material, compile_, material_files

HERE = Path(__file__).parent
EXPECTED = HERE / "expected"
POLICIES = {
    file.stem: file
    for folder in (HERE.parents[1] / "envoy" / "gateways", HERE / "policies")
    for file in sorted(folder.glob("*.yaml"))
}
# What is long and the same in every listener is shown once.
SHARED = {
    "local_reply_config": "local_replies",
    "early_header_mutation_extensions": "stripped_headers",
    "request_trailers_mutations": "stripped_trailers",
}


def configuration(name: str) -> dict[str, Any]:
    file = POLICIES[name]
    policy = load_gateway(Gateway, Source(file.name, file.read_text()))
    material = {path: Material(f"the content of {path}".encode()) for path in material_files(policy.gateway)}
    text = json.dumps(rendered(compile_(policy, material)))
    # Every word of a policy changes its version; here only its place matters.
    plain: dict[str, Any] = json.loads(text.replace(policy.gateway.version, "POLICY VERSION"))
    return plain


def compare(name: str, content: Any, update: bool) -> None:
    file = EXPECTED / f"{name}.yaml"
    text = yaml.safe_dump(content, sort_keys=False, width=120)
    if update:
        file.write_text(text)
    assert file.exists(), f"there is no {file.name}; run: make golden"
    assert text == file.read_text(), f"{file.name} has changed; run `make golden` and read the difference"


def condensed(node: Any, shared: Mapping[str, Any]) -> Any:
    if isinstance(node, list):
        return [condensed(item, shared) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: f"as in {SHARED[key]}.yaml" if key in SHARED and value == shared[key] else condensed(value, shared)
        for key, value in node.items()
    }


def find(node: Any, key: str) -> Any:
    if isinstance(node, dict) and key in node:
        return node[key]
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return next((found for child in children if (found := find(child, key)) is not None), None)


@pytest.fixture(scope="session")
def shared() -> dict[str, Any]:
    plain = configuration("routes")
    return {key: find(plain, key) for key in SHARED}


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_a_policy_is_compiled_to_the_configuration_that_was_reviewed(
    name: str, shared: dict[str, Any], update_golden: bool
) -> None:
    compare(name, condensed(configuration(name), shared), update_golden)


def test_what_every_listener_shares_is_what_was_reviewed(shared: dict[str, Any], update_golden: bool) -> None:
    for key, name in SHARED.items():
        compare(name, shared[key], update_golden)


def test_every_expected_file_belongs_to_a_policy(update_golden: bool) -> None:
    known = {*POLICIES, *SHARED.values()}
    orphans = [file for file in EXPECTED.glob("*.yaml") if file.stem not in known]
    if update_golden:
        for orphan in orphans:
            orphan.unlink()
        orphans = []
    assert not orphans


def test_the_same_policy_gives_the_same_bytes_and_versions() -> None:
    file = POLICIES["routes"]
    source = Source(file.name, file.read_text())
    turned = yaml.safe_load(source.text)
    turned["routes"] = dict(reversed(turned["routes"].items()))
    turned["upstreams"] = dict(reversed(turned["upstreams"].items()))
    first = compile_(load_gateway(Gateway, source), {})
    second = compile_(load_gateway(Gateway, Source("turned.yaml", yaml.safe_dump(turned, sort_keys=False))), {})
    assert first.version == second.version
    assert [one.body for _, one in first] == [one.body for _, one in second]
