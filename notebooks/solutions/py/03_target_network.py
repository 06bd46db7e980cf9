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
# One right answer to each exercise of *Going deeper*. Yours may look different;
# it is right if the check accepts it.

# %% tags=["setup", "hide-input"]
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))
from helpers.runtime import start

QUICK = start(
    "03_target_network",
    trains="two short agents for exercise 3.9",
    full=0.3,
    quick=0.3,
)

# %% [markdown]
# **Exercise 3.7**
#
# `q - target` is (5, 1) minus (5,), which becomes (5, 5): every value is
# compared with every target. The best the network can do then is to predict the
# mean target for everything. `[:, 0]` drops the second dimension, and
# `detach()` keeps the gradient out of the target.

# %%
from exercises.target_network import check_td_loss


def my_td_loss(q_net, obs, action, target):
    """Mean squared error of the values of the actions taken."""
    q = q_net(obs).gather(1, action[:, None])[:, 0]  # (B,)
    return ((q - target.detach()) ** 2).mean()


assert check_td_loss(my_td_loss)

# %% [markdown]
# **Exercise 3.8**
#
# The mean age of the soft target is $\sum_k k\,\tau(1-\tau)^k = (1-\tau)/\tau$,
# that of the hard target $(C-1)/2$. Both are equal for $C = 2/\tau - 1$. With
# τ = 0.02 the mean age is 49 updates and $C = 99$; with τ = 0.005, $C = 399$.

# %%
from exercises.target_network import check_same_lag


def my_same_lag(tau):
    """The hard period C whose mean age is that of soft updates with tau."""
    return 2 / tau - 1


assert check_same_lag(my_same_lag)

# %% [markdown]
# **Exercise 3.9**
#
# As many updates as before, only spread out. The policy is then at most four
# agent steps old, not 64.

# %%
import numpy as np
from helpers.ablation import bootstrap_interval
from helpers.plotting import load_curves
from helpers.runtime import ROOT


def solved_after(name):
    """Agent steps until solved, one number per recorded seed."""
    path = ROOT / "results" / f"03_{name}.csv"
    curves = load_curves(path, "agent_steps", "greedy_mean").values()
    assert all(y.max() >= 490 for _, y in curves)  # every seed is solved
    return np.array([x[-1] for x, _ in curves])


in_rounds, spread_out = solved_after("ours"), solved_after("spread_out")
difference = spread_out - in_rounds
low, high = bootstrap_interval(difference, np.random.default_rng(0))
print(f"16 updates every 64 agent steps: {in_rounds.mean():,.0f} agent steps")
print(f"1 update every 4 agent steps:    {spread_out.mean():,.0f} agent steps")
print(f"difference: {difference.mean():+,.0f} ({low:+,.0f} to {high:+,.0f})")

# %% [markdown]
# On 20 seeds no difference in agent steps is shown. For the seconds, we measure
# 5,000 agent steps of one seed.

# %%
from dataclasses import replace

from tools.definitions import load_definitions

NAMES = ["OURS", "train"]
nb = load_definitions("03_target_network", NAMES)
changed = replace(nb["OURS"], train_every=4, updates_per_train=1)
for name, config in {"in rounds": nb["OURS"], "spread out": changed}.items():
    run = nb["train"](replace(config, agent_steps=5_000), seed=8)
    speed = 1_000 * run.seconds / run.brain.agent_steps
    print(f"{name:<11}{speed:.2f} CPU seconds per 1,000 agent steps")

# %% [markdown]
# One seed on one machine is no more than a hint; the 20 paired seeds above are
# the better answer.
