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


# --- network and brain -----------------------------------------------------------------------


def test_weights_start_orthogonal_biases_at_zero_and_values_small(nb):
    """The rows of each matrix are at right angles; their squared length is 2, then 0.0001."""
    net = nb["QNetwork"](6, (4, 4, 4), 16)
    layers = [layer for layer in net.layers if hasattr(layer, "weight")]
    for layer, squared in zip(layers, (2, 2, 2, 2, 1e-4), strict=True):
        rows = layer.weight.detach().flatten(1)
        expected = squared * torch.eye(len(rows))
        torch.testing.assert_close(rows @ rows.T, expected, rtol=1e-4, atol=squared * 1e-4)
        assert not layer.bias.any()
    assert net.mean_frame.shape == (84, 84) and not net.mean_frame.any()


def test_centre_and_its_two_rivals_by_hand(nb):
    rivals = load_definitions("04_pong_dqn", ["DivideBy64", "DivideBy255"])
    obs = torch.full((2, 4, 84, 84), 200, dtype=torch.uint8)
    obs[1] = 51
    kinds = (nb["QNetwork"], 2.0, -0.328125), (rivals["DivideBy64"], 3.125, 0.796875)
    for kind, bright, dark in (*kinds, (rivals["DivideBy255"], 200 / 255, 0.2)):
        net = kind(6, (4, 4, 4), 16)
        net.mean_frame.fill_(72)
        x = net.centre(obs)
        assert x.shape == obs.shape
        torch.testing.assert_close(x[:, 1, 2, 3], torch.tensor([bright, dark]))


def test_rewards_are_learned_as_adam_says():
    """A table of three values instead of a network: its loss and its steps are known."""
    learn_rewards = load_definitions("04_pong_dqn", ["learn_rewards"])["learn_rewards"]

    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.values = nn.Parameter(torch.zeros(3))

        def forward(self, obs):
            return self.values.expand(len(obs), 3)

    def sample(size):
        assert size == 32
        action = np.arange(32) % 2  # the third action is never taken
        reward = np.where(action == 0, 2.0, -1.0).astype(np.float32)
        return SimpleNamespace(obs=np.zeros((32, 1), np.float32), action=action, reward=reward)

    net = Table()
    losses = learn_rewards(net, SimpleNamespace(sample=sample), 2)
    # half of (4 + 1) / 2; then Adam has moved both values by its rate, 0.0005, to the rewards
    expected = [1.25, (1.9995**2 + 0.9995**2) / 4]
    assert losses == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(net.values.detach(), torch.tensor([1e-3, -1e-3, 0.0]), rtol=1e-3,
                               atol=1e-8)  # fmt: skip


def test_long_gradients_are_shortened_to_ten_and_updates_are_counted(nb, tiny):
    brain = nb["Brain"](tiny, 6, torch.device("cpu"))
    assert (brain.updates, brain.copies) == (0, 1)
    assert brain.optimizer.defaults["fused"] is True  # all weights in one call
    data = batch(np.random.default_rng(0))
    data = data._replace(reward=np.full(5, 1e4, np.float32))
    for done in (1, 2):
        brain.learn(data, lr=1e-5)
        norm = torch.cat([p.grad.flatten() for p in brain.q_net.parameters()]).norm()
        assert norm.item() == pytest.approx(10, rel=1e-4)
        assert brain.updates == done
    assert brain.optimizer.param_groups[0]["lr"] == 1e-5
    brain.copy_to_target()
    assert brain.copies == 2


@pytest.mark.parametrize("epsilon", [0.0, 0.25])
def test_a_draw_below_epsilon_explores(nb, tiny, epsilon):
    """Also at the edge: a draw of exactly epsilon, such as 0, does not."""
    brain = nb["Brain"](tiny, 6, torch.device("cpu"))
    with torch.no_grad():
        brain.q_net.layers[-1].bias[2] = 9
    draws = np.array([epsilon, epsilon / 2, epsilon + 0.1, 0.99])
    rng = SimpleNamespace(random=lambda n: draws, integers=lambda low, high, n: np.full(n, 5))
    actions = brain.decide_actions(np.zeros((4, 4, 84, 84), np.uint8), epsilon, rng)
    assert actions.tolist() == [2, 5 if epsilon else 2, 2, 2]


