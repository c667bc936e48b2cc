"""The page in a browser: keys, filters, comparisons, small screens, dark, paper, and without scripts.

Screenshots stay in pytest's temporary folder (``--basetemp``), for who wants to look.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.report import write_report
from harness.results.outcome import Outcome
from tests.report.conftest import PATIENCE
from tests.report.runs import HOSTILE, large_rows, row, write_run

if TYPE_CHECKING:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import Browser, Page

    OpenPage = Callable[..., Page]


#: The hostile text as a page shows it in names.
PRINTED = HOSTILE.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")


@pytest.fixture(scope="module")
def large_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of 20,000 rows: 25 targets and the whole catalogue."""
    return write_report(write_run(tmp_path_factory.mktemp("large") / "run", large_rows(25, 800)))


def focused(page: Page) -> str:
    """What a screen reader would call the cell that has the focus."""
    name: str = page.evaluate(
        "document.activeElement.getAttribute('aria-label') ?? document.activeElement.id"
    )
    return name


def shown_rows(page: Page) -> list[str]:
    rows: list[str] = page.evaluate(
        "[...document.querySelectorAll('#matrix tbody tr:not(.topic)')]"
        ".filter((row) => row.offsetParent).map((row) => row.querySelector('.name').textContent)"
    )
    return rows


def shown_columns(page: Page) -> list[str]:
    columns: list[str] = page.evaluate(
        "[...document.querySelectorAll('#matrix thead th:not(.corner)')]"
        ".filter((cell) => cell.offsetParent).map((cell) => cell.querySelector('b').textContent)"
    )
    return columns


def findings(axe: Axe, page: Page) -> list[str]:
    violations = axe.run(page).response["violations"]
    return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in violations]


def focus_matrix(page: Page) -> None:
    """Reach the matrix by the tab key alone, from the control before it."""
    page.locator("#right").focus()
    page.keyboard.press("Tab")


# -- keys ----------------------------------------------------------------------------------------------------


def test_arrow_keys_move_in_the_matrix_and_one_tab_leaves_it(open_page: OpenPage, report: Path) -> None:
    page = open_page(report)
    focus_matrix(page)
    assert focused(page).startswith("CTX")
    page.keyboard.press("ArrowDown")
    assert focused(page).startswith("B-CTX-18")
    page.keyboard.press("ArrowRight")
    assert "B-CTX-18 on reference:6.1:" in focused(page)
    page.keyboard.press("End")
    assert "B-CTX-18 on vm:stand-in:" in focused(page)
    page.keyboard.press("ArrowRight")
    assert "B-CTX-18 on vm:stand-in:" in focused(page), "there is nothing beyond the last column"
    page.keyboard.press("Control+Home")
    assert focused(page).startswith("CTX")
    page.keyboard.press("Control+End")
    assert "(other) on vm:stand-in: PASS" in focused(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('#matrix')") is None
    page.keyboard.press("Shift+Tab")
    assert "(other) on vm:stand-in: PASS" in focused(page), "the matrix remembers where one was"


def test_the_focus_can_be_seen(open_page: OpenPage, report: Path) -> None:
    page = open_page(report)
    focus_matrix(page)
    page.keyboard.press("ArrowDown")
    assert page.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth)") >= 2


def test_enter_opens_a_cell_and_escape_leads_back(open_page: OpenPage, report: Path, tmp_path: Path) -> None:
    page = open_page(report)
    focus_matrix(page)
    while "B-LAY-03 on reference:10.0.26100" not in focused(page):
        page.keyboard.press("ArrowRight" if focused(page).startswith("B-LAY-03") else "ArrowDown")
    page.keyboard.press("Enter")
    dialog = page.locator("dialog[open]")
    text = dialog.inner_text()
    assert "B-LAY-03 on reference:10.0.26100" in text
    assert "kind of guest: reference, not Windows" in text
    assert text.index("test_b[x]") < text.index("test_a"), "what failed comes first"
    page.screenshot(path=tmp_path / "cell.png")
    page.keyboard.press("Escape")
    assert dialog.count() == 0
    assert "B-LAY-03 on reference:10.0.26100" in focused(page)


def test_a_failure_is_one_link_away_from_its_cell(open_page: OpenPage, report: Path) -> None:
    page = open_page(report)
    page.evaluate("for (const each of document.querySelectorAll('.failure')) each.open = false")
    page.locator("#matrix td.C").nth(1).click()
    page.locator("dialog[open] a", has_text="failure").click()
    page.locator("dialog[open]").wait_for(state="detached")
    page.locator(".failure[open]").first.wait_for()
    opened = page.locator(".failure[open]")
    assert opened.count() == 1
    assert "test_c" in opened.locator("summary").first.inner_text()
    assert page.evaluate("document.activeElement.closest('.failure') !== null")


