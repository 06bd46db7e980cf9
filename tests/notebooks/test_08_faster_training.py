"""Notebook 08 must compute what notebook 04 computes, only sooner."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from exercises.faster import check_next_rows, check_replay_ratio, check_speed_up, check_timer
from helpers.atari import make_pong
from helpers.checkpoint import load_checkpoint, read_card
from helpers.evaluation import Evaluation
from helpers.replay import FrameBatch
from helpers.runtime import ROOT
from tools.definitions import load_definitions

CPU = torch.device("cpu")
NAMES = [
    "LoopOfNotebook3",
    "VARIANTS",
    "CURVE",
    "train",
    "PongConfig",
    "ChannelsLast",
    "PongTraining",
]


@pytest.fixture(scope="module")
def nb():
    return load_definitions("08_faster_training", NAMES)


@pytest.fixture(scope="module")
def nb04():
    return load_definitions(
        "04_pong_dqn", ["Config", "conv_size", "QNetwork", "td_target", "Brain"]
    )


@pytest.fixture(scope="module")
def nb03():
    names = ["Config", "OURS", "hard_update", "QNetwork", "make_batch", "td_target"]
    return load_definitions("03_target_network", [*names, "Brain"])


def played(nb, n_step, carts=3, length=60):
    """A ColumnMemory after random steps with many ends, and the steps of each cart as a list."""
    rng = np.random.default_rng(0)
    config = nb["Config"](num_envs=carts, agent_steps=carts * length, n_step=n_step, gamma=0.9)
    memory, story = nb["ColumnMemory"](config, rng), [[] for _ in range(carts)]
    obs, over = rng.normal(size=(carts, 4)).astype(np.float32), np.zeros(carts, bool)
    for _ in range(length):
        next_obs = rng.normal(size=(carts, 4)).astype(np.float32)
        action, reward = rng.integers(0, 2, carts), rng.normal(size=carts).astype(np.float32)
        kind = rng.integers(0, 8, carts)  # 0: terminated, 1: truncated, else the game goes on
        terminated, truncated = (kind == 0) & ~over, (kind == 1) & ~over
        memory.push(obs, action, reward, terminated, truncated, next_obs)
        for i in range(carts):
            how = "reset" if over[i] else {0: "terminated", 1: "truncated"}.get(kind[i], "goes on")
            story[i].append((obs[i], action[i], reward[i], next_obs[i], how))
        obs, over = next_obs, terminated | truncated
    return memory, story


@pytest.mark.parametrize("n_step", [1, 3, 5])
def test_columns_give_the_n_step_returns_of_a_slow_reference(nb, n_step):
    memory, story = played(nb, n_step)
    batch, wanted = memory.sample(4_000), {}
    for steps in story:
        for t in range(len(steps) - n_step + 1):
            if steps[t][4] == "reset":
                continue
            earned, factor = 0.0, 1.0
            for step in steps[t : t + n_step]:
                earned, factor = earned + factor * step[2], factor * 0.9
                if step[4] != "goes on":
                    break
            discount = 0.0 if step[4] == "terminated" else factor
            wanted[steps[t][0].tobytes()] = steps[t][1], earned, step[3], discount
    seen = set()
    for row in range(4_000):
        key = batch.obs[row].numpy().tobytes()
        action, earned, next_obs, discount = wanted[key]  # KeyError: a step that must not be drawn
        assert batch.action[row] == action and np.array_equal(batch.next_obs[row], next_obs)
        assert np.isclose(batch.reward[row], earned, atol=1e-6)
        assert np.isclose(batch.discount[row], discount, atol=1e-6)
        seen.add(key)
    assert len(seen) == len(wanted)  # every complete step is drawn
    kinds = torch.float32, torch.int64, torch.float32, torch.float32, torch.float32
    assert tuple(column.dtype for column in batch) == kinds


def test_an_update_of_the_carts_is_the_one_of_notebook_03(nb, nb03):
    """One-step returns, the same transitions: the same weights afterwards."""
    config = replace(nb03["OURS"], learn_start=128)
    theirs = nb03["Brain"](config, np.random.default_rng(0))
    ours = nb["Brain"](
        nb["Config"](num_envs=1, n_step=1, target_every=64), np.random.default_rng(0)
    )
    for net in (ours.q_net, ours.target_net):
        net.load_state_dict(theirs.q_net.state_dict())
    rng = np.random.default_rng(1)
    for _ in range(200):
        obs, next_obs = rng.normal(size=(2, 4)).astype(np.float32)
        action, end = int(rng.integers(2)), bool(rng.random() < 0.2)
        reward = -3.0 * end
        theirs.memory.push(obs, action, reward, next_obs, end)
    draws = np.random.default_rng(2)
    theirs.memory.rng = draws
    theirs.update()
    rows = np.random.default_rng(2).integers(200, size=128)
    transitions = [theirs.memory._ring[i] for i in rows]
    columns = nb03["make_batch"](transitions)
    batch = FrameBatch(
        columns.obs, columns.action, columns.reward, columns.next_obs,
        0.99 * (1 - columns.terminated.float()),
    )  # fmt: skip
    ours.learn(batch, 1e-3)
    for a, b in zip(ours.q_net.parameters(), theirs.q_net.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_the_loop_that_is_profiled_updates_as_the_brain_does(nb):
    loop = nb["LoopOfNotebook3"]()
    brain = nb["Brain"](nb["Config"](n_step=1, target_every=64), np.random.default_rng(0))
    loop.run(256)  # 48 updates, none before 128 transitions
    assert len(loop.memory) == 256
    brain.target_net.load_state_dict(brain.q_net.state_dict())
    for net in (loop.q_net, loop.target_net):
        net.load_state_dict(brain.q_net.state_dict())
    loop.optimizer = torch.optim.Adam(loop.q_net.parameters(), lr=1e-3, fused=True)
    batch = loop.draw(64)
    assert [tuple(c.shape) for c in batch] == [(64, 4), (64,), (64,), (64, 4), (64,)]
    assert batch.obs.dtype == batch.reward.dtype == batch.discount.dtype == torch.float32
    falls = batch.reward == -1
    assert (batch.discount[falls] == 0).all()
    assert torch.allclose(batch.discount[~falls], torch.tensor(0.99))
    loop.update(batch)
    brain.learn(batch, 1e-3)
    for a, b in zip(loop.q_net.parameters(), brain.q_net.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_variants_without_a_switch_are_the_recipe(nb):
    """The same weights after the same training: the switches change nothing when off."""
    runs = []
    for config in (nb["Config"](), nb["VariantConfig"]()):
        brain, curve = nb["train"](config, seed=3, budget=2_500)
        runs.append((curve, [p.detach().clone() for p in brain.q_net.parameters()]))
    assert runs[0][0] == runs[1][0] and len(runs[0][0]) == 1
    assert all(torch.equal(a, b) for a, b in zip(runs[0][1], runs[1][1], strict=True))


def test_switches_of_the_variants_do_what_they_say(nb):
    config = nb["VariantConfig"](agent_steps=2_048, learn_start=64, batch=32)
    batch = FrameBatch(
        torch.randn(256, 4), torch.randint(2, (256,)), torch.randn(256),
        torch.randn(256, 4), torch.rand(256),
    )  # fmt: skip
    follows = replace(config, tau=0.1, target_every=8_000)
    soft = nb["VariantBrain"](follows, np.random.default_rng(0))
    before = [p.detach().clone() for p in soft.target_net.parameters()]
    soft.learn(batch, 1e-3, updates=8)
    nets = before, soft.target_net.parameters(), soft.q_net.parameters()
    for was, now, leader in zip(*nets, strict=True):
        torch.testing.assert_close(now, was + (1 - 0.9**8) * (leader - was))
    constant = nb["VariantBrain"](replace(config, lr_falls=False), np.random.default_rng(0))
    constant.learn(batch, 1e-9)
    assert constant.optimizer.param_groups[0]["lr"] == config.lr
    normed = nb["VariantBrain"](replace(config, layer_norm=True), np.random.default_rng(0))
    kinds = [type(layer).__name__ for layer in normed.q_net.layers]
    assert kinds == ["Linear", "ReLU", "Linear", "LayerNorm", "ReLU", "Linear"]
    tuned = {id(p) for group in normed.optimizer.param_groups for p in group["params"]}
    assert tuned == {id(p) for p in normed.q_net.parameters()}


def test_broken_memories_are_broken_in_one_place(nb):
    def stored(bug):
        config = nb["VariantConfig"](num_envs=2, agent_steps=40, bug=bug)
        rng = np.random.default_rng(1)
        memory = nb["MEMORIES"][bug](config, rng)
        for t in range(20):
            obs, next_obs = rng.normal(size=(2, 2, 4)).astype(np.float32)
            end, never = np.array([t == 4, False]), np.zeros(2, bool)
            memory.push(obs, np.zeros(2), -1.0 * end, end, never, next_obs)
        return memory

    right, kept, same = map(stored, ("", "resets kept", "same array"))
    assert right.is_reset.sum() == 1 and right.is_reset[10] and kept.is_reset.sum() == 0
    assert np.array_equal(right.obs, kept.obs)
    assert np.array_equal(right.terminated, kept.terminated)
    assert np.array_equal(same.obs[38:40], same.obs[40:42])  # the last step: obs is next_obs


def test_recorded_variants_have_the_settings_of_the_notebook(nb):
    recorded = json.loads((ROOT / "results" / "08_settings.json").read_text(encoding="utf-8"))
    now = {name: asdict(config) for name, config in nb["VARIANTS"].items()}
    assert recorded == json.loads(json.dumps(now))


def test_targets_computed_at_once_change_no_update_of_the_carts(nb):
    config = nb["Config"](num_envs=1, target_every=16)
    once, singly = (nb["Brain"](config, np.random.default_rng(0)) for _ in range(2))
    for net in ("q_net", "target_net"):  # two networks that differ
        torch.manual_seed(len(net))
        for p in getattr(once, net).parameters():
            nn.init.normal_(p, std=0.1)
        getattr(singly, net).load_state_dict(getattr(once, net).state_dict())
    torch.manual_seed(0)
    obs, next_obs = torch.randn(2, 24 * 16, 4)
    draws = FrameBatch(
        obs, torch.randint(2, (384,)), torch.randn(384), next_obs, torch.rand(384)
    )  # fmt: skip
    for eight in range(3):  # of 16 transitions each; a copy after the second eight
        rows = slice(128 * eight, 128 * (eight + 1))
        loss, q = once.learn(FrameBatch(*(c[rows] for c in draws)), 1e-2, updates=8)
        for part in zip(*(c[rows].chunk(8) for c in draws), strict=True):
            want_loss, want_q = singly.learn(FrameBatch(*part), 1e-2)
        torch.testing.assert_close((loss, q), (want_loss, want_q))
    assert once.updates == singly.updates == 24
    for net in ("q_net", "target_net"):
        pairs = zip(getattr(once, net).parameters(), getattr(singly, net).parameters(), strict=True)
        for a, b in pairs:
            torch.testing.assert_close(a, b)
    assert not torch.equal(once.q_net.layers[0].weight, once.target_net.layers[0].weight)


def test_carts_refuse_a_copy_within_a_training(nb):
    with pytest.raises(AssertionError, match="no copy within a training"):
        nb["Brain"](nb["Config"](target_every=33), np.random.default_rng(0))


def test_carts_train_at_the_agreed_moments(nb):
    config = nb["Config"](agent_steps=2_048, select_every=500, epsilon_steps=1_000)
    brain = nb["Brain"](config, np.random.default_rng(0))
    before = brain.target_net.layers[0].weight.clone()
    assert list(nb["train_carts"](brain, seed=0)) == [504, 1_000, 1_504, 2_000]
    assert brain.updates == 8 * (2_048 // 64 - 1_000 // 64)
    assert not torch.equal(before, brain.target_net.layers[0].weight)
    assert brain.memory.rows == 2_048 and brain.memory.is_reset.any()


def pictures(batch=6):
    return np.random.default_rng(0).integers(0, 255, (batch, 4, 84, 84), dtype=np.uint8)


def test_patches_are_pixels_in_another_order(nb):
    obs = torch.from_numpy(pictures())
    patches = nb["to_patches"](obs)
    assert torch.equal(patches, F.pixel_unshuffle(obs, 4))
    assert patches.is_contiguous(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def frames():
    """Real pictures, (32, 4, 84, 84): a large background and little on it is the hard case."""
    envs, rng, found = make_pong(8), np.random.default_rng(0), []
    envs.reset(seed=0)
    for _ in range(4):
        for _ in range(25):
            obs, *_ = envs.step(rng.integers(0, 6, 8))
        found.append(obs.copy())
    envs.close()
    return torch.from_numpy(np.concatenate(found))


@pytest.mark.parametrize("kind", ["PongNetwork", "ChannelsLast", "Patches"])
def test_every_network_computes_what_notebook_04s_does(nb, nb04, frames, kind):
    """Values and all gradients, those of the biases too, against 64-bit floats."""
    torch.manual_seed(0)
    reference = nb04["QNetwork"](6, (16, 32, 32), 256).double()
    torch.nn.init.orthogonal_(reference.layers[-1].weight)
    reference.mean_frame.copy_(frames.double().mean(dim=(0, 1)))
    reference.centre = lambda obs: (obs.double() - reference.mean_frame) / 64
    network = nb[kind](6, (16, 32, 32), 256)  # the weights have the same names and shapes
    network.load_state_dict({k: v.float() for k, v in reference.state_dict().items()})
    for net in (reference, network):
        net(frames).square().mean().backward()
    torch.testing.assert_close(network(frames).double(), reference(frames), rtol=1e-4, atol=1e-5)
    for (name, ours), theirs in zip(
        network.named_parameters(), reference.parameters(), strict=True
    ):
        error = (ours.grad - theirs.grad).abs().max() / theirs.grad.abs().max()
        assert error < 2e-5, f"gradient of {name} is off by {error:.1e} of its size"


def test_an_update_is_the_one_of_notebook_04(nb, nb04):
    rng = np.random.default_rng(1)
    reward = rng.normal(size=6).astype(np.float32)
    discount = np.float32([0.9, 0.9, 0, 0.9, 0, 0.9])
    batch = FrameBatch(pictures(), rng.integers(0, 6, 6), reward, pictures()[::-1].copy(), discount)
    sizes = dict(channels=(4, 8, 8), hidden=16)
    old = nb04["Brain"](replace(nb04["Config"](), **sizes), 6, CPU)
    plain = replace(nb["PongConfig"](), layer_norm=False, **sizes)
    new = nb["PongBrain"](plain, 6, CPU, network=nb["Patches"])
    new.q_net.load_state_dict(old.q_net.state_dict())
    old.calibrate(batch.obs)
    new.calibrate(torch.from_numpy(batch.obs))
    before = [p.clone() for p in old.q_net.parameters()]
    loss, q = old.learn(batch, 1e-3)
    new_loss, new_q = new.learn(FrameBatch(*map(torch.from_numpy, batch)))
    torch.testing.assert_close(torch.stack([new_loss, new_q]), torch.stack([loss, q]))
    for was, theirs, ours in zip(
        before, old.q_net.parameters(), new.q_net.parameters(), strict=True
    ):
        # Adam's first step is the rate times the gradient's sign: where that is about 0, rounding
        same = torch.isclose(ours - was, theirs - was, rtol=0.02, atol=1e-5)
        assert same.float().mean() > 0.99


def test_learning_rate_is_filled_in_place(nb):
    """A captured graph would not see another tensor."""
    config = replace(
        nb["PongConfig"](), channels=(4, 4, 4), hidden=16, num_envs=2, train_every=2, capacity=64
    )
    agent = nb["PongAgent"](config, 6, CPU, np.random.default_rng(0))
    rate = agent.brain.optimizer.param_groups[0]["lr"]
    for _ in range(8):
        obs = np.zeros((2, 4, 84, 84), np.uint8)
        agent.memorize(obs, np.zeros(2, int), np.zeros(2), np.zeros(2, bool), np.zeros(2, bool))
    agent.config = replace(config, batch=2)
    agent.learn(0.0125)
    assert agent.brain.optimizer.param_groups[0]["lr"] is rate and rate == 0.0125
    assert agent.brain.updates == 1


def test_the_target_follows_with_every_update(nb):
    config = replace(
        nb["PongConfig"](), channels=(4, 4, 4), hidden=16, num_envs=2, train_every=2, capacity=64
    )
    agent = nb["PongAgent"](replace(config, batch=2, tau=0.25), 6, CPU, np.random.default_rng(0))
    obs = np.zeros((2, 4, 84, 84), np.uint8)
    for t in range(8):
        obs = np.concatenate([obs[:, 1:], np.full((2, 1, 84, 84), t, np.uint8)], axis=1)
        agent.memorize(obs, np.zeros(2, int), np.ones(2), np.zeros(2, bool), np.zeros(2, bool))
    brain = agent.brain
    for _ in range(2):
        before = [p.detach().clone() for p in brain.target_net.parameters()]
        agent.learn(0.01)
        leaders = list(brain.q_net.parameters())
        assert any((b - p).abs().max() > 1e-3 for b, p in zip(before, leaders, strict=True))
        for was, now, leader in zip(before, brain.target_net.parameters(), leaders, strict=True):
            torch.testing.assert_close(now, 0.75 * was + 0.25 * leader)
    assert not any(p.grad is not None for p in brain.target_net.parameters())


def test_the_steady_player_is_the_target_network(nb):
    config = replace(nb["PongConfig"](), channels=(4, 4, 4), hidden=16)
    brain = nb["PongBrain"](config, 6, CPU, network=nb["Patches"])
    obs = pictures()
    assert np.array_equal(brain.steady_values(obs), brain.q_values(obs))
    with torch.no_grad():
        brain.target_net.layers[-1].bias[4] += 100
    assert (brain.greedy(obs) == 4).all() and not (brain.q_values(obs).argmax(1) == 4).all()


@pytest.fixture(scope="module")
def training(nb):
    """Make two small games that write to a folder; evaluations return a given list of means."""

    def make(folder, means=(-21.0, -3.0, 5.0, 19.0)):
        environment = nb["PongTraining"]
        nb["build_dir"] = lambda *parts: folder
        left = iter(means)
        nb["evaluate"] = lambda act, envs, seed, limit: Evaluation(np.zeros(1), next(left), 0.0, 1)
        config = replace(
            nb["PongConfig"](),
            channels=(4, 4, 4),
            hidden=16,
            num_envs=2,
            batch=4,
            n_step=3,
            capacity=4_000,
            agent_steps=4_000,
            learn_start=200,
            train_every=2,
            epsilon_steps=1_000,
            evaluate_every=1_000,
        )
        return environment(config, CPU)

    return make


@pytest.mark.parametrize("train_every", [3, 16])
def test_updates_that_would_never_come_are_refused(nb, train_every):
    config = nb["PongConfig"](train_every=train_every)
    with pytest.raises(ValueError, match=f"divide num_envs .*got {train_every} and 8"):
        nb["PongTraining"](config, CPU)


@pytest.fixture(scope="module")
def whole(training, tmp_path_factory):
    """A training from start to end, and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    environment = training(folder)
    environment.run()
    return environment, folder


