"""The OAuth clients that the issuers know: the web app, the portal, and services."""

import fcntl
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from apibank.issuer.realms import Realm
from apibank.private_files import private_directory, write_private

APP: Final = "waooaw-app"
PORTAL: Final = "waooaw-portal"
SERVICE: Final = "waooaw-service"

_IDENTITY_SCOPES: Final = frozenset({"openid", "profile", "email"})
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Client:
    """A client (RFC 6749 §2), with the questions that Authlib asks of one. Without a secret it is public."""

    client_id: str
    grants: frozenset[str]
    scopes: frozenset[str]
    redirect_uris: tuple[str, ...] = ()
    secret: str | None = field(default=None, repr=False)

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> str | None:
        # Where a code goes is always said: a default would hide a mistake.
        return None

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """The scopes asked for, or None where one of them is not for this client."""
        asked = (scope or "").split()
        return " ".join(asked) if self.scopes.issuperset(asked) else None

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Exact, except for the port of a loopback address (RFC 8252 §7.3)."""
        return any(redirect_uri == known or _same_on_loopback(redirect_uri, known) for known in self.redirect_uris)

    def check_client_secret(self, client_secret: str) -> bool:
        return self.secret is not None and hmac.compare_digest(self.secret.encode(), client_secret.encode())

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return (method == "none") == (self.secret is None)

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code" and "authorization_code" in self.grants

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in self.grants


def known_clients(realm: Realm, client_secrets: Mapping[str, str], origins: Sequence[str]) -> dict[str, Client]:
    """The clients of a realm, by id; `origins` are where the portal is reached."""
    people_scopes = realm.scopes | _IDENTITY_SCOPES
    signs_in = frozenset({"authorization_code", "refresh_token"})
    app = Client(APP, signs_in, people_scopes, ("https://app.waooaw.ai/callback", "http://127.0.0.1/callback"))
    callbacks = tuple(f"{origin}/portal/callback" for origin in origins)
    portal = Client(PORTAL, signs_in, people_scopes, callbacks, client_secrets[PORTAL])
    service = Client(SERVICE, frozenset({"client_credentials"}), realm.scopes, (), client_secrets[SERVICE])
    return {client.client_id: client for client in (app, portal, service)}


def load_client_secrets(state_dir: Path) -> dict[str, str]:
    """Secrets of the confidential clients by id, in `state_dir`/issuer/clients.json; made by whoever asks first."""
    folder = private_directory(private_directory(state_dir) / "issuer")
    path = folder / "clients.json"
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            made = {client_id: secrets.token_urlsafe(32) for client_id in (PORTAL, SERVICE)}
            write_private(path, json.dumps(made, indent=1).encode())
        known: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return known


def _same_on_loopback(asked: str, known: str) -> bool:
    try:
        one, other = urlsplit(asked), urlsplit(known)
        loopback = one.hostname in _LOOPBACK and one.hostname == other.hostname and one.port != 0
    except ValueError:
        return False
    plain = not (one.query or one.fragment or one.username or one.password)
    return loopback and plain and one.scheme == other.scheme == "http" and one.path == other.path
