"""What the environment can say; the names are those of scythe-engine."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from scythe_cli.core.quantities import parse_duration

__all__ = ["EngineSettings", "ScytheStorageSettings", "TimeoutSettings"]


def _duration(value: Any) -> Any:
    try:
        return parse_duration(value)
    except (ValueError, TypeError):
        return value  # `PT1H` and `01:00:00`, as scythe-engine took them, or a mistake for pydantic to word


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("it must be longer than zero; write it like '90s', '10m' or '1h30m'")
    return value


_Duration = Annotated[timedelta, BeforeValidator(_duration), AfterValidator(_positive)]


class ScytheStorageSettings(BaseSettings):
    """Where runs are kept, from `SCYTHE_STORAGE_BUCKET`, `SCYTHE_STORAGE_BUCKET_PREFIX` or `SCYTHE_STORAGE_URI`."""

    model_config = SettingsConfigDict(env_prefix="SCYTHE_STORAGE_")

    BUCKET: str | None = Field(default=None, description="The name of the S3 bucket to use.")
    BUCKET_PREFIX: str = Field(default="scythe", description="The prefix to use inside the bucket.")
    URI: str | None = Field(default=None, description="A folder or s3://bucket/prefix; wins over BUCKET.")
    ROW_SEED: str | None = None  # that of the spec which these settings are of; no variable that a person sets

    @property
    def location(self) -> str | None:
        """The folder or S3 URL that these settings name; None when they name none."""
        if self.URI:
            return self.URI
        if self.BUCKET:
            return f"s3://{self.BUCKET}/{self.BUCKET_PREFIX}".rstrip("/")
        return None


class EngineSettings(BaseSettings):
    """Where specs run, from `SCYTHE_ENGINE`."""

    model_config = SettingsConfigDict(env_prefix="SCYTHE_")

    ENGINE: str | None = Field(default=None, description="local or hatchet.")


class TimeoutSettings(BaseSettings):
    """Default time limits, from `SCYTHE_TIMEOUT_*`."""

    model_config = SettingsConfigDict(env_prefix="SCYTHE_TIMEOUT_")

    SCATTER_GATHER_SCHEDULE: _Duration = Field(
        default=timedelta(hours=1), description="How long a scatter/gather node may wait for a worker."
    )
    SCATTER_GATHER_EXECUTION: _Duration = Field(
        default=timedelta(hours=1), description="How long a scatter/gather node may run."
    )
    EXPERIMENT_SCHEDULE: _Duration = Field(
        default=timedelta(hours=1), description="How long a task of specs may wait for a worker."
    )
    EXPERIMENT_EXECUTION: _Duration = Field(default=timedelta(hours=1), description="How long one spec may run.")
