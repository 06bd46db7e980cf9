"""Turn the text twins into notebooks: sync, run and record them.

The twin ``notebooks/py/NAME.py`` is what you edit. ``notebooks/NAME.ipynb`` is the same code with
its outputs, as the repository page shows it. ``solutions/NAME`` is a notebook too: the exercises
that follow the summary of NAME, each with its answer from ``notebooks/solutions/py/NAME.py``.

    python -m tools.execute run  [NAME …]     execute into build/, print what was learned
    python -m tools.execute record NAME …     execute and keep the outputs in notebooks/
    python -m tools.execute sync              bring changed text (not code) into notebooks/
"""

import argparse
import hashlib
import os
import re
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.util import find_spec
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter

from helpers.runtime import read_verdicts

if sys.version_info >= (3, 11):
    import tomllib
else:  # Python 3.10: jupytext brings it
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
TWINS, ANSWERS = NOTEBOOKS / "py", NOTEBOOKS / "solutions" / "py"
BUILD = ROOT / "build"
SETUP, FOLDED = "setup", "hide-input"  # tags of cells
EXERCISE = re.compile(r"^\*\*Exercise (\d+\.\d+)\*\*", re.MULTILINE)
FULL_TIMEOUT = 24 * 3600  # seconds a cell may take
QUICK_TIMEOUT = 600


def is_setup(cell):
    """Whether a cell is the one that finds or fetches the repository."""
    return SETUP in cell.metadata.get("tags", [])


def code_hash(notebook):
    """SHA-256 of all code cells but the set-up's, so outputs of other code can be told."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and not is_setup(cell)]
    code = "\n\0\n".join(cell.source for cell in cells)
    return hashlib.sha256(code.encode()).hexdigest()


def names():
    """Names of all notebooks of the ladder, in order."""
    return sorted(path.stem for path in TWINS.glob("[0-9][0-9]_*.py"))


def solutions():
    """Names of all notebooks of solutions, in order."""
    return sorted(f"solutions/{path.stem}" for path in ANSWERS.glob("[0-9][0-9]_*.py"))


def exercises(notebook):
    """Texts of the exercises after a notebook's summary, by their number ("3.7").

    The exercises before the summary have our version right below them; they need no solution.
    """
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    _, _, after = text.partition("\n## Summary")
    texts = {}
    for part in re.split(r"^(?=\*\*Exercise |#)", after, flags=re.MULTILINE):
        if found := EXERCISE.match(part):
            texts[found[1]] = part[found.end() :].strip()
    return texts


def with_texts(answers, name):
    """The notebook of answers, with the text of each exercise of notebook NAME put in."""
    texts, found = exercises(read_twin(name)), []

    def insert(match):
        found.append(match[1])
        return f"## Exercise {match[1]}\n\n{texts.get(match[1], '')}\n\n**Answer**"

    for cell in answers.cells:
        if cell.cell_type == "markdown":
            cell.source = EXERCISE.sub(insert, cell.source)
    if found != list(texts):
        raise SystemExit(
            f"expected answers to the exercises {', '.join(texts)} of {name}, "
            f"got {', '.join(found)}: correct {ANSWERS / name}.py"
        )
    return answers


def published():
    """Address and tag of the published course, from pyproject.toml; empty by default."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    course = tomllib.loads(project)["tool"]["course"]
    return course["repository"], course["tag"]


FIND = """\
# @title Set-up: run this cell first
import sys
from pathlib import Path

PLACES = [Path("dqn-ladder"), Path.cwd(), *Path.cwd().parents]
HOME = next((p.resolve() for p in PLACES if (p / "helpers").is_dir()), None)
assert HOME, "course not found: clone it here, or unzip it here as dqn-ladder/"
sys.path.insert(0, str(HOME))
"""
CLONE = """\
if "google.colab" in sys.modules and not Path("dqn-ladder").is_dir():
    !git clone -q --depth=1 --branch {tag} {address} dqn-ladder
"""


def set_up(source, repository, tag):
    """The set-up cell of a notebook: how it finds, or in Colab fetches, the rest of the course.

    Args:
        source: the set-up cell of the twin; kept from its import of helpers on.
        repository: address to clone from in Colab; empty: nothing is ever fetched.
        tag: release to clone.
    """
    clone = CLONE.format(tag=tag, address=repository) if repository else ""
    find = FIND.replace("\nPLACES", f"\n{clone}PLACES")
    return f"{find}\n{source[source.index('from helpers') :]}"


