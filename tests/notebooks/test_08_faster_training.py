"""Notebook 08 must compute what notebook 04 computes, only sooner."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

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
