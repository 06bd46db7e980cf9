"""Notebook 02's own definitions against numbers worked out by hand and slow references."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.replay import ReplayMemory, Transition
from helpers.runtime import seed_everything
from tests.notebooks import test_01_q_table as notebook_1
from tools.definitions import class_source, load_definitions

NAMES = [
    "Config",
    "Agent",
    "Environment",
    "huber",
    "Broadcast",
    "corridor_error",
    "chase",
    "is_solved",
    "says_2_and_5",
    "greedy_lengths",
    "Ring",
]


@pytest.fixture(scope="module")
def nb():
    torch.set_num_threads(1)
    return load_definitions("02_cartpole_dqn", NAMES)


def random_transitions(count, seed=0):
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(count, 2, 4)).astype(np.float32)
    rewards, ends = rng.choice([0.0, -1.0, 1.0], count), rng.random(count) < 0.3
    return [
        Transition(a, int(rng.integers(2)), float(reward), b, bool(end))
        for (a, b), reward, end in zip(numbers, rewards, ends, strict=True)
    ]


def slow_target(network, transition, gamma):
    """Target of one transition, one number at a time."""
    if transition.terminated:
        return transition.reward
    with torch.no_grad():
        q = network(torch.tensor(transition.next_obs[None]))[0].tolist()
    return transition.reward + gamma * max(q)


def test_the_network_is_4_32_32_2(nb):
    network = nb["make_network"](nb["Config"]().hidden)
    assert [tuple(p.shape) for p in network.parameters()] == [
        (32, 4), (32,), (32, 32), (32,), (2, 32), (2,)
    ]  # fmt: skip
    assert sum(p.numel() for p in network.parameters()) == 1_282
    assert network(torch.zeros(7, 4)).shape == (7, 2)


def test_settings_are_those_the_text_names(nb):
    config = nb["Config"]()
    assert (config.lr, config.batch, config.capacity, config.gamma) == (1e-4, 32, 10_000, 0.99)
    assert (config.max_agent_steps, config.goal_agent_steps, config.solved_in_a_row) == (
        200,
        195,
        10,
    )
    assert config.epsilon_first == 0.5


def test_make_batch_turns_rows_into_columns(nb):
    rows = random_transitions(6)
    batch = nb["make_batch"](rows)
    assert [tuple(column.shape) for column in batch] == [(6, 4), (6,), (6,), (6, 4), (6,)]
    assert [column.dtype for column in batch] == [
        torch.float32, torch.int64, torch.float32, torch.float32, torch.bool
    ]  # fmt: skip
    for i, row in enumerate(rows):
        assert np.array_equal(batch.obs[i], row.obs) and np.array_equal(
            batch.next_obs[i], row.next_obs
        )
        assert (batch.action[i], batch.reward[i]) == (row.action, row.reward)
        assert batch.terminated[i].item() is row.terminated


def test_rows_of_different_lengths_are_no_batch(nb):
    row, *_ = random_transitions(1)
    with pytest.raises(ValueError):
        nb["make_batch"]([(*row, 0.99), row])


def test_the_targets_of_the_table_in_the_text(nb):
    here = np.zeros(4, np.float32)
    rows = [Transition(here, 0, reward, here, reward == -1.0) for reward in (0.0, -1.0, 1.0)]
    assert nb["says_2_and_5"](torch.zeros(3, 4)).tolist() == [[2.0, 5.0]] * 3
    target = nb["td_target"](nb["make_batch"](rows), nb["says_2_and_5"], 0.9)
    assert target.tolist() == [4.5, -1.0, 5.5]


def test_td_target_by_hand(nb):
    here = np.zeros(4, np.float32)
    rows = [Transition(here, 0, 0.0, here, False), Transition(here, 1, -1.0, here, True)]
    batch = nb["make_batch"](rows)
    target = nb["td_target"](batch, lambda obs: torch.tensor([[2.0, 5.0], [7.0, 3.0]]), 0.9)
    assert target.tolist() == [4.5, -1.0]


@pytest.mark.parametrize("size", [1, 2, 32])
def test_td_target_agrees_with_one_row_at_a_time(nb, size):
    network = nb["make_network"]((32, 32))
    rows = random_transitions(size, seed=size)
    target = nb["td_target"](nb["make_batch"](rows), network, 0.99)
    assert target.shape == (size,)
    assert not target.requires_grad  # the target is not trained
    assert np.allclose(target, [slow_target(network, row, 0.99) for row in rows], atol=1e-6)


def test_one_update_is_one_adam_step_on_the_huber_loss(nb):
    """The whole update against gradients of a loss summed row by row, and Adam by formula."""
    config = replace(nb["Config"](), batch=8)
    brain = nb["Brain"](config, seed_everything(0))
    rows = random_transitions(8, seed=3)
    brain.memory.sample = lambda size: rows
    before = copy.deepcopy(brain.q_net)
    loss = 0.0
    for row in rows:
        error = before(torch.tensor(row.obs))[row.action] - slow_target(before, row, 0.99)
        loss = loss + (0.5 * error**2 if abs(error) <= 1 else abs(error) - 0.5) / 8
    gradients = torch.autograd.grad(loss, list(before.parameters()))
    brain.update()
    assert brain.updates == 1
    for weight, old, gradient in zip(
        brain.q_net.parameters(), before.parameters(), gradients, strict=True
    ):
        assert torch.allclose(weight.grad, gradient, atol=1e-6)
        step = 1e-4 * gradient / (gradient.abs() + 1e-8)  # Adam's first step
        assert torch.allclose(weight, old - step, atol=2e-6)


def test_gradients_do_not_pile_up(nb):
    brain = nb["Brain"](replace(nb["Config"](), batch=4, lr=1e-12), seed_everything(0))
    rows = random_transitions(4)
    brain.memory.sample = lambda size: rows
    brain.update()
    first = brain.q_net[0].weight.grad.clone()
    brain.update()
    assert torch.allclose(brain.q_net[0].weight.grad, first, atol=1e-6)


def test_learn_stores_and_waits_for_a_whole_batch(nb):
    brain = nb["Brain"](nb["Config"](), seed_everything(0))
    assert isinstance(brain.memory, ReplayMemory) and brain.memory.capacity == 10_000
    for count, row in enumerate(random_transitions(40), start=1):
        brain.learn(row)
        assert len(brain.memory) == count
        assert brain.updates == max(0, count - 31)


def test_decide_action_is_epsilon_greedy_and_a_python_int(nb):
    brain = nb["Brain"](nb["Config"](), seed_everything(0))
    obs = np.array([0.1, -0.2, 0.03, 0.4], np.float32)
    best = int(brain.q_net(torch.from_numpy(obs)).argmax())
    action = brain.decide_action(obs, math.inf)
    assert type(action) is int and action == best
    for episode, share in ((0, 0.25), (1, 0.125), (4, 0.05)):
        chosen = [brain.decide_action(obs, episode) for _ in range(3_000)]
        assert abs(chosen.count(1 - best) / 3_000 - share) < 0.03


def test_with_epsilon_zero_even_a_draw_of_zero_is_greedy(nb):
    brain = nb["Brain"](nb["Config"](), seed_everything(0))
    brain.rng = notebook_1.Draws(0.0)
    for obs in np.eye(4, dtype=np.float32):
        best = int(brain.q_net(torch.from_numpy(obs)).argmax())
        assert brain.decide_action(obs, math.inf) == best


def test_two_steps_to_a_known_value(nb):
    """First step pays nothing, the second -1 for action 0 and +1 for action 1, then the end."""
    config = replace(nb["Config"](), gamma=0.9, lr=3e-3)
    brain = nb["Brain"](config, seed_everything(0))
    start, middle = np.eye(4, dtype=np.float32)[:2]
    rows = [Transition(start, a, 0.0, middle, False) for a in (0, 1)]
    rows += [Transition(middle, a, (-1.0, 1.0)[a], start, True) for a in (0, 1)]
    for i in range(700):
        brain.learn(rows[i % 4])
    q = brain.q_net(torch.from_numpy(np.stack([start, middle]))).detach()
    assert torch.allclose(q, torch.tensor([[0.9, 0.9], [-1.0, 1.0]]), atol=0.05)


def test_a_cut_off_game_keeps_its_future(nb):
    """Reward 1 for ever with γ = 0.5 is worth 2; cut by the clock it still is."""
    config = replace(nb["Config"](), gamma=0.5, lr=3e-3)
    brain = nb["Brain"](config, seed_everything(0))
    here = np.ones(4, np.float32)
    for i in range(700):
        brain.learn(Transition(here, i % 2, 1.0, here, terminated=False))
    assert torch.allclose(brain.q_net(torch.ones(1, 4)), torch.tensor(2.0), atol=0.05)


def test_pick_and_huber_against_one_row_at_a_time(nb):
    rng = np.random.default_rng(0)
    q, action = torch.from_numpy(rng.normal(size=(9, 3))), torch.from_numpy(rng.integers(0, 3, 9))
    assert nb["pick"](q, action).tolist() == [q[i, a].item() for i, a in enumerate(action.tolist())]
    error = torch.linspace(-3, 3, 25)
    expected = torch.nn.functional.huber_loss(error, torch.zeros(25), reduction="none")
    assert torch.allclose(nb["huber"](error), expected)


def test_fit_once_refuses_a_column(nb):
    network, batch = nb["make_network"]((8,)), nb["make_batch"](random_transitions(5))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with pytest.raises(AssertionError):
        nb["fit_once"](network, optimizer, batch, torch.zeros(5, 1))


def test_the_bug_learns_the_mean_target(nb):
    """Every prediction is pulled to the mean of all targets, whatever the observation."""
    config = replace(nb["Config"](), batch=8, lr=1e-2)
    rows = [
        Transition(row.obs, row.action, float(i % 2), row.next_obs, True)
        for i, row in enumerate(random_transitions(8, seed=1))
    ]
    predictions = {}
    for name in ("Brain", "Broadcast"):
        brain = nb[name](config, seed_everything(0))
        brain.memory.sample = lambda size: rows
        for _ in range(300):
            brain.update()
        batch = nb["make_batch"](rows)
        predictions[name] = nb["pick"](brain.q_net(batch.obs), batch.action).detach()
    assert torch.allclose(predictions["Brain"], batch.reward, atol=0.1)
    assert torch.allclose(predictions["Broadcast"], torch.tensor(0.5), atol=0.1)


def test_the_corridor_has_every_state_and_action(nb):
    batch = nb["CORRIDOR"]
    assert batch.obs[:, 0].mul(5).round().tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert batch.action.tolist() == [0, 1] * 5
    assert batch.next_obs[:, 0].mul(5).round().tolist() == [1, 2, 1, 3, 2, 4, 3, 5, 4, 5]
    assert batch.reward.tolist() == [0.0] * 9 + [1.0]
    assert batch.terminated.tolist() == [False] * 9 + [True]


def test_fitted_q_iteration_carries_the_reward_back_state_by_state(nb):
    errors = nb["corridor_error"](hold=200, lr=3e-3, seed=0, updates=1_200)
    after_rounds = [float(error) for error in errors[199::200]]
    assert after_rounds[0] > 0.5 > 0.2 > after_rounds[4] > after_rounds[5]
    assert float(nb["corridor_error"](hold=1, lr=3e-4, seed=0, updates=1_200)[-1]) < 0.05


def test_the_corridor_compares_the_best_values_of_the_five_states(nb, monkeypatch):
    """Values 0.2, 0.4, 0.6, 0.8 and 1.0: the first is furthest from 0.9 to the power of 4."""
    line = torch.nn.Linear(1, 2)  # Q(s, left) = s - 1, Q(s, right) = s
    with torch.no_grad():
        line.weight.fill_(1.0)
        line.bias.copy_(torch.tensor([-1.0, 0.0]))
    monkeypatch.setitem(nb, "make_network", lambda hidden, obs_size: line)
    monkeypatch.setitem(nb, "fit_once", lambda *_: None)
    errors = nb["corridor_error"](hold=1, lr=0.1, seed=0, updates=2)
    assert errors == pytest.approx([0.6561 - 0.2] * 2)


def test_the_corridor_holds_its_targets_as_long_as_asked(nb, monkeypatch):
    gammas, fitted = [], []

    def td_target(batch, net, gamma):
        gammas.append(gamma)
        return len(gammas)

    def fit_once(net, optimizer, batch, target):
        shapes = [tuple(p.shape) for p in net.parameters()]
        assert shapes == [(32, 1), (32,), (32, 32), (32,), (2, 32), (2,)]
        assert optimizer.param_groups[0]["lr"] == 3e-3 and batch is nb["CORRIDOR"]
        fitted.append(target)

    monkeypatch.setitem(nb, "td_target", td_target)
    monkeypatch.setitem(nb, "fit_once", fit_once)
    errors = nb["corridor_error"](hold=200, lr=3e-3, seed=0)
    assert gammas == [0.9] * 6 and len(errors) == 1_200
    assert fitted == [n for n in range(1, 7) for _ in range(200)]


@pytest.mark.parametrize("hold", [False, True])
def test_chase_agrees_with_updates_written_out(nb, hold):
    torch.manual_seed(0)
    network, batch = nb["make_network"]((32, 32)), nb["make_batch"](random_transitions(32))
    config = replace(nb["Config"](), lr=1e-2, gamma=0.9)
    net, expected = copy.deepcopy(network), []
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for update in range(12):
        predicted = net(batch.obs)[torch.arange(32), batch.action]
        best_next = net(batch.next_obs).detach().amax(1)
        target = torch.where(batch.terminated, batch.reward, batch.reward + 0.9 * best_next)
        if update == 0:
            first = predicted.detach(), target
        pairs = zip((predicted, target), first, strict=True)
        expected.append([(now - start).abs().sum().item() / 32 for now, start in pairs])
        aim = first[1] if hold else target
        optimizer.zero_grad()
        torch.nn.functional.huber_loss(predicted, aim).backward()
        optimizer.step()
    assert np.allclose(nb["chase"](network, batch, config, hold, updates=12), expected, atol=1e-5)


def test_chase_makes_200_updates(nb):
    network, batch = nb["make_network"]((2,)), nb["make_batch"](random_transitions(2))
    assert nb["chase"](network, batch, nb["Config"](), hold=True).shape == (200, 2)


def test_held_targets_stay_and_own_targets_move(nb):
    network = nb["make_network"]((32, 32))
    weights = copy.deepcopy(network.state_dict())
    batch = nb["make_batch"](random_transitions(32))
    config = replace(nb["Config"](), lr=1e-3)
    moved = nb["chase"](network, batch, config, hold=False, updates=50)
    assert moved.shape == (50, 2) and (moved[0] == 0).all() and (moved[-1] > 0).all()
    assert all(torch.equal(network.state_dict()[k], v) for k, v in weights.items())  # a copy moved


def test_short_training_updates_and_finishes_episodes(nb):
    config = replace(nb["Config"](), episodes=8)
    brain = nb["Brain"](config, seed_everything(0))
    lengths = nb["Environment"](nb["Agent"](brain), config, seed=0).run()
    assert len(lengths) == 8
    assert brain.updates == sum(lengths) - 31
    assert len(brain.memory) == sum(lengths)


# Agent and Environment are those of notebook 1, and so are their tests
test_the_rewards_of_a_step = notebook_1.test_shaped_reward
test_the_clock_is_not_handed_over_as_an_end = notebook_1.test_the_clock_is_not_handed_over_as_an_end
test_solved_needs_ten_in_a_row = notebook_1.test_solved_needs_ten_in_a_row
test_the_first_ten_episodes_can_solve_it = notebook_1.test_the_first_ten_episodes_can_solve_the_task
test_run_gives_up_in_the_end = notebook_1.test_run_gives_up_when_the_episodes_are_used_up
test_without_learning = notebook_1.test_playing_without_learning_learns_nothing_and_collects_frames
test_the_environment_stops_at_200 = notebook_1.test_the_real_environment_stops_at_200_steps
test_greedy_games_neither_explore_nor_learn = notebook_1.test_greedy_games_neither_explore_nor_learn


def test_the_ring_to_be_written_starts_empty(nb):
    assert len(nb["Ring"](3)) == 0


def test_only_the_brain_changes():
    for name in ("Agent", "Environment"):
        assert class_source("01_q_table", name) == class_source("02_cartpole_dqn", name)
    assert class_source("01_q_table", "Brain") != class_source("02_cartpole_dqn", "Brain")