def test_topics_fold_by_key(open_page: OpenPage, report: Path) -> None:
    page = open_page(report)
    before = shown_rows(page)
    focus_matrix(page)
    page.keyboard.press("Enter")
    assert shown_rows(page) == [name for name in before if not name.startswith("B-CTX")]
    assert page.evaluate("document.activeElement.getAttribute('aria-expanded')") == "false"
    page.keyboard.press("ArrowDown")
    assert not focused(page).startswith("B-CTX"), "folded rows are stepped over"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    assert shown_rows(page) == before


def test_the_first_tab_skips_to_the_matrix(open_page: OpenPage, report: Path) -> None:
    page = open_page(report)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the matrix"
    page.keyboard.press("Enter")
    assert focused(page) == "matrix-heading"


# -- filters and comparisons ---------------------------------------------------------------------------------


def test_text_filters_by_behaviour_statement_and_test(open_page: OpenPage, report: Path) -> None:
    page = open_page(report)
    page.fill("#find", "b-not")
    assert shown_rows(page) == ["B-NOT-01", "B-NOT-02", "B-NOT-39"]
    page.fill("#find", "TEST_B[x]")
    assert shown_rows(page) == ["B-LAY-03"]
    assert page.locator("#status").inner_text().startswith("1 of ")
    page.fill("#find", "")
    assert len(shown_rows(page)) > 5


def test_targets_are_filtered(open_page: OpenPage, report: Path) -> None:
    page = open_page(report)
    page.fill("#find-target", "6.1")
    assert shown_columns(page) == ["reference:6.1", "reference:6.1-x86"]
    page.fill("#find-target", "stand")
    assert shown_columns(page) == ["vm:stand-in"]


def test_failures_only(open_page: OpenPage, report: Path) -> None:
    page = open_page(report)
    page.select_option("#show", "bad")
    assert shown_rows(page) == ["B-LAY-03", "B-NOT-39", f"~{PRINTED}"]
    page.locator("#matrix tr:not(.topic) td.F").last.click()
    assert PRINTED in page.locator("dialog[open] code").inner_text()
    page.keyboard.press("Escape")
    page.select_option("#show", "known")
    assert shown_rows(page) == ["B-NOT-01"]


def test_two_targets_are_compared(open_page: OpenPage, report: Path, tmp_path: Path) -> None:
    page = open_page(report)
    page.select_option("#left", "reference:10.0.26100")
    page.select_option("#right", "reference:6.1")
    page.screenshot(path=tmp_path / "comparison.png")
    assert shown_columns(page) == ["reference:6.1", "reference:10.0.26100"]
    assert "B-LAY-05" in shown_rows(page), "PASS on one, SKIP on the other"
    assert "B-CTX-18" in shown_rows(page), "on one only"
    assert "B-LAY-03" not in shown_rows(page), "FAIL on both"
    text = page.locator("#comparison").inner_text()
    assert "2 end the same on both" in text
    rows = page.locator("#comparison tbody tr")
    listed = {rows.nth(at).locator("code").inner_text().split("::")[1] for at in range(rows.count())}
    assert listed == {"test_a", "test_c", "test_i", "test_r"}
    first = page.locator("#comparison tr", has_text="test_a").inner_text()
    assert first.index("PASS") < first.index("SKIP"), "in the order of the choice"
    page.click("#compare-end")
    assert len(shown_columns(page)) == 4
    assert not page.locator("#comparison").is_visible()


def test_the_tab_key_reaches_a_cell_whatever_is_filtered(open_page: OpenPage, report: Path) -> None:
    page = open_page(report)
    page.fill("#find", "B-LAY-05")
    page.fill("#find-target", "stand")
    focus_matrix(page)
    assert page.evaluate("document.activeElement.closest('#matrix tbody') !== null")
    assert page.evaluate("document.activeElement.offsetParent !== null")


# -- what guests say -----------------------------------------------------------------------------------------


def test_nothing_a_guest_says_runs(open_page: OpenPage, report: Path) -> None:
    page = open_page(report)
    for index in range(page.locator("#matrix tbody tr").count()):
        page.locator("#matrix tbody tr").nth(index).locator("td").nth(2).click()
        if page.locator("dialog[open]").count():
            page.keyboard.press("Escape")
    page.select_option("#left", "reference:6.1-x86")
    page.select_option("#right", "reference:6.1")
    assert page.evaluate("window.pwned") is None
    assert page.locator("img").count() == 0
    assert "onerror=" in page.locator("#comparison").inner_text()


