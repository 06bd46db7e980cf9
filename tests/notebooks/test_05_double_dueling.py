"""Notebook 05: targets and streams against numbers worked out by hand, probes, planted faults."""

from dataclasses import asdict, replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium.wrappers import TimeLimit

from helpers.ablation import holm
from helpers.replay import Transition
from tests.faults import planted
from tests.test_probes import PROBES, ActionDependent, Delayed
from tools.definitions import TWINS, define

TWIN = TWINS / "05_double_dueling.py"
NAMES = [
    "Agent",
    "Environment",
    "greedy_episodes",
    "actual_return",
    "share_of_left",
    "largest_estimate",
    "corrected_p_values",
    "Study",
    "MeasuringBrain",
]


@pytest.fixture(scope="module")
def source():
    return TWIN.read_text(encoding="utf-8")


@pytest.fixture
def nb(source):
    return define(source, NAMES)


def slow_target(batch, q_net, target_net, gamma, double):
    """Targets, one transition after another, in plain Python."""
    targets = []
    for reward, next_obs, terminated in zip(
        batch.reward.tolist(), batch.next_obs, batch.terminated.tolist(), strict=True
    ):
        q, target_q = q_net(next_obs[None])[0].tolist(), target_net(next_obs[None])[0].tolist()
        chosen = q.index(max(q)) if double else target_q.index(max(target_q))
        targets.append(reward if terminated else reward + gamma * target_q[chosen])
    return targets


@pytest.mark.parametrize("rule, double", [("td_target", False), ("double_target", True)])
def test_targets_equal_a_slow_reference(nb, rule, double):
    torch.manual_seed(0)
    networks = [nb["QNetwork"](nb["Config"](num_actions=3), hidden=16) for _ in range(2)]
    batch = Transition(
        None, None, torch.randn(64), torch.randn(64, 4), (torch.rand(64) < 0.3).float()
    )
    found = nb[rule](batch, *networks, 0.9)
    expected = slow_target(batch, *networks, 0.9, double)
    assert found.tolist() == pytest.approx(expected, abs=1e-5)
    assert not found.requires_grad


def test_advantages_are_centred(nb):
    torch.manual_seed(0)
    value, advantage = torch.randn(8, 1), torch.randn(8, 5)
    q = nb["combine"](value, advantage)
    torch.testing.assert_close(q.mean(dim=1), value[:, 0])  # V is the mean of the Q-values
    torch.testing.assert_close(q, nb["combine"](value, advantage + 7.0))  # a shift of A is nothing


def test_plain_network_is_two_hidden_layers_on_scaled_observations(nb):
    torch.manual_seed(0)
    net, obs = nb["QNetwork"](nb["Config"]()), torch.randn(32, 4)
    x = obs / torch.tensor([2.4, 2.0, 0.21, 2.0])
    layers = [(p.weight, p.bias) for p in net.modules() if isinstance(p, torch.nn.Linear)]
    assert [tuple(weight.shape) for weight, _ in layers] == [(128, 4), (128, 128), (2, 128)]
    for i, (weight, bias) in enumerate(layers):
        x = (x.relu() if i else x) @ weight.T + bias
    torch.testing.assert_close(net(obs), x)


class Pushed:
    """100 games that end after 1, 2, 3, … steps, the even ones by the clock."""

    def reset(self, seed):
        self.steps = 0
        return np.zeros((100, 4), np.float32), {}

    def step(self, action):
        self.steps += 1
        over, even = self.steps == np.arange(1, 101), np.arange(1, 101) % 2 == 0
        return np.zeros((100, 4), np.float32), None, over & ~even, over & even, {}


def test_predictions_and_lengths_of_known_games(source):
    nb = define(source, NAMES)
    nb["ARENA"] = Pushed()
    brain = nb["Brain"](nb["Config"](), np.random.default_rng(0))
    for p in brain.q_net.parameters():
        torch.nn.init.zeros_(p)
    torch.nn.init.constant_(list(brain.q_net.parameters())[-1], 3.5)
    predicted, length, fell = nb["greedy_episodes"](brain, seed=0)
    assert predicted.tolist() == [3.5] * 100 and length.tolist() == list(range(1, 101))
    assert fell.tolist() == [True, False] * 50


def test_actual_return_equals_a_sum_over_the_rewards(nb):
    for length in (1, 2, 30):
        for fell in (True, False):
            for fall_only in (True, False):
                rewards = [0.0] * length if fall_only else [1.0] * length
                if fall_only and fell:
                    rewards[-1] = -1.0
                expected = sum(r * 0.9**t for t, r in enumerate(rewards))
                found = nb["actual_return"](np.array([length]), np.array([fell]), 0.9, fall_only)
                assert found[0] == pytest.approx(expected)


