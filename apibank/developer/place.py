"""From settings and options to what the developer portal is told."""

from collections.abc import Callable, Sequence
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

from apibank.developer.service import ConsolePlace, DeveloperPlace
from apibank.issuer.clients import load_client_secrets
from apibank.settings import Settings
from telemetry.prices import DECLARED


def developer_place(
    settings: Settings,
    discovery: str,
    origins: Sequence[str],
    client_id: str,
    secret_file: Path | None,
    webhook_networks: Sequence[str] = (),
    admin_issuer: str | None = None,
) -> DeveloperPlace:
    """Raises ValueError, which names the option."""
    if not origins:
        raise ValueError("--issuer needs an --origin, such as https://api.waooaw.ai: where browsers reach the gateway")
    for origin in origins:
        parts = urlsplit(origin)
        if parts.scheme != "https" or not parts.netloc or origin != f"https://{parts.netloc}":
            raise ValueError(f"--origin {origin!r} is not https://HOST[:PORT]")
    if urlsplit(discovery).scheme not in {"http", "https"}:
        raise ValueError(f"--issuer {discovery!r} is no URL")
    try:
        networks = tuple(ip_network(one) for one in webhook_networks)
    except ValueError as error:
        raise ValueError(f"--webhook-network: {error}") from None
    secret = _of_file(secret_file) if secret_file else _of_development(settings.state_dir, client_id)
    return DeveloperPlace(
        discovery=discovery,
        origins=tuple(origins),
        database=settings.database_url(),
        telemetry=settings.telemetry_database_url(),
        subjects_key=settings.audit_key(),
        client_secret=secret,
        client_id=client_id,
        webhook_networks=networks,
        console=None if admin_issuer is None else _console(settings, admin_issuer),
    )


def _console(settings: Settings, discovery: str) -> ConsolePlace:
    if urlsplit(discovery).scheme not in {"http", "https"}:
        raise ValueError(f"--admin-issuer {discovery!r} is no URL")
    address = settings.control_api
    if address is None or urlsplit(address).scheme not in {"http", "https"}:
        raise ValueError("--admin-issuer needs a --control-api, such as http://127.0.0.1:18001")
    return ConsolePlace(discovery, address, _of_file(settings.token_file()), settings.prices or DECLARED)


def _of_file(path: Path) -> Callable[[], str]:
    return lambda: path.read_text(encoding="utf-8").strip()


def _of_development(state_dir: Path, client_id: str) -> Callable[[], str]:
    known = load_client_secrets(state_dir)
    if client_id not in known:
        raise ValueError(f"the development issuer has no client {client_id!r}: give a --client-secret-file")
    return lambda: known[client_id]
