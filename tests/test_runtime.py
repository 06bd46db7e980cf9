"""Profile, seeds, versions, verdicts."""

import json
import sys

import numpy as np
import pytest
import torch

from helpers import runtime
from helpers.runtime import (
    check_learned,
    pick_device,
    profile,
    results_path,
    seed_everything,
    show_source,
    versions,
)


def test_profile_is_full_unless_told(monkeypatch):
    monkeypatch.delenv("DQN_PROFILE", raising=False)
    assert profile() == "full"
    monkeypatch.setenv("DQN_PROFILE", "quick")
    assert profile() == "quick"
    monkeypatch.setenv("DQN_PROFILE", "fast")
    with pytest.raises(
        ValueError, match=r"DQN_PROFILE to be one of \('quick', 'full'\), got 'fast'"
    ):
        profile()


def test_one_seed_one_result():
    draws = []
    for seed in (3, 3, 4):
        rng = seed_everything(seed)
        draws.append((torch.rand(2).tolist(), rng.random(2).tolist()))
    assert draws[0] == draws[1] != draws[2]
    for seed in (-1, 1.5, "0"):
        with pytest.raises(ValueError, match="whole number >= 0"):
            seed_everything(seed)


def test_results_are_measured_in_full_and_read_in_quick(build, monkeypatch):
    monkeypatch.setenv("DQN_PROFILE", "full")
    assert results_path("a.csv") == build / "results" / "a.csv"
    monkeypatch.setenv("DQN_PROFILE", "quick")
    assert results_path("a.csv") == build.parent / "results" / "a.csv"


def test_verdicts_are_filed(build, monkeypatch, capsys):
    monkeypatch.setenv("DQN_NOTEBOOK", "99_test")
    check_learned("score [points]", 20, at_least=18)
    check_learned("episodes", np.float64(30), at_most=40)
    with pytest.raises(AssertionError, match=r"score: expected >= 18, got 17"):
        check_learned("score", 17, at_least=18)
    with pytest.raises(AssertionError):
        check_learned("not a number", float("nan"), at_least=0)
    verdicts = json.loads((build / "verdicts" / "99_test.json").read_text())
    passed = {name: verdict["passed"] for name, verdict in verdicts.items()}
    assert passed == {
        "score [points]": True,
        "episodes": True,
        "score": False,
        "not a number": False,
    }
    assert "score [points]: 20 (expected >= 18)" in capsys.readouterr().out
    for limits in ({}, {"at_least": 1, "at_most": 2}):
        with pytest.raises(ValueError, match="exactly one"):
            check_learned("x", 1, **limits)


def test_versions_and_source_are_printed(capsys):
    versions()
    show_source(seed_everything, pick_device)
    out = capsys.readouterr().out
    assert torch.__version__.split("+")[0] in out and "profile" in out
    assert "def seed_everything(seed):" in out and "def pick_device():" in out


def test_source_is_highlighted_in_a_notebook(monkeypatch):
    shown = []
    monkeypatch.setattr(runtime, "in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", shown.append)
    show_source(seed_everything)
    assert shown[0].data.startswith("```python\ndef seed_everything(seed):")


def test_this_is_no_notebook():
    assert runtime.in_notebook() is False


def test_verdicts_of_a_script_bear_its_name(build, monkeypatch):
    monkeypatch.delenv("DQN_NOTEBOOK", raising=False)
    monkeypatch.setattr(sys, "argv", ["some/where/05_new.py"])
    check_learned("score", 1, at_least=1)
    check_learned("error", 1, at_most=1)
    filed = json.loads((build / "verdicts" / "05_new.json").read_text())
    assert filed["score"] == {"value": 1.0, "expected": ">= 1", "passed": True}
    assert filed["error"] == {"value": 1.0, "expected": "<= 1", "passed": True}


def test_missing_library_is_named(monkeypatch, capsys):
    def missing(name):
        raise runtime.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(runtime.importlib.metadata, "version", missing)
    versions()
    assert "missing: pip install ale-py" in capsys.readouterr().out
