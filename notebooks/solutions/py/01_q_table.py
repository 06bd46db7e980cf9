# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags
#     formats: notebooks/solutions//ipynb,notebooks/solutions/py//py:percent
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
# # Solutions to notebook 1
#
# [Open in Colab](https://colab.research.google.com/github/OWNER/dqn-ladder/blob/main/notebooks/solutions/01_q_table.ipynb)
#
# Each exercise as it stands in the notebook, and one answer that is right; yours may look quite
# different. What the check accepts is right.

# %% tags=["setup"]
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = "https://github.com/OWNER/dqn-ladder"
if "google.colab" in sys.modules and not Path("../helpers").is_dir():  # Colab has this file alone
    if not Path("dqn-ladder").is_dir():
        subprocess.run(["git", "clone", "-q", "--depth=1", REPOSITORY, "dqn-ladder"], check=True)
    os.chdir("dqn-ladder/notebooks")
HOMES = [p for p in [Path.cwd(), *Path.cwd().parents] if (p / "helpers" / "colab.py").is_file()]
if not HOMES:
    raise FileNotFoundError(f"the rest of the course is not here: git clone {REPOSITORY}")
ROOT = HOMES[0]
sys.path.insert(0, str(ROOT))

from helpers.colab import install_missing

install_missing(ROOT / "requirements.txt")

# %%
import gymnasium as gym
import numpy as np

from exercises.q_table import check_bins, check_choose, check_q_update, check_returns
from helpers.runtime import seed_everything
from tools.definitions import load_definitions

# %% [markdown]
# ### Exercise 1
#
# Backwards, every return is one reward and the discounted return after it.


# %%
def returns(rewards, gamma):
    """Discounted return from every step on: rewards (T,) to (T,)."""
    found, after = np.zeros(len(rewards)), 0.0
    for t in reversed(range(len(rewards))):
        found[t] = after = rewards[t] + gamma * after
    return found


assert check_returns(returns)

# %% [markdown]
# ### Exercise 2
#
# By hand: the target is $-1+0.9\cdot0.8=-0.28$ if the game goes on, and the entry moves a quarter
# of the way, to $0.5+0.25\,(-0.28-0.5)=0.305$. If the game is over the target is $-1$, the entry
# $0.5+0.25\,(-1-0.5)=0.125$.


# %%
def my_q_update(q, state, action, reward, next_state, terminated, alpha, gamma):
    """The table after one Q-learning update."""
    target = reward if terminated else reward + gamma * q[next_state].max()
    q[state, action] += alpha * (target - q[state, action])
    return q


assert check_q_update(my_q_update)
for terminated in (False, True):
    q = np.array([[0.5, 0.0], [0.8, 0.1]])
    print(my_q_update(q, 0, 0, -1.0, 1, terminated, alpha=0.25, gamma=0.9)[0, 0].round(3))

# %% [markdown]
# ### Exercise 3
#
# `argmax` returns the *first* of several largest, so a row of zeros means "up", and where a wall is
# above, "up" earns 0 for ever and stays among the best.


# %%
def my_choose(q_values, epsilon, rng):
    """Index of an ε-greedy action; equally good ones equally often."""
    if rng.random() < epsilon:
        return int(rng.integers(len(q_values)))
    return int(rng.choice(np.flatnonzero(q_values == q_values.max())))


assert check_choose(my_choose)

# %% [markdown]
# ### Exercise 4
#
# What lies beyond the ends belongs into the outermost bins; else the cart falls out of the table.


# %%
def my_bin(value, low, high, count):
    """Number of the bin that ``value`` falls into."""
    number = np.floor((value - low) / (high - low) * count)
    return int(np.clip(number, 0, count - 1))


assert check_bins(my_bin)

# %% [markdown]
# ### Exercise 5
#
# Only the last step before the clock gets another target: its reward is 0, and without a future its
# target is 0 instead of γ times the value of a good state. So the best states, those that carry
# the pole to step 200, are pulled *down*, and more often the better the agent becomes.


# %%
NAMES = [
    "Config", "CONFIG", "q_update", "choose", "bin_edges", "Brain", "Agent", "Environment",
]  # fmt: skip
nb = load_definitions("01_q_table", NAMES, {"QUICK": False})


class ClockIsAFall(gym.Wrapper):
    """Reports the time limit as an end of the game."""

    def step(self, action):
        obs, reward, terminated, truncated, info = self.env.step(action)
        return obs, reward, terminated or truncated, truncated, info


def episodes_until_solved(seed, careless):
    """Length of one training, in episodes."""
    brain = nb["Brain"](nb["CONFIG"], seed_everything(seed))
    task = nb["Environment"](nb["Agent"](brain), nb["CONFIG"], seed)
    if careless:
        task.env = ClockIsAFall(task.env)
    return len(task.run())


for careless in (False, True):
    episodes = [episodes_until_solved(seed, careless) for seed in range(5)]
    print("the clock is an end:" if careless else "the game goes on:   ", sorted(episodes))

# %% [markdown]
# The medians hardly differ; the slowest trainings do: the longer the agent balances, the more often
# its best states are pulled down. Five seeds scatter too much for more than a suspicion: repeat it
# with twenty.
#
# ### Exercise 6
#
# With γ = 1 and a cost for each step the value of a field is 1 less 0.05 for every step but the
# last, so the shortest way is the best again.

# %%
grid = load_definitions("01_q_table", ["GRID", "MOVES", "ARROWS", "GRID_GAMMA", "GridWorld"])


def arrows(gamma, step_cost, sweeps=200):
    """Best moves of the grid by value iteration with a cost for every step."""
    env, kinds = grid["GridWorld"](), "".join(grid["GRID"])
    q = np.full((len(kinds), 4), 0.0)
    for _ in range(sweeps):
        values = q.max(axis=1)
        for field, action in np.ndindex(q.shape):
            if kinds[field] == ".":
                after = env.neighbour(field, action)
                paid = {"G": 1.0, "P": -1.0}.get(kinds[after], -step_cost)
                q[field, action] = paid + gamma * values[after]
    best = [grid["ARROWS"][a] for a in q.argmax(axis=1)]
    rows = np.where(np.array(list(kinds)) == ".", best, list(kinds)).reshape(-1, env.columns)
    return ["".join(row) for row in rows]


discount, cost = arrows(0.95, 0.0), arrows(1.0, 0.05)
dear = arrows(1.0, 2.0)
print("γ = 0.95   cost 0.05   cost 2")
for row in zip(discount, cost, dear, strict=True):
    print("    ".join(row))
assert discount == cost

# %% [markdown]
# The first two agree. Where the rest of the way costs more than the pit, the pit is a way out, and
# whoever stands close to it jumps in.
