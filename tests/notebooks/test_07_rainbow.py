"""Notebook 07: projections against a slow reference, learned distributions, noise, faults."""

import ast
import math
from dataclasses import asdict, replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gymnasium.wrappers import TimeLimit
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmarks import ablate
from helpers.checkpoint import save_checkpoint
from helpers.replay import FrameBatch, Transition
from tests.faults import planted
from tests.test_probes import PROBES, Probe
from tools.definitions import TWINS, define

TWIN = TWINS / "07_rainbow.py"
SOURCE = TWIN.read_text(encoding="utf-8")


def definitions(source=SOURCE):
    """The notebook's definitions, the Brain put together as the notebook does."""
    found = define(source, ablate.NOTEBOOKS["07"][1])
    found["Brain"].draw, found["Brain"].update = found["draw"], found["update"]
    return found


NB = definitions()
PONG = ablate.load("07-pong")


def broken_notebook(text, broken):
    """The notebook's definitions with one fault in them."""
    return definitions(planted(SOURCE, text, broken))


# --- projection -------------------------------------------------------------------------------


def slow_project(probabilities, reward, discount, support):
    """Atom by atom, in plain Python: each moved atom is split between its two neighbours."""
    result = [0.0] * len(support)
    for probability, atom in zip(probabilities, support, strict=True):
        moved = min(max(reward + discount * atom, support[0]), support[-1])
        right = next((i for i, z in enumerate(support) if z >= moved), len(support) - 1)
        if support[right] == moved or right == 0:
            result[right] += probability
            continue
        share = (moved - support[right - 1]) / (support[right] - support[right - 1])
        result[right] += probability * share
        result[right - 1] += probability * (1 - share)
    return result


@settings(max_examples=200, deadline=None)
@given(
    atoms=st.integers(2, 12),
    reward=st.floats(-3, 3, width=16),
    discount=st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0]),
    seed=st.integers(0, 999),
)
def test_projection_equals_a_slow_reference(atoms, reward, discount, seed):
    rng = np.random.default_rng(seed)
    support = np.linspace(-1, 1, atoms)
    before = rng.dirichlet(np.ones(atoms))
    found = NB["project"](
        torch.tensor(before[None]), torch.tensor([reward]), torch.tensor([discount]),
        torch.tensor(support),
    )[0]  # fmt: skip
    assert found.sum().item() == pytest.approx(1.0, abs=1e-5)  # nothing is lost
    expected = slow_project(before, reward, discount, support)
    assert found.tolist() == pytest.approx(expected, abs=1e-5)


def on_the_grid(nb):
    """All atoms fall exactly on atoms: nothing may be lost."""
    support = torch.linspace(0, 4, 5)
    before = torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.0]])
    found = nb["project"](before, torch.tensor([1.0]), torch.tensor([1.0]), support)
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.1, 0.2, 0.3, 0.4]]))


FLOOR_AND_CEIL = """    left, right = place.floor().long(), place.ceil().long()
    result = torch.zeros_like(probability)
    result.scatter_add_(1, left, probability * (right - place))
    return result.scatter_add_(1, right, probability * (place - left))
"""


def test_projection_loses_nothing_on_the_grid():
    on_the_grid(NB)
    before, rest = SOURCE.split("    below = place.long()", 1)
    after = rest.split("\n\n\n", 1)[1]
    with pytest.raises(AssertionError):  # the usual form, when an atom falls on a grid point
        on_the_grid(definitions(before + FLOOR_AND_CEIL + "\n\n" + after))


def test_projection_gives_no_negative_probability():
    """With 62 atoms on -1 … 0 rounding puts the last one beyond the last place."""
    support = torch.linspace(-1, 0, 62)
    before = torch.full((1, 62), 1 / 62)
    found = NB["project"](before, torch.tensor([0.0]), torch.tensor([0.0]), support)
    assert (found >= 0).all() and found[0, -1] == pytest.approx(1.0)


def test_kl_divergence_is_never_negative():
    """Not even by rounding, where prediction and target are the same."""
    torch.manual_seed(0)
    logits = 3 * torch.randn(1_000, 51)
    loss, kl = NB["c51_loss"](torch.softmax(logits, dim=1), logits)
    assert kl.min() >= 0 and kl.max() < 1e-5 < loss.min()


# --- quantiles --------------------------------------------------------------------------------


def slow_quantile_loss(theta, target, kappa):
    total = 0.0
    for i, prediction in enumerate(theta):
        tau, row = (i + 0.5) / len(theta), 0.0
        for value in target:
            u = value - prediction
            huber = 0.5 * u * u if abs(u) <= kappa else kappa * (abs(u) - 0.5 * kappa)
            row += abs(tau - (u < 0)) * huber / kappa
        total += row / len(target)
    return total


@pytest.mark.parametrize("kappa", [1.0, 0.3])
def test_quantile_loss_equals_a_slow_reference(kappa):
    torch.manual_seed(0)
    theta, target = torch.randn(6, 5) * 2, torch.randn(6, 7) * 2
    pairs = zip(theta.tolist(), target.tolist(), strict=True)
    expected = [slow_quantile_loss(*pair, kappa) for pair in pairs]
    found = NB["quantile_loss"](theta, target, kappa).tolist()
    assert found == pytest.approx(expected, rel=1e-5)


def test_quantile_loss_by_hand():
    """κ = 1 by itself: the errors 3 and -0.5 count 2.5 and 0.125, τ is 0.25 and 0.75."""
    loss = NB["quantile_loss"](torch.tensor([[0.0, 3.5]]), torch.tensor([[3.0]]))
    assert loss.tolist() == pytest.approx([0.25 * 2.5 + 0.25 * 0.125])


def test_the_lottery_pays_about_six_in_three_games_of_ten():
    paid = define(SOURCE, ["outcomes"])["outcomes"](np.random.default_rng(0), 20_000)
    assert paid.dtype == torch.float32 and paid.shape == (20_000,)
    wins = paid[paid != 0]
    assert len(wins) / len(paid) == pytest.approx(0.3, abs=0.015)
    assert (wins.mean().item(), wins.std().item()) == pytest.approx((6.0, 0.7), abs=0.03)


# --- losses of every kind ---------------------------------------------------------------------


