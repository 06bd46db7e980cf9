"""Notebook 04's own definitions against numbers worked out by hand and a slow reference."""

from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from torch import nn

from exercises.pong import (
    check_bytes,
    check_conv_size,
    check_counts,
    check_score,
    check_stacks,
    check_transitions,
)
from helpers.evaluation import Evaluation
from tests.faults import planted
from tools.definitions import TWINS, load_definitions

NAMES = ["Config", "Agent", "epsilon_at"]


@pytest.fixture(scope="module")
def nb():
    return load_definitions("04_pong_dqn", NAMES)


@pytest.fixture
def tiny(nb):
    return replace(nb["Config"](), channels=(4, 4, 4), hidden=16, num_envs=2, capacity=64)


def batch(rng, size=5):
    from helpers.replay import FrameBatch

    return FrameBatch(
        obs=rng.integers(0, 255, (size, 4, 84, 84), dtype=np.uint8),
        action=rng.integers(0, 6, size),
        reward=rng.normal(size=size).astype(np.float32),
        next_obs=rng.integers(0, 255, (size, 4, 84, 84), dtype=np.uint8),
        discount=np.array([0.94, 0.94, 0.0, 0.98, 0.0], np.float32)[:size],
    )


@pytest.mark.parametrize("pixels, kernel, stride", [(84, 8, 4), (20, 4, 2), (9, 3, 1), (42, 8, 4)])
def test_conv_size_is_what_torch_computes(nb, pixels, kernel, stride):
    out = nn.Conv2d(1, 1, kernel, stride=stride)(torch.zeros(1, 1, pixels, pixels))
    assert nb["conv_size"](pixels, kernel, stride) == out.shape[-1]


def test_td_target_by_hand(nb):
    next_q = torch.tensor([[1.0, 3.0], [-2.0, -5.0], [100.0, 50.0]])
    target = nb["td_target"](torch.tensor([1.0, 0.0, -1.0]), torch.tensor([0.5, 0.9, 0.0]), next_q)
    torch.testing.assert_close(target, torch.tensor([2.5, -1.8, -1.0]))


OURS = {  # our versions of the exercises before the summary
    "counts": check_counts,
    "finished_scores": check_score,
    "transitions": check_transitions,
    "picture_bytes": check_bytes,
    "rebuild_stack": check_stacks,
    "conv_size": check_conv_size,
}


@pytest.mark.parametrize("name", OURS)
def test_our_versions_pass_the_checks(name):
    assert OURS[name](load_definitions("04_pong_dqn", [name])[name]) is True


@pytest.mark.parametrize("sticky, epsilon", [(0.25, 0.05), (0.0, 0.0)])
def test_a_protocol_is_what_is_played(sticky, epsilon):
    """Sticky actions reach the games, ε reaches the agent, and rewards are not clipped."""
    asked, explored = {}, []
    envs = SimpleNamespace(close=lambda: None)
    nb = load_definitions("04_pong_dqn", ["scores_under"], {"TEST_SEED": 7})
    nb["make_pong"] = lambda games, **how: asked.update(how, games=games) or envs

    def evaluate(act, envs, seed):
        act(np.zeros((2, 4, 84, 84)))
        return Evaluation(np.ones(2) * seed, 0.0, 0.0, 0)

    nb["evaluate"] = evaluate
    brain = SimpleNamespace(decide_actions=lambda obs, epsilon, rng: explored.append(epsilon))
    assert nb["scores_under"](brain, sticky, epsilon, games=2).tolist() == [7.0, 7.0]
    assert asked == {"clip_rewards": False, "sticky": sticky, "games": 2}
    assert explored == [epsilon]


def test_paper_network_has_the_papers_size(nb):
    net = nb["QNetwork"](6, (32, 64, 64), 512)
    assert sum(p.numel() for p in net.parameters()) == 1_687_206
    assert net(torch.zeros(3, 4, 84, 84, dtype=torch.uint8)).shape == (3, 6)


def test_centre_makes_the_average_picture_zero(nb):
    net = nb["QNetwork"](6, (4, 4, 4), 16)
    frame = torch.randint(0, 255, (84, 84), dtype=torch.uint8)
    net.mean_frame.copy_(frame)
    assert net.centre(frame.expand(2, 4, 84, 84)).abs().max() == 0


