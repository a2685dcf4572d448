"""The control API over HTTP, as the console asks it. Its token is read at each call, and is in no answer and no log."""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import httpx2
import structlog
from pydantic import BaseModel, TypeAdapter, ValidationError

from portal.explain_api import ExplainRequest
from portal.sre.federation import (
    Begun,
    Change,
    Draft,
    GatewayShown,
    Mistake,
    PolicyShown,
    ResourceShown,
    Revision,
    SaidNoError,
)

_LOG: Final = structlog.get_logger(__name__)
# An apply waits for authorization, for two seconds a gateway, and for the Envoys.
_SECONDS: Final = 45.0
_LONGEST_HEADER: Final = 128
_REVISIONS: Final = 50

T = TypeVar("T")


class _Status(BaseModel):
    gateways: list[GatewayShown] = []
    resources: list[ResourceShown] = []


class _Difference(BaseModel):
    changes: list[Change] = []


class _Differences(BaseModel):
    gateways: list[_Difference]


class _Rollouts(BaseModel):
    rollouts: list[Begun]


class _Problem(BaseModel):
    code: str
    detail: str
    errors: list[Mistake] = []


class ControlApi:
    """The console's port `Control`."""

    def __init__(self, address: str, token: Callable[[], str], http: httpx2.AsyncClient | None = None) -> None:
        """`address`: http://HOST:PORT. `token` may raise OSError."""
        self._address = address.rstrip("/")
        self._token = token
        # A proxy or a redirect would be told the token.
        self._http = http or httpx2.AsyncClient(timeout=_SECONDS, trust_env=False, follow_redirects=False)

    async def close(self) -> None:
        await self._http.aclose()

    async def gateways(self) -> Sequence[GatewayShown]:
        return (await self._ask("GET", "/v1/status?resources=false", _Status)).gateways

    async def resources(self) -> Sequence[ResourceShown]:
        return (await self._ask("GET", "/v1/status", _Status)).resources

    async def policy(self, gateway: str) -> PolicyShown:
        return await self._ask("GET", f"/v1/policies/{gateway}", PolicyShown)

    async def diff(self, gateway: str, text: str) -> Sequence[Change]:
        told = await self._ask("POST", "/v1/policies/diff", _Differences, {"gateways": _texts(gateway, text)})
        return [change for one in told.gateways for change in one.changes]

    async def apply(self, draft: Draft, author: str) -> Begun:
        body: dict[str, object] = {
            "gateways": _texts(draft.gateway, draft.text),
            "bases": {draft.gateway: draft.base},
            "message": draft.message,
            "wait": False,
        }
        if draft.percent is not None:
            body["canary"] = {"percent": draft.percent}
        return await self._begun("/v1/policies/apply", body, author, draft.message)

    async def history(self, gateway: str, before: int | None = None) -> Sequence[Revision]:
        path = f"/v1/policies/history?gateway={gateway}&limit={_REVISIONS}"
        return await self._ask("GET", path if before is None else f"{path}&before={before}", list[Revision])

    async def revision(self, revision: int) -> Revision:
        return await self._ask("GET", f"/v1/policies/revisions/{revision}", Revision)

    async def rollout(self, revision: int) -> Revision:
        return await self._ask("GET", f"/v1/policies/rollouts/{revision}", Revision)

    async def roll_back(self, gateway: str, revision: int, base: str, message: str, author: str) -> Begun:
        body = {
            "target": str(revision),
            "gateway": gateway,
            "bases": {gateway: base},
            "message": message,
            "wait": False,
        }
        return await self._begun("/v1/policies/rollback", body, author, message)

    async def explain(self, request: ExplainRequest) -> Mapping[str, Any]:
        """The port `portal.sre.explain.Explaining`."""
        body = request.model_dump(mode="json", exclude={"headers", "body"}, exclude_none=True)
        if request.headers is not None:
            body["headers"] = {name: value.get_secret_value() for name, value in request.headers.items()}
        if request.body is not None:
            body["body"] = base64.b64encode(request.body).decode()
        return await self._ask("POST", "/v1/explain", dict[str, Any], body)

    async def _begun(self, path: str, body: Mapping[str, object], author: str, why: str) -> Begun:
        told = await self._ask("POST", path, _Rollouts, body, author, why)
        if len(told.rollouts) != 1:
            raise _strange(200)
        return told.rollouts[0]

    async def _ask(
        self,
        method: str,
        path: str,
        form: type[T],
        body: Mapping[str, object] | None = None,
        author: str = "",
        why: str = "",
    ) -> T:
        try:
            headers = {"authorization": f"Bearer {self._token()}"}
        except OSError as error:
            _LOG.error("console_token_unreadable", error=type(error).__name__)
            raise SaidNoError(503, "control_away", "The portal cannot read the control token.") from None
        named = {"x-apibank-author": _header(author), "x-apibank-reason": _header(why)}
        headers |= {name: text for name, text in named.items() if text}
        try:
            answer = await self._http.request(method, self._address + path, json=body, headers=headers)
        except httpx2.TimeoutException:
            _LOG.warning("control_api_slow", path=path)
            text = f"It has not answered within {_SECONDS:.0f} s. A change that was begun goes on: see the history."
            raise SaidNoError(504, "control_slow", text) from None
        except httpx2.HTTPError as error:
            _LOG.warning("control_api_away", error=type(error).__name__)
            raise SaidNoError(503, "control_away", "The control plane does not answer now.") from None
        if not answer.is_success:
            raise _refusal(answer)
        try:
            return TypeAdapter(form).validate_json(answer.content)
        except ValidationError:
            raise _strange(answer.status_code) from None


def _texts(gateway: str, text: str) -> dict[str, object]:
    return {gateway: {"text": text, "file": f"{gateway}.yaml"}}


def _refusal(answer: httpx2.Response) -> SaidNoError:
    if answer.status_code == 401:
        return SaidNoError(503, "control_away", "The control plane does not know the portal's control token.")
    try:
        told = _Problem.model_validate(json.loads(answer.content))
    except ValueError:
        return _strange(answer.status_code)
    return SaidNoError(answer.status_code, told.code, told.detail, told.errors)


def _strange(status: int) -> SaidNoError:
    return SaidNoError(502, "control_away", f"The control plane answered {status}, and not as it should.")


def _header(text: str) -> str:
    """What a header can hold of it."""
    return "".join(one if " " <= one <= "~" else "?" for one in text)[:_LONGEST_HEADER].strip()