def some_batch(size=32):
    torch.manual_seed(3)
    discount = 0.9**3 * (torch.rand(size) > 0.3)
    return FrameBatch(
        torch.randn(size, 4), torch.randint(3, (size,)), torch.randn(size), torch.randn(size, 4),
        discount,
    )  # fmt: skip


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("distribution", ["none", "c51", "quantile"])
def test_losses_equal_a_slow_reference(distribution, double, nb=NB):
    config = nb["Switches"](
        distribution=distribution, double=double, atoms=7, low=-2.0, high=2.0, n_step=3, gamma=0.9
    )
    torch.manual_seed(0)
    q_net, target_net = (nb["SwitchedNetwork"](config, nb["CartBody"](128), 3) for _ in range(2))
    losses_are_right(
        config, q_net, target_net, lambda *given: nb["switched_losses"](*given, config)
    )


def test_losses_of_rainbow_equal_a_slow_reference(nb=NB):
    config = nb["Switches"](
        distribution="c51", double=True, dueling=True, atoms=7, low=-2.0, high=2.0
    )
    torch.manual_seed(0)
    q_net, target_net = (nb["QNetwork"](config, nb["CartBody"](), 3) for _ in range(2))
    for network in (q_net, target_net):
        network.resample()
    losses_are_right(config, q_net, target_net, nb["losses"])


def losses_are_right(config, q_net, target_net, losses):
    """Loss and priority of every row, computed again in plain Python."""
    distribution, double, batch = config.distribution, config.double, some_batch()
    found, priority = losses(batch, q_net, target_net)
    support = q_net.support.tolist()
    for row in range(32):
        with torch.no_grad():
            here, there = q_net(batch.obs[row][None])[0], target_net(batch.next_obs[row][None])[0]
            online = q_net(batch.next_obs[row][None])[0]
        chooser = online if double else there
        if distribution == "c51":
            means = [sum(p * z for p, z in zip(torch.softmax(a, 0).tolist(), support, strict=True))
                     for a in chooser]  # fmt: skip
        else:
            means = [sum(a.tolist()) / len(a) for a in chooser]
        best = means.index(max(means))
        discount = batch.discount[row].item()
        reward, predicted = batch.reward[row].item(), here[batch.action[row]]
        if distribution == "c51":
            target = slow_project(torch.softmax(there[best], 0).tolist(), reward, discount, support)
            log = torch.log_softmax(predicted, 0).tolist()
            expected = -sum(m * p for m, p in zip(target, log, strict=True))
            wrong = expected + sum(m * math.log(m) for m in target if m > 0)
        else:
            target = [reward + discount * z for z in there[best].tolist()]
            if distribution == "quantile":
                wrong = expected = slow_quantile_loss(predicted.tolist(), target, config.kappa)
            else:
                wrong = abs(target[0] - predicted[0].item())
                expected = 0.5 * wrong**2 if wrong < 1 else wrong - 0.5
        assert found[row].item() == pytest.approx(expected, abs=1e-4)
        assert priority[row].item() == pytest.approx(wrong, abs=1e-4)
    assert found.requires_grad and not priority.requires_grad


@pytest.mark.parametrize(
    "text, broken",
    [
        ("answer = q_net(batch.next_obs) if config.double else judged", "answer = judged"),
        ("judged = target_net(batch.next_obs)", "judged = q_net(batch.next_obs)"),
        (
            "target = project(after, batch.reward, batch.discount, q_net.support)\n        return",
            "target = project(after, batch.reward, 0.9 + 0 * batch.discount, q_net.support)\n"
            "        return",
        ),
    ],
)
def test_a_wrong_target_is_noticed(text, broken):
    with pytest.raises(AssertionError):
        test_losses_equal_a_slow_reference("c51", True, nb=broken_notebook(text, broken))


@pytest.mark.parametrize(
    "text, broken",
    [
        ("q_net.mean(q_net(batch.next_obs))", "q_net.mean(target_net(batch.next_obs))"),
        ("target_net(batch.next_obs)[rows, best]", "q_net(batch.next_obs)[rows, best]"),
        ("after = torch.softmax(after, dim=1)  # CHANGED", "after = torch.softmax(after, dim=0)"),
        (
            "target = project(after, batch.reward, batch.discount, q_net.support)\n    logits",
            "target = project(after, batch.reward, 0.9 + 0 * batch.discount, q_net.support)\n"
            "    logits",
        ),
        ("return loss, (loss.detach() - entropy)", "return loss, (loss.detach() + entropy)"),
    ],
)  # fmt: skip
def test_a_wrong_target_of_rainbow_is_noticed(text, broken):
    with pytest.raises(AssertionError):
        test_losses_of_rainbow_equal_a_slow_reference(nb=broken_notebook(text, broken))


def test_batches_hold_the_discount(nb=NB):
    config = nb["Config"](gamma=0.5)
    obs = np.zeros(4, np.float32)
    rows = [Transition(obs, 1, 2.0, obs, False), Transition(obs, 0, 1.0, obs, True)]
    batch = nb["make_batch"](rows, config)
    assert batch.discount.tolist() == [0.125, 0.0] and batch.reward.tolist() == [2.0, 1.0]
    frames = FrameBatch(*(column.numpy() for column in batch))
    for ours, theirs in zip(nb["make_batch"](frames, config), batch, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    "text, broken",
    [("config.gamma**config.n_step * goes_on", "config.gamma * goes_on"),
     ("goes_on = 1 - torch.tensor", "goes_on = 1 - 0 * torch.tensor")],
)  # fmt: skip
def test_a_wrong_discount_is_noticed(text, broken):
    with pytest.raises(AssertionError):
        test_batches_hold_the_discount(nb=broken_notebook(text, broken))


# --- noise ------------------------------------------------------------------------------------


