"""One federation for all tests through real Envoys, with address rules that loopback addresses can meet or miss."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.stack import ROOT, Stack, running_stack
from tests.support.tokens import Tokens

# Internal is 10.0.0.0/8, as in production, and the one loopback address that plays a host of it.
INTERNAL_ADDRESS = "127.0.0.2"
OUTSIDE_ADDRESS = "127.0.0.3"
ADDRESS_RULES = f"""\
profile: address-rules
description: The internal network is one loopback address, so that a real peer address decides.
all:
  services: {{authz: {{failed_credentials: {{exempt: [127.0.0.1/32, {INTERNAL_ADDRESS}/32, {OUTSIDE_ADDRESS}/32]}}}}}}
gateways:
""" + "".join(
    f"  {name}: {{networks: {{internal: [10.0.0.0/8, {INTERNAL_ADDRESS}/32]}}}}\n"
    for name in ("central", "platform", "agents")
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The hook is given every test of the run, those of other folders too.
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the gateways' files, which tests may edit."""
    folder = tmp_path_factory.mktemp("policies") / "gateways"
    shutil.copytree(ROOT / "envoy" / "gateways", folder)
    return folder


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, policies: Path) -> Iterator[Stack]:
    """The federation: six Envoys, their services, Valkey, issuer, upstreams."""
    folder = tmp_path_factory.mktemp("stack")
    overlay = folder / "address-rules.yaml"
    overlay.write_text(ADDRESS_RULES, encoding="utf-8")
    arguments = ("--policies", str(policies), "--profile", "dev", "--profile", str(overlay))
    with running_stack(folder / "state", *arguments) as running:
        yield running


@pytest.fixture(scope="session")
def tokens(stack: Stack) -> Tokens:
    """Signs tokens with the development issuer's keys."""
    return Tokens(stack.state_dir)


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    """A client of the public door, from an ordinary loopback address."""
    with Client(stack.ready) as one:
        yield one


@pytest.fixture
def outside(stack: Stack) -> Iterator[Client]:
    """A client that no allow-list names."""
    with Client(stack.ready, address=OUTSIDE_ADDRESS) as one:
        yield one


@pytest.fixture
def internal(stack: Stack) -> Iterator[Client]:
    """A client of the internal network."""
    with Client(stack.ready, address=INTERNAL_ADDRESS) as one:
        yield one


_numbers = itertools.count(1)


@pytest.fixture
def fresh() -> Callable[[str], str]:
    """Names that no other test uses: a caller with full limits and an unspent day."""
    return lambda kind: f"{kind}-{next(_numbers)}"
