# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags
#     formats: notebooks//ipynb,notebooks/py//py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 5 · Double DQN and dueling networks
#
# **Q-learning overestimates; two changed lines can remove much of the error.**
# On CartPole with 16 actions and −1 for the fall, DQN overestimates returns by
# 2.6, Double DQN by 1.05 (means of 20 seeds). Yet Double DQN plays worse there.
#
# [1 Q-table](01_q_table.ipynb) → [2 Q-network](02_cartpole_dqn.ipynb) →
# [3 target network](03_target_network.ipynb) → [4 Pong](04_pong_dqn.ipynb) →
# **5 double & dueling** → [6 prioritized & n-step](06_prioritized_nstep.ipynb)
# → [7 Rainbow](07_rainbow.ipynb) →
# [8 faster training](08_faster_training.ipynb)
#
# *40 minutes to read and run, 35 minutes of exercises; quick mode: 1 minute.*

# %% tags=["setup", "hide-input"]
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from helpers.runtime import start

QUICK = start(
    "05_double_dueling",
    trains="one double and dueling agent on CartPole-v1",
    full=1,
    quick=0.5,
)

# %% [markdown]
# ## You will be able to
#
# - explain where the overestimation of Q-learning comes from, and compute it
#   for small cases,
# - write Double DQN, and name the two lines that differ from DQN,
# - build a dueling network, and explain why it subtracts a mean,
# - compare methods over seeds: paired, with intervals, corrected for the
#   number of comparisons.
#
# **What changes from [notebook 3](03_target_network.ipynb):** the Brain's
# target rule and its network, marked `# CHANGED`.
#
# **Papers:** van Hasselt 2010 (Double Q-learning); [van Hasselt, Guez and
# Silver 2015](https://arxiv.org/abs/1509.06461) (Double DQN); [Wang et al.
# 2016](https://arxiv.org/abs/1511.06581) (dueling networks).

# %% [markdown]
# ## Why the maximum overestimates
#
# Two actions, both worth exactly 0. We have estimated each value once, and
# each estimate is off by +1 or −1 with equal chance. Q-learning uses the
# *largest* estimate:
#
# | estimate for a | estimate for b | largest |
# |---|---|---|
# | −1 | −1 | −1 |
# | −1 | +1 | +1 |
# | +1 | −1 | +1 |
# | +1 | +1 | +1 |
#
# On average the largest is $\tfrac24=0.5$, although no action is worth more
# than 0. Each estimate is right on average; their maximum is not. This is
# **maximization bias**: the maximum of noisy estimates is, on average, too
# large. When it makes Q-values too high, we say that the agent
# **overestimates**.

# %% [markdown]
# Van Hasselt's fix (2010) is **Double Q-learning**: make *two* independent
# estimates of every value. One **selects** the action, the other **evaluates**
# it. If luck made an action look good in the first estimate, the second does
# not share that luck.

# %% tags=["nbval-check-output"]
from itertools import product

cases = list(product((-1, +1), repeat=2))
single = [max(case) for case in cases]
double = [
    evaluates[selects.index(max(selects))]
    for selects, evaluates in product(cases, repeat=2)
]
print(f"largest of one pair: {sum(single) / len(single)} ({len(single)} cases)")
print(f"double estimate:     {sum(double) / len(double)} ({len(double)} cases)")

# %% [markdown]
# The largest estimate is 0.5 on average; the double estimate is 0, the true
# value.
#
# **Exercise 5.1** (●●○, 10 min). What if there are more actions? Each is worth
# 0, each estimate is −1 or +1 with equal chance. Compute the exact mean of the
# largest of `num_actions` estimates. (In how many cases is the largest −1?)

# %%
from exercises.double_dueling import check_largest_estimate


def my_largest_estimate(num_actions):
    """Mean of the largest of num_actions estimates."""
    # your code here


check_largest_estimate(my_largest_estimate)

# %% tags=["hide-input"]
# @title Our version


def largest_estimate(num_actions):
    """Mean of the largest of num_actions estimates."""
    all_low = 0.5**num_actions  # the only case without a +1
    return (1 - all_low) * 1 + all_low * -1


# %% tags=["nbval-check-output"]
for num_actions in (1, 2, 4, 8, 16):
    largest = largest_estimate(num_actions)
    print(f"{num_actions:>2} actions: {largest:.4f}")

# %% [markdown]
# With 8 actions the largest estimate is already +1 in 255 of 256 cases. The
# more actions there are, the larger the bias. The figure shows the same for
# normally distributed errors; a second estimate (blue) has no bias.

# %% tags=["hide-input"]
# @title The bias grows with the number of actions
import matplotlib.pyplot as plt
import numpy as np
from helpers.plotting import show

rng = np.random.default_rng(0)
actions = [1, 2, 4, 8, 16, 32, 64]
one, two = [], []
for number in actions:
    first, second = rng.normal(size=(2, 20_000, number))  # true values: 0
    one.append(first.max(axis=1).mean())
    two.append(second[np.arange(20_000), first.argmax(axis=1)].mean())
assert abs(one[1] - 1 / np.sqrt(np.pi)) < 0.02  # known for two actions
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.plot(
    actions, one, "o-", color="#e8743b", label="one selects and evaluates"
)
axes.plot(actions, two, "o-", color="#1f4e8c", label="another one evaluates")
axes.axhline(0, color="0.5", linestyle="--", linewidth=1)
axes.set_xscale("log", base=2)
axes.set_xticks(actions, actions)
axes.set_title("The maximum of noisy estimates is too high")
axes.set_xlabel("number of actions, all worth 0")
axes.set_ylabel("mean error\n[standard deviations]")
axes.legend(fontsize=9)
show(figure, "05_maximum")

# %% [markdown]
# ## Double Q-learning in a table
#
# Does this bias matter? Here is a small case in which it does (Sutton and
# Barto 2018, section 6.7). The agent starts in A. **Right** ends the episode
# with reward 0. **Left** leads to B with reward 0; each of the 10 actions in B
# ends the episode with a random reward of mean −0.1 and standard deviation 1.
# Going left is worth −0.1, so it is a mistake.
#
# Double Q-learning keeps two tables. In each update a coin flip decides which
# one learns: it selects the action in the target, and the other evaluates it.
# The code does 4,000 runs at once.


# %%
def epsilon_greedy(q, rng, epsilon):
    """One action for each run, from Q-values (runs, A); ties are random."""
    best = (q + 1e-9 * rng.random(q.shape)).argmax(axis=1)
    explore = rng.random(len(q)) < epsilon
    return np.where(explore, rng.integers(q.shape[1], size=len(q)), best)


