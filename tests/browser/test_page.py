from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.conftest import Served

if TYPE_CHECKING:
    from playwright.sync_api import Page, Response

AXE = (Path(__file__).parent / "axe.min.js").read_text(encoding="utf-8")


def faults(page: Page) -> list[str]:
    """The serious faults that axe finds in what is shown, each with its place."""
    page.evaluate(AXE)
    told: Any = page.evaluate("async () => (await axe.run({resultTypes: ['violations']})).violations")
    bad = [each for each in told if each["impact"] in ("serious", "critical")]
    return [f"{each['id']}: {node['html'][:120]}" for each in bad for node in each["nodes"]]


def drag(page: Page, selector: str, start: float, end: float, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Drag over a picture, from one part of its width to another; `meanwhile` is done with the button held down."""
    element = page.locator(selector).first
    element.hover()  # unlike `scroll_into_view_if_needed`, it looks again where the page has drawn the picture anew
    box = element.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * start, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * (start + end) / 2, y)
    meanwhile()
    page.mouse.move(box["x"] + box["width"] * end, y)
    page.mouse.up()


def answer(page: Page, text: str) -> None:
    """Wait until the page says how many cases are chosen."""
    page.locator("main > p[role=status]", has_text=text).wait_for()


def test_a_run_is_watched_brushed_and_a_failed_case_opened(page: Page, served: Served) -> None:
    page.goto(served.url)
    page.get_by_role("link", name="beam/v1.1.0").click()
    page.locator("h1", has_text="beam/v1.1.0").wait_for()
    page.locator(".state.running").first.wait_for()

    def has_all_strengths(response: Response) -> bool:
        return "/api/views" in response.url and any(sum(each["all"]) == 36 for each in response.json()["histograms"])

    def end_the_run() -> None:
        with page.expect_response(has_all_strengths):
            served.let_go()
        page.locator("p", has_text="36 succeeded, 4 failed").wait_for()

    # the rest of the run changes the histogram's ends, and neither takes the brush away nor closes what was opened
    page.get_by_text("About this run").click()
    page.get_by_text("Filter by value").click()
    page.get_by_label("from, or these categories").fill("7")
    drag(page, "figure:has(.name:text-is('strength')) .u-over", 0.5, 0.999, end_the_run)
    page.locator(".chips li", has_text="strength").wait_for()
    page.get_by_text("last outcome").wait_for()
    assert page.get_by_label("from, or these categories").input_value() == "7"
    page.get_by_label("Remove the filter").click()
    page.get_by_text("About this run").click()
    page.get_by_text("Filter by value").click()
    answer(page, "40 of 40 cases.")
    # the histogram of the width: its second half
    width = "figure:has(.name:text-is('width'))"
    drag(page, f"{width} .u-over", 0.5, 0.999)
    answer(page, "chosen")
    page.locator(".chips li", has_text="width").wait_for()
    assert "w=" in page.url
    before = page.url
    page.reload()
    page.locator(".chips li", has_text="width").wait_for()
    page.get_by_label("Remove the filter").first.click()
    answer(page, "40 of 40 cases.")
    page.go_back()
    page.locator(".chips li", has_text="width").wait_for()
    assert page.url == before
    assert not faults(page)
    # errors lead to their cases, and these to the case
    page.get_by_role("link", name="Errors").click()
    page.get_by_role("link", name="4", exact=True).click()
    answer(page, "4 of 40 cases chosen")
    page.get_by_role("cell").get_by_role("link", name="39").click()
    page.locator("pre.traceback", has_text="ValueError: <b>too wide</b>: 40").wait_for()
    page.get_by_role("button", name="Copy: Run it again in the debugger").click()
    page.get_by_role("button", name="Copied: Run it again in the debugger").wait_for()
    command = page.evaluate("navigator.clipboard.readText()")
    assert command.startswith("scythe rerun beam/v1.1.0/")
    assert command.endswith(" 39 --pdb")
    assert not faults(page)


def test_two_runs_are_compared(page: Page, served: Served) -> None:
    served.let_go()
    page.goto(f"{served.url}#runs")
    page.get_by_role("checkbox").nth(1).wait_for()
    for box in page.get_by_role("checkbox").all():
        box.check()
    assert not faults(page)
    page.get_by_role("button", name="Compare").click()
    page.locator("h1", has_text="Differences").wait_for()
    page.locator("h2", has_text="Only in the new run: 28 cases").wait_for()
    assert not faults(page)


def test_two_runs_are_laid_over_each_other(page: Page, served: Served) -> None:
    served.let_go()
    page.goto(f"{served.url}#runs")
    page.get_by_role("checkbox").nth(1).wait_for()
    for box in page.get_by_role("checkbox").all():
        box.check()
    page.get_by_role("button", name="Lay over each other").click()
    page.locator("h1", has_text="2 runs over each other").wait_for()
    answer(page, "52 of 52 cases")
    colors = page.get_by_role("list", name="Colors")
    colors.get_by_text("beam/v1.0.0").wait_for()
    colors.get_by_text("beam/v1.1.0").wait_for()
    assert not faults(page)
    drag(page, "figure:has(.name:text-is('width')) .u-over", 0.5, 0.999)
    page.locator(".chips li", has_text="width").wait_for()
    page.get_by_label("as shares of each run").check()
    # the address holds it all
    page.reload()
    page.locator(".chips li", has_text="width").wait_for()
    assert page.get_by_label("as shares of each run").is_checked()
    assert page.locator("main tbody tr").count() < 50
    page.get_by_role("cell").get_by_role("link", name="30", exact=True).click()
    page.locator("h1", has_text="Case 30 of beam/v1.1.0").wait_for()


def test_errors_and_sql_are_shown(page: Page, served: Served) -> None:
    served.let_go()
    page.goto(served.url)
    page.get_by_role("link", name="beam/v1.1.0").click()
    page.get_by_role("link", name="Errors").click()
    page.get_by_text("<b>too wide</b>: 37").wait_for()
    assert not faults(page)
    page.get_by_role("link", name="SQL").click()
    page.get_by_label("Query").fill("select kind, count(*) n from scalars group by all order by 1")
    page.keyboard.press("Control+Enter")
    page.get_by_role("cell", name="oak").wait_for()
    assert not faults(page)
    page.get_by_label("Query").fill("select * from nothing")
    page.get_by_role("button", name="Run").click()
    page.get_by_role("alert").wait_for()


@pytest.mark.parametrize("width", [400, 2000])
def test_nothing_is_cut_off_at_any_width(page: Page, served: Served, width: int) -> None:
    served.let_go()
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme="dark")
    page.goto(served.url)
    page.get_by_role("link", name="beam/v1.1.0").click()
    answer(page, "40 of 40")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert not faults(page)
    page.locator("label", has_text="color").get_by_role("combobox").select_option(label="state")
    page.get_by_role("list", name="Colors").get_by_text("failed").wait_for()
