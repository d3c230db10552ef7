"""The models that an experiment's input and output are made from.

    class Building(ExperimentInputSpec):
        u_value: float = Field(ge=0.1, le=6, description="U-value of the wall [W/m2K]")
        weather: FileReference

    class Demand(ExperimentOutputSpec):
        heating_kwh: float

This module reads and writes nothing, and loads neither pandas nor a client of any service.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Callable, Sequence
from datetime import date, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import pyarrow as pa
from pydantic import AnyUrl, BaseModel, ConfigDict, Field, field_serializer, field_validator
from pydantic.json_schema import SkipJsonSchema

from scythe_cli.arrow.build import array_of
from scythe_cli.arrow.content import row_contents
from scythe_cli.arrow.seeds import row_seed
from scythe_cli.core.distribution import needs_extra
from scythe_cli.errors import (
    ExperimentIndexAdditionalDataDoesNotMatchNRowsError,
    ExperimentIndexAdditionalDataOverlapsWithSpecError,
    ExperimentIndexNotSerializableError,
)
from scythe_cli.model.columns import (
    INHERITED_EXTRA,
    SPEC_LEVELS,
    columns_of,
    extra_column,
    index_columns,
    input_columns,
)
from scythe_cli.model.file_refs import cached_path, fetch_uri
from scythe_cli.model.settings import ScytheStorageSettings

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from scythe_cli.arrow.seeds import RowSeeds


__all__ = [
    "RESERVED_TABLES",
    "BaseSpec",
    "ComputedFeatureValue",
    "ExperimentInputSpec",
    "ExperimentOutputSpec",
    "FileReferenceMixin",
]


RESERVED_TABLES = frozenset({"scalars", "result_file_refs", "errors", "warnings"})
"""Names that a user's dataframe cannot have."""

logger = logging.getLogger(__name__)

ComputedFeatureValue = int | float | str


class FileReferenceMixin(BaseModel):
    """What input and output share: which of the fields refer to files."""

    @classmethod
    def _file_reference_fields(cls) -> list[str]:
        return [name for name, column in columns_of(cls).items() if column.is_file]

    def _file_references(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self._file_reference_fields()}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def local_artifact_file_paths(self) -> dict[str, Path]:
        """The file references that are paths, by field."""
        return {name: value for name, value in self._file_references().items() if isinstance(value, Path)}

    @property
    def remote_artifact_file_paths(self) -> dict[str, Any]:
        """The file references that are URLs, by field."""
        return {name: value for name, value in self._file_references().items() if not isinstance(value, Path)}


class BaseSpec(FileReferenceMixin):
    """What belongs to a run: knows the run's `experiment_id`."""

    model_config = ConfigDict(extra=INHERITED_EXTRA, arbitrary_types_allowed=True)

    experiment_id: str = Field(default="", description="The run that the spec belongs to; set when it is allocated.")

    def local_path(self, pth: AnyUrl | str) -> Path:
        """Where `fetch_uri` puts a file: in the user's cache, apart for each run.

        Raises:
            ValueError: If the URL has no path.
        """
        return cached_path(str(pth), self.experiment_id)

    def fetch_uri(self, uri: AnyUrl | str, use_cache: bool = True) -> Path:
        """Fetch a file, once for all specs of the run.

        Args:
            uri: Where it lies.
            use_cache: Whether a copy that is there already is taken.

        Raises:
            StorageError: If it cannot be fetched.
        """
        return fetch_uri(uri, self.local_path(uri), use_cache)


