"""Names of members as people mean them, however they are written."""

import re
from functools import lru_cache
from typing import Final

from authz.checks.rules.folding import folded, readings

_LETTERS_AND_DIGITS: Final = re.compile(r"(?<=[^\W\d_])(?=[0-9])|(?<=[0-9])(?=[^\W\d_])")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


# Members' names are few, and come again with every request.
@lru_cache(maxsize=4096)
def snake(name: str) -> str:
    """`blood-Type`, `bloodType` and `Blood Type` as blood_type."""
    return folded(_CAMEL.sub("_", name)).replace(" ", "_")


@lru_cache(maxsize=4096)
def spellings(name: str) -> tuple[str, ...]:
    """All that a name can be read as, each as `snake` writes it: also `gen-der`, `g3nder` and `gender1` as gender."""
    plain = snake(name)
    apart = _LETTERS_AND_DIGITS.sub("_", plain)
    return tuple(dict.fromkeys((plain, apart, *(one.replace(" ", "_") for one in readings(name)))))