def test_noise_has_the_size_and_the_form_of_the_paper():
    torch.manual_seed(0)
    layer = NB["NoisyLinear"](50, 40, sigma=0.5)
    assert layer.weight.abs().max() <= 50**-0.5
    torch.testing.assert_close(layer.weight_sigma, torch.full((40, 50), 0.5 * 50**-0.5))
    draws = []
    for _ in range(300):
        layer.resample()
        draws.append(layer.bias_noise)
        assert torch.linalg.matrix_rank(layer.weight_noise) == 1  # factorised
        inputs = layer.weight_noise / layer.bias_noise[:, None]  # the inputs' share, in every row
        torch.testing.assert_close(inputs, inputs[:1].expand(40, 50), rtol=1e-3, atol=1e-4)
        draws.append(inputs[0])
    draws = torch.cat(draws)
    assert draws.mean().abs() < 0.02
    assert draws.abs().mean() == pytest.approx(0.822, abs=0.02)  # E sqrt|x| of a normal x
    x = torch.randn(3, 50)
    by_hand = x @ (layer.weight + layer.weight_sigma * layer.weight_noise).T
    by_hand = by_hand + layer.bias + layer.bias_sigma * layer.bias_noise
    torch.testing.assert_close(layer(x), by_hand)
    layer.eval()
    torch.testing.assert_close(layer(x), nn.functional.linear(x, layer.weight, layer.bias))


def test_noisy_layers_begin_with_the_weights_of_the_paper():
    """μ anywhere between ± 1/√100 = 0.1, every σ 0.5/√100 = 0.05, no noise yet."""
    torch.manual_seed(0)
    layer = NB["NoisyLinear"](100, 400)
    for parameter in (layer.weight, layer.bias):
        assert -0.1 <= parameter.min() < -0.095 and 0.095 < parameter.max() <= 0.1
        assert parameter.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.05)
    for sigma in (layer.weight_sigma, layer.bias_sigma):
        torch.testing.assert_close(sigma, torch.full_like(sigma, 0.05))
    x = torch.randn(3, 100)
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))


def noisy_brain(nb, make_brain, noise_every=1):
    torch.manual_seed(0)
    how = dict(batch=8, learn_start=8, noise_every=noise_every)
    if make_brain == "cart_brain":
        config = nb["Config"](**how)
    else:
        config = nb["Switches"](noisy=True, **how)
    return nb[make_brain](config, np.random.default_rng(0))


def noises(network):
    return [layer.bias_noise.clone() for layer in network.modules() if hasattr(layer, "bias_noise")]


def noise_is_handled(nb, make_brain="cart_brain"):
    """Kept for as long as the config says, anew at each update, off in greedy play."""
    for every in (1, 4):
        brain, obs = noisy_brain(nb, make_brain, every), np.full(4, 0.1, np.float32)
        seen = []
        for brain.agent_steps in range(12):
            brain.decide_actions(obs[None])
            seen.append(noises(brain.q_net)[0])
        changed = [not torch.equal(a, b) for a, b in pairwise(seen)]
        assert changed == [step % every == 0 for step in range(1, 12)]
    for i in range(8):
        brain.memory.push(obs + i, i % 2, 0.0, obs, False)
    before = noises(brain.q_net)[0], noises(brain.target_net)[0]
    brain.update()
    after = noises(brain.q_net)[0], noises(brain.target_net)[0]
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not torch.equal(*after)
    many = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)
    first = brain.greedy(many)
    assert brain.q_net.training
    for _ in range(3):
        brain.q_net.resample()
        assert np.array_equal(brain.greedy(many), first)
    assert brain.q_net.training and brain.target_net.training  # the noise of both is on again


@pytest.mark.parametrize("make_brain", ["cart_brain", "switched_brain"])
def test_noise_is_handled(make_brain):
    noise_is_handled(NB, make_brain)


@pytest.mark.parametrize(
    "text, broken",
    [
        ("self.q_net.resample()  # CHANGED: new noise, kept for a while", "pass"),
        ("if self.agent_steps % self.config.noise_every == 0:", "if True:"),
        ("self.q_net.resample()  # CHANGED: new noise for every update", "pass"),
        ("self.target_net.resample()  # CHANGED: noise of its own", "pass"),
        ("self.q_net.eval()  # CHANGED: without noise", "pass"),
        ("if not self.training:  # eval mode, for greedy play: no noise", "if False:"),
    ],
)
def test_a_fault_with_noise_is_noticed(text, broken):
    with pytest.raises(AssertionError):
        noise_is_handled(broken_notebook(text, broken))


def streams_are_noisy(nb):
    """Two layers in each stream, with the noise that the config asks for; no ε beside it."""
    config = replace(nb["RAINBOW"], hidden=(16, 8), low=-2.0, high=2.0, atoms=5)
    switched = nb["SwitchedNetwork"](config, nb["CartBody"](16), 3)
    for net in (nb["QNetwork"](config, nb["CartBody"](16), 3, units=4), switched):
        layers_are_noisy(nb, net)
    assert nb["epsilon"](config, 0) == 0.0 and nb["epsilon"](nb["DQN"], 0) == 1.0


def layers_are_noisy(nb, net):
    layers = [layer for layer in net.modules() if isinstance(layer, nb["NoisyLinear"])]
    assert [tuple(layer.weight.shape) for layer in layers] == [(4, 16), (5, 4), (4, 16), (15, 4)]
    for layer in layers:
        wanted = torch.full_like(layer.weight_sigma, 0.5 * layer.weight.shape[1] ** -0.5)
        torch.testing.assert_close(layer.weight_sigma, wanted)
    assert net.support.tolist() == [-2, -1, 0, 1, 2]
    with torch.no_grad():
        layers[-1].weight_sigma.copy_(torch.tensor([[0.5], [-1.0], [0.0]]).repeat(5, 4))
    assert nb["mean_sigma"](net) == pytest.approx(0.5)


def exploring_follows_epsilon(nb):
    """Each observation is explored for itself, as often as the agent steps so far say."""
    config = nb["Switches"](hidden=(16, 16), epsilon_end=0.0, epsilon_decay=100)
    brain = nb["switched_brain"](config, np.random.default_rng(0))
    obs = np.random.default_rng(1).normal(size=(2_000, 4)).astype(np.float32)
    for brain.agent_steps, share in ((0, 0.5), (50, 0.25), (100, 0.0)):
        differ = np.mean(brain.decide_actions(obs) != brain.greedy(obs))
        assert differ == pytest.approx(share, abs=0.04)  # half of the random ones are the best