def badge(name, repository, tag):
    """Markdown link that opens a notebook in Colab; empty while the course is not published."""
    if not repository:
        return ""
    path = f"{repository.removeprefix('https://github.com/')}/blob/{tag}/notebooks/{name}.ipynb"
    return f"\n\n[Open in Colab](https://colab.research.google.com/github/{path})"


def with_badges(readme):
    """The README with a Colab link beside each notebook, or with none if not published."""
    readme = re.sub(r" \(\[Colab\]\([^)]*\)\)", "", readme)
    repository, tag = published()
    if not repository:
        return readme

    def add(link):
        address = badge(link[1], repository, tag).removeprefix("\n\n[Open in Colab]")
        return f"{link[0]} ([Colab]{address})"

    return re.sub(r"\]\(notebooks/(\d\d_\w+)\.ipynb\)", add, readme)


def fold(cell):
    """Collapse a cell's code in JupyterLab and Colab, as its tag does in the book."""
    cell.metadata["jupyter"] = {"source_hidden": True}
    cell.metadata["cellView"] = "form"


def read_twin(name):
    """Read a twin as a notebook without outputs, its cell ids fixed by their place."""
    stem = Path(name).name
    path = (ANSWERS if name.startswith("solutions/") else TWINS) / f"{stem}.py"
    if not path.exists():
        known = ", ".join([*names(), *solutions()])
        raise SystemExit(f"no notebook {name!r}: expected one of {known}")
    notebook = jupytext.read(path)
    if path.parent == ANSWERS:
        notebook = with_texts(notebook, stem)
    repository, tag = published()
    title = notebook.cells[0]
    head, line, rest = title.source.partition("\n")
    title.source = head + badge(name, repository, tag) + line + rest
    for i, cell in enumerate(notebook.cells):
        cell["id"] = f"{stem[:2]}-{i:03d}"
        if is_setup(cell):
            cell.source = set_up(cell.source, repository, tag)
        if FOLDED in cell.metadata.get("tags", []):
            fold(cell)
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {
                "display_name": "Python 3 (ipykernel)",
                "language": "python",
                "name": "python3",
            },
            "language_info": {"name": "python"},
        }
    )
    return notebook


def execute(name, profile):
    """Run a twin as a notebook in a fresh kernel; return it, its minutes and an error or None."""
    notebook = read_twin(name)
    os.environ.update(DQN_PROFILE=profile, DQN_NOTEBOOK=name, PYDEVD_DISABLE_FILE_VALIDATION="1")
    if profile == "quick":
        os.environ.setdefault("DQN_THREADS", "1")  # steadier on a machine with other work
    for old in (BUILD / "verdicts").glob(f"{Path(name).name}.*json"):
        old.unlink()
    timeout = QUICK_TIMEOUT if profile == "quick" else FULL_TIMEOUT
    client = NotebookClient(
        notebook,
        timeout=timeout,
        record_timing=False,
        resources={"metadata": {"path": str((NOTEBOOKS / name).parent)}},
        startup_timeout=300,
        extra_arguments=["--log-level=ERROR"],  # the kernel's own remarks are not the learner's
    )
    started, error = time.monotonic(), None
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as problem:
        error = problem
    notebook.metadata["code_hash"] = code_hash(notebook)
    return notebook, (time.monotonic() - started) / 60, error


def ship_mathjax(folder):
    """Copy the formula renderer into a folder of pages; return its address from there."""
    source = Path(find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax"
    for part in ("output", "input"):
        shutil.copytree(source / part, folder / "mathjax" / part, dirs_exist_ok=True)
    shutil.copy(source / "tex-mml-chtml.js", folder / "mathjax")
    return "mathjax/tex-mml-chtml.js"


def write_page(notebook, path, mathjax):
    """Write a notebook as an HTML page that needs no network."""
    exporter = HTMLExporter(
        exclude_input_prompt=True,
        template_name="pages",
        extra_template_basedirs=[str(ROOT / "book")],
    )
    exporter.mathjax_url = mathjax
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(exporter.from_notebook_node(notebook)[0], encoding="utf-8")


def execute_into_build(name, profile, mathjax):
    """Execute a notebook into ``build/``; return its minutes and its error (a text, or empty)."""
    notebook, minutes, error = execute(name, profile)
    executed = BUILD / "notebooks" / f"{name}.ipynb"
    executed.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, executed)
    write_page(notebook, BUILD / "html" / f"{name}.html", "../" * name.count("/") + mathjax)
    return minutes, str(error)[-2_000:] if error else ""


