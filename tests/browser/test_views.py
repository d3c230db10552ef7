"""Views beside those of the cases: durations and memory, a map, sensitivity, a study, pictures that are saved."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Generator, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scythe_cli.services.page import OpenPage
from scythe_cli.services.project import open_project
from tests.browser.placed import placed_run
from tests.browser.test_page import answer, drag, faults
from tests.browser.watching import watch
from tests.servers import http_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WHOLE, STUDY = "tank/v1.0.0/2026-01-01_00-00-00", "tank/v1.1.0/2026-01-01_00-00-00"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenPage]:
    """The page of a finished run and of a study that goes on, served by a thread of this process."""
    folder = tmp_path_factory.mktemp("views")
    project = open_project(storage=str(folder / "runs"), start=folder)
    assert placed_run(project.storage, folder / "scratch") == WHOLE
    assert placed_run(project.storage, folder / "scratch", minor=1, done=40, study="losses") == STUDY
    with project.ui() as page:
        yield page


@pytest.fixture
def view(chromium: Browser, shown: OpenPage) -> Generator[Page]:
    """A page that has said nothing to the console at the end."""
    context = chromium.new_context(viewport={"width": 1000, "height": 900}, accept_downloads=True)
    page = context.new_page()
    said, _ = watch(page)
    page.set_default_timeout(20_000)
    yield page
    context.close()
    assert not said


def figure(name: str) -> str:
    return f"figure:has(.name:text-is('{name}'))"


def test_durations_and_memory_are_drawn_on_a_logarithmic_scale(view: Page, shown: OpenPage) -> None:
    view.goto(f"{shown.url}#cases?run={WHOLE}")
    answer(view, "60 of 60 cases")
    for name in ("duration", "memory"):
        assert view.get_by_role("button", name=f"Log scale of {name}").get_attribute("aria-pressed") == "true"
    assert not faults(view)
    # from 0.01 s to 9 s there are three decades: the upper third are the 20 longest
    drag(view, f"{figure('duration [s]')} .u-over", 0.67, 0.999)
    answer(view, "cases chosen")
    chosen = view.locator("main > p[role=status]").inner_text()
    assert 17 <= int(chosen.split()[0]) <= 22
    assert view.locator(".chips li", has_text="duration").count() == 1
    # the address holds the scale
    view.get_by_role("button", name="Log scale of duration").click()
    view.locator("button[aria-label='Log scale of duration'][aria-pressed=false]").wait_for()
    assert view.url.endswith("l=%253Amemory")
    view.reload()
    view.locator("button[aria-label='Log scale of duration'][aria-pressed=false]").wait_for()
    assert view.get_by_role("button", name="Log scale of memory").get_attribute("aria-pressed") == "true"


def test_places_are_on_a_map_that_can_be_brushed(view: Page, shown: OpenPage) -> None:
    view.goto(f"{shown.url}#cases?run={WHOLE}")
    answer(view, "60 of 60 cases")
    map_ = figure("Map: lat and lon")
    view.locator(map_).wait_for()
    element = view.locator(f"{map_} .u-over")
    element.scroll_into_view_if_needed()
    box = element.bounding_box()
    assert box is not None
    # a degree of latitude is as long as one of longitude times the cosine of the middle
    view.mouse.move(box["x"] + box["width"] / 2, box["y"] + 1)
    view.mouse.down()
    view.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] - 2, steps=4)
    view.mouse.up()
    view.locator(".chips li", has_text="lon").wait_for()
    view.locator(".chips li", has_text="lat").wait_for()
    answer(view, "cases chosen")
    assert not faults(view)


def test_pictures_are_saved_as_svg(view: Page, shown: OpenPage, tmp_path: Path) -> None:
    view.goto(f"{shown.url}#cases?run={WHOLE}&c=material")
    answer(view, "60 of 60 cases")
    for name, marks in (("scatter", 60), ("map", 60), ("duration", 10), ("parallel", 60)):
        with view.expect_download() as saved:
            view.get_by_role("button", name=f"Save {name} as SVG").click()
        path = tmp_path / f"{name}.svg"
        saved.value.save_as(path)
        root = ET.fromstring(path.read_text(encoding="utf-8"))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        found = root.findall(".//{*}rect") if name != "parallel" else root.findall(".//{*}path")
        assert len(found) >= marks, name
        assert all(re.fullmatch(r"-?[\d.]+", each.get("x", "0")) for each in found)
        assert root.findall(".//{*}text")


def test_sensitivity_tells_what_outputs_follow(view: Page, shown: OpenPage) -> None:
    view.goto(f"{shown.url}#cases?run={WHOLE}")
    view.get_by_role("link", name="Sensitivity").click()
    view.locator("h1", has_text="Sensitivity of tank").wait_for()
    view.get_by_text("over all 60 cases").wait_for()
    first = view.locator("main tbody tr").first
    assert "1.00" in first.inner_text()
    assert view.locator("main tbody tr").count() == 4  # the number of rooms does not vary
    assert not faults(view)
    where = json.dumps({"f": {"material": ["=", "oak"]}})
    view.goto(f"{shown.url}#sensitivity?run={WHOLE}&w={where}")
    view.get_by_text("over all 20 cases that the filters choose").wait_for()
    assert view.locator("main tbody tr").count() == 3


def test_a_study_shows_rounds_and_what_is_next(view: Page, shown: OpenPage) -> None:
    view.goto(f"{shown.url}#cases?run={STUDY}")
    view.get_by_role("link", name="Rounds of the study losses").click()
    view.locator("h1", has_text="Study losses").wait_for()
    view.get_by_role("cell", name="1 %", exact=True).wait_for()
    view.get_by_text("20 cases that have no outcome yet").wait_for()
    view.get_by_role("list", name="Colors").get_by_text("loss rmse <= 1 %").wait_for()
    view.get_by_role("button", name="Save convergence as SVG").wait_for()
    assert view.get_by_text("volume > 60").count() == 1
    assert not faults(view)
    view.get_by_role("link", name="40", exact=True).click()
    view.locator("h1", has_text="Case 40").wait_for()
    view.goto(f"{shown.url}#study?run={WHOLE}")
    view.get_by_text("This run is of no study.").wait_for()


def test_the_list_of_runs_tells_what_varied(view: Page, shown: OpenPage) -> None:
    view.goto(shown.url)
    view.get_by_role("cell", name="lon, lat, volume, material", exact=True).first.wait_for()
    assert not faults(view)


class Notebook(BaseHTTPRequestHandler):
    """Answers with a page that has another inside."""

    html = ""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(f"<!doctype html><title>notebook</title><link rel=icon href=data:,>{self.html}".encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


def test_a_notebook_shows_the_page_inside(view: Page, shown: OpenPage) -> None:
    # of this machine, by another port, as notebooks are
    Notebook.html = shown._repr_html_()  # pyright: ignore[reportPrivateUsage]
    with http_server(Notebook) as port:
        view.goto(f"http://localhost:{port}/lab")
        view.frame_locator("iframe").get_by_role("link", name=WHOLE).wait_for()
        assert view.get_by_role("link", name="open it by itself").get_attribute("href") == shown.url
