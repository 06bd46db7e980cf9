"""The executed notebooks as pages to read: a book and slides, both without a network.

python -m tools.pages book      web pages below build/book/html
python -m tools.pages slides    one page of slides per notebook below build/slides
"""

import argparse
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import nbformat
from nbconvert import SlidesExporter

from tools.execute import is_setup, ship_mathjax

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS, BOOK, BUILD = ROOT / "notebooks", ROOT / "book", ROOT / "build"
HEADING = re.compile(r"^#{1,2} ")


def package(name):
    """Folder of an installed package."""
    found = find_spec(name)
    if found is None:
        raise SystemExit(f"expected {name} to be installed: make {sys.argv[-1]} does that")
    return Path(found.origin).parent


def empty(folder):
    """Make a folder, and empty it if it was there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def with_alternative_texts(notebook):
    """The notebook with the pictures' alternative texts where myst-nb looks for them."""
    for cell in notebook.cells:
        pictures = [o.get("metadata", {}).get("image/png", {}) for o in cell.get("outputs", [])]
        texts = [picture["alt"] for picture in pictures if "alt" in picture]
        if texts:
            cell.metadata["mystnb"] = {"image": {"alt": "; ".join(texts)}}
    return notebook


def book():
    """Build the book; a warning (a broken link, a missing figure) is an error."""
    source, pages = empty(BUILD / "book" / "source"), BUILD / "book" / "html"
    for path in [*BOOK.glob("*.md"), ROOT / "pictures" / "pong_three_stages.png"]:
        shutil.copy(path, source)
    for path in sorted(NOTEBOOKS.glob("**/[0-9]*.ipynb")):
        target = source / path.relative_to(NOTEBOOKS)
        target.parent.mkdir(exist_ok=True)
        nbformat.write(with_alternative_texts(nbformat.read(path, as_version=4)), target)
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-c",
        BOOK,
        source,
        pages,
    ]
    failed = subprocess.run(command, cwd=ROOT).returncode
    print(f"book: {pages / 'index.html'}")
    return failed


def as_slides(notebook):
    """The notebook with a slide for each heading; what follows it is reached by going down."""
    notebook.metadata.pop("widgets", None)  # sliders would ask the network for their program
    for cell in notebook.cells:
        heading = cell.cell_type == "markdown" and HEADING.match(cell.source)
        kind = "slide" if heading else "subslide" if cell.cell_type == "markdown" else "-"
        if is_setup(cell):
            kind = "skip"
        cell.metadata["slideshow"] = {"slide_type": kind}
    return notebook


def slides():
    """Build the slides of every notebook, with what they need beside them."""
    folder = empty(BUILD / "slides")
    shutil.copytree(package("sphinx_revealjs") / "_static" / "revealjs", folder / "reveal.js")
    exporter = SlidesExporter(
        reveal_url_prefix="reveal.js",
        reveal_theme="white",  # its fonts come with it
        template_name="slides",
        extra_template_basedirs=[str(BOOK)],
    )
    exporter.mathjax_url = ship_mathjax(folder)
    for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")):
        page, _ = exporter.from_notebook_node(as_slides(nbformat.read(path, as_version=4)))
        (folder / f"{path.stem}.html").write_text(page, encoding="utf-8")
    print(f"slides: {folder}")
    return 0


def main():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("book", "slides"))
    return {"book": book, "slides": slides}[parser.parse_args().command]()


if __name__ == "__main__":
    sys.exit(main())
