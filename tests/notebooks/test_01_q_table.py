"""Notebook 01's own definitions against numbers worked out by hand and slow references."""

import csv
import math
from dataclasses import replace
from itertools import pairwise, product

import gymnasium as gym
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
    "greedy_lengths",
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
        assert self.left > 0, "a step after the end of the episode"
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


class Draws:
    """A random generator that is asked for one uniform number only, and returns this one."""

    def __init__(self, number):
        self.number = number

    def random(self):
        return self.number


class Live:
    """Stands in for a live curve and keeps the lengths it is shown."""

    def __init__(self):
        self.shown = []

    def update(self, lengths, _):
        self.shown.append(list(lengths))


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


def test_epsilon_zero_is_never_random_and_one_best_action_needs_no_draw(nb):
    assert nb["choose"](np.array([1.0, 3.0, 2.0]), 0.0, Draws(0.0)) == 1


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


def test_every_move_on_the_grid_agrees_with_a_list_of_places(nb):
    env, grid = nb["GridWorld"](), nb["GRID"]
    squares = {(r, c): r * 5 + c for r in range(4) for c in range(5)}
    for (row, column), square in squares.items():
        ways = [(row - 1, column), (row, column + 1), (row + 1, column), (row, column - 1)]
        for action, (r, c) in enumerate(ways):
            stays = (r, c) not in squares or grid[r][c] == "#"
            assert env.neighbour(square, action) == (square if stays else squares[r, c])


def test_only_goal_and_pit_pay_and_end(nb):
    env = nb["GridWorld"](("GP", ".."))
    answers = []
    for square, action in ((2, 0), (3, 0), (2, 1), (2, 2)):
        env.square = square
        answers.append(env.step(action)[:4])
    assert answers == [
        (0, 1.0, True, False), (1, -1.0, True, False), (3, 0.0, False, False),
        (2, 0.0, False, False),
    ]  # fmt: skip


def test_an_episode_begins_on_any_free_square(nb):
    env = nb["GridWorld"]((".#", "PG", ".."))
    assert {env.reset(seed=seed)[0] for seed in range(30)} == {0, 4, 5}
    first = [env.reset(seed=7)[0], *(env.reset()[0] for _ in range(9))]
    assert first == [env.reset(seed=7)[0], *(env.reset()[0] for _ in range(9))]
    assert len(set(first)) > 1  # a reset without a seed goes on, it does not repeat
    with pytest.raises(TypeError):
        env.reset(7)  # by name only, as in gymnasium.Env


def test_a_grid_of_one_row_by_hand(nb):
    stay, values = 0.25, nb["value_iteration"](("..G",), 0.5)  # up, right, down, left
    assert values.tolist() == [[stay, 0.5, stay, stay], [0.5, 1.0, 0.5, 0.25], [0.0] * 4]


def test_a_sweep_carries_values_one_square_back(nb):
    best = [nb["value_iteration"](("...G",), 0.5, sweeps=n).max(1).tolist() for n in (0, 1, 2, 3)]
    assert best == [[0, 0, 0, 0], [0, 0, 1, 0], [0, 0.5, 1, 0], [0.25, 0.5, 1, 0]]


def test_value_iteration_makes_200_sweeps(nb, monkeypatch):
    class OneSquare:
        kinds, asked = ".", 0

        def neighbour(self, square, action):
            self.asked += 1
            return square

    env = OneSquare()
    monkeypatch.setitem(nb, "GridWorld", lambda grid: env)
    nb["value_iteration"]((".",), 0.95)
    assert env.asked == 200 * 4


def test_learn_grid_agrees_with_a_loop_written_out(nb):
    env, rng, table = nb["GridWorld"](), np.random.default_rng(0), np.zeros((20, 4))
    env.reset(seed=0)
    for _ in range(20):
        square, _ = env.reset()
        for _ in range(100):
            if rng.random() < 0.3:
                action = rng.integers(4)
            else:
                best = [a for a in range(4) if table[square, a] == max(table[square])]
                action = best[0] if len(best) == 1 else rng.choice(best)
            after, reward, ended, _, _ = env.step(action)
            target = reward if ended else reward + 0.95 * max(table[after])
            table[square, action] = (table[square, action] + target) / 2  # α = 0.5
            square = after
            if ended:
                break
    assert table.any() and np.allclose(nb["learn_grid"](20), table)


def test_an_agent_that_is_lost_on_the_grid_starts_again_after_100_steps(nb, monkeypatch):
    class Endless(gym.Env):
        observation_space, action_space = gym.spaces.Discrete(1), gym.spaces.Discrete(4)
        steps, seeds = 0, ()

        def reset(self, *, seed=None, options=None):
            self.seeds += (seed,)
            return 0, {}

        def step(self, action):
            self.steps += 1
            assert self.steps <= 300
            return 0, 0.0, False, False, {}

    env = Endless()
    monkeypatch.setitem(nb, "GridWorld", lambda: env)
    nb["learn_grid"](3, seed=8)
    assert env.steps == 300 and env.seeds == (8, None, None, None)


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


def test_an_observation_of_another_length_is_refused(nb):
    brain = nb["Brain"](nb["Config"](), np.random.default_rng(0))
    for obs in ([0.0] * 3, [0.0] * 5):
        with pytest.raises(ValueError):
            brain.digitize_state(obs)


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


def test_the_first_ten_episodes_can_solve_the_task(nb):
    task, live = scripted(nb, [(195 + i, "fall") for i in range(11)]), Live()
    assert not task.solved
    assert task.run(live) == list(range(195, 205)) and task.solved
    assert live.shown == [list(range(195, 196 + i)) for i in range(10)]  # after every episode


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


def test_greedy_games_neither_explore_nor_learn(nb):
    agent, config = Recorder(), nb["Config"]()
    lengths = nb["greedy_lengths"](agent, config, seed=3)
    assert len(lengths) == 20 and len(agent.episodes) == sum(lengths)
    assert set(agent.episodes) == {math.inf} and not agent.transitions
    assert nb["greedy_lengths"](Recorder(), config, 3, games=5) == lengths[:5]
    assert nb["greedy_lengths"](Recorder(), config, 4) != lengths


def test_the_table_solves_cartpole(nb):
    config = nb["Config"]()
    brain, lengths = nb["train"](config, seed=0)
    assert nb["is_solved"](lengths, config)
    assert 0 < (brain.q_table != 0).any(axis=-1).mean() < 0.5
    assert brain.updates == sum(lengths)


def test_train_hands_config_seed_and_curve_on(nb):
    def task(agent, config, seed):
        return type("Task", (), {"run": lambda self, live: (agent.brain, config, seed, live)})()

    def brain(config, rng):
        return config, rng.bit_generator.state

    config, live = nb["Config"](), object()
    learner, found = nb["train"](config, 5, live, environment=task, brain=brain)
    assert learner == (config, np.random.default_rng(5).bit_generator.state)
    assert found == (learner, config, 5, live)


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
