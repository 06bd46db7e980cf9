"""Notebook 03's own definitions against numbers worked out by hand and a slow reference."""

from argparse import Namespace
from dataclasses import replace
from itertools import pairwise

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

from helpers.plotting import load_curves
from helpers.replay import Transition
from helpers.runtime import ROOT, seed_everything
from tests.notebooks.test_01_q_table import Draws
from tools.definitions import load_definitions

NAMES = [
    "growth",
    "learned_value",
    "Agent",
    "Environment",
    "reported_score",
    "BestWeights",
    "TruncationAsTermination",
    "VARIANTS",
    "train",
    "needed",
    "ValueBrain",
    "values_of_upright_poles",
]


SMALL = dict(
    agent_steps=200, hidden=(8,), obs_scale=1.0, batch=4, learn_start=4, train_every=1,
    updates_per_train=1, target_every=10, epsilon_end=0.05, epsilon_decay=1_000,
)  # fmt: skip


@pytest.fixture(scope="module")
def nb():
    return load_definitions("03_target_network", NAMES)


@pytest.fixture
def tiny(nb):
    return nb["Config"](**SMALL)


@pytest.fixture
def recipe(nb):
    return replace(nb["PLAIN"], **SMALL, lr=1e-3)


def transitions(rng, count):
    rows = rng.normal(size=(count, 2, 4)).astype(np.float32)
    return [
        Transition(obs, int(rng.integers(2)), float(rng.normal()), next_obs, bool(i % 3 == 0))
        for i, (obs, next_obs) in enumerate(rows)
    ]


def brain_of(nb, config, kind="Brain"):
    torch.manual_seed(0)
    return nb[kind](config, np.random.default_rng(0))


class Live:
    """Stands in for a live curve and counts how often it is updated."""

    updates = 0

    def update(self, lengths, text):
        self.updates += 1


def zero(net):
    with torch.no_grad():
        for weight in net.parameters():
            weight.zero_()


def sum_of_weights(net):
    return sum(weight.sum() for weight in net.parameters())


def weights_of(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()]).clone()


def test_target_equals_a_slow_reference(nb):
    rng = np.random.default_rng(1)
    rows = transitions(rng, 12)
    net = nn.Linear(4, 2)
    result = nb["td_target"](nb["make_batch"](rows), net, 0.9)
    assert result.shape == (12,) and not result.requires_grad
    for row, target in zip(rows, result.tolist(), strict=True):
        values = net(torch.tensor(row.next_obs)).tolist()
        expected = row.reward + (0.0 if row.terminated else 0.9 * max(values))
        assert target == pytest.approx(expected, abs=1e-5)


def test_batch_has_the_dtypes_and_shapes_the_network_wants(nb):
    batch = nb["make_batch"](transitions(np.random.default_rng(0), 5))
    assert batch.obs.shape == batch.next_obs.shape == (5, 4)
    assert batch.action.shape == batch.reward.shape == batch.terminated.shape == (5,)
    assert batch.obs.dtype == batch.reward.dtype == torch.float32
    assert batch.action.dtype == torch.int64


def test_rows_of_different_lengths_are_no_batch(nb):
    row, *_ = transitions(np.random.default_rng(0), 1)
    with pytest.raises(ValueError):
        nb["make_batch"]([(*row, 0.99), row])


@pytest.mark.parametrize("tau, left", [(1.0, 0.0), (0.005, 0.995), (0.0, 1.0)])
def test_a_soft_update_closes_the_share_tau_of_the_gap(nb, tau, left):
    a, b = nn.Linear(3, 2), nn.Linear(3, 2)
    gap = weights_of(a) - weights_of(b)
    nb["soft_update"](a, b, tau)
    assert torch.allclose(weights_of(a) - weights_of(b), left * gap, atol=1e-6)
    with torch.no_grad():
        b.weight.add_(1.0)  # a copy, not the same memory
    assert not torch.allclose(a.weight, b.weight)


def test_a_soft_update_needs_networks_of_the_same_size(nb):
    with pytest.raises(ValueError):
        nb["soft_update"](nn.Linear(3, 2), nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)), 0.5)


