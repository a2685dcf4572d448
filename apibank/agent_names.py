"""Which agents there are: those that the domains' routes lead to, and the centres of excellence."""

import re
from collections.abc import Mapping
from typing import Final

from apibank.ports import CENTRAL
from policy.model import Gateway

PLATFORM: Final = "platform"
# As the schema of messages has it.
_AGENT: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")


def agents_of(gateways: Mapping[str, Gateway]) -> frozenset[str]:
    """An agent has the name of its route."""
    homes = (gateway for name, gateway in gateways.items() if name not in {CENTRAL, PLATFORM})
    return frozenset(route for gateway in homes for route in gateway.routes if _AGENT.fullmatch(route))
