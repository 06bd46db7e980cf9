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
# # Solutions to notebook 2
#
# [Open in Colab](https://colab.research.google.com/github/OWNER/dqn-ladder/blob/main/notebooks/solutions/02_cartpole_dqn.ipynb)
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
import numpy as np
import torch

from exercises.cartpole import check_columns, check_huber, check_pick, check_ring, check_target
from helpers.replay import Transition
from helpers.runtime import profile, seed_everything
from tools.definitions import load_definitions

# %% [markdown]
# ### Exercise 1
#
# By hand: $0+0.9\cdot(-0.2)=-0.18$ if the game goes on (the *largest* value is −0.2), and 0 if it
# has terminated.


# %%
def my_target(q_net, reward, next_obs, terminated, gamma):
    """Targets (B,) from rewards (B,), next observations (B, O) and ends (B,)."""
    with torch.no_grad():
        best = q_net(next_obs).max(dim=1).values  # (B,)
    return reward + gamma * (1 - terminated) * best


assert check_target(my_target)

# %% [markdown]
# ### Exercise 2
#
# `gather` asks for 64-bit whole numbers; a network of 32-bit weights asks for 32-bit numbers.


# %%
def my_columns(transitions):
    """List of B transitions to one Transition of tensors: obs (B, O), the others (B,)."""
    columns = Transition(*zip(*transitions, strict=True))
    return Transition(
        obs=torch.from_numpy(np.stack(columns.obs)),
        action=torch.tensor(columns.action),
        reward=torch.tensor(columns.reward, dtype=torch.float32),
        next_obs=torch.from_numpy(np.stack(columns.next_obs)),
        terminated=torch.tensor(columns.terminated),
    )


assert check_columns(my_columns)

# %% [markdown]
# ### Exercise 3
#
# `q[:, action]` takes the columns of all 32 actions from every row: (32, 32). The loss of that
# table falls too, towards a network that ignores the observation: each action gets the mean target
# of the rows in which it was taken.


# %%
def my_pick(q, action):
    """Value of each row's action: q (B, A) and action (B,) to (B,)."""
    return q.gather(1, action[:, None])[:, 0]


assert check_pick(my_pick)

# %% [markdown]
# ### Exercise 4
#
# $\frac12\cdot0.2^2=0.02$ with a pull of 0.2, and $4-\frac12=3.5$ with a pull of 1: twenty times
# the error, five times the pull.


# %%
def my_huber(error):
    """Huber loss of every error, of the same shape."""
    size = error.abs()
    return torch.where(size <= 1, 0.5 * error**2, size - 0.5)


assert check_huber(my_huber)

# %% [markdown]
# ### Exercise 5
#
# The number of pushes so far, taken modulo the capacity, is the place of the oldest item.


# %%
class Ring:
    """Up to ``capacity`` items; the oldest makes way."""

    def __init__(self, capacity):
        """Begin empty."""
        self.places, self.pushes = [None] * capacity, 0

    def push(self, item):
        """Store one item."""
        self.places[self.pushes % len(self.places)] = item
        self.pushes += 1

    def items(self):
        """What is stored, a list."""
        return self.places[: len(self)]

    def __len__(self):
        """How many are stored."""
        return min(self.pushes, len(self.places))


assert check_ring(Ring)

# %% [markdown]
# ### Exercise 6
#
# The gradient through the target has the opposite sign and nearly the same size, as two
# observations in a row look alike: the pull on the prediction is nearly cancelled by the pull on
# the target. What remains makes neighbours *equal* instead of making the earlier one follow the
# later, so news of a fall travels slowly.

# %%
NAMES = [
    "Config", "CONFIG", "make_network", "make_batch", "td_target", "Brain", "Agent", "Environment",
]  # fmt: skip
nb = load_definitions("02_cartpole_dqn", NAMES)
no_gradient = nb["td_target"]


def with_gradient(batch, q_net, gamma):
    """The target of the notebook, but part of what is trained."""
    next_q = q_net(batch.next_obs).max(dim=1).values
    return batch.reward + gamma * next_q * ~batch.terminated


torch.set_num_threads(1)
config = nb["CONFIG"].__class__(episodes=150)
for name, target in (("no gradient", no_gradient), ("a gradient", with_gradient)):
    nb["td_target"] = target
    means = []
    for seed in range(1 if profile() == "quick" else 3):
        brain = nb["Brain"](config, seed_everything(seed))
        lengths = nb["Environment"](nb["Agent"](brain), config, seed).run()
        means.append(np.mean(lengths[-20:]))
    print(f"{name:<12} mean of the last 20 episodes [agent steps]:", np.round(means, 1))

# %% [markdown]
# Such *residual gradients* have a theory behind them (Baird 1995), and one seed learns all the
# same; the other two stay far behind.
