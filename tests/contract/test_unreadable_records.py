"""A gateway's process goes on over records that it cannot read: what needs them is refused, and nothing else."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import yaml
from sqlalchemy import text

from apibank.migrating import migrated
from apibank.policies import PolicyFolder
from protos import ext_authz_pb2_grpc as pb_grpc
from records.database import Database
from records.fact_versions import API_KEYS, REVOCATIONS, bump
from tests.contract.test_authz_replicas import BODY, OLD, POLICIES, Replica, free_ports, ready, signed
from tests.support.stack import ROOT

_KEY = """INSERT INTO api_keys (id, digest, partner, name, tier, scopes, created_at, created_by, expires_at)
    VALUES ('k_1', 'ab', 'acme', '', 'a tier of tomorrow', '[]', '2026-01-01 00:00:00', '', '2999-01-01 00:00:00')"""
_REVOCATION = """INSERT INTO revocations (id, issuer, jti, until, reason, revoked_by, revoked_at)
    VALUES ('r_1', 'https://auth.waooaw.ai', 't-1', 'the end of time', 'lost', '', '2026-01-01 00:00:00')"""


@pytest.fixture
async def database(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'records.db'}"
    assert await migrated(url)
    async with Database(url) as database, database.writing() as session:
        for row, facts in ((_KEY, API_KEYS), (_REVOCATION, REVOCATIONS)):
            await session.execute(text(row))
            await bump(database, session, facts)
    return url


@pytest.fixture
def replica(database: str, tmp_path: Path) -> Iterator[tuple[int, str, "subprocess.Popen[bytes]"]]:
    port, metrics = free_ports(2)
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "vision").write_text(OLD, encoding="utf-8")
    part = {
        "agents": {"secrets_directory": str(tmp_path / "agents")},
        "services": {"authz": {"endpoint": f"127.0.0.1:{port}", "timeout_ms": 5000}},
    }
    profile = tmp_path / "odd.yaml"
    profile.write_text(yaml.safe_dump({"profile": "odd", "description": "x", "gateways": {"agents": part}}))
    command = [sys.executable, "-m", "apibank", "serve", "authz", "agents", "--policies", str(POLICIES)]
    options = {
        "--profile": profile,
        "--store": "memory",
        "--database": database,
        "--state-dir": tmp_path / "state",
        "--metrics-listen": f"127.0.0.1:{metrics}",
    }
    command += [str(each) for option in options.items() for each in option]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
    try:
        ready(metrics, process)
        yield port, PolicyFolder(POLICIES, (str(profile),)).load_one("agents").gateway.version, process
    finally:
        process.terminate()
        process.wait(30)


async def test_a_process_starts_serves_and_says_what_it_cannot_read(
    replica: tuple[int, str, "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    port, version, process = replica
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        asked = Replica(pb_grpc.AuthorizationStub(channel), version)
        assert await asked.ask(signed(), BODY) is None
    assert process.poll() is None
    said = (tmp_path / "log").read_text()
    assert '"api_keys_unreadable"' in said
    assert '"k_1"' in said
    assert '"facts_not_confirmed"' in said
