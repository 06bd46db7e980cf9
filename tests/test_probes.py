"""Tiny environments with known Q-values, run through the notebooks' own Brain and loop.

Each probe isolates one part of DQN, so a failing probe says where to look. Below them the same
notebook is broken on purpose, fault by fault: a fault that no probe notices is a hole here.
Source: the idea of probe environments is common in reinforcement learning courses.
"""

import gymnasium as gym
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gymnasium.wrappers import TimeLimit

from helpers.replay import Transition
from tests.faults import planted
from tools.definitions import TWINS, define

TWIN = TWINS / "03_target_network.py"
NAMES = ["Agent", "Environment", "PLAIN", "RecipeBrain"]


class Probe(gym.Env):
    """A game of one or two turns; obs is one number."""

    action_space = gym.spaces.Discrete(2)
    observation_space = gym.spaces.Box(-2, 2, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.turn, self.start = 0, self.first()
        return np.array([self.start], np.float32), {}

    def first(self):
        return 1.0


class Bandit(Probe):
    """One turn, reward 1: are rewards learned, is nothing added after the end?"""

    expected = {1.0: (1.0, 1.0)}  # noqa: RUF012

    def step(self, action):
        return np.ones(1, np.float32), 1.0, True, False, {}


class Delayed(Probe):
    """Two turns, the reward comes in the second: is it discounted back, through the target?"""

    expected = {-1.0: (0.9, 0.9), 1.0: (0.0, 1.0)}  # noqa: RUF012

    def first(self):
        return -1.0

    def step(self, action):
        self.turn += 1
        reward = float(action) if self.turn == 2 else 0.0  # the best action counts: max, not mean
        return np.ones(1, np.float32), reward, self.turn == 2, False, {}


class StateDependent(Probe):
    """One turn, reward = obs: are observations told apart?"""

    expected = {-1.0: (-1.0, -1.0), 1.0: (1.0, 1.0)}  # noqa: RUF012

    def first(self):
        return float(self.np_random.choice([-1.0, 1.0]))

    def step(self, action):
        return np.ones(1, np.float32), self.start, True, False, {}


class ActionDependent(Probe):
    """One turn, reward -1 or +1: is the value of the action taken the one that is trained?"""

    expected = {1.0: (-1.0, 1.0)}  # noqa: RUF012

    def step(self, action):
        return np.ones(1, np.float32), 2.0 * action - 1.0, True, False, {}


class Fork(Probe):
    """Two turns: the first action decides which obs follows, and that obs is the reward."""

    expected = {0.0: (-0.9, 0.9), -1.0: (-1.0, -1.0), 1.0: (1.0, 1.0)}  # noqa: RUF012

    def first(self):
        return 0.0

    def step(self, action):
        self.turn += 1
        if self.turn == 1:
            self.start = 2.0 * action - 1.0
            return np.array([self.start], np.float32), 0.0, False, False, {}
        return np.ones(1, np.float32), self.start, True, False, {}


class Endless(Probe):
    """Reward 1 for ever, cut off by the clock after 5 turns: worth 1 / (1 - 0.9) = 10."""

    expected = {1.0: (10.0, 10.0)}  # noqa: RUF012
    tolerance = 0.5

    def step(self, action):
        return np.ones(1, np.float32), 1.0, False, False, {}


PROBES = [Bandit, Delayed, StateDependent, ActionDependent, Fork, Endless]
FOLLOW = {"hard": {"target_every": 10}, "soft": {"tau": 0.1}}


def probe(nb, kind, **changes):
    """Train the notebook's Brain on a probe; fail if a Q-value is off."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    settings = dict(
        agent_steps=1_000,
        gamma=0.9,
        hidden=(16,),
        obs_scale=1.0,
        epsilon_end=1.0,
        capacity=500,
        batch=32,
        learn_start=60,
        train_every=1,
        updates_per_train=1,
        lr=0.01,
        clip_norm=1e9,
        target_every=10,
    )
    soft = "tau" in changes  # soft updates are those of the other recipes
    config = nb["RecipeConfig" if soft else "Config"](**{**settings, **changes})
    kind_of_brain = nb["RecipeBrain" if soft else "Brain"]
    brain = kind_of_brain(config, np.random.default_rng(0), obs_size=1, num_actions=2)
    brain.loss = F.mse_loss
    env = TimeLimit(kind(), 5)
    nb["Environment"](nb["Agent"](brain), config, seed=0, env=env).run()
    assert brain.updates > 900
    for obs, expected in kind.expected.items():
        with torch.inference_mode():
            learned = brain.q_net(torch.tensor([[obs]]))[0].tolist()
        tolerance = getattr(kind, "tolerance", 0.1)
        assert learned == pytest.approx(expected, abs=tolerance), f"{kind.__name__}, obs {obs}"


@pytest.fixture(scope="module")
def source():
    return TWIN.read_text(encoding="utf-8")


@pytest.mark.parametrize("how", FOLLOW)
@pytest.mark.parametrize("kind", PROBES, ids=lambda kind: kind.__name__)
def test_known_values_are_learned(source, kind, how):
    probe(define(source, NAMES), kind, **FOLLOW[how])


FAULTS = {  # what to break: (text, broken text, the probe that must notice)
    "sign of the target flipped": (
        "return batch.reward + gamma *",
        "return -batch.reward - gamma *",
        Bandit,
    ),
    "mask of the end dropped": ("next_q * ~batch.terminated", "next_q", Bandit),
    "time limit treated as terminal": (
        "Transition(obs, action, reward, next_obs, terminated)",
        "Transition(obs, action, reward, next_obs, terminated or truncated)",
        Endless,
    ),
    "target never copied": (
        "target_net.load_state_dict(q_net.state_dict())",
        "pass",
        Delayed,
    ),
    "maximum over the batch": (".max(dim=1).values", ".max(dim=0).values", Delayed),
    "maximum over the batch, broadcast": (
        ".max(dim=1).values",
        ".max(dim=0).values.max().expand(len(batch.obs))",
        Fork,
    ),
    "minimum instead of maximum": (".max(dim=1).values", ".min(dim=1).values", Delayed),
    "value of the other action trained": (
        "gather(1, batch.action[:, None])",
        "gather(1, 1 - batch.action[:, None])",
        ActionDependent,
    ),
    "target from q_net's own obs": (
        "target_net(batch.next_obs)",
        "target_net(batch.obs)",
        Delayed,
    ),
    "gradients never cleared": ("self.optimizer.zero_grad()", "pass", Delayed),
    "reward forgotten": ("return batch.reward + gamma *", "return gamma *", Bandit),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_noticed(source, fault):
    text, broken, kind = FAULTS[fault]
    nb = define(planted_in_core(source, text, broken), NAMES)
    with pytest.raises((AssertionError, RuntimeError)):  # a wrong value, or shapes that clash
        probe(nb, kind)


def test_soft_updates_that_never_move_are_noticed(source):
    nb = define(planted_in_core(source, "target_weight.lerp_(weight, tau)", "pass"), NAMES)
    with pytest.raises(AssertionError):
        probe(nb, Delayed, **FOLLOW["soft"])


def planted_in_core(source, text, broken):
    """The source with one text replaced in its core, above other people's recipes."""
    end = source.index("class RecipeConfig")
    return planted(source[:end], text, broken) + source[end:]


@pytest.mark.parametrize("kind", PROBES, ids=lambda kind: kind.__name__)
def test_known_values_are_learned_without_a_target_network_too(kind):
    """Notebook 02's Brain, which takes observations of four numbers."""
    twin = TWINS / "02_cartpole_dqn.py"
    names = {"Config", "make_network", "make_batch", "td_target", "pick", "fit_once", "Brain"}
    nb = define(twin.read_text(encoding="utf-8"), names)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    config = nb["Config"](hidden=(16,), capacity=500, gamma=0.9, lr=0.003)
    brain = nb["Brain"](config, rng)
    env = TimeLimit(kind(), 5)
    obs, _ = env.reset(seed=0)
    for _ in range(1_200):
        action = int(rng.integers(2))
        next_obs, reward, terminated, truncated, _ = env.step(action)
        four = (np.pad(o, (0, 3)) for o in (obs, next_obs))
        brain.learn(Transition(next(four), action, reward, next(four), terminated))
        obs = env.reset()[0] if terminated or truncated else next_obs
    for obs, expected in kind.expected.items():
        learned = brain.q_net(torch.tensor([[obs, 0.0, 0.0, 0.0]]))[0].tolist()
        tolerance = getattr(kind, "tolerance", 0.1)
        assert learned == pytest.approx(expected, abs=tolerance), f"{kind.__name__}, obs {obs}"
