"""Certificates and keys are looked at before an Envoy has them."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from apibank.certificates import DevelopmentCertificates, ensure_certificates
from apibank.material import UnusableMaterialError, lifetimes, read_material
from policy.edge import Authority, Certificate
from policy.model import Gateway


@pytest.fixture
def certificates(tmp_path: Path) -> DevelopmentCertificates:
    return ensure_certificates(tmp_path, ["central"], datetime.now(UTC))


def gateway(certificates: DevelopmentCertificates) -> Gateway:
    public = Certificate(chain_file=str(certificates.public.chain_file), key_file=str(certificates.public.key_file))
    mesh = Authority(ca_file=str(certificates.ca_file), identities=("spiffe://waooaw.ai/gateway/central",))
    return Gateway.model_construct(certificates={"public": public}, authorities={"mesh": mesh})


def test_files_that_belong_together_are_read(certificates: DevelopmentCertificates) -> None:
    policy = gateway(certificates)
    material = read_material(policy)
    assert {file: one.pem for file, one in material.items()} == {file: Path(file).read_bytes() for file in material}
    assert len(material) == 3
    (lifetime,) = lifetimes(policy, material)
    assert lifetime.certificate == "public"
    assert lifetime.not_after > datetime.now(UTC)


def test_a_chain_whose_key_has_not_been_written_yet_is_refused(certificates: DevelopmentCertificates) -> None:
    mesh = certificates.mesh["central"]
    certificates.public.chain_file.write_bytes(mesh.chain_file.read_bytes())
    with pytest.raises(UnusableMaterialError, match="is not the key of the first certificate") as refused:
        read_material(gateway(certificates))
    assert refused.value.path == ("certificates", "public", "key_file")


@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\nhalf", b"\xff\xfe"])
def test_half_a_certificate_is_refused(certificates: DevelopmentCertificates, content: bytes) -> None:
    certificates.public.chain_file.write_bytes(content)
    with pytest.raises(UnusableMaterialError, match="no certificate in PEM") as refused:
        read_material(gateway(certificates))
    assert refused.value.path == ("certificates", "public", "chain_file")


def test_half_an_authority_is_refused(certificates: DevelopmentCertificates) -> None:
    certificates.ca_file.write_bytes(b"not a certificate")
    with pytest.raises(UnusableMaterialError, match="no certificate in PEM") as refused:
        read_material(gateway(certificates))
    assert refused.value.path == ("authorities", "mesh", "ca_file")


def test_no_part_of_a_key_is_in_what_is_said_of_it(certificates: DevelopmentCertificates) -> None:
    half = certificates.public.key_file.read_bytes()[:120]
    certificates.public.key_file.write_bytes(half)
    with pytest.raises(UnusableMaterialError, match="no private key in PEM") as refused:
        read_material(gateway(certificates))
    assert half.decode().splitlines()[1] not in str(refused.value)


def test_a_missing_file_is_named(certificates: DevelopmentCertificates) -> None:
    certificates.ca_file.unlink()
    with pytest.raises(FileNotFoundError) as missing:
        read_material(gateway(certificates))
    assert missing.value.filename == str(certificates.ca_file)
