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
# # Solutions to notebook 6
#
# One answer to each exercise after the summary of
# [notebook 6](../06_prioritized_nstep.ipynb). Yours may look different and
# still be right. For the exercises before the summary, our version is right
# below each of them.

# %% tags=["setup", "hide-input"]
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))
from helpers.colab import install_missing
from helpers.runtime import profile

install_missing()
QUICK = profile() == "quick"

# %% [markdown]
# **Exercise 6.6**
#
# The fall is the 30th step, so the true value is $-\gamma^{29}$. Ten windows of
# three steps lead there. The last one contains the fall, $-\gamma^2$, and nine
# bootstraps come before it. With γⁿ the value is $-\gamma^{2+27}$, which is
# right. With γ it is $-\gamma^{2+9}$, as if the fall were 12 steps away.

# %%
gamma = 0.99
print("agent steps to the fall   right   with the bug")
for steps in (1, 2, 3, 4, 5, 6, 30):
    windows, rest = divmod(steps - 1, 3)  # bootstraps before the last window
    right, bug = -(gamma ** (steps - 1)), -(gamma ** (windows + rest))
    print(f"{steps:>23}{right:>8.3f}{bug:>15.3f}")

# %% [markdown]
# Over many steps, a nearer fall still has a lower value, so the agent still
# learns, and the bug is easy to miss. From step to step, the order is partly
# wrong: a fall in 4 steps seems as near as one in 2, and nearer than one in 3.

# %% [markdown]
# **Exercise 6.7**
#
# Sort by size, write 1, 2, 3, … into the sorted places, and divide by the sum.

# %%
import numpy as np
from exercises.prioritized_nstep import check_rank_probabilities


def my_rank_probabilities(errors, alpha):
    """TD errors (N,), all of different size, to probabilities (N,)."""
    rank = np.empty(len(errors))
    rank[np.argsort(-np.abs(errors))] = np.arange(1, len(errors) + 1)
    priorities = rank**-alpha
    return priorities / priorities.sum()


assert check_rank_probabilities(my_rank_probabilities)

# %%
errors = np.array([1.0, 2.0, 3.0, 4.0])
for outlier in (4.0, 4_000.0):
    errors[3] = outlier
    print(
        f"largest error {outlier:>5.0f}: proportional",
        (errors / errors.sum()).round(3),
        "by rank",
        my_rank_probabilities(errors, 1.0).round(3),
    )

# %% [markdown]
# With α = 1, one huge error takes nearly all draws of proportional
# prioritization. By rank, nothing changes at all: rank 1 stays rank 1. So ranks
# are robust to outliers, but they also ignore how large an error is.

# %% [markdown]
# **Exercise 6.8**
#
# All transitions have large errors, and keep them. The errors never become
# smaller than the noise, so they no longer show what there is to learn. Three
# short trainings:

# %%
from dataclasses import replace

import gymnasium as gym
import torch
from gymnasium.wrappers import TransformReward
from helpers.evaluation import evaluate
from helpers.runtime import seed_everything
from tools.definitions import load_definitions

nb = load_definitions(
    "06_prioritized_nstep",
    ["ARENA", "Agent", "Environment", "VARIANTS", "UniformBrain"],
)
torch.set_num_threads(1)
noise = np.random.default_rng(1)


def noisy(reward):
    """The reward, plus or minus 1."""
    return reward + noise.choice((-1.0, 1.0))


def train_short(name, with_noise):
    """The trained Brain after 20,000 agent steps (quick: 5,000), seed 0."""
    kind = "Brain" if name == "prioritized" else "UniformBrain"
    agent_steps = 5_000 if QUICK else 20_000
    config = replace(nb["VARIANTS"][name], agent_steps=agent_steps)
    brain = nb[kind](config, seed_everything(0))
    env = gym.make("CartPole-v1", sutton_barto_reward=True)
    env = TransformReward(env, noisy) if with_noise else env
    nb["Environment"](nb["Agent"](brain), config, seed=0, env=env).run()
    return brain


# %%
runs = ("dqn", True), ("prioritized", True), ("prioritized", False)
for name, with_noise in runs:
    brain = train_short(name, with_noise)
    score = evaluate(brain.greedy, nb["ARENA"], 5_000_000).mean
    noise_text = "with noise" if with_noise else "without noise"
    print(f"{name}, {noise_text}: greedy mean {score:.0f} agent steps")
    if name == "prioritized":
        memory = brain.memory
        fell = np.flatnonzero([row.terminated for row in memory.rows()])
        times = memory.drawn[fell].sum() / memory.uniform[fell].sum()
        print(f"  falls are drawn {times:.2f} times as often as uniformly")

# %% [markdown]
# Without noise, prioritized replay draws the falls 2.75 times as often as a
# uniform memory. With noise, it draws them only 1.18 times as often: every
# transition has a large error now, whether there is something to learn or not.
# Both agents score much less with noisy rewards: 142 and 105 agent steps,
# instead of the 500 of prioritized replay without noise. One seed each does not
# say which of the two is better.
