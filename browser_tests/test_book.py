"""The book as a reader meets it."""

from pathlib import Path

import pytest

from browser_tests.conftest import ROOT, SCREENSHOTS

NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))
SOLUTIONS = [f"solutions/{p.stem}" for p in sorted((ROOT / "notebooks/solutions").glob("*.ipynb"))]
PAGES = ["index", "teaching", *NOTEBOOKS, *SOLUTIONS]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_and_asks_nobody_else(open_page, book, name):
    page, watch = open_page(f"{book}/{name}.html")
    page.wait_for_load_state("networkidle")
    page.screenshot(path=SCREENSHOTS / f"book_{Path(name).name}.png")
    assert watch.foreign == [] and watch.failed == [] and watch.errors == []
    images = page.evaluate(
        "[...document.querySelectorAll('article img')].map(i => [i.alt, i.naturalWidth])"
    )
    assert all(alt and "_images/" not in alt and width > 0 for alt, width in images), images
    assert images or name not in NOTEBOOKS


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_formulas_are_set(open_page, book, name):
    page, _ = open_page(f"{book}/{name}.html")
    page.wait_for_selector("mjx-container", timeout=30_000)
    raw = page.evaluate("document.querySelector('article').innerText.includes('\\\\gamma')")
    assert not raw, "a formula was left as it was typed"


@pytest.mark.parametrize("name", ["index", "03_target_network"])
def test_a_narrow_page_does_not_run_over(open_page, book, name):
    page, _ = open_page(f"{book}/{name}.html", viewport={"width": 390, "height": 800})
    page.wait_for_load_state("networkidle")
    page.screenshot(path=SCREENSHOTS / f"book_390_{name}.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= 391


def test_search_finds_the_target_network(open_page, book):
    page, _ = open_page(f"{book}/search.html?q=target+network")
    found = page.locator("#search-results li a", has_text="target that holds still")
    found.first.wait_for(timeout=30_000)


def test_dark_mode_and_keyboard(open_page, book):
    page, _ = open_page(f"{book}/index.html")
    before = page.evaluate("document.documentElement.dataset.theme")
    for _ in range(3):
        page.locator("button.theme-switch-button:visible").first.click()
        if page.evaluate("document.documentElement.dataset.theme") != before:
            break
    assert page.evaluate("document.documentElement.dataset.theme") != before
    page.keyboard.press("Tab")
    seen = set()
    for _ in range(25):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.getAttribute('href')"))
    assert any(href and "01_q_table" in href for href in seen), seen


@pytest.mark.parametrize("name", ["01_q_table", "04_pong_dqn"])
def test_an_animation_plays(open_page, book, name):
    page, _ = open_page(f"{book}/{name}.html")
    picture = page.locator("article img[alt^='animation: ']").first
    picture.scroll_into_view_if_needed()
    seen = set()
    for _ in range(12):
        seen.add(picture.screenshot())
        page.wait_for_timeout(120)
    assert len(seen) > 2, "the picture stands still"


def test_slides_need_no_network(open_page):
    page, watch = open_page((ROOT / "build" / "slides" / "01_q_table.html").as_uri())
    page.wait_for_selector(".reveal.ready", timeout=30_000)
    page.wait_for_selector("mjx-container", state="attached", timeout=30_000)
    page.screenshot(path=SCREENSHOTS / "slides_01.png")
    assert watch.foreign == [] and watch.failed == [] and watch.errors == []
