"""Signing in by the authorization code flow with PKCE (RFC 6749 §4.1, RFC 7636, OpenID Connect Core §3.1).

Who the person is says the ID token, made for the portal; what the person may call says the access token, which is
checked as the central gateway would check it.
"""

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlencode

import jwt
import structlog
from itsdangerous import BadSignature, URLSafeTimedSerializer

from apibank.developer.provider import Provider, ProviderAwayError
from policy.access import Issuer
from portal.developer.person import Person
from portal.developer.sign_in import PENDING_SECONDS, Begun, SignedIn, SignInFailedError

_LOG: Final = structlog.get_logger(__name__)
_SCOPE: Final = "openid profile"
_NEEDED: Final = ["iss", "aud", "exp", "iat", "sub"]
_AWAY: Final = "The issuer of accounts does not answer now. Try again in a moment."
_REFUSED: Final = "The issuer of accounts has not let you in. Try again, or choose another account."
_STALE: Final = "This browser did not ask to sign in, or did so long ago. Try again."

_Claims = Mapping[str, object]


class CodeFlow:
    """The portal's port `Issuing`."""

    def __init__(
        self,
        provider: Provider,
        client_id: str,
        trusted: Callable[[str], Issuer | None],
        key: bytes,
        clock: Callable[[], float] = time.time,
        admits: Callable[[str, str], bool] = lambda _, __: True,
    ) -> None:
        """`trusted`: an issuer, by its `iss`, as the central gateway's policy has it now; None where it admits none.

        `key` signs what browsers keep. `admits`: whether an issuer may state a role.
        """
        self._provider = provider
        self._client_id = client_id
        self._trusted = trusted
        self._signer = URLSafeTimedSerializer(key, salt="apibank portal sign-in")
        self._clock = clock
        self._admits = admits

    async def begin(self, callback: str, then: str) -> Begun:
        """Where the browser goes to sign in. Raises SignInFailedError."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        try:
            endpoints = await self._provider.endpoints()
        except (ProviderAwayError, PermissionError) as error:
            _LOG.warning("portal_issuer_away", error=str(error))
            raise SignInFailedError(503, _AWAY) from None
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": callback,
            "scope": _SCOPE,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        kept = self._signer.dumps([state, nonce, verifier, callback, then])
        return Begun(f"{endpoints.authorize}?{urlencode(query)}", kept)

    async def finish(self, callback: str, kept: str, answer: Mapping[str, str]) -> SignedIn:
        """Who came back with an answer of the issuer. Raises SignInFailedError."""
        state, nonce, verifier, began_at, then = self._kept(kept)
        # RFC 9700 §4.7.1: an answer to somebody else's question is none.
        if not hmac.compare_digest(state.encode(), answer.get("state", "").encode()) or began_at != callback:
            raise SignInFailedError(400, _STALE)
        if "error" in answer or not answer.get("code"):
            raise SignInFailedError(403, _REFUSED)
        try:
            told = await self._provider.redeem(answer["code"], verifier, callback)
            return SignedIn(await self._person(told, nonce), then)
        except ProviderAwayError as error:
            _LOG.warning("portal_issuer_away", error=str(error))
            raise SignInFailedError(503, _AWAY) from None
        except (PermissionError, jwt.InvalidTokenError) as error:
            _LOG.warning("portal_sign_in_refused", error=f"{type(error).__name__}: {error}")
            raise SignInFailedError(403, _REFUSED) from None

    def _kept(self, kept: str) -> tuple[str, str, str, str, str]:
        try:
            match self._signer.loads(kept, max_age=PENDING_SECONDS):
                case [str(state), str(nonce), str(verifier), str(callback), str(then)]:
                    return state, nonce, verifier, callback, then
        except BadSignature:
            pass
        raise SignInFailedError(400, _STALE)

    async def _person(self, told: _Claims, nonce: str) -> Person:
        trusted = self._trusted((await self._provider.endpoints()).issuer)
        if trusted is None:
            raise PermissionError("the central gateway does not trust this issuer")
        identity = await self._claims(told.get("id_token"), trusted, self._client_id)
        access = await self._claims(told.get("access_token"), trusted, trusted.audience)
        # OpenID Connect Core §3.1.3.7, 11.
        if not hmac.compare_digest(str(identity.get("nonce", "")).encode(), nonce.encode()):
            raise PermissionError("the nonce is another")
        if identity["sub"] != access["sub"]:
            raise PermissionError("the tokens are of two persons")
        person = _person(identity, access, trusted.issuer)
        if not self._admits(trusted.issuer, person.role):
            raise PermissionError("the central gateway does not admit this role by this issuer")
        return person

    async def _claims(self, token: object, trusted: Issuer, audience: str) -> _Claims:
        if not isinstance(token, str):
            raise PermissionError("a token is missing")
        kid = jwt.get_unverified_header(token).get("kid")
        key = await self._provider.key(str(kid))
        if key is None:
            raise PermissionError("no key of the issuer's has signed this")
        claims: _Claims = jwt.decode(
            token,
            key,
            algorithms=[trusted.algorithm.value],
            audience=audience,
            issuer=trusted.issuer,
            leeway=trusted.leeway_seconds,
            options={"require": _NEEDED},
        )
        return claims


def _person(identity: _Claims, access: _Claims, issuer: str) -> Person:
    match access:
        case {
            "sub": str(subject),
            "role": str(role),
            "tier": str(tier),
            "scopes": list(scopes),
            "iat": int() | float() as issued_at,
        } if subject:
            tenant = access.get("tenant_id")
            name = identity.get("name")
            jti = access.get("jti", "")
            if not isinstance(jti, str):
                raise PermissionError("jti is no text")
            if tenant is not None and not isinstance(tenant, str):
                raise PermissionError("tenant_id is no text")
            return Person(
                subject=subject,
                name=name if isinstance(name, str) and name else subject,
                role=role,
                tier=tier,
                scopes=tuple(str(one) for one in scopes),
                tenant=tenant or None,
                issuer=issuer,
                jti=jti,
                issued_at=float(issued_at),
            )
    raise PermissionError("the access token does not say who may do what")
