"""Writes the table of field types into its page: `python -m scripts.make_field_types [--check]`.

What stands there is what arrived: each example goes through a CSV file, a Parquet file and a scalar output.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from scripts.made_files import ROOT, write_or_check
from scythe_cli.model.columns import columns_of
from tests.field_types import (
    FIELD_TYPES,
    FieldType,
    model_of,
    output_column,
    same,
    text_of,
    through_csv,
    through_parquet,
    through_python,
)

PAGE = ROOT / "docs" / "field-types.md"

_BEFORE = """# Types of fields

What reaches the function is what a direct call would have given it, in type and value, whatever the way. This table is
made by the code that checks it, with an example of each type; a property test tries many values.

- *CSV*: the cell. JSON where a field is no plain value; or the text that the type itself reads.
- *Parquet*: the type of the column that a run keeps. Other types will do as well where pydantic takes their values.
- *the function gets*: from CSV, Parquet and Python alike.
- *scalar output*: the type of the column in `scalars.pq`, and the value there. `json` is text that holds JSON.

| field | CSV | Parquet | the function gets | scalar output |
| --- | --- | --- | --- | --- |
"""
_AFTER = """
Where one type of column has to hold all values, a value can arrive in another form, and a notice says so once: a whole
number of `int | float` as a float, times with an offset of `AwareDatetime` as the same moments in UTC, and values
inside `Any` that JSON has no form for as text. An empty text cannot be told from a missing cell in CSV.
"""


def main() -> int:
    """Write the page, or compare it."""
    with tempfile.TemporaryDirectory() as name:
        rows = [_row(kind, Path(name)) for kind in FIELD_TYPES]
    text = _BEFORE + "\n".join(rows) + "\n" + _AFTER
    return write_or_check("scripts.make_field_types", {PAGE: text}, [PAGE], made=f"{len(rows)} types in {PAGE.name}")


def _row(kind: FieldType, folder: Path) -> str:
    values = [kind.example]
    ways = [through_csv(kind, values, folder), through_parquet(kind, values, folder), through_python(kind, values)]
    arrived = ways[0][0]
    for (value,) in ways:
        if not same(value, arrived) or (kind.equal and not same(value, kind.example)):
            raise AssertionError(f"{kind.name}: {kind.example!r} arrives as {ways}")
    column = columns_of(model_of(kind))["x"]
    cell = output_column(kind)
    shown = "json" if column.is_json else str(column.type)
    output = f"{shown}: {_plain(cell[0].as_py())}"
    return (
        "| "
        + " | ".join(_code(text) for text in (kind.name, text_of(kind, kind.example), shown, _plain(arrived), output))
        + " |"
    )


def _plain(value: Any) -> str:
    return repr(value).replace("datetime.", "").replace("tests.field_types.", "")


def _code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`"


if __name__ == "__main__":
    sys.exit(main())
