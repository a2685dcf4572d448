"""The ready file: where everything is, once everything is there. Commands find a running stack by it."""

import json
import os
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

READY_NAME = "ready.json"


class CentralPlace(BaseModel):
    """The doors of the central gateway, as URLs."""

    model_config = ConfigDict(frozen=True)

    https: str
    http: str
    internal_https: str
    envoy_admin: str
    envoy_admins: list[str]
    authz: str
    ratelimit: str
    metrics: str


class GatewayPlace(BaseModel):
    """A domain gateway: its Envoy's listener and admin, and the gRPC targets of its services."""

    model_config = ConfigDict(frozen=True)

    https: str
    envoy_admin: str
    envoy_admins: list[str]
    authz: str
    ratelimit: str
    metrics: str


class Ready(BaseModel):
    """Everything that a person, a script or a test needs to use the running stack."""

    model_config = ConfigDict(frozen=True)

    state_dir: str
    ca_file: str
    central: CentralPlace
    gateways: dict[str, GatewayPlace]
    xds: str
    control_api: str
    portal: str
    metrics: list[str]
    upstreams: dict[str, str]
    store: str
    bus: str
    database: str
    issuers: dict[str, str]
    profiles: list[str]
    policies: str
    pids: Annotated[dict[str, int], Field(description="Process ids by name.")]


class StackNotRunningError(Exception):
    """No ready file, or one that cannot be read: there is nothing to talk to."""


def write_ready(ready: Ready, path: Path) -> None:
    """Write a ready file whole or not at all: a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(ready.model_dump(), indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def read_ready(state_dir: Path) -> Ready:
    """The running stack of a state directory. Raises StackNotRunningError, saying what to do."""
    path = state_dir / READY_NAME
    try:
        return Ready.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StackNotRunningError(
            f"no stack is running in {state_dir} (no {path}): start one with `apibank up`"
        ) from None
    except (OSError, ValidationError) as error:
        raise StackNotRunningError(f"{path} cannot be read: {error}") from error
