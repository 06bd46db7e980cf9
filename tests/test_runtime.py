"""Profile, seeds, versions, verdicts."""

import importlib.metadata
import os
import sys

import numpy as np
import pytest
import torch

from helpers import runtime
from helpers.runtime import (
    check_learned,
    check_values,
    machine,
    pick_device,
    profile,
    results_path,
    seed_everything,
    show_source,
    slowness,
    start,
    study,
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


def test_results_are_read_unless_a_study_measures_them(build, monkeypatch):
    monkeypatch.delenv("DQN_STUDY", raising=False)
    assert not study() and results_path("a.csv") == build.parent / "results" / "a.csv"
    monkeypatch.setenv("DQN_STUDY", "1")
    assert study() and results_path("a.csv") == build / "results" / "a.csv"


def test_start_says_what_run_all_does(monkeypatch, capsys):
    monkeypatch.setattr(runtime, "slowness", lambda: 2.0)
    monkeypatch.setenv("DQN_PROFILE", "full")
    assert start("99_none", "one agent", full=20, quick=0.5) is False
    said = capsys.readouterr().out
    assert "Run All trains one agent: about 40 minutes on this machine." in said
    assert "In a hurry (60 seconds)? Run %env DQN_PROFILE=quick" in said
    monkeypatch.setenv("DQN_PROFILE", "quick")
    assert start("99_none", "one agent", full=20, quick=0.5) is True
    said = capsys.readouterr().out
    assert "about 60 seconds on this machine" in said and "hurry" not in said


def test_start_shows_the_agent_in_a_notebook(build, monkeypatch):
    shown = []
    (build.parent / "pictures").mkdir()
    (build.parent / "pictures" / "99_none.png").write_bytes(b"\x89PNG\r\n")
    monkeypatch.setattr(runtime, "in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", shown.append)
    start("99_none", "one agent", full=1, quick=1)
    assert shown[0].data.startswith(b"\x89PNG")


def test_slowness_is_a_ratio_of_this_machine():
    assert 0.05 < slowness() < 50


def test_verdicts_are_filed(build, monkeypatch, capsys):
    monkeypatch.setenv("DQN_NOTEBOOK", "99_test")
    check_learned("score [points]", 20, at_least=18)
    check_learned("episodes", np.float64(30), at_most=40)
    with pytest.raises(AssertionError, match=r"score: expected >= 18, got 17"):
        check_learned("score", 17, at_least=18)
    with pytest.raises(AssertionError):
        check_learned("not a number", float("nan"), at_least=0)
    verdicts = runtime.read_verdicts(build / "verdicts" / f"99_test.{os.getpid()}.json")
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


@pytest.mark.parametrize("kind", [torch.tensor, np.array])
def test_values_that_can_be_are_left_alone(kind):
    check_values(torch.tensor(0.3), kind([[-50.0, 0.0], [1.0, 50.0]]), bound=50.0, agent_steps=1)
    check_values(0.0, kind(0.5), bound=1.0, agent_steps=1)


@pytest.mark.parametrize(
    "loss, q, seen",
    [
        (float("nan"), 1.0, "loss nan, largest |Q| 1;"),
        (float("inf"), 1.0, "loss inf, largest |Q| 1;"),
        (0.5, float("nan"), "loss 0.5, largest |Q| nan;"),
        (0.5, -float("inf"), "loss 0.5, largest |Q| inf;"),
        (0.5, 50.1, "loss 0.5, largest |Q| 50.1;"),
        (0.5, -1e9, "loss 0.5, largest |Q| 1e+09;"),
    ],
)
def test_values_that_cannot_be_are_reported(loss, q, seen):
    with pytest.raises(FloatingPointError) as error:
        check_values(torch.tensor(loss), torch.tensor([[0.0, q], [0.2, -0.5]]), 50.0, 12_000)
    message = str(error.value)
    assert seen in message and "at agent step 12,000" in message and "|Q| <= 50 " in message
    for cause in ("learning rate", "target network", "ends of games", "rewards", "NaN in what"):
        assert cause in message
    assert "the last checkpoint is as it was" in message


@pytest.mark.parametrize("bound", [0.0, -1.0, float("inf"), float("nan")])
def test_a_bound_that_bounds_nothing_is_refused(bound):
    with pytest.raises(ValueError, match="expected bound = largest reward"):
        check_values(0.0, torch.zeros(2), bound, 0)


@pytest.mark.parametrize("lr, diverges", [(0.1, False), (3.0, True)])
def test_a_learning_rate_too_high_is_reported_within_few_updates(lr, diverges):
    """One state with reward 1 that leads to itself: its value is the bound, 1 / (1 - γ) = 10."""
    gamma, q = 0.9, torch.zeros(1, requires_grad=True)

    def train():
        for update in range(200):
            loss = 0.5 * (q - (1 + gamma * q.detach())) ** 2
            (gradient,) = torch.autograd.grad(loss, q)
            with torch.no_grad():
                q.sub_(lr * 10 * gradient)
            check_values(loss.detach(), q.detach(), 1 / (1 - gamma) + 1e-3, update)

    if diverges:
        with pytest.raises(FloatingPointError, match=r"the training diverges at agent step \d:"):
            train()
    else:
        train()
        assert q.item() == pytest.approx(10, abs=1e-2)


def test_the_machine_and_source_are_told(capsys):
    installed = importlib.metadata.version("torch")  # as pip knows it: "2.13.0" or "2.13.0+cpu"
    assert f"torch {installed}" in machine() and "CPU cores" in machine()
    show_source(seed_everything, pick_device)
    out = capsys.readouterr().out
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
    filed = runtime.read_verdicts(build / "verdicts" / f"05_new.{os.getpid()}.json")
    assert filed["score"] == {"value": 1.0, "expected": ">= 1", "passed": True}
    assert filed["error"] == {"value": 1.0, "expected": "<= 1", "passed": True}


@pytest.mark.parametrize("text", ["", '{"score": {"va', "[1]"])
def test_a_damaged_verdict_counts_as_none(build, monkeypatch, text):
    monkeypatch.setenv("DQN_NOTEBOOK", "99_test")
    path = build / "verdicts" / f"99_test.{os.getpid()}.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert runtime.read_verdicts(path) == {}
    check_learned("score", 20, at_least=18)
    assert list(runtime.read_verdicts(path)) == ["score"]
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_gpu_that_does_not_answer_is_no_error(monkeypatch):
    def broken():
        raise RuntimeError("CUDA error: unknown error\nmore")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", broken)
    assert "a GPU that does not answer (CUDA error: unknown error)" in machine()


@pytest.mark.parametrize("name", ["../a.csv", "/etc/passwd", "a/../../b"])
def test_names_do_not_lead_out_of_their_folder(build, name):
    for path in (results_path, runtime.build_dir):
        with pytest.raises(ValueError, match="expected a path inside"):
            path(name)


def test_missing_library_is_named(monkeypatch):
    def missing(name):
        raise runtime.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(runtime.importlib.metadata, "version", missing)
    monkeypatch.setattr(runtime.importlib.util, "find_spec", lambda name: None)
    assert "no ale-py (pip install ale-py)" in machine() and "no ffmpeg" in machine()
