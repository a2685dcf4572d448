"""Names of collections: `prefix/*` stands for every `prefix/NAME`, with no further slash in NAME.

A name that begins with "xdstp://" may end in context parameters, `prefix/NAME?key=value`, and these are the
collection's too. Nothing else in a name means anything here.
"""

from __future__ import annotations

from xds.snapshot import LOCALITY_ENDPOINT

_UNIFORM = "xdstp://"


def is_collection(type_url: str, name: str) -> bool:
    """Of the localities' endpoints every `prefix/*` is one; of the other types a name may end so by chance."""
    if "/*" not in name:
        return False
    return name.partition("?")[0].endswith("/*") and (type_url == LOCALITY_ENDPOINT or name.startswith(_UNIFORM))


def collection_of(name: str) -> str:
    """The collection that a resource of this name belongs to, if there is one; "" for a name without a slash."""
    path, mark, parameters = name.partition("?")
    prefix, slash, _ = path.rpartition("/")
    return f"{prefix}/*{mark}{parameters}" if slash else ""
