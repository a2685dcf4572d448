"""Names of members as people mean them, however they are written."""

import re
from functools import lru_cache
from typing import Final

from authz.checks.rules.folding import folded

_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


# Members' names are few, and come again with every request.
@lru_cache(maxsize=4096)
def snake(name: str) -> str:
    """`blood-Type`, `bloodType` and `Blood Type` as blood_type."""
    return folded(_CAMEL.sub("_", name)).replace(" ", "_")
