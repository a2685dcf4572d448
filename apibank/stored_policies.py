"""By which policies a saved snapshot was made: read by whoever decides by policies and compiles none."""

import json
import zlib
from collections.abc import Sequence
from typing import Any, Final, cast

from policy.model import Gateway
from records.snapshots import StoredSnapshot

FORMAT: Final = 1
# Ahead of the compressed document, on a line of its own.
_VERSIONS: Final = b"policies "


class UnusableSnapshotError(Exception):
    """A saved snapshot that cannot be served; the text says why."""


def written(versions: str, document: dict[str, Any]) -> bytes:
    """A document, with the versions of its policies ahead, parted by spaces."""
    return _VERSIONS + versions.encode() + b"\n" + zlib.compress(json.dumps(document).encode(), 6)


def policy_versions_in(stored: StoredSnapshot) -> Sequence[str]:
    """The versions of the policies that a saved snapshot came from, at once; none where they are not said."""
    if not stored.body.startswith(_VERSIONS):
        return ()
    return stored.body[len(_VERSIONS) : stored.body.index(b"\n")].decode().split()


def policies_in(stored: StoredSnapshot) -> Sequence[Gateway]:
    """The policies that a saved snapshot came from, the newest first. Raises UnusableSnapshotError."""
    return document_of(stored)[0]


def document_of(stored: StoredSnapshot) -> tuple[list[Gateway], list[dict[str, Any]]]:
    """The policies, and the resources as they are written."""
    body = stored.body
    try:
        packed = body[body.index(b"\n") + 1 :] if body.startswith(_VERSIONS) else body
        document = cast(dict[str, Any], json.loads(zlib.decompress(packed)))  # by `written`
        if document["format"] != FORMAT:
            raise UnusableSnapshotError(f"its format is {document['format']!r}, not {FORMAT}")
        policies = [document["policy"], *document.get("earlier", ())]
        return [Gateway.model_validate(one) for one in policies], document["resources"]
    except (zlib.error, ValueError, KeyError, TypeError) as error:
        raise UnusableSnapshotError(f"it cannot be read: {type(error).__name__}") from error
