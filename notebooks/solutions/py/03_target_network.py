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
# # Solutions to notebook 3
#
# [Open in Colab](https://colab.research.google.com/github/OWNER/dqn-ladder/blob/main/notebooks/solutions/03_target_network.ipynb)
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

import torch

from exercises.target_network import (
    check_epsilon,
    check_greedy,
    check_soft_update,
    check_td_loss,
    check_td_target,
)
from tools.definitions import load_definitions

# %% [markdown]
# ### Exercise 1
#
# Only `terminated`. A game that the clock stopped could have gone on, and what would have come
# counts.


# %%
def my_td_target(reward, terminated, truncated, next_q, gamma):
    """Targets (B,); the flags are Boolean tensors (B,)."""
    return reward + gamma * ~terminated * next_q.max(dim=1).values


assert check_td_target(my_td_target)

# %% [markdown]
# ### Exercise 2
#
# `q - target` is (5, 1) minus (5,), which becomes (5, 5): every value is compared with every
# target, and the best that the network can do is to predict the mean target everywhere.


# %%
def my_td_loss(q_net, obs, action, target):
    """Mean squared error of the values of the actions taken."""
    q = q_net(obs).gather(1, action[:, None])[:, 0]  # (B,)
    return ((q - target.detach()) ** 2).mean()


assert check_td_loss(my_td_loss)

# %% [markdown]
# ### Exercise 3
#
# The weights of the Q-network k updates ago count with $\tau(1-\tau)^k$; the mean age is
# $(1-\tau)/\tau=49$ updates. A hard copy every N updates is between 0 and N − 1 updates old, (N −
# 1)/2 on average: N = 99 lags as much.


# %%
def my_soft_update(target_net, q_net, tau):
    """Move the target network's weights, in place."""
    with torch.no_grad():
        for follower, leader in zip(target_net.parameters(), q_net.parameters(), strict=True):
            follower.lerp_(leader, tau)


assert check_soft_update(my_soft_update)

# %% [markdown]
# ### Exercise 4
#
# After 5,000 agent steps it is −3.75: below 0, so no random number is ever below it, and the end
# value of 0.05 was passed long ago.


# %%
def my_epsilon(agent_steps):
    """Chance of a random action."""
    return max(0.05, 1.0 - 0.95 * agent_steps / 1_000)


assert check_epsilon(my_epsilon)

# %% [markdown]
# ### Exercise 5


# %%
def my_greedy(q_net, obs):
    """Best actions (N,) for observations (N, O)."""
    with torch.inference_mode():
        return q_net(obs).argmax(dim=1)


assert check_greedy(my_greedy)

# %% [markdown]
# ### Exercise 6
#
# As many updates as before, only spread out; the seconds below tell what that costs. What changes
# is how fresh the policy is: four steps old at most instead of 64.

# %%
NAMES = [
    "Config", "OURS", "follow", "epsilon", "QNetwork", "make_batch", "td_target", "Brain",
    "make_optimizer", "descend", "Agent", "Environment", "SELECTION_SEEDS", "TEST_SEEDS",
    "ARENA", "BestWeights", "Run", "train",
]  # fmt: skip
nb = load_definitions("03_target_network", NAMES)
torch.set_num_threads(1)
spread_out = replace(nb["OURS"], updates_per_train=1, train_every=4)
for name, config in (("16 updates every 64 steps", nb["OURS"]), ("1 every 4", spread_out)):
    for seed in range(2):
        run = nb["train"](config, seed)
        print(f"{name:<26} seed {seed}: solved at {run.solved_at} agent steps, test "
              f"{run.test.mean:.0f}, {run.seconds:.1f} CPU seconds")  # fmt: skip

# %% [markdown]
# Both seeds are solved sooner when the updates are spread out. Two seeds are few, though: repeat it
# with the other eighteen before you change the recipe.
