"""`apibank backup` and `apibank restore`: a state directory, kept elsewhere and brought back to an empty machine."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from apibank.commands.options import StateDir, settings_of
from apibank.output import fail


def backup(
    to: Annotated[Path, typer.Argument(help="A new folder, on another disk.")],
    state_dir: StateDir = None,
) -> None:
    """Copy what must survive this machine to a new folder, while everything runs. It holds secrets in the clear.

    Example: apibank backup /mnt/backup/2026-11-24
    """
    from apibank.backup import BackupError, back_up

    settings = settings_of(state_dir=state_dir)
    try:
        digests = back_up(settings.state_dir, to, datetime.now(UTC))
    except BackupError as error:
        fail(f"error: {error}")
    except OSError as error:
        _fail(error)
    typer.echo(f"{to}: {len(digests)} files")
    if settings.database is not None:
        typer.echo("note: the database is not in the state directory, and not in this: pg_dump copies it", err=True)
    for name, place, inside in (
        ("APIBANK_AUDIT_DIR", settings.audit_dir, "audit"),
        ("APIBANK_AUDIT_KEY_FILE", settings.audit_key_file, "audit"),
        ("APIBANK_CONTROL_TOKEN_FILE", settings.control_token_file, "control.token"),
    ):
        kept = (settings.state_dir / inside).resolve()
        if place is not None and not place.resolve().is_relative_to(kept):
            typer.echo(f"note: {place} ({name}) is elsewhere, and is not in it", err=True)


def restore(
    backup: Annotated[Path, typer.Argument(help="A folder that `apibank backup` has made.")],
    revoke_keys: Annotated[
        bool, typer.Option("--revoke-keys", help="Revoke every API key: partners get new ones.")
    ] = False,
    state_dir: StateDir = None,
) -> None:
    """Bring a backup to a state directory that is empty, and say what has come back with it.

    Example: apibank restore /mnt/backup/2026-11-24 --state-dir .apibank
    """
    from apibank.backup import BackupError
    from apibank.backup import restore as bring_back
    from records.api_keys import ApiKeys
    from records.database import Database
    from records.upgrade import upgrade

    settings = settings_of(state_dir=state_dir)
    now = datetime.now(UTC)
    if revoke_keys and settings.database is not None:
        fail(
            "error: --revoke-keys is for the database in the backup, and APIBANK_DATABASE names another: "
            "restore that one, then `apibank keys list` and `apibank keys revoke`"
        )
    try:
        at = bring_back(backup, settings.state_dir)
    except BackupError as error:
        fail(f"error: {error}")
    except OSError as error:
        _fail(error)
    typer.echo(f"{settings.state_dir}: as of {at.isoformat(timespec='seconds')}")
    if settings.database is not None:
        typer.echo("the database is elsewhere: keys that were revoked since it was dumped are good again in it")
        return
    if not (settings.state_dir / "apibank.db").exists():
        return

    async def keys() -> list[str]:
        await upgrade(settings.database_url())
        async with Database(settings.database_url()) as database:
            records = ApiKeys(database)
            live = [key.key_id for key in await records.list() if key.status(now) == "live"]
            for key_id in live if revoke_keys else ():
                await records.revoke(key_id, now=now)
            return live

    live = asyncio.run(keys())
    if revoke_keys:
        typer.echo(f"{len(live)} API keys revoked")
    elif live:
        typer.echo(f"{len(live)} API keys are good again, also what was revoked since: {' '.join(live)}")
    typer.echo("tokens, consents and sessions that were ended since are good again until they end: see the procedure")


def _fail(error: OSError) -> NoReturn:
    fail(f"error: {error.filename}: {error.strerror}")
