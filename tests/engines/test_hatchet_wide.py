"""Messages about wide specs stay below what gRPC takes, whatever the specs hold."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import Field, create_model

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, input_columns
from scythe_cli.engines.hatchet.engine import _node_input
from scythe_cli.engines.hatchet.nodes.children import LIMIT_BYTES, Child
from scythe_cli.engines.hatchet.nodes.node import Node
from scythe_cli.engines.hatchet.nodes.results import ChildError, Lost
from scythe_cli.engines.hatchet.nodes.specstore import SpecStore
from scythe_cli.model.columns import schema_of
from tests.hatchet_jobs import make_job

N_FIELDS = 200
MESSAGE_LIMIT_BYTES = 4_000_000

Wide: type[ExperimentInputSpec] = create_model(
    "Wide",
    __base__=ExperimentInputSpec,
    **{f"x{i:03d}": (float, Field(ge=0, le=1)) for i in range(N_FIELDS - 1)},  # type: ignore[call-overload]
    text=(str, ""),
)


class Result(ExperimentOutputSpec):
    y: float


def wide(spec: Wide) -> Result:  # type: ignore[valid-type]
    """Computes nothing."""
    return Result(y=1.0)


def messages(folder: Path, texts: Sequence[str], *, per_task: int) -> list[list[Child]]:
    """The messages that the root node of a run would send: one spec for each text."""
    n = len(texts)
    columns: dict[str, Any] = {f"x{i:03d}": [(row + i / 7) / (n + 30) for row in range(n)] for i in range(N_FIELDS - 1)}
    inputs = pa.table({**columns, "text": texts}, schema=schema_of(input_columns(Wide)))
    job = make_job(folder, wide, inputs, factor=10, depth=0, per_task=per_task)
    sent: list[list[Child]] = []

    async def never() -> Mapping[str, Any] | ChildError:
        return ChildError(Lost.NEVER_STARTED, "", "")

    async def spawn(children: Sequence[Child]) -> list[Awaitable[Mapping[str, Any] | ChildError]]:
        sent.append(list(children))
        return [never() for _ in children]

    specs = SpecStore()
    try:
        asyncio.run(Node(_node_input(job), spawn, specs, False).work())
    finally:
        specs.close()
    return sent


def size(message: Sequence[Child]) -> int:
    return sum(len(child.input.encode()) + len(json.dumps(child.metadata).encode()) for child in message)


def test_specs_of_200_fields_are_sent_whole_and_in_small_messages(tmp_path: Path) -> None:
    sent = messages(tmp_path, ["a"] * 300, per_task=1)

    specs = [json.loads(child.input) for message in sent for child in message]
    assert sorted(spec["sort_index"] for spec in specs) == list(range(300))
    assert all(len([name for name in spec if name.startswith("x")]) == N_FIELDS - 1 for spec in specs)
    assert max(map(size, sent)) < MESSAGE_LIMIT_BYTES
    assert max(map(len, sent)) <= 100


@pytest.mark.parametrize("character", ["a", "é", "日", "\\"])
def test_specs_with_long_texts_go_in_several_messages(tmp_path: Path, character: str) -> None:
    """What JSON writes of a character may be longer than it."""
    written = len(json.dumps(character)) - 2
    lengths = [(LIMIT_BYTES - 10_000) // written, LIMIT_BYTES // written + 1, 1_000_000]

    sent = messages(tmp_path, [character * lengths[i % 3] for i in range(24)], per_task=1)

    children = [child for message in sent for child in message]
    assert len(children) == 24
    assert len(sent) > 1
    # those that are too long are read from the run's file by the task itself
    assert sum("text" in json.loads(child.input) for child in children) == 8
    assert max(len(child.input) for child in children) <= LIMIT_BYTES
    assert max(map(size, sent)) < MESSAGE_LIMIT_BYTES


def test_tasks_of_many_specs_hold_no_specs(tmp_path: Path) -> None:
    sent = messages(tmp_path, ["a"] * 300, per_task=100)

    assert sum(len(message) for message in sent) == 3
    assert max(map(size, sent)) < 10_000