def test_update_follows_the_slow_reference(nb, tiny):
    """One update moves the weights as a loop over the rows, with numbers only, says."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    brain = nb["Brain"](tiny, 6, torch.device("cpu"))
    nn.init.normal_(brain.q_net.layers[-1].weight, std=0.1)
    data = batch(rng)
    q = brain.q_net(torch.from_numpy(data.obs))
    next_q = brain.target_net(torch.from_numpy(data.next_obs)).detach()
    errors = []
    for i in range(5):
        best = max(float(v) for v in next_q[i])
        target = float(data.reward[i]) + float(data.discount[i]) * best
        errors.append((q[i, data.action[i]] - target) ** 2 / 2)
    expected = sum(errors) / len(errors)
    gradient = torch.autograd.grad(expected, brain.q_net.layers[-1].bias)[0]
    brain.max_grad_norm = 1e9
    loss, mean_q = brain.learn(data, lr=0.0)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(brain.q_net.layers[-1].bias.grad, gradient, rtol=1e-4, atol=1e-6)
    picked = [q[i, a].item() for i, a in enumerate(data.action)]
    assert mean_q.item() == pytest.approx(np.mean(picked), rel=1e-4)


def test_learning_moves_only_the_q_net_until_copied(nb, tiny):
    torch.manual_seed(0)
    brain = nb["Brain"](tiny, 6, torch.device("cpu"))
    before = [p.clone() for p in brain.target_net.parameters()]
    brain.learn(batch(np.random.default_rng(1)), lr=1e-2)
    assert all(p.grad is None for p in brain.target_net.parameters())
    pairs = zip(brain.target_net.parameters(), before, strict=True)
    assert all(torch.equal(now, then) for now, then in pairs)
    assert any(
        not torch.equal(a, b)
        for a, b in zip(brain.q_net.parameters(), brain.target_net.parameters(), strict=True)
    )
    brain.copy_to_target()
    for a, b in zip(brain.q_net.parameters(), brain.target_net.parameters(), strict=True):
        assert torch.equal(a, b)


def test_calibrate_sets_the_background_of_both_networks(nb, tiny):
    brain = nb["Brain"](tiny, 6, torch.device("cpu"))
    obs = batch(np.random.default_rng(2)).obs
    brain.calibrate(obs)
    expected = obs[:, -1].astype(np.float64).mean(axis=0)
    for net in (brain.q_net, brain.target_net):
        np.testing.assert_allclose(net.mean_frame.numpy(), expected, rtol=1e-5)


def test_actions_are_greedy_at_zero_and_uniform_at_one(nb, tiny):
    brain = nb["Brain"](tiny, 6, torch.device("cpu"))
    obs = np.zeros((2_000, 4, 84, 84), np.uint8)[:200]
    with torch.no_grad():
        brain.q_net.layers[-1].bias.copy_(torch.tensor([0.0, 0, 0, 9, 0, 0]))
    rng = np.random.default_rng(0)
    assert (brain.decide_actions(obs, 0.0, rng) == 3).all()
    counts = sum(np.bincount(brain.decide_actions(obs, 1.0, rng), minlength=6) for _ in range(10))
    assert (abs(counts / 2_000 - 1 / 6) < 0.05).all()


def test_epsilon_starts_at_one_and_ends_low(nb):
    config = nb["Config"]()
    assert nb["epsilon_at"](0, config) == 1.0
    assert nb["epsilon_at"](config.learn_start, config) == 1.0
    half = config.learn_start + config.epsilon_steps // 2
    assert nb["epsilon_at"](half, config) == pytest.approx((1 + config.epsilon_end) / 2)
    assert nb["epsilon_at"](10**6, config) == pytest.approx(config.epsilon_end)


@pytest.fixture
def training(tmp_path):
    """The whole training loop on two small games, writing below tmp_path."""
    names = [*NAMES, "Environment", "state", "resume", "run"]
    nb = load_definitions("04_pong_dqn", names, {"QUICK": False})
    make, nobody = nb["make_pong"], SimpleNamespace(close=lambda: None)
    nb["make_pong"] = lambda n, clip_rewards=True: make(n) if clip_rewards else nobody
    nb["build_dir"], nb["LiveCurve"] = lambda *parts: tmp_path, MagicMock()
    nb["evaluate"] = lambda act, envs, seed: Evaluation(np.zeros(1), -21.0, 0.0, 1)
    config = replace(
        nb["Config"](),
        channels=(4, 4, 4),
        hidden=16,
        num_envs=2,
        batch=4,
        capacity=4_000,
        agent_steps=2_000,
        learn_start=200,
        train_every=2,
        epsilon_steps=1_000,
        evaluate_every=1_000,
    )
    return nb, config


def test_a_training_ends_with_updates_copies_and_evaluations(training):
    nb, config = training
    first = nb["Environment"](config, 0, torch.device("cpu"))
    first.run()
    brain = first.agent.brain
    assert first.agent_steps == 2_000 and brain.updates == (2_000 - 200) // 2
    assert brain.copies == 1 + 1 + 2  # at the start, after calibrating, every 1,000 agent steps
    assert [row[0] for row in first.evaluations] == [1_000, 2_000]
    assert len(first.scores) == len(first.score_steps)


def test_one_seed_gives_one_training(training):
    """Although games and learning run at the same time."""
    nb, config = training
    runs = [nb["Environment"](config, 0, torch.device("cpu")) for _ in range(2)]
    for run in runs:
        run.run()
    first, second = (run.agent.brain.q_net.state_dict() for run in runs)
    assert runs[0].scores == runs[1].scores
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_training_with_other_settings_starts_anew(training, capsys):
    nb, config = training
    first = nb["Environment"](config, 0, torch.device("cpu"))
    nb["save_checkpoint"](first.file, first.state())
    other = nb["Environment"](replace(config, gamma=0.5), 0, torch.device("cpu"))
    other.resume()
    assert "other settings or fields: starting anew" in capsys.readouterr().out
    assert other.agent_steps == 0


def test_a_checkpoint_of_another_layout_starts_anew(training, capsys):
    nb, config = training
    first = nb["Environment"](config, 0, torch.device("cpu"))
    old = first.state()
    del old["actions"]
    nb["save_checkpoint"](first.file, old)
    first.resume()
    assert "other settings or fields: starting anew" in capsys.readouterr().out
    assert first.agent_steps == 0


def test_games_that_come_out_differently_are_noticed(training):
    nb, config = training
    first = nb["Environment"](replace(config, agent_steps=100), 0, torch.device("cpu"))
    first.run()
    state = first.state()
    state["actions"][10] = 5 - state["actions"][10]  # the other way
    nb["save_checkpoint"](first.file, state)
    second = nb["Environment"](first.config, 0, torch.device("cpu"))
    with pytest.raises(RuntimeError, match="another version of ale-py"):
        second.resume()


@pytest.mark.parametrize("lr, diverges", [(1e-3, False), (10.0, True), (1e4, True)])
def test_a_training_that_diverges_is_stopped_before_it_saves(training, lr, diverges):
    nb, config = training
    changes = dict(lr=lr, agent_steps=130, learn_start=100, evaluate_every=2)
    first = nb["Environment"](replace(config, **changes), 0, torch.device("cpu"))
    if not diverges:
        first.run()
        return
    with pytest.raises(FloatingPointError, match=r"at agent step 1\d\d: .*\|Q\| <= 50"):
        first.run()
    state = nb["load_checkpoint"](first.file)
    assert state["actions"].numel() == first.agent_steps - 2 >= 100
    saved = nb["Brain"](first.config, 6, torch.device("cpu"))
    saved.q_net.load_state_dict(state["q_net"])
    assert abs(saved.q_values(first.obs)).max() <= 50


FAULTS = {  # what to break: (text, broken text, the test that must notice)
    "discount dropped": (
        "return reward + discount * next_q",
        "return reward + next_q",
        test_td_target_by_hand,
    ),
    "maximum over the batch": ("max(dim=1)", "max(dim=0)", test_td_target_by_hand),
    "target from the network that learns": (
        "next_q = self.target_net(next_obs)",
        "next_q = -self.q_net(next_obs)",
        test_update_follows_the_slow_reference,
    ),
    "gradient flows into the target": (
        "with torch.no_grad():",
        "if True:",
        test_learning_moves_only_the_q_net_until_copied,
    ),
    "half of the loss forgotten": (
        "loss = 0.5 * ((q - target) ** 2).mean()  # CHANGED",
        "loss = ((q - target) ** 2).mean()",
        test_update_follows_the_slow_reference,
    ),
    "target is the network itself": (
        "self.target_net = QNetwork(*sizes).to(device, memory_format=layout)",
        "self.target_net = self.q_net",
        test_learning_moves_only_the_q_net_until_copied,
    ),
    "average picture in one network only": (
        "(torch.from_numpy(average))\n        self.copy_to_target()",
        "(torch.from_numpy(average))",
        test_calibrate_sets_the_background_of_both_networks,
    ),
    "explores when it should not": (
        "rng.random(len(best)) < epsilon",
        "rng.random(len(best)) >= epsilon",
        test_actions_are_greedy_at_zero_and_uniform_at_one,
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_noticed(fault, tmp_path):
    text, broken, check = FAULTS[fault]
    source = (TWINS / "04_pong_dqn.py").read_text(encoding="utf-8")
    assert source.count(text) == 1, f"expected {text!r} once in the twin: adapt this test"
    twin = tmp_path / "broken.py"
    twin.write_text(planted(source, text, broken), encoding="utf-8")
    nb = load_definitions(twin, NAMES)
    arguments = {"nb": nb}
    if "tiny" in check.__code__.co_varnames[: check.__code__.co_argcount]:
        arguments["tiny"] = replace(
            nb["Config"](), channels=(4, 4, 4), hidden=16, num_envs=2, capacity=64
        )
    with pytest.raises((AssertionError, RuntimeError)):  # a wrong value, or shapes that clash
        check(**arguments)
