"""One federation over hosts for all tests of this folder; each leaves it whole."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.multi_host.federation import Federation, running
from tests.support.hosts import why_not


@pytest.fixture(scope="session")
def federation() -> Iterator[Federation]:
    if reason := why_not():
        pytest.skip(reason)
    # Short: the paths of Unix sockets have 107 bytes at most.
    folder = Path(tempfile.mkdtemp(prefix="apibank-hosts-"))
    try:
        with running(folder) as one:
            yield one
    finally:
        shutil.rmtree(folder, ignore_errors=True)
