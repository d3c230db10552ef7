"""Runs specs in a pool of processes that can be killed, so that a crash or an endless loop costs one of them."""

from __future__ import annotations

from scythe_cli.executor.limits import Limits, StopSignal
from scythe_cli.executor.pool import Executor

__all__ = ["Executor", "Limits", "StopSignal"]