def test_a_hard_update_copies_the_numbers_not_the_tensors(nb):
    a, b = nn.Linear(3, 2), nn.Linear(3, 2)
    nb["hard_update"](a, b)
    assert torch.equal(weights_of(a), weights_of(b))
    with torch.no_grad():
        b.weight.add_(1.0)
    assert not torch.allclose(a.weight, b.weight)


@pytest.mark.parametrize("ratio, gamma, rate", [(1.2, 0.9, 0.5), (0.7, 0.5, 0.1)])
def test_growth_is_that_of_one_update(nb, ratio, gamma, rate):
    w = torch.tensor(2.0, requires_grad=True)
    (0.5 * (w - gamma * ratio * 2.0) ** 2).backward()
    moved = (w - rate * w.grad).item()
    assert nb["growth"](ratio, gamma, rate) == pytest.approx(moved / 2.0)


def test_values_of_a_pole_that_cannot_fall(nb):
    ends = torch.zeros(10, dtype=torch.bool)
    assert nb["learned_value"](ends) == pytest.approx(10.0, abs=1e-3)
    ends[9] = True
    assert nb["learned_value"](ends) == pytest.approx(1 / (1 - 0.9 * 0.9), abs=1e-3)


def test_the_value_of_a_pole_after_the_first_regressions(nb):
    ends = torch.zeros(10, dtype=torch.bool)
    values = [nb["learned_value"](ends, iterations=n) for n in (0, 1, 2, 3)]
    assert values == pytest.approx([0.0, 1.0, 1.9, 2.71])


def test_the_value_of_a_pole_takes_200_regressions_on_ten_transitions(nb, monkeypatch):
    batches = []

    def td_target(batch, net, gamma):
        batches.append(batch)
        return net(batch.next_obs)[:, 0] + 1.0

    monkeypatch.setitem(nb, "td_target", td_target)
    assert nb["learned_value"](torch.zeros(10, dtype=torch.bool)) == 200.0
    assert len(batches) == 200 and batches[0].next_obs.shape == (10, 1)


def test_best_actions_are_those_of_single_observations(nb):
    net, obs = nn.Linear(4, 3), np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    found = nb["best_actions"](net, obs)
    one_by_one = [int(net(torch.from_numpy(row)).argmax()) for row in obs]
    assert found.dtype == np.int64 and found.tolist() == one_by_one


@pytest.mark.parametrize("agent_steps, expected", [(0, 1.0), (4_000, 0.52), (50_000, 0.04)])
def test_epsilon(nb, agent_steps, expected):
    assert nb["epsilon"](nb["OURS"], agent_steps) == pytest.approx(expected)


@pytest.mark.parametrize(
    "recipe, agent_steps, episode, expected",
    [
        ("HARD", 0, 0, 0.08),
        ("HARD", 9_999, 200, 0.07),
        ("HARD", 0, 5_000, 0.01),
        ("SOFT", 0, 0, 0.9),
        ("SOFT", 1_000, 77, 0.05 + 0.85 / np.e),
        ("SOFT_2025", 2_500, 77, 0.01 + 0.89 / np.e),
    ],
)
def test_epsilon_schedules_of_the_recipes(nb, recipe, agent_steps, episode, expected):
    assert nb["recipe_epsilon"](nb[recipe], agent_steps, episode) == pytest.approx(expected)


@pytest.mark.parametrize("kind, name", [("Brain", "tiny"), ("RecipeBrain", "recipe")])
def test_the_share_of_random_actions_falls_with_the_agent_steps(nb, kind, name, request):
    brain = brain_of(nb, request.getfixturevalue(name), kind)
    obs = np.array([0.1, -0.2, 0.03, 0.4], np.float32)
    q = brain.q_net(torch.from_numpy(obs[None]))
    assert q.shape == (1, 2)  # four numbers, two actions: CartPole
    for agent_steps, share in ((0, 0.5), (500, 0.2625), (5_000, 0.025)):  # half of ε
        brain.agent_steps = agent_steps
        chosen = [brain.decide_action(obs, episode=0) for _ in range(1_500)]
        assert set(map(type, chosen)) == {int} and set(chosen) == {0, 1}
        assert abs(chosen.count(1 - int(q.argmax())) / 1_500 - share) < 0.04