class ExperimentInputSpec(BaseSpec):
    """The input of one spec. Subclass it with the fields that your function takes.

    The fields that are declared here are set by the allocation and by the engine.
    """

    sort_index: int = Field(default=0, ge=0, description="The position of the spec in its run, from 0.")
    workflow_run_id: str | None = Field(default=None, description="The id of the execution of this spec.")
    root_workflow_run_id: str | None = Field(default=None, description="The id of the execution of the whole run.")
    storage_settings: ScytheStorageSettings | None = Field(default=None, description="Where the run is kept.")

    # Not private attributes of pydantic: with these, making a spec takes twice as long. They are in the instance's
    # dictionary as the values of cached properties are: pydantic neither compares nor writes them, and only an
    # assignment to a model with `validate_assignment` drops them.

    @property
    def _original_spec(self) -> Self | None:
        """The spec as it was allocated, where this is a copy with local files; else None."""
        return vars(self).get("_original_spec")

    @_original_spec.setter
    def _original_spec(self, spec: Self | None) -> None:
        vars(self)["_original_spec"] = spec

    @property
    def _log_sink(self) -> Callable[[str], None] | None:
        """What `log` calls; None leaves it to `logging`."""
        return vars(self).get("_log_sink")

    @_log_sink.setter
    def _log_sink(self, sink: Callable[[str], None] | None) -> None:
        vars(self)["_log_sink"] = sink

    if TYPE_CHECKING:  # at runtime a property would be in the way of a field `seed` of a user's model

        @property
        def seed(self) -> int:
            """A number of 63 bits for what is random in this row; see `rng`.

            It follows from the run's seed, from what the row says, and from how many rows before it say the same. So it
            is the same on a retry, on any engine and with any number of workers, and for the same row of another run
            with the same seed. Outside of a run it is that of the first such row of a run whose seed is 0.
            """
            ...

    else:

        def __getattr__(self, name: str) -> Any:
            if name == "seed" and "seed" not in (self.__pydantic_extra__ or ()):
                return self._row_seed()
            return super().__getattr__(name)

    def rng(self) -> np.random.Generator:
        """A new generator of random numbers that begins with `seed`: each call gives the same numbers again."""
        import numpy as np

        return np.random.default_rng(self._row_seed())

    def _row_seed(self) -> int:
        """What `seed` is, unless the model has a field of this name."""
        seeds: RowSeeds | int | None = vars(self).get("_seeds")
        if seeds is None:
            told = self.storage_settings.ROW_SEED if self.storage_settings is not None else None
            return int(told) if told is not None and told.isdecimal() else _seed_outside_of_runs(self)
        return seeds if isinstance(seeds, int) else seeds.of(self.sort_index)

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        if "_seeds" in state["__dict__"]:
            # they are of many rows, and one is enough for another process
            state = {**state, "__dict__": {**state["__dict__"], "_seeds": self._row_seed()}}
        return state

    @property
    def computed_features(self) -> dict[str, ComputedFeatureValue]:
        """Values derived from the fields, which become index levels after them; override to add some.

        It sees the spec as it was allocated: file references are the uploaded ones.
        """
        return {}

    def log(self, message: object) -> None:
        """Write a line to the spec's log: `scythe logs RUN --row N` shows it."""
        if self._log_sink is None:
            logger.info("%s", message)
        else:
            self._log_sink(str(message))

    @property
    def prefix(self) -> str:
        """The run's key in the bucket, with the bucket's prefix.

        Raises:
            ValueError: If the spec has no storage settings.
        """
        if self.storage_settings is None:
            raise ValueError("storage_settings is not set, so there is no key")
        return f"{self.storage_settings.BUCKET_PREFIX}/{self.experiment_id}"

    def make_multiindex(
        self,
        additional_index_data: dict[str, Any] | list[dict[str, Any]] | None = None,
        n_rows: int = 1,
        include_sort_subindex: bool = True,
        additional_excludes: frozenset[str] = frozenset(),
    ) -> pd.MultiIndex:
        """Make the pandas index of a table that this spec produces.

        Args:
            additional_index_data: Further levels: one value for all rows, or a dict for each row.
            n_rows: The number of rows of the table; may be 0.
            include_sort_subindex: Whether a table of more than one row gets the level `sort_subindex`.
            additional_excludes: Names of fields to leave out.

        Returns:
            An index of `n_rows` rows: the spec's own levels, its input fields but for references to files (those of
            nested models with dotted names), its computed features, the additional levels, and `sort_subindex`.

        Raises:
            ExperimentIndexAdditionalDataDoesNotMatchNRowsError: If the list has not `n_rows` entries.
            ExperimentIndexAdditionalDataOverlapsWithSpecError: If a name is taken.
            ExperimentIndexNotSerializableError: If a value cannot be written as JSON.
        """
        with needs_extra("pandas", "an index of pandas"):
            import pandas as pd
        if isinstance(additional_index_data, list) and len(additional_index_data) != n_rows:
            raise ExperimentIndexAdditionalDataDoesNotMatchNRowsError(n_rows, additional_index_data)
        try:
            levels = self.index_values(additional_excludes)
        except ValueError as error:
            raise ExperimentIndexNotSerializableError(type(self)) from error
        original = self if self._original_spec is None else self._original_spec
        _add_levels(levels, original.computed_features)
        if isinstance(additional_index_data, dict):
            _add_levels(levels, additional_index_data)
        rows = [dict(levels) for _ in range(n_rows)]
        if isinstance(additional_index_data, list):
            for row, data in zip(rows, additional_index_data, strict=True):
                _add_levels(row, data)
        if include_sort_subindex and n_rows > 1:
            for subindex, row in enumerate(rows):
                _add_levels(row, {"sort_subindex": subindex})
        try:
            json.dumps(rows, default=_moment)
        except (TypeError, ValueError) as error:
            raise ExperimentIndexNotSerializableError(type(self)) from error
        names = dict.fromkeys(name for row in rows or [levels] for name in row)
        return pd.MultiIndex.from_frame(pd.DataFrame(rows, columns=list(names)))

    def index_values(self, excludes: frozenset[str] = frozenset()) -> dict[str, Any]:
        """The spec's own levels and its inputs that are levels of the index, without computed features.

        Args:
            excludes: Names of fields and levels to leave out.

        Raises:
            ValueError: If a value cannot be written as JSON.
        """
        original = self if self._original_spec is None else self._original_spec
        columns = [
            column
            for column in index_columns(type(self))
            if column.name not in excludes and column.name.partition(".")[0] not in excludes
        ]
        fields = {*SPEC_LEVELS, *(column.name.partition(".")[0] for column in columns)} - excludes
        dumped = original.model_dump(mode="json", include=fields, by_alias=False, warnings=False)
        values = {name: dumped[name] for name in SPEC_LEVELS if name in dumped}
        for column in columns:
            is_kept = pa.types.is_temporal(column.type) and not column.is_json
            # what pydantic writes of other values is what the tables hold
            values[column.name] = _part(vars(original) if is_kept else dumped, column.name.split("."))
        return values

    def construct_output_key(self, field_name: str, fpath: Path) -> str:
        """The key of an output file, below the storage: `<experiment_id>/results/<field>/<id>.<ext>`.

        Args:
            field_name: The output field.
            fpath: The file that the function wrote; only its suffix is used.
        """
        return f"{self.experiment_id}/results/{field_name}/{self.result_stem}{fpath.suffix}"

    @property
    def result_stem(self) -> str:
        """The name, without suffix, of this spec's output files."""
        return self.workflow_run_id or f"{self.sort_index:08d}"


