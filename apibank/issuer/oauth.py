"""Authlib's authorization server over our keys, clients and sessions: RFC 6749, 7636, 7009, 9068, OIDC's code flow.

Everything here is synchronous and without I/O but for the key file, so one request is one step: nobody can come
between finding a refresh token and spending it.
"""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast
from urllib.parse import parse_qsl

from authlib.oauth2.rfc6749 import AuthorizationServer, InvalidRequestError, OAuth2Error, OAuth2Request
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc6750 import BearerTokenGenerator

from apibank.issuer.clients import Client
from apibank.issuer.keys import KeyStore
from apibank.issuer.mint import lifetime, sign
from apibank.issuer.realms import ACCESS_TOKEN_SECONDS, Person, Realm
from apibank.issuer.sessions import SESSION_SECONDS, Code, RefreshToken, Sessions

_MOST_FIELDS: Final = 50


@dataclass(frozen=True, slots=True)
class Asked:
    """An HTTP request as the protocol sees it. `from_cookie`: the refresh token came in our cookie, not in the form."""

    method: str
    path: str
    query: str = ""
    form: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    from_cookie: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """The protocol's answer; a body that is no text is JSON."""

    status: int
    body: Mapping[str, object] | str
    headers: tuple[tuple[str, str], ...]


class _Request(OAuth2Request):  # type: ignore[misc]  # Authlib has no types
    """Authlib's request, from the parts of ours. Its URI is the issuer's own: what Host says is the client's word."""

    def __init__(self, asked: Asked, issuer: str) -> None:
        super().__init__(asked.method, f"{issuer}{asked.path}", headers=dict(asked.headers))
        self._query = _fields(asked.query)
        self._form = _fields(asked.form)
        self.payload = BasicOAuth2Payload({**self._query, **self._form})
        self.from_cookie = asked.from_cookie

    @property
    def args(self) -> dict[str, str]:
        return self._query

    @property
    def form(self) -> dict[str, str]:
        return self._form


def _fields(encoded: str) -> dict[str, str]:
    """Form fields. Raises InvalidRequestError where one is given twice (RFC 6749 §3.1, §3.2)."""
    try:
        pairs = parse_qsl(encoded, keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError:
        raise InvalidRequestError("The parameters cannot be read.") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise InvalidRequestError("A parameter is given more than once.")
    # RFC 6749 §3.1: a parameter without a value is as if it were not there.
    return {name: value for name, value in fields.items() if value}


class IssuingServer(AuthorizationServer):  # type: ignore[misc]  # Authlib has no types
    """One realm's server. `now` gives POSIX seconds."""

    def __init__(
        self,
        realm: Realm,
        keys: KeyStore,
        clients: Mapping[str, Client],
        sessions: Sessions,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self.realm = realm
        self.keys = keys
        self.sessions = sessions
        self.now = now
        self._clients = clients
        generator = BearerTokenGenerator(
            self._access_token,
            # Filled in by save_token, which knows the session.
            refresh_token_generator=lambda **_about: "",
            expires_generator=lambda _client, _grant_type: ACCESS_TOKEN_SECONDS,
        )
        self.register_token_generator("default", generator)

    def query_client(self, client_id: str) -> Client | None:
        return self._clients.get(client_id)

    def save_token(self, token: dict[str, str], request: "_Request") -> None:
        """Give the answer its refresh token, in the session that the code or the previous token belongs to."""
        if "refresh_token" not in token:
            return
        previous: Code | RefreshToken = request.refresh_token or request.authorization_code
        ends = previous.expires_at if isinstance(previous, RefreshToken) else self.now() + SESSION_SECONDS
        token["refresh_token"] = self.sessions.issue(
            # The session's own scope, not the narrower one of this refresh (RFC 6749 §6).
            RefreshToken(previous.client_id, previous.subject, previous.scope, previous.session, ends)
        )

    def create_oauth2_request(self, request: Asked) -> _Request:
        return request if isinstance(request, OAuth2Request) else _Request(request, self.realm.issuer)

    def handle_response(
        self, status: int, body: Mapping[str, object] | str, headers: Sequence[tuple[str, str]]
    ) -> Told:
        if isinstance(body, Mapping):
            body = dict(body)
        return Told(status, body, tuple(headers))

    def send_signal(self, name: str, *_args: object, **_kwargs: object) -> None:
        """Nobody listens."""

    def new_session(self) -> str:
        return secrets.token_urlsafe(16)

    def token(self, asked: Asked) -> Told:
        """The token endpoint (RFC 6749 §3.2)."""
        return self._answered(lambda: self.create_token_response(asked))

    def revoke(self, asked: Asked) -> Told:
        """The revocation endpoint (RFC 7009 §2)."""
        return self._answered(lambda: self.create_endpoint_response("revocation", asked))

    def consent(self, asked: Asked) -> Told | str:
        """See whether an authorization request is good (RFC 6749 §4.1.1): the client that asks, or the refusal."""
        try:
            return str(self.get_consent_grant(asked).client.client_id)
        except OAuth2Error as error:
            return cast("Told", self.handle_error_response(None, error))

    def authorize(self, asked: Asked, person: Person | None) -> Told:
        """Redirect back to the client: with a code for this person, or, where there is none, with access_denied."""

        def answer() -> Told:
            grant = self.get_consent_grant(asked)
            told: Told = self.create_authorization_response(grant.request, grant_user=person, grant=grant)
            return told

        return self._answered(answer)

    def _answered(self, answer: Callable[[], Told]) -> Told:
        try:
            return answer()
        except OAuth2Error as error:  # of requests that cannot even be read, Authlib does not make an answer
            return cast("Told", self.handle_error_response(None, error))

    def _access_token(self, *, client: Client, grant_type: str, user: Person | None, scope: str) -> str:
        person = user or self.realm.service
        # A session's scope was settled when its person signed in; a service's is settled here.
        settled = scope if grant_type != "client_credentials" else settled_scope(scope, person)
        claims = {
            "iss": self.realm.issuer,
            "aud": self.realm.audience,
            "sub": person.subject,
            "client_id": client.client_id,
            "email": person.email,
            "role": person.role,
            "tier": person.tier,
            "scopes": [one for one in settled.split() if ":" in one],
            **lifetime(self.now(), ACCESS_TOKEN_SECONDS),
            **person.claims,
        }
        return sign(self.keys.load().current, claims)


def settled_scope(asked: str, person: Person) -> str:
    """What a person gets of what a client asked for; all that the person holds where it asked for no such scope.

    `x:*` covers x:read and x:write (C16). Scopes without a namespace, such as openid, stay: the gateways ignore them.
    """
    scopes = asked.split()
    if not any(":" in one for one in scopes):
        return " ".join([*scopes, *person.scopes])
    return " ".join(
        one
        for one in scopes
        if ":" not in one or one in person.scopes or f"{one.rpartition(':')[0]}:*" in person.scopes
    )
