"""What becomes of the twins: texts of exercises in the solutions, slides."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
import pages

import notebooks as tool

TWIN = """# %% [markdown]
# # A notebook
#
# ## Exercises
#
# ### Exercise 1: add
#
# Add the two.

# %%
def add(a, b):
    return a + b

# %% [markdown]
# ### Exercise 2: guess
#
# What comes out?
#
# ## Summary
#
# - Not a part of exercise 2.
"""
ANSWERS = """# %% [markdown]
# # Solutions
#
# ### Exercise 1
#
# With a plus.

# %%
print(1 + 1)

# %% [markdown]
# ### Exercise 2
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


def test_solutions_carry_the_texts_of_the_exercises(folders):
    first, code, second = tool.read_twin("solutions/01_add").cells
    assert "## Exercise 1: add\n\nAdd the two.\n\n**Answer**\n\nWith a plus." in first.source
    assert code.source == "print(1 + 1)"
    wanted = "## Exercise 2: guess\n\nWhat comes out?\n\n**Answer**\n\nTwo."
    assert second.source.strip() == wanted


def test_an_exercise_without_an_answer_is_refused(folders):
    short = ANSWERS.split("# %% [markdown]\n# ### Exercise 2")[0]
    (folders / "solutions" / "01_add.py").write_text(short, encoding="utf-8")
    with pytest.raises(SystemExit, match="exercises 1, 2 of 01_add, got 1: mend"):
        tool.read_twin("solutions/01_add")


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
