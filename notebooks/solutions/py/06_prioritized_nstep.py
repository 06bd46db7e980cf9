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
# [Open in Colab](https://colab.research.google.com/github/OWNER/dqn-ladder/blob/main/notebooks/solutions/06_prioritized_nstep.ipynb)
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
from dataclasses import replace

import gymnasium as gym
import numpy as np
import torch
from gymnasium.wrappers import TransformReward

from exercises.prioritized_nstep import check_find, check_n_step_target, check_weights
from helpers.evaluation import evaluate
from helpers.runtime import seed_everything
from tools.definitions import load_definitions

# %% [markdown]
# ### Exercise 1
#
# Backwards it is one line: each step adds its reward to what follows, and an end cuts off what
# follows.


# %%
def my_n_step_target(reward, terminated, next_value, gamma):
    """Rewards (B, n), Boolean ends (B, n), values (B,) to targets (B,)."""
    target = next_value
    for k in reversed(range(reward.shape[1])):
        target = reward[:, k] + gamma * ~terminated[:, k] * target
    return target


assert check_n_step_target(my_n_step_target)

# %% [markdown]
# ### Exercise 2
#
# By hand: 0.2 falls on index 0; 3.9 is beyond 3, so index 1; 9.99 is beyond 3 + 1 + 4, so index 3.
# This looks at all priorities, the tree at 20 of a million.


# %%
def my_find(priorities, number):
    """Index on which a number falls; priorities is a numpy array (N,), 0 ≤ number < its sum."""
    for index, priority in enumerate(priorities):
        if number < priority:
            return index
        number -= priority


assert check_find(my_find)

# %% [markdown]
# ### Exercise 3
#
# $N^{-\beta}$ stands in every weight, so it goes out when they are divided by the largest.


# %%
def my_weights(probability, number_stored, beta):
    """Weights (B,), the largest is 1; probability is a numpy array (B,)."""
    weights = (number_stored * probability) ** -beta
    return weights / weights.max()


assert check_weights(my_weights)

# %% [markdown]
# ### Exercise 4
#
# The truth is $-\gamma^{29}$, as the fall is the 30th step. Ten windows of three: the last one
# holds the fall, $-\gamma^2$, and nine bootstraps lie before it. With γⁿ: $-\gamma^{2+27}$. With
# γ: $-\gamma^{2+9}$, as if the fall were 12 steps away. On the whole a nearer fall still seems
# nearer, so the agent learns and nobody notices. From step to step the order is wrong: a fall in
# 4 steps seems as near as one in 2, and nearer than one in 3.

# %%
gamma = 0.99
print("agent steps to the fall   right   with the bug")
for steps in (1, 2, 3, 4, 5, 6, 30):
    windows, rest = divmod(steps - 1, 3)  # bootstraps before the window that holds the fall
    print(f"{steps:>23}{-(gamma ** (steps - 1)):>8.3f}{-(gamma ** (windows + rest)):>15.3f}")

# %% [markdown]
# ### Exercise 5
#
# All of them, for ever: the error never falls below the noise of 1, so it says no longer what there
# is to learn. The falls stop being special. Two short trainings with such noise:

# %%
NAMES = [
    "Config", "DQN", "PRIORITIZED", "NStep", "beta", "QNetwork", "make_batch", "epsilon",
    "descend", "td_target", "CountingMemory", "Brain", "Agent", "Environment", "ARENA",
]  # fmt: skip
nb = load_definitions("06_prioritized_nstep", NAMES)
torch.set_num_threads(1)
for name in ("DQN", "PRIORITIZED"):
    config, rng = replace(nb[name], agent_steps=20_000), seed_everything(0)
    plain = gym.make("CartPole-v1", sutton_barto_reward=True)
    noise = np.random.default_rng(1)
    env = TransformReward(plain, lambda reward, noise=noise: reward + noise.choice((-1.0, 1.0)))
    brain = nb["Brain"](config, rng)
    nb["Environment"](nb["Agent"](brain), config, seed=0, env=env).run()
    print(f"{name:<12} greedy mean {evaluate(brain.greedy, nb['ARENA'], 5_000_000).mean:.0f}")
    if config.prioritized:
        memory = brain.memory
        fell = np.flatnonzero([row.terminated for row in memory.rows()])
        falls = memory.drawn[fell].sum() / memory.uniform[fell].sum()
        print(f"{'':<12} falls are drawn {falls:.2f} times as often as from a uniform memory")
