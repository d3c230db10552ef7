"""Pictures of results: they show what the tables hold, and say of which rows."""

from __future__ import annotations

import itertools
import math
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.analysis.plots.figure import make_figure
from scythe_cli.analysis.plots.interactive import gestures, page_spec, page_themes
from scythe_cli.analysis.plots.rendering import to_html, to_png, to_svg
from scythe_cli.analysis.plots.shapes import (
    Axis,
    Bar,
    Bars,
    Boxes,
    Curve,
    Heat,
    Histogram,
    Pairs,
    Points,
    Swing,
    Tornado,
)
from scythe_cli.analysis.plots.terminal import text_of
from scythe_cli.analysis.plots.vega import themed_spec, vega_spec
from scythe_cli.analysis.run import Run
from scythe_cli.errors import NotFoundError, UsageError
from scythe_cli.run.design_record import DesignField, DesignRecord
from scythe_cli.storage.opening import open_storage
from tests.fuzzing import cases
from tests.result_runs import Case, Wall, finished_run

KINDS: dict[str, dict[str, Any]] = {
    "scatter": {"x": "tilt", "y": "power"},
    "category color": {"x": "tilt", "y": "power", "color": "site"},
    "number color": {"x": "tilt", "y": "power", "color": "wall.u_value"},
    "heat": {"x": "tilt", "y": "power", "max_points": 5},
    "boxes": {"x": "site", "y": "power"},
    "histogram": {"x": "power"},
    "whole numbers": {"x": "n"},
    "categories": {"x": "site"},
    "pairs": {"kind": "pairs", "color": "site"},
    "tornado": {"kind": "tornado", "y": "power"},
    "influence": {"kind": "influence", "y": "power"},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("plots")
    cases = [
        Case(tilt=i % 37, site=["Oslo", "Rome", "a/b/Bern"][i % 3], wall=Wall(u_value=(i * 7 % 11) / 10))
        for i in range(120)
    ]
    answers: list[dict[str, Any]] = [
        {"power": 100.0 - 2 * c.tilt + (c.site == "Rome") * 30, "n": i % 5, "months": [1.0 * i, 2.0 * i]}
        for i, c in enumerate(cases)
    ]
    answers[7]["power"] = float("nan")
    answers[8]["power"] = None
    return finished_run(open_storage(folder / "runs"), folder / "s", cases, answers)


@pytest.mark.parametrize("log", [["x"], ["y"], ["x", "y"]])
def test_logarithmic_axes_have_what_has_a_logarithm(run: Run, log: list[str]) -> None:
    figure = run.plot("tilt", "power", log=log)
    wanted = pl.col("power").is_finite()
    for name, column in (("x", "tilt"), ("y", "power")):
        wanted &= pl.col(column) > 0 if name in log else True
    assert isinstance(figure.shape, Points)
    shown = list(zip(figure.shape.xs, figure.shape.ys, strict=True))
    assert shown == run.scalars().filter(wanted).select("tilt", "power").rows()
    assert [figure.shape.x.log, figure.shape.y.log] == ["x" in log, "y" in log]
    assert any("left out" in note for note in figure.notes)
    scales = re.findall(r"'type': 'log'", str(vega_spec(figure.shape, figure.title, figure.notes)))
    assert len(scales) >= len(log)
    assert text_of(figure.shape, 80, 24)


def test_bins_of_a_logarithmic_axis_are_as_wide_in_its_logarithms(run: Run) -> None:
    shape = run.plot("power", bins=7, log=["x"]).shape
    assert isinstance(shape, Histogram)
    assert shape.x.log
    ratios = [high / low for low, high in itertools.pairwise(shape.edges)]
    assert ratios == pytest.approx([ratios[0]] * len(ratios))
    assert sum(shape.counts) == run.scalars().filter(pl.col("power").is_finite() & (pl.col("power") > 0)).height
    with pytest.raises(UsageError, match="site is not a number"):
        run.plot("site", "power", log=["x"])


@pytest.mark.parametrize("log", ["", "x"])
def test_bars_stand_on_zero_and_are_as_high_as_their_counts(run: Run, log: str) -> None:
    figure = run.plot("power", bins=7, log=[log] if log else [])
    drawn = re.findall(r'count: (\d+)[;"][^>]*? d="M[\d.]+,([\d.]+)h[\d.]+v([\d.]+)', to_svg(figure.spec))
    bars = [(int(n), float(top), float(height)) for n, top, height in drawn]
    assert sum(n for n, _, _ in bars) > 0
    assert {round(top + height, 3) for n, top, height in bars if n} == {round(bars[0][1] + bars[0][2], 3)}
    per_row = max(height for _, _, height in bars) / max(n for n, _, _ in bars)
    assert [height for _, _, height in bars] == pytest.approx([n * per_row for n, _, _ in bars], abs=1.0)


def test_points_are_the_rows(run: Run) -> None:
    figure = run.plot("tilt", "power")
    expected = run.scalars().filter(pl.col("power").is_finite()).select("tilt", "power")
    assert isinstance(figure.shape, Points)
    assert list(zip(figure.shape.xs, figure.shape.ys, strict=True)) == expected.rows()
    assert figure.title == "power over tilt"
    assert figure.notes == ["118 cases", "2 cases without a number left out"]
    assert (figure.shape.x.title, figure.shape.y.title) == ("tilt [deg]", "power [kWh]")


def test_many_points_are_counted_in_cells(run: Run) -> None:
    figure = make_figure(run, x="tilt", y="power", max_points=50)
    assert isinstance(figure.shape, Heat)
    assert figure.notes[0] == "118 cases, counted in 60 × 40 cells"
    rows = run.scalars().filter(pl.col("power").is_finite())
    expected, _, _ = np.histogram2d(rows["tilt"], rows["power"], [figure.shape.x_edges, figure.shape.y_edges])
    assert np.array_equal(np.array(figure.shape.counts), expected)


def test_many_colored_points_are_drawn_with_a_seed(run: Run) -> None:
    figures = [make_figure(run, x="tilt", y="power", color="site", max_points=50, seed=seed) for seed in (3, 3, 4)]
    first, again, other = (figure.shape for figure in figures)
    assert first == again
    assert first != other
    assert isinstance(first, Points)
    assert len(first.xs) == 50
    assert figures[0].notes[0] == "50 of 118 cases, sampled with seed 3"
    assert set(first.colors) == {"Oslo", "Rome", "Bern"}


def test_a_histogram_counts_all_rows(run: Run) -> None:
    shape = run.plot("power", bins=7).shape
    assert isinstance(shape, Histogram)
    values = run.scalars()["power"].drop_nulls().drop_nans()
    expected, _ = np.histogram(values, shape.edges)
    assert list(shape.counts) == expected.tolist()
    assert sum(shape.counts) == 118
    whole = run.plot("n").shape
    assert isinstance(whole, Histogram)
    assert (list(whole.edges), list(whole.counts)) == ([-0.5, 0.5, 1.5, 2.5, 3.5, 4.5], [24] * 5)
    sites = run.plot("site").shape
    assert isinstance(sites, Histogram)
    assert dict(zip(sites.labels, sites.counts, strict=True)) == {"Oslo": 40, "Rome": 40, "Bern": 40}


def test_boxes_are_the_quartiles(run: Run) -> None:
    shape = run.plot("site", "power").shape
    assert isinstance(shape, Boxes)
    rome = run.scalars().filter(pl.col("power").is_finite() & (pl.col("site") == "Rome"))["power"]
    box = next(box for box in shape.boxes if box.label == "Rome")
    assert (box.count, box.low, box.median, box.high) == (rome.len(), rome.min(), rome.median(), rome.max())
    assert box.quarter == rome.quantile(0.25, "linear")


def test_what_an_output_depends_on(run: Run) -> None:
    figure = run.plot(y="power", kind="influence")
    assert isinstance(figure.shape, Bars)
    by_name = {bar.label: bar.value for bar in figure.shape.bars}
    rows = run.tidy().filter(pl.col("power").is_finite()).collect()
    expected = rows.select(pl.corr(pl.col("tilt").rank(), pl.col("power").rank())).item()
    assert by_name["tilt"] == pytest.approx(expected)
    assert by_name["tilt"] < -0.8
    assert 0 < by_name["site (η)"] < 1
    assert figure.shape.bars[0].label == "tilt"
    assert figure.notes[-2:] == ["Spearman's rank correlation", "for categories the correlation ratio η"]


def test_swings_of_any_design(run: Run) -> None:
    figure = run.plot(y="power", kind="tornado")
    assert isinstance(figure.shape, Tornado)
    tilt = next(swing for swing in figure.shape.swings if swing.label == "tilt")
    rows = run.scalars().filter(pl.col("power").is_finite())
    limit = rows["tilt"].quantile(0.1, "nearest")
    assert tilt.low == pytest.approx(rows.filter(pl.col("tilt") <= limit)["power"].mean())
    assert (tilt.low_text[0], tilt.high_text[0]) == ("≤", "≥")
    site = next(swing for swing in figure.shape.swings if swing.label == "site")
    assert (site.low < site.high, site.high_text) == (True, "Rome")


def designed(tmp_path: Path, design: str, tilts: list[float], blocks: dict[str, int]) -> Run:
    record = DesignRecord(
        design=design,  # pyright: ignore[reportArgumentType]
        rows=len(tilts),
        fields=[DesignField(name="tilt", distribution="uniform", low=0, high=1)],
        blocks=blocks,
    )
    cases, answers = [Case(tilt=t) for t in tilts], [{"power": 3.0 * t} for t in tilts]
    return finished_run(open_storage(tmp_path / "runs"), tmp_path / "s", cases, answers, design=record)


def test_swings_of_one_input_at_a_time(tmp_path: Path) -> None:
    figure = designed(tmp_path, "oat", [5.0, 0.0, 2.0, 9.0], {"base": 1, "tilt": 3}).plot(y="power", kind="tornado")
    assert isinstance(figure.shape, Tornado)
    (swing,) = figure.shape.swings
    assert (figure.shape.middle, swing.low, swing.high) == (15.0, 0.0, 27.0)
    assert (swing.low_text, swing.high_text) == ("0.0", "9.0")
    assert "the base" in figure.text()


def test_sobol_indices_of_their_design(tmp_path: Path) -> None:
    a, b = [0.1, 0.6, 0.3, 0.9], [0.7, 0.2, 0.8, 0.4]
    run = designed(tmp_path, "saltelli", [*a, *b, *b], {"A": 4, "B": 4, "AB:tilt": 4})
    figure = run.plot(y="power", kind="sobol")
    assert isinstance(figure.shape, Bars)
    assert [(bar.label, bar.group) for bar in figure.shape.bars] == [("tilt", "first order"), ("tilt", "total")]
    assert "Sobol index of power" in figure.text()
    assert "yOffset" in str(figure.spec)


def test_sobol_indices_of_another_design_are_refused(run: Run) -> None:
    with pytest.raises(UsageError, match="needs a run with the design saltelli") as caught:
        run.plot(y="power", kind="sobol")
    assert "--kind influence" in (caught.value.hint or "")


def test_rows_of_a_table(run: Run) -> None:
    figure = run.plot("month", "energy", table="monthly")
    assert figure.notes == ["240 rows of monthly"]
    with pytest.raises(NotFoundError, match="no column 'month'") as caught:
        run.plot("month", "power")
    assert caught.value.hint == "The table monthly has it: --table monthly plots its rows."


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"kind": "scatter"}, "needs --x and --y", "Inputs: tilt, site, wall.u_value"),
        ({"x": "tlit", "y": "power"}, "no column 'tlit'", "Did you mean 'tilt'?"),
        ({"x": "tilt", "y": "site"}, "site is not a number", "Put it on --x"),
        ({"x": "steps", "y": "power"}, "steps holds List", None),
        ({"x": "site", "y": "power", "color": "n"}, "boxes have no color", None),
        ({"x": "tilt", "y": "n", "kind": "hist"}, "a histogram is of one column", None),
        ({"kind": "pairs", "columns": ["tilt"]}, "needs two columns", None),
        ({"kind": "pairs", "columns": ["tilt", "site"]}, "site is not a number", None),
        ({"kind": "tornado"}, "needs --y, an output", "There are: power, n."),
        ({"kind": "influence", "y": "site"}, "site is not a number", None),
        ({"kind": "influence", "y": "power", "x": "tilt"}, "does not take --x", "It takes: --y"),
        ({"x": "power", "table": "monthyl"}, "no table 'monthyl'", "Did you mean 'monthly'?"),
        ({"x": "weather"}, None, None),
    ],
)
def test_mistakes(run: Run, options: dict[str, Any], message: str | None, hint: str | None) -> None:
    if message is None:
        assert run.plot(**options).shape
        return
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        run.plot(**options)
    assert (caught.value.hint or "").startswith(hint or "")


