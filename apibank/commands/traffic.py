"""`apibank traffic` and `apibank cost`: what the federation was sent, and what that costs at the declared prices."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apibank.commands.options import Database, Output, StateDir, settings_of
from apibank.output import CANNOT, OutputFormat, Row, fail, print_rows, print_value
from portal.developer.usage import Period
from portal.traffic import By

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeVar

    from apibank.settings import Settings
    from apibank.sre.traffic import Traffic
    from portal.traffic import Cost, Line

    T = TypeVar("T")

_PERIODS = "|".join(one.key for one in Period)
PeriodOption = Annotated[str, typer.Option("--period", metavar=f"<{_PERIODS}>", help="How far back.")]
_COLUMNS = ("name", "requests", "4xx", "5xx", "errors", "p50_ms", "p95_ms", "p99_ms", "mib")
_EMPTY = "no requests were counted in this time; `apibank serve telemetry` counts them"


def traffic(
    by: Annotated[By, typer.Option("--by", help="How to cut it.")] = By.GATEWAY,
    period: PeriodOption = Period.DAY.key,
    gateway: Annotated[
        str | None, typer.Option("--gateway", help="As this gateway saw it, instead of central.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Names, those with the most requests first.")] = 50,
    output: Output = OutputFormat.TABLE,
    database: Database = None,
    state_dir: StateDir = None,
) -> None:
    """Show requests, errors and durations by gateway, route, caller, tenant, tier, status or hour of the day.

    A request that reaches a domain is counted by central and by the domain; what is not cut by gateway or route is
    told as central saw it. Hours are UTC, of the last seven days at most.

    Example: apibank traffic --by caller --period week
    """
    since, until = _span(period)
    settings = settings_of(database=database, state_dir=state_dir)
    found = _answered(settings, lambda one: one.lines(by, since, until, gateway=gateway, most=limit))
    if output is OutputFormat.TABLE:
        print_rows([_row(one) for one in found if one.tally.requests], _COLUMNS, output, empty=_EMPTY)
    else:
        print_value([_record(one) for one in found], output)


def cost(
    period: PeriodOption = Period.MONTH.key,
    output: Output = OutputFormat.TABLE,
    database: Database = None,
    state_dir: StateDir = None,
) -> None:
    """Show what requests cost by domain and tier at the declared prices, and how far the next upgrade is.

    Example: apibank cost --period month
    """
    since, until = _span(period)
    settings = settings_of(database=database, state_dir=state_dir)
    found: Cost = _answered(settings, lambda one: one.cost(since, until))
    rows: list[Row] = [
        {"domain": one.gateway, "tier": one.tier or "none", "requests": one.requests, "dollars": round(one.dollars, 6)}
        for one in found.lines
    ]
    if output is not OutputFormat.TABLE:
        upgrade = {"requests_in_30_days": found.month, "at_requests": found.threshold, "at_revenue": found.revenue}
        print_value({"cost": rows, "dollars": round(found.dollars, 6), "upgrade": upgrade}, output)
        return
    print_rows(rows, ("domain", "tier", "requests", "dollars"), output, empty=_EMPTY)
    reached = "which is reached" if found.is_reached else "not reached"
    typer.echo(
        f"\n{found.dollars:.4f} dollars in all. {found.month} requests in 30 days; an upgrade is thought of from "
        f"{found.threshold:.0f} on ({reached}), or from {found.revenue:.0f} dollars of monthly revenue."
    )


def _span(period: str) -> tuple[int, int]:
    if period not in {one.key for one in Period}:
        fail(f"error: --period {period!r} is none of {', '.join(one.key for one in Period)}")
    now = time.time()
    return Period.named(period).starts(now)[0], int(now) + 1


def _answered(settings: "Settings", work: "Callable[[Traffic], Awaitable[T]]") -> "T":
    from apibank.audit_desk import AuditDeskError, with_database
    from apibank.sre.traffic import Traffic
    from portal.developer.browser import Refusal
    from records.usage import Usage
    from telemetry.prices import DECLARED, PricesError, read_prices

    try:
        prices = read_prices(settings.prices or Path(DECLARED))
        return with_database(settings.telemetry_database_url(), lambda opened: work(Traffic(Usage(opened), prices)))
    except (AuditDeskError, PricesError) as error:
        return fail(f"error: {error}")
    except Refusal:
        return fail("error: the database does not answer, or has no usage: `apibank serve telemetry` brings it", CANNOT)


def _row(line: "Line") -> Row:
    tally = line.tally
    return {
        "name": line.name or "none", "requests": tally.requests, "4xx": tally.client, "5xx": tally.server,
        "errors": f"{tally.error_share:.1%}", "p50_ms": _rounded(tally.p50), "p95_ms": _rounded(tally.p95),
        "p99_ms": _rounded(line.p99), "mib": f"{line.octets / 2**20:.1f}",
    }  # fmt: skip


def _record(line: "Line") -> dict[str, object]:
    tally = line.tally
    return {
        "name": line.name, "requests": tally.requests, "good": tally.good, "client_errors": tally.client,
        "server_errors": tally.server, "p50_ms": tally.p50, "p95_ms": tally.p95, "p99_ms": line.p99,
        "octets": line.octets,
    }  # fmt: skip


def _rounded(milliseconds: float | None) -> str:
    return "-" if milliseconds is None else f"{milliseconds:.1f}"
