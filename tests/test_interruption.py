"""A training that is killed ends as one that is not: same weights, same books, same memory."""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from ale_py.vector_env import AtariVectorEnv

from helpers.atari import make_pong
from helpers.checkpoint import load_checkpoint
from helpers.evaluation import Evaluation
from tests.faults import planted
from tools.definitions import TWINS, define

SOURCE = (TWINS / "04_pong_dqn.py").read_text(encoding="utf-8")
NAMES = ["Config", "Environment"]
SMALL = dict(
    channels=(4, 4, 4),
    hidden=16,
    num_envs=2,
    capacity=1_000,  # smaller than the training: the ring comes round
    batch=8,
    train_every=2,
    learn_start=300,
    epsilon_steps=1_000,
    target_every=250,
    evaluate_every=200,
)


def short_games(num_envs):
    """Pong that is truncated every 80 agent steps or so."""
    settings = dict(noop_max=30, use_fire_reset=True, max_num_frames_per_episode=330)
    return AtariVectorEnv("pong", num_envs=num_envs, repeat_action_probability=0.0, **settings)


def look(act, envs, seed):
    """Stand in for an evaluation: quick, and it depends on the weights."""
    pictures = np.random.default_rng(seed).integers(0, 255, (20, 4, 84, 84), dtype=np.uint8)
    return Evaluation(None, -21 + float(act(pictures).sum()) / 10, 0.0, 0)


def definitions(folder, source=SOURCE, truncates=False):
    """Load the notebook's own classes, writing to ``folder``, with a stand-in for evaluations."""
    nb = define(source, NAMES, {"QUICK": False})
    make = short_games if truncates else make_pong
    evaluation = SimpleNamespace(close=lambda: None)
    nb["make_pong"] = lambda n, clip_rewards=True: make(n) if clip_rewards else evaluation
    nb["build_dir"] = lambda *parts: Path(folder)
    nb["evaluate"], nb["LiveCurve"] = look, MagicMock()
    return nb


def make_environment(nb, changes):
    """The notebook's Environment with other settings, and maybe another seed."""
    config = replace(nb["Config"](), **{k: v for k, v in changes.items() if k != "seed"})
    return nb["Environment"](config, changes.get("seed", 0), torch.device("cpu"))


def fingerprint(thing):
    """The same with every array replaced by its SHA-256."""
    if isinstance(thing, torch.Tensor):
        thing = thing.numpy()
    if isinstance(thing, np.ndarray):
        return f"{thing.dtype} {thing.shape} {hashlib.sha256(thing.tobytes()).hexdigest()}"
    if isinstance(thing, dict):
        return {str(key): fingerprint(value) for key, value in thing.items()}
    return [fingerprint(v) for v in thing] if isinstance(thing, (list, tuple)) else thing


def outcome(environment):
    """All that makes up a training, but for the time it took."""
    state, memory = environment.state(), dict(vars(environment.agent.memory))
    _, best, evaluations = state.pop("books")
    del memory["rng"]
    books = [best, environment.scores, environment.score_steps, environment.score]
    rows = [[agent_steps, *scores] for agent_steps, _, *scores in evaluations]
    return fingerprint({**state, "books": books, "evaluations": rows, "memory": memory})


# --- SIGKILL ----------------------------------------------------------------------------------


