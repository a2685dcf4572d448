"""The control API's secret is replaced while everything runs; what others rotate has tests of its own."""

import secrets

import httpx2

from apibank.private_files import write_private
from tests.support.stack import Stack


def test_the_control_apis_secret_is_another_from_the_next_request_on(stack: Stack) -> None:
    path = stack.state_dir / "control.token"
    old = path.read_text().strip()
    asked = f"{stack.ready.control_api}/v1/status?resources=false"

    def status(secret: str) -> int:
        return httpx2.get(asked, headers={"authorization": f"Bearer {secret}"}, timeout=10).status_code

    assert status(old) == 200
    new = secrets.token_urlsafe(32)
    write_private(path, new.encode() + b"\n")
    assert (status(old), status(new)) == (401, 200)
    # Commands read it anew.
    assert stack.run("status").returncode == 0