def test_markup_that_slipped_through_could_not_run(browser: Browser, report: Path, tmp_path: Path) -> None:
    """The policy of the page holds by itself: here a script is in it that the page didn't bring."""
    bad = tmp_path / "bad.html"
    text = report.read_text(encoding="utf-8")
    bad.write_text(text.replace("<main", "<script>window.pwned=1</script><main", 1), encoding="utf-8")
    with browser.new_context() as context:
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        with page.expect_console_message(lambda message: "Content Security Policy" in message.text):
            page.goto(bad.as_uri())
        assert page.evaluate("window.pwned") is None


# -- screens and paper ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [390, 320, 768])
@pytest.mark.parametrize("which", ["report", "large_report"])
def test_a_phone_scrolls_the_page_one_way_only(
    open_page: OpenPage, which: str, width: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    page = open_page(request.getfixturevalue(which), width=width, height=844, has_touch=True)
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=tmp_path / f"phone-{width}.png", full_page=which == "report")
    page.locator("#matrix td.F").first.click()
    box = page.locator("dialog[open]").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1360, 390])
def test_axe_finds_nothing(
    open_page: OpenPage, report: Path, scheme: str, width: int, tmp_path: Path
) -> None:
    """Contrast, names, roles, order of headings: the rules of axe-core, in both colour schemes."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the extra `browser`")
    page = open_page(report, width=width, color_scheme=scheme)
    page.screenshot(path=tmp_path / f"{scheme}-{width}.png", full_page=True)
    assert findings(axe.Axe(), page) == []
    page.locator("#matrix td.F").first.click()
    page.screenshot(path=tmp_path / f"{scheme}-{width}-cell.png")
    assert findings(axe.Axe(), page) == []


def test_the_switch_overrules_the_system(open_page: OpenPage, report: Path) -> None:
    page = open_page(report, color_scheme="light")
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.locator("label", has_text="dark").click()
    dark = page.evaluate(colour)
    assert dark != light
    page.reload()
    assert page.evaluate(colour) == dark, "it is remembered"
    page.locator("label", has_text="system").click()
    assert page.evaluate(colour) == light


def test_it_prints(open_page: OpenPage, report: Path, tmp_path: Path) -> None:
    page = open_page(report, color_scheme="dark")
    page.locator("#fold").click()
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("#tools").is_visible()
    assert len(shown_rows(page)) > 5, "paper has no folds"
    assert page.evaluate("getComputedStyle(document.getElementById('grid')).overflow") == "visible"
    page.pdf(path=tmp_path / "report.pdf", format="A4", landscape=True)
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")


def test_without_scripts_the_essentials_are_there(open_page: OpenPage, report: Path) -> None:
    page = open_page(report, java_script_enabled=False)
    text = page.locator("body").inner_text()
    for part in (
        "Not Windows.",
        "B-LAY-03",
        "test_b[x]",
        "PostDeleteKey",
        "harness run",
        "Callback coverage",
    ):
        assert part in text
    assert not page.locator("#tools").is_visible(), "no controls that do nothing"
    page.locator("#matrix td.C a").first.click()
    assert page.url.endswith("#f1")


# -- many rows -----------------------------------------------------------------------------------------------


def test_a_large_run_can_be_used(open_page: OpenPage, large_report: Path, tmp_path: Path) -> None:
    page = open_page(large_report)
    page.screenshot(path=tmp_path / "large.png")
    assert len(shown_columns(page)) == 25
    page.select_option("#show", "bad")
    page.fill("#find", "that_says_what_it_wants_to_see_57")
    assert 1 <= len(shown_rows(page)) <= 3
    page.locator("#matrix tbody tr:not(.topic):visible td.F").first.click()
    assert "that_says_what_it_wants_to_see_57" in page.locator("dialog[open]").inner_text()


def test_failures_that_are_many_come_when_asked_for(open_page: OpenPage, tmp_path: Path) -> None:
    rows = [row(f"t.py::test_{n:03}", "reference:6.1", Outcome.FAIL, "B-LAY-03") for n in range(130)]
    page = open_page(write_report(write_run(tmp_path / "run", rows)))
    assert page.locator(".failure").count() == 60
    page.locator("#more button").click()
    assert page.locator(".failure").count() == 120
    page.locator("#more button").click()
    assert page.locator(".failure").count() == 130
    assert page.locator("#more").count() == 0


def test_a_link_to_a_failure_brings_it(open_page: OpenPage, tmp_path: Path) -> None:
    rows = [row(f"t.py::test_{n:03}", "reference:6.1", Outcome.FAIL, "B-LAY-03") for n in range(130)]
    page = open_page(write_report(write_run(tmp_path / "run", rows)))
    page.evaluate("location.hash = '#f130'")
    page.locator("#f130[open]").wait_for()
    assert "test_129" in page.locator("#f130").inner_text()
    assert page.locator("#f130 .command button").count() == 1, "it can be copied from like the others"
