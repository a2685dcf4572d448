"""Names of fields with a digit inside, which betterproto2 writes and cannot read again.

It takes `consecutive_5xx` apart into `consecutive_5_xx`, a field that no message has; so nobody could write one of
these four in a plain resource. `repair` gives it their names.
"""

from typing import Final

import betterproto2
from betterproto2.casing import safe_snake_case

# What it makes of them as the definition has them, and as protobuf's JSON mapping has them.
_MISREAD: Final = {
    "consecutive_5_xx": "consecutive_5xx",
    "consecutive5_xx": "consecutive_5xx",
    "enforcing_consecutive_5_xx": "enforcing_consecutive_5xx",
    "enforcing_consecutive5_xx": "enforcing_consecutive_5xx",
    "s2_a_address": "s2a_address",
    "trace_id_128_bit": "trace_id_128bit",
    "trace_id128_bit": "trace_id_128bit",
}


def repair() -> None:
    """From now on `from_dict` of every message knows these fields. Does nothing the second time."""
    # Its `from_dict` finds the function among the module's own names.
    vars(betterproto2)["safe_snake_case"] = _field_name


def _field_name(written: str) -> str:
    name = safe_snake_case(written)
    return _MISREAD.get(name, name)
