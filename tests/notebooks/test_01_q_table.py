"""Notebook 01's own definitions against numbers worked out by hand and slow references."""

import csv
import math
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest

from exercises.q_table import check_choose, check_episode, check_q_update, check_returns
from helpers.plotting import load_curves
from helpers.replay import Transition
from tools.definitions import ROOT, TWINS, class_source, load_definitions

NAMES = [
    "ROADS",
    "cost_to_go",
    "discounted_returns",
    "learn_grid",
    "value_iteration",
    "train",
    "is_solved",
    "LooksAtItself",
    "SEEDS",
    "VARIANTS",
    "no_epsilon",
]


@pytest.fixture(scope="module")
def nb():
    return load_definitions("01_q_table", NAMES)


class ScriptedCart:
    """An environment that ends after so many steps, by a fall or by the clock."""

    def __init__(self, endings):
        self.endings, self.resets = endings, 0

    def reset(self, **_):
        self.left, self.kind = self.endings[self.resets]
        self.resets += 1
        return np.zeros(4, np.float32), {}

    def step(self, action):
        self.left -= 1
        over = self.left == 0
        obs = np.full(4, self.left, np.float32)
        return obs, 1.0, over and self.kind == "fall", over and self.kind == "clock", {}

    def render(self):
        return np.zeros((2, 2, 3), np.uint8)


class Recorder:
    """Stands in for an Agent and keeps what it is handed."""

    def __init__(self):
        self.transitions, self.episodes = [], []

    def get_action(self, obs, episode):
        self.episodes.append(episode)
        return 1

    def learn(self, transition):
        self.transitions.append(transition)


def scripted(nb, endings, **changes):
    task = nb["Environment"](Recorder(), replace(nb["Config"](), **changes), seed=0)
    task.env.close()
    task.env = ScriptedCart(endings)
    return task


# -- decisions ahead ---------------------------------------------------------------------


def test_the_shorter_first_road_loses(nb):
    assert nb["cost_to_go"]("Seoul", nb["ROADS"]) == (85, "Daejeon")
    assert nb["cost_to_go"]("Wonju", nb["ROADS"]) == (90, "Busan")
    assert nb["cost_to_go"]("Busan", nb["ROADS"]) == (0, None)


def test_cost_to_go_is_the_cheapest_of_all_trips(nb):
    rng = np.random.default_rng(0)
    for _ in range(20):
        roads = {i: {j: int(rng.integers(1, 99)) for j in range(i + 1, 6)} for i in range(6)}
        trips = [[i for i, used in enumerate([1, *middle, 1]) if used]
                 for middle in product((0, 1), repeat=4)]  # fmt: skip
        costs = [sum(roads[a][b] for a, b in pairwise(t)) for t in trips]
        assert nb["cost_to_go"](0, roads)[0] == min(costs)


def test_discounted_returns_by_hand_and_by_the_definition(nb):
    assert np.allclose(nb["discounted_returns"]([0, 0, 1], 0.9), [0.81, 0.9, 1.0])
    rewards = np.random.default_rng(0).normal(size=12)
    slow = [sum(0.7**k * rewards[t + k] for k in range(12 - t)) for t in range(12)]
    assert np.allclose(nb["discounted_returns"](rewards, 0.7), slow)


# -- the update and the choice -------------------------------------------------------------


@pytest.mark.parametrize("reward, terminated, expected", [(0, False, 0.575), (1, True, 0.6)])
def test_q_update_by_hand(nb, reward, terminated, expected):
    table = np.array([[0.2, 0.0], [0.3, 1.0]])
    nb["q_update"](table, Transition(0, 0, reward, 1, terminated), alpha=0.5, gamma=0.95)
    assert np.allclose(table, [[expected, 0.0], [0.3, 1.0]])  # only one entry moves


def test_choose_breaks_ties_at_random_and_explores(nb):
    rng = np.random.default_rng(0)
    ties = [nb["choose"](np.array([1.0, 2.0, 2.0]), 0.0, rng) for _ in range(4_000)]
    assert set(ties) == {1, 2} and abs(ties.count(1) / 4_000 - 0.5) < 0.03
    explored = [nb["choose"](np.array([1.0, 0.0]), 0.4, rng) for _ in range(4_000)]
    assert abs(explored.count(1) / 4_000 - 0.2) < 0.03  # half of the random ones


@pytest.mark.parametrize(
    "check, name",
    [(check_returns, "discounted_returns"), (check_q_update, "q_update"),
     (check_choose, "choose"), (check_episode, "run_episode")],
)  # fmt: skip
def test_our_versions_pass_the_checks_of_the_exercises(nb, check, name):
    assert check(nb[name]) is True


# -- the grid ------------------------------------------------------------------------------