def explored_asks_twenty_noises(nb):
    """The share of decisions that noise changes, over 20 draws of it."""
    config = nb["Switches"](noisy=True, batch=64, noise_every=64, hidden=(16, 16))
    torch.manual_seed(0)
    brain, seen = nb["switched_brain"](config, np.random.default_rng(0)), []
    with torch.no_grad():
        for name, parameter in brain.q_net.named_parameters():
            if name.endswith("sigma"):
                parameter.mul_(40)  # 20 / sqrt(inputs)
    for obs in np.random.default_rng(1).normal(size=(64, 4)).astype(np.float32):
        brain.memory.push(obs, 0, 0.0, obs, False)
    brain.agent_steps, decide = 2_500, brain.decide_actions  # between two draws of the decisions
    brain.decide_actions = lambda obs: seen.append(noises(brain.q_net)[0]) or decide(obs)
    assert 0.2 < nb["explored"](brain) < 0.8  # noise is nearly all there is: half of two actions
    assert len({tuple(noise.tolist()) for noise in seen}) == 20


def test_epsilon_falls_from_1_to_004_in_8000_agent_steps():
    found = [NB["epsilon"](NB["DQN"], t) for t in (0, 4_000, 8_000, 20_000)]
    assert found == pytest.approx([1.0, 0.52, 0.04, 0.04])
    assert NB["epsilon"](NB["RAINBOW"], 4_000) == 0.0


def test_what_is_recorded_of_the_noise():
    """Without σ no decision differs; a network without noise has no σ; few digits are kept."""
    nb = definitions()
    brain = noisy_brain(nb, "switched_brain")
    for obs in np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32):
        brain.memory.push(obs, 0, 0.0, obs, False)
    with torch.no_grad():
        for name, parameter in brain.q_net.named_parameters():
            if name.endswith("sigma"):
                parameter.zero_()
    assert nb["noise_now"](brain) == (0.0, 0.0)
    assert nb["mean_sigma"](nn.Linear(2, 2)) == 0.0
    nb["mean_sigma"], nb["explored"] = lambda network: 0.1234567, lambda brain: 0.9876543
    assert nb["noise_now"](brain) == (0.12346, 0.9877)


@pytest.mark.parametrize(
    "check", [streams_are_noisy, exploring_follows_epsilon, explored_asks_twenty_noises]
)
def test_exploring(check):
    check(NB)


@pytest.mark.parametrize(
    "check, text, broken",
    [
        (streams_are_noisy, "sigma=0.5):", "sigma=0.4):"),
        (streams_are_noisy, "nn.Sequential(layer(inputs, u", "nn.Sequential(nn.Linear(inputs, u"),
        (streams_are_noisy, "        return 0.0\n", "        pass\n"),
        (streams_are_noisy, "linspace(config.low, config.high, self", "linspace(-1.0, 0.0, self"),
        (streams_are_noisy, "linspace(config.low, config.high, con", "linspace(-1.0, 0.0, con"),
        (streams_are_noisy, "layers[-1].weight_sigma.abs()", "layers[-1].weight_sigma"),
        (exploring_follows_epsilon, "self.rng.random(len(obs)) <", "self.rng.random() <"),
        (explored_asks_twenty_noises, "brain.q_net.resample()\n        differ", "differ"),
        (explored_asks_twenty_noises, "!= brain.greedy(obs)", "!= brain.q_values(obs).argmax(1)"),
        (exploring_follows_epsilon, "            self.config, self.agent_steps\n",
         "            self.config, self.updates\n"),
    ],
)  # fmt: skip
def test_a_fault_in_exploring_is_noticed(check, text, broken):
    with pytest.raises(AssertionError):
        check(broken_notebook(text, broken))


# --- what reaches the update ------------------------------------------------------------------


def advantages_are_centred(nb):
    """The mean over the actions is the value, atom by atom."""
    torch.manual_seed(0)
    config = replace(nb["RAINBOW"], noisy=False, hidden=(16, 16), atoms=5)
    net, obs = nb["SwitchedNetwork"](config, nb["CartBody"](16), 3), torch.randn(7, 4)
    torch.testing.assert_close(net(obs).mean(dim=1), net.value(net.body(obs)))


class Say(nn.Module):
    """Answers the same, whatever it is asked."""

    def __init__(self, answer):
        super().__init__()
        self.answer = torch.tensor(answer)

    def forward(self, x):
        return self.answer.expand(len(x), -1)


@pytest.mark.parametrize("name", ["QNetwork", "SwitchedNetwork"])
def test_value_and_advantages_by_hand(name):
    """Values 10 and 20 of two atoms; advantages (1, 2) and (3, 6) have the mean (2, 4)."""
    config = replace(NB["RAINBOW"], atoms=2, hidden=(16, 16), low=0.0, high=1.0)
    net = NB[name](config, NB["CartBody"](16), 2)
    net.value, net.advantage = Say([10.0, 20.0]), Say([1.0, 2.0, 3.0, 6.0])
    logits = net(torch.zeros(3, 4))
    assert logits.tolist() == [[[9.0, 18.0], [11.0, 22.0]]] * 3
    share = 1 / (1 + math.exp(-9)), 1 / (1 + math.exp(-11))  # of the atom 1
    torch.testing.assert_close(net.mean(logits), torch.tensor([share] * 3))


def test_observations_count_in_the_units_of_the_cart():
    """2.4 m, 2 m/s, 0.21 rad and 2 rad/s each count as 1."""
    torch.manual_seed(0)
    body = NB["CartBody"](50)
    obs = torch.diag(torch.tensor([2.4, 2.0, 0.21, 2.0]))
    torch.testing.assert_close(body(obs), F.relu(body.layer.weight.T + body.layer.bias))


def test_brains_have_networks_of_the_sizes_asked_for():
    rng = np.random.default_rng(0)
    brain = NB["switched_brain"](NB["Switches"](hidden=(16, 8)), rng)
    assert brain.q_net.body.features == 16
    assert brain.q_net(torch.zeros(3, 4)).shape == (3, 2, 1)
    shapes = [tuple(p.shape) for p in brain.q_net.parameters()]
    assert shapes == [(16, 4), (16,), (8, 16), (8,), (2, 8), (2,)]
    brain = NB["cart_brain"](NB["Config"](), rng)
    assert brain.q_net(torch.zeros(3, 4)).shape == (3, 2, 51)
    assert brain.q_net.body.features == 128 and brain.q_net.value[0].weight.shape == (64, 128)