@pytest.mark.parametrize("kind", KINDS)
def test_text_fits_the_width(run: Run, kind: str) -> None:
    figure = make_figure(run, **KINDS[kind])
    for width in (40, 80, 200):
        text = figure.text(width)
        lines = text.splitlines()
        assert 3 <= len(lines) < 60
        assert max(map(len, lines)) <= width
        assert "\x1b" not in text


@pytest.mark.parametrize("kind", KINDS)
def test_every_picture_can_be_drawn(run: Run, kind: str) -> None:
    figure = make_figure(run, **KINDS[kind])
    svg = to_svg(figure.spec)
    words = re.sub(r"<[^>]*>", " ", svg)
    assert figure.title in words
    assert figure.experiment_id in words
    if kind in ("scatter", "heat", "tornado", "boxes"):
        assert "power [kWh]" in words
    themed = to_svg(themed_spec(figure.shape, width=200, height=100))
    assert "currentColor" in themed


def test_files(run: Run, tmp_path: Path) -> None:
    figure = run.plot("tilt", "power")
    assert figure.save(tmp_path / "p.png").size_bytes == (tmp_path / "p.png").stat().st_size
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    figure.save(tmp_path / "p.svg")
    assert (tmp_path / "p.svg").read_text().startswith("<svg")
    for path, message in (("p.png", "already exists"), ("p.gif", "ending"), ("no/p.png", "there is no folder")):
        with pytest.raises(UsageError, match=message):
            figure.save(tmp_path / path)
    figure.save(tmp_path / "p.png", overwrite=True)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_page_needs_no_network(run: Run, tmp_path: Path) -> None:
    run.plot("site").save(tmp_path / "p.html")
    page = (tmp_path / "p.html").read_text()
    assert "<title>Distribution of site</title>" in page
    assert "default-src 'none'" in page
    without_libraries = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert re.findall(r"\b(?:src|href)\s*=|https?:|@import|url\(", without_libraries) == []
    assert '"x": "Oslo"' in page


