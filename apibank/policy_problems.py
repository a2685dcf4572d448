"""Policy files that are not in force, as Prometheus reads them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_NAME: Final = "apibank_policy_problems"
_TEXT: Final = "Problems of a gateway's policy file as it was last read; above 0, what was good before it is served."


class PolicyProblems(Collector):
    """Counts them when it is asked."""

    def __init__(self, counts: Callable[[], Mapping[str, int]]) -> None:
        """`counts`: how many problems, by gateway."""
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """One figure for each gateway."""
        family = GaugeMetricFamily(_NAME, _TEXT, labels=("gateway",))
        for gateway, count in self._counts().items():
            family.add_metric((gateway,), count)
        yield family
