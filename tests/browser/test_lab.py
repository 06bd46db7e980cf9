"""The core notebooks in a real JupyterLab: Run All, then look."""

import base64
import json
import time
import urllib.request
from collections import defaultdict

import nbformat
import pytest

from tests.browser.conftest import ROOT, SCREENSHOTS

NAMES = ("01_q_table", "02_cartpole_dqn", "03_target_network", "04_pong_dqn")
OTHERS = sorted({p.stem for p in (ROOT / "notebooks").glob("[0-9]*.ipynb")} - set(NAMES))
PICTURES = """[...document.querySelectorAll('.jp-CodeCell')].flatMap((cell, i) =>
    [...cell.querySelectorAll('.jp-RenderedImage img')].filter(m => !m.closest('.jupyter-widgets'))
    .map((m, k) => [`${i}/${k}`, m.src]))"""  # place and content, those in widgets left out
IN_WIDGETS = "[...document.querySelectorAll('.jupyter-widgets img')].map(i => i.src)"


def animations(cells):
    """Animated pictures among the outputs, as they stand in a page's addresses."""
    for cell in cells:
        for output in cell.outputs:
            picture = output.get("data", {}).get("image/png", "").replace("\n", "")
            if b"acTL" in base64.b64decode(picture)[:1_000]:  # the chunk that makes a PNG move
                yield picture


def assert_plays(page, picture):
    """Fail unless the picture looks different within a second or two."""
    shown = page.locator(f".jp-RenderedImage img[src$='{picture[-60:]}']").first
    shown.scroll_into_view_if_needed(timeout=10_000)
    seen = set()
    for _ in range(12):
        seen.add(shown.screenshot())
        page.wait_for_timeout(120)
    assert len(seen) > 2, "the picture stands still"


def kernel_states(address):
    """Execution states of the running kernels."""
    with urllib.request.urlopen(f"{address}/api/kernels", timeout=10) as answer:
        return [kernel["execution_state"] for kernel in json.load(answer)]


def run_all(page, address, minutes):
    """Run all cells and wait until the kernel has been idle for a while.

    Returns how many different pictures stood in the one place that changed most often.
    """
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    deadline, idle, seen = time.monotonic() + 60 * minutes, 0, defaultdict(set)
    while idle < 4:
        assert time.monotonic() < deadline, f"not done after {minutes} minutes"
        page.wait_for_timeout(1_000)
        for place, source in page.evaluate(PICTURES):
            seen[place].add(hash(source))
        idle = idle + 1 if set(kernel_states(address)) == {"idle"} else 0
    return max(map(len, seen.values()))


def end_kernels(address):
    """End all kernels, so that none is taken for the next test's."""
    with urllib.request.urlopen(f"{address}/api/kernels", timeout=10) as answer:
        for kernel in json.load(answer):
            url = f"{address}/api/kernels/{kernel['id']}"
            urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=10)


@pytest.fixture
def fresh(lab):
    """The JupyterLab, without kernels of another test."""
    yield lab
    end_kernels(lab[0])


def saved(path, seconds=30):
    """The notebook's code cells, once all that was run has been saved."""
    deadline = time.monotonic() + seconds
    while True:
        cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
        if all(cell.execution_count for cell in cells) or time.monotonic() > deadline:
            return cells
        time.sleep(0.5)


@pytest.mark.parametrize("name", NAMES)
def test_run_all(open_page, fresh, name):
    address, folder = fresh
    path = folder / "notebooks" / f"{name}.ipynb"
    blank = nbformat.read(path, as_version=4)
    for cell in blank.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(blank, path)
    page, watch = open_page(f"{address}/lab/tree/notebooks/{name}.ipynb?reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    page.wait_for_timeout(3_000)  # the kernel starts
    pictures = run_all(page, address, minutes=5)
    page.keyboard.press("Control+s")
    cells = saved(path)
    page.screenshot(path=SCREENSHOTS / f"lab_{name}.png")
    outputs = [output for cell in cells for output in cell.outputs]
    assert all(cell.execution_count for cell in cells), "a cell was not run"
    assert not [o.ename for o in outputs if o.output_type == "error"]
    moving = list(animations(cells))
    assert moving, "no animation among the outputs"
    assert_plays(page, moving[-1])
    if name != "01_q_table":  # its training is over before the curve is drawn again
        assert pictures > 1, "no plot was ever redrawn"
    assert watch.errors == [] or all("favicon" in e for e in watch.errors), watch.errors


@pytest.mark.parametrize("name", OTHERS)
def test_opens_folded_and_with_its_pictures(open_page, fresh, name):
    address, folder = fresh
    cells = nbformat.read(folder / "notebooks" / f"{name}.ipynb", as_version=4).cells
    folded = [cell for cell in cells if "hide-input" in cell.metadata.get("tags", [])]
    page, watch = open_page(f"{address}/lab/tree/notebooks/{name}.ipynb?reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    page.wait_for_timeout(3_000)
    page.screenshot(path=SCREENSHOTS / f"lab_{name}.png")
    assert page.locator(".jp-CodeCell .jp-InputPlaceholder").count() == len(folded) > 5
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert page.locator(".jp-RenderedImage img").count() == len(pictures) > 5
    assert watch.errors == [] or all("favicon" in e for e in watch.errors), watch.errors


def test_a_slider_moves_its_figure(open_page, fresh):
    address, _ = fresh
    page, _ = open_page(f"{address}/lab/tree/notebooks/01_q_table.ipynb?reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    page.wait_for_timeout(3_000)
    run_all(page, address, minutes=3)
    handle = page.locator(".widget-slider .noUi-handle").first
    handle.scroll_into_view_if_needed()
    before = page.evaluate(IN_WIDGETS)
    handle.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(4_000)
    page.screenshot(path=SCREENSHOTS / "lab_slider.png")
    assert before and page.evaluate(IN_WIDGETS) != before