@pytest.mark.parametrize("kind, name", [("Brain", "tiny"), ("RecipeBrain", "recipe")])
def test_with_epsilon_zero_even_a_draw_of_zero_is_greedy(nb, kind, name, request):
    config = replace(request.getfixturevalue(name), epsilon_end=0.0)
    brain = brain_of(nb, config, kind)
    brain.rng, brain.agent_steps = Draws(0.0), config.epsilon_decay
    obs = np.eye(4, dtype=np.float32)
    chosen = [brain.decide_action(row, episode=0) for row in obs]
    assert chosen == brain.q_net(torch.from_numpy(obs)).argmax(1).tolist()


def test_the_variants_change_what_their_names_say(nb):
    ours = nb["OURS"]
    changes = {
        name: {field for field in vars(ours) if getattr(config, field) != getattr(ours, field)}
        for name, (config, brain, _) in nb["VARIANTS"].items()
        if brain is not nb["RecipeBrain"]
    }
    assert changes == {
        "ours": set(), "no_target": {"target_every"}, "copy_4": {"target_every"},
        "copy_16": {"target_every"}, "copy_256": {"target_every"}, "copy_1024": {"target_every"},
        "no_fall_reward": {"only_fall_counts"}, "no_obs_scale": {"obs_scale"},
        "neither": {"only_fall_counts", "obs_scale"}, "slow": {"lr"},
        "no_target_slow": {"target_every", "lr"},
        "neither_3e-4": {"only_fall_counts", "obs_scale", "lr"},
        "neither_slow": {"only_fall_counts", "obs_scale", "lr"}, "no_mask": set(),
        "spread_out": {"train_every", "updates_per_train"},
    }  # fmt: skip
    assert nb["VARIANTS"]["no_target"][0].target_every == 1


def test_every_variant_has_recorded_curves_of_its_seeds(nb):
    for name, (_, _, seeds) in nb["VARIANTS"].items():
        curves = load_curves(ROOT / "results" / f"03_{name}.csv", "agent_steps", "greedy_mean")
        assert list(curves) == list(range(seeds)), name


def test_hard_target_stands_still_between_copies(nb, tiny):
    brain = brain_of(nb, tiny)
    start = weights_of(brain.target_net)
    assert torch.equal(start, weights_of(brain.q_net))
    for count, row in enumerate(transitions(np.random.default_rng(2), 30), 1):
        brain.learn(row)
        if brain.updates == 9:
            assert torch.equal(weights_of(brain.target_net), start)
        if brain.updates in (10, 20):
            assert torch.equal(weights_of(brain.target_net), weights_of(brain.q_net))
        assert brain.updates == max(0, count - 3)
    assert brain.target_moves == 2


def test_soft_target_moves_with_every_update(nb, recipe):
    brain = brain_of(nb, replace(recipe, tau=0.25), "RecipeBrain")
    for row in transitions(np.random.default_rng(2), 8):
        before, moves = weights_of(brain.target_net), brain.target_moves
        brain.learn(row)
        if brain.target_moves > moves:
            expected = before + 0.25 * (weights_of(brain.q_net) - before)
            assert torch.allclose(weights_of(brain.target_net), expected, atol=1e-6)
    assert brain.target_moves == brain.updates == 5