def test_stages_are_published_and_the_goal_ends_the_training(whole):
    found = {}
    for stage in ("start", "middle", "end"):
        card = read_card(whole[1] / f"08_pong_{stage}.safetensors")
        found[stage] = card["agent_steps"], card["greedy_mean"]
    assert found == {"start": (1_000, -21.0), "middle": (2_000, -3.0), "end": (4_000, 19.0)}


def test_a_stage_goes_on_to_the_same_end(training, whole, tmp_path):
    """Weights, moments, memory and books: to the last bit."""
    whole, folder = whole
    again = training(tmp_path, means=(5.0, 19.0))
    again.resume(folder / "08_pong_middle.safetensors")
    assert again.agent_steps == 2_000 and len(again.agent.memory) > 1_900
    again.run()
    assert again.scores == whole.scores
    assert [row[::2] for row in again.evaluations] == [row[::2] for row in whole.evaluations]
    ends = [load_checkpoint(f / "08_pong_end.safetensors") for f in (folder, tmp_path)]
    for network in ("q_net", "target_net"):
        for key in ends[0][network]:
            assert torch.equal(ends[0][network][key], ends[1][network][key]), key
    for moments in zip(*(end["optimizer"]["state"].values() for end in ends), strict=True):
        assert torch.equal(moments[0]["exp_avg_sq"], moments[1]["exp_avg_sq"])
    assert torch.equal(ends[0]["actions"], ends[1]["actions"])
    assert ends[0]["rng"] == ends[1]["rng"]


