"""Plots as pages: they fill the window, are light or dark, are zoomed and marked, and ask no other machine."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scythe_cli.analysis.plots.figure import Figure
from scythe_cli.analysis.plots.shapes import Axis, Bar, Bars, Box, Boxes, Curve, Heat, Histogram, Pairs, Points, Shape
from tests.browser.watching import watch

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

X, Y = Axis("tilt", "number", "deg"), Axis("power", "number", "kWh")
XS = [float(i % 40) for i in range(200)]
YS = [float(i) for i in range(200)]
SITES = ["Oslo" if i % 4 else "Rome" for i in range(200)]

ZOOMED: dict[str, Shape] = {
    "points": Points(X, Y, XS, YS, Axis("site", "category"), SITES),
    "logarithmic": Points(Axis("tilt", "number", log=True), Y, [x + 1 for x in XS], YS),
    "heat": Heat(X, Y, [0, 20, 40], [0, 100, 200], [[1, 2], [3, 4]]),
    "histogram": Histogram(X, [5, 9, 3], [0, 10, 20, 30]),
    "boxes": Boxes(Axis("site", "category"), X, [Box("Oslo", 9, 1, 2, 3, 4, 8), Box("Rome", 9, 2, 3, 5, 7, 9)]),
    "curve": Curve(Axis("time (UTC)", "time"), Y, [1.767e12 + i * 6e4 for i in range(60)], YS[:60]),
}
PAIRS = Pairs([X, Y], [XS, YS], [[1.0, 0.5], [0.5, 1.0]], Axis("site", "category"), SITES)
BARS = Bars("index", [Bar(name, 0.4) for name in "abc"], signed=True)
ALL = {
    **ZOOMED,
    "pairs": PAIRS,
    "bars": BARS,
    "categories": Histogram(Axis("site", "category"), [5, 9], labels=["Oslo", "Rome"]),
}


class Plots:
    """Opens plots in a page."""

    def __init__(self, page: Page, folder: Path) -> None:
        self.page = page
        self._folder = folder

    def open(self, shape: Shape) -> Page:
        """Show a plot, and wait until it is drawn."""
        figure = Figure("solar/v1.0.0/2026-01-01_00-00-00", "scatter", "A </script><b>title</b>", ["200 cases"], shape)
        path = self._folder / "plot.html"
        figure.save(path, overwrite=True)
        self.page.goto(path.as_uri())
        self.page.wait_for_function("() => shown !== null && !isDrawing")
        return self.page

    def domain(self, scale: str = "x") -> list[float]:
        """Where an axis begins and ends."""
        return self.page.evaluate(f"shown.view.scale('{scale}').domain().map(Number)")

    def changed(self, before: list[float], scale: str = "x") -> list[float]:
        """Where an axis begins and ends, once that is no longer as before."""
        self.page.wait_for_function(
            f"before => JSON.stringify(shown.view.scale('{scale}').domain().map(Number)) !== JSON.stringify(before)",
            arg=before,
        )
        return self.domain(scale)

    def middle(self) -> tuple[float, float]:
        """The middle of the picture."""
        box = self.page.locator("#plot canvas").bounding_box()
        assert box is not None
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.fixture
def plots(chromium: Browser, tmp_path: Path) -> Generator[Plots]:
    """A page that has said nothing to the console at the end, and loaded nothing but itself."""
    context = chromium.new_context(viewport={"width": 1000, "height": 700})
    page = context.new_page()
    said, asked = watch(page)
    page.set_default_timeout(60_000)
    yield Plots(page, tmp_path)
    context.close()
    assert not said
    assert all(url.startswith(("file:", "blob:", "data:")) for url in asked)


@pytest.mark.parametrize("name", ZOOMED)
def test_the_wheel_and_the_keyboard_zoom_and_a_double_click_ends_it(plots: Plots, name: str) -> None:
    page = plots.open(ZOOMED[name])
    before = plots.domain()
    x, y = plots.middle()
    page.mouse.move(x, y)
    page.mouse.wheel(0, -300)
    zoomed = plots.changed(before)
    assert before[0] < zoomed[0] < zoomed[1] < before[1]
    page.mouse.down()
    page.mouse.move(x + 60, y, steps=3)
    page.mouse.up()
    moved = plots.changed(zoomed)
    assert moved[0] < zoomed[0]
    assert moved[1] < zoomed[1]
    page.mouse.dblclick(x, y)
    page.wait_for_function("low => Number(shown.view.scale('x').domain()[0]) === low", arg=before[0])
    page.keyboard.press("+")
    zoomed = plots.changed(before)
    assert before[0] < zoomed[0] < zoomed[1] < before[1]
    page.keyboard.press("ArrowLeft")
    assert plots.changed(zoomed)[0] < zoomed[0]
    page.keyboard.press("Escape")
    page.wait_for_function("low => Number(shown.view.scale('x').domain()[0]) === low", arg=before[0])
    assert "double click" in page.locator("p").inner_text()


def test_points_are_marked_and_one_color_is_picked(plots: Plots) -> None:
    page = plots.open(ZOOMED["points"])
    before = plots.domain()
    x, y = plots.middle()
    page.keyboard.down("Shift")
    page.mouse.move(x - 100, y - 100)
    page.mouse.down()
    page.mouse.move(x + 100, y + 100, steps=4)
    page.mouse.up()
    page.keyboard.up("Shift")
    told = page.get_by_role("status")
    told.filter(has_text="of 200 points marked.").wait_for()
    span: Any = page.evaluate("shown.view.signal('brush')")
    inside = [
        True
        for x, y in zip(XS, YS, strict=True)
        if min(span["x"]) <= x <= max(span["x"]) and min(span["y"]) <= y <= max(span["y"])
    ]
    assert 0 < len(inside) < 100
    assert told.inner_text() == f"{len(inside)} of 200 points marked."
    assert plots.domain() == before
    page.keyboard.press("Escape")
    page.wait_for_function("document.getElementById('marked').textContent === ''")


def test_points_that_are_marked_in_one_cell_of_a_grid_are_counted_in_its_histograms(plots: Plots) -> None:
    page = plots.open(PAIRS)
    page.mouse.move(600, 150)
    page.mouse.down()
    page.mouse.move(850, 250, steps=4)
    page.mouse.up()
    told = page.get_by_role("status")
    told.filter(has_text="of 200 points marked.").wait_for()
    n = int(told.inner_text().split()[0])
    assert 0 < n < 200
    counted = """() => {
      const names = Object.keys(shown.view.getState({data: () => true, signals: () => false}).data);
      return names.map(name => shown.view.data(name)).filter(rows => rows.length && "bin" in rows[0])
        .map(rows => rows.reduce((sum, row) => sum + row.n, 0));
    }"""
    assert sorted(set(page.evaluate(counted))) == [n, 200]


@pytest.mark.parametrize("name", ALL)
def test_a_plot_fills_its_window_and_grows_with_it(plots: Plots, name: str) -> None:
    page = plots.open(ALL[name])
    for width, height in ((1000, 700), (400, 800), (2000, 1000)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_function(
            "width => !isDrawing && Math.abs(document.querySelector('#plot canvas').offsetWidth - width) <= 8",
            arg=width,
        )
        page.wait_for_function(
            "() => document.querySelector('#plot canvas').offsetHeight >= innerHeight - 8 - "
            "document.querySelector('p').offsetHeight"
        )
        scrolled = page.evaluate("(d => [d.scrollWidth, d.scrollHeight])(document.documentElement)")
        assert scrolled == [width, height]


def test_a_plot_is_light_or_dark_as_the_system_is(plots: Plots) -> None:
    page = plots.open(ZOOMED["points"])
    seen = """() => {
      const canvas = document.querySelector("#plot canvas");
      const [r, g, b] = canvas.getContext("2d").getImageData(3, canvas.height - 3, 1, 1).data;
      return [r, g, b].join();
    }"""
    assert page.evaluate(seen) == "255,255,255"
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("() => !isDrawing && shown.view.background() === '#14181f'")
    assert page.evaluate(seen) == "20,24,31"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 31)"