def test_the_agent_hands_its_settings_on(nb, tiny):
    rng = np.random.default_rng(0)
    agent = nb["Agent"](replace(tiny, batch=3, n_step=2, gamma=0.5), 6, "cpu", rng)
    memory = agent.memory
    assert (memory.capacity, memory.num_envs, memory.n_step, memory.gamma) == (64, 2, 2, 0.5)
    agent.memory = SimpleNamespace(sample=lambda size: f"{size} transitions")
    agent.brain = SimpleNamespace(learn=lambda *what: what, decide_actions=lambda *what: what)
    assert agent.learn(0.1) == ("3 transitions", 0.1)
    assert agent.get_actions("obs", 0.2) == ("obs", 0.2, rng)


def test_scores_need_an_end_for_each_reward():
    finished = load_definitions("04_pong_dqn", ["finished_scores"])["finished_scores"]
    with pytest.raises(ValueError, match="shorter"):
        finished([1.0, -1.0], [0])


# --- the books of a training -----------------------------------------------------------------


def test_a_training_begins_with_empty_books(training):
    nb, config = training
    first = nb["Environment"](config, 0, torch.device("cpu"))
    assert (first.agent_steps, first.seconds, first.actions) == (0, 0.0, [])
    assert first.scores == first.score_steps == first.evaluations == []
    assert first.score.tolist() == [0.0, 0.0] and first.best < -21
    assert first.agent.brain.q_values(first.obs).shape == (2, 6)
    assert first.agent.brain.num_actions == 6
    first.resume()  # there is no file
    assert first.agent_steps == 0


@pytest.mark.parametrize("quick, games", [(False, 10), (True, 2)])
def test_so_many_games_judge_an_agent_and_20_points_end_a_training(quick, games):
    kind = load_definitions("04_pong_dqn", ["Environment"], {"QUICK": quick})["Environment"]
    assert (kind.games, kind.stop_at) == (games, 20.0)


def test_a_finished_game_enters_the_books_with_its_score(training):
    nb, config = training
    first = nb["Environment"](config, 0, torch.device("cpu"))
    stored = []
    first.agent = SimpleNamespace(memorize=lambda *step: stored.append(step))
    over = {2: (True, False), 4: (False, True)}  # game 0 at step 2, game 1 at step 4
    for t, reward in enumerate([(1, -1), (1, -1), (-1, -1), (1, 0), (0, 1)]):
        end, never = np.array(over.get(t, (False, False))), np.zeros(2, bool)
        terminated, truncated = (end, never) if t == 2 else (never, end)
        first.record(f"obs {t}", f"do {t}", np.array(reward), terminated, truncated, f"obs {t + 1}")
    assert first.scores == [1.0, -2.0] and first.score_steps == [4, 8]
    assert first.score.tolist() == [1.0, 0.0]
    assert first.agent_steps == 10 and first.obs == "obs 5"
    assert first.actions == [f"do {t}" for t in range(5)]
    assert [step[0] for step in stored] == [f"obs {t}" for t in range(5)]


