"""What the control API tells the console, and the port by which the console asks it.

Unknown fields are left out: the control plane may be of a later version than the portal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pydantic import BaseModel, ConfigDict

from portal.explain_api import ExplainRequest

_SHORT: Final = 12


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Placed(_Told):
    """Something with a place in a policy's file."""

    file: str | None = None
    line: int | None = None

    @property
    def place(self) -> str:
        if self.file is None:
            return ""
        return self.file if self.line is None else f"{self.file}:{self.line}"


class Suspect(Placed):
    """What has changed of a resource that was refused."""

    path: str = ""


class Withheld(Placed):
    """A resource that an Envoy refused. `served`: whether its last good content goes on."""

    type: str = ""
    name: str
    message: str = ""
    node: str = ""
    nodes: tuple[str, ...] = ()
    served: object = None
    suspects: tuple[Suspect, ...] = ()


class Canary(_Told):
    """A change that some Envoys try."""

    revision: int | None = None
    version: str = ""
    author: str = ""
    percent: int | None = None
    step: str = ""
    nodes: tuple[str, ...] = ()


class Mistake(Placed):
    """What is wrong with a policy. `line` counts from 1."""

    message: str = ""
    path: str = ""
    code: str = ""
    hint: str | None = None


class GatewayShown(_Told):
    """One gateway, as `/v1/status` has it."""

    gateway: str
    version: str | None = None
    envoys: int = 0
    live: int = 0
    errors: tuple[Mistake, ...] = ()
    behind: tuple[str, ...] = ()
    refused: tuple[Withheld, ...] = ()
    rolled_back: tuple[Withheld, ...] = ()
    canary: Canary | None = None
    revision: int | None = None
    restored: bool = False
    condition: str = "out of sync"

    @property
    def short(self) -> str:
        return (self.version or "none")[:_SHORT]

    @property
    def mood(self) -> str:
        """As the pages' colours are called."""
        if self.refused or self.rolled_back or self.errors or self.condition == "out of sync":
            return "bad"
        return "warn" if self.canary is not None or self.condition != "in sync" else "good"


class ResourceShown(Placed):
    """One resource at one Envoy."""

    gateway: str
    node: str
    type: str
    name: str
    status: str
    version: str | None = None
    message: str | None = None


class PolicyShown(_Told):
    """A policy in force, with the text of its file."""

    gateway: str
    version: str | None = None
    digest: str | None = None
    revision: int | None = None
    text: str | None = None


class Change(Placed):
    """One difference between what is live and a draft."""

    path: str
    op: str
    before: object = None
    after: object = None


class Revision(_Told):
    """One entry of the history; with how it goes on, or with its text, where it is asked for by itself."""

    revision: int
    gateway: str
    version: str
    at: str
    author: str = ""
    message: str = ""
    source: str = ""
    result: str = ""
    detail: str = ""
    text: str = ""
    step: str | None = None
    current: bool = False
    envoys: int = 0
    live: int = 0
    behind: tuple[str, ...] = ()
    refused: tuple[Withheld, ...] = ()
    rolled_back: tuple[Withheld, ...] = ()


class Begun(_Told):
    """What an apply or a rollback has set off. `revision` None where nothing was written down."""

    gateway: str
    revision: int | None = None
    version: str = ""
    result: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Draft:
    """A change that somebody wants. `base`: the digest of the text that it was made from. `percent`: of a canary."""

    gateway: str
    text: str
    base: str
    message: str
    percent: int | None = None


class SaidNoError(Exception):
    """The control API refuses, or does not answer: its status, code and words, and each mistake with its place."""

    def __init__(self, status: int, code: str, detail: str, mistakes: Sequence[Mistake] = ()) -> None:
        self.status, self.code, self.detail, self.mistakes = status, code, detail, tuple(mistakes)
        super().__init__(detail)


class Control(Protocol):
    """The control API. Each method raises SaidNoError. `author`: who asks, for the audit."""

    async def gateways(self) -> Sequence[GatewayShown]: ...

    async def resources(self) -> Sequence[ResourceShown]: ...

    async def policy(self, gateway: str) -> PolicyShown: ...

    async def diff(self, gateway: str, text: str) -> Sequence[Change]: ...

    async def apply(self, draft: Draft, author: str) -> Begun: ...

    async def history(self, gateway: str, before: int | None = None) -> Sequence[Revision]:
        """The newest fifty; those before a revision."""
        ...

    async def revision(self, revision: int) -> Revision: ...

    async def rollout(self, revision: int) -> Revision: ...

    async def explain(self, request: ExplainRequest) -> Mapping[str, Any]: ...

    async def roll_back(self, gateway: str, revision: int, base: str, message: str, author: str) -> Begun: ...
