"""Files in the folder that is followed: candidates while they are tried, and what replaces a gateway's own file."""

import asyncio
import errno
import os
import secrets
import shutil
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from apibank.policies import PolicyFolder
from apibank.policy_source import read_source
from policy.problem import PolicyError

REPLACED: Final = ".replaced"
# Of each gateway, the newest.
_MOST_KEPT: Final = 20
_LOG: Final = structlog.get_logger(__name__)


class ReadOnlyFolderError(Exception):
    """The folder of policies cannot be written, so nothing can be applied to it; the text says which, and why."""


class PolicyFiles:
    """Writes into the folder of policies, each file whole or not at all."""

    def __init__(self, folder: PolicyFolder) -> None:
        self._folder = folder

    async def prepare(self) -> None:
        """See to it that the folder takes files. Raises ReadOnlyFolderError."""
        await asyncio.to_thread(self._prepare)

    async def offer(self, gateway: str, text: str) -> None:
        """Put a candidate where the gateway's services find it. Raises ReadOnlyFolderError."""
        await asyncio.to_thread(self._write, self._folder.candidates / f"{gateway}.yaml", text)

    async def withdraw(self, gateway: str) -> None:
        """Take the candidate away again; one that is not there, or that cannot be taken away, is no error."""
        await asyncio.to_thread(_remove, self._folder.candidates / f"{gateway}.yaml")

    async def replace(self, gateway: str, text: str) -> None:
        """Put the text in the place of the gateway's file. Raises ReadOnlyFolderError.

        What stood there and was never live, such as a draft with a mistake, is kept in the folder `.replaced`.
        """
        await asyncio.to_thread(self._replace, gateway, text)

    async def candidates(self) -> list[str]:
        """The gateways that have one."""
        return await asyncio.to_thread(self._candidates)

    async def found(self, gateway: str) -> str | None:
        """The text of the gateway's file now, or what is wrong with reading it; None where there is none."""
        return await asyncio.to_thread(self._found, gateway)

    def _prepare(self) -> None:
        try:
            self._folder.candidates.mkdir(exist_ok=True)
        except OSError as error:
            raise self._read_only(error) from error
        for place in (self._folder.folder, self._folder.candidates):
            if not os.access(place, os.W_OK | os.X_OK):
                raise ReadOnlyFolderError(f"{place} cannot be written: the control plane may only read it")

    def _write(self, path: Path, text: str) -> None:
        try:
            path.parent.mkdir(exist_ok=True)
            # A link goes on to be one: what it leads to is replaced.
            path = _target(path)
            # Random, as process ids of several containers are the same.
            partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
            try:
                with partial.open("x", encoding="utf-8", newline="") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                if path.exists():
                    # Whoever could read and write the file before still can.
                    shutil.copymode(path, partial)
                partial.replace(path)
            except OSError:
                _remove(partial)
                raise
        except OSError as error:
            raise self._read_only(error) from error

    def _replace(self, gateway: str, text: str) -> None:
        path = self._folder.folder / f"{gateway}.yaml"
        present = self._found(gateway)
        if present is not None and present.strip() and present not in (text, self._folder.last_text(gateway)):
            self._keep(gateway, path)
        self._write(path, text)

    def _keep(self, gateway: str, path: Path) -> None:
        kept = self._folder.folder / REPLACED
        copy = kept / f"{gateway}.{datetime.now(UTC):%Y%m%dT%H%M%S.%f}Z.yaml"
        try:
            file = _target(path)
            kept.mkdir(exist_ok=True)
            try:
                # However long it is, it is only named anew: what takes its place is another file.
                copy.hardlink_to(file)
            except OSError:
                shutil.copyfile(file, copy)
        except OSError as error:
            raise self._read_only(error) from error
        for old in sorted(kept.glob(f"{gateway}.*Z.yaml"))[:-_MOST_KEPT]:
            _remove(old)
        _LOG.warning("replaced_file_kept", gateway=gateway, file=str(copy))

    def _candidates(self) -> list[str]:
        return [path.stem for path in self._folder.candidates.glob("*.yaml") if self._folder.wants(path.stem)]

    def _found(self, gateway: str) -> str | None:
        try:
            return read_source(self._folder.folder / f"{gateway}.yaml").text
        except FileNotFoundError:
            return None
        except PolicyError as error:
            return str(error)

    def _read_only(self, error: OSError) -> ReadOnlyFolderError:
        return ReadOnlyFolderError(f"{self._folder.folder} cannot be written: {error.strerror or error}")


def _target(path: Path) -> Path:
    """What is replaced: a file, never a device that a link leads to. Raises OSError."""
    try:
        target = path.resolve()
        there = target.lstat()
    except FileNotFoundError:
        return target
    except RuntimeError:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
    if stat.S_ISREG(there.st_mode):
        return target
    raise OSError(errno.EINVAL, f"{path.name} is no file, and what it is stays")


def _remove(path: Path) -> bool:
    """Whether it has gone. What is left lying in a folder that became read-only must stop nothing else."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _LOG.warning("file_left", file=str(path), error=error.strerror)
        return False
    return True
