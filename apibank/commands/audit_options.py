"""Options of the audit's commands, and what is made of them."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from apibank.output import fail

if TYPE_CHECKING:
    from apibank.settings import Settings
    from records.audit_log import AuditQuery
    from records.audit_verify import Anchors
    from records.database import Database

T = TypeVar("T")


class ExportFormat(StrEnum):
    JSONL = "jsonl"
    JSON = "json"


class AuditOutcome(StrEnum):
    """Of requests the first three, of `audit prune` the others."""

    ALLOWED = "allowed"
    DENIED = "denied"
    SHADOWED = "shadowed"
    INITIATED = "initiated"
    SUCCESS = "success"


AnchorFiles = Annotated[
    list[Path] | None,
    typer.Option("--anchor", metavar="FILE", help="Ends and checkpoints of chains, as JSON lines; several times."),
]
LocalAnchors = Annotated[
    bool, typer.Option("--local-anchors/--no-local-anchors", help="Whether those kept on this machine are used too.")
]
Gateway = Annotated[str | None, typer.Option(help="Only this gateway's.")]
Principal = Annotated[
    str | None, typer.Option(help="As the audit names them: partner:acme, agent:content, sub:<pseudonym>.")
]
Subject = Annotated[str | None, typer.Option(help="A token's subject by its name; takes the key of the pseudonyms.")]
RequestId = Annotated[str | None, typer.Option(help="Of one request: a row for each tier that must record it.")]
Endpoint = Annotated[str | None, typer.Option(help="Paths that begin so.")]
Method = Annotated[str | None, typer.Option(help="Such as POST.")]
Status = Annotated[int | None, typer.Option(min=100, max=599, help="Such as 403.")]
OutcomeOption = Annotated[AuditOutcome | None, typer.Option("--outcome", help="What came of it.")]
Since = Annotated[str | None, typer.Option(metavar="TIME", help="From then on: 2026-11-22T12:00:00Z, or 24h ago.")]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Before then.")]


def query_of(
    settings: "Settings",
    *,
    gateway: str | None = None,
    principal: str | None = None,
    subject: str | None = None,
    request_id: str | None = None,
    endpoint: str | None = None,
    method: str | None = None,
    status: int | None = None,
    outcome: AuditOutcome | None = None,
    since: str | None = None,
    until: str | None = None,
    limit: int = 100,
    before: int | None = None,
) -> "AuditQuery":
    """What is asked for; ends the command where an option is none."""
    from apibank.audit_desk import AuditDeskError, moment, principal_of_subject
    from records.audit_log import AuditQuery

    now = datetime.now(UTC)
    try:
        if subject is not None:
            if principal is not None:
                fail("error: --subject and --principal exclude each other")
            principal = principal_of_subject(subject, settings.audit_key())
        elif principal is not None and ":" not in principal:
            kinds = "partner:NAME, agent:NAME, operator:USER or sub:PSEUDONYM"
            fail(f"error: {principal!r} is no principal: {kinds}; a subject by its name is --subject")
        return AuditQuery(
            gateway=gateway,
            principal=principal,
            request_id=request_id,
            endpoint_prefix=endpoint,
            method=None if method is None else method.upper(),
            status=status,
            outcome=None if outcome is None else outcome.value,
            since=None if since is None else moment(since, now),
            until=None if until is None else moment(until, now),
            before=before,
            limit=limit,
        )
    except AuditDeskError as error:
        return fail(f"error: {error}")


def anchors_of(settings: "Settings", files: Sequence[Path], *, local: bool = True) -> "Anchors":
    """The anchors of files, and the `local` ones that are kept on this machine."""
    from apibank.audit_anchors import AnchorError, anchors_below, read_anchors
    from records.audit_verify import Anchors

    try:
        kept = anchors_below(settings.audit_folder()) if local else Anchors()
        return sum((read_anchors(path) for path in files), kept)
    except AnchorError as error:
        return fail(f"error: {error}")
    except OSError as error:
        return fail(f"error: {error.filename}: {error.strerror}")


def answered(settings: "Settings", work: "Callable[[Database], Awaitable[T]]") -> T:
    """What the database answered; ends the command where it did not."""
    from apibank.audit_desk import AuditDeskError, with_database

    try:
        return with_database(settings.database_url(), work)
    except AuditDeskError as error:
        return fail(f"error: {error}")
