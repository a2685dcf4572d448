"""How commands talk to a running control plane."""

from pathlib import Path

from apibank.output import fail
from apibank.ready import StackNotRunningError, read_ready
from apibank.settings import Settings

# A change of keys waits for every gateway; the control plane gives up before this does.
TIMEOUT_SECONDS = 30


def ask(settings: Settings, method: str, path: str, body: object = None) -> object:
    """Call the control API of the running stack and return its JSON; ends the command with one line where it fails."""
    import httpx2

    try:
        url = settings.control_api or read_ready(settings.state_dir).control_api
        secret = _secret(settings.token_file())
        answer = httpx2.request(
            method,
            url.rstrip("/") + path,
            json=body,
            headers={"authorization": f"Bearer {secret}"},
            timeout=TIMEOUT_SECONDS,
        )
    except StackNotRunningError as error:
        return fail(f"error: {error}")
    except httpx2.HTTPError as error:
        return fail(f"error: the control API at {url} does not answer: {error}")
    if answer.is_success:
        return answer.json()
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = f"{answer.status_code} {answer.text[:200]}"
    return fail(f"error: {detail}")


def _secret(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise StackNotRunningError(f"the control token cannot be read: {error}") from error
