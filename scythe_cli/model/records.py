"""Experiments and their fields, as records."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from scythe_cli.core.records import Record

__all__ = ["ExperimentRecord", "FieldRecord"]


class FieldRecord(Record):
    """One field of an input or output model."""

    name: str = Field(description="dotted for nested models")
    type: str = Field(description="for people: 'float', \"'a' | 'b'\", 'file', 'date or empty'")
    description: str | None = None
    bounds: str | None = Field(default=None, description="'0 ≤ x ≤ 90', or 'at most 20 characters'")
    unit: str | None = Field(default=None, description="the unit in brackets at the end of the description")
    required: bool = True
    default: Any = None


class ExperimentRecord(Record):
    """One experiment of the project."""

    name: str
    entrypoint: str
    description: str
    kind: str = Field(description="'function' or 'workflow'")
    inputs: list[FieldRecord] = Field(default=[])
    outputs: list[FieldRecord] = Field(default=[])
    execution_timeout_s: float
    memory_limit_bytes: int | None = None
    retries: int
    problem: str | None = Field(default=None, description="why it cannot be loaded")
