"""`apibank audit`: what the durable audit holds, and whether it is whole."""

import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apibank.commands.audit_gateways import NO_ROWS, must_be_there
from apibank.commands.audit_options import (
    AnchorFiles,
    Endpoint,
    ExportFormat,
    Gateway,
    LocalAnchors,
    Method,
    OutcomeOption,
    Principal,
    RequestId,
    Since,
    Status,
    Subject,
    Until,
    anchors_of,
    answered,
    query_of,
)
from apibank.commands.options import Database, Output, StateDir, settings_of
from apibank.output import ANSWER_NO, Cell, OutputFormat, Row, fail, plain, print_rows, print_value

if TYPE_CHECKING:
    from records.audit_log import StoredEntry
    from records.audit_verify import Finding, Verified

app = typer.Typer(help="The durable audit.", no_args_is_help=True, rich_markup_mode=None)
# Of what is wrong, so much is shown; all of it is counted.
_SHOWN = 1000


@app.command("list", short_help="Show rows, the newest first.")
def list_rows(
    gateway: Gateway = None,
    principal: Principal = None,
    subject: Subject = None,
    request_id: RequestId = None,
    endpoint: Endpoint = None,
    method: Method = None,
    status: Status = None,
    outcome: OutcomeOption = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Rows of a page.")] = 50,
    before: Annotated[int | None, typer.Option(metavar="ID", help="Go on below this row.")] = None,
    output: Output = OutputFormat.TABLE,
    database: Database = None,
    state_dir: StateDir = None,
) -> None:
    """Show rows, the newest first, a page at a time.

    Example: apibank audit list --gateway platform --outcome denied --since 24h
    """
    from apibank.audit_desk import page
    from apibank.audit_shown import COLUMNS, row_shown

    settings = settings_of(database=database, state_dir=state_dir)
    query = query_of(
        settings, gateway=gateway, principal=principal, subject=subject, request_id=request_id, endpoint=endpoint,
        method=method, status=status, outcome=outcome, since=since, until=until, limit=limit, before=before,
    )  # fmt: skip
    must_be_there(settings, gateway)
    rows = answered(settings, lambda opened: page(opened, query))
    shown = [row_shown(row) for row in rows]
    if output is OutputFormat.TABLE:
        shown = [{**row, "time": _second(row["time"])} for row in shown]
    print_rows(shown, COLUMNS, output, empty=NO_ROWS)
    if output is OutputFormat.TABLE and len(rows) == limit:
        sys.stderr.write(f"more: --before {rows[-1].row_id}\n")


@app.command("tail", short_help="Show the newest rows, and those that come.")
def tail(
    gateway: Gateway = None,
    principal: Principal = None,
    outcome: OutcomeOption = None,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, max=1000, help="Rows to begin with.")] = 10,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what comes, until Ctrl-C.")] = False,
    database: Database = None,
    state_dir: StateDir = None,
) -> None:
    """Show the newest rows as JSON lines, the oldest of them first.

    Example: apibank audit tail --gateway platform -f
    """
    from apibank.audit_desk import follow as follow_rows
    from apibank.audit_desk import page

    settings = settings_of(database=database, state_dir=state_dir)
    query = query_of(settings, gateway=gateway, principal=principal, outcome=outcome, limit=lines)
    must_be_there(settings, gateway)
    rows = answered(settings, lambda opened: page(opened, query))
    if not rows:
        sys.stderr.write(NO_ROWS + "\n")
    for row in reversed(rows):
        sys.stdout.write(_line(row))
    if follow:
        last = rows[0].row_id if rows else 0
        with suppress(KeyboardInterrupt):
            answered(settings, lambda opened: follow_rows(opened, query, _put_line, last))


@app.command("export", short_help="Write rows out, the oldest first.")
def export(
    gateway: Gateway = None,
    principal: Principal = None,
    subject: Subject = None,
    request_id: RequestId = None,
    endpoint: Endpoint = None,
    method: Method = None,
    status: Status = None,
    outcome: OutcomeOption = None,
    since: Since = None,
    until: Until = None,
    form: Annotated[ExportFormat, typer.Option("--format", help="JSON lines, or one JSON array.")] = ExportFormat.JSONL,
    to: Annotated[Path | None, typer.Option("--to", help="A new file, for its owner alone; unset: printed.")] = None,
    database: Database = None,
    state_dir: StateDir = None,
) -> None:
    """Write every row that meets the conditions, hashes included, the oldest first.

    Example: apibank audit export --gateway platform --until 90d --to platform.jsonl
    """
    from apibank.audit_desk import every
    from apibank.audit_export import exported

    settings = settings_of(database=database, state_dir=state_dir)
    query = query_of(
        settings, gateway=gateway, principal=principal, subject=subject, request_id=request_id, endpoint=endpoint,
        method=method, status=status, outcome=outcome, since=since, until=until,
    )  # fmt: skip
    must_be_there(settings, gateway)
    try:
        with exported(to, as_array=form is ExportFormat.JSON) as writing:
            answered(settings, lambda opened: every(opened, query, writing.put))
    except BrokenPipeError:
        raise
    except OSError as error:
        fail(f"error: {to or 'the output'} cannot be written: {error.strerror}")
    sys.stderr.write(f"{writing.count} rows\n")