def test_other_settings_start_anew(training, whole, tmp_path, capsys):
    other = training(tmp_path)
    other.config = replace(other.config, gamma=0.5)
    other.resume(whole[1] / "08_pong_end.safetensors")
    assert "other settings" in capsys.readouterr().out and other.agent_steps == 0


# --- carts -----------------------------------------------------------------------------------

OURS = {  # our versions of the exercises before the summary
    "seconds_per_call": check_timer,
    "speed_up": check_speed_up,
    "next_rows": check_next_rows,
    "replay_ratio": check_replay_ratio,
}


@pytest.mark.parametrize("name", OURS)
def test_our_versions_pass_the_checks(name):
    assert OURS[name](load_definitions("08_faster_training", [name])[name]) is True


def test_the_carts_network_divides_by_typical_sizes_and_has_the_layers_asked_for(nb):
    def sizes(net):
        return [tuple(p.shape) for p in net.parameters() if p.ndim == 2]

    assert sizes(nb["QNetwork"]()) == [(128, 4), (128, 128), (2, 128)]
    net = nb["QNetwork"]((8, 16, 24))
    assert sizes(net) == [(8, 4), (16, 8), (24, 16), (2, 24)]
    kinds = [type(layer).__name__ for layer in net.layers]
    assert kinds == 3 * ["Linear", "ReLU"] + ["Linear"]
    net.layers = nn.Identity()
    obs = torch.tensor([[2.4, 2.0, -0.21, 4.0], [1.2, -1.0, 0.42, 0.0]])
    expected = torch.tensor([[1.0, 1.0, -1.0, 2.0], [0.5, -0.5, 2.0, 0.0]])
    torch.testing.assert_close(net(obs), expected)
    assert net.greedy(obs.numpy()).tolist() == [3, 2]


