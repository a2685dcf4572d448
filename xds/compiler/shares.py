"""Percentages as Envoy takes them."""

from typing import Final

from envoy_data_plane.envoy.config.core.v3 import RuntimeFractionalPercent
from envoy_data_plane.envoy.type.v3 import FractionalPercent, FractionalPercentDenominatorType

_HUNDREDTHS: Final = 100


def share(percent: float) -> FractionalPercent:
    """In hundredths of a percent."""
    return FractionalPercent(
        numerator=round(percent * _HUNDREDTHS), denominator=FractionalPercentDenominatorType.TEN_THOUSAND
    )


def fixed_share(percent: float) -> RuntimeFractionalPercent:
    """The same, where Envoy would also let a runtime key decide; none does."""
    return RuntimeFractionalPercent(default_value=share(percent))