def _seed_outside_of_runs(spec: ExperimentInputSpec) -> int:
    original = spec if spec._original_spec is None else spec._original_spec  # pyright: ignore[reportPrivateUsage]
    extra = original.model_extra or {}
    columns = [*input_columns(type(original)), *map(extra_column, extra)]
    values = {**vars(original), **extra}  # an attribute of a plain function's spec need not be the field of its name
    cells = [(column, values[column.name]) for column in columns]
    arrays = [column.array([_content_of(value) if column.is_file else value]) for column, value in cells]
    # a table without columns has no rows
    arrays.append(array_of([0], pa.int64()))
    names = [*(column.name for column in columns), "sort_index"]
    return row_seed(0, int(row_contents(pa.table(arrays, names=names), leave_out=SPEC_LEVELS)[0]), 0)


def _content_of(reference: object) -> object:
    """What the reference to a file counts as: the beginning of the hash of a file that is at hand."""
    if isinstance(reference, Path) and reference.is_file():
        with reference.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return reference


def _moment(value: object) -> str:
    """A date, time or duration as text; all else that JSON has not is none of an index."""
    if isinstance(value, (date, time, timedelta)):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be a value of an index")


def _part(value: Any, path: Sequence[str]) -> Any:
    """What is below a model, or what pydantic wrote of one; None where there is nothing."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else getattr(value, name, None)
    return value


def _add_levels(levels: dict[str, Any], more: dict[str, Any]) -> None:
    taken = [name for name in more if name in levels]
    if taken:
        raise ExperimentIndexAdditionalDataOverlapsWithSpecError(taken)
    levels.update(more)


class ExperimentOutputSpec(FileReferenceMixin):
    """The output of one spec. Subclass it with the scalars and files that your function produces.

    Attributes:
        dataframes: Tables of any number of rows, by name; pandas, Polars or Arrow.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    dataframes: SkipJsonSchema[dict[str, Any]] = Field(default_factory=dict, description="Tables, by name.")

    _frame_modules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("pandas", "DataFrame"),
        ("pandas", "Series"),
        ("polars", "DataFrame"),
        ("polars", "LazyFrame"),
        ("polars", "Series"),
        ("numpy", "ndarray"),
        ("pyarrow", "Table"),
        ("pyarrow", "RecordBatch"),
    )

    @field_validator("dataframes", mode="before")
    @classmethod
    def _read_dataframes(cls, frames: Any) -> Any:
        """Tables that were written as JSON, or lie in a file, as tables again."""
        if not isinstance(frames, dict) or not any(isinstance(frame, (dict, str)) for frame in frames.values()):
            return frames
        from scythe_cli.arrow.frame_json import frame_of

        return {name: frame_of(frame) for name, frame in cast("dict[Any, Any]", frames).items()}

    @field_validator("dataframes")
    @classmethod
    def _check_dataframes(cls, frames: dict[str, Any]) -> dict[str, Any]:
        # a frame can only come from a library that is loaded already
        found = (getattr(sys.modules.get(module), name, None) for module, name in cls._frame_modules)
        kinds = tuple(kind for kind in found if kind is not None)
        for name, frame in frames.items():
            if not isinstance(frame, kinds):
                raise ValueError(f"{name!r} is a {type(frame).__name__}, not a pandas, Polars or Arrow table")
        return frames

    @field_serializer("dataframes", when_used="json")
    def _write_dataframes(self, frames: dict[str, Any]) -> dict[str, Any]:
        from scythe_cli.arrow.frame_json import frame_to_json

        return {name: frame_to_json(frame) for name, frame in frames.items()}
