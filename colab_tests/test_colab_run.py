"""A Colab, as far as one can be had here: its versions, its module, and a notebook file alone."""

import copy
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from helpers.runtime import ROOT

sys.path.insert(0, str(ROOT / "tools"))
import notebooks as tool

PYTHON = ROOT / ".venv-colab" / "bin" / "python"
KEPT = ("torch", "numpy", "ipython", "ipykernel", "ipywidgets", "moviepy", "matplotlib")
NAMES = ("01_q_table", "03_target_network", "04_pong_dqn")  # sliders, video, emulator


def run(*command, **how):
    """Run a program and return what it printed."""
    return subprocess.run(command, check=True, capture_output=True, text=True, **how).stdout


def versions():
    """Installed versions of what must stay as it is."""
    code = f"import importlib.metadata as m; print(*map(m.version, {KEPT}))"
    return run(PYTHON, "-c", code)


@pytest.fixture(scope="session")
def repository(tmp_path_factory):
    """The working tree as a repository to clone."""
    folder = tmp_path_factory.mktemp("course") / "repository"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*", "build", "__pycache__"))
    me = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    run("git", "init", "-q", cwd=folder)
    run("git", "add", "-Af", cwd=folder)
    run("git", *me, "commit", "-q", "-m", "the course", cwd=folder)
    return folder


@pytest.fixture
def colab(tmp_path, repository, monkeypatch):
    """A kernel called "colab", and the folder it starts in."""
    if not PYTHON.exists():
        pytest.exit("expected .venv-colab: make test-colab", returncode=2)
    (tmp_path / "google" / "colab").mkdir(parents=True)
    (tmp_path / "google" / "colab" / "__init__.py").write_text("")
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("import google.colab\n")  # as a Colab's kernel does
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    address = re.search(r'^Repository = "(.+?)"', project, re.MULTILINE)[1]
    environment = {
        "PYTHONPATH": str(tmp_path),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "DQN_PROFILE": "quick",
        "DQN_THREADS": "1",
        "GIT_CONFIG_COUNT": "1",  # the public address leads to the copy
        "GIT_CONFIG_KEY_0": f"url.{repository.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": address,
    }
    spec = tmp_path / "jupyter" / "kernels" / "colab" / "kernel.json"
    spec.parent.mkdir(parents=True)
    argv = [str(PYTHON), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(
        json.dumps({"argv": argv, "display_name": "colab", "language": "python",
                    "env": environment})
    )  # fmt: skip
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    content = tmp_path / "content"
    content.mkdir()
    return content


def text(cell):
    """What a cell printed."""
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


@pytest.mark.parametrize("name", NAMES)
def test_the_file_alone_runs(colab, name):
    subprocess.run([PYTHON, "-m", "pip", "uninstall", "-qy", "pyvirtualdisplay"], check=True)
    before = versions()
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    [first] = [i for i, c in enumerate(notebook.cells) if tool.is_setup(c)]
    again = copy.deepcopy(notebook.cells[first])
    again["id"] = "again"
    notebook.cells.insert(first + 1, again)  # running it twice does no harm
    client = NotebookClient(
        notebook, kernel_name="colab", timeout=600, resources={"metadata": {"path": str(colab)}}
    )
    client.execute()  # raises if a cell does
    assert "installing pyvirtualdisplay" in text(notebook.cells[first])
    assert text(again) == ""
    assert versions() == before
    assert [p.name for p in Path(colab).iterdir()] == ["dqn-ladder"]
    printed = [text(cell) for cell in notebook.cells if cell.cell_type == "code"]
    [table] = [p for p in printed if "✓ Python" in p]
    assert "✓ torch" in table and "GPU" in table and "✓ ffmpeg" in table
    assert not any("missing" in line for line in table.splitlines())
    assert any("(expected >= " in p for p in printed), "no learning was asserted"
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert any("animation" in str(o.get("metadata")) for o in outputs), "nothing moves"
