"""Tables inside of JSON: in the form of pandas' `orient="tight"`, with the types of columns and levels beside it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from scythe_cli.core.distribution import needs_extra

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["frame_from_json", "frame_of", "frame_to_json"]


_KEYS = frozenset({"index", "columns", "data", "index_names", "column_names"})


def _pandas():
    with needs_extra("pandas", "a table in JSON"):
        import pandas
    return pandas


def frame_to_json(frame: Any) -> dict[str, Any]:
    """Write a table, of pandas, Polars, Arrow or NumPy, as what JSON can hold."""
    from pydantic_core import to_jsonable_python

    table = _as_pandas(frame)
    tight = table.to_dict(orient="tight")
    levels = [table.index.get_level_values(n) for n in range(table.index.nlevels)]
    tight["dtypes"] = [str(table.dtypes.iloc[n]) for n in range(table.shape[1])]
    tight["index_dtypes"] = [str(level.dtype) for level in levels]
    return cast("dict[str, Any]", to_jsonable_python(_plain(tight), inf_nan_mode="constants"))


def frame_from_json(written: Mapping[str, Any]) -> pd.DataFrame:
    """Read what `frame_to_json` wrote, or pandas' `to_dict(orient="tight")`.

    Raises:
        ValueError: If it is no table.
    """
    pd = _pandas()
    if not set(written) >= _KEYS:
        raise ValueError("a table in JSON has the keys index, columns, data, index_names and column_names")
    inner = {name: written[name] for name in _KEYS}
    # JSON has no tuples, and pandas makes a MultiIndex of these only
    for part in ("index", "columns"):
        inner[part] = [tuple(each) if isinstance(each, list) else each for each in inner[part]]
    frame = pd.DataFrame.from_dict(inner, orient="tight")
    for n, dtype in enumerate(written.get("dtypes") or ()):
        with suppress(ValueError, TypeError):
            if n < frame.shape[1] and str(frame.dtypes.iloc[n]) != dtype:
                frame.isetitem(n, frame.iloc[:, n].astype(dtype))
    _restore_levels(frame, written.get("index_dtypes") or ())
    return frame


def frame_of(value: Any) -> Any:
    """A table from what `frame_to_json` wrote, or from the Parquet file of this address; else the value itself."""
    if isinstance(value, dict) and set(cast("dict[Any, Any]", value)) >= _KEYS:
        return frame_from_json(cast("dict[str, Any]", value))
    if isinstance(value, str) and value.endswith((".pq", ".parquet")):
        pd = _pandas()
        return pd.read_parquet(value)
    return value


def _restore_levels(frame: pd.DataFrame, dtypes: Any) -> None:
    pd = _pandas()
    index: Any = frame.index
    if len(dtypes) != index.nlevels:
        return
    levels = [index.get_level_values(n) for n in range(index.nlevels)]
    with suppress(ValueError, TypeError):
        typed = [v if str(v.dtype) == dtype else v.astype(dtype) for v, dtype in zip(levels, dtypes, strict=True)]
        frame.index = typed[0] if len(typed) == 1 else pd.MultiIndex.from_arrays(typed, names=index.names)


def _as_pandas(frame: Any) -> pd.DataFrame:
    pd = _pandas()
    if isinstance(frame, pd.DataFrame):
        return frame
    if isinstance(frame, pd.Series):
        return frame.to_frame("value" if frame.name is None else frame.name)
    if hasattr(frame, "collect") and not hasattr(frame, "to_pandas"):
        frame = frame.collect()
    if hasattr(frame, "to_pandas"):
        made = frame.to_pandas()
        return made if isinstance(made, pd.DataFrame) else made.to_frame(made.name or "value")
    return pd.DataFrame(frame)


def _plain(value: Any) -> Any:
    """Values of NumPy and pandas as Python's own."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if type(value).__name__ in ("NaTType", "NAType"):
        return None
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return _plain(value.tolist())
    if type(value).__module__.startswith("pandas"):
        return value.isoformat() if hasattr(value, "isoformat") else str(value)
    return value
