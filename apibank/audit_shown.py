"""The audit's rows as people and programs read them."""

from datetime import UTC

from apibank.output import Row
from records.audit_entry import StoredEntry
from records.audit_verify import Finding, Verified

# Of a row, what a table shows.
COLUMNS = ("id", "time", "gateway", "principal", "ip", "method", "endpoint", "outcome", "status", "reason")


def row_shown(row: StoredEntry) -> Row:
    """Every column of a row, under its name in the table; times in UTC (RFC 3339)."""
    entry = row.entry
    return {
        "id": row.row_id,
        "time": entry.timestamp.astimezone(UTC).isoformat(timespec="microseconds"),
        "gateway": entry.gateway,
        "principal": entry.principal,
        "role": entry.role,
        "credential_id": entry.credential_id,
        "ip": entry.ip,
        "user_agent": entry.user_agent,
        "method": entry.method,
        "endpoint": entry.endpoint,
        "route": entry.route,
        "outcome": entry.outcome,
        "status": entry.status,
        "reason": entry.reason,
        "request_id": entry.request_id,
        "policy_version": entry.policy_version,
        "event_id": entry.event_id,
        "position": row.position,
        "prev_hash": row.prev_hash,
        "row_hash": row.row_hash,
    }


def finding_shown(finding: Finding) -> Row:
    """One thing that is wrong."""
    return {
        "gateway": finding.gateway,
        "flaw": finding.flaw.value,
        "position": finding.position,
        "id": finding.row_id,
        "event_id": finding.event_id,
        "detail": finding.detail,
    }


def finding_line(finding: Finding) -> str:
    """One thing that is wrong, in a line."""
    where = "" if finding.position is None else f" at {finding.position}"
    row = "" if finding.row_id is None else f" (row {finding.row_id}, event {finding.event_id})"
    return f"{finding.gateway}{where}{row}: {finding.flaw}: {finding.detail}"


def verified_line(verified: Verified, findings: int) -> str:
    """What was looked at, in a line."""
    end = verified.end
    places = f"rows {verified.first_position} to {end.position}" if verified.rows else "no rows"
    anchors = f", {verified.anchors} anchors" if verified.anchors != 1 else ", 1 anchor"
    erased = f", a person taken out of {verified.erased}" if verified.erased else ""
    before = f" ({verified.unchecked} of rows that were removed since)" if verified.unchecked else ""
    outcome = "whole" if not findings else f"{findings} flaws" if findings > 1 else "1 flaw"
    return f"{verified.gateway}: {outcome}; {places}{erased}{anchors}{before}; ends in {end.row_hash}"
