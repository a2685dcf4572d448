"""What goes wrong on purpose: only where a route says so, and never because a header of a request asks for it."""

from datetime import timedelta

from envoy_data_plane.envoy.extensions.filters.common.fault.v3 import FaultDelay
from envoy_data_plane.envoy.extensions.filters.http.fault.v3 import FaultAbort, HttpFault
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter

from policy import traffic
from xds.compiler.encode import pack
from xds.compiler.shares import share
from xds.compiler.units import ListenerUnit

NAME = "envoy.filters.http.fault"


def filter_(unit: ListenerUnit) -> HttpFilter | None:
    return HttpFilter(name=NAME, typed_config=pack(HttpFault())) if unit.some_faults else None


def for_route(fault: traffic.Fault) -> HttpFault:
    delay = abort = None
    if fault.delay_ms is not None:
        delay = FaultDelay(fixed_delay=timedelta(milliseconds=fault.delay_ms), percentage=share(fault.delay_percent))
    if fault.abort_status is not None:
        abort = FaultAbort(http_status=fault.abort_status, percentage=share(fault.abort_percent))
    return HttpFault(delay=delay, abort=abort)
