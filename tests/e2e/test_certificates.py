"""Certificates that are renewed on disk reach the Envoys, and nobody loses a connection or a request."""

import http.client
import json
import shutil
import ssl
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from apibank.certificates import ensure_certificates
from tests.support.published import eventually
from tests.support.stack import Stack
from tests.support.tokens import Fresh, Tokens
from tests.support.traffic import GOOD, flow, getting

RENEWED = ("public", "central-mesh", "education-mesh")


def stat(admin: str, name: str) -> int:
    with urllib.request.urlopen(f"{admin}/stats?format=json&filter={name}", timeout=5) as answer:
        return sum(one["value"] for one in json.load(answer)["stats"] if "value" in one)


def shown(port: int, ca_file: str) -> bytes:
    """The certificate of a new connection, in DER."""
    context = ssl.create_default_context(cafile=ca_file)
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)
    connection.connect()
    try:
        assert isinstance(connection.sock, ssl.SSLSocket)
        return connection.sock.getpeercert(binary_form=True) or b""
    finally:
        connection.close()


def renewed_in(folder: Path, tls: Path) -> None:
    """New certificates of the stack's own authority, in a folder of their own."""
    (folder / "tls").mkdir(parents=True)
    for name in ("ca.pem", "ca.key"):
        shutil.copy2(tls / name, folder / "tls" / name)
    ensure_certificates(folder, ["central", "education"], datetime.now(UTC))


def in_der(file: Path) -> bytes:
    return x509.load_pem_x509_certificate(file.read_bytes()).public_bytes(Encoding.DER)


@pytest.mark.requirement("R10", "R84", "U2")
async def test_renewed_certificates_reach_new_connections_and_cost_open_ones_nothing(
    stack: Stack, tokens: Tokens, fresh: Fresh, tmp_path: Path
) -> None:
    central = stack.ready.central
    port = int(central.https.rpartition(":")[2])
    tls = stack.state_dir / "tls"
    renewed_in(tmp_path, tls)
    listeners = stat(central.envoy_admin, "listener_manager.listener_(modified|added|removed)")
    callers = [tokens.of("education", fresh) for _ in range(10)]

    open_one = http.client.HTTPSConnection(
        "127.0.0.1", port, context=ssl.create_default_context(cafile=stack.ca_file), timeout=10
    )

    def ask() -> int:
        open_one.request("GET", "/api/education/math", headers={"authorization": f"Bearer {callers[0]}"})
        answer = open_one.getresponse()
        answer.read()
        return answer.status

    assert ask() == 200
    socket = open_one.sock
    async with flow(stack, getting(stack, "/api/education/math", callers)) as answers:
        for name in RENEWED:
            # As an ACME client does: one file after the other, each in its place at once.
            for suffix in ("pem", "key"):
                (tmp_path / "tls" / f"{name}.{suffix}").replace(tls / f"{name}.{suffix}")
        expected = in_der(tls / "public.pem")
        await eventually(lambda: shown(port, stack.ca_file) == expected)
        await eventually(lambda: stack.run("status", check=False).returncode == 0)
        assert ask() == 200
        assert open_one.sock is socket
    open_one.close()
    assert set(answers) == {GOOD}, answers
    assert stat(central.envoy_admin, "listener_manager.listener_(modified|added|removed)") == listeners
