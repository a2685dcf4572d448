"""Secrets in files: agents' secrets in a directory, and the secret of a symmetric issuer; read again on change."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from authz.facts import AgentSecrets
from authz.identity.keys import MIN_SECRET, KeySet, ed25519_key, symmetric_key

MAX_FILE: Final = 16_384
MAX_SECRETS: Final = 4
# Agents are named as their endpoints are; whatever else lies in the directory is not an agent.
_AGENT: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")

Stamp = tuple[tuple[str, int, int, int, int], ...]


class SecretFileError(Exception):
    """A file of secrets cannot be used. The message names the file, never what is in it."""


def read_secrets(path: Path) -> tuple[bytes, ...]:
    """One secret per line, raw (R24); the first is the newest. Raises SecretFileError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
    except OSError as error:
        raise SecretFileError(f"{path.name}: {error.strerror}") from error
    lines = tuple(line.removesuffix(b"\r") for line in content.split(b"\n") if line.strip())
    if len(content) > MAX_FILE or not 0 < len(lines) <= MAX_SECRETS:
        raise SecretFileError(f"{path.name}: not 1 to {MAX_SECRETS} secrets, one per line")
    if any(len(line) < MIN_SECRET for line in lines):
        raise SecretFileError(f"{path.name}: a secret has fewer than {MIN_SECRET} octets")
    return lines


def read_symmetric(path: Path) -> KeySet:
    """The key set of an HS256 issuer. Raises SecretFileError."""
    return KeySet(secrets=tuple(symmetric_key(secret) for secret in read_secrets(path)))


def read_public_key(path: Path) -> KeySet:
    """The key set of a break-glass issuer: one Ed25519 key, by its thumbprint. Raises SecretFileError."""
    try:
        with path.open("rb") as file:
            key = load_pem_public_key(file.read(MAX_FILE))
    except OSError as error:
        raise SecretFileError(f"{path.name}: {error.strerror}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SecretFileError(f"{path.name}: not a public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise SecretFileError(f"{path.name}: not an Ed25519 key")
    kid, verification = ed25519_key(key)
    return KeySet({kid: verification})


def _agent_files(directory: Path) -> Iterator[Path]:
    try:
        for path in sorted(directory.iterdir()):
            if _AGENT.fullmatch(path.name) and path.is_file():
                yield path
    except OSError as error:
        raise SecretFileError(f"{directory.name}: {error.strerror}") from error


def read_agents(directory: Path) -> tuple[AgentSecrets, list[str]]:
    """All agents whose file can be used, and what is wrong with the others. Raises SecretFileError."""
    agents: dict[str, tuple[bytes, ...]] = {}
    problems: list[str] = []
    for path in _agent_files(directory):
        try:
            agents[path.name] = read_secrets(path)
        except SecretFileError as error:
            problems.append(str(error))
    return AgentSecrets(agents), problems


def stamp(path: Path) -> Stamp:
    """What differs when a file, or any file of a directory, has changed. Raises SecretFileError."""
    try:
        files = [*_agent_files(path), path] if path.is_dir() else [path]
        stats = [(file.name, os.stat(file)) for file in files]  # noqa: PTH116 one call per file suffices
    except OSError as error:
        raise SecretFileError(f"{path.name}: {error.strerror}") from error
    # Secrets are of one length, inodes are used again, and some tools give all files one time of change; but nobody
    # sets the time at which a file's entry was written.
    return tuple((name, found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino) for name, found in stats)
