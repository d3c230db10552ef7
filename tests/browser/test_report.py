"""A report in a browser: its table and lines choose among the cases, and text of a run stays text."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from scythe_cli.storage.opening import open_storage
from tests.browser.test_page import faults
from tests.browser.watching import watch
from tests.result_runs import Case, Wall, finished_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HOSTILE = "</script><script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of the report of 200 cases, of which 20 failed."""
    folder = tmp_path_factory.mktemp("report")
    sites = ["Oslo", "Rome", HOSTILE]
    cases = [Case(tilt=float(i), site=sites[i % 3], wall=Wall(u_value=(i * 7 % 11) / 10)) for i in range(200)]
    answers: list[dict[str, Any]] = [{"power": 400.0 - i, "note": HOSTILE} for i in range(200)]
    answers[180:] = [{"state": "failed", "message": f"{HOSTILE} {i}"} for i in range(20)]
    run = finished_run(open_storage(folder / "runs"), folder / "s", cases, answers)
    run.report(folder / "report.html")
    return (folder / "report.html").as_uri()


@pytest.fixture
def page(chromium: Browser, report: str) -> Generator[Page]:
    """The report; at the end the console has been told nothing, and nothing but the file was asked for."""
    context = chromium.new_context(viewport={"width": 1000, "height": 900})
    page = context.new_page()
    said, asked = watch(page)
    page.set_default_timeout(20_000)
    page.goto(report)
    chosen(page, "200 of 200 chosen.")
    yield page
    assert page.title() == "solar/v1.0.0/2026-01-01_00-00-00"
    context.close()
    assert not said
    assert asked == [report]


def chosen(page: Page, text: str) -> None:
    """Wait until the page says how many cases are chosen."""
    page.locator("#chosen", has_text=text).wait_for()


def cells(page: Page, number: int) -> list[str]:
    """What the table shows of a column."""
    return page.locator(f"#table tbody td:nth-child({number})").all_inner_texts()


def test_the_table_is_filtered_sorted_and_paged(page: Page) -> None:
    assert cells(page, 1) == [str(i) for i in range(25)]
    page.get_by_role("button", name="Next").click()
    assert cells(page, 1)[0] == "25"
    tilt = page.get_by_label("Filter tilt [deg]")
    tilt.fill(">=150")
    chosen(page, "50 of 200 chosen.")
    assert cells(page, 1)[0] == "150"
    tilt.fill("10..12")
    chosen(page, "3 of 200 chosen.")
    tilt.fill("")
    page.get_by_label("Filter site").select_option(label="Rome")
    chosen(page, "67 of 200 chosen.")
    assert set(cells(page, 5)) == {"Rome"}
    page.get_by_role("button", name="power [kWh]").click()
    # what has no power comes last, whichever way it is sorted
    assert cells(page, 8)[:2] == ["222", "225"]
    page.get_by_role("button", name="power [kWh]").click()
    assert cells(page, 8)[:2] == ["399", "396"]
    assert page.locator("#table th[aria-sort=descending]").inner_text() == "power [kWh]"
    page.get_by_role("button", name="All cases").click()
    chosen(page, "200 of 200 chosen.")
    assert not faults(page)


def test_a_failed_case_leads_to_its_traceback(page: Page) -> None:
    page.get_by_label("Filter state").select_option(label="failed")
    chosen(page, "20 of 200 chosen.")
    page.get_by_role("button", name="Traceback of case 183").click()
    trace = page.locator("#case-183 pre")
    trace.wait_for()
    assert 'File "m.py", line 7, in f' in trace.inner_text()
    assert HOSTILE in page.locator("#case-183 summary").inner_text()


def test_lines_are_brushed(page: Page) -> None:
    canvas = page.locator("#lines")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    # the first axis is the tilt, from 0 at the bottom to 199 at the top
    page.mouse.move(box["x"] + 34, box["y"] + 36)
    page.mouse.down()
    page.mouse.move(box["x"] + 34, box["y"] + 60)
    page.mouse.move(box["x"] + 34, box["y"] + 100)
    page.mouse.up()
    page.wait_for_function("!document.getElementById('chosen').textContent.startsWith('200')")
    rows = [int(row) for row in cells(page, 1)]
    n = int(page.locator("#chosen").inner_text().split()[0])
    assert 40 < n < 70
    assert rows == list(range(rows[0], rows[0] + 25))
    assert rows[0] in range(198 - n, 202 - n)
    page.mouse.dblclick(box["x"] + 34, box["y"] + 150)
    chosen(page, "200 of 200 chosen.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off_at_any_width(page: Page, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    for width in (400, 1000, 2000):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.wait_for_function("document.getElementById('lines').offsetWidth >= Math.min(innerWidth, 1120) - 60")
    assert not faults(page)
