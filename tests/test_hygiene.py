"""What the committed notebooks must look like."""

import json
import re
from pathlib import Path

import nbformat
import pytest

from tools import execute as tool

ROOT = Path(__file__).resolve().parent.parent

MARK = "nbval-check-output"
NAMES = tool.names()
ALL = [*NAMES, *tool.solutions()]


def load(name):
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_ladder_starts_with_the_four_core_notebooks():
    core = ["01_q_table", "02_cartpole_dqn", "03_target_network", "04_pong_dqn"]
    assert NAMES[:4] == core
    assert sorted(p.stem for p in (ROOT / "notebooks").glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", ALL)
def test_notebook_and_twin_hold_the_same_cells(name):
    twin = [(c.cell_type, c.source, c.metadata.get("tags")) for c in tool.read_twin(name).cells]
    notebook = [(c.cell_type, c.source, c.metadata.get("tags")) for c in load(name).cells]
    assert notebook == twin, f"run: make sync (prose) or make record NB={name} (code)"


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def lines_of_code(source):
    lines = [line.strip() for line in source.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("name", NAMES)
def test_the_set_up_is_one_short_folded_cell(name):
    [setup] = [c for c in load(name).cells if tool.is_setup(c)]
    assert tool.FOLDED in setup.metadata["tags"]
    finder, _ = setup.source.split("start(")[-2:]  # what is in its brackets counts as one line
    assert len(lines_of_code(finder)) <= 8


@pytest.mark.parametrize("name", NAMES)
def test_the_first_screen_shows_the_agent_and_the_ladder(name):
    cells = load(name).cells
    first = next(i for i, cell in enumerate(cells) if cell.cell_type == "code")
    assert first <= 2 and tool.is_setup(cells[first])
    kinds = [kind for output in cells[first].outputs for kind in output.get("data", {})]
    assert "image/png" in kinds, f"no picture: pictures/{name}.png"
    intro = "\n".join(cell.source for cell in cells[:first])
    links = re.findall(r"\[(\d) [^]]+\]\((\d\d_\w+)\.ipynb\)", intro.split("\n## ")[0])
    here = re.findall(r"\*\*(\d) [^*]+\*\*", intro)
    assert [stem for _, stem in links] == [other for other in NAMES if other != name]
    assert here[:1] == [str(int(name[:2]))]


@pytest.mark.parametrize("name", ALL)
def test_folded_cells_are_folded_everywhere_and_have_a_title(name):
    for cell in tagged(load(name), tool.FOLDED):
        assert cell.cell_type == "code" and cell.source.startswith("# @title ")
        assert cell.metadata["jupyter"]["source_hidden"] and cell.metadata["cellView"] == "form"


@pytest.mark.parametrize("name", NAMES)
def test_no_part_of_the_algorithm_is_folded(name):
    """A folded cell defines no class and no function that an open cell calls, but our answers."""
    notebook = load(name)
    folded = tagged(notebook, tool.FOLDED)
    hidden = [c for c in folded if not c.source.startswith("# @title Our version")]
    defined = {n for c in hidden for n in re.findall(r"^(?:def|class) (\w+)", c.source, re.M)}
    shown = [c.source for c in code_cells(notebook) if c not in folded]
    used = {n for n in defined for text in shown if re.search(rf"\b{n}\(", text)}
    allowed = {n for n in used if n.startswith(("draw_", "plot_", "show_", "print_", "play_"))}
    assert used == allowed, f"folded, but called by open cells: {sorted(used - allowed)}"


@pytest.mark.parametrize("name", NAMES)
def test_the_core_is_one_sitting(name):
    cells = load(name).cells
    texts = [(cell.source, cell.cell_type) for cell in cells]
    end = next(i for i, (t, k) in enumerate(texts) if k == "markdown" and "## Summary" in t)
    core = [text for text, kind in texts[:end] if kind == "markdown"]
    assert sum(len(text.split()) for text in core) <= 2_000
    headings = [h for text in core for h in re.findall(r"^##+ .+", text, re.MULTILINE)]
    assert len(headings) < 15, headings
    assert any("## Going deeper" in text for text, _ in texts[end:])


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_is_short(name):
    import ast

    tree = ast.parse((tool.TWINS / f"{name}.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == "Config":
            assert sum(isinstance(n, ast.AnnAssign) for n in node.body) <= 15
            assert not [n for n in node.body if isinstance(n, ast.FunctionDef)]


@pytest.mark.parametrize("name", NAMES)
def test_exercises_have_a_difficulty_and_a_time(name):
    text = "\n\n".join(c.source for c in load(name).cells if c.cell_type == "markdown")
    marked = re.findall(r"^\*\*Exercise (\d+)\.(\d+)\*\* \([●○]{3}, \d+ min\)", text, re.MULTILINE)
    assert len(marked) == text.count("**Exercise ") >= 4
    assert marked == [(str(int(name[:2])), str(i + 1)) for i in range(len(marked))]


def test_a_published_course_is_fetched_by_its_tag_and_an_unpublished_one_not():
    source = "import sys\n\nfrom helpers.runtime import start\n"
    nowhere = tool.set_up(source, "", "")
    assert "git" not in nowhere and "course not found: clone it here" in nowhere
    assert tool.badge("01_q_table", "", "") == ""
    there = tool.set_up(source, "https://github.com/me/dqn", "v1")
    assert "!git clone -q --depth=1 --branch v1 https://github.com/me/dqn dqn-ladder" in there
    link = tool.badge("01_q_table", "https://github.com/me/dqn", "v1")
    assert "colab.research.google.com/github/me/dqn/blob/v1/notebooks/01_q_table.ipynb" in link


def test_no_address_that_nobody_owns():
    for path in [ROOT / "README.md", ROOT / "pyproject.toml", *tool.TWINS.glob("*.py")]:
        assert "OWNER" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ALL)
def test_outputs_come_from_this_code(name):
    notebook = load(name)
    assert notebook.metadata.get("code_hash") == tool.code_hash(notebook)
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1)), "not run from top to bottom in one go"


@pytest.mark.parametrize("name", ALL)
def test_no_errors_and_no_warnings_in_outputs(name):
    for cell in code_cells(load(name)):
        for output in cell.outputs:
            assert output.output_type != "error"
            if output.output_type == "stream" and output.name == "stderr":
                pytest.fail(f"stderr in an output:\n{output.text[:500]}")


@pytest.mark.parametrize("name", NAMES)
def test_marked_cells_have_an_output_to_compare(name):
    marked = [c for c in code_cells(load(name)) if MARK in c.metadata.get("tags", [])]
    assert len(marked) >= 4
    for cell in marked:
        assert cell.outputs, f"marked, but nothing to compare:\n{cell.source}"
        for output in cell.outputs:
            text = output.get("text") or output.get("data", {}).get("text/plain", "")
            assert text.strip(), f"marked, but its output is empty:\n{cell.source}"


@pytest.mark.parametrize("name", NAMES)
def test_cells_are_short_and_mostly_explained(name):
    notebook = load(name)
    lengths = sorted(cell.source.count("\n") + 1 for cell in code_cells(notebook))
    assert lengths[-1] <= 60, f"a code cell of {lengths[-1]} lines"
    prose = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    assert len(prose) >= 0.4 * len(notebook.cells)
    assert sum(cell.source.startswith("# ") for cell in prose) == 1, "one title"
    for cell in prose:
        text = re.sub(r"\$\$.*?\$\$|^\|.*$", "", cell.source, flags=re.S | re.M)
        assert len(text.split()) <= 120, f"{len(text.split())} words:\n{cell.source[:200]}"


@pytest.mark.parametrize(
    "twin", sorted((ROOT / "notebooks").glob("**/*.py")), ids=lambda path: path.stem
)
def test_no_text_hides_in_a_cell_marker(twin):
    """Text after ``# %% [markdown]`` would become the cell's title and be seen nowhere."""
    lines = twin.read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if line.startswith("# %% [markdown] ")]