def test_a_notebook_shows_it(run: Run) -> None:
    figure = run.plot("tilt", "power")
    bundle = figure._repr_mimebundle_()
    spec = bundle["application/vnd.vegalite.v5+json"]
    assert spec["title"]["text"] == "power over tilt"
    assert [param["name"] for param in spec["params"]] == ["zoom", "brush"]
    # paper and ink are those of the notebook's theme
    assert "background" not in spec
    assert to_svg(spec)
    assert bundle["text/plain"].startswith("power over tilt\n")
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert figure.chart.to_dict()["mark"]["type"] == "circle"


ANY_TEXT = [
    *("\x00", "\x1b[31m", "\x9b", "\u202ea", "\ud800", "a\nb", "", "x" * 5000, "</script>", "a\\", "a'b", '"'),
    '"+(datum.x=1)+"',
]


@pytest.mark.parametrize("text", ANY_TEXT)
def test_any_text_is_drawn(text: str, tmp_path: Path) -> None:
    shape = Histogram(Axis(text, "category"), [3, 2], labels=[text, "b"])
    spec = vega_spec(shape, text, [text])
    assert "\x00" not in to_svg(spec)
    assert to_png(spec).startswith(b"\x89PNG")
    page = to_html(page_spec(shape, text, [text]), text, gestures(shape), page_themes())
    assert page.count("</script>") == 2  # of the page itself
    assert text_of(shape, 80)


