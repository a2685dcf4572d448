"""Settings of this machine, from the environment and the command line: the only reader of the environment."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from records.store_address import parse_store_url

GrpcServer = Literal["native", "grpcio"]


class Settings(BaseSettings):
    """Every setting, with its variable `APIBANK_<NAME>`; a command's option of the same name comes first."""

    model_config = SettingsConfigDict(env_prefix="APIBANK_", frozen=True, extra="ignore")

    state_dir: Path = Field(Path(".apibank"), description="Keys, certificates, logs, database and the ready file.")
    port_base: Annotated[int, Field(ge=1024, le=60_000)] = Field(
        10_000, description="First port of the embedded stack; all others are at fixed distances from it."
    )
    policies: Path | None = Field(None, description="Folder of gateway files; unset: the ones that come with apibank.")
    profile: tuple[str, ...] = Field((), description="Overlays, by name or path, applied in this order.")
    follow: bool = Field(
        True,
        description="A saved policy file is live at once; without it `apibank policy apply` makes it so.",
    )
    store: str = Field(
        "valkey", description="Counters and nonces: valkey (embedded), memory, or a URL, such as redis://HOST:PORT/DB."
    )
    bus: str | None = Field(
        None, description="Where messages to agents wait: a store's URL, or memory for one process; unset: the store."
    )
    counters: Annotated[int, Field(ge=1, le=100_000_000)] = Field(
        1_000_000, description="The most counters that a process keeps with the store `memory`: about 300 bytes each."
    )
    replicas: Annotated[int, Field(ge=1, le=10_000)] = Field(
        1, description="How many processes count a gateway's limits: the share of each while the store is away."
    )
    database: str | None = Field(
        None, description="sqlite:///PATH or postgresql://...; unset: SQLite in the state directory."
    )
    grpc_server: GrpcServer = Field("native", description="Server of the hot services: native (Rust) or grpcio.")
    envoy_binary: Path | None = Field(None, description="An Envoy to run instead of the one that comes with apibank.")
    envoys: Mapping[str, Annotated[int, Field(ge=1, le=9)]] = Field(
        {}, description="How many Envoys of a gateway the embedded stack runs, one unless named here."
    )
    envoy_concurrency: Annotated[int, Field(ge=1, le=64)] = Field(1, description="Worker threads of each Envoy.")
    control_api: str | None = Field(
        None, description="URL of the control API that commands talk to; unset: the one in the ready file."
    )
    control_token_file: Path | None = Field(
        None, description="Secret that the control API asks for; unset: control.token in the state directory."
    )
    audit_spool_mib: Annotated[int, Field(ge=1, le=65_536)] = Field(
        64, description="What each gateway may keep on disk of the audit while the database is away, in MiB."
    )
    audit_dir: Path | None = Field(
        None, description="Where the audit waits for the database, on a disk that lasts; unset: in the state directory."
    )
    audit_key_file: Path | None = Field(
        None,
        description="Key of the audit's pseudonyms, the same for all replicas; unset: made in the state directory.",
    )
    audit_keep_days: Annotated[int, Field(ge=1, le=36_500)] | None = Field(
        None, description="How many days of each gateway's audit its process keeps; unset: all, until `audit prune`."
    )
    prices: Path | None = Field(
        None,
        description="Rules that declare what a request costs; unset: those of telemetry/alerts/cost.yaml.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("store", "bus")
    @classmethod
    def _known_store(cls, store: str | None) -> str | None:
        if store is not None and store not in {"valkey", "memory"}:
            try:
                parse_store_url(store)
            except ValueError as error:
                raise ValueError(f"valkey, memory, or a store's URL: {error}") from None
        return store

    @field_validator("database")
    @classmethod
    def _known_database(cls, database: str | None) -> str | None:
        if database is None or database.startswith(("sqlite:///", "postgresql://")):
            return database
        raise ValueError("sqlite:///PATH or postgresql://USER@HOST/NAME")

    def database_url(self) -> str:
        """The database in use: the one named, else SQLite in the state directory."""
        return self.database or f"sqlite:///{self.state_dir.resolve() / 'apibank.db'}"

    def telemetry_database_url(self) -> str:
        """Where usage is kept: the database named, else a SQLite file whose writers keep nobody else waiting."""
        return self.database or f"sqlite:///{self.state_dir.resolve() / 'telemetry.db'}"

    def bus_url(self) -> str:
        """Where messages to agents wait: the bus that is named, else the store."""
        return self.bus or self.store

    def audit_folder(self) -> Path:
        """Where the audit waits for the database."""
        return (self.audit_dir or self.state_dir / "audit").resolve()

    def samples_folder(self) -> Path:
        """Where checks are kept to be replayed."""
        return (self.state_dir / "samples").resolve()

    def audit_key(self) -> Path:
        """The file with the key of the audit's pseudonyms."""
        return self.audit_key_file or self.audit_folder() / "subjects.key"

    def token_file(self) -> Path:
        """The file with the control API's secret."""
        return self.control_token_file or self.state_dir / "control.token"


def environment_of_children() -> dict[str, str]:
    """The environment that processes of the embedded stack start with: ours."""
    return dict(os.environ)


def load_settings(overrides: Mapping[str, object]) -> Settings:
    """Settings from the environment, then from a command's options; options that were not given are None.

    Raises pydantic.ValidationError, whose text names the setting and what it takes.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    return Settings(**given)  # type: ignore[arg-type]  # validated by pydantic
