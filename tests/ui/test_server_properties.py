"""Whatever a store holds and whatever is asked for: the page gets JSON and never an answer that nobody foresaw."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scythe_cli.storage.local import LocalStorage
from scythe_cli.ui.endpoints import Endpoints
from scythe_cli.ui.guard import HEADERS
from scythe_cli.ui.server import make_app
from scythe_cli.ui.store import RunStore
from tests.fuzzing import cases, spoiled, writes_only_below
from tests.result_runs import Case, finished_run, layout

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it asks for another client than the one that the package has
    from starlette.testclient import TestClient

TOKEN, HOST = "secret-token", "127.0.0.1:8000"
RUN, OTHER = (layout(version).experiment_id for version in ("v1.0.0", "v1.1.0"))
ENDPOINTS = ["start", "runs", "run", "overlay", "live", "views", "case", "file", "errors", "diff"]
ENDPOINTS += ["sensitivity", "study", "varied"]
COLUMNS = [
    ":case",
    ":state",
    ":duration",
    ":started",
    ":message",
    ":run",
    "tilt",
    "site",
    "wall.u_value",
    "power",
    "note",
]
WANT: dict[str, Any] = {
    "histograms": ["tilt", ":state", ":duration"],
    "scatter": ["tilt", ":case"],
    "parallel": ["tilt", ":state"],
    "log": ["tilt", ":duration"],
    "map": ["tilt", ":duration"],
    "color": ":state",
    "table": {"columns": [":case", ":state", "tilt"]},
}


def page_of(storage: LocalStorage) -> TestClient:
    return TestClient(make_app(Endpoints(RunStore(storage)), TOKEN, (HOST,)), base_url=f"http://{HOST}")


def write_runs(folder: Path, texts: list[str], numbers: list[float]) -> LocalStorage:
    """Two runs that have texts and numbers wherever there can be any."""
    storage = LocalStorage(folder / "runs")
    for version in ("v1.0.0", "v1.1.0"):
        specs = [Case(tilt=number, site=text) for text, number in zip(texts, numbers, strict=True)]
        answers: list[dict[str, Any]] = [
            {"power": number, "note": text} if i % 2 else {"state": "failed", "message": text}
            for i, (text, number) in enumerate(zip(texts, numbers, strict=True))
        ]
        finished_run(storage, folder / "scratch", specs, answers, layout(version))
    return storage


def check(client: TestClient, name: str, parameters: dict[str, Any]) -> Any:
    """Ask, and see that what comes is strict JSON with all headers, foreseen, and not without end."""
    answer = client.get(f"/{TOKEN}/api/{name}", params=parameters)
    assert answer.status_code in (200, 400, 404, 502), (name, answer.text[:300])
    assert answer.headers["content-security-policy"] == HEADERS["content-security-policy"]
    assert len(answer.content) < 500_000
    told = json.loads(answer.content, parse_constant=lambda text: pytest.fail(f"{text} is not JSON"))
    if answer.status_code != 200:
        assert told["error"].strip()
    return told


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    storage = write_runs(tmp_path_factory.mktemp("good"), ["a", "<b>", "é"], [1.0, 2.0, 3.5])
    with page_of(storage) as client:
        yield client


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(COLUMNS)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
names = st.lists(st.sampled_from(COLUMNS) | st.text(max_size=5), max_size=5)
wanted = st.fixed_dictionaries(
    {},
    optional={
        "histograms": names | anything,
        "scatter": names | anything,
        "parallel": names | anything,
        "log": names | anything,
        "map": names | anything,
        "color": st.sampled_from(COLUMNS) | anything,
        "table": st.fixed_dictionaries(
            {}, optional=dict.fromkeys(("columns", "sort", "descending", "offset", "limit"), names | anything)
        ),
    },
)
filters = st.fixed_dictionaries(
    {},
    optional={
        "q": anything,
        "f": st.dictionaries(st.sampled_from(COLUMNS), st.tuples(scalars, scalars) | anything, max_size=4) | anything,
    },
)
runs = st.sampled_from([RUN, OTHER]) | st.text(max_size=20)
questions = st.fixed_dictionaries(
    {},
    optional={
        "run": runs,
        "runs": st.lists(runs, max_size=4).map(json.dumps) | anything.map(json.dumps) | st.text(max_size=10),
        "a": runs,
        "b": runs,
        "want": wanted.map(json.dumps) | st.text(max_size=10),
        "where": filters.map(json.dumps) | st.text(max_size=10),
        **{key: st.integers().map(str) | st.text(max_size=6) for key in ("row", "offset", "limit", "rtol", "atol")},
        "experiment": st.sampled_from(["solar", ".."]) | st.text(max_size=6),
        "key": st.text(max_size=20),
    },
)


@given(st.sampled_from(ENDPOINTS), questions)
@example("diff", {"a": RUN, "b": OTHER, "rtol": "nan"})
@example("diff", {"a": RUN, "b": OTHER, "rtol": "-1"})
@example("case", {"run": RUN, "row": "9" * 30})
@example("views", {"run": RUN, "where": '{"f":{"tilt":[NaN,Infinity]}}', "want": json.dumps(WANT)})
@cases(60)
def test_any_question_is_answered(client: TestClient, name: str, parameters: dict[str, str]) -> None:
    with writes_only_below():
        check(client, name, {"run": RUN, **parameters} if name != "overlay" else parameters)


cells = st.text(st.characters(exclude_categories=("Cs",)), max_size=30) | st.sampled_from(
    ["<script>alert(1)</script>", "\x1b[2J", "\u202e", "=1+1", "x" * 20_000, "\x00", "</pre>", "NaN"]
)
amounts = st.floats(allow_nan=True, allow_infinity=True, width=64)


@given(st.lists(st.tuples(cells, amounts), min_size=1, max_size=4))
@example([("a", 1e308), ("b", -1e308)])
@example([("a", 5e-324), ("b", float("nan"))])
@cases(6, at_night=500)
def test_any_text_and_number_can_be_shown(rows: list[tuple[str, float]]) -> None:
    with tempfile.TemporaryDirectory(prefix="scythe-") as folder:
        texts, numbers = [text for text, _ in rows], [number for _, number in rows]
        with page_of(write_runs(Path(folder), texts, numbers)) as client:
            ask_all(client, Path(folder))
            told = check(client, "views", {"run": RUN, "want": json.dumps({"table": {"columns": ["site"]}})})
            assert len(told["table"]["rows"]) == len(rows)


def ask_all(client: TestClient, folder: Path) -> None:
    want = json.dumps(WANT)
    with writes_only_below(folder):
        for name in ENDPOINTS:
            several = {"runs": json.dumps([RUN, OTHER])} if name in ("overlay", "varied") else {}
            check(client, name, {"run": RUN, "row": 0, "a": RUN, "b": OTHER, "want": want, "key": "x", **several})
        for name in ("views", "sensitivity"):
            check(client, name, {"runs": json.dumps([RUN, OTHER]), "want": want})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    write_runs(folder, ["a", "b", "c"], [1.0, 2.0, 3.0])
    return folder / "runs"


PIECES = [b"PAR1", b"\0", b"null", b"{", b"!!python/object:os.system", b"n_specs: -1\n", b"n_specs: 99999999999\n"]


@given(st.data())
@cases(12, at_night=2_000)
def test_files_of_any_content_break_nothing(whole: Path, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory(prefix="scythe-") as folder:
        shutil.copytree(whole, Path(folder) / "runs")
        paths = sorted(path for path in Path(folder, "runs").rglob("*") if path.is_file() and RUN in str(path))
        for path in data.draw(st.lists(st.sampled_from(paths), min_size=1, max_size=3, unique=True)):
            path.write_bytes(data.draw(spoiled(path.read_bytes(), PIECES) | st.binary(max_size=20)))
        with page_of(LocalStorage(Path(folder) / "runs")) as client:
            ask_all(client, Path(folder))