def test_bars_of_any_text_are_drawn() -> None:
    """All in one picture, which takes as long as that of one."""
    title = "".join(ANY_TEXT)
    bars = Bars(title, [Bar(text, 0.5) for text in ANY_TEXT], signed=False)
    swings = [Swing(text, 0.0, 2.0, text, text) for text in ANY_TEXT]
    for shape in (bars, Tornado(Axis(title, "number", title), 1.0, swings, "low", "high")):
        assert to_svg(vega_spec(shape, title, ANY_TEXT))
        assert text_of(shape, 80)
    for text in ANY_TEXT:
        assert text_of(Bars(text, [Bar(text, 0.5), Bar("b", 0.1)], signed=False), 80)
        assert text_of(Tornado(Axis(text, "number", text), 1.0, [Swing(text, 0.0, 2.0, text, text)], "low", "high"), 80)


def test_moments_are_in_utc() -> None:
    axis = Axis("time", "time")
    start = datetime(2026, 1, 1).timestamp() * 1000
    shape = Curve(axis, Axis("n", "number"), [start, start + 7.2e6], [0.0, 5.0])
    spec = vega_spec(shape, "t", [])
    assert spec["encoding"]["x"]["scale"]["type"] == "utc"
    assert "2026-01-0" in text_of(shape, 80)
    assert to_svg(spec)


NUMBERS = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e200, max_value=1e200)


@cases(30, at_night=500)
@given(points=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=30), width=st.integers(1, 120))
def test_any_points_are_drawn(points: list[tuple[float, float]], width: int) -> None:
    xs, ys = [x for x, _ in points], [y for _, y in points]
    axes = Axis("x" * 50, "number", "m"), Axis("\x1b[31my", "number")
    for shape in (
        Points(*axes, xs, ys),
        Points(*axes, xs, ys, Axis("c", "number"), ys),
        Points(*axes, xs, ys, Axis("c", "category"), [str(y) for y in ys]),
        Bars("b", [Bar("\x1bn", math.tanh(y)) for y in ys], signed=True),
        Pairs([axes[0], axes[1]], [xs, ys], [[1.0, 0.5], [0.5, 1.0]]),
    ):
        text = text_of(shape, width)
        assert max(map(len, text.splitlines())) <= max(width, 40)
        assert "\x1b" not in text
