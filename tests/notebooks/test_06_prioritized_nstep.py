"""Notebook 06: n-step windows against a slow reference, probes, bias as large as said, faults."""

import re
from dataclasses import asdict
from types import SimpleNamespace

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
from tests.notebooks.test_beyond_dqn import Count
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
    "story",
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


# --- the small worlds of the text, step by step -------------------------------------------------


def test_the_story_of_the_text(nb):
    """Rewards 1, 2, 3, 4, three at a time, each worth half of the one before."""
    full = [Transition("s0", 0, 2.75, "s3", False), Transition("s1", 0, 4.5, "s4", True)]
    shorter = [Transition("s2", 0, 5.0, "s4", True), Transition("s3", 0, 4.0, "s4", True)]
    assert nb["story"](True) == full + shorter
    assert nb["story"](False) == [full[0], full[1]._replace(terminated=False)]


@pytest.mark.parametrize("ends", [True, False])
def test_the_story_ends_with_its_fourth_step(nb, monkeypatch, ends):
    told = []

    class Listening(nb["NStep"]):
        def add(self, transition, truncated):
            told.append((transition.obs, transition.terminated, truncated))
            return super().add(transition, truncated)

    monkeypatch.setitem(nb, "NStep", Listening)
    nb["story"](ends)
    assert told == [(f"s{t}", False, False) for t in range(3)] + [("s3", ends, not ends)]


def test_a_sweep_looks_n_states_ahead_at_the_values_from_before(nb):
    """Four states; the values say what they must not: only the last step has a reward."""
    values = np.array([0.25, 0.5, 2.0, 8.0])
    assert nb["sweep"](values, 1, 0.5).tolist() == [0.25, 1.0, 4.0, 1.0]
    assert nb["sweep"](values, 2, 0.5).tolist() == [0.5, 2.0, 0.5, 1.0]
    assert nb["sweep"](values, 9, 0.5).tolist() == [0.125, 0.25, 0.5, 1.0]
    assert nb["sweep"](values, 1) == pytest.approx([0.45, 1.8, 7.2, 1.0])
    assert values.tolist() == [0.25, 0.5, 2.0, 8.0]


def test_cliff_walk_holds_every_game_as_often_as_it_is_likely(nb):
    """States 0, 1, 2: half of the games fall at once, a quarter in 1, an eighth in 2 or nowhere."""
    on, further = (0, 1, 0, 1), (1, 1, 0, 2)
    falls = [(state, 0, 0, -1) for state in range(3)]
    games = [[falls[0]]] * 4 + [[on, falls[1]]] * 2 + [[on, further, falls[2]]]
    assert nb["cliff_walk"](3) == [row for game in games for row in game] + [
        on, further, (2, 1, 1, -1)
    ]  # fmt: skip
    assert nb["cliff_walk"](1) == [(0, 0, 0, -1), (0, 1, 1, -1)]


@pytest.fixture
def scripted(nb, monkeypatch):
    """updates_needed with chance written down: the updates, and the priorities that were set."""

    def run(n, draws, **how):
        draws, priorities = iter(draws), []

        class Tree:
            def __init__(self, size):
                assert size == len(nb["cliff_walk"](n))

            def __setitem__(self, index, priority):
                priorities.append((np.array(index).tolist(), np.array(priority).tolist()))

            def draw(self, size, rng):
                return np.array([next(draws) for _ in range(size)])

        monkeypatch.setitem(nb, "SumTree", Tree)
        updates = nb["updates_needed"](n, "prioritized", None, **how)
        assert not [*draws]
        first, *others = priorities
        assert first == (list(range(2 * 2**n - 2)), [1.0] * (2 * 2**n - 2))
        return updates, others

    return run


def test_priorities_of_the_cliff_walk_are_those_of_the_errors(scripted):
    """Rows 5 (the reward), 2 (the step before it) and 3 (a fall): errors 1, 0.75, 0.39375, 0."""
    updates, priorities = scripted(2, [5, 5, 2, 3], limit=4)
    assert updates == 4 and [index for index, _ in priorities] == [5, 5, 2, 3]
    expected = [x**0.6 for x in (1.001, 0.751, 0.39475, 0.001)]
    assert [priority for _, priority in priorities] == pytest.approx(expected)


