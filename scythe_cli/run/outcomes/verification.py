"""`verification.yml`: whether some cases of a run, when they were run again, gave the same."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, ValidationError

from scythe_cli.errors import StorageError
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.manifest import dump_yaml, load_yaml
from scythe_cli.storage.base import MissingKeyError, Storage

__all__ = ["Verification", "read_verification", "write_verification"]


class Verification(BaseModel):
    """When some rows of a run were run again, and whether they gave the same."""

    model_config = ConfigDict(extra="ignore")

    verified_at: datetime
    rows: list[int]
    n_differing_rows: int


def write_verification(storage: Storage, run: RunLayout, record: Verification) -> None:
    """Keep that a run was verified, in place of what was known of it.

    Raises:
        StorageError: If it cannot be written.
    """
    storage.write_bytes(run.verification, dump_yaml(record.model_dump(mode="json")))


def read_verification(storage: Storage, run: RunLayout) -> Verification | None:
    """When a run was verified for the last time; None where it never was.

    Raises:
        StorageError: If that cannot be read.
    """
    try:
        return Verification.model_validate(load_yaml(storage.read_bytes(run.verification), run.verification))
    except MissingKeyError:
        return None
    except ValidationError:
        raise StorageError(f"{storage.uri(run.verification)} is not valid") from None