def slow_share_of_left(double, seed, episodes, alpha=0.1):
    """One run after another, one table entry at a time (Sutton & Barto 2018, section 6.7)."""
    rng, shares = np.random.default_rng(seed), np.zeros(episodes)
    runs = 1_000
    for _ in range(runs):
        a, b = np.zeros((2, 2)), np.zeros((2, 10))

        def choose(q, epsilon=0.1):
            if rng.random() < epsilon:
                return rng.integers(len(q))
            return rng.choice(np.flatnonzero(q == q.max()))

        for episode in range(episodes):
            if choose(a.sum(0)) == 1:
                continue
            shares[episode] += 1 / runs
            i = rng.integers(2) if double else 0
            j = 1 - i if double else 0
            a[i, 0] += alpha * (b[j, choose(b[i], 0.0)] - a[i, 0])
            action, i = choose(b.sum(0)), rng.integers(2) if double else 0
            b[i, action] += alpha * (rng.normal(-0.1, 1) - b[i, action])
    return shares


@pytest.mark.parametrize("double", [False, True])
def test_tabular_learning_equals_a_slow_reference(nb, double):
    fast = nb["share_of_left"](double, np.random.default_rng(0), runs=4_000, episodes=60)
    slow = slow_share_of_left(double, 1, 60)
    assert fast.shape == (60,) and fast == pytest.approx(slow, abs=0.07)  # 4 standard errors
    assert fast.mean() == pytest.approx(slow.mean(), abs=0.02)
    assert (fast.max() > 0.9) != double


def test_ties_are_broken_at_random_and_epsilon_explores(nb):
    rng = np.random.default_rng(0)
    q = np.tile([0.0, 1.0, 1.0], (30_000, 1))
    share = np.bincount(nb["epsilon_greedy"](q, rng, 0.3), minlength=3) / 30_000
    assert share == pytest.approx([0.1, 0.45, 0.45], abs=0.01)


def test_largest_estimate_equals_counting(nb):
    for n in range(1, 8):
        counted = np.mean([max(case) for case in product((-1, 1), repeat=n)])
        assert nb["largest_estimate"](n) == pytest.approx(counted)


def test_holm_equals_the_helper(nb):
    rng = np.random.default_rng(0)
    for size in (1, 2, 5, 12):
        p = rng.random(size) ** 3
        assert nb["corrected_p_values"](p) == pytest.approx(holm(p))


