"""Notebook 05: targets and streams against numbers worked out by hand, probes, planted faults."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from gymnasium.wrappers import TimeLimit

from helpers.replay import Transition
from tests.test_probes import PROBES, ActionDependent, Delayed
from tools.definitions import TWINS, define

TWIN = TWINS / "05_double_dueling.py"
NAMES = [
    *(
        "Config",
        "combine",
        "td_target",
        "double_target",
        "QNetwork",
        "stream",
        "make_batch",
        "epsilon",
    ),
    *("descend", "Brain", "Agent", "Environment", "make_cart", "ARENA", "promise_and_return"),
    *("double_cut", "taught"),
]


@pytest.fixture(scope="module")
def source():
    return TWIN.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
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
    config = nb["Config"](hidden=(16, 16))
    networks = [nb["QNetwork"](config, 4, 3) for _ in range(2)]
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


def test_plain_network_computes_what_notebook_03s_does(nb):
    nb03 = define((TWINS / "03_target_network.py").read_text(), ["Config", "OURS", "QNetwork"])
    theirs, ours = nb03["QNetwork"](nb03["OURS"], 4, 2), nb["QNetwork"](nb["Config"](), 4, 2)
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    obs = torch.randn(32, 4)
    torch.testing.assert_close(ours(obs), theirs(obs))


class Pushed:
    """100 games that end after 1, 2, 3, … steps, reward 1 a step; obs is what happened so far."""

    num_envs = 100

    def reset(self, seed):
        self.steps = 0
        return np.zeros((100, 4), np.float32), {}

    def step(self, action):
        self.steps += 1
        over = self.steps == np.arange(1, 101)
        return np.zeros((100, 4), np.float32), np.ones(100), over, np.zeros(100, bool), {}


def test_promise_and_return_of_known_games(source):
    nb = define(source, NAMES)
    nb["ARENA"] = {False: Pushed()}
    brain = nb["Brain"](nb["Config"](only_fall_counts=False, gamma=0.9), np.random.default_rng(0))
    for p in brain.q_net.parameters():
        torch.nn.init.zeros_(p)
    torch.nn.init.constant_(list(brain.q_net.parameters())[-1], 3.5)
    promise, came, length = nb["promise_and_return"](brain, seed=0)
    assert promise == pytest.approx(3.5) and length == pytest.approx(50.5)
    assert came == pytest.approx(np.mean([(1 - 0.9**t) / 0.1 for t in range(1, 101)]))


def probe(nb, kind, **changes):
    """Train the notebook's Brain on a probe; fail if a Q-value is off."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    settings = dict(
        agent_steps=2_500, gamma=0.9, hidden=(32, 32), obs_scale=(1.0,), epsilon_end=1.0,
        capacity=500, batch=32, learn_start=60, train_every=1, updates_per_train=1, lr=0.01,
        target_every=10,
    )  # fmt: skip
    config = nb["Config"](**{**settings, **changes})
    brain = nb["Brain"](config, np.random.default_rng(0), obs_size=1, num_actions=2)
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
    "value stream forgotten": ("return value + advantage", "return 0 * value + advantage", Delayed),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_noticed(source, fault):
    text, broken, kind = FAULTS[fault]
    assert text in source
    with pytest.raises(AssertionError):
        probe(define(source.replace(text, broken), NAMES), kind, double=True, dueling=True)


@pytest.mark.parametrize(
    "text, broken",
    [
        ("best = q_net(batch.next_obs)", "best = target_net(batch.next_obs)"),
        ("best = q_net(batch.next_obs)", "best = q_net(-batch.next_obs)"),
        ("next_q = target_net(batch.next_obs).gather", "next_q = q_net(batch.next_obs).gather"),
    ],
)
def test_the_wrong_network_is_noticed(source, text, broken):
    """In a probe both networks agree in the end, so this fault needs the slow reference."""
    assert text in source
    with pytest.raises(AssertionError):
        test_targets_equal_a_slow_reference(
            define(source.replace(text, broken), NAMES), "double_target", True
        )


def test_advantage_that_is_not_centred_is_noticed(source):
    text = " - advantage.mean(dim=1, keepdim=True)"
    with pytest.raises(AssertionError):
        test_advantages_are_centred(define(source.replace(text, ""), NAMES))


def test_only_the_switches_differ_between_variants(nb):
    plain = nb["Config"]()
    for double, rule in ((False, "td_target"), (True, "double_target")):
        brain = nb["Brain"](replace(plain, double=double), np.random.default_rng(0))
        assert brain.target_rule is nb[rule]