def train(folder, changes, threads, truncates, kill):
    """Start the training in ``folder`` or go on with it; a process of its own.

    kill: None, ("loop", agent_steps, seconds more) or ("save", agent_steps).
    """
    torch.set_num_threads(threads)
    nb = definitions(folder, truncates=truncates)
    environment = make_environment(nb, changes)

    def die(seconds=0.0):
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    def die_while_writing(file):
        if environment.agent_steps >= kill[1]:
            os.ftruncate(file, os.fstat(file).st_size // 2)
            die()

    def epsilon_at(agent_steps, config, epsilon_at=nb["epsilon_at"]):
        if agent_steps >= kill[1] and threading.active_count() == 1:
            threading.Thread(target=die, args=kill[2:]).start()  # the training goes on meanwhile
        return epsilon_at(agent_steps, config)

    if kill and kill[0] == "save":
        os.fsync = die_while_writing
    elif kill:
        nb["epsilon_at"] = epsilon_at
    environment.resume()
    environment.run()
    Path(folder, "outcome.json").write_text(json.dumps(outcome(environment)))


@pytest.fixture(scope="module")
def processes():
    """Processes that start quickly, from one that has imported everything and done nothing."""
    context = multiprocessing.get_context("forkserver")
    heavy = ["torch", "gymnasium", "ale_py.vector_env", "matplotlib.pyplot", "imageio.v3"]
    context.set_forkserver_preload([*heavy, "IPython.display", "safetensors.torch"])
    return context


def run_and_kill(processes, folder, kills, changes, **how):
    """Train to the end, starting again after every kill; return what the training came to."""
    folder.mkdir()
    how = dict(threads=1, truncates=False) | how
    for kill in [*kills, None]:
        arguments = dict(folder=str(folder), changes=changes, kill=kill, **how)
        process = processes.Process(target=train, kwargs=arguments)
        process.start()
        process.join(600)
        assert process.exitcode == (-signal.SIGKILL if kill else 0)
        if kill and kill[0] == "save":  # half of the new file lies there, the old one is whole
            (file,) = folder.glob("*.safetensors")
            assert list(folder.glob(f".{file.name}.*"))
            assert load_checkpoint(file)["actions"].numel() == kill[1] - changes["evaluate_every"]
    return json.loads((folder / "outcome.json").read_text())


def test_killed_six_times_it_ends_as_if_never_killed(processes, tmp_path):
    """At five random moments, spread over the training, and once while it saves."""
    changes = SMALL | dict(agent_steps=2_400)
    rng = np.random.default_rng(0)
    kills = [("loop", 440 * i + int(rng.integers(440)), rng.random() / 50) for i in range(5)]
    kills.insert(3, ("save", 1_400))  # the fourth strikes after 1,320
    whole = run_and_kill(processes, tmp_path / "whole", [], changes)
    killed = run_and_kill(processes, tmp_path / "killed", kills, changes)
    assert whole["books"][1] and whole["counts"][0] == 2_100 // 2  # games ended, updates were made
    assert killed == whole


def test_killed_with_truncated_games_and_two_threads(processes, tmp_path):
    """A short one: where other programs keep the cores busy, two threads wait for each other."""
    changes = SMALL | dict(agent_steps=500, learn_start=200, seed=3)
    how = dict(threads=2, truncates=True)
    whole = run_and_kill(processes, tmp_path / "whole", [], changes, **how)
    killed = run_and_kill(processes, tmp_path / "killed", [("loop", 430, 0.0)], changes, **how)
    assert len(whole["books"][1]) >= 4 and whole["counts"][0] > 100
    assert killed == whole


# --- and it would be noticed ------------------------------------------------------------------

ONE_SAVE = SMALL | dict(agent_steps=600, evaluate_every=400, learn_start=100, capacity=300)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training of 600 agent steps that saved after 400: its folder, and what it came to."""
    folder = tmp_path_factory.mktemp("whole")
    nb = definitions(folder, truncates=True)
    environment = make_environment(nb, ONE_SAVE)
    environment.run()
    assert environment.scores and environment.agent.brain.updates == 250
    return folder, outcome(environment)


def go_on(folder, whole, source=SOURCE):
    """What the training comes to that goes on from the file of the other."""
    shutil.copytree(whole, folder, dirs_exist_ok=True)
    nb = definitions(folder, source, truncates=True)
    environment = make_environment(nb, ONE_SAVE)
    environment.resume()
    assert environment.agent_steps in (400, 398)  # 398: with the last action lost
    environment.run()
    return outcome(environment)


def test_going_on_is_exact(tmp_path, whole, capsys):
    assert go_on(tmp_path, whole[0]) == whole[1]
    assert "playing 400 agent steps again\nresuming at 400" in capsys.readouterr().out


LOST = ('actions = state["actions"].cpu().numpy()', 'actions = state["actions"].cpu().numpy()[:-1]')
UNPROVEN = ('np.array_equal(self.obs, state["obs"].cpu().numpy())', "True")
FAULTS = {  # what to break: pairs of text and broken text
    "random generator": [('self.rng.bit_generator.state = state["rng"]', "pass")],
    "optimizer": [('brain.optimizer.load_state_dict(state["optimizer"])', "pass")],
    "order of the moments": [("torch.empty_like(weights).copy_(moments[name])", "moments[name]")],
    "target network": [('load_weights(brain.target_net, state["target_net"], "target_net")', "")],
    "best weights": [('self.best_weights = state["best_weights"]', "pass")],
    "one action, with the proof": [LOST],
    "one action, without it": [LOST, UNPROVEN],
    "running scores": [("self.record(*step)\n", "self.record(*step)\n        self.score[:] = 0\n")],
    "seed of the games": [("self.envs, self.seed, actions", "self.envs, 9, actions")],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_brought_back_is_noticed(tmp_path, whole, fault):
    source = SOURCE
    for text, broken in FAULTS[fault]:
        assert source.count(text) == 1, f"expected {text!r} once in the twin: adapt this test"
        source = planted(source, text, broken)
    try:
        came_to = go_on(tmp_path, whole[0], source)
    except RuntimeError as error:
        assert "the games came out differently" in str(error)
    else:
        assert came_to != whole[1]