def probe(nb, kind, **changes):
    """Train the notebook's Brain on a probe; fail if a Q-value is off."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    settings = dict(
        agent_steps=1_250, gamma=0.9, epsilon_end=1.0, batch=32, learn_start=60, train_every=1,
        updates_per_train=1, lr=0.01, target_every=10,
    )  # fmt: skip
    config = nb["Config"](**{**settings, **changes})
    nb["OBS_SCALE"] = (1.0,)
    brain = nb["Brain"](config, np.random.default_rng(0), obs_size=1)
    nb["Environment"](nb["Agent"](brain), config, seed=0, env=TimeLimit(kind(), 5)).run()
    for obs, expected in kind.expected.items():
        learned = brain.q_values(np.array([[obs]], np.float32))[0].tolist()
        tolerance = getattr(kind, "tolerance", 0.1)
        assert learned == pytest.approx(expected, abs=tolerance), f"{kind.__name__}, obs {obs}"


METHODS = {
    "dqn": {}, "double": {"double": True}, "dueling": {"dueling": True},
    "both": {"double": True, "dueling": True},
}  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", PROBES, ids=lambda kind: kind.__name__)
def test_known_values_are_learned(nb, kind, method):
    probe(nb, kind, **METHODS[method])


FAULTS = {  # (text, broken text, the probe that must notice)
    "judged action is not the chosen one": (
        "gather(1, best[:, None])", "gather(1, 1 - best[:, None])", Delayed,
    ),
    "worst action chosen": ("(batch.next_obs).argmax", "(batch.next_obs).argmin", Delayed),
    "mask of the end dropped": ("(1 - batch.terminated) * next_q", "next_q", ActionDependent),
    "value stream forgotten": (
        "return value + advantage - adv", "return 0 * value + advantage - adv", Delayed
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_noticed(source, fault):
    text, broken, kind = FAULTS[fault]
    assert text in source
    with pytest.raises(AssertionError):
        probe(define(planted(source, text, broken), NAMES), kind, double=True, dueling=True)


@pytest.mark.parametrize(
    "text, broken",
    [
        ("best = q_net(batch.next_obs)", "best = target_net(batch.next_obs)"),
        ("best = q_net(batch.next_obs)", "best = q_net(-batch.next_obs)"),
        ("target_q = target_net(batch.next_obs)", "target_q = q_net(batch.next_obs)"),
    ],
)
def test_the_wrong_network_is_noticed(source, text, broken):
    """In a probe both networks agree in the end, so this fault needs the slow reference."""
    assert text in source
    with pytest.raises(AssertionError):
        test_targets_equal_a_slow_reference(
            define(planted(source, text, broken), NAMES), "double_target", True
        )


def test_advantage_that_is_not_centred_is_noticed(source):
    text = " - advantage.mean(dim=1, keepdim=True)"
    with pytest.raises(AssertionError):
        test_advantages_are_centred(define(planted(source, text, ""), NAMES))


def test_only_the_switches_differ_between_variants(nb):
    plain = nb["Config"]()
    for double, rule in ((False, "td_target"), (True, "double_target")):
        brain = nb["Brain"](replace(plain, double=double), np.random.default_rng(0))
        assert brain.target_rule is nb[rule]


def test_many_actions_push_left_and_right_in_turns(nb):
    env = nb["make_cart"](16)
    assert env.action_space.n == 16
    for action in range(16):
        env.reset(seed=0)
        obs, *_ = env.step(action)
        assert (obs[1] > 0) == (action % 2 == 1)  # the cart's speed
    for dueling in (False, True):
        config = nb["Config"](num_actions=16, dueling=dueling)
        brain = nb["Brain"](config, np.random.default_rng(0))
        assert brain.q_values(np.zeros((3, 4), "f")).shape == (3, 16)
        explored = {brain.decide_action(np.zeros(4, "f")) for _ in range(400)}
        assert explored == set(range(16))
        assert nb["Environment"](None, config, seed=0).env.action_space.n == 16


def test_without_the_mean_the_streams_are_only_added(nb):
    torch.manual_seed(0)
    obs, config = torch.randn(5, 4), nb["Config"](dueling=True, num_actions=3)
    for kind, centred in ((nb["QNetwork"], True), (nb["UncentredNetwork"], False)):
        net = kind(config)
        features = net.body(obs / net.obs_scale)
        value, advantage = net.value(features), net.advantage(features)
        mean = advantage.mean(dim=1, keepdim=True) if centred else 0
        torch.testing.assert_close(net(obs), value + advantage - mean)


def test_variants_are_trained_as_their_switches_say(source):
    nb = define(source, [*NAMES, "Run", "train_variant"])
    asked, noted = [], [(5, 1.0), (10, 2.0), (11, 3.0), (20, 5.0), (21, 9.0)]
    brain = SimpleNamespace(corrections=noted)

    def train(config, seed, **how):
        asked.append((seed, how))
        return nb["Run"](brain, [], [(7, 10, 1.0), (7, 20, 2.0)], {}, None)

    nb["train"] = train
    for fall_only in (True, False):
        run = nb["train_variant"](nb["Study"](fall_only=fall_only), 7)
        how = dict(brain_class=nb["MeasuringBrain"], fall_only=fall_only)
        assert asked.pop() == (7, how)
        assert run.curve == [(7, 10, 1.0, 1.5), (7, 20, 2.0, 4.0)]
    for centred in (True, False):
        config = nb["Study"](dueling=True, centred=centred)
        brain = nb["MeasuringBrain"](config, np.random.default_rng(0))
        kind = nb["QNetwork"] if centred else nb["UncentredNetwork"]
        assert type(brain.q_net) is type(brain.target_net) is kind


def test_variants_differ_by_their_switches_only(source):
    nb = define(source, ["Config", "Study", "VARIANTS"])
    switches = {
        "dqn": {}, "double": {"double": True}, "dueling": {"dueling": True},
        "both": {"double": True, "dueling": True},
        "uncentred": {"dueling": True, "centred": False},
        "dqn_16": {"num_actions": 16}, "double_16": {"double": True, "num_actions": 16},
    }  # fmt: skip
    for name in ("dqn", "double", "dqn_16", "double_16"):
        switches[f"plain_{name}"] = {**switches[name], "fall_only": False}
    plain = asdict(nb["Study"]())
    found = {
        name: {key: value for key, value in asdict(config).items() if value != plain[key]}
        for name, config in nb["VARIANTS"].items()
    }
    assert found == switches


@pytest.mark.parametrize("rule, other", [("td_target", 5.5), ("double_target", 4.6)])
def test_measuring_changes_no_target_and_notes_the_mean_correction(nb, rule, other):
    """The batch of the text: the targets are 5.5 and 4.6 in one row, equal in the others."""
    q, target_q = torch.tensor([[2.0, 3], [3, 1], [2, 3]]), torch.tensor([[5.0, 4], [2, 1], [5, 4]])
    batch = Transition(
        None, None, torch.tensor([1.0, 0, 1]), torch.zeros(3, 4), torch.tensor([0.0, 0, 1])
    )
    config = nb["Study"](double=rule == "double_target")
    brain = nb["MeasuringBrain"](config, np.random.default_rng(0))
    for networks in ((lambda o: q, lambda o: target_q), (lambda o: target_q,) * 2):
        brain.agent_steps += 1
        found = brain.target_rule(batch, *networks, 0.9)
        torch.testing.assert_close(found, nb[rule](batch, *networks, 0.9))
    assert [step for step, _ in brain.corrections] == [1, 2]
    assert [c for _, c in brain.corrections] == pytest.approx([0.9 / 3, 0])
    assert nb[rule](batch, lambda o: q, lambda o: target_q, 0.9)[0] == pytest.approx(other)


def test_measuring_changes_no_training(nb):
    weights = []
    for kind in ("Brain", "MeasuringBrain"):
        torch.manual_seed(0)
        config = nb["Study"](agent_steps=128, learn_start=64, batch=32)
        brain = nb[kind](config, np.random.default_rng(0))
        nb["Environment"](nb["Agent"](brain), config, seed=0).run()
        assert brain.updates == 32
        weights.append([p.detach() for p in brain.q_net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
