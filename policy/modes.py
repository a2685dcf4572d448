"""How much of what a policy demands is enforced, and whether checks are kept to be replayed."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from policy.kinds import Model


class Mode(StrEnum):
    """What becomes of a refusal (docs/operate/modes.md).

    `off`: nothing is asked. `shadow`: everything is decided and counted, and the request goes on. `optional`: who shows
    no credential goes on as nobody; everything else is enforced.
    """

    OFF = "off"
    SHADOW = "shadow"
    OPTIONAL = "optional"
    ENFORCE = "enforce"


class Replay(Model):
    """Which checks are kept, without credentials, to be decided again by a policy that is not in force yet."""

    sample: Annotated[float, Field(gt=0, le=1, description="The share of checks that is kept.")] = 0.01
    keep: Annotated[
        int, Field(strict=True, ge=100, le=1_000_000, description="So many of the latest, in each process.")
    ] = 10_000
    bodies: bool = Field(
        False, description="Keep bodies too, personal data and all; without, a new schema or rule cannot be tried."
    )
