"""Who may call: token issuers, callers, networks, agents' signatures, and the schemas of bodies."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import Field, JsonValue, model_validator

from policy.kinds import FilePath, Model, Name, RoleName, Seconds, Text

JsonSchema = Mapping[str, JsonValue]
# The longest that a credential for emergencies may be good.
BREAK_GLASS_SECONDS: Final = 3600


class Algorithm(StrEnum):
    """The one signature algorithm of an issuer (RFC 7518 §3.1, RFC 8037); `none` cannot be written."""

    RS256 = "RS256"
    ES256 = "ES256"
    EDDSA = "EdDSA"
    HS256 = "HS256"


class Jwks(Model):
    """Where an issuer's public keys come from: exactly one of the two."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s]+$")] | None = Field(
        None, description="Fetched in the background and kept while the issuer is down."
    )
    keys: tuple[Mapping[str, JsonValue], ...] | None = Field(None, description="The keys themselves (RFC 7517 §4).")
    refresh_seconds: Seconds = Field(300, description="Time between fetches; an unknown kid asks sooner.")
    max_stale_seconds: Seconds = Field(86_400, description="How long keys are used while every fetch fails.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.url is None) == (self.keys is None):
            raise ValueError("exactly one of url and keys")
        return self


class Issuer(Model):
    """A token issuer and everything that is checked of its tokens (RFC 8725, RFC 9068); nothing unset is unchecked."""

    issuer: Annotated[str, Field(min_length=1, max_length=500, description="The only `iss` of its tokens.")]
    audience: Annotated[str, Field(min_length=1, max_length=500, description="Must be among `aud`.")]
    algorithm: Algorithm = Field(Algorithm.RS256, description="The one algorithm; a token with another is refused.")
    jwks: Jwks | None = Field(None, description="Public keys of an asymmetric algorithm.")
    secret_file: FilePath | None = Field(None, description="HS256 only: a file with a secret of 32 bytes or more.")
    break_glass: bool = Field(
        False,
        description="Tokens made by hand with a sealed key, for administrators while their issuer is down; EdDSA only.",
    )
    public_key_file: FilePath | None = Field(
        None, description="break_glass only: a PEM file with its public key; while it is missing, nothing is accepted."
    )
    token_type: Text | None = Field(
        None, description="Required `typ` header, such as at+jwt; unset: JWT, at+jwt or none."
    )
    max_lifetime_seconds: Seconds = Field(3600, description="The longest exp - iat.")
    leeway_seconds: Annotated[int, Field(strict=True, ge=0, le=60)] = Field(
        5, description="Clock difference that is forgiven, in seconds."
    )

    @model_validator(mode="after")
    def _keys_fit_the_algorithm(self) -> Self:
        if self.break_glass:
            return self._sealed()
        if self.public_key_file is not None:
            raise ValueError("public_key_file belongs to break_glass")
        symmetric = self.algorithm is Algorithm.HS256
        if symmetric and (self.secret_file is None or self.jwks is not None):
            raise ValueError("HS256 takes a secret_file and no jwks")
        if not symmetric and (self.jwks is None or self.secret_file is not None):
            raise ValueError(f"{self.algorithm} takes a jwks and no secret_file")
        return self

    def _sealed(self) -> Self:
        if self.algorithm is not Algorithm.EDDSA or self.public_key_file is None:
            raise ValueError("break_glass takes algorithm: EdDSA and a public_key_file")
        if self.jwks is not None or self.secret_file is not None or self.token_type is not None:
            raise ValueError("break_glass takes no jwks, no secret_file and no token_type")
        if self.max_lifetime_seconds > BREAK_GLASS_SECONDS:
            raise ValueError(f"break_glass tokens live for at most {BREAK_GLASS_SECONDS} seconds")
        return self


class Callers(Model):
    """Who is admitted: the gateway's row of the authentication matrix (R68). What is not named is refused."""

    tokens: Mapping[Name, tuple[RoleName, ...]] = Field(
        default_factory=dict,
        description="Issuer -> roles that it may state here. An issuer of the file that is "
        "not listed is known but not admitted: its good tokens get 403, not 401.",
    )
    partners: bool = Field(False, description="Partner API keys in x-api-key.")
    agents: bool = Field(False, description="Agents that sign with RFC 9421 HMAC signatures.")
    refusal: Text = Field("This gateway does not admit your kind of caller", description="Detail of the 403.")


class AgentSignatures(Model):
    """How agents sign (RFC 9421, hmac-sha256) and where their secrets are."""

    secrets_directory: FilePath = Field(
        description="One file per agent id; one secret per line, so that two are valid while one is rotated."
    )
    window_seconds: Annotated[int, Field(strict=True, ge=1, le=300)] = Field(
        60, description="How far `created` may lie from now, either way; nonces are kept for twice as long."
    )
    role: RoleName = "agent"
    sender_field: Name | None = Field(
        "sender", description="The field of the message that must name the signer; null: the body names nobody."
    )