def test_an_evaluation_is_greedy_and_only_better_weights_are_kept(training):
    nb, config = training
    first = nb["Environment"](config, 0, torch.device("cpu"))
    brain, asked, means = first.agent.brain, [], iter([-21.0, -21.0, -20.5, -20.8])
    envs = SimpleNamespace(close=lambda: asked.append("closed"))
    nb["make_pong"] = lambda games, **how: asked.append((games, how)) or envs

    def evaluate(act, envs, seed):
        assert seed == 10_000  # far from the seeds of trainings
        with torch.no_grad():
            brain.q_net.layers[-1].bias[4] += 1  # other weights each time
        assert act(np.zeros((3, 4, 84, 84), np.uint8)).tolist() == [4, 4, 4]
        return Evaluation(np.zeros(1), next(means), 1.5, 1)

    nb["evaluate"], kept = evaluate, []
    for number in range(4):
        first.agent_steps, first.seconds = 100 * number, 90.0 * number
        first.evaluate()
        kept.append(first.best_weights["layers.9.bias"][4].item())
    assert kept == [1.0, 1.0, 3.0, 3.0] and first.best == -20.5
    rows = [[0, 0, -21, 1.5], [100, 1.5, -21, 1.5], [200, 3, -20.5, 1.5], [300, 4.5, -20.8, 1.5]]
    assert first.evaluations == rows
    assert asked == 4 * [(10, {"clip_rewards": False}), "closed"]


def test_a_resumed_training_is_where_the_saved_one_was(training):
    nb, config = training
    config = replace(config, agent_steps=240, evaluate_every=220)
    first = nb["Environment"](config, 0, torch.device("cpu"))
    first.run()
    saved = nb["load_checkpoint"](first.file)
    second = nb["Environment"](config, 0, torch.device("cpu"))
    second.resume()
    assert second.agent_steps == len(second.agent.memory) == 220
    assert second.evaluations == first.evaluations and second.seconds > 0
    brain = second.agent.brain
    assert (brain.updates, brain.copies) == tuple(saved["counts"])
    assert np.array_equal(second.state()["actions"], saved["actions"])
    moments = brain.optimizer.state_dict()["state"]
    assert len(moments) == len(list(brain.q_net.parameters()))
    for parameter, place in zip(brain.q_net.parameters(), moments, strict=True):
        for name in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(moments[place][name], saved["optimizer"]["state"][place][name])
            assert moments[place][name].stride() == parameter.stride()  # the layout of the weights
    second.run()
    ends = (run.agent.brain.q_net.state_dict() for run in (first, second))
    for ours, theirs in zip(*(end.values() for end in ends), strict=True):
        assert torch.equal(ours, theirs)


def test_quick_mode_does_not_resume(training):
    nb, config = training
    first = nb["Environment"](replace(config, agent_steps=20), 0, torch.device("cpu"))
    first.run()
    nb["save_checkpoint"](first.file, first.state())
    second = nb["Environment"](first.config, 0, torch.device("cpu"))
    nb["QUICK"] = True
    second.resume()
    assert second.agent_steps == 0
    nb["QUICK"] = False
    second.resume()
    assert second.agent_steps == 20


# --- the loop, on stand-ins ------------------------------------------------------------------


