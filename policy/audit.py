"""What becomes of the record of a decision."""

from enum import StrEnum


class Audit(StrEnum):
    """`logged`: a line of the stream of events. `required`: a row of `admin_audit_logs` too.

    A request whose record is required is answered when the record is on disk; where it cannot be, it is refused.
    """

    LOGGED = "logged"
    REQUIRED = "required"
