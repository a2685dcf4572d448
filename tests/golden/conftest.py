"""`make golden` rewrites what the tests here compare with."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden/expected; read the diff")


@pytest.fixture(scope="session")
def update_golden(request: pytest.FixtureRequest) -> bool:
    # The option is known only where this folder is named on the command line.
    return bool(request.config.getoption("--update-golden", default=False))
