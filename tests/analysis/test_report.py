"""A run on one page: complete, self-contained, and safe whatever text the run holds."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from scythe_cli.analysis.plots.shapes import Histogram
from scythe_cli.analysis.report import cases as shown_cases
from scythe_cli.analysis.report import content
from scythe_cli.analysis.report.page import templates
from scythe_cli.analysis.run import Run
from scythe_cli.errors import UsageError
from scythe_cli.run.manifest import dump_yaml
from scythe_cli.storage.base import Storage
from scythe_cli.storage.opening import open_storage
from tests.result_runs import Case, Wall, finished_run

SCRIPT = (Path(content.__file__).parent / "report.js").read_text()
VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Elements, attributes and text of a page; fails where elements do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.scripts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs).get("type") or "", ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            kind, before = self.scripts[-1]
            self.scripts[-1] = kind, before + data
        elif self._open and self._open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def check_harmless(page: Page) -> None:
    assert not {"img", "iframe", "object", "embed", "link", "a", "form", "base", "foreignobject"} & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on")
        assert name not in ("src", "srcset", "action", "formaction", "xlink:href")
        assert name != "href" or value.startswith("#")
        assert "javascript:" not in value.lower()
        assert "url(" not in value or "url(#" in value
    # the only script that runs is the page's own, which the policy tells by its hash
    if page.scripts:
        (data_kind, data), (script_kind, script) = page.scripts
        assert (data_kind, script_kind) == ("application/json", "")
        assert script == SCRIPT
        assert "<" not in data
    digest = b64encode(sha256(SCRIPT.encode()).digest()).decode()
    (policy,) = [value for _, value in page.attributes if value.startswith("default-src")]
    assert f"default-src 'none'; script-src 'sha256-{digest}'; style-src" in policy
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path / "runs")


def written(run: Run, tmp_path: Path) -> tuple[str, Page]:
    result = run.report(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert result.size_bytes == len(text.encode())
    page = Page(text)
    check_harmless(page)
    return text, page


def some_run(storage: Storage, tmp_path: Path, n: int = 10, **more: Any) -> Run:
    cases = [Case(tilt=i * 1.5, site="Oslo" if i % 2 else "Rome", wall=Wall(u_value=i / 3)) for i in range(n)]
    answers: list[dict[str, Any]] = [{"power": i * 2.0, "n": i % 4} for i in range(n)]
    answers[3] = {"state": "failed", "message": "no sun"}
    answers[4] = {"state": "timeout"}
    return finished_run(storage, tmp_path / "s", cases, answers, **more)


def test_a_small_run(storage: Storage, tmp_path: Path) -> None:
    text, page = written(some_run(storage, tmp_path), tmp_path)
    for words in (
        *("solar", "v1.0.0", "10", "80.0 %", "8 succeeded", "1 failed", "1 timeout"),
        *("What went wrong", "1 × ValueError", "no sun", "at m.py:7 in f", "row 3"),
        *("Outputs", "power [kWh]", "Power of the system", "Inputs", "tilt [deg]", "wall.u_value"),
        *("What the outputs depend on", "+1.00", "power over tilt", "Time", "Duration of a case"),
        *("Tables", "scalars", "Provenance", "engine", "local"),
    ):
        assert words in page.text, words
    assert "prefers-color-scheme:dark" in text
    assert "@media print" in text
    # nothing is loaded, and nothing looks like it
    assert re.findall(r"https?://|@import|<script src", text) == []
    assert "default-src 'none'" in text


def shown(page: Page) -> dict[str, list[Any]]:
    """The table of cases, by the labels of its columns."""
    told: dict[str, list[Any]] = {}
    for column in json.loads(page.scripts[0][1])["columns"]:
        names = column.get("names")
        told[column["label"]] = [None if c is None else names[c] if names else c for c in column["cells"]]
    return told


def test_all_cases_are_in_a_table(storage: Storage, tmp_path: Path) -> None:
    _, page = written(some_run(storage, tmp_path), tmp_path)
    cases = shown(page)
    assert list(cases)[:3] == ["case", "state", "duration"]
    assert cases["case"] == list(range(10))
    assert cases["state"] == ["succeeded"] * 3 + ["failed", "timeout"] + ["succeeded"] * 5
    # the inputs of those that failed as well
    assert cases["tilt"] == [i * 1.5 for i in range(10)]
    assert cases["wall.u_value"][3:6] == [1.0, 1.33333, 1.66667]
    assert cases["site"][:4] == ["Rome", "Oslo", "Rome", "Oslo"]
    assert cases["power"] == [0, 2, 4, None, None, 10, 12, 14, 16, 18]
    assert "all 10 cases." in page.text


def test_failed_cases_have_their_tracebacks(storage: Storage, tmp_path: Path) -> None:
    _, page = written(some_run(storage, tmp_path), tmp_path)
    assert "Failed cases" in page.text
    assert [value for name, value in page.attributes if name == "id" and value.startswith("case-")] == [
        "case-3",
        "case-4",
    ]
    assert 'File "m.py", line 7, in f' in page.text.replace("&quot;", '"')


def test_each_kind_of_failure_has_its_cases(storage: Storage, tmp_path: Path) -> None:
    answers: list[dict[str, Any]] = [{"state": "failed", "message": "no sun"} for _ in range(150)]
    answers[140] = {"state": "timeout"}
    run = finished_run(storage, tmp_path / "s", [Case(tilt=i) for i in range(150)], answers)
    _, page = written(run, tmp_path)
    ids = [value for name, value in page.attributes if name == "id" and value.startswith("case-")]
    assert len(ids) == 100
    assert "case-140" in ids
    assert "100 of 150, of each kind some" in page.text


def test_inputs_of_all_cases_tell_which_failed(storage: Storage, tmp_path: Path) -> None:
    run = some_run(storage, tmp_path)
    told = content.read_content(run)
    tilt = next(picture for picture in told.input_pictures if picture.title == "tilt")
    assert isinstance(tilt.shape, Histogram)
    assert sum(tilt.shape.counts) == 10
    assert sum(tilt.shape.marked) == 2
    assert tilt.note == "2 failed"
    site = next(picture for picture in told.input_pictures if picture.title == "site")
    assert isinstance(site.shape, Histogram)
    assert dict(zip(site.shape.labels, site.shape.marked, strict=True)) == {"Oslo": 1, "Rome": 1}


def test_outputs_depend_on_categories_as_well(storage: Storage, tmp_path: Path) -> None:
    cases = [Case(tilt=i % 3, site="Oslo" if i % 2 else "Rome") for i in range(30)]
    answers: list[dict[str, Any]] = [{"power": 10.0 if i % 2 else 20.0} for i in range(30)]
    run = finished_run(storage, tmp_path / "s", cases, answers)
    influences = content.read_content(run).influences
    assert influences is not None
    assert influences.categories == {"site"}
    assert influences.values[influences.inputs.index("site")] == pytest.approx([1.0])
    _, page = written(run, tmp_path)
    assert "site (η)" in re.sub(r"\s+", " ", page.text)
    assert "the correlation ratio" in page.text


@pytest.mark.parametrize(
    ("durations", "log"), [([1.0, 2.0, 3.0], False), ([0.001, 0.5, 300.0], True), ([0, 1, 300], False)]
)
def test_durations_are_on_a_scale_that_shows_them(durations: list[float], log: bool) -> None:
    shape = content.spread_of(pl.Series(durations, dtype=pl.Float64))
    assert shape.x.log is log
    assert sum(shape.counts) == 3
    assert sum(1 for count in shape.counts if count) >= (3 if log else 2)


def test_many_cases_are_sampled(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = some_run(storage, tmp_path, 60)
    monkeypatch.setattr(shown_cases, "_MAX_CASES", 20)
    _, page = written(run, tmp_path)
    cases = shown(page)
    assert len(set(cases["case"])) == 20
    assert "20 of 60 cases, sampled with seed 0" in page.text
    assert [row * 1.5 for row in cases["case"]] == cases["tilt"]


def test_what_a_table_takes_is_bounded(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = some_run(storage, tmp_path, 600)
    monkeypatch.setattr(shown_cases, "_MAX_BYTES", 10_000)
    told = content.read_content(run).cases
    assert told is not None
    assert len(told.document) <= 10_000
    assert told.n == 600
    assert 100 < told.n_shown < 600
    assert told.notes == [f"{told.n_shown} of 600 cases, sampled with seed 0"]


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "</title></style></pre><script>1</script>",
    "javascript:alert(1)",
    "&lt;script&gt;",
    "]]><!-- -->",
    "\u202egnp.exe",
    "\x00\x1b[31m\x9b",
    "{{7*7}} ${7*7} %s {0}",
    "http://evil.example/x.js",
]


def test_text_of_a_run_does_no_harm(storage: Storage, tmp_path: Path) -> None:
    cases = [Case(tilt=i, site=HOSTILE[i % len(HOSTILE)]) for i in range(22)]
    answers: list[dict[str, Any]] = [{"power": float(i), "note": HOSTILE[i % len(HOSTILE)]} for i in range(11)]
    answers += [{"state": "failed", "message": "".join(HOSTILE)} for _ in HOSTILE]
    run = finished_run(storage, tmp_path / "s", cases, answers)
    fields = {"power": {"description": f"{HOSTILE[0]} [<b>kW]"}, "note": {"description": HOSTILE[1]}}
    storage.write_bytes(run.layout.io_spec, dump_yaml({"properties": {"output": {"properties": fields}}}))
    manifest = run.manifest
    assert manifest is not None
    hostile = manifest.model_copy(update={"entrypoint": HOSTILE[0], "engine": HOSTILE[1], "sampling_file": HOSTILE[3]})
    storage.write_bytes(run.layout.manifest, hostile.to_yaml())

    text, page = written(Run(storage, run.layout), tmp_path)

    assert "<script>alert(1)</script>" in page.text  # as words
    assert "\u202e" not in text
    assert "\x1b" not in text
    assert "\\x1b" in page.text


def test_names_of_columns_do_no_harm(storage: Storage, tmp_path: Path) -> None:
    run = some_run(storage, tmp_path)
    path = Path(run.table_path("scalars"))
    frame = pl.read_parquet(path).with_columns(
        pl.col("power").alias(name) for name in ("<script>alert(1)</script>", '"><img src=x>', "a.b[c]", "datum['x']")
    )
    frame.write_parquet(path)
    _, page = written(run, tmp_path)
    assert "<script>alert(1)</script>" in page.text


def test_a_large_run_stays_small(storage: Storage, tmp_path: Path) -> None:
    run = some_run(storage, tmp_path)
    n, rng = 600_000, np.random.default_rng(0)
    columns = {f"y{i}": rng.random(n) for i in range(5)}
    frame = pl.DataFrame({"sort_index": np.arange(n), **columns, "note": ["x", "y"] * (n // 2)})
    frame.write_parquet(Path(run.table_path("scalars")))
    run.storage.delete(run.layout.specs)
    run.storage.write_bytes(run.layout.manifest, b"workflow_run_id: a\nexperiment_id: e\nexperiment_name: n\n")
    result = Run(storage, run.layout).report(tmp_path / "report.html")
    assert result.size_bytes < 3_000_000
    page = Page((tmp_path / "report.html").read_text())
    assert "estimated from a part of the rows" in page.text


def test_many_points_are_counted(storage: Storage, tmp_path: Path) -> None:
    text, page = written(some_run(storage, tmp_path, 600), tmp_path)
    assert "598 cases, counted in 40 × 26 cells" in page.text
    assert len(text) < 3_000_000


@pytest.mark.parametrize("what", ["pending", "failed", "no manifest", "no tables", "one spec"])
def test_runs_that_have_little_to_show(storage: Storage, tmp_path: Path, what: str) -> None:
    state = {"state": "failed"} if what in ("pending", "failed") else {"power": 1.0}
    n = 1 if what == "one spec" else 3
    run = finished_run(
        storage, tmp_path / "s", [Case(tilt=1)] * n, [dict(state) for _ in range(n)], gathered=what != "no tables"
    )
    if what == "no manifest":
        storage.write_bytes(run.layout.manifest, b"workflow_run_id: a\nexperiment_id: e\nexperiment_name: n\n")
    if what == "pending":
        storage.delete_tree(run.layout.outcomes)
        storage.delete_tree(run.layout.final)
    run = Run(storage, run.layout)
    _, page = written(run, tmp_path)
    if what == "no manifest":
        assert "cases with results" in page.text
        assert "an older run without a ledger" in page.text
    if what == "pending":
        assert "3 pending" in page.text
    assert ("Outputs" in page.text) is (what in ("no manifest", "one spec"))


def test_only_a_report_is_replaced(storage: Storage, tmp_path: Path) -> None:
    run = finished_run(storage, tmp_path / "s", [Case(tilt=1)], [{"power": 1.0}])
    run.report(tmp_path / "report.html")
    run.report(tmp_path / "report.html")
    (tmp_path / "mine.html").write_text("<html>mine</html>")
    for path, message in (
        ("mine.html", "is not a report"),
        ("x.pdf", "a report is an HTML file"),
        ("no/x.html", "no folder"),
    ):
        with pytest.raises(UsageError, match=message):
            run.report(tmp_path / path)
    assert (tmp_path / "mine.html").read_text() == "<html>mine</html>"
    run.report(tmp_path / "mine.html", overwrite=True)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_elements_escape_their_text() -> None:
    element = templates().from_string('<p class="{{ name }}">{{ text }}{{ element }}{{ nothing }}</p>')
    text = element.render(name='"x"', text="<b>", element=Markup("<i></i>"), nothing=None)
    assert text == '<p class="&#34;x&#34;">&lt;b&gt;<i></i></p>'
    assert templates().from_string("{{ a }}{{ b }}").render(a="a\x00\u2066", b="\ud800") == "a\\x00\\x2066\\ud800"
    with pytest.raises(UndefinedError):
        element.render(text="")
