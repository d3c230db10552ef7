"""From an experiment's input model to a sampling file: what `scythe sample` does."""

from __future__ import annotations

from pathlib import Path

from scythe_cli.doe.drawing import draw
from scythe_cli.doe.settings import SampleOptions
from scythe_cli.doe.writing import check_target, without_refused, write_sample
from scythe_cli.model.models import ExperimentInputSpec
from scythe_cli.run.design_record import DesignName, SampleResult

__all__ = ["sample_file"]


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
    design_file = write_sample(path, drawn, model, overwrite=overwrite)
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