def share_of_left(double, rng, runs=4_000, episodes=300, alpha=0.1):
    """Share of the runs that go left in A, in each episode (γ = 1)."""
    run, shares = np.arange(runs), []
    q_a, q_b = np.zeros((2, runs, 2)), np.zeros((2, runs, 10))  # 2 tables each
    for _ in range(episodes):
        left = epsilon_greedy(q_a.sum(axis=0), rng, 0.1) == 0
        shares.append(left.mean())
        learns = rng.integers(2, size=runs) if double else np.zeros(runs, int)
        judges = 1 - learns if double else learns
        best = epsilon_greedy(q_b[learns, run], rng, 0)  # selected by one,
        target = q_b[judges, run, best]  # evaluated by the other
        q_a[learns, run, 0] += alpha * left * (target - q_a[learns, run, 0])

        action = epsilon_greedy(q_b.sum(axis=0), rng, 0.1)
        learns = rng.integers(2, size=runs) if double else learns
        error = rng.normal(-0.1, 1, runs) - q_b[learns, run, action]
        q_b[learns, run, action] += alpha * left * error
    return np.array(shares)


# %%
left = {
    "Q-learning": share_of_left(False, np.random.default_rng(0)),
    "Double Q-learning": share_of_left(True, np.random.default_rng(0)),
}
for name, shares in left.items():
    chosen = ", ".join(f"{shares[e - 1]:.0%}" for e in (1, 20, 100, 300))
    print(f"{name:<18} left in episode 1, 20, 100, 300: {chosen}")

# %% tags=["hide-input"]
# @title How often each method makes the mistake
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
for (name, shares), colour in zip(
    left.items(), ("#e8743b", "#1f4e8c"), strict=True
):
    axes.plot(np.arange(1, 301), 100 * shares, color=colour, label=name)
axes.axhline(5, color="0.4", linestyle="--", linewidth=1, label="optimal: 5 %")
axes.set_title("Q-learning goes left far too often")
axes.set(xlabel="episode", ylabel="runs that go left [%]", ylim=(0, 100))
axes.legend(fontsize=9)
show(figure, "05_tabular")

# %% [markdown]
# With ε = 0.1, even the optimal agent goes left in 5 % of the episodes: half of
# the random actions. In episode 20, 94 % of the Q-learning runs go left: some
# action in B has been lucky, and the maximum picks it. Double Q-learning is at
# 9 % by episode 100. Here overestimation *does* make a worse agent, because it
# makes the wrong action look better.

# %% [markdown]
# ## Double DQN
#
# DQN has two networks already. Its target network both selects and evaluates:
#
# $$y = r + \gamma \max_{a'} Q^-(s',a')
#   = r + \gamma\, Q^-\!\bigl(s', \arg\max_{a'} Q^-(s',a')\bigr).$$
#
# **Double DQN** lets the Q-network select and the target network evaluate:
#
# $$y = r + \gamma\, Q^-\!\bigl(s', \arg\max_{a'} Q(s',a')\bigr).$$
#
# The two networks are not independent, since one is an older copy of the other.
# So part of the error may remain. But no extra network is needed.


# %%
import torch


def td_target(batch, q_net, target_net, gamma):
    """DQN: the target network selects and evaluates, (B,)."""
    with torch.no_grad():
        next_q = target_net(batch.next_obs).max(dim=1).values  # (B, A) to (B,)
    return batch.reward + gamma * (1 - batch.terminated) * next_q


# %% [markdown]
# A batch by hand, γ = 0.9. The Q-values are those of the next observations;
# the largest of each row is bold.
#
# | reward | terminated | `q_net` | `target_net` | DQN | Double DQN |
# |---|---|---|---|---|---|
# | 1 | no | 2, **3** | **5**, 4 | 1 + 0.9 · 5 = 5.5 | 1 + 0.9 · 4 = 4.6 |
# | 0 | no | **3**, 1 | **2**, 1 | 0.9 · 2 = 1.8 | 0.9 · 2 = 1.8 |
# | 1 | yes | 2, **3** | **5**, 4 | 1 | 1 |
#
# They differ only in the first row, where the networks disagree about the best
# action and the episode goes on.
#
# **Exercise 5.2** (●●○, 10 min). Write Double DQN's target. `next_q` holds the
# Q-network's values of the next observations, `next_target_q` the target
# network's. Here `terminated` is Boolean: use `~terminated` where `td_target`
# has `1 - batch.terminated`.

# %%
from exercises.double_dueling import check_double_target


def my_double_target(reward, terminated, next_q, next_target_q, gamma):
    """Targets (B,); terminated is Boolean (B,), Q-values are (B, A)."""
    # your code here


check_double_target(my_double_target)

# %% tags=["hide-input"]
# @title Our version


def double_target(batch, q_net, target_net, gamma):
    """Double DQN: the Q-network selects, the target network evaluates, (B,)."""
    with torch.no_grad():
        best = q_net(batch.next_obs).argmax(dim=1)  # (B,)  # CHANGED
        target_q = target_net(batch.next_obs)  # (B, A)
        next_q = target_q.gather(1, best[:, None])[:, 0]  # (B,)  # CHANGED
    return batch.reward + gamma * (1 - batch.terminated) * next_q


# %% tags=["nbval-check-output"]
from helpers.replay import Transition

here = torch.zeros(3, 4)  # not used: the networks below return fixed numbers
reward, ended = torch.tensor([1.0, 0, 1]), torch.tensor([0.0, 0, 1])
batch = Transition(here, None, reward, here, ended)
q_says = torch.tensor([[2.0, 3], [3, 1], [2, 3]])
target_says = torch.tensor([[5.0, 4], [2, 1], [5, 4]])
networks = (lambda obs: q_says), (lambda obs: target_says)
for name, rule in {"DQN": td_target, "Double DQN": double_target}.items():
    y = rule(batch, *networks, gamma=0.9)
    print(f"{name:<11}", [round(value, 6) for value in y.tolist()])

# %% [markdown]
# Both rules return the numbers of the table. Double DQN's target is never the
# higher one: it takes *some* entry of a row; DQN takes the largest.

