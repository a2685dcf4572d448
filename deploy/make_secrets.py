"""Makes every secret that compose.yaml mounts, below deploy/secrets, for trying the containers on one machine.

There is a kustomization.yaml too, which makes of them the Secrets of deploy/kubernetes.

Run as `python -m deploy.make_secrets` in the project's folder. What is there already is kept, so it may be run again.
A real deployment puts files of the same names there from its own authority and its own vault.

The folder itself is for its owner alone (0700); below it files may be read by everybody who gets that far, because
the containers' users are not this machine's users and see only the files that are mounted for them.
"""

import argparse
import hashlib
import secrets
import shutil
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import yaml

from apibank.certificates import KeyPair, ensure_certificates

PROJECT = Path(__file__).resolve().parents[1]
GATEWAYS = ("central", "platform", "marketing", "education", "sales", "agents")
# Gateways whose routes are agents: an agent has the id of its route.
HOMES_OF_AGENTS = ("marketing", "education", "sales", "agents")
# What the counters and the nonces need, and nothing that could read or change the server.
VALKEY_RULES = "~* &* +@all -@admin -@dangerous +info"


def make_secrets(folder: Path, now: datetime) -> None:
    """Fill `folder`; `now` (aware) decides which certificates are too old to keep."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    _certificates(folder, now)
    _passwords(folder)
    for agent in _agents():
        _keep(folder / "agents" / agent, secrets.token_hex(32))
    _write(folder / "kustomization.yaml", yaml.safe_dump(_kustomization(folder), sort_keys=False))


def _kustomization(folder: Path) -> Mapping[str, object]:
    """`kubectl apply -k`: the Secrets by the names that deploy/kubernetes asks for."""
    files = {
        "database": ["database-url", "postgres-password"],
        "store": ["store-url", "valkey-users"],
        "audit": ["audit-key"],
        "control": ["control-token"],
        "portal": ["portal-client-secret"],
    }
    folders = {"control-plane": "control-plane", "agents": "agents"}
    folders |= {f"{gateway}-identity": f"envoy-{gateway}" for gateway in GATEWAYS}
    files |= {
        name: sorted(f"{one}/{path.name}" for path in (folder / one).glob("[!.]*")) for name, one in folders.items()
    }
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "apibank",
        # Without a suffix of the content: a certificate that is renewed reaches pods that run.
        "generatorOptions": {"disableNameSuffixHash": True},
        "secretGenerator": [{"name": name, "files": paths} for name, paths in files.items()],
    }


def _certificates(folder: Path, now: datetime) -> None:
    made = ensure_certificates(folder / "authority", GATEWAYS, now)
    control = folder / "control-plane"
    _copy(made.ca_file, control / "mesh-ca.pem")
    _copy_pair(made.public, control, "public")
    _copy_pair(made.control_plane, control, "control-plane")
    for gateway, pair in made.mesh.items():
        _copy_pair(pair, control, f"{gateway}-mesh")
        _copy_pair(pair, folder / f"envoy-{gateway}", "node")
        _copy(made.ca_file, folder / f"envoy-{gateway}" / "ca.pem")
    # For people who call from outside: curl --cacert deploy/secrets/ca.pem
    _copy(made.ca_file, folder / "ca.pem")


def _passwords(folder: Path) -> None:
    database = _keep(folder / "postgres-password", secrets.token_hex(24))
    store = _keep(folder / "valkey-password", secrets.token_hex(24))
    _write(folder / "database-url", f"postgresql://apibank:{database}@postgres:5432/apibank")
    _write(folder / "store-url", f"redis://apibank:{store}@valkey:6379/0")
    digest = hashlib.sha256(store.encode()).hexdigest()
    _write(
        folder / "valkey-users",
        f"user default off\nuser health on nopass resetkeys -@all +ping\nuser apibank on #{digest} {VALKEY_RULES}\n",
    )
    _keep(folder / "audit-key", secrets.token_hex(32))
    _keep(folder / "control-token", secrets.token_urlsafe(32))
    # Replace it by what the issuer has given the client `waooaw-portal`.
    _keep(folder / "portal-client-secret", secrets.token_urlsafe(32))
    _keep(folder / "grafana-password", secrets.token_urlsafe(18))


def _agents() -> Iterable[str]:
    for gateway in HOMES_OF_AGENTS:
        yield from yaml.safe_load((PROJECT / "envoy" / "gateways" / f"{gateway}.yaml").read_text("utf-8"))["routes"]


def _copy_pair(pair: KeyPair, folder: Path, name: str) -> None:
    _copy(pair.chain_file, folder / f"{name}.pem")
    _copy(pair.key_file, folder / f"{name}.key")


def _copy(source: Path, target: Path) -> None:
    # Whole or not at all: a control plane that is running watches these files.
    target.parent.mkdir(mode=0o755, exist_ok=True)
    partial = target.with_name(f".{target.name}")
    shutil.copyfile(source, partial)
    partial.chmod(0o644)
    partial.replace(target)


def _keep(path: Path, fresh: str) -> str:
    """The secret in `path`; `fresh`, if there is none yet."""
    if not path.exists():
        _write(path, fresh)
    return path.read_text("utf-8")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o755, exist_ok=True)
    path.write_text(text, "utf-8")
    path.chmod(0o644)


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the secrets that compose.yaml mounts; keep those that exist.")
    parser.add_argument("--folder", type=Path, default=PROJECT / "deploy" / "secrets", help="where to put them")
    folder = parser.parse_args().folder
    make_secrets(folder, datetime.now(UTC))
    sys.stdout.write(f"secrets are in {folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