def rehearse(scores=(), **changes):
    """Run the training loop on stand-ins that only keep a log; nothing is played or learned.

    scores: {agent steps: greedy mean}. Returns the stand-in of the Environment, with ``log``
    (what happened, after how many agent steps, with which values) and ``curve``.
    """
    nb = load_definitions("04_pong_dqn", ["run", "Config"])
    settings = dict(num_envs=4, agent_steps=4_000, learn_start=2_400, train_every=2)
    settings |= dict(target_every=400, evaluate_every=800, epsilon_steps=800) | changes
    config = replace(nb["Config"](), **settings)
    log, loop = [], SimpleNamespace(config=config, agent_steps=0, best=-22.0, stop_at=20.0)

    def note(what, *values):
        log.append((what, loop.agent_steps, *values))

    class Memory:
        def __len__(self):
            return loop.agent_steps

        def sample(self, size):
            note("sample", size)
            return SimpleNamespace(obs="pictures")

    brain = SimpleNamespace(updates=0, q_values=lambda obs: f"values of {obs}")
    brain.calibrate = lambda obs: note("calibrate", obs)
    brain.copy_to_target = lambda: note("copy")
    loop.agent = SimpleNamespace(brain=brain, memory=Memory())
    loop.agent.get_actions = lambda obs, epsilon: note("act", obs, epsilon) or "actions"

    def learn(lr):
        brain.updates += 1
        note("learn", lr)
        return "loss", "q"

    def record(obs, actions, reward, terminated, truncated, next_obs):
        note("record", obs, actions, reward, terminated, truncated, next_obs)
        loop.obs = next_obs
        loop.agent_steps += 4

    def evaluate():
        note("evaluate")
        loop.best = dict(scores).get(loop.agent_steps, loop.best)

    loop.agent.learn, loop.record, loop.evaluate = learn, record, evaluate
    loop.envs = SimpleNamespace(send=lambda actions: note("send", actions))
    loop.envs.recv = lambda: note("recv") or ("next", "reward", "terminated", "truncated", {})
    loop.envs.close = lambda: note("close")
    loop.obs, loop.seconds, loop.scores = "first", 7.0, []
    loop.file, loop.state = "file", lambda: "state"
    nb["save_checkpoint"] = lambda file, state: note("save", file, state)
    nb["check_values"] = lambda *values: note("check", *values)
    nb["time"] = SimpleNamespace(monotonic=iter(np.arange(100.0, 500.0, 0.36).tolist()).__next__)
    nb["LiveCurve"] = MagicMock()
    nb["run"](loop)
    loop.log, loop.curve = log, nb["LiveCurve"]
    return loop


@pytest.fixture(scope="module")
def rehearsed():
    return rehearse()


def entries(loop, what):
    """What the log of a rehearsal says about one thing."""
    return [entry[1:] for entry in loop.log if entry[0] == what]


def test_learning_starts_after_learn_start_with_two_updates_for_four_agent_steps(rehearsed):
    learned = entries(rehearsed, "learn")
    assert [steps for steps, _ in learned] == [s for s in range(2_400, 4_000, 4) for _ in range(2)]
    rates = dict(learned)
    assert rates[2_400] == pytest.approx(4.6e-4)  # 60 % of the way from 1e-3 to 1e-4
    assert rates[3_200] == pytest.approx(2.8e-4)
    assert rates[3_996] == pytest.approx(1.009e-4)


def test_exploration_of_the_loop_falls_after_learn_start(rehearsed):
    chances = {steps: epsilon for steps, _, epsilon in entries(rehearsed, "act")}
    assert chances[0] == chances[2_400] == 1.0
    assert chances[2_800] == pytest.approx(0.505)
    assert chances[3_200] == chances[3_996] == pytest.approx(0.01)


def test_the_background_is_set_once_from_at_most_2000_pictures(rehearsed):
    fewer = rehearse(learn_start=1_600, agent_steps=1_608)
    for loop, start, size in ((rehearsed, 2_400, 2_000), (fewer, 1_600, 1_600)):
        assert entries(loop, "sample") == [(start, size)]
        assert entries(loop, "calibrate") == [(start, "pictures")]


def test_copies_evaluations_and_saves_come_at_their_multiples(rehearsed):
    assert [steps for (steps,) in entries(rehearsed, "copy")] == list(range(400, 4_001, 400))
    evaluated = [steps for (steps,) in entries(rehearsed, "evaluate")]
    assert evaluated == [800, 1_600, 2_400, 3_200, 4_000]
    assert entries(rehearsed, "save") == [(steps, "file", "state") for steps in evaluated]
    assert entries(rehearsed, "close") == [(4_000,)]


def test_values_are_checked_while_learning_and_again_before_a_save(rehearsed):
    checks = entries(rehearsed, "check")
    assert all(entry[1] == "loss" and entry[0] == entry[4] for entry in checks)
    assert {round(entry[3], 6) for entry in checks} == {50.0}
    assert [entry[0] for entry in checks if entry[2] == "q"] == list(range(2_404, 4_001, 4))
    assert [entry[0] for entry in checks if entry[2] == "values of next"] == [3_200, 4_000]
    kinds = [entry[0] for entry in rehearsed.log[-6:]]
    assert kinds == ["copy", "check", "check", "evaluate", "save", "close"]