def test_the_cliff_walk_ends_when_the_mean_squared_error_is_small(scripted):
    """Each draw leaves 3/4 of an error; 0.75^13 is the first below the root of 0.001."""
    assert scripted(1, [1] * 13)[0] == 13
    assert scripted(1, [1] * 12, limit=12)[0] == 12
    assert scripted(2, [5] * 30 + [2] * 11, limit=60)[0] == 41  # 0.9 · 0.75^11, half of it squared


def test_a_uniform_walk_draws_all_rows_alike(nb):
    asked = []
    rng = SimpleNamespace(integers=lambda size: asked.append(size) or 5)
    assert nb["updates_needed"](2, "uniform", rng, limit=20) == 20
    assert asked == [6] * 20


@pytest.mark.parametrize("n", [1, 2, 4])
def test_the_largest_error_is_that_of_a_chain_of_right_actions(nb, n):
    """Without a memory: only right actions are ever wrong, and the worst one is improved."""
    q, truth, updates = [0.0] * n, [0.9 ** (n - 1 - state) for state in range(n)], 0
    while sum((a - b) ** 2 for a, b in zip(q, truth, strict=True)) / n >= 0.001:
        errors = [0.9 * after - now for now, after in zip(q, [*q[1:], 1 / 0.9], strict=True)]
        worst = errors.index(max(errors))
        q[worst], updates = q[worst] + errors[worst] / 4, updates + 1
    assert nb["updates_needed"](n, "largest error", None) == updates


# --- the agent, piece by piece ------------------------------------------------------------------


def test_weighted_loss_and_errors_by_hand(nb):
    """Errors 0.5 and -2: losses 0.125 and 1.5, the second one halved; errors are not weighted."""
    q, next_q = torch.tensor([[1.0, 9.0], [9.0, 2.0]], requires_grad=True), torch.zeros(2, 2)
    batch = Transition(
        torch.zeros(2, 4), torch.tensor([0, 1]), torch.tensor([1.5, 0.0]), None, torch.zeros(2)
    )
    networks = (lambda obs: q), (lambda obs: next_q)
    weight, config = torch.tensor([1.0, 0.5]), nb["Config"](batch=2)
    loss, errors = nb["loss_and_errors"](batch, weight, *networks, config)
    assert loss.item() == pytest.approx((0.125 + 0.75) / 2) and errors.tolist() == [0.5, -2.0]
    loss.backward()
    assert q.grad.tolist() == [[-0.25, 0.0], [0.0, 0.25]]
    with pytest.raises(AssertionError):
        nb["loss_and_errors"](batch, weight[:, None], *networks, config)


def test_the_network_is_two_hidden_layers_on_scaled_observations(nb):
    torch.manual_seed(0)
    brain = nb["Brain"](nb["Config"](hidden=(16, 8)), np.random.default_rng(0))
    obs = torch.randn(5, 4)
    x = obs / torch.tensor([2.4, 2.0, 0.21, 2.0])
    parameters = list(brain.q_net.parameters())
    assert [tuple(p.shape) for p in parameters[::2]] == [(16, 4), (8, 16), (2, 8)]
    for i, (weight, bias) in enumerate(zip(parameters[::2], parameters[1::2], strict=True)):
        x = (x.relu() if i else x) @ weight.T + bias
    torch.testing.assert_close(brain.q_net(obs), x)
    np.testing.assert_allclose(brain.q_values(obs.numpy()), x.detach().numpy(), rtol=1e-5)


def test_the_best_action_unless_the_draw_is_below_epsilon(nb):
    config = nb["Config"](epsilon_end=0.25, epsilon_decay=10)
    brain = nb["Brain"](config, np.random.default_rng(0), num_actions=3)
    q = np.array([[0.0, 2, 1], [3, 2, 1], [0, 1, 2]])
    brain.q_values = lambda obs: q[: len(obs)]
    assert brain.greedy(np.zeros((3, 4))).tolist() == [1, 0, 2]
    draws = iter([0.24, 0.25, 0.9])
    brain.rng = SimpleNamespace(random=lambda: next(draws), integers=lambda n: n - 1)
    brain.agent_steps = 10
    assert [brain.decide_action(np.zeros(4)) for _ in range(3)] == [2, 1, 1]


@pytest.mark.parametrize("learn_start, first", [(6, 8), (7, 16), (14, 16), (15, 24)])
def test_learning_starts_as_soon_as_enough_windows_are_stored(nb, learn_start, first):
    """Of 3 steps each: there are two windows fewer than steps."""
    config = nb["Config"](learn_start=learn_start, train_every=8, updates_per_train=3)
    brain, seen = nb["Brain"](config, np.random.default_rng(0)), []
    brain.update = lambda: seen.append(brain.agent_steps)
    for _ in range(32):
        brain.learn(Transition(np.zeros(4, "f"), 0, 0.0, np.zeros(4, "f"), False), False)
    assert seen == [step for step in (8, 16, 24, 32) if step >= first for _ in range(3)]


