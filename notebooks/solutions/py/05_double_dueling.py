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
# One right answer to each exercise after the summary. Yours may look
# different; what the check accepts is right. (The earlier exercises have our
# version right below them in the notebook.)

# %% tags=["setup", "hide-input"]
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))
from helpers.colab import install_missing

install_missing()

# %% [markdown]
# **Exercise 5.5**


# %%
from exercises.double_dueling import check_dueling_max


def my_dueling_max(value, advantage):
    """V (B, 1) and A (B, A) to Q (B, A), whose largest entry is V."""
    return value + advantage - advantage.max(dim=1, keepdim=True).values


assert check_dueling_max(my_dueling_max)

# %% [markdown]
# **Exercise 5.6**
#
# The correction is exactly 0. After every update both networks are equal, so
# the same values select and evaluate. Double DQN needs two networks that
# differ. (There is no target network any more either; notebook 3 shows what
# that costs.)

# %%
import numpy as np
import torch
from benchmarks.ablate import load

nb = load("05")
torch.set_num_threads(1)
for target_every in (64, 1):
    config = nb["Study"](agent_steps=5_000, target_every=target_every)
    curve = nb["train_variant"](config, seed=0).curve
    correction = np.mean([row[-1] for row in curve])
    print(f"a copy every {target_every:>2} updates: {correction:.5f}")

# %% [markdown]
# **Exercise 5.7**
#
# More actions mean a larger maximum of the errors. So we expect higher
# predictions and a larger correction with DQN, and lower predictions with
# Double DQN than with DQN. One seed of each is not enough to say by how much;
# twenty are, if the difference is as large as it was with 16 actions.

# %%
for name, double in {"DQN": False, "Double DQN": True}.items():
    config = nb["Study"](double=double, num_actions=64, agent_steps=10_000)
    curve = nb["train_variant"](config, seed=0).curve
    _, _, _, predicted, actual, correction = curve[-1]
    print(
        f"{name:<11} predicted {predicted:+.2f}  actual {actual:+.2f}  "
        f"correction {correction:.4f}"
    )
