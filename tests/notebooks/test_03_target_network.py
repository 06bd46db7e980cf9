"""Notebook 03's own definitions against numbers worked out by hand and a slow reference."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

from helpers.replay import Transition
from tools.definitions import load_definitions

NAMES = [
    "Config",
    "HARD",
    "SOFT",
    "OURS",
    "follow",
    "epsilon",
    "QNetwork",
    "make_batch",
    "td_target",
    "make_optimizer",
    "descend",
    "Brain",
    "Agent",
    "Environment",
]


@pytest.fixture(scope="module")
def nb():
    return load_definitions("03_target_network", NAMES)


@pytest.fixture
def tiny(nb):
    return nb["Config"](agent_steps=200, hidden=(8,), batch=4, learn_start=4, target_every=10)


def transitions(rng, count):
    rows = rng.normal(size=(count, 2, 4)).astype(np.float32)
    return [
        Transition(obs, int(rng.integers(2)), float(rng.normal()), next_obs, bool(i % 3 == 0))
        for i, (obs, next_obs) in enumerate(rows)
    ]


def brain_of(nb, config):
    torch.manual_seed(0)
    return nb["Brain"](config, np.random.default_rng(0))


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


@pytest.mark.parametrize("tau, left", [(1.0, 0.0), (0.005, 0.995), (0.0, 1.0)])
def test_follow_closes_the_share_tau_of_the_gap(nb, tau, left):
    a, b = nn.Linear(3, 2), nn.Linear(3, 2)
    gap = weights_of(a) - weights_of(b)
    nb["follow"](a, b, tau)
    assert torch.allclose(weights_of(a) - weights_of(b), left * gap, atol=1e-6)
    with torch.no_grad():
        b.weight.add_(1.0)  # a copy, not the same memory
    assert not torch.allclose(a.weight, b.weight)


@pytest.mark.parametrize(
    "recipe, agent_steps, episode, expected",
    [
        ("HARD", 0, 0, 0.08),
        ("HARD", 9_999, 200, 0.07),
        ("HARD", 0, 5_000, 0.01),
        ("SOFT", 0, 0, 0.9),
        ("SOFT", 1_000, 77, 0.05 + 0.85 / np.e),
        ("OURS", 0, 0, 1.0),
        ("OURS", 4_000, 5, 0.52),
        ("OURS", 50_000, 5, 0.04),
    ],
)
def test_epsilon_schedules(nb, recipe, agent_steps, episode, expected):
    assert nb["epsilon"](nb[recipe], agent_steps, episode) == pytest.approx(expected)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"tau": 0.1}, "exactly one of target_every and tau"),
        ({"target_every": None}, "exactly one of target_every and tau"),
        ({"batch": 9}, "learn_start >= batch, got 4 < 9"),
        ({"gamma": 1.0}, r"gamma in \[0, 1\), got 1.0"),
        ({"target_unit": "weeks"}, "target_unit.*weeks"),
        ({"epsilon_unit": "weeks"}, "epsilon_unit.*weeks"),
        ({"epsilon_shape": "round"}, "epsilon_shape.*round"),
        ({"loss": "hubert"}, "loss.*hubert"),
        ({"optimizer": "adamant"}, "optimizer.*adamant"),
        ({"train_every": "game"}, "train_every.*game"),
    ],
)
def test_config_says_what_is_wrong(tiny, change, words):
    with pytest.raises(ValueError, match=words):
        replace(tiny, **change)


def test_hard_target_stands_still_between_copies(nb, tiny):
    brain = brain_of(nb, tiny)
    start = weights_of(brain.target_net)
    assert torch.equal(start, weights_of(brain.q_net))
    for count, row in enumerate(transitions(np.random.default_rng(2), 30), 1):
        brain.learn(row, episode_over=False)
        if brain.updates == 9:
            assert torch.equal(weights_of(brain.target_net), start)
        if brain.updates in (10, 20):
            assert torch.equal(weights_of(brain.target_net), weights_of(brain.q_net))
        assert brain.updates == max(0, count - 3)
    assert brain.target_moves == 2


def test_soft_target_moves_with_every_update(nb, tiny):
    brain = brain_of(nb, replace(tiny, target_every=None, tau=0.25))
    for row in transitions(np.random.default_rng(2), 8):
        before, moves = weights_of(brain.target_net), brain.target_moves
        brain.learn(row, episode_over=False)
        if brain.target_moves > moves:
            expected = before + 0.25 * (weights_of(brain.q_net) - before)
            assert torch.allclose(weights_of(brain.target_net), expected, atol=1e-6)
    assert brain.target_moves == brain.updates == 5


def test_training_and_copies_at_the_end_of_an_episode(nb, tiny):
    config = replace(
        tiny, train_every="episode", updates_per_train=3, target_every=2, target_unit="episodes"
    )
    brain = brain_of(nb, config)
    for i, row in enumerate(transitions(np.random.default_rng(3), 24)):
        brain.learn(row, episode_over=i % 6 == 5)  # four episodes
    assert (brain.episodes, brain.updates, brain.target_moves) == (4, 12, 2)


def test_an_update_equals_one_written_out(nb, tiny):
    config = replace(tiny, optimizer="adamw", clip_value=0.01)
    brain = brain_of(nb, config)
    for row in transitions(np.random.default_rng(4), 4):
        brain.memory.push(*row)
    twin = nb["QNetwork"](config, 4, 2)
    twin.load_state_dict(brain.q_net.state_dict())
    state = brain.rng.bit_generator.state
    batch = nb["make_batch"](brain.memory.sample(4))
    brain.rng.bit_generator.state = state  # the update draws the same batch again
    best_next = brain.target_net(batch.next_obs).max(1).values.detach()
    target = batch.reward + config.gamma * (1 - batch.terminated) * best_next
    error = target - twin(batch.obs)[torch.arange(4), batch.action]
    huber = torch.where(error.abs() < 1, 0.5 * error**2, error.abs() - 0.5)
    optimizer = torch.optim.AdamW(twin.parameters(), lr=config.lr, amsgrad=True)
    huber.mean().backward()
    for parameter in twin.parameters():
        parameter.grad.clamp_(-0.01, 0.01)
    optimizer.step()
    brain.update()
    assert torch.allclose(weights_of(twin), weights_of(brain.q_net), atol=1e-6)


def test_learning_rate_falls_to_its_end(nb, tiny):
    config = replace(tiny, lr=0.1, lr_end=0.02, agent_steps=40)
    brain = brain_of(nb, config)
    rows = transitions(np.random.default_rng(5), 50)
    for row in rows[:20]:
        brain.learn(row, episode_over=False)
    assert brain.optimizer.param_groups[0]["lr"] == pytest.approx(0.06)
    for row in rows[20:]:
        brain.learn(row, episode_over=False)
    assert brain.optimizer.param_groups[0]["lr"] == pytest.approx(0.02)


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

    def learn(self, transition, episode_over):
        self.rows.append((transition, episode_over))


def test_a_time_limit_starts_an_episode_but_is_not_stored_as_an_end(nb, tiny):
    agent = Recorder()
    env = gym.make("CartPole-v1", max_episode_steps=5)  # pushing left falls at 8 or later
    lengths = nb["Environment"](agent, tiny, seed=0, env=env).run()
    assert set(lengths) == {5}
    assert not any(transition.terminated for transition, _ in agent.rows)
    assert [over for _, over in agent.rows[:10]] == [False] * 4 + [True] + [False] * 4 + [True]


def test_a_fall_is_stored_as_an_end_and_observations_chain(nb, tiny):
    agent = Recorder()
    lengths = nb["Environment"](agent, replace(tiny, reward_scale=0.01), seed=0).run()
    assert len(agent.rows) == 200 and max(lengths) < 12
    for (row, over), (following, _) in zip(agent.rows, agent.rows[1:], strict=False):
        assert row.terminated == over and row.reward == pytest.approx(0.01)
        assert over or np.array_equal(row.next_obs, following.obs)


def test_only_the_fall_counts(nb, tiny):
    agent = Recorder()
    nb["Environment"](agent, replace(tiny, only_fall_counts=True), seed=0).run()
    assert {(row.reward, bool(row.terminated)) for row, _ in agent.rows} == {
        (0.0, False),
        (-1.0, True),
    }


def test_the_same_seed_gives_the_same_training(nb, tiny):
    runs = []
    for _ in range(2):
        brain = brain_of(nb, tiny)
        lengths = nb["Environment"](nb["Agent"](brain), tiny, seed=3).run()
        runs.append((lengths, weights_of(brain.q_net)))
    assert runs[0][0] == runs[1][0] and torch.equal(runs[0][1], runs[1][1])