# %% [markdown]
# ## The dueling network
#
# When the pole is upright, left or right hardly matters; being upright matters
# a lot. A plain network learns this once per action. Wang et al. split it into
# two **streams**: the **value** $V(s)$, how good the state is, and the
# **advantage** $A(s,a)$, how much better an action is than the average action.
# A **dueling network** adds them:
#
# $$Q(s,a) = V(s) + A(s,a)
# - \tfrac{1}{|\mathcal A|}\textstyle\sum_{a'} A(s,a').$$
#
# Now every update trains $V$, whichever action was taken. For example, $V=10$
# and $A=(1,5,0)$ with mean 2 give $Q=(9,13,8)$.
#
# **Exercise 5.3** (●○○, 5 min). Write this formula for a batch.

# %%
from exercises.double_dueling import check_combine


def my_combine(value, advantage):
    """V (B, 1) and A (B, num_actions) to Q (B, num_actions)."""
    # your code here


check_combine(my_combine)

# %% tags=["hide-input"]
# @title Our version


def combine(value, advantage):
    """V (B, 1) and A (B, num_actions) to Q (B, num_actions)."""
    return value + advantage - advantage.mean(dim=1, keepdim=True)


# %% tags=["nbval-check-output"]
value, advantage = torch.tensor([[10.0]]), torch.tensor([[1.0, 5.0, 0.0]])
print("Q =", combine(value, advantage).tolist())
print("mean of Q =", combine(value, advantage).mean().item())

# %% [markdown]
# Why subtract the mean? Without it, $V+1$ with $A-1$ gives the same $Q$ as $V$
# with $A$. The loss cannot tell them apart, so V and A are not
# **identifiable**: the data does not determine them. Watch it happen: one
# state with true values 1 and 3, and gradient descent from three different
# starts.


# %%
def learned_value(start, subtract_mean):
    """V and the loss after learning Q = (1, 3) from V = start, A = (0, 0)."""
    value, advantage, truth = float(start), np.zeros(2), np.array([1.0, 3.0])
    for _ in range(500):  # gradient descent on the squared error
        mean = advantage.mean() if subtract_mean else 0
        error = value + advantage - mean - truth
        value -= 0.1 * error.sum()
        advantage -= 0.1 * (error - error.mean() * subtract_mean)
    return value, (error**2).sum()


# %% tags=["nbval-check-output"]
print("V at the start   V without the mean   V with the mean   largest loss")
for begin in (-10, 0, 10):
    (v, loss), (v_mean, loss_mean) = (
        learned_value(begin, subtract_mean=s) for s in (False, True)
    )
    worst = max(loss, loss_mean)
    print(f"{begin:>14}{v:>21.2f}{v_mean:>18.2f}{worst:>15.4f}")

# %% [markdown]
# Q is right in all six cases: the loss is 0. Without the mean, V depends on
# where it started. With it, V is always 2, the mean of the two Q-values.

# %% [markdown]
# ## The network and its configuration
#
# The settings are those of [notebook 3](03_target_network.ipynb), including its
# reward of −1 for the fall and 0 otherwise.

# %%
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Config:
    # new in this notebook
    double: bool = False  # CHANGED: Double DQN's target instead of DQN's
    dueling: bool = False  # CHANGED: two streams instead of one
    num_actions: int = 2  # CHANGED: even ones push left, odd ones right
    # as in notebook 3
    agent_steps: int = 50_000  # agent steps in all; also memory capacity
    gamma: float = 0.99  # discount per agent step
    epsilon_end: float = 0.04  # final probability of a random action
    epsilon_decay: int = 8_000  # agent steps until then, from 1
    batch: int = 128  # transitions in a mini-batch
    learn_start: int = 1_000  # transitions stored before the first update
    train_every: int = 64  # agent steps between two rounds of updates
    updates_per_train: int = 16  # updates in a round
    lr: float = 1e-3  # learning rate; falls to 0 over agent_steps
    clip_norm: float = 10.0  # largest norm of the gradient
    target_every: int = 64  # updates between two copies
    select_every: int = 2_500  # agent steps between two greedy evaluations


DQN = Config()
DOUBLE, DUELING = replace(DQN, double=True), replace(DQN, dueling=True)
BOTH = replace(DQN, double=True, dueling=True)

# %% [markdown]
# Both streams share a first layer. Each has half as many units as the second
# layer of the plain network, so that both networks have about the same number
# of weights.

# %%
from torch import nn

OBS_SCALE = (2.4, 2.0, 0.21, 2.0)  # metres, m/s, rad, rad/s


