"""The rows of `isolated.py`."""

from __future__ import annotations

import time

import numpy  # noqa: F401
import pandas  # noqa: F401
import s3fs  # noqa: F401

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry

NAP_S = 1.0


class Row(ExperimentInputSpec):
    nap_s: float


class Answer(ExperimentOutputSpec):
    y: float


@ExperimentRegistry.Register()
def simulate(row: Row) -> Answer:
    if row.nap_s:
        time.sleep(row.nap_s)
    return Answer(y=1.0)
