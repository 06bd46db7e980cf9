"""What a Colab gets: what it lacks, and nothing else."""

import subprocess
import sys
import types
from importlib.metadata import version
from pathlib import Path

import pytest

from helpers import colab
from helpers.colab import install_missing, missing_requirements
from helpers.runtime import ROOT

REQUIREMENTS = """# a remark
torch>=2.6
numpy>=1.26
not-there-at-all>=1  # and why
"""


@pytest.fixture
def requirements(tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text(REQUIREMENTS)
    return path


@pytest.fixture
def pip(monkeypatch):
    """Stands in for pip: notes what it was asked for, and the constraints."""
    asked = []

    def run(command, **how):
        keep = command[command.index("-c") + 1]
        asked.append((command[command.index("-c") + 2 :], Path(keep).read_text(encoding="utf-8")))
        return subprocess.CompletedProcess(command, run.code, "", "no such package")

    run.code = 0
    monkeypatch.setattr(colab.subprocess, "run", run)
    return types.SimpleNamespace(asked=asked, run=run)


def test_only_what_is_not_there_is_missing(requirements):
    assert missing_requirements(requirements) == ["not-there-at-all>=1"]
    assert missing_requirements(ROOT / "helpers" / "requirements.txt") == []


def test_the_helpers_alone_need_no_notebook_server_and_no_tests():
    lines = (ROOT / "helpers" / "requirements.txt").read_text(encoding="utf-8").lower()
    assert not [name for name in ("jupyterlab", "pytest", "nbval", "ruff") if name in lines]


def test_outside_of_colab_nothing_happens(requirements, pip):
    install_missing(requirements)
    assert pip.asked == []


def test_in_colab_torch_and_numpy_stay(requirements, pip, monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    install_missing(requirements)
    [(packages, pins)] = pip.asked
    assert packages == ["not-there-at-all>=1"]
    assert all(f"{name}=={version(name)}" in pins for name in ("torch", "numpy"))


def test_what_pip_says_is_passed_on(requirements, pip, monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    pip.run.code = 1
    with pytest.raises(RuntimeError, match=r"could not install .*\n.*no such package"):
        install_missing(requirements)