def test_updates_are_due_whenever_a_multiple_is_passed():
    """Two updates at 12, 24, 36, 48 agent steps, or at the first eight of them after that."""
    config = NB["Config"](train_every=12, updates_per_train=2, learn_start=5)
    for stored, due in ((4, []), (5, [16, 24, 40, 48]), (6, [16, 24, 40, 48])):
        brain, made = NB["cart_brain"](config, np.random.default_rng(0)), []
        brain.memory, brain.update = [0] * stored, lambda b=brain, m=made: m.append(b.agent_steps)
        for _ in range(6):
            brain.learn(steps=8)
        assert made == [step for step in due for _ in range(2)]
    brain.agent_steps = 0
    made.clear()
    for _ in range(25):
        brain.learn(steps=1)
    assert made == [12, 12, 24, 24]


def test_a_training_that_goes_on_too_long_keeps_its_last_settings():
    rng = np.random.default_rng(0)
    brain = NB["cart_brain"](NB["Config"](agent_steps=100), rng)
    switched = NB["switched_brain"](NB["Switches"](agent_steps=100, lr=0.4, lr_end=0.1), rng)
    found = []
    for step in (0, 25, 100, 150):
        brain.agent_steps = switched.agent_steps = step
        found += [brain.progress(), 1_000 * brain.learning_rate(), switched.learning_rate()]
    assert found == pytest.approx([0, 1, 0.4, 0.25, 0.75, 0.325, 1, 0, 0.1, 1, 0, 0.1])


def one_update(nb):
    """Errors go back to their own keys, and only the row with a weight is learned from."""
    torch.manual_seed(0)
    config = nb["Switches"](prioritized=True, batch=8, learn_start=8, hidden=(16, 16))
    brain = nb["switched_brain"](config, np.random.default_rng(0))
    for i in range(8):
        brain.memory.push(np.full(4, i / 8, np.float32), i % 2, -i, np.zeros(4, np.float32), True)
    batch, keys, _ = brain.draw()
    weight = torch.zeros(8)
    weight[0] = 1.0
    brain.draw = lambda: (batch, keys, weight)
    loss, priority = brain.losses(batch)
    parameters = list(brain.q_net.parameters())
    wanted = torch.autograd.grad(loss[0] / 8, parameters)
    told = []
    brain.memory.update_priorities = lambda *given: told.append(given)
    limit, nb["CLIP_NORM"] = nb["CLIP_NORM"], 1e9
    brain.update()
    nb["CLIP_NORM"] = limit
    assert len(told) == 1 and np.array_equal(told[0][0], keys)
    np.testing.assert_allclose(told[0][1], priority.numpy(), rtol=1e-6)
    for p, grad in zip(parameters, wanted, strict=True):
        torch.testing.assert_close(p.grad, grad)


def beta_climbs(nb):
    """The memory is asked with 0.4 at first, 0.7 half way and 1 at the end."""
    config = nb["Config"](batch=2, agent_steps=100)
    brain, asked = nb["cart_brain"](config, np.random.default_rng(0)), []
    for _ in range(4):
        brain.memory.push(np.zeros(4, np.float32), 0, 0.0, np.zeros(4, np.float32), False)
    sample = brain.memory.sample
    brain.memory.sample = lambda size, beta: asked.append(beta) or sample(size, beta)
    for brain.agent_steps in (0, 50, 100):
        brain.draw()
    assert asked == pytest.approx([0.4, 0.7, 1.0])


@pytest.mark.parametrize("check", [advantages_are_centred, one_update, beta_climbs])
def test_what_reaches_the_update(check):
    check(NB)


@pytest.mark.parametrize(
    "check, text, broken",
    [
        (advantages_are_centred, "advantage - advantage.mean(dim=1, keepdim=True)", "advantage"),
        (advantages_are_centred, "advantage.mean(dim=1, keep", "advantage.mean(dim=2, keep"),
        (one_update, "(keys, priority.numpy())", "(keys, priority.numpy()[::-1])"),
        (one_update, "self.memory.update_priorities(keys, priority.numpy())", "pass"),
        (one_update, "(weight * loss).mean()", "loss.mean()"),
        (beta_climbs, "0.4 + 0.6 * self.progress()", "0.4"),
    ],
)
def test_a_fault_on_the_way_to_the_update_is_noticed(check, text, broken):
    with pytest.raises(AssertionError):
        check(broken_notebook(text, broken))


def test_windows_are_those_of_notebook_6():
    """So what its tests say of ends and truncations holds here too."""

    def windows(name):
        tree = ast.parse((TWINS / name).read_text(encoding="utf-8"))
        [node] = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "NStep"]
        return ast.unparse(node)

    assert windows(TWIN.name) == windows("06_prioritized_nstep.py")


def test_all_switches_on_is_rainbow():
    """The same weights, noise and transitions give the same update."""
    config = replace(NB["RAINBOW"], batch=16, learn_start=16, atoms=11)
    brains = []
    for make in (NB["cart_brain"], NB["switched_brain"]):
        torch.manual_seed(0)
        brain, rng = make(config, np.random.default_rng(0)), np.random.default_rng(1)
        for obs, next_obs in rng.normal(size=(64, 2, 4)).astype(np.float32):
            end = bool(rng.random() < 0.2)
            brain.memory.push(obs, int(rng.integers(2)), -float(end), next_obs, end)
        brain.agent_steps = 5_000
        for _ in range(5):
            brain.update()
        brains.append(brain)
    ours, theirs = (brain.q_net.state_dict() for brain in brains)
    assert list(ours) == list(theirs)
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name])
    obs = np.random.default_rng(2).normal(size=(50, 4)).astype(np.float32)
    assert np.array_equal(*(brain.decide_actions(obs) for brain in brains))


# --- the loop ---------------------------------------------------------------------------------


class Turns:
    """Games of 3 turns that end and of 5 that the clock stops, in turns; obs: game, turn."""

    def __init__(self):
        self.game, self.seeds = -1, []

    def reset(self, seed=None):
        self.seeds.append(seed)
        self.game, self.turn = self.game + 1, 0
        return (self.game, 0), {}

    def step(self, action):
        self.turn += 1
        ended = self.turn == 3 and self.game % 2 == 0
        return (self.game, self.turn), 0.5 * action, ended, self.turn == 5, {}


