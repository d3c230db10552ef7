"""A sampling file, read and checked: text from CSV, typed values from Parquet, then every cell against the model."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from scythe_cli.arrow.build import integer_cells, numbers
from scythe_cli.core.names import is_sampling_name
from scythe_cli.errors import MissingFileError, SamplingFileError, StorageError, first_line
from scythe_cli.model.models import ExperimentInputSpec
from scythe_cli.run.design_record import DESIGN_KEY, DesignRecord, sidecar_of
from scythe_cli.sampling.field_values import ROUND_TRIP_HINT, round_trip_problem, rows_to_try
from scythe_cli.sampling.file_columns import FieldColumn, RawFile, Source, check_names
from scythe_cli.sampling.file_validator import FileValidator, ValidateAll, ValidationResult

if TYPE_CHECKING:
    import numpy as np

    from scythe_cli.model.experiment import RegisteredExperiment
    from scythe_cli.run.chain.records import Upstream

__all__ = [
    "Helpers",
    "ReadOptions",
    "SamplingTable",
    "near_file",
    "read_design",
    "read_raw",
    "read_sampling_file",
]


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What a sampling file does not say of itself.

    Attributes:
        ignore_columns: Columns to leave out, by name or pattern (`*` stands for anything).
        encoding: How the characters of a text file are written; from its first bytes, else UTF-8, unless given.
        units_row: Whether the row below the header holds units.
    """

    ignore_columns: Sequence[str] = ()
    encoding: str | None = None
    units_row: bool = False


_MAX_LISTED = 1_000


def near_file(path: Path) -> str | None:
    """What to say of a file that is not there: a sampling file of nearly that name, or those that there are."""
    import difflib
    from itertools import islice

    folder = path.parent
    if not folder.is_dir():
        return f"There is no folder {folder} either."
    entries = sorted(islice(folder.iterdir(), _MAX_LISTED))
    names = [entry.name for entry in entries if is_sampling_name(entry.name) and entry.is_file()]
    close = difflib.get_close_matches(path.name, names, n=1)
    near = [name for name in names if Path(name).stem == path.stem]
    shown = close or near[:1]
    if shown:
        return f"Did you mean {folder / shown[0]}?"
    if names:
        return f"There are: {', '.join(str(folder / name) for name in names[:6])}."
    return "`scythe sample -o FILE` makes one from the bounds of an experiment's inputs."


def read_raw(file: str | Path, options: ReadOptions | None = None) -> RawFile:
    """Read a sampling file.

    Args:
        file: Its path or URL; `-` for standard input.
        options: What it does not say of itself.

    Raises:
        MissingFileError: If there is no such file.
        SamplingFileError: If it is no table with at least one case.
    """
    # what reads files costs imports that only this call needs
    from scythe_cli.sampling.files.formats import read_located
    from scythe_cli.sampling.files.places import located, shown_name

    options = options or ReadOptions()
    shown = shown_name(file)
    try:
        with located(file) as local:
            raw = read_located(local, encoding=options.encoding, units_row=options.units_row)
    except FileNotFoundError:
        raise MissingFileError(f"{shown}: there is no such file", hint=near_file(Path(file))) from None
    except PermissionError:
        raise SamplingFileError(f"{shown}: no permission to read it") from None
    except OSError as error:
        raise SamplingFileError(f"{shown}: cannot be read: {first_line(error)}") from error
    check_names(raw.path, raw.names)
    if raw.n_rows == 0 and not raw.problems:
        raise SamplingFileError(f"{shown}: it has no cases", hint="A case is a row below the header.")
    return raw


@dataclass(frozen=True, slots=True)
class Helpers:
    """Processes that may be started to validate rows.

    Attributes:
        experiment: The experiment whose input model validates.
        root: The project's folder, from which its module is imported.
        n: How many there may be beside this process.
        worth_s: One is started for so many seconds of work; it takes most of a second to start.
    """

    experiment: RegisteredExperiment[Any, Any]
    root: Path | None
    n: int
    worth_s: float = 2.0


@dataclass(frozen=True)
class SamplingTable:
    """The cases of a sampling file.

    Attributes:
        path: The file.
        inputs: One row per case, in the order of the file, with the schema of `input_columns(model)`; validated, with
            defaults filled in. If the model has no fields of its own, a lone column `sort_index`.
        defaulted: The fields that the file lacks and that take their default.
        ignored: The reserved columns that the file has, which are left out.
        row_label: Where a case is in the file: `line 18` (CSV; the header is line 1) or `row 17` (Parquet; from 0).
        source: What the file is called; secrets of a URL are left out.
        notices: What there is to tell of the file, a line each.
        is_local: Whether the path is one of this machine.
        upstream: The run that the cases were made from; None for a file.
        replicates: How often the file has each case, where a column tells so; 1 otherwise.
    """

    path: Path
    inputs: pa.Table
    defaulted: list[str]
    ignored: list[str]
    row_label: Callable[[int], str]
    source: str = ""
    notices: list[str] = field(default_factory=list[str])
    is_local: bool = True
    upstream: Upstream | None = None
    replicates: int = 1

    def taken(self, rows: np.ndarray[Any, np.dtype[np.int64]]) -> SamplingTable:
        """Some of the cases, by their positions, under the names that the file gives them."""
        label = self.row_label

        def chosen(row: int) -> str:
            return label(int(rows[row]))

        inputs = self.inputs.take(numbers(rows, pa.int64()))
        upstream = None if self.upstream is None else self.upstream.taken(rows)
        return replace(self, inputs=inputs, row_label=chosen, upstream=upstream)

    @property
    def base_dir(self) -> Path:
        """The folder of the file; the working directory for one that is not on this machine."""
        return self.path.absolute().parent


