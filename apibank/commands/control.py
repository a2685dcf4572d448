"""How commands talk to a running control plane."""

import getpass
import json
from collections.abc import Mapping
from pathlib import Path

from apibank.output import CANNOT, fail
from apibank.ready import StackNotRunningError, read_ready
from apibank.settings import Settings

# A change of keys waits for every gateway; the control plane gives up before this does.
TIMEOUT_SECONDS = 30


class AwayError(Exception):
    """The control plane, or its database, does not answer now; the text says which."""


def ask(
    settings: Settings,
    method: str,
    path: str,
    body: object = None,
    *,
    reason: str | None = None,
    within: float = TIMEOUT_SECONDS,
    refusal: int = CANNOT,
    patient: bool = False,
    options: Mapping[str, str] | None = None,
) -> object:
    """Call the control API of the running stack and return its JSON; ends the command with its reasons where it fails.

    `reason`: why a change is made, for the audit, which is told who asks as well. `within`: seconds. `refusal`: the
    exit code where the API says no to what was asked (409, 422), rather than that it cannot be asked. `patient`:
    raises AwayError where asking again may help. `options`: by fields of the body what people wrote, so that what is
    wrong is named as they know it.
    """
    import httpx2

    try:
        url = settings.control_api or read_ready(settings.state_dir).control_api
        headers = {"authorization": f"Bearer {_secret(settings.token_file())}"}
        who_and_why = {"x-apibank-author": author(), "x-apibank-reason": reason or ""}
        headers |= {name: _header_text(text) for name, text in who_and_why.items() if text}
        answer = httpx2.request(
            method,
            url.rstrip("/") + path,
            json=body,
            headers=headers,
            timeout=within,
        )
    except StackNotRunningError as error:
        return fail(f"error: {error}")
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        said = f"the control API at {url} does not answer: {error}"
        if patient:
            raise AwayError(said) from error
        return fail(f"error: {said}")
    if answer.is_success:
        try:
            return answer.json()
        except ValueError:
            return fail(_reasons(answer.status_code, "", url, {}))
    if answer.status_code == 401:
        return fail(f"error: the control API at {url} does not know the secret in {settings.token_file()}")
    said = _reasons(answer.status_code, answer.text, url, options or {})
    if patient and answer.status_code == 503:
        raise AwayError(said.removeprefix("error: "))
    return fail(said, refusal if answer.status_code in {409, 422} else CANNOT)


def author() -> str:
    """The user of this machine, as the history shall name them."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"


def _reasons(status: int, text: str, url: str, options: Mapping[str, str]) -> str:
    """What the answer says is wrong, each thing on a line with its place."""
    try:
        problem = json.loads(text)
        if problem.get("code") == "not_found":
            return f"error: the control API at {url} serves no such thing: is it of another version, or the name none?"
        if problem.get("code") == "request_invalid" and problem.get("errors"):
            return "\n".join(f"error: {_placed(one['pointer'], options)}{one['rule']}" for one in problem["errors"])
        lines = [f"error: {problem['detail']}"]
        told = [one for one in problem.get("errors", ()) if one.get("message")]
    except (ValueError, KeyError, TypeError, AttributeError):
        # The page of another server would fill the screen, and say nothing of this one.
        first = text.partition("\n")[0][:80]
        return f"error: {url} answers {status}, and not as a control API does: {first or 'with nothing'}"
    for one in told:
        place = f"{one['file']}:{one['line']}:{one.get('column', 1)}: " if one.get("file") else ""
        path = f"{one['path']}: " if one.get("path") else ""
        code = f" [{one['code']}]" if one.get("code") else ""
        hint = f"; {one['hint']}" if one.get("hint") else ""
        lines.append(f"error: {place}{path}{one['message']}{code}{hint}")
    return "\n".join(lines)


def _placed(pointer: str, options: Mapping[str, str]) -> str:
    """A place in what was sent by the option that says it, or as it is; none of the whole of it."""
    place = options.get(pointer.removeprefix("/").partition("/")[0], pointer)
    return f"{place}: " if place else ""


def _header_text(text: str) -> str:
    """What a header can hold of it."""
    return "".join(one if " " <= one <= "~" else "?" for one in text)[:128].strip()


def _secret(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise StackNotRunningError(f"the control token cannot be read: {error}") from error