def stream(inputs, hidden, outputs):
    """One hidden layer and a linear output."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )


class QNetwork(nn.Module):
    """Observations (B, O) to one Q-value per action (B, A)."""

    def __init__(self, config, obs_size=4, hidden=128):
        super().__init__()
        self.register_buffer("obs_scale", torch.tensor(OBS_SCALE))
        self.body = nn.Sequential(nn.Linear(obs_size, hidden), nn.ReLU())
        self.dueling = config.dueling
        if self.dueling:  # CHANGED
            self.value = stream(hidden, hidden // 2, 1)
            self.advantage = stream(hidden, hidden // 2, config.num_actions)
        else:
            self.q = stream(hidden, hidden, config.num_actions)

    def forward(self, obs):
        features = self.body(obs / self.obs_scale)  # (B, hidden)
        if not self.dueling:
            return self.q(features)
        value, advantage = self.value(features), self.advantage(features)
        return combine(value, advantage)  # CHANGED


# %% tags=["nbval-check-output"]
for name, config in {"plain": DQN, "dueling": DUELING}.items():
    network = QNetwork(config)
    weights = sum(p.numel() for p in network.parameters())
    shape = tuple(network(torch.zeros(32, 4)).shape)
    print(f"{name:<8} Q-values {shape}, {weights:,} weights")

# %% [markdown]
# ## The Brain and the training loop
#
# The Brain is that of notebook 3, except that it now picks one of two target
# rules.

# %%
import torch.nn.functional as F
from helpers.replay import ReplayMemory


def make_batch(transitions):
    """List of B transitions to one Transition of tensors."""
    columns = Transition(*zip(*transitions, strict=True))
    return Transition(
        obs=torch.from_numpy(np.stack(columns.obs)),  # (B, O)
        action=torch.tensor(columns.action),  # (B,)
        reward=torch.tensor(columns.reward, dtype=torch.float32),
        next_obs=torch.from_numpy(np.stack(columns.next_obs)),
        terminated=torch.tensor(columns.terminated, dtype=torch.float32),
    )


def epsilon(config, agent_steps):
    """Probability of a random action now."""
    share = min(agent_steps / config.epsilon_decay, 1.0)
    return 1.0 + (config.epsilon_end - 1.0) * share


def descend(loss, optimizer, config, agent_steps):
    """One update of the weights, with a learning rate that falls to 0."""
    group = optimizer.param_groups[0]
    group["lr"] = config.lr * (1 - min(agent_steps / config.agent_steps, 1.0))
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(group["params"], config.clip_norm)
    optimizer.step()


# %%
class Brain:
    """A Q-network, its target network, and the rule by which it learns."""

    network = QNetwork

    def __init__(self, config, rng, obs_size=4):
        self.config, self.rng = config, rng
        self.q_net = self.network(config, obs_size)
        self.target_net = self.network(config, obs_size)
        self.target_net.load_state_dict(self.q_net.state_dict())
        rules = {False: td_target, True: double_target}  # CHANGED
        self.target_rule = rules[config.double]  # CHANGED
        self.memory = ReplayMemory(config.agent_steps, rng)
        self.optimizer = torch.optim.Adam(
            self.q_net.parameters(), lr=config.lr, fused=True
        )
        self.agent_steps = self.updates = self.copies = 0

    def q_values(self, obs):
        """Q-values (N, A) of observations (N, O), numpy to numpy."""
        with torch.inference_mode():
            return self.q_net(torch.from_numpy(obs)).numpy()

    def greedy(self, obs):
        """Best action for each of N observations (N, O): (N,) int64."""
        return self.q_values(obs).argmax(axis=1)

    def decide_action(self, obs):
        if self.rng.random() < epsilon(self.config, self.agent_steps):
            return int(self.rng.integers(self.config.num_actions))
        return int(self.greedy(obs[None])[0])

    def learn(self, transition):
        config = self.config
        self.memory.push(*transition)
        self.agent_steps += 1
        enough = len(self.memory) >= config.learn_start
        if self.agent_steps % config.train_every == 0 and enough:
            for _ in range(config.updates_per_train):
                self.update()

    def update(self):
        config = self.config
        batch = make_batch(self.memory.sample(config.batch))
        q = self.q_net(batch.obs).gather(1, batch.action[:, None])[:, 0]  # (B,)
        networks = self.q_net, self.target_net
        target = self.target_rule(batch, *networks, config.gamma)  # CHANGED
        assert q.shape == target.shape == (config.batch,)
        loss = F.smooth_l1_loss(q, target)
        descend(loss, self.optimizer, config, self.agent_steps)
        self.updates += 1
        if self.updates % config.target_every == 0:
            self.target_net.load_state_dict(self.q_net.state_dict())
            self.copies += 1


# %% [markdown]
# The loop is that of notebook 3, without early stopping. `make_cart` can offer
# more than two actions: of 16, eight push left and eight push right. The task
# stays the same, but the maximum now runs over 16 estimates.

# %%
import gymnasium as gym
from gymnasium.spaces import Discrete
from gymnasium.wrappers import TransformAction


class Agent:
    """The cart: asks its brain what to do and tells it what happened."""

    def __init__(self, brain):
        self.brain = brain

    def get_action(self, obs):
        return self.brain.decide_action(obs)

    def learn(self, transition):
        self.brain.learn(transition)


def make_cart(num_actions=2, fall_only=True, **how):
    """CartPole-v1; fall_only: reward -1 for the fall, else 1 a step."""
    env = gym.make("CartPole-v1", sutton_barto_reward=fall_only, **how)
    return TransformAction(env, lambda a: a % 2, Discrete(num_actions))


class Environment:
    """One CartPole-v1 (or another environment) and the training loop."""

    def __init__(self, agent, config, seed, env=None):
        self.agent, self.config, self.seed = agent, config, seed
        self.env = env or make_cart(config.num_actions)

    def run(self, progress=None, select=None):
        """Train for config.agent_steps; return the lengths of the episodes."""
        config, lengths, length = self.config, [], 0
        obs, _ = self.env.reset(seed=self.seed)
        for agent_steps in range(1, config.agent_steps + 1):
            action = self.agent.get_action(obs)
            next_obs, reward, terminated, truncated, _ = self.env.step(action)
            self.agent.learn(
                Transition(obs, action, reward, next_obs, terminated)
            )
            obs, length = next_obs, length + 1
            if terminated or truncated:
                lengths.append(length)
                obs, length = self.env.reset()[0], 0
                if progress is not None:
                    progress(lengths)
            if select is not None and agent_steps % config.select_every == 0:
                select(lengths)
        return lengths


# %% [markdown]
# ## Measuring overestimation
#
# Every 2,500 agent steps we play 100 greedy episodes and compare two numbers:
# the **predicted return** $\max_a Q(s_0,a)$ of the first observation, and the
# **actual return**, discounted. With −1 for a fall at step $T$, the actual
# return is $-\gamma^{T-1}$; without a fall it is 0. *No return can be above 0,
# so any prediction above 0 overestimates.*

# %%
SELECTION_SEEDS, TEST_SEEDS = 1_000_000, 2_000_000  # training: 0, 1, 2, …
ARENA = gym.make_vec("CartPole-v1", num_envs=100)  # 100 carts at once


def greedy_episodes(brain, seed):
    """Play 100: predicted return, length and whether it fell, (100,) each."""
    obs, _ = ARENA.reset(seed=seed)
    predicted = brain.q_values(obs).max(axis=1)
    length, fell = np.zeros(100), np.zeros(100, bool)
    running = np.ones(100, bool)
    while running.any():
        obs, _, terminated, truncated, _ = ARENA.step(brain.greedy(obs) % 2)
        length += running
        fell |= running & terminated
        running &= ~(terminated | truncated)
    return predicted, length, fell


def actual_return(length, fell, gamma, fall_only=True):
    """Discounted return of finished episodes."""
    if fall_only:
        return np.where(fell, -(gamma ** (length - 1)), 0.0)
    return (1 - gamma**length) / (1 - gamma)  # 1 a step


# %% tags=["nbval-check-output"]
length, fell = np.array([1, 10, 100, 500]), np.array([True, True, True, False])
for n, r in zip(length, actual_return(length, fell, 0.99), strict=True):
    print(f"{n:>3} agent steps: return {r:+.3f}")

# %% [markdown]
# An early fall costs almost 1; a fall after 100 steps is discounted to 0.37.
# `train` runs one training, evaluates it along the way, and keeps the best
# weights (of equally good ones, the earliest).

# %%
from collections import namedtuple

from helpers.evaluation import evaluate
from helpers.runtime import seed_everything

Run = namedtuple("Run", "brain lengths curve best test")


def point_of_curve(brain, seed, fall_only):
    """Mean length, predicted and actual return of 100 episodes; rounded."""
    predicted, length, fell = greedy_episodes(brain, seed)
    actual = actual_return(length, fell, brain.config.gamma, fall_only)
    means = length.mean(), predicted.mean(), actual.mean()
    return [round(float(m), d) for m, d in zip(means, (2, 3, 3), strict=True)]


# %%
def train(config, seed, live=None, brain_class=Brain, fall_only=True):
    """One training: last agent, curve, best weights, test of the last agent."""
    brain = brain_class(config, seed_everything(seed))
    curve, best = [], {}

    def select(lengths):
        seeds = SELECTION_SEEDS + 1_000 * seed + len(curve)
        point = point_of_curve(brain, seeds, fall_only)
        if point[0] > max((row[2] for row in curve), default=0):
            weights = brain.q_net.state_dict()
            best.update({name: w.clone() for name, w in weights.items()})
        curve.append((seed, brain.agent_steps, *point))

    def progress(lengths):
        if live is not None:
            live.update(lengths, f"{brain.agent_steps:,} agent steps")

    env = make_cart(config.num_actions, fall_only)
    agent = Agent(brain)
    lengths = Environment(agent, config, seed, env).run(progress, select)
    if live is not None:
        live.close(lengths, f"{brain.agent_steps:,} agent steps")
    test_seeds = TEST_SEEDS + 1_000 * seed
    test = evaluate(lambda obs: brain.greedy(obs) % 2, ARENA, test_seeds)
    return Run(brain, lengths, curve, best, test)


# %% [markdown]
# ## Train a double and dueling agent

# %%
from helpers.plotting import LiveCurve

live = LiveCurve(
    "05_train_both",
    title="Double and dueling: how long the exploring agent balances",
    ylabel="episode length\n[agent steps]",
    goal=475,
)
both = train(replace(BOTH, agent_steps=20_000) if QUICK else BOTH, 0, live)
last = both.test
both.brain.q_net.load_state_dict(both.best)
best = evaluate(both.brain.greedy, ARENA, TEST_SEEDS)
print(f"last agent: {last.mean:.0f} ± {last.std:.0f} agent steps")
print(f"best agent: {best.mean:.0f} ± {best.std:.0f} agent steps")

# %% tags=["hide-input"]
# @title Did it learn? (for the automatic tests)
from helpers.runtime import check_learned

assert both.brain.updates > 0 and both.brain.copies > 0 and both.lengths
check_learned(
    "double and dueling: test of the best weights [agent steps]",
    best.mean,
    at_least=475,
)

# %% [markdown]
# **Is mine normal?** Here is this training among 19 other seeds. Almost any
# curve is normal: at nearly every point some seed is at 500 and another below
# 280.

# %% tags=["hide-input"]
# @title My training among other seeds
from helpers.plotting import is_mine_normal, load_curves
from helpers.runtime import results_path

recorded = load_curves(
    results_path("05_both.csv"), "agent_steps", "greedy_mean"
)
others = {seed: curve for seed, curve in recorded.items() if seed != 0}
_, agent_steps, greedy_means, *_ = zip(*both.curve, strict=True)
figure, verdict = is_mine_normal(
    (agent_steps, greedy_means),
    others,
    title="My training among the other seeds",
    xlabel="agent steps",
    ylabel="greedy episode length\n[agent steps]",
)
show(figure, "05_mine")
print(verdict)

# %% [markdown]
# ## How much do the agents overestimate?
#
# One seed proves nothing, so here are recorded trainings of 20 seeds. If the
# maximum is to blame, 16 actions must make the overestimation worse, and
# Double DQN must reduce it.

# %% tags=["hide-input"]
# @title Predicted returns of 20 seeds
AGENTS = {
    ("DQN", 2): "dqn",
    ("Double DQN", 2): "double",
    ("DQN", 16): "dqn_16",
    ("Double DQN", 16): "double_16",
}
COLOURS = {"DQN": "#e8743b", "Double DQN": "#1f4e8c"}


def load_column(name, column):
    """Recorded curves as (seeds, points), and their agent steps (points,)."""
    path = results_path(f"05_{name}.csv")
    curves = load_curves(path, "agent_steps", column)
    agent_steps = next(iter(curves.values()))[0]
    return np.stack([y for _, y in curves.values()]), agent_steps


def draw_seeds(axes, name, column, colour, label):
    """A thin line for each seed and a thick one for their mean."""
    values, agent_steps = load_column(name, column)
    axes.plot(agent_steps, values.T, color=colour, linewidth=0.5, alpha=0.4)
    axes.plot(agent_steps, values.mean(axis=0), color=colour, label=label)


figure, panels = plt.subplots(
    1, 2, figsize=(7, 3.2), sharey=True, layout="constrained"
)
for (method, number), name in AGENTS.items():
    axes = panels[0 if number == 2 else 1]
    draw_seeds(axes, name, "predicted", COLOURS[method], f"{method}, mean")
    axes.axhline(0, color="0.3", linestyle="--", linewidth=1)
    axes.set(title=f"{number} actions", xlabel="agent steps")
panels[0].set_ylabel("predicted return")
panels[0].legend(fontsize=9)
figure.suptitle("Predictions above 0 are impossible returns", fontsize=11)
show(figure, "05_predicted")

# %% [markdown]
# Each thin line is a seed. All end above 0: every agent expects the impossible.
# Both expectations come true: 16 actions raise the predictions, and Double DQN
# lowers them. This is what we would see if the maximum were to blame.

# %% [markdown]
# **How to read the comparisons below.** Two methods ran on the same 20 seeds,
# so we compare them **paired**: a difference for each seed, then the mean. A
# **bootstrap interval** says how that mean might vary with other seeds: draw
# as many differences with replacement, take their mean, repeat 10,000 times,
# keep the middle 95 %.

# %% [markdown]
# A **p-value** is the probability of a mean difference at least this far from 0
# if the method made no difference; we get it by trying every choice of the
# differences' signs. We make **multiple comparisons**: even if nothing differs,
# about one in twenty has p < 0.05 by luck alone. **Holm's correction**
# multiplies the smallest of $m$ p-values by $m$, the next by $m-1$, and so on;
# no value may be smaller than the one before. A star marks what is still below
# 0.05.

# %% [markdown]
# **Exercise 5.4** (●●○, 10 min). Correct p-values yourself. For 0.01, 0.04 and
# 0.03 the answers are 0.03, 0.06 and 0.06: 3 · 0.01, then 2 · 0.03, then 1 ·
# 0.04, raised to 0.06. No corrected value exceeds 1.

# %%
from exercises.double_dueling import check_holm


def my_holm(p_values):
    """Corrected p-values, in the order given; p_values is a list."""
    # your code here


check_holm(my_holm)

# %% tags=["hide-input"]
# @title Our version


def corrected_p_values(p_values):
    """Holm's correction, in the order given."""
    order = np.argsort(p_values)
    largest, corrected = 0.0, np.zeros(len(p_values))
    for factor, i in zip(range(len(p_values), 0, -1), order, strict=True):
        largest = max(largest, min(1.0, factor * p_values[i]))
        corrected[i] = largest
    return corrected