def test_the_profiled_loop_draws_16_mini_batches_of_128_after_64_agent_steps(nb):
    loop, drawn, updated = nb["LoopOfNotebook3"](), [], []
    loop.draw = lambda size: drawn.append((len(loop.memory), size)) or len(drawn)
    loop.update = updated.append
    for agent_steps, stored, draws in ((63, 63, 0), (64, 127, 0), (65, 192, 16), (63, 255, 16)):
        loop.run(agent_steps)
        assert (len(loop.memory), len(drawn)) == (stored, draws)
    loop.run(128)
    assert drawn == [(n, 128) for n in (191, 319, 383) for _ in range(16)]
    assert updated == list(range(1, 49))
    early = nb["LoopOfNotebook3"]()
    early.draw, early.update, drawn[:] = loop.draw, loop.update, []
    loop.memory = early.memory
    early.run(128)
    assert drawn == 16 * [(128, 128)]


def test_the_profiled_loop_has_the_settings_of_notebook_03(nb, nb03):
    first, same = nb["LoopOfNotebook3"](), nb["LoopOfNotebook3"](seed=0)
    assert np.array_equal(first.obs, same.obs)
    config = nb03["OURS"]
    assert first.memory.capacity == config.capacity == 50_000
    assert first.optimizer.param_groups[0]["lr"] == config.lr == 1e-3
    first.q_net.greedy = lambda obs: np.zeros(1, int)  # a push to the left, again and again
    first.run(30)
    rewards = {float(step[2]): step[4] for step in first.memory.sample(30)}
    assert rewards == {0.0: False, -1.0: True}  # -1 at the fall


def test_long_gradients_of_the_carts_are_shortened_to_ten(nb):
    """Whoever updates: the profiled loop or the Brain."""
    batch = FrameBatch(
        torch.full((8, 4), 1e4), torch.zeros(8, dtype=torch.int64), -1e6 * torch.ones(8),
        torch.zeros(8, 4), torch.zeros(8),
    )  # fmt: skip
    loop, brain = nb["LoopOfNotebook3"](), nb["Brain"](nb["Config"](), np.random.default_rng(0))
    loop.update(batch)
    brain.learn(batch, 1e-3)
    for net in (loop.q_net, brain.q_net):
        norm = torch.cat([p.grad.flatten() for p in net.parameters()]).norm()
        assert norm.item() == pytest.approx(10, rel=1e-4)


def test_a_fall_in_the_first_step_makes_the_second_a_reset(nb):
    """One cart, by hand: γ = 0.5, steps 0 (a fall), 1 (a reset), 2, 3."""
    config = nb["Config"](num_envs=1, agent_steps=4, n_step=2, gamma=0.5)
    memory = nb["ColumnMemory"](config, np.random.default_rng(0))
    for t in range(4):
        here, after = np.full((1, 4), t, np.float32), np.full((1, 4), t + 1, np.float32)
        memory.push(here, 1, -1.0 - t, np.array([t == 0]), np.array([False]), after)
    assert memory.is_reset.tolist() == [False, True, False, False] and memory.rows == 4
    batch = memory.sample(200)
    found = {
        (obs[0].item(), reward.item(), after[0].item(), discount.item())
        for obs, _, reward, after, discount in zip(*batch, strict=True)
    }
    assert found == {(0.0, -1.0, 1.0, 0.0), (2.0, -5.0, 4.0, 0.25)}


def test_a_brain_counts_its_updates_from_0(nb):
    config = nb["VariantConfig"]()
    batch = FrameBatch(
        torch.randn(4, 4), torch.zeros(4, dtype=torch.int64), torch.randn(4), torch.randn(4, 4),
        torch.rand(4),
    )  # fmt: skip
    for kind in ("Brain", "VariantBrain"):
        brain = nb[kind](config, np.random.default_rng(0))
        assert brain.updates == 0
        loss, q = brain.learn(batch, 1e-3)
        assert brain.updates == 1 and q.shape == (4,) and loss.shape == ()
        brain.learn(batch, 1e-3, 2)
        assert brain.updates == 3


def test_adam_changes_all_weights_in_one_call(nb):
    rng = np.random.default_rng(0)
    normed = nb["VariantConfig"](layer_norm=True)
    brains = nb["Brain"](nb["Config"](), rng), nb["VariantBrain"](normed, rng), small_brain(nb)
    for learner in (nb["LoopOfNotebook3"](), *brains):
        assert learner.optimizer.defaults["fused"] is True


