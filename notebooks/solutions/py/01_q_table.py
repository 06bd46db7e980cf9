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
# One answer to each exercise after the summary of
# [notebook 1](../01_q_table.ipynb). Yours may look different and be right. The
# exercises before the summary have our version right below them.

# %% tags=["setup", "hide-input"]
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))
from helpers.colab import install_missing

install_missing()

# %%
from dataclasses import replace

import gymnasium as gym
import numpy as np
from tools.definitions import load_definitions

grid = load_definitions(
    "01_q_table",
    ["GRID", "REWARDS", "MOVES", "ARROWS", "GRID_GAMMA", "GridWorld"],
)
cart = load_definitions(
    "01_q_table",
    [
        "q_update", "choose", "bin_edges", "Config", "CONFIG", "Brain",
        "Agent", "Environment", "train", "EveryStepPays",
    ],
)  # fmt: skip

# %% [markdown]
# **Exercise 1.6**
#
# With γ = 1 and a cost of 0.05 for every step but the last, the value of a
# square falls by 0.05 with every step that it is further from G. So the
# shortest path is the best again.


# %%
def arrows(gamma, step_cost, sweeps=200):
    """Best moves by value iteration with a cost for every step."""
    env = grid["GridWorld"]()
    q = np.zeros((len(env.kinds), len(grid["MOVES"])))
    for _ in range(sweeps):
        values = q.max(axis=1)
        for square, action in np.ndindex(q.shape):
            if env.kinds[square] == ".":
                after = env.neighbour(square, action)
                reward = grid["REWARDS"].get(env.kinds[after], -step_cost)
                q[square, action] = reward + gamma * values[after]
    best = [grid["ARROWS"][a] for a in q.argmax(axis=1)]
    kinds = np.array(list(env.kinds))
    rows = np.where(kinds == ".", best, kinds).reshape(-1, env.columns)
    return ["".join(row) for row in rows]


discount, cheap = arrows(0.95, 0.0), arrows(1.0, 0.05)
print("γ = 0.95   cost 0.05   cost 2")
for row in zip(discount, cheap, arrows(1.0, 2.0), strict=True):
    print("      ".join(row))
print("the first two agree:", discount == cheap)

# %% [markdown]
# If a step costs 2, the pit is the cheapest way out for the squares close to
# it.

# %% [markdown]
# **Exercise 1.7**
#
# Only the last step before the time limit gets another target. Its reward is
# 0. Without a future its target is 0, instead of γ times the value of a good
# state. So the entries of the best states, those that carry the pole to step
# 200, are pulled towards 0, and more often the better the agent becomes.


# %%
class LimitIsAFall(gym.Wrapper):
    """Reports the time limit as a termination."""

    def step(self, action):
        """Take a step."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        return obs, reward, terminated or truncated, truncated, info


class Careless(cart["Environment"]):
    """Stores the time limit as a fall."""

    def __init__(self, agent, config, seed):
        super().__init__(agent, config, seed)
        self.env = LimitIsAFall(self.env)


for environment in (cart["Environment"], Careless):
    found = [
        len(cart["train"](cart["CONFIG"], seed, environment=environment)[1])
        for seed in range(5)
    ]
    print(f"{environment.__name__:<12}episodes until solved: {sorted(found)}")

# %% [markdown]
# Two of the five careless trainings take longer than the slowest of the others,
# and one is faster than all of them. Five seeds are too few to show a
# difference; try twenty.

# %% [markdown]
# **Exercise 1.8**
#
# An untried action now looks like the best one possible. Each try lowers its
# entry, so the agent tries them all: it explores without ε.


# %%
class Optimist(cart["Brain"]):
    """Expects the largest return possible from everything."""

    def __init__(self, config, rng):
        super().__init__(config, rng)
        self.q_table += 1 / (1 - config.gamma)


config = replace(
    cart["CONFIG"], epsilon_first=0.0, episodes=300, solved_in_a_row=301
)
for brain in (cart["Brain"], Optimist):
    found = [
        cart["train"](config, seed, None, cart["EveryStepPays"], brain)[1]
        for seed in range(5)
    ]
    means = [round(np.mean(lengths[200:])) for lengths in found]
    print(f"{brain.__name__:<9}mean of episodes 201 to 300: {sorted(means)}")

# %% [markdown]
# The optimist reaches 154 steps or more on every seed, the other agent at most
# 65. The starting values alone make the difference: neither agent ever takes a
# random action, except to break ties.

# %% [markdown]
# **Exercise 1.9**
#
# `evaluate` repeats the Bellman equation of *one* policy, without the maximum.
# The loop changes an action only where another one is really better, so it
# ends.


# %%
def action_values(values, gamma):
    """One look ahead: (squares,) values to (squares, actions)."""
    env = grid["GridWorld"]()
    q = np.zeros((len(env.kinds), len(grid["MOVES"])))
    for square, action in np.ndindex(q.shape):
        if env.kinds[square] == ".":
            after = env.neighbour(square, action)
            reward = grid["REWARDS"].get(env.kinds[after], 0.0)
            q[square, action] = reward + gamma * values[after]
    return q


def evaluate(policy, gamma, sweeps=200):
    """Values (squares,) of a policy (squares,) of actions."""
    values = np.zeros(len(policy))
    for _ in range(sweeps):
        values = action_values(values, gamma)[range(len(policy)), policy]
    return values


policy, changed, improvements = np.zeros(20, int), True, 0
while changed:
    q = action_values(evaluate(policy, grid["GRID_GAMMA"]), grid["GRID_GAMMA"])
    better = q.max(axis=1) > q[range(20), policy] + 1e-9
    policy = np.where(better, q.argmax(axis=1), policy)
    changed, improvements = better.any(), improvements + better.any()
print(f"{improvements} improvements; value of the corner {q[0].max():.3f}")

# %% [markdown]
# The corner has the optimal value of the notebook. Value iteration mixes both
# steps in every sweep; policy iteration finishes the first one before it takes
# the second.