@app.command("verify", short_help="Find rows that were changed, removed or added.")
def verify(
    gateway: Gateway = None,
    anchor: AnchorFiles = None,
    local_anchors: LocalAnchors = True,
    output: Output = OutputFormat.TABLE,
    database: Database = None,
    state_dir: StateDir = None,
) -> None:
    """Look at every row of the chains: exit code 0 where all are whole, 1 where something is wrong, 2 where it cannot.

    Example: apibank audit verify --anchor anchors.jsonl
    """
    from apibank.audit_desk import verify as verify_chains
    from apibank.audit_shown import finding_line, finding_shown, verified_line
    from apibank.audit_spools import spool_line, spools_below
    from records.audit_verify import Finding

    settings = settings_of(database=database, state_dir=state_dir)
    anchors = anchors_of(settings, anchor or (), local=local_anchors)
    must_be_there(settings, gateway, anchors)
    findings: list[Row] = []
    chains: list[Row] = []
    counts: dict[str, int] = {}

    def put(one: "Finding | Verified") -> None:
        if isinstance(one, Finding):
            counts[one.gateway] = counts.get(one.gateway, 0) + 1
            if sum(counts.values()) <= _SHOWN:
                findings.append(finding_shown(one))
                if output is OutputFormat.TABLE:
                    sys.stdout.write(plain(finding_line(one)) + "\n")
            return
        count = counts.get(one.gateway, 0)
        end = one.end
        chains.append({"gateway": one.gateway, "rows": one.rows, "first_position": one.first_position,
                       "position": end.position, "row_hash": end.row_hash, "anchors": one.anchors,
                       "anchors_unchecked": one.unchecked, "erased": one.erased, "flaws": count})  # fmt: skip
        if output is OutputFormat.TABLE:
            sys.stdout.write(plain(verified_line(one, count)) + "\n")

    answered(settings, lambda opened: verify_chains(opened, gateway, anchors, put))
    spools = list(spools_below(settings.audit_folder(), gateway))
    if output is not OutputFormat.TABLE:
        print_value({"whole": not counts, "chains": chains, "findings": findings, "spools": spools}, output)
    elif not chains:
        sys.stdout.write("there are no chains yet\n")
    sys.stderr.writelines(plain(spool_line(one)) + "\n" for one in spools)
    if counts:
        raise SystemExit(ANSWER_NO)


@app.command("anchor", short_help="Print where the chains end.")
def anchor(
    gateway: Gateway = None,
    beginnings: Annotated[
        bool, typer.Option("--beginnings", help="Print checkpoints instead: what the chains begin after.")
    ] = False,
    database: Database = None,
    state_dir: StateDir = None,
) -> None:
    """Print where the chains end, as JSON lines: keep them where the database's administrators cannot write.

    Example: apibank audit anchor >> anchors.jsonl
    """
    from apibank.audit_anchors import anchor_line
    from apibank.audit_desk import ends

    settings = settings_of(database=database, state_dir=state_dir)
    must_be_there(settings, gateway)
    now = datetime.now(UTC).timestamp()
    for end in answered(settings, lambda opened: ends(opened, gateway, beginnings=beginnings)):
        sys.stdout.write(anchor_line(end, now, is_checkpoint=beginnings) + "\n")


@app.command("prune", short_help="Remove old rows of a whole chain.")
def prune(
    gateway: Annotated[str, typer.Option(help="Whose rows.")],
    before: Annotated[str, typer.Option(metavar="TIME", help="Rows older than this: 2026-01-01, or 400d.")],
    anchor: AnchorFiles = None,
    local_anchors: LocalAnchors = True,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    database: Database = None,
    state_dir: StateDir = None,
) -> None:
    """Remove a chain's oldest rows, once the chain is verified; what it begins with then is printed, as an anchor.

    Example: apibank audit prune --gateway platform --before 400d
    """
    from apibank.audit_anchors import anchor_line, keep_checkpoint
    from apibank.audit_desk import AuditDeskError, Pruning, moment
    from apibank.audit_desk import prune as prune_rows
    from apibank.commands.control import author
    from records.audit_log import ChainEnd

    settings = settings_of(database=database, state_dir=state_dir)
    now = datetime.now(UTC)
    try:
        pruning = Pruning(gateway, moment(before, now), author())
    except AuditDeskError as error:
        fail(f"error: {error}")
    must_be_there(settings, gateway)
    if not yes and not typer.confirm(
        # Not on standard output, where the checkpoint goes: that is appended to a file of anchors.
        f"Remove the audit of {gateway} before {pruning.before:%Y-%m-%d %H:%M} UTC?",
        err=True,
    ):
        raise SystemExit(ANSWER_NO)
    anchors = anchors_of(settings, anchor or (), local=local_anchors)
    pruned = answered(settings, lambda opened: prune_rows(opened, pruning, anchors, now))
    sys.stderr.write(f"{pruned.removed} rows removed; the chain begins at {pruned.first_position}\n")
    checkpoint = ChainEnd(gateway, pruned.first_position - 1, pruned.first_prev_hash)
    line = anchor_line(checkpoint, now.timestamp(), is_checkpoint=True)
    sys.stdout.write(line + "\n")
    try:
        keep_checkpoint(settings.audit_folder(), line, gateway)
    except OSError as error:
        fail(f"error: the checkpoint is not kept here: {error}; keep the line above")


def _second(time: Cell) -> str:
    """An RFC 3339 time as far as one wants to read it; -o json has all of it."""
    return str(time)[:19].replace("T", " ")


def _line(row: "StoredEntry") -> str:
    from apibank.audit_export import json_line

    return json_line(row)


def _put_line(row: "StoredEntry") -> None:
    sys.stdout.write(_line(row))
    sys.stdout.flush()
