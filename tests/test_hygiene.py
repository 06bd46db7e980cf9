"""What the committed notebooks must look like."""

import json
import re
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import notebooks as tool  # noqa: E402

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


def test_every_set_up_is_the_same_and_the_address_stands_in_pyproject():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    address = re.search(r'^Repository = "(.+?)"', project, re.MULTILINE)[1]
    owner_and_name = address.removeprefix("https://github.com/")
    setups = set()
    for name in ALL:
        cells = tool.read_twin(name).cells
        [setup] = [c.source for c in cells if tool.is_setup(c)]
        setups.add(setup)
        colab = "https://colab.research.google.com/github"
        assert f"({colab}/{owner_and_name}/blob/main/notebooks/{name}.ipynb)" in cells[0].source
    [setup] = setups
    assert f'REPOSITORY = "{address}"\n' in setup


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


@pytest.mark.parametrize("path", sorted((ROOT / "helpers").glob("*.py")), ids=lambda p: p.stem)
def test_helpers_stay_thin(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 250


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
