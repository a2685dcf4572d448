"""Whether a store may throw away what it is given, to make room: what is said by `INFO memory`."""

from collections.abc import Mapping
from typing import Final

KEEPS: Final = "noeviction"


def memory_facts(text: bytes | str) -> dict[str, str]:
    """What `INFO memory` says, by name."""
    lines = (text if isinstance(text, str) else text.decode("utf-8", "replace")).splitlines()
    return {name: value for name, separator, value in (line.partition(":") for line in lines) if separator}


def evicting_policy(memory: Mapping[str, object]) -> str:
    """The policy by which keys that still count are thrown away, "" where none is.

    Without a bound nothing is, and what a store does not say is not held against it.
    """
    policy = str(memory.get("maxmemory_policy", KEEPS))
    bounded = str(memory.get("maxmemory", 0)) != "0"
    return policy if policy != KEEPS and bounded else ""