def test_the_counting_memory_takes_alpha_by_name_only(nb):
    with pytest.raises(TypeError, match="positional"):
        nb["CountingMemory"](10, np.random.default_rng(0), 0.5)


# --- loops --------------------------------------------------------------------------------------


def test_the_loop_returns_the_lengths_and_reports_them(nb):
    """Games of 6 turns (the clock) and 4 (an end); one look every 7 agent steps."""
    told, looked, learned = [], [], []
    agent = SimpleNamespace(get_action=lambda obs: 1, learn=lambda *step: learned.append(step))

    def environment(agent_steps):
        return nb["Environment"](
            agent, nb["Config"](agent_steps=agent_steps), 0, TimeLimit(Count(), 6)
        )

    lengths = environment(24).run(
        lambda lengths: told.append([*lengths]), lambda lengths: looked.append([*lengths]), 7
    )
    assert lengths == [6, 4, 6, 4] and told == [lengths[:i] for i in (1, 2, 3, 4)]
    assert looked == [[6], [6, 4], [6, 4, 6, 4]] and len(learned) == 24
    assert [t for t, (_, truncated) in enumerate(learned, 1) if truncated] == [6, 16]
    assert environment(24).run() == lengths
    del looked[:], learned[:]
    environment(5_000).run(select=lambda lengths: looked.append(len(learned)))
    assert looked == [2_500, 5_000]


@pytest.fixture
def training(source):
    """train, with stand-ins for all that takes time: what happens in it is written to a list."""
    nb, happened, script = define(source, [*NAMES, "train"]), [], []

    class Brain:
        def __init__(self, config, rng):
            self.agent_steps, self.drawn = 0, rng.random()
            self.q_net = torch.nn.Linear(1, 1)

        def greedy(self, obs):
            return np.arange(16)

    class Environment:
        def __init__(self, agent, config, seed):
            self.brain = agent.brain
            happened.append(("environment", seed))

        def run(self, progress, select, select_every):
            happened.append(("select every", select_every))
            for games in range(1, len(script)):
                self.brain.agent_steps += 10
                torch.nn.init.constant_(self.brain.q_net.weight, games)
                progress([9] * games)
                select([9] * games)
            return [9] * games

    def evaluate(policy, arena, seed):
        happened.append(("play", policy(None).tolist() == list(range(16)), seed))
        return SimpleNamespace(
            mean=script[len([what for what, *_ in happened if what == "play"]) - 1]
        )

    nb.update(Environment=Environment, evaluate=evaluate, Brain=Brain)

    def start(means, test=7.0, **how):
        script[:] = [*means, test]
        del happened[:]
        return nb["train"](nb["Config"](), 3, **how), list(happened)

    return start


def test_of_equally_good_weights_the_earliest_are_kept(training):
    for means, best in (([50, 70, 70, 20], 2), ([1, 0.5], 1), ([5, 4, 5], 1)):
        run, happened = training(means)
        assert run.best["weight"].item() == best
        assert run.curve == [(3, 10 * i, mean) for i, mean in enumerate(means, 1)]
        seeds = [1_003_000 + i for i in range(len(means))] + [2_003_000]
        assert happened[2:] == [("play", True, seed) for seed in seeds]


def test_what_training_returns(training):
    run, happened = training([1.23456, 2], test=8.0)
    assert happened[:2] == [("environment", 3), ("select every", 2_500)]
    assert run.curve[0] == (3, 10, 1.23) and run.test.mean == 8.0
    assert run.lengths == [9, 9] and run.brain.agent_steps == 20
    assert run.brain.drawn == np.random.default_rng(3).random()
    other = type("Other", (type(run.brain),), {})
    run, happened = training([1], brain=other, select_every=10)
    assert type(run.brain) is other and happened[1] == ("select every", 10)


def test_the_live_curve_is_told_of_every_episode_and_closed(training):
    told, closed = [], []
    live = SimpleNamespace(
        update=lambda lengths, text: told.append(len(lengths)),
        close=lambda lengths, text: closed.append(lengths),
    )
    training([1, 2, 3], live=live)
    assert told == [1, 2, 3] and closed == [[9, 9, 9]]
