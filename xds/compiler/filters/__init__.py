"""The HTTP filters of a listener: one file each, their order in one tuple."""

from collections.abc import Callable
from typing import Final

from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter

from xds.compiler.filters import (
    buffer,
    cors,
    ext_authz,
    fault,
    header_mutation,
    health_check,
    local_limit,
    local_ratelimit,
    ratelimit,
    router,
)
from xds.compiler.units import ListenerUnit

# A flood is stopped before it costs anything; what header_mutation removes from answers, those of the filters after it
# have added; pages of other origins learn nothing; a body is there, and not too long, before anybody judges; authz
# reads the client's address that header_mutation writes; ratelimit reads the tier and the caller that authz writes;
# what a service is spared, and what goes wrong on purpose, is for requests that would have reached it.
ORDER: Final[tuple[Callable[[ListenerUnit], HttpFilter | None], ...]] = (
    local_ratelimit.filter_,
    header_mutation.filter_,
    health_check.filter_,
    cors.filter_,
    buffer.filter_,
    ext_authz.filter_,
    ratelimit.filter_,
    local_limit.filter_,
    fault.filter_,
    router.filter_,
)


def filters_of(unit: ListenerUnit) -> list[HttpFilter]:
    """The filters that a listener needs, in their order."""
    return [one for make in ORDER if (one := make(unit)) is not None]
