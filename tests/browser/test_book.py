"""The book as a reader meets it."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

from tests.browser.conftest import ROOT, SCREENSHOTS
from tools.execute import ship_mathjax, write_page

NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))
SOLUTIONS = [f"solutions/{p.stem}" for p in sorted((ROOT / "notebooks/solutions").glob("*.ipynb"))]
PAGES = ["index", "glossary", "teaching", *NOTEBOOKS, *SOLUTIONS]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_and_asks_nobody_else(open_page, book, name):
    page, watch = open_page(f"{book}/{name}.html")
    page.wait_for_load_state("networkidle")
    page.screenshot(path=SCREENSHOTS / f"book_{name.replace('/', '_')}.png")
    assert watch.foreign == [] and watch.failed == [] and watch.errors == []
    images = page.evaluate(
        "[...document.querySelectorAll('article img')].map(i => [i.alt, i.naturalWidth])"
    )
    assert all(alt and "_images/" not in alt and width > 0 for alt, width in images), images
    assert images or name not in NOTEBOOKS


class Links(HTMLParser):
    """Where a page leads to, and the anchors it has."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = set(), {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors |= {attrs[key] for key in ("id", "name") if attrs.get(key)}
        self.links |= {attrs[key] for key in ("href", "src") if attrs.get(key)}


def test_every_link_leads_somewhere(book):
    folder = ROOT / "build" / "book" / "html"
    paths = [path for path in folder.glob("**/*.html") if "_static" not in path.parts]
    pages = {path: Links(path) for path in paths}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            known = pages[target].anchors if target in pages else {unquote(parts.fragment)}
            if not target.exists() or unquote(parts.fragment) not in known:
                broken.append(f"{path.relative_to(folder)}: {link}")
    assert not broken, broken
    assert len(pages) >= len(PAGES)


@pytest.mark.parametrize("name", [*NOTEBOOKS, *SOLUTIONS])
def test_a_notebook_can_be_downloaded_and_leads_to_no_address_that_nobody_owns(book, name):
    page = Links(ROOT / "build" / "book" / "html" / f"{name}.html")
    assert any(link.endswith(f"{Path(name).name}.ipynb") and "://" not in link
               for link in page.links), "no download"  # fmt: skip
    assert not [link for link in page.links if "colab.research.google.com" in link]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_code_fits_into_the_column(open_page, book, name):
    page, _ = open_page(f"{book}/{name}.html", viewport={"width": 1280, "height": 900})
    cut = page.evaluate(
        """[...document.querySelectorAll('article .cell_input pre')]
        .filter(pre => pre.offsetParent && pre.scrollWidth > pre.clientWidth + 1)
        .map(pre => pre.innerText.slice(0, 200))"""
    )
    assert cut == []


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_folded_code_opens_with_one_click(open_page, book, name):
    page, _ = open_page(f"{book}/{name}.html")
    folded = page.locator("article details.hide:has(.cell_input)")
    assert folded.count() >= 3
    first = folded.first
    assert not first.locator(".cell_input pre").first.is_visible()
    first.locator("summary").click()
    assert first.locator(".cell_input pre").first.is_visible()


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
    found = page.locator("#search-results li a", has_text="target network")
    found.first.wait_for(timeout=30_000)


def test_dark_mode(open_page, book):
    page, _ = open_page(f"{book}/01_q_table.html", color_scheme="light")
    theme = "document.documentElement.dataset.theme"
    assert page.evaluate(theme) == "light"
    page.locator("button.theme-switch-button:visible").first.click()
    page.get_by_role("button", name="Dark").first.click()
    page.screenshot(path=SCREENSHOTS / "book_dark.png")
    assert page.evaluate(theme) == "dark"


def test_the_system_may_ask_for_dark_mode(open_page, book):
    page, _ = open_page(f"{book}/index.html", color_scheme="dark")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_keyboard(open_page, book):
    page, _ = open_page(f"{book}/index.html")
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


def test_pages_of_make_run_set_their_formulas_without_a_network(open_page, tmp_path):
    notebook = nbformat.read(ROOT / "notebooks" / "03_target_network.ipynb", as_version=4)
    write_page(notebook, tmp_path / "page.html", ship_mathjax(tmp_path))
    page, watch = open_page((tmp_path / "page.html").as_uri())
    page.wait_for_selector("mjx-container", timeout=30_000)
    page.screenshot(path=SCREENSHOTS / "page_03.png")
    assert watch.foreign == [] and watch.failed == [] and watch.errors == []
    assert page.locator("details.folded").count() >= 3


def test_slides_need_no_network(open_page):
    page, watch = open_page((ROOT / "build" / "slides" / "01_q_table.html").as_uri())
    page.wait_for_selector(".reveal.ready", timeout=30_000)
    page.wait_for_selector("mjx-container", state="attached", timeout=30_000)
    page.screenshot(path=SCREENSHOTS / "slides_01.png")
    assert watch.foreign == [] and watch.failed == [] and watch.errors == []