def steps_to(grid, goal, passable):
    """Steps from every square to the goal by breadth-first search, slow and independent."""
    rows, columns = len(grid), len(grid[0])
    distance = {goal: 0}
    queue = [goal]
    for row, column in queue:
        for r, c in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            free = 0 <= r < rows and 0 <= c < columns and grid[r][c] in passable
            if free and (r, c) not in distance:
                distance[r, c] = distance[row, column] + 1
                queue.append((r, c))
    return distance


def test_value_iteration_agrees_with_shortest_ways(nb):
    grid, gamma = nb["GRID"], nb["GRID_GAMMA"]
    assert gamma == 0.95
    optimal = nb["value_iteration"](grid, gamma).max(axis=1).reshape(len(grid), -1)
    goal = next((r, c) for r, row in enumerate(grid) for c, kind in enumerate(row) if kind == "G")
    for (row, column), steps in steps_to(grid, goal, ".").items():
        if steps:
            assert optimal[row, column] == pytest.approx(gamma ** (steps - 1))
    assert optimal[0, 0] == pytest.approx(0.95**6)


def test_walls_and_edges_stop_the_agent(nb):
    env = nb["GridWorld"](("..", "#G"))
    env.reset(seed=0)
    assert [env.neighbour(0, action) for action in range(4)] == [0, 1, 0, 0]
    env.square = 1
    assert env.step(2) == (3, 1.0, True, False, {})


def test_the_grid_passes_gymnasiums_own_checks(nb):
    from gymnasium.utils.env_checker import check_env

    check_env(nb["GridWorld"](), skip_render_check=True)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_table_finds_the_optimal_values(nb, seed):
    optimal = nb["value_iteration"](nb["GRID"], 0.95)
    free = np.array([kind == "." for kind in "".join(nb["GRID"])])
    learned = nb["learn_grid"](1_000, seed=seed)
    assert np.abs(learned.max(1) - optimal.max(1))[free].max() < 0.01
    assert not nb["learn_grid"](0).any()


# -- Brain -----------------------------------------------------------------------------------


def test_bins_by_hand(nb):
    assert np.allclose(nb["bin_edges"](-2.4, 2.4, 6), [-1.6, -0.8, 0, 0.8, 1.6])
    brain = nb["Brain"](nb["Config"](), np.random.default_rng(0))
    assert brain.q_table.shape == (6, 6, 6, 6, 2)
    # edges: 0.8 m, 1 m/s, 1/6 rad, 2/3 rad/s apart
    assert brain.digitize_state([1.0, -1.5, 0.2, -1.0]) == (4, 1, 4, 1)
    assert brain.digitize_state([-9, 9, -9, 9]) == (0, 5, 0, 5)
    assert brain.digitize_state([0.0, -0.1, -0.2, 0.7]) == (3, 2, 1, 4)


def test_brain_updates_the_entry_of_the_binned_state(nb):
    brain = nb["Brain"](nb["Config"](alpha=0.5, gamma=0.9), np.random.default_rng(0))
    brain.q_table[4, 1, 4, 1] = [0.2, 0.4]
    before = brain.q_table.copy()
    obs, after = [-1.0, 0.5, 0.0, 0.0], [1.0, -1.5, 0.2, -1.0]
    brain.learn(Transition(obs, 1, 0.0, after, terminated=False))
    assert brain.q_table[1, 3, 3, 3, 1] == pytest.approx(0.5 * 0.9 * 0.4)
    assert (brain.q_table != before).sum() == 1
    brain.learn(Transition(obs, 0, -1.0, after, terminated=True))
    assert brain.q_table[1, 3, 3, 3, 0] == pytest.approx(-0.5)  # nothing follows an end


def test_the_outermost_bins_of_the_angle_are_never_reached(nb):
    config = nb["Config"]()
    brain = nb["Brain"](config, np.random.default_rng(0))
    task = nb["Environment"](nb["Agent"](brain), replace(config, epsilon_first=math.inf), seed=0)
    brain.config = task.config  # always explores
    for episode in range(200):
        task.play(episode)
    q_table = brain.q_table
    assert q_table[:, :, 1:5].any() and not q_table[:, :, [0, 5]].any()
    assert q_table[:, :, [0, 5], :, 0].size == 432


def test_epsilon_falls_with_the_episode(nb):
    brain = nb["Brain"](nb["Config"](), np.random.default_rng(0))
    brain.q_table[..., 1] = 1.0
    obs = np.zeros(4)
    for episode, share in ((0, 0.25), (1, 0.125), (4, 0.05)):  # half of ε hits the best action
        zeros = [brain.decide_action(obs, episode) for _ in range(4_000)].count(0)
        assert abs(zeros / 4_000 - share) < 0.025
    assert {brain.decide_action(obs, math.inf) for _ in range(200)} == {1}


# -- Environment: shared with notebook 02 ----------------------------------------------------


@pytest.mark.parametrize(
    "agent_steps, terminated, reward",
    [(1, False, 0), (50, True, -1), (194, True, -1), (195, False, 1), (195, True, 1),
     (196, False, 0), (197, True, 0), (200, False, 0)],
)  # fmt: skip
def test_shaped_reward(nb, agent_steps, terminated, reward):
    assert scripted(nb, []).shaped_reward(agent_steps, terminated) == reward