def test_the_games_go_on_while_the_agent_learns(rehearsed):
    turn = [entry for entry in rehearsed.log if entry[1] == 2_800]
    kinds = [entry[0] for entry in turn[2:]]  # without the end of the turn before
    assert kinds == ["act", "send", "learn", "learn", "recv", "record"]
    assert turn[-1][2:] == ("next", "actions", "reward", "terminated", "truncated", "next")


def test_the_goal_ends_a_training_at_once():
    scores = {800: 19.9, 1_600: 20.0}
    assert rehearse(scores).agent_steps == 1_600
    assert rehearse({800: 20.5}).agent_steps == 800


def test_seconds_go_on_from_those_of_before(rehearsed):
    """1,000 turns of 0.36 seconds after 7 seconds; the curve of 20 games says it in minutes."""
    assert rehearsed.seconds == pytest.approx(367)
    assert rehearsed.curve.call_args.kwargs["window"] == 20
    curve = rehearsed.curve.return_value
    (_, first), (_, last) = (call.args for call in curve.update.call_args_list)
    assert first.startswith("3,000 of 4,000") and last.startswith("4,000 of 4,000")
    assert " 11/s" in first  # 3,000 agent steps in 277 seconds
    assert "6.1 min" in curve.close.call_args.args[1]


# --- protocols and a game to watch -----------------------------------------------------------


def test_a_protocol_is_20_games_with_draws_that_can_be_repeated():
    draws, games = [], []
    nb = load_definitions("04_pong_dqn", ["scores_under"], {"TEST_SEED": 7})
    nb["make_pong"] = lambda n, **how: games.append(n) or SimpleNamespace(close=lambda: None)
    nb["evaluate"] = lambda act, envs, seed: Evaluation(act(None), 0.0, 0.0, 0)
    brain = SimpleNamespace(decide_actions=lambda obs, epsilon, rng: draws.append(rng.random(3)))
    for _ in range(2):
        nb["scores_under"](brain, 0.0, 0.05)
    assert games == [20, 20]
    assert np.array_equal(draws, 2 * [np.random.default_rng(0).random(3)])


@pytest.mark.parametrize("how", ["terminated", "truncated"])
def test_a_game_is_played_greedily_to_its_end(how):
    """Three moments: what was seen, the newest picture, the values; and the sum of the rewards."""
    asked = []

    class Game:
        def reset(self, seed):
            self.t = 0
            asked.append(f"seed {seed}")
            return self.look(), {}

        def look(self):
            return np.arange(4)[:, None, None] + 10 * self.t + np.zeros((4, 2, 2))

        def render(self):
            return np.full((3, 3), self.t)

        def step(self, action):
            asked.append(action)
            self.t += 1
            over = self.t == 3
            terminated, truncated = over and how == "terminated", over and how == "truncated"
            return self.look(), (1.0, 0.0, -3.0)[self.t - 1], terminated, truncated, {}

        def close(self):
            asked.append("closed")

    def q_values(obs):
        assert obs.shape == (1, 4, 2, 2)
        q = np.zeros((1, 6))
        q[0, int(obs[0, 0, 0, 0]) // 10 + 1] = 1.0
        return q

    nb = load_definitions("04_pong_dqn", ["play_game"])
    nb["make_pong_to_watch"] = Game
    screens, pictures, q, score = nb["play_game"](SimpleNamespace(q_values=q_values), 5)
    assert asked == ["seed 5", 1, 2, 3, "closed"] and score == -2.0
    assert screens[:, 0, 0].tolist() == [0, 1, 2]
    assert pictures[:, 0, 0].tolist() == [3, 13, 23]
    assert q.argmax(axis=1).tolist() == [1, 2, 3]


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
