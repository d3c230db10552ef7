"""What an extra brings is named where it is missing, and nothing else of the package needs it."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest

from scythe_cli.core.distribution import DISTRIBUTION, EXTRAS, needs_extra
from scythe_cli.errors import MissingExtraError

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "scythe_cli"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

NAMES = {"yaml": "pyyaml", "vl_convert": "vl-convert-python", "sklearn": "scikit-learn"}
"""Distributions by their modules, where the two have different names."""

OF_DEPENDENCIES = {"aiobotocore", "aiohttp", "annotated-types", "botocore", "grpc", "markupsafe", "pydantic-core"}
"""What dependencies of the core cannot do without: jinja2, pydantic, s3fs and hatchet-sdk."""

TESTING = "testing/"
"""What is imported by tests alone, which have pytest."""

HANDED_OVER = {
    "executor/rows/cells.py": "pandas",
    "executor/rows/frames.py": "pandas",
    "executor/child/template.py": "pandas",
    "model/functions/content.py": "pandas",
}
"""Modules that import what a value they deal with comes from, so that it is loaded already."""


class Import(NamedTuple):
    place: str
    line: int
    module: str
    extra: str | None


class Finder(ast.NodeVisitor):
    """All imports of one module that are carried out, each with the extra that stands around it."""

    def __init__(self, place: str) -> None:
        self.place, self.extra, self.found = place, None, list[Import]()

    def _add(self, line: int, name: str) -> None:
        self.found.append(Import(self.place, line, name.partition(".")[0], self.extra))

    def visit_If(self, node: ast.If) -> None:
        if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            self.generic_visit(node)

    def visit_With(self, node: ast.With) -> None:
        call = node.items[0].context_expr
        before = self.extra
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == needs_extra.__name__:
            assert isinstance(call.args[0], ast.Constant)
            self.extra = str(call.args[0].value)
        self.generic_visit(node)
        self.extra = before

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(node.lineno, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self._add(node.lineno, str(node.module))

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
        if name in ("import_module", "__import__") and node.args and isinstance(node.args[0], ast.Constant):
            self._add(node.lineno, str(node.args[0].value))
        self.generic_visit(node)


def imports() -> Iterator[Import]:
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if all(map(is_core, ("".join(names) for names in NAMED.findall(text)))):
            continue  # to take everything apart would take seconds
        finder = Finder(path.relative_to(PACKAGE).as_posix())
        finder.visit(ast.parse(text))
        yield from finder.found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;]", name)[0]).lower()


CORE = {normal(line) for line in PROJECT["dependencies"]}
NAMED = re.compile(r"""^\s*(?:import|from)\s+(\w+)|\b(?:import_module|__import__)\(\s*["'](\w+)""", re.MULTILINE)
"""What may be an import; a line of words may look like one."""


def is_core(module: str) -> bool:
    """Whether a module is there without any extra."""
    ours = module in sys.stdlib_module_names or module == PACKAGE.name
    return ours or normal(NAMES.get(module, module)) in CORE | OF_DEPENDENCIES


@cache
def optional() -> list[Import]:
    """Imports of what the core does not bring."""
    found: list[Import] = []
    for each in imports():
        if not each.place.startswith(TESTING) and not is_core(each.module):
            found.append(each)
    return found


def test_every_import_of_what_an_extra_brings_says_so() -> None:
    found = optional()
    assert {each.module for each in found} == {module for modules in EXTRAS.values() for module in modules}
    for each in found:
        if HANDED_OVER.get(each.place) != each.module:
            assert each.module in EXTRAS.get(each.extra or "", ()), f"{each.place}:{each.line}: {each.module}"


def test_extras_bring_what_the_code_says() -> None:
    extras: dict[str, list[str]] = PROJECT["optional-dependencies"]
    for extra, modules in EXTRAS.items():
        brought = {normal(line) for line in extras[extra]} - {DISTRIBUTION} - OF_DEPENDENCIES
        assert brought == {normal(NAMES.get(module, module)) for module in modules}
    (everything,) = extras["all"]
    assert everything == f"{DISTRIBUTION}[{','.join(sorted(set(EXTRAS) - {'boto3'}))}]"


def hide(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    from scythe_cli.analysis.plots import rendering
    from scythe_cli.compat import buckets

    for kept in (rendering._libraries, buckets.client):  # what an earlier test has had made
        kept.cache_clear()
    for name in [module, *(name for name in sys.modules if name.startswith(f"{module}."))]:
        monkeypatch.setitem(sys.modules, name, None)


def _call(module: str, name: str, *args: Any, **kwargs: Any) -> Callable[[], Any]:
    return lambda: getattr(import_module(f"scythe_cli.{module}"), name)(*args, **kwargs)


def _chart() -> Any:
    from scythe_cli.analysis.plots.figure import Figure

    return Figure("a/v1.0.0/t", "scatter", "", [], None).chart  # pyright: ignore[reportArgumentType]


def _quantiles(name: str, *args: float) -> Callable[[], Any]:
    return lambda: getattr(import_module("scythe_cli.doe.distributions"), name)(*args).ppf(np.array([0.5]), 0.0, 1.0)


def _correlated() -> Any:
    from scythe_cli.doe.joint.correlation import Correlation

    return Correlation({}, [0, 1], np.eye(2)).rearranged(np.array([[0.25, 0.75], [0.75, 0.25]]))


def _index() -> Any:
    from scythe_cli.base import ExperimentInputSpec

    return ExperimentInputSpec(experiment_id="a", sort_index=0).make_multiindex()


def _frames_of_a_result() -> Any:
    from scythe_cli.compat.outcome import ScatterGatherResult

    return ScatterGatherResult().dataframes


def _query() -> Any:
    from scythe_cli.analysis.results.query import query_frame

    return query_frame([], "select 1")


TIGHT = {"index": [0], "columns": ["x"], "data": [[1]], "index_names": [None], "column_names": [None]}
POINTS = np.full((4, 2), 0.5)


OF_ROOMS = {
    "scythe_cli.ui": ("documents", "endpoints", "server"),
    "scythe_cli.analysis.surrogate": ("libraries", "optimizing"),
}
"""The modules that import what an extra brings when they are loaded themselves, by their rooms."""


def _loaded(name: str) -> Callable[[], Any]:
    """Load a module anew that imports what an extra brings when it is loaded itself."""

    def load() -> Any:
        room = f"scythe_cli.{name.rpartition('.')[0]}"
        package = import_module(room)
        names = OF_ROOMS[room]
        kept = {each: sys.modules.pop(f"{room}.{each}", None) for each in names}
        try:
            return import_module(f"scythe_cli.{name}")
        finally:
            for each, module in kept.items():
                sys.modules.pop(f"{room}.{each}", None)
                if module is not None:
                    sys.modules[f"{room}.{each}"] = module
                    setattr(package, each, module)

    return load


CALLS: dict[str, list[tuple[str, Callable[[], Any]]]] = {
    "analysis/surrogate/libraries.py": [
        (module, _loaded("analysis.surrogate.libraries"))
        for module in ("gest_api", "sklearn", "threadpoolctl", "scipy")
    ],
    "analysis/surrogate/optimizing.py": [("optuna", _loaded("analysis.surrogate.optimizing"))],
    "analysis/plots/figure.py": [("altair", _chart)],
    "analysis/plots/rendering.py": [
        ("vl_convert", _call("analysis.plots.rendering", "to_png", {})),
        ("vl_convert", _call("analysis.plots.rendering", "to_svg", {})),
        ("vl_convert", _call("analysis.plots.rendering", "to_html", {}, "title", "", {})),
    ],
    "analysis/results/query.py": [("duckdb", _query)],
    "analysis/results/source_names.py": [
        ("pandas", _call("analysis.results.source_names", "named_pandas", None, None))
    ],
    "analysis/results/spreadsheets.py": [
        ("xlsxwriter", _call("analysis.results.spreadsheets", "write_workbook", {}, Path("x.xlsx")))
    ],
    "analysis/results/tables.py": [("pandas", _call("analysis.results.tables", "read_pandas", None, "key"))],
    "arrow/frame_json.py": [
        ("pandas", _call("arrow.frame_json", "frame_to_json", pl.DataFrame({"x": [1]}))),
        ("pandas", _call("arrow.frame_json", "frame_of", TIGHT)),
        ("pandas", _call("arrow.frame_json", "frame_of", "table.pq")),
    ],
    "compat/buckets.py": [("boto3", _call("compat.buckets", "client"))],
    "compat/frames.py": [
        ("pandas", _call("compat.frames", "transpose_dataframe_dict", [])),
        ("pandas", _call("compat.frames", "make_onerow_multiindex_from_dict", {"a": 1})),
    ],
    "compat/outcome.py": [("pandas", _frames_of_a_result)],
    "compat/scattering.py": [("pandas", _call("compat.scattering", "sift_results", [], []))],
    "doe/distributions.py": [
        ("scipy", _quantiles("Normal", 0.5, 0.1)),
        ("scipy", _quantiles("Triangular", 0.0, 0.5, 1.0)),
    ],
    "doe/joint/correlation.py": [("scipy", _correlated)],
    "doe/points.py": [
        ("scipy", _call("doe.points", "draw_points", design, 4, 2, 0))
        for design in ("random", "lhs", "sobol", "saltelli")
    ],
    "analysis/results/by_case.py": [("scipy", _call("analysis.results.by_case", "t_quantiles", [3], 0.95))],
    "doe/quality.py": [("scipy", _call("doe.quality", "quality_of", POINTS, ["a", "b"], is_sequence=False))],
    "model/models.py": [("pandas", _index)],
    "sampling/files/excel_file.py": [
        ("fastexcel", _call("sampling.files.excel_file", "read_excel", Path("cases.xlsx"), "cases.xlsx"))
    ],
    "ui/documents.py": [("orjson", _loaded("ui.documents")), ("starlette", _loaded("ui.documents"))],
    "ui/endpoints.py": [("starlette", _loaded("ui.endpoints"))],
    "ui/server.py": [("starlette", _loaded("ui.server")), ("uvicorn", _loaded("ui.server"))],
}
"""By the modules that import what an extra brings: calls that come to it."""


def test_every_module_that_needs_an_extra_is_called() -> None:
    guarded = {(each.place, each.module) for each in optional() if HANDED_OVER.get(each.place) != each.module}
    assert {(place, module) for place, calls in CALLS.items() for module, _ in calls} == guarded


@pytest.mark.parametrize(("module", "call"), [pair for calls in CALLS.values() for pair in calls])
def test_what_is_missing_is_named_with_the_extra_that_brings_it(
    module: str, call: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (extra,) = (name for name, modules in EXTRAS.items() if module in modules)
    hide(monkeypatch, module)
    called = {"sklearn": "scikit-learn"}.get(module, module.replace("_", "-"))
    with pytest.raises(MissingExtraError, match=f"needs {called}, which is not installed") as raised:
        call()
    assert raised.value.hint == f"Install it with: pip install '{DISTRIBUTION}[{extra}]'"
    assert raised.value.exit_code == 2


def test_a_library_that_is_there_and_does_not_load_is_told_by_its_own_words() -> None:
    with pytest.raises(MissingExtraError, match=r"cannot be loaded: libX\.so") as raised, needs_extra("sql", "SQL"):
        raise ImportError("libX.so: no such file")
    assert "again" in str(raised.value.hint)
    with pytest.raises(MissingExtraError, match="cannot be loaded: No module named 'other'"), needs_extra("sql", "SQL"):
        raise ModuleNotFoundError("No module named 'other'", name="other")
    with pytest.raises(KeyError), needs_extra("sql", "SQL"):
        raise KeyError("x")