def test_training_and_copies_between_episodes(nb, recipe):
    config = replace(
        recipe, train_every="episode", updates_per_train=3, target_every=2, target_unit="episodes"
    )
    brain = brain_of(nb, config, "RecipeBrain")
    for i, row in enumerate(transitions(np.random.default_rng(3), 25)):
        brain.decide_action(row.obs, episode=i // 6)  # the fifth episode has begun
        brain.learn(row)
    assert (brain.agent_steps, brain.updates, brain.target_moves) == (25, 12, 2)


def test_training_between_episodes_waits_for_enough_transitions(nb, recipe):
    config = replace(recipe, train_every="episode", learn_start=20)
    brain = brain_of(nb, config, "RecipeBrain")
    for i, row in enumerate(transitions(np.random.default_rng(3), 25)):
        brain.decide_action(row.obs, episode=i // 6)
        brain.learn(row)
    assert brain.updates == 1  # 6, 12 and 18 are too few, 24 are enough


def test_training_between_episodes_begins_with_just_enough_transitions(nb, recipe):
    brain = brain_of(nb, replace(recipe, train_every="episode", learn_start=12), "RecipeBrain")
    for i, row in enumerate(transitions(np.random.default_rng(3), 25)):
        brain.decide_action(row.obs, episode=i // 6)
        brain.learn(row)
    assert brain.updates == 3  # with 12, 18 and 24


def test_training_by_agent_steps_does_not_train_between_episodes_too(nb, recipe):
    brain = brain_of(nb, recipe, "RecipeBrain")
    for i, row in enumerate(transitions(np.random.default_rng(3), 25)):
        brain.decide_action(row.obs, episode=i // 6)
        brain.learn(row)
    assert (brain.agent_steps, brain.updates, brain.target_moves) == (25, 22, 2)


def test_copies_by_episodes_come_when_their_number_is_full(nb, recipe, monkeypatch):
    config = replace(recipe, train_every="episode", target_every=3, target_unit="episodes")
    brain, copied = brain_of(nb, config, "RecipeBrain"), []
    monkeypatch.setitem(nb, "hard_update", lambda target_net, q_net: copied.append(brain.episode))
    for episode in range(8):
        for row in transitions(np.random.default_rng(3), 2):
            brain.decide_action(row.obs, episode)
            brain.learn(row)
    assert copied == [3, 6] and brain.target_moves == 2


def test_rewards_of_a_recipe_are_scaled(nb, recipe):
    brain = brain_of(nb, replace(recipe, reward_scale=0.01, learn_start=50), "RecipeBrain")
    rows = transitions(np.random.default_rng(3), 5)
    for row in rows:
        brain.learn(row)
    stored = {round(t.reward, 6) for t in brain.memory.sample(5)}
    assert stored <= {round(row.reward * 0.01, 6) for row in rows}


def test_updates_in_rounds(nb, tiny):
    config = replace(tiny, train_every=8, updates_per_train=3, learn_start=10)
    brain, updates = brain_of(nb, config), []
    for row in transitions(np.random.default_rng(3), 30):
        brain.learn(row)
        updates.append(brain.updates)
    assert brain.updates == 6  # after 16 and 24 agent steps; after 8 there were too few
    assert updates == [0] * 15 + [3] * 8 + [6] * 7


@pytest.mark.parametrize("clip", [10.0, 0.01])
def test_an_update_equals_one_written_out(nb, tiny, clip):
    config = replace(tiny, clip_norm=clip)
    brain = brain_of(nb, config)
    for row in transitions(np.random.default_rng(4), 4):
        brain.memory.push(*row)
    brain.agent_steps = 50  # of 200: a quarter of the learning rate has gone
    twin = nb["QNetwork"](config, 4, 2)
    twin.load_state_dict(brain.q_net.state_dict())
    state = brain.rng.bit_generator.state
    batch = nb["make_batch"](brain.memory.sample(4))
    brain.rng.bit_generator.state = state  # the update draws the same batch again
    best_next = brain.target_net(batch.next_obs).max(1).values.detach()
    target = batch.reward + config.gamma * (1 - batch.terminated.float()) * best_next
    error = target - twin(batch.obs)[torch.arange(4), batch.action]
    huber = torch.where(error.abs() < 1, 0.5 * error**2, error.abs() - 0.5)
    optimizer = torch.optim.Adam(twin.parameters(), lr=0.75 * config.lr)
    huber.mean().backward()
    length = torch.cat([p.grad.flatten() for p in twin.parameters()]).norm()
    for parameter in twin.parameters():
        parameter.grad *= min(1.0, clip / length)
    optimizer.step()
    brain.update()
    assert torch.allclose(weights_of(twin), weights_of(brain.q_net), atol=1e-6)


def test_an_update_of_a_recipe_equals_one_written_out(nb, recipe):
    config = replace(recipe, optimizer="adamw", clip_value=0.01)
    brain = brain_of(nb, config, "RecipeBrain")
    for row in transitions(np.random.default_rng(4), 4):
        brain.memory.push(*row)
    twin = nb["QNetwork"](config, 4, 2)
    twin.load_state_dict(brain.q_net.state_dict())
    state = brain.rng.bit_generator.state
    batch = nb["make_batch"](brain.memory.sample(4))
    brain.rng.bit_generator.state = state  # the update draws the same batch again
    best_next = brain.target_net(batch.next_obs).max(1).values.detach()
    target = batch.reward + config.gamma * (1 - batch.terminated.float()) * best_next
    error = target - twin(batch.obs)[torch.arange(4), batch.action]
    huber = torch.where(error.abs() < 1, 0.5 * error**2, error.abs() - 0.5)
    optimizer = torch.optim.AdamW(twin.parameters(), lr=config.lr, amsgrad=True)
    huber.mean().backward()
    for parameter in twin.parameters():
        parameter.grad.clamp_(-0.01, 0.01)
    optimizer.step()
    brain.update()
    assert torch.allclose(weights_of(twin), weights_of(brain.q_net), atol=1e-6)


def test_adamw_never_forgets_a_large_gradient(nb, recipe):
    """One large gradient, then none: amsgrad keeps dividing by the largest one."""
    brain = brain_of(nb, replace(recipe, optimizer="adamw", lr=1.0), "RecipeBrain")
    twin = nn.Linear(8, 2)
    twin.load_state_dict(brain.q_net.layers[-1].state_dict())
    optimizer = torch.optim.AdamW(twin.parameters(), lr=1.0, amsgrad=True)
    for factor in (1.0, *[0.0] * 20):
        optimizer.zero_grad()
        (factor * sum_of_weights(twin)).backward()
        optimizer.step()
        brain.descend(factor * sum_of_weights(brain.q_net.layers[-1]))
    assert torch.allclose(weights_of(twin), weights_of(brain.q_net.layers[-1]), atol=1e-4)


def test_the_optimizers_move_all_weights_in_one_go(nb, tiny, recipe):
    adamw = replace(recipe, optimizer="adamw")
    brains = [brain_of(nb, tiny), brain_of(nb, adamw, "RecipeBrain")]
    kinds = [torch.optim.Adam, torch.optim.AdamW]
    assert [type(brain.optimizer) for brain in brains] == kinds
    assert all(brain.optimizer.param_groups[0]["fused"] for brain in brains)
    assert type(brain_of(nb, recipe, "RecipeBrain").optimizer) is torch.optim.Adam


def test_learning_rate_falls_to_zero(nb, tiny):
    config = replace(tiny, lr=0.1, agent_steps=40)
    brain = brain_of(nb, config)
    rows = transitions(np.random.default_rng(5), 50)
    for row in rows[:20]:
        brain.learn(row)
    assert brain.optimizer.param_groups[0]["lr"] == pytest.approx(0.05)
    for row in rows[20:]:
        brain.learn(row)
    assert brain.optimizer.param_groups[0]["lr"] == pytest.approx(0.0)


def test_the_network_has_the_layers_of_its_settings(nb, tiny):
    network = nb["QNetwork"](replace(tiny, hidden=(8, 16)), 3, 5)
    assert [tuple(p.shape) for p in network.parameters()] == [
        (8, 3), (8,), (16, 8), (16,), (5, 16), (5,)
    ]  # fmt: skip
    assert network(torch.zeros(7, 3)).shape == (7, 5)
    assert "obs_scale" in network.state_dict()
    zero(network)
    with torch.no_grad():
        for layer in (0, 2):  # below zero after both hidden layers: nothing comes through
            network.layers[layer].bias.fill_(-1.0)
        network.layers[2].weight.fill_(-1.0)
        network.layers[4].weight.fill_(1.0)
    assert not network(torch.zeros(1, 3)).any()


def test_input_scales_are_part_of_the_network(nb, tiny):
    torch.manual_seed(0)
    plain = nb["QNetwork"](tiny, 4, 2)
    scaled = nb["QNetwork"](replace(tiny, obs_scale=(1.0, 2.0, 4.0, 8.0)), 4, 2)
    scaled.layers.load_state_dict(plain.layers.state_dict())
    obs = torch.randn(3, 4)
    assert torch.allclose(scaled(obs * torch.tensor([1.0, 2.0, 4.0, 8.0])), plain(obs), atol=1e-6)


class Recorder:
    """An agent that notes what it is told."""

    def __init__(self):
        self.rows = []

    def get_action(self, obs, episode):
        return 0

    def learn(self, transition):
        self.rows.append(transition)


def test_a_time_limit_starts_an_episode_but_is_not_stored_as_an_end(nb, tiny):
    agent = Recorder()
    env = gym.make("CartPole-v1", max_episode_steps=5)  # pushing left falls at 8 or later
    lengths = nb["Environment"](agent, tiny, seed=0, env=env).run()
    assert set(lengths) == {5}
    assert not any(row.terminated for row in agent.rows)
    begins = [not np.array_equal(a.next_obs, b.obs) for a, b in pairwise(agent.rows[:11])]
    assert begins == [False] * 4 + [True] + [False] * 4 + [True]


def test_the_planted_bug_stores_a_time_limit_as_an_end(nb, tiny):
    agent = Recorder()
    env = nb["TruncationAsTermination"](gym.make("CartPole-v1", max_episode_steps=5))
    nb["Environment"](agent, tiny, seed=0, env=env).run()
    assert [row.terminated for row in agent.rows[:10]] == ([False] * 4 + [True]) * 2


def test_a_fall_is_stored_as_an_end_and_observations_chain(nb, tiny):
    agent = Recorder()
    config = replace(tiny, only_fall_counts=False)
    lengths = nb["Environment"](agent, config, seed=0).run()
    assert len(agent.rows) == 200 and max(lengths) < 12
    assert [i + 1 for i, row in enumerate(agent.rows) if row.terminated] == list(np.cumsum(lengths))
    for row, following in pairwise(agent.rows):
        assert row.reward == 1.0
        assert row.terminated or np.array_equal(row.next_obs, following.obs)


def test_only_the_fall_counts(nb, tiny):
    agent = Recorder()
    nb["Environment"](agent, tiny, seed=0).run()
    assert {(row.reward, bool(row.terminated)) for row in agent.rows} == {
        (0.0, False),
        (-1.0, True),
    }


def test_the_judge_sees_every_step_and_can_stop_the_training(nb, tiny):
    seen = []
    environment = nb["Environment"](Recorder(), tiny, seed=0)
    environment.run(lambda agent_steps, lengths: seen.append(agent_steps) or agent_steps == 33)
    assert seen == list(range(1, 34))


def test_the_best_weights_are_kept_and_a_high_mean_stops(nb, tiny, monkeypatch):
    means, seeds = iter([200.0, 300.0, 250.0, 495.0]), []

    def evaluate(greedy, arena, seed):
        seeds.append(seed)
        return Namespace(mean=next(means))

    monkeypatch.setitem(nb, "evaluate", evaluate)
    monkeypatch.setitem(nb, "ARENA", None)
    brain = brain_of(nb, tiny)
    judge, every = nb["BestWeights"](brain, seed=2), nb["SELECT_EVERY"]
    best = None
    for step in range(1, 4):
        with torch.no_grad():
            brain.q_net.layers[0].bias.fill_(step)
        assert not judge(step * every - 1, [9]) and not judge(step * every, [9, 11])
        if step == 2:
            best = weights_of(brain.q_net)
    kept = nb["QNetwork"](tiny, 4, 2)
    kept.load_state_dict(judge.weights)
    assert torch.equal(weights_of(kept), best) and judge.mean == 300.0
    assert judge(4 * every, [9]) is True
    assert [row[:3] for row in judge.curve[:2]] == [(every, 2, 200.0), (2 * every, 2, 300.0)]
    start = nb["SELECTION_SEEDS"] + 2_000
    assert seeds == [start, start + 1, start + 2, start + 3]


@pytest.fixture
def judged(nb, monkeypatch):
    """What the greedy evaluations find, in this order; they note seed and weights."""
    notes = Namespace(means=[], seeds=[], weights=[])

    def evaluate(greedy, arena, seed):
        notes.seeds.append(seed)
        notes.weights.append(weights_of(greedy.__self__.q_net))
        return Namespace(mean=notes.means.pop(0))

    monkeypatch.setitem(nb, "evaluate", evaluate)
    monkeypatch.setitem(nb, "ARENA", None)
    monkeypatch.setitem(nb, "SELECT_EVERY", 50)
    return notes


def test_of_equal_means_the_first_weights_are_kept(nb, tiny, judged):
    judged.means = [0.0, 0.0]  # even a mean of 0 is better than no weights
    brain, live = brain_of(nb, tiny), Live()
    judge, first = nb["BestWeights"](brain, seed=0, live=live), weights_of(brain.q_net)
    assert not judge(50, [9])
    zero(brain.q_net)
    assert not judge(99, [9]) and not judge(100, [9])
    brain.q_net.load_state_dict(judge.weights)
    assert torch.equal(weights_of(brain.q_net), first) and judge.mean == 0.0
    assert live.updates == 3  # with every agent step, not only with an evaluation


def test_a_mean_of_490_is_enough_and_the_last_100_episodes_count(nb, tiny, judged):
    judged.means = [489.9, 490.0]
    judge = nb["BestWeights"](brain_of(nb, tiny), seed=0)
    lengths = [500] * 50 + list(range(100))
    assert judge(50, lengths) is False and judge(100, [7]) is True
    assert judge.curve == [(50, 150, 489.9, 49.5), (100, 1, 490.0, 7.0)]


def test_a_training_ends_with_the_test_of_its_best_weights(nb, tiny, judged, monkeypatch):
    judged.means = [100.0, 489.9, 200.0, 250.0, 77.0]
    monkeypatch.setitem(nb, "time", Namespace(process_time=iter([5.0, 8.5]).__next__))
    live = Live()
    run = nb["train"](tiny, seed=2, live=live)
    assert judged.seeds == [1_002_000, 1_002_001, 1_002_002, 1_002_003, 2_002_000]
    assert torch.equal(judged.weights[4], judged.weights[1])
    assert not torch.equal(judged.weights[4], judged.weights[3])
    assert torch.equal(weights_of(run.brain.q_net), judged.weights[4])
    assert run.solved_at is None and run.test.mean == 77.0 and run.seconds == 3.5
    assert [row[0] for row in run.curve] == [50, 100, 150, 200] and live.updates == 200
    brain = nb["Brain"](tiny, seed_everything(2))
    assert run.lengths == nb["Environment"](nb["Agent"](brain), tiny, seed=2).run()


def test_a_training_stops_once_it_is_solved(nb, tiny, recipe, judged):
    judged.means = [100.0, 490.0, 88.0]
    run = nb["train"](recipe, 0, nb["RecipeBrain"])
    assert run.solved_at == run.brain.agent_steps == 100 and run.test.mean == 88.0
    assert type(run.brain) is nb["RecipeBrain"] and judged.seeds[2] == 2_000_000


def test_agent_steps_until_solved_are_those_of_the_last_evaluation(nb, monkeypatch):
    curves = {
        0: (np.array([10, 20, 30]), np.array([9.0, 500.0, 490.0])),
        1: (np.array([10, 20, 40]), np.array([9.0, 489.0, 100.0])),
        2: (np.array([10, 20, 50, 60]), np.array([9.0, 8.0, 7.0, 490.0])),
    }
    asked = []
    monkeypatch.setitem(nb, "load_curves", lambda *what: asked.append(what) or curves)
    assert nb["solved_after"]("ours") == {0: 30, 1: np.inf, 2: 60}
    assert nb["needed"]("ours").tolist() == [30, 50_000, 60]  # unsolved: as long as a training
    (path, *columns), *_ = asked
    assert path.name == "03_ours.csv" and columns == ["agent_steps", "greedy_mean"]


def test_the_reported_score_takes_no_part_in_the_choice(nb):
    selection, test = np.array([3.0, 9.0, 5.0]), np.array([4.0, 6.0, 7.0])
    assert nb["reported_score"](selection, test) == 6.0


def test_without_the_mask_nothing_ends_and_the_targets_of_falls_are_noted(nb, tiny):
    brain = brain_of(nb, replace(tiny, agent_steps=1_000), "NoMask")
    nb["Environment"](nb["Agent"](brain), brain.config, seed=0).run()
    assert not any(t.terminated for t in brain.memory.sample(1_000))
    assert [at for at, *_ in brain.fall_targets] == [500, 1_000]
    falls = nb["make_batch"](brain.falls[-100:])
    future = brain.target_net(falls.next_obs).max(1).values
    expected = (falls.reward + brain.config.gamma * future).mean().item()
    assert brain.fall_targets[-1][1] == pytest.approx(expected) and set(falls.reward.tolist()) == {
        -1
    }


def test_the_last_100_falls_are_looked_at(nb, tiny):
    """A target network of zeros adds nothing, so the target of a fall is its reward."""
    brain = brain_of(nb, replace(tiny, learn_start=1_000), "NoMask")
    zero(brain.target_net)
    here = np.zeros(4, np.float32)
    for i in range(500):
        brain.learn(Transition(here, 0, float(i), here, terminated=i < 150))
    assert brain.fall_targets == [(500, 99.5, 50.0)]  # of 50, 51, …, 149


def test_a_value_brain_lets_the_player_play_and_learns_the_mean(nb, tiny):
    """One game in four pays 10: a mean of 2.5, where the Huber loss would learn about 0.3."""
    config = replace(tiny, agent_steps=500, lr=0.02, batch=32, learn_start=32)
    torch.manual_seed(0)
    brain = nb["ValueBrain"](config, np.random.default_rng(0), lambda obs: np.ones(len(obs), int))
    here = np.ones(4, np.float32)
    assert brain.decide_action(here, episode=0) == 1
    assert brain.q_net(torch.ones(3, 4)).shape == (3, 1)
    for i in range(500):
        brain.learn(Transition(here, 1, 10.0 * (i % 4 == 0), here, terminated=True))
    assert {t.action for t in brain.memory.sample(100)} == {0}  # its only action
    assert brain.q_net(torch.ones(1, 4)).item() == pytest.approx(2.5, abs=0.4)


def test_values_of_upright_poles_come_from_games_of_ten_steps(nb, monkeypatch):
    made, seeds, sampled = [], [], []

    class Noting(nb["Environment"]):
        def __init__(self, agent, config, seed, env):
            super().__init__(agent, config, seed, env)
            seeds.append(seed)
            sample = agent.brain.memory.sample
            agent.brain.memory.sample = lambda size: sampled.append(size) or sample(size)

    def wrap(env):
        made.append(env.spec.max_episode_steps)
        return env

    player = Namespace(greedy=lambda obs: np.zeros(len(obs), int))
    short = replace(nb["VALUE"], agent_steps=1_050, learn_start=1_050)
    monkeypatch.setitem(nb, "VALUE", short)
    monkeypatch.setitem(nb, "brain", player)
    monkeypatch.setitem(nb, "Environment", Noting)
    monkeypatch.setitem(
        nb, "seed_everything", lambda seed: seeds.append(seed) or seed_everything(0)
    )
    values = nb["values_of_upright_poles"](wrap)
    assert values.shape == (1_000,) and np.unique(values).size > 100
    assert made == [10] and seeds == [0, 0] and sampled == [64, 1_000]


def test_the_same_seed_gives_the_same_training(nb, tiny):
    runs = []
    for _ in range(2):
        brain = brain_of(nb, tiny)
        lengths = nb["Environment"](nb["Agent"](brain), tiny, seed=3).run()
        runs.append((lengths, weights_of(brain.q_net)))
    assert runs[0][0] == runs[1][0] and torch.equal(runs[0][1], runs[1][1])
