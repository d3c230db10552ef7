"""Asking a bucket with a client of boto3, as scythe-engine does."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any, Literal

from scythe_cli.core.distribution import needs_extra

__all__ = ["check_experiment_exists", "client", "raise_on_forbidden_experiment"]


@cache
def client() -> Any:
    """A client of S3, made once.

    Raises:
        MissingExtraError: If boto3 is not installed.
    """
    with needs_extra("boto3", "a client of S3"):
        boto3: Any = import_module("boto3")
    return boto3.client("s3")


def check_experiment_exists(s3: Any, bucket: str, bucket_prefix: str, experiment_id: str) -> bool:
    """Whether there is anything of a run in a bucket."""
    found: dict[str, Any] = s3.list_objects_v2(Bucket=bucket, Prefix=f"{bucket_prefix}/{experiment_id}", MaxKeys=1)
    return int(found.get("KeyCount", 0)) > 0


def raise_on_forbidden_experiment(
    s3: Any,
    bucket: str,
    bucket_prefix: str,
    experiment_id: str,
    existing_artifacts: Literal["forbid", "overwrite"] = "forbid",
) -> None:
    """Refuse a run that is there already.

    Raises:
        ValueError: If it is, and that is forbidden.
    """
    if existing_artifacts == "forbid" and check_experiment_exists(s3, bucket, bucket_prefix, experiment_id):
        raise ValueError(f"{experiment_id} is already in {bucket}/{bucket_prefix}")