# %% tags=["nbval-check-output"]
for p, c in zip(
    (0.01, 0.04, 0.03), corrected_p_values([0.01, 0.04, 0.03]), strict=True
):
    print(f"p = {p:.2f}, corrected {c:.2f}")

# %% [markdown]
# Now the comparison. *Overestimation* is predicted minus actual return,
# *score* the mean length of greedy episodes, both averaged over the second
# half of each training.

# %% tags=["hide-input"]
# @title Helpers for the tables
from helpers.ablation import bootstrap_interval, paired_p_value
from helpers.tables import show_table

rng = np.random.default_rng(0)


def late(name, column):
    """Mean over the second half of each training, (seeds,)."""
    values, _ = load_column(name, column)
    return values[:, values.shape[1] // 2 :].mean(axis=1)


def measures(name):
    """Figures of every seed, {column: (seeds,)}."""
    predicted, actual = late(name, "predicted"), late(name, "actual")
    return {
        "predicted return": predicted,
        "overestimation": predicted - actual,
        "score [agent steps]": late(name, "greedy_mean"),
        "last score": load_column(name, "greedy_mean")[0][:, -1],
    }


def with_interval(values, form):
    """Mean over the seeds and its 95 % interval, as text."""
    low, high = bootstrap_interval(values, rng)
    return f"{values.mean():{form}} ({low:{form}} to {high:{form}})"


def show_comparison(names, pairs, forms):
    """Table of levels; table of paired differences, Holm over all of them."""
    found = {title: measures(name) for title, name in names.items()}
    rows = [
        [title, *(with_interval(m[c], f) for c, f in forms.items())]
        for title, m in found.items()
    ]
    show_table(["mean (95 % interval)", *forms], rows)
    gaps = [[found[a][c] - found[b][c] for c in forms] for a, b in pairs]
    p = [paired_p_value(gap) for row in gaps for gap in row]
    stars = iter(np.where(corrected_p_values(p) < 0.05, " *", ""))
    rows = [
        [f"{a} − {b}"]
        + [
            with_interval(gap, f"+{form}") + next(stars)
            for gap, form in zip(row, forms.values(), strict=True)
        ]
        for (a, b), row in zip(pairs, gaps, strict=True)
    ]
    show_table(["paired difference (* survives Holm)", *forms], rows)


# %% tags=["hide-input"]
# @title Overestimation and score: levels and paired differences
titles = {f"{m}, {n} actions": name for (m, n), name in AGENTS.items()}
two, two_double, many, many_double = titles
pairs = [(two_double, two), (many_double, many), (many, two)]
forms = {
    "overestimation": ".2f",
    "score [agent steps]": ".0f",
    "last score": ".0f",
}
show_comparison(titles, pairs, forms)

# %% [markdown]
# Double DQN removes 1.6 of an overestimation of 2.6 with 16 actions, and with 2
# actions 0.3 of 0.6. Why the rest remains is not shown here. One reason may be
# that the two networks are at most 64 updates apart and share errors.
#
# But Double DQN does not play better. With 2 actions no difference is shown.
# With 16 it plays *worse*: 66 fewer agent steps over the second half (25 to
# 105), and 134 fewer at the end (61 to 211). We do not know why, only that less
# overestimation did not help.

# %% [markdown]
# ## Do they play better?
#
# An **ablation** adds or removes one part at a time, at the same budget and on
# the same seeds. "Solved" means that 100 greedy episodes lasted 475 steps on
# average at least once during the training. IQM, the interquartile mean,
# averages only the middle half of the seeds. The last variant is dueling
# without the subtracted mean.

# %% tags=["hide-input"]
# @title Five variants, 20 seeds each
from helpers.ablation import draw_curves, show_differences, show_levels

NAMES = {
    "DQN": "dqn",
    "+ double": "double",
    "+ dueling": "dueling",
    "+ both": "both",
    "dueling, no mean": "uncentred",
}
curves = {
    title: load_curves(
        results_path(f"05_{name}.csv"), "agent_steps", "greedy_mean"
    )
    for title, name in NAMES.items()
}
show_levels(curves, 475, np.random.default_rng(0))
show_differences(curves, 475, np.random.default_rng(0))
show(
    draw_curves(curves, 475, "greedy episode length\n[agent steps]"),
    "05_ablation",
)

# %% [markdown]
# No difference survives the correction for these 12 comparisons. The largest in
# episode length is that of both changes together: their last agents balance for
# 82 more steps (18 to 155). It may be luck: DQN's own last agents end anywhere
# between 105 and 500.

# %% [markdown]
# Do agents with higher predictions play worse? Compare seeds *within* a method.
# (We do not use overestimation: it contains the actual return, and with it the
# score.)

# %% tags=["hide-input"]
# @title Predicted return and score, one dot per seed
from scipy.stats import pearsonr


def show_correlations(names, columns):
    """Table of r of predicted return and score over seeds; Holm over it."""
    rows, p_values = [], []
    for title, name in names.items():
        m = measures(name)
        for column in columns:
            r, p = pearsonr(m["predicted return"], m[column])
            rows.append([f"{title}: {column}", f"{r:+.2f}", f"{p:.4f}"])
            p_values.append(p)
    for row, p in zip(rows, corrected_p_values(p_values), strict=True):
        row.append(f"{p:.3f}" + (" *" if p < 0.05 else ""))
    show_table(["predicted return and …", "r", "p", "corrected p"], rows)


figure, panels = plt.subplots(
    1, 2, figsize=(7, 3.2), sharey=True, layout="constrained"
)
for (method, number), name in AGENTS.items():
    axes, m = panels[0 if number == 2 else 1], measures(name)
    x, y = m["predicted return"], m["score [agent steps]"]
    axes.scatter(x, y, s=20, color=COLOURS[method], label=method)
    axes.set(title=f"{number} actions", xlabel="predicted return")
    axes.legend(fontsize=8)
panels[0].set_ylabel("score [agent steps]")
figure.suptitle("One dot per seed", fontsize=11)
show(figure, "05_correlation")
show_correlations(titles, ["score [agent steps]"])

# %% [markdown]
# None of the four correlations r survives Holm's correction, so no relation is
# shown here. With another reward, one of eight survives (see *Going deeper*).

# %% [markdown]
# ## What you should see
#
# Normal: predictions (fourth in each row of `both.curve`) above 0 within 5,000
# agent steps, and scores that drop to about 100 and recover. Two common
# failures: Double DQN predicts exactly what DQN does, because the target
# network also selects; V has no meaning, because the mean was taken over the
# batch (`dim=0`).

# %% [markdown]
# ## Watch the agent
#
# We push the pole every 40 steps. The bars show V and both advantages on one
# scale from −0.3 to 0.1; a bar three quarters full means 0. In our full run the
# best weights come from the first evaluation, after 2,500 agent steps. The
# first three pushes hardly change V. At the fourth, the cart is 1.3 m right of
# the middle, and V drops from −0.1 to −0.2.

# %%
from helpers.animation import animated_png, overlay_q_values
from helpers.runtime import build_dir
from IPython.display import display

env = make_cart(render_mode="rgb_array")
obs, _ = env.reset(seed=TEST_SEEDS - 1)
frames, over, t = [], False, 0
while not over and t < 160:
    if t % 40 == 10:  # a push: 1 rad/s to the right, then to the left, …
        obs[3] += 1.0 if t % 80 == 10 else -1.0
        env.unwrapped.state = obs
    q = both.brain.q_values(obs[None])[0]  # (2,)
    if t % 2 == 0:
        bars = [q.mean(), *(q - q.mean())]  # V, A(left), A(right)
        frames.append(
            overlay_q_values(
                env.render()[::2, ::2], bars, 1 + q.argmax(),
                ["V", "A left", "A right"], limits=(-0.3, 0.1), scale=1,
            )
        )  # fmt: skip
    obs, _, terminated, truncated, _ = env.step(int(q.argmax()))
    over, t = terminated or truncated, t + 1
env.close()
image = animated_png(frames, fps=20, max_bytes=200_000, alt="CartPole, pushed")
(build_dir("pictures") / "05_double_dueling.png").write_bytes(image.data)
display(image)

# %% [markdown]
# ## Summary
#
# - The maximum of noisy estimates is too high on average, and more so with more
#   actions. In a small MDP this makes Q-learning choose the wrong action.
# - Double DQN: the Q-network selects, the target network evaluates. On CartPole
#   with −1 for the fall it overestimates less, but plays worse with 16 actions;
#   with 2, no difference is shown.
# - Dueling: Q = V + A − mean A. The mean makes V and A identifiable. No gain is
#   shown on CartPole.
# - Comparisons are paired over seeds, with intervals, and corrected for their
#   number.
#
# **Next:** [notebook 6](06_prioritized_nstep.ipynb) changes which transitions
# are sampled, and how many rewards are summed.

# %% [markdown]
# ## Going deeper
#
# ### How the recorded curves were made
#
# `.venv/bin/python -m benchmarks.ablate 05 --seeds 20` trains every variant
# below and writes the curves to `build/results/`. Each update notes the
# **correction**: how much lower Double DQN's targets are than DQN's, on the
# mini-batch it learns from. Right after a copy both networks are equal and the
# correction is 0; it then grows until the next copy. So it is averaged over all
# updates since the evaluation before: nearly ten cycles, not a few moments.


# %%
@dataclass(frozen=True)
class Study(Config):
    """Switches for comparisons that the main run does not use."""

    centred: bool = True  # False: the dueling network subtracts no mean
    fall_only: bool = True  # False: CartPole's own reward of 1 a step


class UncentredNetwork(QNetwork):
    """A dueling network that adds its streams and subtracts nothing."""

    def forward(self, obs):
        features = self.body(obs / self.obs_scale)
        return self.value(features) + self.advantage(features)  # CHANGED


# %%
class MeasuringBrain(Brain):
    """A Brain that notes the mean correction of every batch it learns from."""

    def __init__(self, config, rng):
        if not config.centred:
            self.network = UncentredNetwork
        super().__init__(config, rng)
        self.corrections = []  # (agent steps, correction)
        self.target_rule = self.measured_target

    def measured_target(self, batch, *networks_and_gamma):
        """The usual target; the correction is noted on the way."""
        dqn = td_target(batch, *networks_and_gamma)
        double = double_target(batch, *networks_and_gamma)
        correction = (dqn - double).mean().item()
        self.corrections.append((self.agent_steps, correction))
        return double if self.config.double else dqn


CURVE = [
    "seed", "agent_steps", "greedy_mean", "predicted", "actual", "correction",
]  # fmt: skip


def train_variant(config, seed):
    """Train one variant; its curve has the mean correction as last column."""
    run = train(
        config, seed, brain_class=MeasuringBrain, fall_only=config.fall_only
    )
    at, correction = np.array(run.brain.corrections).T
    curve, before = [], 0
    for row in run.curve:  # over all updates since the evaluation before
        since = correction[(at > before) & (at <= row[1])]
        before = row[1]
        curve.append((*row, round(float(since.mean()), 6)))
    return run._replace(curve=curve)


# %%
VARIANTS = {
    "dqn": Study(),
    "double": Study(double=True),
    "dueling": Study(dueling=True),
    "both": Study(double=True, dueling=True),
    "uncentred": Study(dueling=True, centred=False),
    "dqn_16": Study(num_actions=16),
    "double_16": Study(double=True, num_actions=16),
    "plain_dqn": Study(fall_only=False),
    "plain_double": Study(double=True, fall_only=False),
    "plain_dqn_16": Study(num_actions=16, fall_only=False),
    "plain_double_16": Study(double=True, num_actions=16, fall_only=False),
}

# %% tags=["hide-input"]
# @title The correction during training
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
for name, colour, label in (
    ("dqn", "#1f4e8c", "2 actions, mean"),
    ("dqn_16", "#e8743b", "16 actions, mean"),
):
    draw_seeds(axes, name, "correction", colour, label)
axes.set_title("Double DQN corrects more when there are more actions")
axes.set(xlabel="agent steps", ylabel="correction", ylim=(0, None))
axes.legend(fontsize=9)
show(figure, "05_correction")
rows = []
for title, name in {
    "2 actions, −1 for the fall": "dqn",
    "16 actions, −1 for the fall": "dqn_16",
    "16 actions, 1 per agent step": "plain_dqn_16",
}.items():
    values = 100 * late(name, "correction")
    rows.append([title, len(values), with_interval(values, ".2f")])
show_table(["DQN", "seeds", "100 × mean correction"], rows)

# %% [markdown]
# With −1 for the fall, the correction is largest early and falls as the
# learning rate does. If it were the same in every state, predictions would be
# lower by $1+\gamma+\gamma^2+\dots=100$ times the correction. The table shows
# this product, averaged over the second half of the training. Take 16 actions.
# With a reward of 1 per step (below) it is 6.15, close to the 6.1 by which
# Double DQN predicts less. With −1 for the fall it is 0.55, a third of the 1.6
# by which Double DQN predicts less. So the simple sum fits only one of the two.
# One reason may be that corrections differ between states and times.

# %% [markdown]
# ### V and A over many states
#
# The two streams can be plotted. The cart is in the middle and does not move;
# the axes are the angle of the pole and how fast it turns.


# %%
def streams_over_states(brain, points=61):
    """Angles [°], angular speeds [rad/s]; V and A(right) − A(left) there."""
    angles, speeds = np.linspace(-12, 12, points), np.linspace(-2, 2, points)
    grid = np.zeros((points, points, 4), np.float32)
    grid[..., 2], grid[..., 3] = np.deg2rad(angles)[None], speeds[:, None]
    q = brain.q_values(grid.reshape(-1, 4)).reshape(points, points, 2)
    return angles, speeds, q.mean(axis=2), q[..., 1] - q[..., 0]


# %% tags=["hide-input"]
# @title V and A over states
angles, speeds, value, right = streams_over_states(both.brain)
figure, panels = plt.subplots(
    1, 2, figsize=(7, 3.2), sharey=True, layout="constrained"
)
names = "V: how good the state is", "A(right) − A(left): which push"
largest = np.abs(right).max()
limits = dict(cmap="viridis"), dict(cmap="RdBu", vmin=-largest, vmax=largest)
for axes, z, title, how in zip(
    panels, (value, right), names, limits, strict=True
):
    mesh = axes.pcolormesh(angles, speeds, z, shading="auto", **how)
    figure.colorbar(mesh, ax=axes, label="discounted return")
    axes.set(title=title, xlabel="angle of the pole [°]")
panels[0].set_ylabel("angular speed [rad/s]")
show(figure, "05_streams")
print(f"V from {value.min():.2f} to {value.max():.2f}")
print(f"A(right) − A(left) from {right.min():.2f} to {right.max():.2f}")

# %% [markdown]
# This is the agent after 2,500 agent steps. V is highest along a diagonal,
# where the pole leans to one side but is already swinging back. Every return
# lies between −1 and 0, so values of V below −1, in the dark corners, are wrong
# too. The advantage changes its sign along a similar diagonal: red means push
# left, blue push right.

# %% [markdown]
# ### With a reward of 1 per agent step
#
# CartPole's own reward makes values large: never falling is worth almost 100.
# The same comparison again, with predictions in discounted agent steps:

# %% tags=["hide-input"]
# @title The same comparison with the plain reward
plain = {title: f"plain_{name}" for title, name in titles.items()}
forms = {"predicted return": ".1f", **forms}
del forms["overestimation"]
show_comparison(plain, pairs, forms)
show_correlations(plain, ["score [agent steps]", "last score"])

# %% [markdown]
# With 16 actions Double DQN predicts 6.1 less (5.0 to 7.2); with 2 actions no
# difference is shown. Predicting less is not overestimating less: with 16
# actions the prediction exceeds the actual return by 1.8 more for Double DQN
# than for DQN (−5.2 to 9.0; not in the tables). So no reduction is shown,
# perhaps because Double DQN's agents also fall earlier. With 16 actions, Double
# DQN's last agents again balance for fewer steps: 119 (16 to 215), but this
# does not survive the correction for 9 comparisons. With 2 actions no
# difference is shown: +25 (−61 to 111).

# %% [markdown]
# Within each method, agents that predict more tend to score less: all eight
# correlations are negative, and one survives. They do not show which of the two
# causes the other.

# %% [markdown]
# ### Differences from the papers
#
# | | Papers | Here |
# |---|---|---|
# | task | Atari games from pixels | CartPole, four numbers |
# | target copied every | 10,000 agent steps (tuned: 30,000) | 64 updates |
# | dueling streams | 512 units each | 64 units each |
# | gradients into the shared layer | scaled by 1/√2 | not scaled |
# | number of weights | more than DQN | about the same |
#
# The Double DQN paper's appendix counts 10,000 steps of four emulator frames
# each; its main text calls them "frames". The dueling paper also compares with
# a wider DQN.
#
# On 57 Atari games, with a human's score as 100 %, the median was 79 % for DQN,
# 117 % for Double DQN, and 151 % for both changes (Hessel et al. 2017, Table 2:
# best agents within 200 million emulator frames, no-op starts).

# %% [markdown]
# ### More exercises
#
# Answers are in the [solutions](solutions/05_double_dueling.ipynb).
#
# **Exercise 5.5** (●●○, 5 min). The paper also tries the maximum instead of the
# mean, which makes V the value of the *best* action. Implement that version.

# %%
from exercises.double_dueling import check_dueling_max


def my_dueling_max(value, advantage):
    """V (B, 1) and A (B, A) to Q (B, A), whose largest entry is V."""
    # your code here


check_dueling_max(my_dueling_max)

# %% [markdown]
# **Exercise 5.6** (●●○, 10 min). What happens to the correction with
# `target_every=1`, and why? Write down a number first. Then train one seed
# with `train_variant(Study(target_every=1), 0)` and look at the last column of
# its `curve`.

# %% [markdown]
# **Exercise 5.7** (●●●, 20 min). Give CartPole 64 actions:
# `Study(num_actions=64, agent_steps=20_000)`, and the same with `double=True`.
# What do you expect of the predictions and of the correction? Train one seed
# of each and look at its `curve`. How many seeds would you want before you
# believe the difference?