def test_layer_norm_fits_the_layer_before_it(nb):
    config = nb["VariantConfig"](hidden=(16, 8), layer_norm=True)
    brain = nb["VariantBrain"](config, np.random.default_rng(0))
    for net in (brain.q_net, brain.target_net):
        assert net.layers[3].normalized_shape == (8,)
        assert net(torch.zeros(3, 4)).shape == (3, 2)


@pytest.fixture
def rehearsed_carts():
    """The loop of the carts on stand-ins: two carts, 24 agent steps; returns what it asked for."""
    nb = load_definitions("08_faster_training", ["train_carts", "Config"])

    def rehearse(largest=9.5, **changes):
        settings = dict(num_envs=2, agent_steps=24, learn_start=8, train_every=4, batch=3)
        settings |= dict(updates_per_train=5, epsilon_end=0.25, epsilon_steps=16, select_every=6)
        config = nb["Config"](lr=0.024, **(settings | changes))
        n, asked = config.num_envs, SimpleNamespace(actions=[], learned=[], random=[])

        class Carts:
            def reset(self, seed):
                asked.seed = seed
                return "obs 0", {}

            def step(self, actions):
                asked.actions.append(actions.tolist())
                return f"obs {len(asked.actions)}", "reward", "terminated", "truncated", {}

        def push(*step):
            t = len(asked.actions)
            assert step[0] == f"obs {t - 1}" and step[1].tolist() == asked.actions[-1]
            assert step[2:] == ("reward", "terminated", "truncated", f"obs {t}")

        def draw(size):  # a little below the chance of exploring, and exactly on it
            t = 2 * (len(asked.actions) + 1)
            chance = {2: 0.90625, 4: 0.8125, 6: 0.71875, 8: 0.625, 10: 0.53125, 12: 0.4375}
            chance = chance | {14: 0.34375}
            return np.array([chance.get(t, 0.25) - 2**-20, chance.get(t, 0.25)])[:size]

        def learn(batch, lr, updates):
            asked.learned.append((2 * len(asked.actions), batch, lr, updates))
            return None, torch.tensor([1.0, -largest])

        rng = SimpleNamespace(random=draw, integers=lambda low, high, size: np.zeros(size, int))
        brain = SimpleNamespace(config=config, rng=rng, learn=learn)
        brain.memory = SimpleNamespace(push=push, sample=lambda size: f"{size} transitions")
        brain.q_net = SimpleNamespace(greedy=lambda obs: np.ones(n, int))
        asked.stops = list(nb["train_carts"](brain, 7, Carts()))
        return asked

    return rehearse


def test_carts_explore_below_a_chance_that_falls_on_a_line(rehearsed_carts):
    asked = rehearsed_carts()
    assert asked.actions == 12 * [[0, 1]]  # the first draw is below the chance, the second is not
    assert asked.seed == 7


def test_carts_learn_from_learn_start_on_with_a_rate_that_falls_to_0(rehearsed_carts):
    learned = rehearsed_carts().learned
    assert [steps for steps, *_ in learned] == [8, 12, 16, 20, 24]
    assert [rate for *_, rate, _ in learned] == pytest.approx([0.016, 0.012, 0.008, 0.004, 0.0])
    assert {(batch, updates) for _, batch, _, updates in learned} == {("15 transitions", 5)}


def test_carts_stop_for_an_evaluation_in_the_first_step_from_each_multiple_on(rehearsed_carts):
    assert rehearsed_carts().stops == [6, 12, 18, 24]
    assert rehearsed_carts(select_every=5).stops == [6, 10, 16, 20]
    assert len(rehearsed_carts(num_envs=1, agent_steps=9, epsilon_steps=8).actions) == 9


def test_carts_that_diverge_are_stopped(rehearsed_carts):
    with pytest.raises(AssertionError, match="diverged"):
        rehearsed_carts(largest=10.0)


def test_carts_play_at_random_first_and_get_a_penalty_at_the_fall_only(nb):
    config = nb["Config"](agent_steps=1_600, learn_start=9_999, epsilon_steps=10**9)
    brain = nb["Brain"](config, np.random.default_rng(0))
    list(nb["train_carts"](brain, seed=0))
    assert brain.updates == 0 and brain.memory.rows == 1_600
    assert 0.45 < brain.memory.action.mean() < 0.55
    falls = brain.memory.terminated & ~brain.memory.is_reset
    assert np.array_equal(brain.memory.reward, -1.0 * falls) and falls.any()


@pytest.mark.parametrize(
    "means, goal, ends",
    [
        ([100.0, 489.9, 490.0], {}, 3),
        ([100.0, 475.0, 490.0], {"goal": 475}, 2),
        ([480.0, 489.0, 20.0, 30.0], {}, 4),  # the agent steps are used up
    ],
)
def test_carts_are_trained_to_the_goal_and_tested_on_other_episodes(means, goal, ends):
    names = ["solve_carts", "SELECTION_SEEDS", "TEST_SEEDS"]
    nb = load_definitions("08_faster_training", names, {"ARENA": "arena"})
    asked, now = [], [0.0]
    config = SimpleNamespace(agent_steps=40)
    brain = SimpleNamespace(config=config, q_net=SimpleNamespace(greedy="greedy"))
    nb["seed_everything"] = lambda seed: f"rng {seed}"
    nb["Brain"] = lambda config, rng: asked.append((config, rng)) or brain
    nb["time"] = SimpleNamespace(perf_counter=lambda: now[0])

    def train_carts(given, seed):
        assert given is brain and seed == 3
        for agent_steps in (10, 20, 30, 40):
            now[0] += 2.0  # seconds of training
            yield agent_steps

    def evaluate(act, envs, seed):
        assert (act, envs) == ("greedy", "arena")
        now[0] += 100.0
        asked.append(seed)
        test = seed >= 2_000_000
        return Evaluation(None, 471.0 if test else means[seed - 1_003_000], 0.0, 0)

    nb["train_carts"], nb["evaluate"] = train_carts, evaluate
    curve, seconds, test = nb["solve_carts"](3, **goal)
    assert curve == [(10 * (i + 1), mean) for i, mean in enumerate(means[:ends])]
    assert (seconds, test) == (2.0 * ends, 471.0)  # evaluations do not count
    assert asked[0] == (nb["Config"](), "rng 3")
    assert asked[1:] == [*range(1_003_000, 1_003_000 + ends), 2_003_000]


