"""compose.yaml as an engine would read it: defaults filled in, anchors and merges resolved."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[2]
FILE = PROJECT / "compose.yaml"

Service = Mapping[str, Any]


@cache
def effective() -> Mapping[str, Any]:
    """The whole file, with `${NAME:-default}` replaced by its default and `$$` by `$`."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", FILE.read_text("utf-8"))
    # What is left would need a value that the file does not give.
    assert not re.search(r"(?<!\$)\$[{\w]", text)
    document: Mapping[str, Any] = yaml.safe_load(text.replace("$$", "$"))
    return document


def services() -> Mapping[str, Service]:
    found: Mapping[str, Service] = effective()["services"]
    return found


def mounts(service: Service, kind: str) -> list[Mapping[str, Any]]:
    """Mounts of `kind` (bind or volume); every mount is written in the long form."""
    return [mount for mount in service.get("volumes", []) if mount["type"] == kind]
