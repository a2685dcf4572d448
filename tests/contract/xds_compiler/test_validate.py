"""Envoy itself accepts what every policy of the project is compiled to."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from apibank.certificates import ensure_certificates
from tests.contract.xds_compiler.conftest import GATEWAYS, load
from tests.contract.xds_compiler.static_envoy import validate
from xds.compiler import Material, compile_, material_files


@pytest.mark.parametrize("name", sorted(file.stem for file in GATEWAYS.glob("*.yaml")))
def test_an_envoy_accepts_every_gateway_of_the_project(name: str, tmp_path: Path) -> None:
    certificates = ensure_certificates(tmp_path, [name], datetime.now(UTC))
    policy = load(name)
    # Any material will do here, as long as each key belongs to its certificate.
    material = {}
    for one in policy.gateway.certificates.values():
        material[one.chain_file] = Material(certificates.public.chain_file.read_bytes())
        material[one.key_file] = Material(certificates.public.key_file.read_bytes())
    for authority in policy.gateway.authorities.values():
        material[authority.ca_file] = Material(certificates.ca_file.read_bytes())
    assert set(material) == set(material_files(policy.gateway))
    answer = validate(compile_(policy, material), tmp_path)
    assert answer.returncode == 0, answer.stderr[-4000:]
