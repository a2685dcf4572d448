"""What the issuer grants: codes with PKCE, services' own tokens, refreshes; and how a session is revoked."""

from collections.abc import Mapping
from typing import Final

from authlib.oauth2.rfc6749 import InvalidRequestError, grants
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import OpenIDCode
from jwt.algorithms import RSAAlgorithm

from apibank.issuer.clients import Client
from apibank.issuer.keys import ALGORITHM
from apibank.issuer.oauth import IssuingServer, settled_scope
from apibank.issuer.realms import Person
from apibank.issuer.sessions import Code, RefreshToken

_CONFIDENTIAL: Final = ["client_secret_basic", "client_secret_post"]
_ANY: Final = [*_CONFIDENTIAL, "none"]

# Authlib has no types: its classes are Any to mypy, and so are the attributes that it sets on requests.


class CodeGrant(grants.AuthorizationCodeGrant):  # type: ignore[misc]
    """RFC 6749 §4.1."""

    TOKEN_ENDPOINT_AUTH_METHODS = _ANY

    def save_authorization_code(self, code: str, request) -> Code:  # type: ignore[no-untyped-def]
        server: IssuingServer = self.server
        asked: Mapping[str, str] = request.payload.data
        kept = Code(
            client_id=request.client.client_id,
            subject=request.user.subject,
            scope=settled_scope(request.scope or "", request.user),
            redirect_uri=request.payload.redirect_uri,
            nonce=asked.get("nonce"),
            code_challenge=asked["code_challenge"],
            code_challenge_method=asked["code_challenge_method"],
            session=server.new_session(),
            issued_at=server.now(),
        )
        server.sessions.keep_code(code, kept)
        return kept

    def query_authorization_code(self, code: str, client: Client) -> Code | None:
        server: IssuingServer = self.server
        return server.sessions.take_code(code, client.client_id, server.now())

    def delete_authorization_code(self, authorization_code: Code) -> None:
        """It was marked as used when it was taken, and is kept so that a second use is noticed."""

    def authenticate_user(self, authorization_code: Code) -> Person | None:
        server: IssuingServer = self.server
        return server.realm.person(authorization_code.subject)


class RequiredChallenge(CodeChallenge):  # type: ignore[misc]
    """PKCE for every client, with S256 only (RFC 9700 §2.1.1)."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)

    def validate_code_challenge(self, grant, redirect_uri: str) -> None:  # type: ignore[no-untyped-def]
        asked = grant.request.payload.data
        if not asked.get("code_challenge") or asked.get("code_challenge_method") != "S256":
            raise InvalidRequestError("A code_challenge with the method S256 is required.")
        super().validate_code_challenge(grant, redirect_uri)


class IdToken(OpenIDCode):  # type: ignore[misc]
    """The ID token of OpenID Connect Core §3.1.3.3, for clients that ask for the scope openid."""

    def __init__(self, server: IssuingServer) -> None:
        super().__init__(require_nonce=False)
        self._server = server

    def exists_nonce(self, nonce: str, request: object) -> bool:
        return False

    def get_client_algorithm(self, client: Client) -> str:
        return ALGORITHM

    def get_encode_header(self, client: Client) -> dict[str, str]:
        return {"alg": ALGORITHM, "kid": self._server.keys.load().current.kid}

    def resolve_client_private_key(self, client: Client) -> dict[str, object]:
        return dict(RSAAlgorithm.to_jwk(self._server.keys.load().current.private, as_dict=True))

    def get_client_claims(self, client: Client) -> dict[str, object]:
        now = int(self._server.now())
        return {"iss": self._server.realm.issuer, "aud": [client.client_id], "iat": now, "exp": now + 300}

    def generate_user_info(self, user: Person, scope: str) -> dict[str, object]:
        about: dict[str, object] = {"sub": user.subject}
        if "profile" in scope.split():
            about["name"] = user.name
        if "email" in scope.split():
            about["email"] = user.email
        return about


class ServiceGrant(grants.ClientCredentialsGrant):  # type: ignore[misc]
    """RFC 6749 §4.4."""

    TOKEN_ENDPOINT_AUTH_METHODS = _CONFIDENTIAL


class RefreshGrant(grants.RefreshTokenGrant):  # type: ignore[misc]
    """RFC 6749 §6, with rotation. A public client's token comes in the cookie or not at all."""

    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_token_endpoint_client(self) -> Client:
        methods = ["none"] if self.request.from_cookie else _CONFIDENTIAL
        client: Client = self.server.authenticate_client(self.request, methods)
        return client

    def authenticate_refresh_token(self, refresh_token: str) -> RefreshToken | None:
        server: IssuingServer = self.server
        return server.sessions.redeem(refresh_token, server.now())

    def authenticate_user(self, refresh_token: RefreshToken) -> Person | None:
        server: IssuingServer = self.server
        return server.realm.person(refresh_token.subject)

    def revoke_old_credential(self, refresh_token: RefreshToken) -> None:
        server: IssuingServer = self.server
        server.sessions.spend(self.request.form["refresh_token"])


class Revocation(RevocationEndpoint):  # type: ignore[misc]
    """RFC 7009, for refresh tokens. Access tokens end by themselves, or by the gateways' revocation list."""

    CLIENT_AUTH_METHODS = _ANY

    def query_token(self, token_string: str, token_type_hint: str | None) -> RefreshToken | None:
        server: IssuingServer = self.server
        return server.sessions.find(token_string)

    def revoke_token(self, token: RefreshToken, request: object) -> None:
        server: IssuingServer = self.server
        server.sessions.end(token.session)


def register_grants(server: IssuingServer) -> None:
    """Everything that this issuer grants; what is not here is unsupported."""
    server.register_grant(CodeGrant, [RequiredChallenge(required=True), IdToken(server)])
    server.register_grant(ServiceGrant)
    server.register_grant(RefreshGrant)
    server.register_endpoint(Revocation)
