"""What can be wrong with a request to the records, or with the database behind them."""

from typing import Final

from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

# What a call raises while the database cannot be reached or does not answer: catch it, keep what was to be written,
# and try again. Nothing here turns them into anything else, so that their cause is not lost.
LOST_DATABASE: Final = (SQLAlchemyError, OSError, TimeoutError)
# Those of them that say that the database is there and will never take this.
REFUSED_BY_DATABASE: Final = (DataError, IntegrityError)


class RecordsError(Exception):
    """The root of this package's errors; the text may be shown to whoever asked."""


class DatabaseUrlError(RecordsError):
    """A database that cannot be used. The text never holds the URL, which may hold a password."""


class SchemaError(RecordsError, ValueError):
    """A database whose tables this version cannot serve, or bring where they should be."""


class CopyError(RecordsError):
    """A database that cannot be copied."""


class KeyRefusedError(RecordsError):
    """A key that cannot be made, rotated or revoked as asked."""


class UnknownKeyError(RecordsError):
    """There is no key of that id."""


class ConsentRefusedError(RecordsError):
    """A consent that cannot be recorded as asked."""


class UnknownConsentError(RecordsError):
    """There is no consent of that id."""


class RevocationRefusedError(RecordsError):
    """A revocation that cannot be made as asked."""


class UnknownRevocationError(RecordsError):
    """There is no revocation of that id."""


class NotAppliedError(RecordsError):
    """A change is recorded, but some running gateways did not report it in time."""

    def __init__(self, name: str, version: int, late: tuple[str, ...]) -> None:
        self.late = late
        super().__init__(f"{name} version {version} is recorded but not yet in force on: {', '.join(late)}")