def test_a_variant_is_trained_for_its_budget_on_episodes_of_its_own():
    names = ["train", "Config", "VariantConfig", "SELECTION_SEEDS"]
    nb = load_definitions("08_faster_training", names, {"ARENA": "arena"})
    seeds, means = [], {}
    net = SimpleNamespace(greedy="greedy")
    for kind in ("Brain", "VariantBrain"):
        nb[kind] = lambda config, rng, kind=kind: SimpleNamespace(kind=kind, q_net=net)
    nb["train_carts"] = lambda brain, seed: iter([10_000, 19_999, 20_000, 20_001])

    def evaluate(act, envs, seed):
        assert (act, envs) == ("greedy", "arena")
        seeds.append(seed)
        return Evaluation(None, means.get(seed, 123.456), 0.0, 0)

    nb["evaluate"] = evaluate
    run = nb["train"](nb["Config"](), 4)
    assert run.curve == [(4, steps, 123.46) for steps in (10_000, 19_999, 20_000)]
    assert seeds == [1_004_000, 1_004_001, 1_004_002] and run.brain.kind == "Brain"
    run = nb["train"](nb["VariantConfig"](), 4, budget=10_000)
    assert len(run.curve) == 1 and run.brain.kind == "VariantBrain"


# --- Pong: networks and brain ----------------------------------------------------------------


def test_weights_for_pong_start_orthogonal_biases_at_zero_and_values_small(nb):
    """The rows of each matrix are at right angles; their squared length is 2, then 0.0001."""
    net = nb["PongNetwork"](6, (4, 4, 4), 16)
    layers = [layer for layer in net.layers if hasattr(layer, "weight")]
    for layer, squared in zip(layers, (2, 2, 2, 2, 1e-4), strict=True):
        rows = layer.weight.detach().flatten(1)
        expected = squared * torch.eye(len(rows))
        torch.testing.assert_close(rows @ rows.T, expected, rtol=1e-4, atol=squared * 1e-4)
        assert not layer.bias.any()
    assert net.mean_frame.shape == (84, 84) and not net.mean_frame.any()
    kinds = [type(layer).__name__ for layer in nb["PongNetwork"](6, (4, 4, 4), 16, True).layers]
    assert kinds[-5:] == ["Flatten", "Linear", "LayerNorm", "ReLU", "Linear"]


def test_a_published_stage_plays_with_its_target_network():
    nb = load_definitions("08_faster_training", ["load_stage", "pong_greedy"])
    net, card = nb["load_stage"]("middle")
    saved = load_checkpoint(ROOT / "checkpoints" / "08_pong_middle.safetensors")
    for name, weights in net.named_parameters():
        assert torch.equal(weights, saved["target_net"][name])
    assert torch.equal(net.mean_frame, saved["q_net"]["mean_frame"])
    assert card["notebook"] == "08_faster_training"
    with torch.no_grad():
        net.layers[-1].bias[4] += 100
    assert nb["pong_greedy"](net, pictures(3)).tolist() == [4, 4, 4]


def small_brain(nb, **changes):
    config = replace(nb["PongConfig"](), channels=(4, 4, 4), hidden=16, **changes)
    return nb["PongBrain"](config, 6, CPU)


