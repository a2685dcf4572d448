"""Envoy itself accepts what every policy of the project is compiled to."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from apibank.certificates import ensure_certificates
from policy.load import load_gateway
from policy.model import Gateway
from policy.problem import Source
from tests.contract.xds_compiler.federation import GATEWAYS
from tests.contract.xds_compiler.static_envoy import validate
from xds.compiler import Material, compile_, material_files

GOLDEN = Path(__file__).parents[2] / "golden" / "policies"
FILES = [file for folder in (GATEWAYS, GOLDEN) for file in sorted(folder.glob("*.yaml"))]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_envoy_accepts_what_a_policy_is_compiled_to(file: Path, tmp_path: Path) -> None:
    certificates = ensure_certificates(tmp_path, ["central"], datetime.now(UTC))
    policy = load_gateway(Gateway, Source(file.name, file.read_text()))
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
    # Every start would log it, and an Envoy of a later year refuse it.
    assert "deprecated" not in answer.stderr.lower()
