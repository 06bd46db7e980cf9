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
# # Solutions to notebook 5
#
# [Open in Colab](https://colab.research.google.com/github/OWNER/dqn-ladder/blob/main/notebooks/solutions/05_double_dueling.ipynb)
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

import numpy as np
import torch

from exercises.double_dueling import check_double_target, check_dueling_max, check_largest_guess
from tools.definitions import load_definitions

# %% [markdown]
# ### Exercise 1
#
# All guesses are −1 in one case of $2^n$, else some guess is +1: $(1-2^{-n}) - 2^{-n}$. For two
# actions that is 0.5, for eight already 0.99.


# %%
def my_largest_guess(num_actions):
    """Mean of the largest of num_actions guesses."""
    all_low = 0.5**num_actions
    return (1 - all_low) * 1 + all_low * -1


assert check_largest_guess(my_largest_guess)

# %% [markdown]
# ### Exercise 2
#
# Changed places would be a double estimate too: any two guesses that do not share their luck will
# do. But the network that learns knows the newest transitions, and whoever chooses decides what the
# agent is about to do; the older one holds still for a while, as a target should.


# %%
def my_double_target(reward, terminated, next_q, next_target_q, gamma):
    """Targets (B,); terminated is a Boolean tensor (B,), the Q-values are (B, A)."""
    best = next_q.argmax(dim=1, keepdim=True)  # (B, 1)
    return reward + gamma * ~terminated * next_target_q.gather(1, best)[:, 0]


assert check_double_target(my_double_target)

# %% [markdown]
# ### Exercise 3


# %%
def my_dueling_max(value, advantage):
    """V (B, 1) and A (B, A) to Q (B, A), whose largest entry is V."""
    return value + advantage - advantage.max(dim=1, keepdim=True).values


assert check_dueling_max(my_dueling_max)

# %% [markdown]
# ### Exercise 4
#
# Exactly 0: after every update both networks are the same, so one and the same chooses and judges.
# Double DQN lives on the difference between two networks. (There is no target network any more
# either; notebook 3 shows what that costs.)

# %%
NAMES = [
    "Config", "DQN", "DOUBLE", "combine", "stream", "td_target", "double_target", "QNetwork",
    "make_batch", "epsilon", "descend", "Brain", "Agent", "make_cart", "Environment",
    "SELECTION_SEEDS", "TEST_SEEDS", "ARENA", "promise_and_return", "double_cut", "Run", "CURVE",
    "train",
]  # fmt: skip
nb = load_definitions("05_double_dueling", NAMES)
torch.set_num_threads(1)
for target_every in (64, 1):
    config = replace(nb["DQN"], agent_steps=10_000, target_every=target_every)
    cut = np.mean([point[-1] for point in nb["train"](config, seed=0).curve])
    print(f"a copy every {target_every:>2} updates: Double's targets are lower by {cut:.5f}")

# %% [markdown]
# ### Exercise 5
#
# More guesses, a larger maximum: a larger correction, and with Double DQN lower promises. (The
# other trainings were longer, so compare with 16 actions at 20,000 agent steps.) One seed of each
# is not enough to say how much; twenty are, if the difference is large.

# %%
for name, config in {"DQN": nb["DQN"], "Double DQN": nb["DOUBLE"]}.items():
    config = replace(config, copies=32, only_fall_counts=False, agent_steps=20_000)
    *_, promise, came, cut = np.mean(nb["train"](config, seed=0).curve, axis=0)
    print(f"{name:<11} promise {promise:5.1f}  came {came:5.1f}  correction {cut:.3f}")