def test_the_brain_for_pong_starts_with_equal_networks_and_its_newest_pictures_average(nb):
    brain = small_brain(nb)
    assert brain.updates == 0 and brain.num_actions == 6
    (group,) = brain.optimizer.param_groups
    assert group["capturable"] is False and float(group["lr"]) == pytest.approx(1e-3)
    obs = torch.from_numpy(pictures())
    brain.calibrate(obs)
    for net in (brain.q_net, brain.target_net):
        torch.testing.assert_close(net.mean_frame, obs[:, 3].double().mean(dim=0).float())
    pairs = zip(brain.q_net.parameters(), brain.target_net.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("epsilon", [0.0, 0.25])
def test_in_pong_a_draw_below_epsilon_explores(nb, epsilon):
    """Also at the edge: a draw of exactly epsilon, such as 0, does not."""
    brain = small_brain(nb)
    with torch.no_grad():
        brain.q_net.layers[-1].bias[2] = 9
    draws = np.array([epsilon, epsilon / 2, epsilon + 0.1, 0.99])
    rng = SimpleNamespace(random=lambda n: draws, integers=lambda low, high, n: np.full(n, 5))
    actions = brain.decide_actions(np.zeros((4, 4, 84, 84), np.uint8), epsilon, rng)
    assert actions.tolist() == [2, 5 if epsilon else 2, 2, 2]


def test_random_play_in_pong_uses_all_six_actions_alike(nb):
    brain = small_brain(nb)
    brain.q_values = lambda obs: np.zeros((len(obs), 6))
    actions = brain.decide_actions(np.zeros(6_000), 1.0, np.random.default_rng(0))
    assert (abs(np.bincount(actions, minlength=6) / 1_000 - 1) < 0.15).all()


def test_an_update_for_pong_by_hand(nb):
    """Values given by the biases alone: targets, loss, mean value and the shortened gradient."""
    brain = small_brain(nb)
    with torch.no_grad():
        for net, values in ((brain.q_net, (1, 2, 3, 4, 5, 6)), (brain.target_net, 6 * (10,))):
            net.layers[-1].weight.zero_()
            net.layers[-1].bias.copy_(torch.tensor(values))
    obs = torch.from_numpy(pictures(3))
    batch = FrameBatch(
        obs, torch.tensor([0, 2, 5]), torch.tensor([1.0, -1.0, 96.0]), obs,
        torch.tensor([0.5, 0.4, 0.0]),
    )  # fmt: skip
    loss, q = brain.learn(batch)  # targets 6, 3, 96; errors 5, 0, 90
    assert loss.item() == pytest.approx((5**2 + 90**2) / 6) and q.item() == pytest.approx(10 / 3)
    gradient = brain.q_net.layers[-1].bias.grad
    assert gradient[5] < 10 * gradient[0] < 0 and gradient[2] == 0
    norm = torch.cat([p.grad.flatten() for p in brain.q_net.parameters()]).norm()
    assert norm.item() == pytest.approx(10, rel=1e-4)


@pytest.mark.parametrize("torch_rows", [False, True])
def test_a_way_chooses_who_puts_mini_batches_together(torch_rows):
    nb = load_definitions("08_faster_training", ["make_memory", "Way"])
    rng = np.random.default_rng(0)
    memory = nb["make_memory"](nb["Way"](games=4, torch_rows=torch_rows), rng, CPU)
    kind = "DeviceFrameReplayMemory" if torch_rows else "FrameReplayMemory"
    assert type(memory).__name__ == kind
    assert (memory.capacity, memory.num_envs) == (20_000, 4)
    assert (memory.n_step, memory.gamma) == (5, 0.98)


def test_chance_to_explore_in_pong_falls_from_learn_start_on():
    nb = load_definitions("08_faster_training", ["epsilon_at", "PongConfig"])
    config = nb["PongConfig"](learn_start=100, epsilon_steps=400, epsilon_end=0.2)
    chances = [nb["epsilon_at"](steps, config) for steps in (0, 100, 200, 300, 500, 9_000)]
    assert chances == pytest.approx([1.0, 1.0, 0.8, 0.6, 0.2, 0.2])


def test_activity_is_the_share_of_pictures_for_which_a_unit_is_above_0():
    """Looked at every 10 agent steps, 30 times; one unit is above 0 for the second half."""
    asked, seen = [], []

    class Games:
        def reset(self, seed):
            asked.append(seed)
            self.t = 0
            return np.zeros((2, 1), np.float32), {}

        def step(self, actions):
            assert actions == f"action {self.t}"
            self.t += 1
            return np.full((2, 1), self.t, np.float32), 0, 0, 0, {}

        def close(self):
            asked.append(self.t)

    class Units(nn.Module):
        def forward(self, x):
            seen.append(int(x[0, 0]))
            return torch.cat([x - 145.5, 0 * x, 0 * x + 0.5, -1 - x], dim=1)

    for quick, games in ((False, 8), (True, 2)):
        nb = load_definitions("08_faster_training", ["activity"], {"QUICK": quick})
        nb["make_pong"] = lambda n: asked.append(n) or Games()
        nb["pong_greedy"] = lambda net, obs: f"action {int(obs[0, 0])}"
        net = SimpleNamespace(centre=lambda obs: obs, layers=nn.Sequential(
            nn.Identity(), Units(), nn.ReLU(), nn.Linear(4, 6)))  # fmt: skip
        assert nb["activity"](net).tolist() == [0.5, 0.0, 1.0, 0.0]
        assert asked == [games, 20_000, 300] and seen == list(range(0, 300, 10))
        asked.clear(), seen.clear()


# --- Pong: the books of a training -----------------------------------------------------------


def test_a_training_of_pong_begins_with_empty_books(training, tmp_path, capsys):
    first = training(tmp_path)
    assert (first.agent_steps, first.seconds, first.actions) == (0, 0.0, [])
    assert first.scores == first.evaluations == [] and first.score.tolist() == [0.0, 0.0]
    assert first.agent.brain.q_values(first.obs).shape == (2, 6)
    assert first.agent.brain.num_actions == 6
    first.resume(tmp_path / "there is none")
    assert first.agent_steps == 0 and not capsys.readouterr().out


def test_a_finished_game_of_pong_enters_the_books_with_its_score(training, tmp_path):
    first, stored = training(tmp_path), []
    first.agent = SimpleNamespace(memorize=lambda *step: stored.append(step))
    over = {2: (True, False), 4: (False, True)}  # game 0 at step 2, game 1 at step 4
    for t, reward in enumerate([(1, -1), (1, -1), (-1, -1), (1, 0), (0, 1)]):
        end, never = np.array(over.get(t, (False, False))), np.zeros(2, bool)
        terminated, truncated = (end, never) if t == 2 else (never, end)
        first.record(f"obs {t}", f"do {t}", np.array(reward), terminated, truncated, f"obs {t + 1}")
    assert first.scores == [1.0, -2.0] and first.score.tolist() == [1.0, 0.0]
    assert first.agent_steps == 10 and first.obs == "obs 5"
    assert first.actions == [f"do {t}" for t in range(5)]
    assert [step[0] for step in stored] == [f"obs {t}" for t in range(5)]


def test_an_evaluation_of_pong_is_steady_and_not_clipped():
    nb = load_definitions("08_faster_training", ["PongTraining", "PongConfig"])
    asked, envs = [], SimpleNamespace(close=lambda: asked.append("closed"))
    nb["make_pong"] = lambda games, **how: asked.append((games, how)) or envs
    nb["evaluate"] = lambda *what: asked.append(what) or Evaluation(None, 3.5, 1.5, 1)
    self = SimpleNamespace(config=nb["PongConfig"](), agent_steps=700, seconds=90.0)
    self.agent = SimpleNamespace(brain=SimpleNamespace(greedy="steady"))
    self.evaluations = [["before"]]
    assert nb["PongTraining"].evaluate(self) == 3.5
    assert self.evaluations == [["before"], [700, 1.5, 3.5, 1.5]]
    assert asked == [(10, {"clip_rewards": False}), ("steady", envs, 10_000, 6_000), "closed"]


def test_only_the_last_evaluation_says_whether_pong_is_solved(training, tmp_path):
    first = training(tmp_path)
    assert first.solved is False
    for mean, solved in ((17.9, False), (18.0, True), (20.0, True), (3.0, False), (18.5, True)):
        first.evaluations.append([30, 40.0, mean, 50.0])
        assert first.solved is solved


def test_a_resumed_training_of_pong_is_where_the_saved_one_was(nb, training, tmp_path, monkeypatch):
    monkeypatch.setitem(nb, "LiveCurve", MagicMock())
    first, second = (training(tmp_path, means=(-3.0,)) for _ in range(2))
    for run in (first, second):
        run.config = replace(run.config, agent_steps=240, evaluate_every=220, games=1)
    first.run()
    saved = load_checkpoint(first.file)
    second.resume(first.file)
    assert second.agent_steps == len(second.agent.memory) == 220
    assert second.evaluations == first.evaluations and second.seconds > 0
    brain = second.agent.brain
    (group,) = brain.optimizer.param_groups
    assert brain.updates == 10 and group["capturable"] is False
    assert torch.equal(second.state()["actions"], saved["actions"])
    second.run()
    assert second.agent_steps == 240 and brain.updates == 20
    for name in ("q_net", "target_net"):
        ours, theirs = (getattr(run.agent.brain, name).state_dict() for run in (first, second))
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("profile, folder", [("full", "checkpoints"), ("quick", "runs")])
def test_the_first_the_most_even_and_the_last_state_are_published(profile, folder):
    nb = load_definitions("08_faster_training", ["PongTraining", "PongConfig"])
    saved, folders = [], []
    nb["profile"], nb["commit"] = lambda: profile, lambda: "abc"
    nb["build_dir"] = lambda name: folders.append(name) or Path(name)
    nb["save_checkpoint"] = lambda *what: saved.append(what)
    config = nb["PongConfig"](agent_steps=60)
    self = SimpleNamespace(config=config, file="file", seconds=0.0, evaluations=[])
    self.agent = SimpleNamespace(brain=SimpleNamespace(updates=77, device=CPU))
    due = []
    for turn, mean in enumerate([-21.0, -3.0, 3.0, 5.0, 1.0, 0.5], start=1):
        self.agent_steps, self.seconds = 10 * turn, 61.3 * turn
        self.state = lambda turn=turn: f"state {turn}"
        self.evaluations.append([10 * turn, 1.0, mean, 2.5 + turn])
        self.solved = mean == 5.0
        saved.clear()
        nb["publish"](self)
        assert saved[0] == ("file", f"state {turn}")  # to go on from
        assert all(what[1] == f"state {turn}" for what in saved)
        due.append([path.stem.removeprefix("08_pong_") for path, *_ in saved[1:]])
        for path, _, card in saved[1:]:
            assert path.parent == Path(folder)
            assert (card["agent_steps"], card["updates"]) == (10 * turn, 77)
            assert (card["greedy_mean"], card["greedy_std"]) == (mean, 2.5 + turn)
            assert card["minutes"] == {1: 1.02, 2: 2.04, 4: 4.09, 5: 5.11, 6: 6.13}[turn]
            assert card["games"] == 10 and card["config"]["agent_steps"] == 60
    assert due == [["start", "middle"], ["middle"], [], ["end"], ["middle"], ["middle", "end"]]
    assert set(folders) == {folder}


# --- Pong: the loop, on stand-ins ------------------------------------------------------------


def rehearse(scores=(), **changes):
    """Run the loop of Pong on stand-ins that only keep a log; nothing is played or learned.

    scores: agent steps at which the goal is reached. Returns the stand-in of the training, with
    ``log`` (what happened, after how many agent steps, with which values) and ``curve``.
    """
    nb = load_definitions("08_faster_training", ["PongTraining", "PongConfig"])
    settings = dict(num_envs=4, agent_steps=4_000, learn_start=2_400, train_every=2)
    settings |= dict(evaluate_every=800, epsilon_steps=800, lr_steps=3_600) | changes
    config = nb["PongConfig"](**settings)
    log, loop, now = [], SimpleNamespace(config=config, agent_steps=0, solved=False), [100.0]

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
    loop.agent = SimpleNamespace(brain=brain, memory=Memory())
    loop.agent.get_actions = lambda obs, epsilon: note("act", obs, epsilon) or "actions"

    def learn(lr):
        brain.updates += 1
        note("learn", lr)
        return "loss", "q"

    def record(obs, actions, reward, terminated, truncated, next_obs):
        assert loop.agent_steps < config.agent_steps, "the budget is used"
        note("record", obs, actions, reward, terminated, truncated, next_obs)
        loop.obs = next_obs
        loop.agent_steps += 4
        now[0] += 0.36

    def evaluate():
        note("evaluate")
        loop.solved = loop.agent_steps in scores
        now[0] += 1_000.0

    loop.agent.learn, loop.record, loop.evaluate = learn, record, evaluate
    loop.publish = lambda: note("publish")
    loop.envs = SimpleNamespace(send=lambda actions: note("send", actions))
    loop.envs.recv = lambda: note("recv") or ("next", "reward", "terminated", "truncated", {})
    loop.envs.close = lambda: note("close")
    loop.obs, loop.seconds, loop.scores = "first", 7.0, []
    nb["check_values"] = lambda *values: note("check", *values)
    nb["time"] = SimpleNamespace(perf_counter=lambda: now[0])
    nb["LiveCurve"] = MagicMock()
    nb["PongTraining"].run(loop)
    loop.log, loop.curve = log, nb["LiveCurve"]
    return loop


@pytest.fixture(scope="module")
def rehearsed():
    return rehearse()


def entries(loop, what):
    """What the log of a rehearsal says about one thing."""
    return [entry[1:] for entry in loop.log if entry[0] == what]


def test_pong_is_learned_after_learn_start_with_two_updates_for_four_agent_steps(rehearsed):
    learned = entries(rehearsed, "learn")
    assert [steps for steps, _ in learned] == [s for s in range(2_400, 4_000, 4) for _ in range(2)]
    rates = dict(learned)
    assert rates[2_400] == pytest.approx(4e-4)  # two thirds of the way from 1e-3 to 1e-4
    assert rates[2_800] == pytest.approx(3e-4)
    assert rates[3_600] == rates[3_996] == pytest.approx(1e-4)
    chances = {steps: epsilon for steps, _, epsilon in entries(rehearsed, "act")}
    assert chances[0] == chances[2_400] == 1.0
    assert chances[2_800] == pytest.approx(0.505) and chances[3_600] == pytest.approx(0.01)


def test_the_background_of_pong_is_set_once_from_at_most_2000_pictures(rehearsed):
    fewer = rehearse(learn_start=1_600, agent_steps=1_608)
    for loop, start, size in ((rehearsed, 2_400, 2_000), (fewer, 1_600, 1_600)):
        assert entries(loop, "sample") == [(start, size)]
        assert entries(loop, "calibrate") == [(start, "pictures")]


def test_pong_is_evaluated_and_published_at_the_multiples(rehearsed):
    evaluated = [(steps,) for steps in (800, 1_600, 2_400, 3_200, 4_000)]
    assert entries(rehearsed, "evaluate") == entries(rehearsed, "publish") == evaluated
    assert entries(rehearsed, "close") == [(4_000,)]
    assert [entry[0] for entry in rehearsed.log[-5:]] == [
        "check", "check", "evaluate", "publish", "close",
    ]  # fmt: skip


def test_values_for_pong_are_checked_while_learning(rehearsed):
    checks = entries(rehearsed, "check")
    assert all(entry[1] == "loss" and entry[0] == entry[4] for entry in checks)
    assert {round(entry[3], 6) for entry in checks} == {50.0}
    assert [entry[0] for entry in checks if entry[2] == "q"] == list(range(2_404, 4_001, 4))
    fresh = [entry[0] for entry in checks if entry[2] == "values of next"]
    assert fresh == [3_000, 3_200, 4_000]


def test_pong_goes_on_while_the_agent_learns(rehearsed):
    turn = [entry for entry in rehearsed.log if entry[1] == 2_800]
    kinds = [entry[0] for entry in turn[1:]]  # without the check of the turn before
    assert kinds == ["act", "send", "learn", "learn", "recv", "record"]
    assert turn[-1][2:] == ("next", "actions", "reward", "terminated", "truncated", "next")


def test_the_goal_ends_a_training_of_pong_at_once():
    assert rehearse([1_600]).agent_steps == 1_600


def test_seconds_of_pong_go_on_and_leave_evaluations_out():
    """1,000 turns of 0.36 seconds after 7 seconds; the curve of 20 games says it in minutes."""
    loop = rehearse(learn_start=400)
    assert loop.seconds == pytest.approx(367)
    assert loop.curve.call_args.kwargs["window"] == 20
    curve = loop.curve.return_value
    shown = [call.args[1] for call in curve.update.call_args_list]
    steps = ["800", "1,000", "1,600", "2,000", "2,400", "3,000", "3,200", "4,000"]
    assert [text.split(" of ")[0] for text in shown] == steps
    assert "6.1 min" in shown[-1] and "6.1 min" in curve.close.call_args.args[1]
