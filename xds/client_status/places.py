"""How many may ask for the client status at once."""

from __future__ import annotations

from typing import Final

from xds.admission import ServerLimits
from xds.metrics import XdsMetrics

# In metrics.
LABEL: Final = "client_status"


class Places:
    """Those of the calls of one server, apart from those of discovery."""

    def __init__(self, limits: ServerLimits, metrics: XdsMetrics) -> None:
        self._limits = limits
        self._metrics = metrics
        self._taken = 0

    def take(self) -> bool:
        """Let a call in, if there is room. It must `leave` once its client has taken all answers."""
        if self._taken >= self._limits.max_status_calls:
            self._metrics.other_refused(LABEL, "calls")
            return False
        self._taken += 1
        self._metrics.other_calls(LABEL, 1)
        return True

    def leave(self) -> None:
        self._taken -= 1
        self._metrics.other_calls(LABEL, -1)
