"""A surrogate that is kept with a run: parameters as JSON and cases as Parquet, of which the same model comes again."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import polars as pl

from scythe_cli.analysis.surrogate.assessing import Assessment
from scythe_cli.analysis.surrogate.fitting import Fit, Learned, one_thread, rebuilt
from scythe_cli.analysis.surrogate.space import Space
from scythe_cli.errors import NotFoundError, StorageError, UsageError
from scythe_cli.run.layout import RunLayout
from scythe_cli.storage.base import MissingKeyError, Storage

__all__ = ["ExtrapolationWarning", "Surrogate", "read_surrogate", "write_surrogate"]


_FORM = 2
_MAX_SHOWN = 5


class ExtrapolationWarning(UserWarning):
    """Predictions are asked for outside of what the cases cover."""


@dataclass(frozen=True)
class Surrogate:
    """Predicts the outputs of an experiment, as far as the cases of a study tell.

    Attributes:
        space: The fields that varied.
        fits: A model of each output.
        errors: What each output's held-out cases were off by, root mean square.
    """

    space: Space
    fits: Mapping[str, Fit]
    errors: Mapping[str, float]

    @property
    def fields(self) -> list[str]:
        """The columns that it needs."""
        return self.space.names

    @property
    def outputs(self) -> list[str]:
        """The outputs that it predicts."""
        return list(self.fits)

    def __repr__(self) -> str:
        return f"<surrogate of {', '.join(self.outputs)} over {', '.join(self.fields)}>"

    def predict(self, frame: Any) -> pl.DataFrame:
        """Predict outputs.

        Args:
            frame: A table of pandas, Polars or Arrow, a list of dicts or a dict of columns, with the fields that
                varied; other columns are passed over.

        Returns:
            A row for each: a column for each output, one `<output>.error` with the standard deviation that the
            prediction is thought to have, and `outside`: whether the row lies outside of what the cases cover, which
            is warned of as well.

        Raises:
            UsageError: If a field is missing.
        """
        columns = _columns(frame, self.fields)
        outside = self._outside(columns)
        x = self.space.of_columns(columns)
        made: dict[str, Any] = {}
        with one_thread():
            for name, fit in self.fits.items():
                means, deviations = fit.predict(x)
                made[name], made[f"{name}.error"] = means, deviations
        if outside.any():
            n = int(outside.sum())
            rows = ", ".join(map(str, np.flatnonzero(outside)[:_MAX_SHOWN])) + (", …" if n > _MAX_SHOWN else "")
            said = "1 row lies" if n == 1 else f"{n:,} rows lie"
            warnings.warn(
                f"{said} outside of what the cases cover, where predictions are worth little: {rows}",
                ExtrapolationWarning,
                stacklevel=2,
            )
        return pl.DataFrame({**made, "outside": outside})

    def _outside(self, columns: Mapping[str, Sequence[Any]]) -> npt.NDArray[np.bool_]:
        return self.space.outside(columns)


def _columns(frame: Any, fields: Sequence[str]) -> dict[str, list[Any]]:
    kind = type(frame).__module__.partition(".")[0]
    if isinstance(frame, Mapping):
        given: Any = {str(k): list(v) for k, v in cast("Mapping[Any, Any]", frame).items()}
    elif kind == "polars":
        collected: Any = frame.collect() if isinstance(frame, pl.LazyFrame) else frame
        given = collected.to_dict(as_series=False)
    elif kind == "pandas":
        flat: Any = frame.reset_index() if any(n in frame.index.names for n in fields) else frame
        given = {str(name): flat[name].tolist() for name in flat.columns}
    elif kind == "pyarrow":
        given = frame.to_pydict()
    else:
        rows: list[Mapping[str, Any]] = list(frame)
        given = {name: [row[name] for row in rows] for name in fields if all(name in row for row in rows)}
    missing = [name for name in fields if name not in given]
    if missing:
        raise UsageError(f"the table has no column {', '.join(missing)}", hint=f"It needs {', '.join(fields)}.")
    return {name: given[name] for name in fields}


def write_surrogate(storage: Storage, run: RunLayout, found: Assessment) -> None:
    """Keep what was learned from the cases of a run.

    Raises:
        StorageError: If it cannot be written.
    """
    usable = found.cases.usable
    points = [point for point, flag in zip(found.cases.points, usable, strict=True) if flag]
    if not points:
        return
    columns: dict[str, Any] = {name: [point[name] for point in points] for name in found.cases.space.names}
    for name, fit in found.fits.items():
        columns[f"output:{name}"] = fit.y
        columns[f"error:{name}"] = fit.errors
    buffer = io.BytesIO()
    pl.DataFrame(columns, strict=False).write_parquet(buffer)
    storage.write_bytes(run.study("surrogate.pq"), buffer.getvalue())
    document = {
        "form": _FORM,
        "space": found.cases.space.to_json(),
        "outputs": {name: fit.learned.to_json() for name, fit in found.fits.items()},
        "versions": _versions(),
    }
    storage.write_bytes(run.study("surrogate.json"), json.dumps(document, indent=1).encode())


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("scythe-experiments", "numpy", "scipy", "scikit-learn")}


def read_surrogate(storage: Storage, run: RunLayout) -> Surrogate:
    """The surrogate of a run, refitted from what is kept: it predicts the same as when it was made.

    Raises:
        NotFoundError: If the run has none.
        StorageError: If what is kept cannot be read.
    """
    try:
        document: Any = json.loads(storage.read_bytes(run.study("surrogate.json")))
        data = storage.read_bytes(run.study("surrogate.pq"))
    except MissingKeyError:
        raise NotFoundError(
            f"{run.experiment_id} has no surrogate",
            hint="A study makes one: `scythe study NAME`, with a target such as 'rmse <= 1%'.",
        ) from None
    except ValueError:
        raise StorageError(f"{storage.uri(run.study('surrogate.json'))} is no JSON") from None
    form = document.get("form") if isinstance(document, dict) else None
    if isinstance(form, int) and form > _FORM:
        raise StorageError(
            f"the surrogate of {run.experiment_id} was written by a newer version of scythe",
            hint="Install a newer version: `pip install --upgrade scythe-experiments`.",
        )
    try:
        space = Space.from_json(document["space"])
        frame = pl.read_parquet(io.BytesIO(data))
        x = space.of_columns({name: frame[name].to_list() for name in space.names})
        fits: dict[str, Fit] = {}
        with one_thread():
            for name, learned in document["outputs"].items():
                y = frame[f"output:{name}"].to_numpy().astype(np.float64)
                errors = frame[f"error:{name}"].to_numpy().astype(np.float64)
                fits[name] = rebuilt(Learned.from_json(learned), x, y, errors, space.groups)
    except (KeyError, TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise StorageError(f"the surrogate of {run.experiment_id} cannot be read: {error}") from error
    return Surrogate(space, fits, {name: float(np.sqrt((fit.errors**2).mean())) for name, fit in fits.items()})
