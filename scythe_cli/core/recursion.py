"""The tree of scatter/gather: which rows belong to which node. Pure arithmetic, no I/O.

Rows are dealt out by grid stride: of a node's rows, child `offset` of `factor` gets every `factor`-th, beginning with
the `offset`-th. A node's rows follow from the path to it alone:

    rows of the path [(f1, o1), (f2, o2), …]  =  o1 + f1·o2 + f1·f2·o3 + … , with the step f1·f2·…
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = ["RecursionMap", "RecursionSpec"]


class RecursionSpec(BaseModel):
    """One step down the tree."""

    model_config = ConfigDict(frozen=True)

    factor: int = Field(ge=1, description="The number of children at this level.")
    offset: int | None = Field(default=None, ge=0, description="Which of them.")

    @model_validator(mode="after")
    def _check_offset(self) -> RecursionSpec:
        if self.offset is not None and self.offset >= self.factor:
            raise ValueError(f"offset {self.offset} is not below factor {self.factor}")
        return self


class RecursionMap(BaseModel):
    """The shape of the tree, and a place in it."""

    path: list[RecursionSpec] | None = Field(default=None, description="The way from the root; None for the root.")
    factor: int = Field(ge=1, description="The number of children of a node.")
    max_depth: int = Field(default=10, ge=0, le=10, description="How deep the tree may be; 0: the root runs all specs.")

    @field_validator("path", mode="before")
    @classmethod
    def _check_path(cls, path: Any) -> Any:
        if path in ([], ()):
            raise ValueError("a path has at least one step; the root's path is None")
        return path

    @property
    def depth(self) -> int:
        """How many steps from the root."""
        return len(self.path or [])

    @property
    def is_root(self) -> bool:
        """Whether this is the root."""
        return self.depth == 0

    def rows(self, n_specs: int) -> range:
        """The rows (`sort_index`) of this node, ascending.

        Args:
            n_specs: The number of specs of the run.
        """
        return rows_of(self.path or (), n_specs)

    def is_base_case(self, n_specs: int) -> bool:
        """Whether this node runs its specs itself: they are few, or the tree is deep enough."""
        return self.depth >= self.max_depth or len(self.rows(n_specs)) <= self.factor

    def children(self) -> list[RecursionMap]:
        """The nodes below this one."""
        return [
            RecursionMap(
                path=[*(self.path or []), RecursionSpec(factor=self.factor, offset=offset)],
                factor=self.factor,
                max_depth=self.max_depth,
            )
            for offset in range(self.factor)
        ]


def rows_of(path: Sequence[RecursionSpec], n_specs: int) -> range:
    """The rows that a path leads to; see the module's docstring for the formula."""
    start, step = 0, 1
    for part in path:
        start += step * (part.offset or 0)
        step *= part.factor
    return range(min(start, n_specs), n_specs, step)
