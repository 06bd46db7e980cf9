"""A Colab, as far as one can be had here: its versions, its module, and a notebook file alone."""

import copy
import json
import shutil
import subprocess
import warnings
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError

from helpers.runtime import ROOT
from tools import execute as tool

PYTHON = ROOT / ".venv-colab" / "bin" / "python"
ADDRESS, TAG = (
    "https://github.com/somebody/their-course",
    "v1.0",
)  # stands for where it is published
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
    run("git", "tag", TAG, cwd=folder)
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
    environment = {
        "PYTHONPATH": str(tmp_path),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "DQN_PROFILE": "quick",
        "DQN_THREADS": "1",
        "GIT_CONFIG_COUNT": "1",  # the public address leads to the copy
        "GIT_CONFIG_KEY_0": f"url.{repository.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": ADDRESS,
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


def opened(name, repository, tag):
    """A notebook as a Colab opens it, and its set-up cell, with the address that was set."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    [setup] = [cell for cell in notebook.cells if tool.is_setup(cell)]
    setup.source = tool.set_up(setup.source, repository, tag)
    return notebook, setup


def execute(notebook, folder):
    """Run a notebook in the Colab-like kernel; raises if a cell does."""
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, kernel_name="colab", timeout=180, resources=resources).execute()


def once_more_if_lost(work):
    """Do some work; if it waits for a cell in vain, do it all again, once.

    Now and then the reply of this old ipykernel does not reach today's client: the kernel is idle
    and answers other requests, and the client waits. No cell here takes longer than a minute.
    """
    try:
        return work()
    except CellTimeoutError as error:
        warnings.warn(f"waited in vain, trying once more: {error}", stacklevel=2)
        return work()


@pytest.mark.parametrize("name", NAMES)
def test_the_file_alone_fetches_the_published_course_and_runs(colab, name):
    def fetch_and_run():
        shutil.rmtree(colab / "dqn-ladder", ignore_errors=True)
        subprocess.run([PYTHON, "-m", "pip", "uninstall", "-qy", "pyvirtualdisplay"], check=True)
        before = versions()
        notebook, setup = opened(name, ADDRESS, TAG)
        again = copy.deepcopy(setup)
        again["id"] = "again"
        notebook.cells.insert(notebook.cells.index(setup) + 1, again)  # twice does no harm
        execute(notebook, colab)
        return before, notebook, setup, again

    before, notebook, setup, again = once_more_if_lost(fetch_and_run)
    assert "installing pyvirtualdisplay" in text(setup)
    assert "installing" not in text(again)
    assert versions() == before
    assert [p.name for p in Path(colab).iterdir()] == ["dqn-ladder"]
    assert "Run All trains" in text(setup) and "CPU cores" in text(setup)
    printed = [text(cell) for cell in notebook.cells if cell.cell_type == "code"]
    assert any("(expected >= " in p for p in printed), "no learning was asserted"
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert any("animation" in str(o.get("metadata")) for o in outputs), "nothing moves"


def test_an_unpublished_course_is_not_fetched_but_can_be_uploaded(colab, repository):
    notebook, setup = opened("01_q_table", "", "")
    notebook.cells = [setup]
    with pytest.raises(CellExecutionError, match="course not found: clone it here, or unzip"):
        execute(notebook, colab)
    assert list(Path(colab).iterdir()) == []  # nothing was fetched
    shutil.copytree(repository, Path(colab) / "dqn-ladder")
    once_more_if_lost(lambda: execute(notebook, colab))
    assert "Run All trains" in text(setup)