class Watcher:
    """An agent that does not learn: action 2, and a list of what it was told."""

    def __init__(self):
        self.told = []

    def get_action(self, obs):
        return 2

    def learn(self, transition, truncated):
        self.told.append((*transition, truncated))


def test_the_loop_tells_the_agent_every_step_and_returns_the_lengths():
    env, agent, reported = Turns(), Watcher(), []
    loop = NB["Environment"](agent, SimpleNamespace(agent_steps=10), seed=7, env=env)
    lengths = loop.run(progress=lambda lengths: reported.append(list(lengths)))
    assert lengths == [3, 5]  # the third game is not over
    assert reported == [[3], [3, 5]] and env.seeds == [7, None, None]
    games = [(0, t) for t in range(3)] + [(1, t) for t in range(5)] + [(2, 0), (2, 1)]
    assert [row[0] for row in agent.told] == games
    assert [row[3] for row in agent.told] == [(game, t + 1) for game, t in games]
    assert {row[1:3] for row in agent.told} == {(2, 1.0)}
    assert [i for i, row in enumerate(agent.told, 1) if row[4]] == [3]
    assert [i for i, row in enumerate(agent.told, 1) if row[5]] == [8]


@pytest.mark.parametrize("stop, taken", [(False, 5_100), (True, 2_500)])
def test_the_loop_asks_every_2500_agent_steps_whether_to_stop(stop, taken):
    agent, asked = Watcher(), []
    loop = NB["Environment"](agent, SimpleNamespace(agent_steps=5_100), seed=0, env=Turns())
    lengths = loop.run(select=lambda lengths: asked.append(len(agent.told)) or stop)
    assert asked == ([2_500] if stop else [2_500, 5_000])
    assert len(agent.told) == taken and sum(lengths) in range(taken - 5, taken + 1)


class Idle:
    """Stand-in for a Brain: it counts, and never learns."""

    def __init__(self, config, rng):
        self.config, self.rng, self.memory = config, rng, self
        self.q_net, self.agent_steps, self.updates = nn.Linear(1, 1), 0, 0

    def __len__(self):
        return 0

    def push(self, *row):
        pass

    def decide_actions(self, obs):
        return np.zeros(len(obs), int)

    greedy = decide_actions

    def learn(self, steps):
        self.agent_steps += steps


class Live:
    """Stand-in for a live curve."""

    def __init__(self):
        self.updates, self.closed = [], []

    def update(self, values, title):
        self.updates.append(list(values))

    def close(self, values, title):
        self.closed.append(list(values))


def judged_by(nb, means):
    """Let evaluations say these means, one after the other; return what they were asked."""
    asked = []

    def evaluate(policy, arena, seed, **how):
        asked.append((policy, arena, seed, how))
        with torch.no_grad():  # so that the weights tell when they were copied
            policy.__self__.q_net.weight.fill_(len(asked))
        return SimpleNamespace(mean=means[len(asked) - 1])

    nb["evaluate"] = evaluate
    return asked


def test_a_training_on_cartpole_is_judged_every_2500_agent_steps():
    nb, live = definitions(), Live()
    asked = judged_by(nb, [12.3456, 9.8765, 11.0])
    run = nb["train"](
        nb["Config"](agent_steps=5_000), 2, live, make_brain=Idle, measure=lambda b: ("m", b)
    )
    brain = run.brain
    assert run.curve == [(2, 2_500, 12.35, "m", brain), (2, 5_000, 9.88, "m", brain)]
    assert brain.rng.random() == np.random.default_rng(2).random()
    assert [seed for _, _, seed, _ in asked] == [1_002_000, 1_002_001, 2_002_000]
    assert all(arena is nb["ARENA"] and policy == brain.greedy for policy, arena, *_ in asked)
    assert run.test.mean == 11.0 and run.best["weight"].item() == 1
    assert 4_980 < sum(run.lengths) <= 5_000 and min(run.lengths) >= 8
    assert live.closed == [run.lengths] and live.updates[-1] == run.lengths
    assert [len(lengths) for lengths in live.updates] == list(range(1, len(run.lengths) + 1))


@pytest.mark.parametrize(
    "means, best", [((0.5, 0.25), 1), ((0.25, 0.5), 2), ((50.0, 50.0), 1), ((3.0, 80.0), 2)]
)
def test_the_first_of_the_best_weights_are_kept(means, best):
    nb = definitions()
    judged_by(nb, [*means, 500.0])
    run = nb["train"](nb["Config"](agent_steps=20), 0, select_every=10, make_brain=Idle)
    assert run.best["weight"].item() == best and run.test.mean == 500


# --- probes -----------------------------------------------------------------------------------

METHODS = {
    "c51": dict(distribution="c51", low=-1.5, high=1.5, atoms=31),
    "quantile": dict(distribution="quantile", atoms=16),
    "all": dict(distribution="c51", low=-1.5, high=1.5, atoms=31, double=True, dueling=True,
                prioritized=True),
}  # fmt: skip


def trained(nb, kind, **changes):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    settings = dict(
        agent_steps=1_000, gamma=0.9, hidden=(32, 32), epsilon_end=1.0, capacity=500, batch=32,
        learn_start=60, train_every=1, updates_per_train=1, lr=0.01, target_every=10,
    )  # fmt: skip
    config = nb["Switches"](**{**settings, **changes})
    return run(nb, kind, config, nb["switched_brain"](config, np.random.default_rng(0), small_body))


def small_body():
    body = nn.Sequential(nn.Linear(1, 32), nn.ReLU())
    body.features = 32
    return body


def run(nb, kind, config, brain):
    nb["Environment"](nb["Agent"](brain), config, seed=0, env=TimeLimit(kind(), 5)).run()
    brain.q_net.eval()
    return brain


SHORT = [kind for kind in PROBES if kind.__name__ != "Endless"]  # returns within the atoms


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", SHORT, ids=lambda kind: kind.__name__)
def test_known_values_are_learned(kind, method):
    brain = trained(NB, kind, **METHODS[method])
    for obs, expected in kind.expected.items():
        learned = brain.q_values(np.array([[obs]], np.float32))[0].tolist()
        assert learned == pytest.approx(expected, abs=0.15), f"{kind.__name__}, obs {obs}"


