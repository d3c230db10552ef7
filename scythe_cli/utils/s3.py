"""A client of boto3, for code that uses one; this program itself does not.

`pip install "scythe-experiments[boto3]"` brings it, in a version that goes with those of s3fs.
"""

from __future__ import annotations

from typing import Any

from scythe_cli.compat.buckets import check_experiment_exists, client, raise_on_forbidden_experiment

__all__ = ["check_experiment_exists", "raise_on_forbidden_experiment", "s3_client"]

s3_client: Any


def __getattr__(name: str) -> object:
    if name == "s3_client":  # made on first use: it asks the environment who one is
        return client()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