def test_the_clock_is_not_handed_over_as_an_end(nb):
    task = scripted(nb, [(3, "clock"), (2, "fall")])
    assert (task.play(0), task.play(1)) == (3, 2)
    handed = task.agent.transitions
    assert [t.terminated for t in handed] == [False, False, False, False, True]
    assert [t.reward for t in handed] == [0, 0, 0, 0, -1]
    assert all((a.next_obs == b.obs).all() for a, b in pairwise(handed[:3]))
    assert task.agent.episodes == [0, 0, 0, 1, 1]


def test_solved_needs_ten_in_a_row(nb):
    endings = [(195, "fall")] * 9 + [(194, "fall")] + [(200, "clock")] * 20
    task = scripted(nb, endings)
    lengths = task.run()
    assert lengths == [195] * 9 + [194] + [200] * 10
    assert task.solved and nb["is_solved"](lengths, nb["Config"]())
    assert not nb["is_solved"](lengths[:-1], nb["Config"]())


def test_run_gives_up_when_the_episodes_are_used_up(nb):
    task = scripted(nb, [(9, "fall")] * 5, episodes=5)
    assert task.run() == [9] * 5 and not task.solved


def test_playing_without_learning_learns_nothing_and_collects_frames(nb):
    task, frames = scripted(nb, [(4, "fall")]), []
    assert task.play(math.inf, learning=False, frames=frames) == 4
    assert len(frames) == 4 and not task.agent.transitions


def test_the_real_environment_stops_at_200_steps(nb):
    task = nb["Environment"](Recorder(), nb["Config"](), seed=0)
    assert task.env.spec.max_episode_steps == 200
    assert 5 < task.play(0) < 15  # always pushing right


def test_the_table_solves_cartpole(nb):
    config = nb["Config"]()
    brain, lengths = nb["train"](config, seed=0)
    assert nb["is_solved"](lengths, config)
    assert 0 < (brain.q_table != 0).any(axis=-1).mean() < 0.5
    assert brain.updates == sum(lengths)


# -- what else the notebook compares ---------------------------------------------------------


def test_every_step_pays(nb):
    task = nb["EveryStepPays"](Recorder(), nb["Config"](), seed=0)
    assert {task.shaped_reward(n, end) for n in (1, 195, 200) for end in (False, True)} == {1.0}


def test_the_bug_looks_at_the_state_itself(nb):
    brain = nb["LooksAtItself"](nb["Config"](alpha=0.5, gamma=0.9), np.random.default_rng(0))
    brain.q_table[1, 3, 3, 3] = [0.0, 1.0]
    brain.q_table[4, 1, 4, 1] = [7.0, 7.0]
    obs, after = [-1.0, 0.5, 0.0, 0.0], [1.0, -1.5, 0.2, -1.0]
    brain.learn(Transition(obs, 0, 0.0, after, terminated=False))
    assert brain.q_table[1, 3, 3, 3, 0] == pytest.approx(0.5 * 0.9 * 1.0)


def test_the_text_says_what_the_recorded_curves_say(nb):
    text = " ".join((TWINS / "01_q_table.py").read_text(encoding="utf-8").split("\n# "))
    curves = load_curves(ROOT / "results" / "01_q_table.csv", "episode", "agent_steps")
    lengths = [y for _, y in curves.values()]
    assert len(lengths) == nb["SEEDS"] and all(nb["is_solved"](y, nb["Config"]()) for y in lengths)
    ends = [len(y) for y in lengths]
    assert f"{len(ends)} seeds are solved, after {min(ends)} to {max(ends)} episodes" in text
    with (ROOT / "results" / "01_tests.csv").open(newline="") as file:
        tests = list(csv.DictReader(file))
    assert [int(row["episodes"]) for row in tests] == ends
    worst = min(float(row["greedy_mean"]) for row in tests)
    assert f"the worst of the 20 agents averages {worst:.0f} steps" in text


def test_the_text_says_what_exploration_adds():
    text = " ".join((TWINS / "01_q_table.py").read_text(encoding="utf-8").split("\n# "))
    with (ROOT / "results" / "01_variants.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))

    def late(variant):
        return np.array([float(r["agent_steps"]) for r in rows if r["variant"] == variant])

    shaped = late("all parts") - late("ε = 0")
    paid = late("+1 per step") - late("+1 per step, ε = 0")
    assert len(shaped) == len(paid) == 50
    assert f"With our reward ε costs {-shaped.mean():.0f} steps" in text
    assert f"there ε adds {paid.mean():.0f} steps" in text


@pytest.mark.parametrize("name", ["Agent", "Environment"])
def test_agent_and_environment_are_the_same_in_both_notebooks(name):
    assert class_source("01_q_table", name) == class_source("02_cartpole_dqn", name)