class Coin(Probe):
    """One turn; action 0 pays 0.5 for certain, action 1 pays 1 or 0, each half the time."""

    expected = {1.0: (0.5, 0.5)}  # noqa: RUF012

    def step(self, action):
        prize = 0.5 if action == 0 else float(self.np_random.random() < 0.5)
        return np.ones(1, np.float32), prize, True, False, {}


class RareCoin(Coin):
    """Pays 1 in a tenth of the throws, else 0."""

    def step(self, action):
        return np.ones(1, np.float32), float(self.np_random.random() < 0.1), True, False, {}


class LateCoin(Coin):
    """The coin, one turn later and discounted."""

    def first(self):
        return -1.0

    def step(self, action):
        self.turn += 1
        if self.turn == 1:
            self.choice = action
            return np.ones(1, np.float32), 0.0, False, False, {}
        return super().step(1)


def distribution_of(brain, obs):
    with torch.inference_mode():
        return brain.q_net(torch.tensor([[obs]]))[0]


LONG = dict(lr=0.003, agent_steps=4_000, capacity=4_000)  # enough throws of the coin


def test_c51_learns_the_distribution_itself():
    settings = dict(distribution="c51", low=0.0, high=1.0, atoms=11, **LONG)
    certain, gamble = torch.softmax(distribution_of(trained(NB, Coin, **settings), 1.0), dim=1)
    assert certain[5] > 0.9  # the atom 0.5
    assert gamble[0] == pytest.approx(0.5, abs=0.1) and gamble[10] == pytest.approx(0.5, abs=0.1)
    late = torch.softmax(distribution_of(trained(NB, LateCoin, **settings), -1.0), dim=1)
    for action in (0, 1):  # 0 or γ = 0.9
        assert late[action, 0] == pytest.approx(0.5, abs=0.15)
        assert late[action, 9] == pytest.approx(0.5, abs=0.15)


def test_quantiles_learn_the_distribution_itself():
    settings = dict(distribution="quantile", atoms=8, **LONG)
    certain, gamble = distribution_of(trained(NB, Coin, **settings), 1.0)
    assert certain.tolist() == pytest.approx([0.5] * 8, abs=0.1)
    low, high = gamble[:3].mean().item(), gamble[-3:].mean().item()
    assert low < 0.1 and high > 0.9 and gamble.mean().item() == pytest.approx(0.5, abs=0.1)


def test_quantiles_of_a_lopsided_coin_have_its_mean():
    """With κ = 1 the errors count as squares, and the rare prize counts too much."""
    settings = dict(distribution="quantile", atoms=20, **LONG)
    learned = distribution_of(trained(NB, RareCoin, **settings), 1.0).mean(dim=0)
    assert learned.mean().item() == pytest.approx(0.1, abs=0.04)
    assert learned[:16].max().item() < 0.1
    squares = distribution_of(trained(NB, RareCoin, **settings, kappa=1.0), 1.0)
    assert squares.mean().item() > 0.14


CHOICES = [k for k in SHORT if any(len(set(q)) > 1 for q in k.expected.values())]


