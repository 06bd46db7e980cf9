"""Notebook 06: n-step windows against a slow reference, probes, bias as large as said, faults."""

import re
from dataclasses import asdict

import numpy as np
import pytest
import torch
from gymnasium.wrappers import TimeLimit
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import ablate
from exercises.prioritized_nstep import (
    check_find,
    check_n_step_target,
    check_probabilities,
    check_weights,
)
from helpers.ablation import bootstrap_interval, figures_per_seed, holm, paired_p_value
from helpers.plotting import load_curves
from helpers.replay import ReplayMemory, Transition
from tests.faults import planted
from tests.test_probes import (
    PROBES,
    ActionDependent,
    Bandit,
    Delayed,
    Endless,
    Fork,
    Probe,
    StateDependent,
)  # fmt: skip
from tools.definitions import ROOT, TWINS, define

TWIN = TWINS / "06_prioritized_nstep.py"
NAMES = [
    "Config",
    "Agent",
    "Environment",
    "updates_needed",
    "sweep",
    "UniformBrain",
    "steps_to_fall",
    "n_step_target",
    "probabilities",
    "find",
    "importance_weights",
]


@pytest.fixture(scope="module")
def source():
    return TWIN.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def nb(source):
    return define(source, NAMES)


@pytest.mark.parametrize(
    "check, name",
    [
        (check_n_step_target, "n_step_target"),
        (check_probabilities, "probabilities"),
        (check_find, "find"),
        (check_weights, "importance_weights"),
    ],
)
def test_our_versions_pass_the_checks_of_the_exercises(nb, check, name):
    assert check(nb[name]) is True


# --- windows ----------------------------------------------------------------------------------


def slow_windows(steps, n, gamma):
    """All complete windows of a history of (reward, how it ended), by looking ahead."""
    found = []
    for start in range(len(steps)):
        total = 0.0
        for k in range(n):
            if start + k == len(steps):
                break  # the game still runs
            reward, end = steps[start + k]
            total += gamma**k * reward
            if end == "terminated" or k == n - 1:
                found.append((start, total, start + k + 1, end == "terminated"))
                break
            if end == "truncated":
                break
    return found


def windows(nb, steps, n, gamma):
    """The same by the notebook's NStep, ordered by their first step."""
    collector, found = nb["NStep"](n, gamma), []
    for t, (reward, end) in enumerate(steps):
        step = Transition(t, 0, reward, t + 1, end == "terminated")
        found += collector.add(step, truncated=end == "truncated")
    return [(row.obs, row.reward, row.next_obs, row.terminated) for row in found]


ends = st.sampled_from(["", "", "", "terminated", "truncated"])
histories = st.lists(st.tuples(st.integers(-3, 3).map(float), ends), max_size=30)


@settings(max_examples=300, deadline=None)
@given(steps=histories, n=st.integers(1, 6))
def test_windows_equal_a_slow_reference(steps, n):
    assert windows(NB, steps, n, 0.5) == slow_windows(steps, n, 0.5)


NB = define(TWIN.read_text(encoding="utf-8"), NAMES)
HISTORY = [(1.0, ""), (2.0, ""), (3.0, "truncated"), (4.0, ""), (5.0, "terminated"), (6.0, "")] * 3


@pytest.mark.parametrize(
    "text, broken",
    [
        (
            "        if truncated:\n            self.window.clear()",
            "        if False:\n            pass",
        ),
        ("while self.window:", "while False:"),
        ("self.gamma**k * step.reward", "self.gamma * step.reward"),
        ("last.next_obs, last.terminated\n", "first.next_obs, last.terminated\n"),
    ],
    ids=["crosses a time limit", "crosses an end", "γ instead of γ^k", "bootstraps too early"],
)
def test_a_wrong_window_is_noticed(source, text, broken):
    assert text in source
    wrong = define(planted(source, text, broken), NAMES)
    assert windows(wrong, HISTORY, 3, 0.5) != slow_windows(HISTORY, 3, 0.5)


def test_discount_is_gamma_to_the_n(nb, source):
    row = torch.tensor([1.0, 1.0]), torch.zeros(2, 1), torch.tensor([0.0, 1.0])
    batch = Transition(None, None, *row)

    def says_ten(obs):
        return torch.tensor([[3.0, 10.0]]).expand(len(obs), 2)

    assert nb["td_target"](batch, says_ten, 0.5, 3).tolist() == [1 + 0.125 * 10, 1.0]
    wrong = define(planted(source, "gamma**n_step * (1", "gamma * (1"), NAMES)
    assert wrong["td_target"](batch, says_ten, 0.5, 3).tolist() != [1 + 0.125 * 10, 1.0]


