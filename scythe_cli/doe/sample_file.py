"""From an experiment's input model to a sampling file: what `scythe sample` does.

The file is checked as `scythe validate` checks it, then written as a whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import file_digest
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import polars as pl
import polars.selectors as cs
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from scythe_cli.core.files import sync_file, sync_names
from scythe_cli.doe.domains import Leaf, leaves_of
from scythe_cli.doe.drawing import Drawn, draw, only_rows
from scythe_cli.doe.rows import MAX_ROWS
from scythe_cli.doe.settings import SampleOptions
from scythe_cli.errors import SamplingFileError, UsageError
from scythe_cli.model.columns import REPLICATE
from scythe_cli.model.models import ExperimentInputSpec
from scythe_cli.run.design_record import DESIGN_KEY, DesignName, SampleResult, sidecar_of
from scythe_cli.run.manifest import dump_yaml
from scythe_cli.sampling.field_names import find_field
from scythe_cli.sampling.problems import BadCellsError
from scythe_cli.sampling.reading import read_sampling_file
from scythe_cli.sampling.replicates import replicate_numbers
from scythe_cli.storage.atomic_files import TEMP_PREFIX, atomic_file, storage_errors

__all__ = ["accepted_rows", "check_target", "sample_file", "with_replicates", "without_refused", "write_drawn"]


_SUFFIXES = (".csv", ".parquet", ".pq")


pc: Any = pyarrow.compute  # its stubs do not know the types that its functions take


def sample_file(
    path: Path,
    experiment: str,
    model: type[ExperimentInputSpec],
    design: DesignName,
    *,
    n: int | None = None,
    seed: int | None = None,
    options: SampleOptions | None = None,
    overwrite: bool = False,
    drop_refused: bool = False,
) -> SampleResult:
    """Make a sampling file.

    Args:
        path: The file, CSV or Parquet by its ending.
        experiment: The experiment's name.
        model: Its input model.
        design: The design; see `scythe_cli.doe.drawing.draw`.
        n: The number of rows.
        seed: For random designs; drawn unless given.
        options: What is said of single fields.
        overwrite: Whether a file of that name is replaced.
        drop_refused: Whether rows that the model refuses are left out.

    Raises:
        UsageError: If what was asked for cannot be, or the file is there.
        SamplingFileError: If the model refuses rows.
        StorageError: If the file cannot be written.
    """
    check_target(path, overwrite=overwrite)
    drawn = draw(
        model,
        design,
        n=n,
        seed=seed,
        options=options,
        experiment=experiment,
        to_folder=path.absolute().parent,
    )
    if drop_refused:
        drawn = without_refused(drawn, model)
    drawn = with_replicates(drawn, model, 1 if options is None else options.replicates)
    return write_drawn(path, experiment, drawn, model, overwrite=overwrite)


def write_drawn(
    path: Path, experiment: str, drawn: Drawn, model: type[ExperimentInputSpec], *, overwrite: bool
) -> SampleResult:
    """Write a sampling table with its record, if the model takes all of its rows; see `sample_file`."""
    design_file = _write_sample(path, drawn, model, overwrite=overwrite)
    return SampleResult(
        file=str(path),
        design_file=None if design_file is None else str(design_file),
        experiment=experiment,
        n_specs=drawn.record.rows,
        columns=drawn.table.column_names,
        design=drawn.record,
        quality=drawn.quality,
        notices=drawn.notices,
    )


def check_target(path: Path, *, overwrite: bool) -> None:
    """Check that a sampling file can have this name.

    Raises:
        UsageError: If it is there already, or its ending is none of a sampling file.
    """
    if path.suffix.lower() not in _SUFFIXES:
        actual = f"its ending is {path.suffix!r}" if path.suffix else "it has no ending"
        raise UsageError(f"{path}: {actual}", hint=f"Sampling files end in {', '.join(_SUFFIXES)}.")
    if path.is_dir():
        raise UsageError(f"{path} is a folder, not a file")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} already exists", hint="Choose another name, or replace it with --overwrite.")


def _write_sample(
    path: Path, drawn: Drawn, model: type[ExperimentInputSpec], *, overwrite: bool = False
) -> Path | None:
    """Write a sampling table with its record, if the model takes all of its rows.

    Args:
        path: The file; CSV or Parquet by its ending.
        drawn: The table and its record.
        model: The input model.
        overwrite: Whether a file of that name is replaced.

    Returns:
        The file beside a CSV file that holds the record; None for Parquet, which holds it itself.

    Raises:
        UsageError: If the file is there already.
        SamplingFileError: If the model refuses rows; nothing is written.
        StorageError: If the file cannot be written.
    """
    check_target(path, overwrite=overwrite)
    is_csv = path.suffix.lower() == ".csv"
    with storage_errors("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _unfinished(path) as temporary:
            if is_csv:
                _write_csv(temporary, drawn.table)
            else:
                _write_parquet(temporary, drawn)
            _check(temporary, path, model)
            if not is_csv:
                _into_place(temporary, path, overwrite=overwrite)
                return None
            with temporary.open("rb") as file:
                record = drawn.record.model_copy(update={"file_sha256": file_digest(file, "sha256").hexdigest()})
            _into_place(temporary, path, overwrite=overwrite)
            with atomic_file(sidecar_of(path)) as file:
                file.write(dump_yaml(record.model_dump(mode="json", exclude_defaults=True)))
    return sidecar_of(path)


@contextmanager
def _unfinished(path: Path) -> Generator[Path]:
    """A name beside the file, for the file until it is whole; it is gone afterwards."""
    temporary = path.with_name(f"{TEMP_PREFIX}{uuid4().hex[:16]}{path.suffix}")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _into_place(temporary: Path, path: Path, *, overwrite: bool) -> None:
    with temporary.open("rb+") as file:
        sync_file(file.fileno())
    _rename(temporary, path, overwrite=overwrite)
    sync_names(path.parent)


def _rename(temporary: Path, path: Path, *, overwrite: bool) -> None:
    if overwrite:
        temporary.replace(path)
        return
    try:
        # unlike a renaming, a link replaces no file that has come in between
        path.hardlink_to(temporary)
    except FileExistsError:
        raise UsageError(f"{path} already exists", hint="Replace it with --overwrite.") from None
    except OSError:  # a file system without links
        temporary.replace(path)


def _write_parquet(path: Path, drawn: Drawn) -> None:
    table = drawn.table.replace_schema_metadata({DESIGN_KEY: drawn.record.to_json()})
    pq.write_table(table, path, compression="zstd")


def _write_csv(path: Path, table: pa.Table) -> None:
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_string(column.type) and pc.any(pc.equal(column, "")).as_py():
            raise UsageError(
                f"{name}: CSV cannot tell an empty text from a missing value",
                hint="Write Parquet instead, or leave that value out.",
            )
    frame: Any = pl.from_arrow(table)
    # what CSV has no form for: dates and durations as ISO 8601
    frame = frame.with_columns(cs.temporal().dt.to_string("iso:strict"))
    frame.write_csv(path)


def _check(temporary: Path, path: Path, model: type[ExperimentInputSpec]) -> None:
    """Check the file as `scythe validate` does."""
    hint = "Narrow the ranges with --set, state the rule with --where, or leave such rows out with --drop-refused."
    try:
        read_sampling_file(temporary, model)
    except BadCellsError as error:
        problems = [replace(problem, label=f"row {problem.row}") for problem in error.problems]
        raise BadCellsError(path, problems, error.n_problems, hint=error.hint or hint) from None
    except SamplingFileError as error:
        raise SamplingFileError(error.message.replace(str(temporary), str(path)), hint=error.hint) from None


def without_refused(drawn: Drawn, model: type[ExperimentInputSpec]) -> Drawn:
    """Leave out the rows that the model refuses by rules that its bounds do not tell, such as `a < b`.

    Of `saltelli`, the same row of every block goes with them.

    Raises:
        UsageError: If no row is left.
    """
    accepted = accepted_rows(drawn.table, model)
    blocks = drawn.record.blocks
    if drawn.record.design == "saltelli":
        accepted = np.tile(accepted.reshape(len(blocks), -1).all(axis=0), len(blocks))
    n_dropped = int((~accepted).sum())
    if not n_dropped:
        return drawn
    if not accepted.any():
        raise UsageError("the model rejects every row", hint="Without --drop-refused, the reasons are shown.")
    notice = f"{n_dropped:,} of {len(accepted):,} rows are left out, because the model rejects them"
    return replace(only_rows(drawn, accepted, dropped=n_dropped), notices=[*drawn.notices, notice])


def with_replicates(drawn: Drawn, model: type[ExperimentInputSpec], replicates: int) -> Drawn:
    """Each case several times: the first replicate of all cases, then the second, as `allocate --replicates` has them.

    Args:
        drawn: The cases.
        model: The input model.
        replicates: How often.

    Raises:
        UsageError: If the number cannot be, or the model has a field of the name of the column that tells them apart.
    """
    if replicates == 1:
        return drawn
    if replicates < 1:
        raise UsageError(f"replicates is {replicates}; it must be at least 1")
    if find_field(model, REPLICATE)[0] is not None:
        raise UsageError(f"{model.__name__} has a field {REPLICATE}, which is what the number of a replicate is called")
    rows = drawn.table.num_rows * replicates
    if rows > MAX_ROWS:
        raise UsageError(f"{rows:,} rows are more than {MAX_ROWS:,}: {drawn.table.num_rows:,} cases × {replicates:,}")
    table = pa.concat_tables([drawn.table] * replicates).combine_chunks()
    table = table.append_column(REPLICATE, pa.array(replicate_numbers(table), pa.int64()))
    record = drawn.record.model_copy(update={"rows": rows, "replicates": replicates})
    return replace(drawn, table=table, record=record)


def accepted_rows(table: pa.Table, model: type[ExperimentInputSpec]) -> Any:
    """Which rows a model takes, as an array of flags."""
    from pydantic import ValidationError

    validate = model.__pydantic_validator__.validate_python
    names = [name.split(".") for name in table.column_names]
    plain = {leaf.name for leaf in leaves_of(model) if leaf.column.is_file or _is_plain(leaf)}
    for place, name in enumerate(table.column_names):
        if name not in plain and pa.types.is_string(table.schema.field(place).type):
            table = table.set_column(place, name, table.column(place).cast(pa.binary()))  # what holds JSON
    accepted = np.ones(table.num_rows, np.bool_)
    position = 0
    for batch in table.to_batches(max_chunksize=20_000):
        for cells in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            row: dict[str, Any] = {}
            for parts, text in zip(names, cells, strict=True):
                cell = _from_json(text) if isinstance(text, bytes) else text
                inner = row
                for part in parts[:-1]:
                    inner = inner.setdefault(part, {})
                inner[parts[-1]] = cell
            try:
                validate(row, strict=False, by_alias=True, by_name=True)
            except ValidationError:
                accepted[position] = False
            position += 1
    return accepted


def _is_plain(leaf: Leaf) -> bool:
    return leaf.column.is_scalar and not leaf.column.is_json


def _from_json(text: bytes) -> Any:
    """The value that a text means, as a cell of a sampling file does; a text that is no JSON is itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text.decode()