def read_sampling_file(
    path: str | Path,
    model: type[ExperimentInputSpec],
    *,
    experiment: str | None = None,
    options: ReadOptions | None = None,
    helpers: Helpers | None = None,
    raw: RawFile | None = None,
) -> SamplingTable:
    """Read a sampling file and check all of it.

    Args:
        path: The file: its path or URL, or `-` for standard input.
        model: The input model of the experiment.
        experiment: The experiment's name, for messages; without it they name the model.
        options: What the file does not say of itself.
        helpers: Processes that may help where rows have to be validated one by one.
        raw: What `read_raw` has read of the file already.

    Raises:
        SamplingFileError: If the file cannot be read or its columns do not fit the model.
        BadCellsError: If cells are bad: a SamplingFileError that has them as data as well.
    """
    options = options or ReadOptions()
    raw = raw or read_raw(path, options)
    # what a validator prints must not get into the output of a command
    with contextlib.redirect_stdout(sys.stderr):
        validator = FileValidator(raw, model, ignore=options.ignore_columns, experiment=experiment)
        match = validator.match
        rows = rows_to_try(raw.n_rows, [_first_missing(source) for source in match.sources.values()])
        inputs = validator.validate(_validate_all_with(helpers))
        problem = round_trip_problem(model, inputs.take(rows), lambda row: raw.row_label(rows[row].as_py()))
    if problem is not None:
        raise SamplingFileError(f"{raw.path}: {problem}", hint=ROUND_TRIP_HINT)
    notices: list[str] = []
    if raw.notices:
        notices.append(f"{raw.path} was read {', '.join(raw.notices)}")
    if match.skipped:
        notices.append(f"ignored columns: {', '.join(match.skipped)}")
    changes = validator.problems.changes
    notices += [f"{c.name}: {what}" for c in validator.columns for what in sorted(changes.get(c.name, ()))]
    from scythe_cli.sampling.files.places import is_elsewhere

    replicates = 1
    if match.replicate is not None:
        from scythe_cli.sampling.replicates import check_replicates

        replicates = check_replicates(raw, match.replicate, inputs)
    elsewhere = is_elsewhere(path)
    return SamplingTable(
        Path(Path(str(raw.path)).name) if elsewhere else Path(path),
        inputs,
        match.defaulted,
        match.ignored,
        raw.row_label,
        source=str(raw.path) if elsewhere else Path(path).name,
        notices=notices,
        is_local=not elsewhere,
        replicates=replicates,
    )


def _validate_all_with(helpers: Helpers | None) -> ValidateAll | None:
    """What validates the pieces of a file with some processes; None without any."""
    if helpers is None or helpers.n < 1:
        return None

    def validate_all(validator: FileValidator, position: int | None) -> Iterator[ValidationResult]:
        # only where rows are many does it pay to load what starts processes
        from scythe_cli.sampling.sharing import validate_shared

        return validate_shared(
            validator, position, helpers.experiment, helpers.root, n_helpers=helpers.n, worth_s=helpers.worth_s
        )

    return validate_all


def _first_missing(source: Source) -> int:
    """The first row without a cell; -1 if there is none."""
    if isinstance(source, FieldColumn) and source.cells.null_count:
        # not pc.index: a scalar costs the import of pandas
        rows = pc.indices_nonzero(source.cells.is_null()).slice(0, 1)
        return int(integer_cells(rows.cast(pa.int64()))[0])
    return -1


def read_design(path: Path) -> tuple[DesignRecord | None, str | None]:
    """Read the record of a sampling file.

    Args:
        path: A sampling file that can be read.

    Returns:
        The record, None when there is none or the file is no longer what it describes; and what to tell the user.
    """
    if not path.is_file():
        return None, None  # it came from elsewhere
    with path.open("rb") as file:
        is_parquet = file.read(4) == b"PAR1"
    return _from_parquet(path) if is_parquet else _from_sidecar(path)


def _from_sidecar(path: Path) -> tuple[DesignRecord | None, str | None]:
    from scythe_cli.run.manifest import load_yaml

    sidecar = sidecar_of(path)
    try:
        data = sidecar.read_bytes()
    except FileNotFoundError:
        return None, None
    except OSError as error:
        return None, f"{sidecar.name} cannot be read ({error.strerror}), so the run does not know its design"
    try:
        record = DesignRecord.model_validate(load_yaml(data, sidecar.name))
    except (StorageError, ValidationError):
        return None, f"{sidecar.name} is not a record of a design, and is ignored"
    with path.open("rb") as file:
        same = record.file_sha256 in (None, file_digest(file, "sha256").hexdigest())
    if not same:
        return None, f"{path.name} has changed since it was sampled, so {sidecar.name} is ignored"
    return record, None


def _from_parquet(path: Path) -> tuple[DesignRecord | None, str | None]:
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        footer: Any = pq.ParquetFile(file)
        metadata: dict[bytes, bytes] = footer.schema_arrow.metadata or {}
        n_rows, names = int(footer.metadata.num_rows), set(footer.schema_arrow.names)
    if DESIGN_KEY not in metadata:
        return None, None
    try:
        record = DesignRecord.model_validate(json.loads(metadata[DESIGN_KEY]))
    except ValueError:  # JSON's errors and pydantic's are both
        return None, f"the design in the metadata of {path.name} cannot be read, and is ignored"
    columns = {*(field.name for field in record.fields), *record.fixed}
    if n_rows != record.rows or not columns <= names:
        return None, f"{path.name} has changed since it was sampled, so its design is ignored"
    return record, None
