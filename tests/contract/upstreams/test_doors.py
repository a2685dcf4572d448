"""What a real Envoy's listeners demand of TLS, promise to browsers, and answer to an ACME server."""

import contextlib
import http.client
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from apibank.certificates import DevelopmentCertificates, ensure_certificates
from tests.contract.upstreams.shop import Host, Open, Shop
from tests.contract.xds_compiler.federation import free_port


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentCertificates:
    return ensure_certificates(tmp_path_factory.mktemp("tls"), ["central"], datetime.now(UTC))


@contextlib.contextmanager
def over_tls(shop: Open, host: Host, certificates: DevelopmentCertificates, **tls: Any) -> Iterator[tuple[Shop, int]]:
    port = free_port()
    files = {"chain_file": str(certificates.public.chain_file), "key_file": str(certificates.public.key_file)}
    door = {"address": f"127.0.0.1:{port}", "tls": {"certificate": "public", **tls}}
    with shop({"endpoints": [host.endpoint]}, certificates={"public": files}, listeners={"door": door}) as gateway:
        yield gateway, port


def get(port: int, context: ssl.SSLContext) -> http.client.HTTPResponse:
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)
    connection.request("GET", "/")
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def trusting(certificates: DevelopmentCertificates) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificates.ca_file))


def test_a_door_for_tls_1_3_alone_refuses_older_clients(
    shop: Open, hosts: tuple[Host, Host], certificates: DevelopmentCertificates
) -> None:
    with over_tls(shop, hosts[0], certificates, minimum_version="1.3") as (_, port):
        assert get(port, trusting(certificates)).status == 200
        old = trusting(certificates)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError):
            get(port, old)


def test_a_door_takes_only_the_suites_that_are_named(
    shop: Open, hosts: tuple[Host, Host], certificates: DevelopmentCertificates
) -> None:
    named = ["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"]
    with over_tls(shop, hosts[0], certificates, cipher_suites=named) as (_, port):
        client = trusting(certificates)
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        assert get(port, client).status == 200
        client.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256")
        with pytest.raises(ssl.SSLError):
            get(port, client)


def test_a_browser_is_promised_https_as_the_policy_says(
    shop: Open, hosts: tuple[Host, Host], certificates: DevelopmentCertificates
) -> None:
    promise = {"hsts_seconds": 31_536_000, "hsts_include_subdomains": True, "hsts_preload": True}
    with over_tls(shop, hosts[0], certificates, **promise) as (_, port):
        answer = get(port, trusting(certificates))
    assert answer.getheader("strict-transport-security") == "max-age=31536000; includeSubDomains; preload"


@pytest.mark.requirement("R84")
def test_a_challenge_is_answered_where_everything_else_is_sent_to_https(shop: Open, hosts: tuple[Host, Host]) -> None:
    service, acme = hosts
    door, plain = free_port(), free_port()
    listeners = {
        "door": {"address": f"127.0.0.1:{door}"},
        "http": {"address": f"127.0.0.1:{plain}", "redirect_to_https_port": 443, "acme_challenge": "acme"},
    }
    upstreams = {"service": {"endpoints": [service.endpoint]}, "acme": {"endpoints": [acme.endpoint]}}
    with shop({}, upstreams=upstreams, listeners=listeners) as gateway:
        assert gateway.status("/.well-known/acme-challenge/token-1", port=plain) == 200
        assert acme.path == "/.well-known/acme-challenge/token-1"
        for path in (
            "/",
            "/.well-known/acme-challenge-not",
            "/.well-known",
            "/.well-known/acme-challenge/../../api",
            "/.well-known/acme-challenge/",
            "/.well-known/acme-challenge/a/b",
        ):
            assert gateway.status(path, port=plain) == 301, path
        assert (service.hits, acme.hits) == (0, 1)