def run_notebooks(chosen, profile):
    """Execute notebooks into ``build/`` and tabulate what each one learned.

    In quick, two run side by side, each with one thread: on two cores that is faster than one
    after the other. In full they take turns, as some of them train with two threads.
    """
    (BUILD / "html").mkdir(parents=True, exist_ok=True)
    mathjax = ship_mathjax(BUILD / "html")
    jobs = min(2, os.cpu_count() or 1, len(chosen)) if profile == "quick" else 1
    print(f"Executing ({profile}): {', '.join(chosen)}", flush=True)
    done = {}
    with ProcessPoolExecutor(jobs) as pool:
        running = {pool.submit(execute_into_build, name, profile, mathjax): name for name in chosen}
        for job in as_completed(running):
            name = running[job]
            minutes, error = done[name] = job.result()
            outcome = "failed" if error else "done"
            place = f"[{len(done)}/{len(chosen)}]"
            print(f"{place} {name} {outcome} after {minutes:.1f} min", flush=True)
            if error:
                print(error)
    rows, failed = [], any(error for _, error in done.values())
    for name in chosen:
        if not name.startswith("solutions/"):  # answers train nothing
            verdicts = verdicts_of(name)
            rows += summary_rows(name, done[name][0], verdicts)
            failed |= not verdicts or not all(v["passed"] for v in verdicts.values())
    if rows:
        print_table(
            ("notebook", "minutes", "what was learned", "figure", "expected", "verdict"), rows
        )
    print(f"\nPages: {BUILD / 'html'}    notebooks: {BUILD / 'notebooks'}")
    return int(failed)


def verdicts_of(name):
    """Return what the last execution of a notebook filed, {figure: verdict}."""
    verdicts = {}
    for path in (BUILD / "verdicts").glob(f"{name}.*.json"):
        verdicts |= read_verdicts(path)
    return verdicts


def summary_rows(name, minutes, verdicts):
    """One row of text for each verdict of a notebook."""
    rows = [
        (what, f"{v['value']:.5g}", v["expected"], "learned" if v["passed"] else "missed")
        for what, v in verdicts.items()
    ] or [("-", "-", "-", "nothing learned")]
    starts = [(name, f"{minutes:.1f}")] + [("", "")] * (len(rows) - 1)
    return [start + row for start, row in zip(starts, rows, strict=True)]


def print_table(header, rows):
    """Print rows of text with aligned columns."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    print()
    for row in [header, ["-" * width for width in widths], *rows]:
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        print(line.rstrip())


def record_notebooks(chosen, profile):
    """Execute notebooks and keep them, with the curves and checkpoints they wrote."""
    for name in chosen:
        print(f"recording {name} ({profile}) …", end=" ", flush=True)
        started = time.time()
        notebook, minutes, error = execute(name, profile)
        if error:
            print(f"failed after {minutes:.1f} min\n{error}")
            return 1
        nbformat.write(notebook, NOTEBOOKS / f"{name}.ipynb")
        for folder in ("results", "checkpoints", "pictures"):
            for path in (BUILD / folder).glob(f"{name[:3]}*"):
                if path.stat().st_mtime >= started:  # of this very run
                    (ROOT / folder).mkdir(exist_ok=True)
                    shutil.copy(path, ROOT / folder / path.name)
        print(f"done after {minutes:.1f} min")
    return 0


def sync_notebooks():
    """Copy changed prose into the notebooks; refuse where code changed, as outputs would lie."""
    stale = []
    for name in [*names(), *solutions()]:
        path = NOTEBOOKS / f"{name}.ipynb"
        new = read_twin(name)
        old = nbformat.read(path, as_version=4) if path.exists() else None
        if old is None or old.metadata.get("code_hash") != code_hash(new):
            stale.append(name)
            continue
        outputs = iter([cell for cell in old.cells if cell.cell_type == "code"])
        for cell in new.cells:
            if cell.cell_type == "code":
                before = next(outputs)
                cell.outputs, cell.execution_count = before.outputs, before.execution_count
        new.metadata = old.metadata
        nbformat.write(new, path)
    readme = ROOT / "README.md"
    readme.write_text(with_badges(readme.read_text(encoding="utf-8")), encoding="utf-8")
    for name in stale:
        print(f"{name}: the code changed, so its outputs are stale: make record NB={name}")
    return int(bool(stale))


def command_line():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.execute", description=__doc__.splitlines()[0]
    )
    parser.add_argument("command", choices=("run", "record", "sync"))
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--profile", choices=("quick", "full"))
    return parser


def main():
    """Do what the command line asks for."""
    arguments = command_line().parse_args()
    if arguments.command == "sync":
        return sync_notebooks()
    if arguments.command == "record":
        return record_notebooks(arguments.names or names(), arguments.profile or "full")
    return run_notebooks(arguments.names or names(), arguments.profile or "quick")


if __name__ == "__main__":
    sys.exit(main())
