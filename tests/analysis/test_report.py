"""A run on one page: complete, self-contained, and safe whatever text the run holds."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from scythe_cli.analysis.report.page import templates
from scythe_cli.analysis.run import Run
from scythe_cli.errors import UsageError
from scythe_cli.run.manifest import dump_yaml
from scythe_cli.storage.base import Storage
from scythe_cli.storage.opening import open_storage
from tests.result_runs import Case, Wall, finished_run

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Elements, attributes and text of a page; fails where elements do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def check_harmless(page: Page) -> None:
    assert not {"script", "img", "iframe", "object", "embed", "link", "a", "form", "base", "foreignobject"} & set(
        page.tags
    )
    for name, value in page.attributes:
        assert not name.startswith("on")
        assert name not in ("src", "srcset", "action", "formaction", "xlink:href")
        assert name != "href" or value.startswith("#")
        assert "javascript:" not in value.lower()
        assert "url(" not in value or "url(#" in value
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
    assert re.findall(r"https?://|@import|<script", text) == []
    assert "default-src 'none'" in text


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