@pytest.mark.parametrize("path", [ROOT / "notebooks" / f"{n}.ipynb" for n in ALL], ids=ALL)
def test_notebooks_are_small_and_name_no_machine(path):
    assert path.stat().st_size < 1_500_000
    text = path.read_text(encoding="utf-8")
    for word in (str(ROOT), str(Path.home()) + "/", "/site-packages/", "/tmp/"):
        assert word not in text, f"{word} in {path.name}"


def test_agent_and_environment_do_not_change_from_table_to_network():
    import ast

    def classes(name):
        tree = ast.parse((ROOT / "notebooks" / "py" / f"{name}.py").read_text(encoding="utf-8"))
        nodes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        return {node.name: ast.unparse(node) for node in nodes}

    table, network = classes("01_q_table"), classes("02_cartpole_dqn")
    assert table["Agent"] == network["Agent"]
    assert table["Environment"] == network["Environment"]
    assert table["Brain"] != network["Brain"]


def test_every_published_checkpoint_has_a_card_that_fits():
    from helpers.checkpoint import load_checkpoint

    files = sorted((ROOT / "checkpoints").glob("*.safetensors"))
    assert files
    for file in files:
        assert file.stat().st_size < 7_000_000
        card = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        assert {"notebook", "config", "agent_steps", "minutes", "hardware", "sha256"} <= set(card)
        load_checkpoint(file)  # compares the SHA-256
