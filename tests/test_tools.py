"""What becomes of the twins: texts of exercises in the solutions, slides."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tools import execute as tool
from tools import pages

TWIN = """# %% [markdown]
# # A notebook
#
# **Exercise 1.1** (●○○, 2 min) Add. Our version is below.

# %%
def add(a, b):
    return a + b

# %% [markdown]
# ## Summary
#
# - Adding.

# %% [markdown]
# ## Going deeper
#
# **Exercise 1.2** (●●○, 5 min) Add the two.

# %% [markdown]
# **Exercise 1.3** (●●●, 9 min) What comes out?
#
# Guess first.
#
# ## Differences
#
# Not a part of exercise 1.3.
"""
ANSWERS = """# %% [markdown]
# # Solutions
#
# **Exercise 1.2**
#
# With a plus.

# %%
print(1 + 1)

# %% [markdown]
# **Exercise 1.3**
#
# Two.
"""


@pytest.fixture
def folders(tmp_path, monkeypatch):
    for name, constant, text in (("py", "TWINS", TWIN), ("solutions", "ANSWERS", ANSWERS)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "01_add.py").write_text(text, encoding="utf-8")
        monkeypatch.setattr(tool, constant, tmp_path / name)
    return tmp_path


def test_solutions_carry_the_texts_of_the_exercises_after_the_summary(folders):
    first, code, second = tool.read_twin("solutions/01_add").cells
    text = "(●●○, 5 min) Add the two."
    assert f"## Exercise 1.2\n\n{text}\n\n**Answer**\n\nWith a plus." in first.source
    assert code.source == "print(1 + 1)"
    text = "(●●●, 9 min) What comes out?\n\nGuess first."
    assert second.source.strip() == f"## Exercise 1.3\n\n{text}\n\n**Answer**\n\nTwo."


def test_an_exercise_without_an_answer_is_refused(folders):
    short = ANSWERS.split("# %% [markdown]\n# **Exercise 1.3")[0]
    (folders / "solutions" / "01_add.py").write_text(short, encoding="utf-8")
    with pytest.raises(SystemExit, match=r"exercises 1.2, 1.3 of 01_add, got 1.2: correct"):
        tool.read_twin("solutions/01_add")


def test_a_folded_cell_is_folded_everywhere(folders):
    folded = '# %% tags=["hide-input"]\n# @title A figure\nprint(1)\n'
    (folders / "py" / "01_add.py").write_text(f"{TWIN}\n{folded}", encoding="utf-8")
    *_, open_cell, _, _, _, cell = tool.read_twin("01_add").cells
    assert cell.metadata == {
        "tags": ["hide-input"], "jupyter": {"source_hidden": True}, "cellView": "form",
    }  # fmt: skip
    assert "jupyter" not in open_cell.metadata


def test_the_notebooks_set_up_finds_the_course(folders):
    twin = '# %% tags=["setup"]\nimport sys\n\nfrom helpers.runtime import start\n\nstart()\n'
    (folders / "py" / "01_add.py").write_text(f"{TWIN}\n{twin}", encoding="utf-8")
    source = tool.read_twin("01_add").cells[-1].source
    assert source.startswith("# @title Set-up") and source.endswith("start()")
    assert "sys.path.insert(0, str(HOME))\n\nfrom helpers.runtime import start" in source


def test_a_name_that_is_not_there_lists_those_that_are(folders):
    with pytest.raises(SystemExit, match="'02_mul': expected one of 01_add, solutions/01_add"):
        tool.read_twin("02_mul")


def test_the_hash_is_of_the_code_without_the_set_up():
    def notebook(text, setup, code):
        cells = [new_markdown_cell(text), new_code_cell(setup), new_code_cell(code)]
        cells[1].metadata["tags"] = [tool.SETUP]
        return new_notebook(cells=cells)

    first = tool.code_hash(notebook("a", "b", "c"))
    assert first == tool.code_hash(notebook("A", "B", "c"))
    assert first != tool.code_hash(notebook("a", "b", "C"))


def test_a_heading_begins_a_slide_and_the_set_up_none():
    cells = [
        new_markdown_cell("# Title"), new_code_cell("setup"), new_markdown_cell("## Part"),
        new_markdown_cell("text"), new_code_cell("code"), new_markdown_cell("### Smaller"),
    ]  # fmt: skip
    cells[1].metadata["tags"] = [tool.SETUP]
    made = pages.as_slides(new_notebook(cells=cells)).cells
    kinds = [cell.metadata["slideshow"]["slide_type"] for cell in made]
    assert kinds == ["slide", "skip", "slide", "subslide", "-", "subslide"]


def test_a_twin_trains_without_jupyter():
    twin = tool.TWINS / "01_q_table.py"
    done = subprocess.run(
        [sys.executable, twin], cwd=tool.ROOT, capture_output=True, text=True,
        env={**os.environ, "DQN_PROFILE": "quick", "DQN_NOTEBOOK": "script"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2_000:]
    figures = re.findall(r"^figure: (.+)$", done.stdout, re.MULTILINE)
    assert figures and all(Path(figure).stat().st_size > 1_000 for figure in figures)
    assert "table: greedy mean of 20 games" in done.stdout
