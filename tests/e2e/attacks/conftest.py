"""What attackers have: raw connections, keys of their own, and what the issuers publish."""

from pathlib import Path

import pytest

from tests.support.evidence import Evidence
from tests.support.forging import Forge
from tests.support.raw import Door
from tests.support.stack import Stack


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # A case of a table names its attack: "A31 two slashes".
    for item in items:
        if Path(__file__).parent not in item.path.parents:
            continue
        made = {name for marker in item.iter_markers("attack") for name in marker.args}
        case = item.name.partition("[A")[2]
        named = "A" + "".join(letter for letter in case.partition(" ")[0] if letter.isdigit())
        if not made or (case and named not in made):
            raise pytest.UsageError(f"{item.nodeid}: mark it with the attack that it makes")


@pytest.fixture(scope="session")
def evidence(stack: Stack) -> Evidence:
    """Counts and logs of the federation."""
    return Evidence(stack)


@pytest.fixture(scope="session")
def forge(stack: Stack) -> Forge:
    """Signs anything with the development issuers' keys, and with others."""
    return Forge(stack.state_dir)


@pytest.fixture(scope="session")
def public_door(stack: Stack) -> Door:
    """Raw connections to central."""
    return Door(stack.ready.central.https, stack.ca_file)


@pytest.fixture(scope="session")
def inner_door(stack: Stack) -> Door:
    """Raw connections to central's internal door, from the internal network."""
    return Door(stack.ready.central.internal_https, stack.ca_file, address="127.0.0.2")