@pytest.mark.parametrize("kind", CHOICES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("switched", [True, False])
def test_rainbow_finds_the_best_action(kind, switched):
    """Noise alone explores well enough."""
    if switched:
        brain = trained(NB, kind, **METHODS["all"], n_step=3, noisy=True)
    else:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        config = NB["Config"](
            atoms=31, low=-1.5, high=1.5, agent_steps=1_000, gamma=0.9, capacity=500, batch=32,
            learn_start=60, train_every=1, updates_per_train=1, lr=0.01, target_every=10,
        )  # fmt: skip
        brain = NB["cart_brain"](config, np.random.default_rng(0), small_body)
        run(NB, kind, config, brain)
    for obs, expected in kind.expected.items():
        if len(set(expected)) > 1:
            assert brain.greedy(np.array([[obs]], np.float32))[0] == np.argmax(expected)


def sigma_is_learned(nb):
    brain = trained(nb, SHORT[0], noisy=True)
    sigmas = [p for name, p in brain.q_net.named_parameters() if "weight_sigma" in name]
    assert sigmas and all(p.grad is not None and p.grad.abs().sum() > 0 for p in sigmas)
    assert abs(nb["mean_sigma"](brain.q_net) / (0.5 * 32**-0.5) - 1) > 1e-3  # not as at first


def test_sigma_is_learned():
    sigma_is_learned(NB)
    with pytest.raises(AssertionError):
        text = "self.weight_sigma * self"
        sigma_is_learned(broken_notebook(text, "self.weight_sigma.detach() * self"))


# --- Pong -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PONG["PONG_VARIANTS"])
def test_every_pong_variant_has_its_network(name):
    config = PONG["PONG_VARIANTS"][name]
    network = PONG["pong_network"](config)
    answer = network(torch.zeros(2, 4, 84, 84, dtype=torch.uint8))
    atoms = 1 if config.distribution == "none" else config.atoms
    assert answer.shape == (2, 6, atoms)
    assert network.mean(answer).shape == (2, 6)
    streams = [network.advantage, network.value] if config.dueling else [network.advantage]
    layers = [pair for stream in streams for pair in ((stream[0], 2**0.5), (stream[2], 0.01))]
    layers += [(x, 2**0.5) for x in network.body.layers if isinstance(x, nn.Conv2d)]
    for layer, gain in layers:  # orthogonal: rows, or columns, at right angles and of one length
        weight = layer.weight.flatten(1)
        weight = weight if len(weight) <= weight.shape[1] else weight.T
        torch.testing.assert_close(
            weight @ weight.T / gain**2, torch.eye(len(weight)), atol=1e-4, rtol=0
        )
        assert not layer.bias.any()


def test_patches_are_the_convolution_of_notebook_4():
    torch.manual_seed(0)
    body = PONG["PixelBody"]()
    body.mean_frame.uniform_(0, 200)
    obs = torch.randint(0, 256, (3, 4, 84, 84), dtype=torch.uint8)
    filters = F.pixel_shuffle(body.layers[0].weight.detach(), 4)  # (16, 4, 8, 8)
    picture = (obs.float() - body.mean_frame) / 64
    first = F.conv2d(picture, filters, body.layers[0].bias.detach(), stride=4)
    assert torch.allclose(body(obs), body.layers[1:](first), atol=1e-4)


def test_pixels_go_through_the_layers_of_notebook_4():
    """Its first layer has 8 × 8 pixels, here 64 numbers of 2 × 2 patches."""
    body = PONG["PixelBody"]()
    shapes = [tuple(x.weight.shape) for x in body.layers if isinstance(x, nn.Conv2d)]
    assert shapes == [(16, 64, 2, 2), (32, 16, 4, 4), (32, 32, 3, 3)]
    assert body(torch.zeros(2, 4, 84, 84, dtype=torch.uint8)).shape == (2, 1568)
    assert body.features == 1568 and not body.mean_frame.any()


def test_a_saved_agent_plays_pong_as_it_did(tmp_path):
    nb = define(SOURCE, ["pong_player"])
    torch.manual_seed(1)
    config = nb["Config"](low=-2.0, high=2.0)
    network = nb["QNetwork"](config, nb["PixelBody"](), num_actions=6, units=128)
    save_checkpoint(tmp_path / "a.safetensors", {"q_net": network.state_dict()})
    player = nb["pong_player"](tmp_path / "a.safetensors")
    obs = torch.randint(0, 256, (20, 4, 84, 84), dtype=torch.uint8)
    with torch.inference_mode():
        network.eval()
        expected = network.mean(network(obs)).argmax(dim=1)
    assert player.greedy(obs.numpy()).tolist() == expected.tolist()
    assert player.q_net.support[[0, 50]].tolist() == [-2, 2]


def test_the_background_is_the_mean_of_60_batches_of_newest_pictures():
    drawn, nets = [], [SimpleNamespace(body=PONG["PixelBody"]()) for _ in range(2)]

    def draw():
        drawn.append(len(drawn) + 1)  # 1, 2, … 60: 30.5 on average
        obs = torch.full((2, 4, 84, 84), 255, dtype=torch.uint8)
        obs[:, -1] = drawn[-1]
        obs[:, -1, 3, 5] = 2 * drawn[-1]
        return SimpleNamespace(obs=obs), None, None

    PONG["calibrate"](SimpleNamespace(q_net=nets[0], target_net=nets[1], draw=draw))
    expected = torch.full((84, 84), 30.5)
    expected[3, 5] = 61.0
    for net in nets:
        torch.testing.assert_close(net.body.mean_frame, expected)


class EightGames:
    """Stand-in for a vector environment of Pong: no end; the observation is the clock."""

    def __init__(self, number, **how):
        self.number, self.clock = number, 0

    def reset(self, seed=None):
        self.seed = seed
        return np.zeros((self.number, 1)), {}

    def step(self, actions):
        self.clock += 1
        ended, never = np.full(self.number, self.clock % 1_000 == 0), np.zeros(self.number, bool)
        return np.full((self.number, 1), self.clock), np.ones(self.number), ended, never, {}

    def close(self):
        pass


def test_a_training_on_pong_is_judged_every_10000_agent_steps():
    nb, live, made = ablate.load("07-pong"), Live(), []
    nb["pong_brain"], nb["noise_now"] = Idle, lambda brain: (0.25, 0.125)
    nb["make_pong"] = lambda *given, **how: made.append(EightGames(*given, **how)) or made[-1]
    asked = judged_by(nb, [-20.1234, 3.4567])
    config = replace(nb["PONG"], agent_steps=20_000)
    brain, curve, games = nb["train_pong"](config, 4, live)
    assert curve == [(4, 10_000, -20.12, 0.25, 0.125), (4, 20_000, 3.46, 0.25, 0.125)]
    assert len(nb["CURVE"]) == 5 and brain.agent_steps == 20_000
    assert [(a, seed, how) for _, a, seed, how in asked] == [
        (made[1], 10_000, {"max_agent_steps": 4_000})
    ] * 2
    assert made[0].seed == 4 and made[0].clock == 2_500  # eight agent steps at once
    assert games == [1_000.0] * 16  # two games of each
    assert live.updates[998:1_000] == [[], games[:8]] and live.updates[-1] == games
    assert live.closed == [games] and len(live.updates) == 2_500


@pytest.mark.parametrize("name", ["dqn", "rainbow"])
def test_pong_trains_and_takes_the_background_away_before_the_first_update(name):
    config = PONG["PONG_VARIANTS"][name]
    config = replace(config, agent_steps=160, learn_start=64, capacity=800)
    brain, curve, games = PONG["train_pong"](config, seed=0, select_every=10**6)
    assert brain.updates > 0 and not curve and not games  # 20 steps of each game
    for network in (brain.q_net, brain.target_net):
        assert network.body.mean_frame.mean() > 10


# --- variants ---------------------------------------------------------------------------------

METHOD = {
    "double": True, "dueling": True, "n_step": 3, "prioritized": True, "noisy": True,
    "distribution": "c51",
}  # fmt: skip


def changes(which):
    """What each variant changes of the notebook's first one, "dqn"."""
    variants = ablate.variants_of(which, ablate.load(which))
    plain = asdict(variants["dqn"])
    return {
        name: {field: value for field, value in asdict(config).items() if value != plain[field]}
        for name, config in variants.items()
    }


def test_variants_differ_by_their_switches_only():
    expected = {
        "dqn": {},
        "dqn_n_step": {"n_step": 3},
        "noisy": {"noisy": True},
        "noisy_step": {"noisy": True, "noise_every": 1},
        "c51": {"distribution": "c51"},
        "quantile": {"distribution": "quantile"},
        "rainbow": METHOD,
        "rainbow_step": {**METHOD, "noise_every": 1},
        "rainbow_quantile": {**METHOD, "distribution": "quantile"},
    }
    for left_out in METHOD:
        rest = {field: value for field, value in METHOD.items() if field != left_out}
        expected["no_" + left_out] = rest
    assert changes("07") == expected


def test_pong_variants_differ_by_their_switches_only():
    expected = {"dqn": {}, "c51": {"distribution": "c51"}, "rainbow": METHOD}
    expected |= {name: {name: METHOD[name]} for name in METHOD if name != "distribution"}
    assert changes("07-pong") == expected
