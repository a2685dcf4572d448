"""Authorization codes and refresh tokens: each is good once, and using one twice ends what came of it.

They live in memory: when the issuer restarts, everybody signs in again. Only digests are kept, and of each kind at
most MOST_KEPT, the oldest going first.
"""

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Final, TypeVar

CODE_SECONDS: Final = 60
# A family of refresh tokens ends this long after the person signed in, however often it was refreshed.
SESSION_SECONDS: Final = 14 * 24 * 3600
MOST_KEPT: Final = 10_000

_Kept = TypeVar("_Kept")


@dataclass(frozen=True, slots=True)
class Code:
    """An authorization code (RFC 6749 §4.1), with what Authlib asks of one. `session` names what may come of it."""

    client_id: str
    subject: str
    scope: str
    redirect_uri: str
    nonce: str | None
    code_challenge: str
    code_challenge_method: str
    session: str
    issued_at: float

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> str | None:
        return self.nonce

    def get_auth_time(self) -> int:
        return int(self.issued_at)

    def get_acr(self) -> None:
        return None

    def get_amr(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A refresh token, with what Authlib asks of one. Each refresh leaves a new one in the same session."""

    client_id: str
    subject: str
    scope: str
    session: str
    expires_at: float
    used: bool = False

    def get_scope(self) -> str:
        return self.scope

    def check_client(self, client: object) -> bool:
        return getattr(client, "client_id", None) == self.client_id


class Sessions:
    """What has been issued, by digest. Times are POSIX seconds and passed in."""

    def __init__(self) -> None:
        self._codes: OrderedDict[str, tuple[Code, bool]] = OrderedDict()
        self._tokens: OrderedDict[str, RefreshToken] = OrderedDict()

    def keep_code(self, code: str, kept: Code) -> None:
        self._codes[_digest(code)] = (kept, False)
        _bound(self._codes)

    def take_code(self, code: str, client_id: str, now: float) -> Code | None:
        """A code's one use; a second one ends the session that came of the first (RFC 6749 §4.1.2)."""
        digest = _digest(code)
        found, used = self._codes.get(digest, (None, False))
        if found is None or found.client_id != client_id or now - found.issued_at > CODE_SECONDS:
            return None
        if used:
            self.end(found.session)
            return None
        self._codes[digest] = (found, True)
        return found

    def issue(self, token: RefreshToken) -> str:
        """A new refresh token: 256 random bits."""
        value = secrets.token_urlsafe(32)
        self._tokens[_digest(value)] = token
        _bound(self._tokens)
        return value

    def find(self, value: str) -> RefreshToken | None:
        """What a refresh token is, whether or not it is still good; changes nothing."""
        return self._tokens.get(_digest(value))

    def redeem(self, value: str, now: float) -> RefreshToken | None:
        """A refresh token that is good. One that was used before has been stolen from somebody: its session ends."""
        token = self.find(value)
        if token is None or token.expires_at <= now:
            return None
        if token.used:
            self.end(token.session)
            return None
        return token

    def spend(self, value: str) -> None:
        """Mark a refresh token as used."""
        digest = _digest(value)
        self._tokens[digest] = replace(self._tokens[digest], used=True)

    def end(self, session: str) -> None:
        """End a session: none of its refresh tokens is known any more."""
        for digest in [digest for digest, token in self._tokens.items() if token.session == session]:
            del self._tokens[digest]


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def _bound(kept: "OrderedDict[str, _Kept]") -> None:
    while len(kept) > MOST_KEPT:
        kept.popitem(last=False)