# --- probes -----------------------------------------------------------------------------------


def trained(nb, kind, brain="Brain", **changes):
    """A function from obs to the Q-values of the notebook's Brain after a probe."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    settings = dict(
        agent_steps=1_000, gamma=0.9, hidden=(16, 16), epsilon_end=1.0, batch=32, learn_start=60,
        train_every=1, updates_per_train=1, lr=0.01, target_every=10, n_step=1,
    )  # fmt: skip
    config = nb["Config"](**{**settings, **changes})
    brain = nb[brain](config, np.random.default_rng(0), num_actions=2, obs_scale=(1.0,))
    nb["Environment"](nb["Agent"](brain), config, seed=0, env=TimeLimit(kind(), 5)).run()
    return lambda obs: brain.q_values(np.array([[obs]], np.float32))[0].tolist()


def probe(nb, kind, **changes):
    q = trained(nb, kind, **changes)
    for obs, expected in kind.expected.items():
        tolerance = getattr(kind, "tolerance", 0.1)
        assert q(obs) == pytest.approx(expected, abs=tolerance), f"{kind.__name__}, obs {obs}"


@pytest.mark.parametrize("kind", PROBES, ids=lambda kind: kind.__name__)
def test_prioritized_learns_known_values(nb, kind):
    probe(nb, kind)


ON_POLICY = [Bandit, StateDependent, ActionDependent, Fork, Endless]  # later actions do not matter


@pytest.mark.parametrize("brain", ["Brain", "UniformBrain"])
@pytest.mark.parametrize("kind", ON_POLICY, ids=lambda kind: kind.__name__)
def test_three_steps_learn_known_values(nb, kind, brain):
    probe(nb, kind, n_step=3, brain=brain)


def test_the_bias_of_exploring_is_as_large_as_said(nb):
    """Delayed pays for the second action: 0.9 at best, 0.45 if it is played at random."""
    how = dict(brain="UniformBrain")
    assert trained(nb, Delayed, n_step=1, **how)(-1.0) == pytest.approx((0.9, 0.9), abs=0.1)
    assert trained(nb, Delayed, n_step=2, **how)(-1.0) == pytest.approx((0.45, 0.45), abs=0.15)


class Lottery(Probe):
    """One turn, reward 1 in one of ten games: worth 0.1."""

    expected = {1.0: (0.1, 0.1)}  # noqa: RUF012

    def step(self, action):
        return np.ones(1, np.float32), float(self.np_random.random() < 0.1), True, False, {}


def lottery(nb, **changes):
    how = dict(alpha=1.0, agent_steps=4_000, lr=0.003)
    return np.mean(trained(nb, Lottery, **{**how, **changes})(1.0))


def test_importance_weights_keep_the_mean_right(nb, source):
    """Right: 0.1. Without the weights draws go by the error: 0.1 (1 - v)² = 0.9 v², v = 0.25."""
    assert lottery(nb, beta_start=1.0) == pytest.approx(0.1, abs=0.06)
    faults = {
        "weights not used": ("(weight * loss).mean()", "loss.mean()"),
        "β stays 0": ("    return config.beta_start + (1.0", "    return 0.0 * (1.0"),
    }
    for name, (text, broken) in faults.items():
        assert text in source, name
        wrong = define(planted(source, text, broken), NAMES)
        assert lottery(wrong, beta_start=1.0) == pytest.approx(0.25, abs=0.06), name


def test_beta_climbs_to_one(nb):
    config = nb["Config"](beta_start=0.4, agent_steps=100)
    assert [nb["beta"](config, t) for t in (0, 50, 100, 200)] == pytest.approx([0.4, 0.7, 1, 1])


def asked_with(nb, make_brain):
    """β with which a Brain asks its memory at first, half way and at the end."""
    config = nb["Config"](batch=2, agent_steps=100, beta_start=0.4)
    brain, asked = make_brain(config, np.random.default_rng(0)), []
    for _ in range(4):
        brain.memory.push(np.zeros(4, np.float32), 0, 0.0, np.zeros(4, np.float32), False)
    sample = brain.memory.sample
    brain.memory.sample = lambda size, beta: asked.append(beta) or sample(size, beta)
    for brain.agent_steps in (0, 50, 100):
        brain.update()
    return asked


def test_the_memory_is_asked_with_the_beta_of_now(nb, source):
    assert asked_with(nb, nb["Brain"]) == pytest.approx([0.4, 0.7, 1.0])
    text = "beta(config, self.agent_steps)"
    assert text in source
    wrong = define(planted(source, text, "config.beta_start"), NAMES)
    assert asked_with(wrong, wrong["Brain"]) != pytest.approx([0.4, 0.7, 1.0])


def errors_go_back(nb):
    """After an update exactly the drawn rows have the priorities of their own errors, as large."""
    torch.manual_seed(0)
    config = nb["Config"](n_step=1, alpha=1.0, batch=16, learn_start=16, gamma=0.9)
    brain = nb["Brain"](config, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    for _ in range(64):
        obs, next_obs = rng.normal(size=(2, 4)).astype(np.float32)
        brain.memory.push(obs, int(rng.integers(2)), float(5 * rng.normal()), next_obs, False)
    keys = brain.memory.sample(32, 1.0).keys
    brain.memory.update_priorities(keys, rng.random(32))  # so that weights differ
    seen, update = {}, brain.memory.update_priorities
    brain.memory.update_priorities = lambda keys, errors: (
        seen.update(zip(keys[:, 0].tolist(), errors.tolist(), strict=True)), update(keys, errors)
    )  # fmt: skip
    weights = [p.clone() for p in brain.q_net.parameters()]
    brain.update()
    for slot, error in seen.items():
        row = brain.memory._ring[slot]
        with torch.no_grad():
            for p, old in zip(brain.q_net.parameters(), weights, strict=True):
                p.copy_(old)
            q = brain.q_net(torch.from_numpy(row.obs[None]))[0, row.action]
            target = row.reward + 0.9 * brain.target_net(torch.from_numpy(row.next_obs[None])).max()
        assert error == pytest.approx((target - q).item(), abs=1e-4)
        assert brain.memory.priorities.tree[slot] == pytest.approx(abs(error) + 1e-3, rel=1e-4)
    assert max(map(abs, seen.values())) > 1  # larger than what the paper cuts to


def test_errors_go_back_to_their_transitions(nb, source):
    errors_go_back(nb)
    told = "(target - q).detach().numpy()"
    for broken in (
        "(target - q).detach().clamp(-1, 1).numpy()",
        "(weight * (target - q)).detach().numpy()",
    ):
        assert told in source
        with pytest.raises(AssertionError):
            errors_go_back(define(planted(source, told, broken), NAMES))


# --- the small worlds of the text -------------------------------------------------------------


def test_cliff_walk_holds_random_play(nb):
    rows = nb["cliff_walk"](3)
    assert sum(reward for _, _, reward, _ in rows) == 1  # the prize is found once …
    assert sum(next_state == -1 for *_, next_state in rows) == 2**3  # … in 2^n games
    rng, hows = np.random.default_rng(0), ("largest error", "prioritized", "uniform")
    needed = [np.median([nb["updates_needed"](6, how, rng) for _ in range(3)]) for how in hows]
    assert needed[0] < needed[1] / 1.5 < needed[2] / 3


def test_draws_are_counted_beside_those_of_a_uniform_memory(nb):
    memory = nb["CountingMemory"](50, np.random.default_rng(0), alpha=0.0)
    for i in range(30):
        memory.push(np.float32([i]), 0, 0.0, np.float32([i]), False)
    drawn = np.zeros(30)
    for _ in range(400):
        for row in memory.sample(20, 1.0).batch:
            drawn[int(row.obs[0])] += 1
    np.testing.assert_array_equal(memory.drawn[:30], drawn)
    np.testing.assert_allclose(memory.uniform[:30], 400 * 20 / 30)
    assert memory.drawn[30:].sum() == memory.uniform[30:].sum() == 0
    assert [int(row.obs[0]) for row in memory.rows()] == list(range(30))


def test_variants_differ_by_their_switches_only(source):
    nb = define(source, ["Config", "Compared", "DQN", "BOTH", "VARIANTS"])
    plain = asdict(nb["DQN"])
    found = {
        name: {field: value for field, value in asdict(config).items() if value != plain[field]}
        for name, config in nb["VARIANTS"].items()
    }
    assert found == {
        "dqn": {},
        "n_step": {"n_step": 3},
        "n_step_5": {"n_step": 5},
        "prioritized": {"prioritized": True},
        "both": {"n_step": 3, "prioritized": True},
    }
    both = asdict(nb["VARIANTS"]["both"])
    assert both.pop("prioritized") and both == asdict(nb["BOTH"])  # what the notebook trains


def test_the_recorded_curves_have_the_settings_of_the_notebook():
    now, recorded, _ = ablate.settings("06", ROOT / "results")
    assert recorded == now


def test_variants_are_trained_with_their_memory(source):
    nb = define(source, [*NAMES, "DQN", "Compared", "VARIANTS", "train_variant"])
    nb["train"] = lambda config, seed, brain: (config.prioritized, brain.__name__)
    trained = {nb["train_variant"](config, 0) for config in nb["VARIANTS"].values()}
    assert trained == {(True, "Brain"), (False, "UniformBrain")}


def test_the_text_counts_the_draws_of_a_transition(nb, source):
    config = nb["Config"]()
    rounds = [s for s in range(1, config.agent_steps + 1) if s % config.train_every == 0]
    late = [s for s in rounds if s - config.n_step + 1 >= config.learn_start]
    updates = config.updates_per_train * len(late)
    assert f"{updates:,} mini-batches" in " ".join(source.split("\n# "))
    assert round(updates * config.batch / config.agent_steps) == 31


def test_a_uniform_brain_draws_as_the_plain_memory_does(nb):
    config = nb["Config"](n_step=1, agent_steps=100)
    brain = nb["UniformBrain"](config, np.random.default_rng(3))
    plain = ReplayMemory(100, np.random.default_rng(3))
    for i in range(40):
        row = np.float32([i] * 4), i % 2, float(i), np.float32([i + 1] * 4), False
        for memory in (brain.memory, plain):
            memory.push(*row)
    sample = brain.memory.sample(16, 0.4)
    assert [row.reward for row in sample.batch] == [row.reward for row in plain.sample(16)]
    assert sample.weight.dtype == np.float32 and (sample.weight == 1).all()
    brain.memory.update_priorities(sample.keys, np.ones(16))
    assert len(brain.memory) == 40


def test_the_text_says_what_the_recorded_curves_say(source):
    """The differences in "What does each part contribute?": means, intervals and what survives."""
    text = " ".join(source.split("\n# ")).replace("−", "-")
    area = {
        name: figures_per_seed(
            load_curves(ROOT / "results" / f"06_{name}.csv", "agent_steps", "greedy_mean"), 475
        )["area"]
        for name in ("dqn", "n_step", "n_step_5", "prioritized", "both")
    }
    assert all(len(values) == 20 for values in area.values())
    rng = np.random.default_rng(0)
    p = {}
    for name, first in (("n_step", "dqn"), ("n_step_5", "dqn"), ("prioritized", "dqn"),
                        ("both", "n_step")):  # fmt: skip
        difference = area[name] - area[first]
        mean = f"{difference.mean():+.0f}".replace("+", r"\+?")
        said = re.search(r"(?<!\d)" + mean + r"(?!\d)[a-z ,(]*?([+-]?\d+) to ([+-]?\d+)\)", text)
        assert said, f"{name} minus {first}: {difference.mean():+.1f}"
        interval = bootstrap_interval(difference, rng)
        assert [float(x) for x in said.groups()] == pytest.approx(interval, abs=1.6)
        p[name] = paired_p_value(difference)
    corrected = dict(zip(p, holm(list(p.values())), strict=True))
    assert corrected["n_step"] < 0.05 and corrected["n_step_5"] < 0.05
    assert corrected["prioritized"] > 0.05 and corrected["both"] > 0.05
    levels = [f"{area[name].mean():.0f}" for name in ("dqn", "n_step")]
    assert f"from {levels[0]} to {levels[1]} of 500" in text


@pytest.mark.parametrize("n", [1, 3])
def test_steps_to_the_fall(nb, n):
    """A game that falls with its 6th step, one stopped after 5, one that falls with its 4th."""
    window, rows, expected = nb["NStep"](n, 1.0), [], []
    for length, falls in ((6, True), (5, False), (4, True)):
        obs = [np.float32([t]) for t in range(length + 1)]
        for t in range(length):
            over = t == length - 1
            step = Transition(obs[t], 0, 0.0, obs[t + 1], over and falls)
            rows += window.add(step, over and not falls)
        expected += [length - t if falls else 1_000 for t in range(length if falls else 6 - n)]
    assert nb["steps_to_fall"](rows, n).tolist() == expected