def test_copies_of_the_actions_push_left_and_right_in_turns(nb):
    config = nb["Config"](copies=8)
    env = nb["make_cart"](config)
    assert env.action_space.n == 16
    for action in range(16):
        env.reset(seed=0)
        obs, *_ = env.step(action)
        assert (obs[1] > 0) == (action % 2 == 1)  # the cart's speed
    few, many = (
        nb["Brain"](config, np.random.default_rng(0), num_actions=n).q_values(np.zeros((3, 4), "f"))
        for n in (2, 16)
    )
    assert few.shape == (3, 2) and many.shape == (3, 16)


def test_without_the_mean_the_streams_are_only_added(nb):
    torch.manual_seed(0)
    net = nb["QNetwork"](nb["Config"](dueling=True, centred=False), 4, 3)
    obs = torch.randn(5, 4)
    features = net.body(obs / net.obs_scale)
    torch.testing.assert_close(net(obs), net.value(features) + net.advantage(features))
    net.centred = True
    torch.testing.assert_close(net(obs).mean(dim=1), net.value(features)[:, 0])


def test_squared_loss_feels_a_large_error_more(nb):
    """One update by plain descent from an error of -10: Huber's gradient is 1, the squared 20."""
    moved = {}
    for squared in (False, True):
        config = nb["Config"](batch=1, learn_start=1, squared=squared, clip_norm=1e9, lr=1e-3)
        torch.manual_seed(0)
        brain = nb["Brain"](config, np.random.default_rng(0))
        brain.optimizer = torch.optim.SGD(brain.q_net.parameters(), lr=1e-3)
        obs = np.zeros(4, np.float32)
        brain.memory.push(obs, 0, -10.0, obs, True)
        before, error = brain.q_net.q[2].bias.detach().clone(), 10 + brain.q_values(obs[None])[0, 0]
        brain.update()
        moved[squared] = (before - brain.q_net.q[2].bias.detach())[0].item() / 1e-3
    assert moved[False] == pytest.approx(1.0, rel=1e-3)
    assert moved[True] == pytest.approx(2 * error, rel=1e-3)


def test_variants_differ_by_their_switches_only(source):
    nb = define(source, ["Config", "DQN", "DOUBLE", "DUELING", "BOTH", "VARIANTS"])
    switches = {
        "dqn": set(), "double": {"double"}, "dueling": {"dueling"}, "both": {"double", "dueling"},
        "uncentred": {"dueling", "centred"},
        "promise_dqn": {"only_fall_counts"},
        "promise_double": {"only_fall_counts", "double"},
        "promise_dqn_16": {"only_fall_counts", "copies"},
        "promise_double_16": {"only_fall_counts", "copies", "double"},
        "promise_squared": {"only_fall_counts", "squared"},
    }  # fmt: skip
    plain = asdict(nb["Config"]())
    found = {
        name: {field for field, value in asdict(config).items() if value != plain[field]}
        for name, config in nb["VARIANTS"].items()
    }
    assert found == switches


def test_cut_is_how_much_lower_double_targets_are(nb):
    """Memory: half of the rows ended. Networks: 5 against 4, a difference of 1 where none ended."""
    brain = nb["Brain"](nb["Config"](gamma=0.9), np.random.default_rng(0))
    for row in range(1_000):
        brain.memory.push(np.zeros(4, np.float32), 0, 0.0, np.zeros(4, np.float32), row % 2 == 0)
    brain.q_net = lambda obs: torch.tensor([[2.0, 3.0]]).expand(len(obs), 2)
    brain.target_net = lambda obs: torch.tensor([[5.0, 4.0]]).expand(len(obs), 2)
    assert nb["double_cut"](brain) == pytest.approx(0.9 * 1 * 0.5, abs=0.05)
    brain.q_net = brain.target_net
    assert nb["double_cut"](brain) == 0


def test_what_rewards_can_have_taught_counts_the_copies(nb):
    """Against a loop that counts trainings, updates and copies one after another."""
    config = nb["Config"]()
    updates = copies = 0
    for agent_steps in range(1, 6_001):
        if agent_steps % config.train_every == 0 and agent_steps >= config.learn_start:
            for _ in range(config.updates_per_train):
                updates += 1
                copies += updates % config.target_every == 0
        if agent_steps % 500 == 0 and agent_steps >= config.learn_start:
            largest = sum(config.gamma**k for k in range(copies + 1))
            assert nb["taught"](config, agent_steps) == pytest.approx(largest)
    assert copies > 10
