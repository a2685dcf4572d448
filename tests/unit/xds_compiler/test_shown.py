"""What is shown of a resource is what an Envoy is sent, in a form that can be written down and sent again."""

import json
from pathlib import Path

import pytest
import yaml

from policy.load import load_gateway
from policy.model import Gateway
from policy.problem import Source
from xds import snapshot
from xds.compiler import Material, compile_, material_files
from xds.compiler.plain import plain_resource
from xds.compiler.shown import REDACTED, shown
from xds.resources_dir import read_group
from xds.snapshot import Snapshot

PROJECT = Path(__file__).parents[3]
POLICIES = sorted([*(PROJECT / "envoy/gateways").glob("*.yaml"), *(PROJECT / "tests/golden/policies").glob("*.yaml")])
KEY = b"-----BEGIN PRIVATE KEY-----\nnobody else's\n"


def compiled(file: Path) -> Snapshot:
    policy = load_gateway(Gateway, Source(file.name, file.read_text()))
    return compile_(policy, {path: Material(KEY) for path in material_files(policy.gateway)})


@pytest.mark.parametrize("file", POLICIES, ids=lambda file: file.stem)
def test_what_is_shown_is_served_as_the_same_bytes(file: Path) -> None:
    policy = compiled(file)
    text = yaml.safe_dump([shown(type_url, one.body, secrets=True) for type_url, one in policy], sort_keys=False)
    again = read_group([Source("shown.yaml", text)])
    assert {(type_url, one.name): one.body for type_url, one in again} == {
        (type_url, one.name): one.body for type_url, one in policy
    }


def test_private_keys_are_redacted_and_nothing_else_is() -> None:
    policy = compiled(PROJECT / "envoy/gateways/central.yaml")
    for type_url, one in policy:
        open_, closed = shown(type_url, one.body, secrets=True), shown(type_url, one.body)
        if not one.name.startswith("certificate/"):
            assert open_ == closed
            continue
        certificate = closed["tls_certificate"]
        assert isinstance(certificate, dict)
        assert certificate["private_key"] == {"inline_string": REDACTED}
        # What is redacted can still be read by an Envoy, which then misses the key.
        assert plain_resource(closed)[1].name == one.name


def test_no_secret_of_any_kind_is_shown() -> None:
    word = "aGlkZGVu"
    secrets: list[dict[str, object]] = [
        {"tls_certificate": {"private_key": {"inline_bytes": word}, "password": {"inline_string": word}}},
        {"generic_secret": {"secret": {"inline_string": word}, "secrets": {"a": {"inline_string": word}}}},
        {"session_ticket_keys": {"keys": [{"inline_bytes": word}]}},
        {"tls_certificate": {"pkcs12": {"inline_bytes": word}}},
    ]
    for one in secrets:
        _, resource = plain_resource({"@type": snapshot.SECRET, "name": "s", **one})
        assert word not in json.dumps(shown(snapshot.SECRET, resource.body))


def test_fields_with_a_digit_inside_can_be_written_in_a_plain_resource() -> None:
    for name in ("consecutive_5xx", "consecutive5xx"):
        detection = {name: 7, "enforcing_consecutive_5xx": 0}
        _, resource = plain_resource({"@type": snapshot.CLUSTER, "name": "a", "outlier_detection": detection})
        told = shown(snapshot.CLUSTER, resource.body)["outlier_detection"]
        assert told == {"consecutive_5xx": 7, "enforcing_consecutive_5xx": 0}
