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
# # Solutions to notebook 7
#
# [Open in Colab](https://colab.research.google.com/github/OWNER/dqn-ladder/blob/main/notebooks/solutions/07_rainbow.ipynb)
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
import torch.nn.functional as F

from exercises.rainbow import check_noise, check_project, check_quantile_loss
from helpers.evaluation import evaluate
from helpers.runtime import profile
from tools.definitions import load_definitions

# %% [markdown]
# ### Exercise 1
#
# By hand: the atoms move to 0.5, 1.5 and 2.5. Half of 0.2 goes to atom 0, half to atom 1; half of
# 0.3 to atom 1, half to atom 2; 2.5 is beyond the end, so all 0.5 go to atom 2. Result: 0.1, 0.25,
# 0.65. The mean was 1.3 and should be 1.8 now; it is 1.55, as what lies beyond the last atom was
# moved back to it.


# %%
def my_project(probability, reward, discount, support):
    """Probabilities (B, N), reward (B,), discount (B,), support (N,) to probabilities (B, N)."""
    moved = reward[:, None] + discount[:, None] * support  # (B, N)
    width = support[1] - support[0]
    place = (moved.clamp(support[0], support[-1]) - support[0]) / width
    nearness = 1 - (place[:, :, None] - torch.arange(len(support))).abs()  # (B, N, N)
    return (probability[:, :, None] * nearness.clamp(min=0)).sum(dim=1)


assert check_project(my_project)

# %% [markdown]
# ### Exercise 2


# %%
def my_quantile_loss(theta, outcome, tau):
    """One number θ against outcomes (B,): their mean loss."""
    above = outcome - theta
    return torch.maximum(tau * above, (tau - 1) * above).mean()


assert check_quantile_loss(my_quantile_loss)

# %% [markdown]
# ### Exercise 3


# %%
def my_noise(draws_in, draws_out):
    """Draws (I,) and (J,) to noise (J, I), as a weight matrix has it."""
    small, large = (x.sign() * x.abs().sqrt() for x in (draws_in, draws_out))
    return torch.outer(large, small)


assert check_noise(my_noise)

# %% [markdown]
# ### Exercise 4
#
# A fall now is cut to −0.5. But its neighbours are not cut a second time: they learn from what the
# network says of it, and −0.5 · 0.99^k lies inside the range.

# %%
NAMES = [
    "Config", "RAINBOW", "CartBody", "NoisyLinear", "QNetwork", "project", "quantile_loss",
    "next_distribution", "losses", "NStep", "make_batch", "epsilon", "beta", "descend", "Brain",
    "draw", "update", "cart_brain", "Agent", "Environment", "SELECTION_SEEDS", "TEST_SEEDS",
    "ARENA", "Run", "CURVE", "mean_sigma", "explored", "noise_now", "train",
]  # fmt: skip
nb = load_definitions("07_rainbow", NAMES)
torch.set_num_threads(1)
support = torch.linspace(-0.5, 0, 51)
distribution = F.one_hot(torch.tensor([0]), 51).float()  # any: the discount is 0 at the end
reward, discount = torch.tensor([-1.0]), torch.tensor([0.0])  # the fall
for agent_steps in range(0, 70, 3):
    distribution = nb["project"](distribution, reward, discount, support)
    if agent_steps in (0, 3, 24, 69):
        value = (distribution * support).sum().item()
        true = -(0.99**agent_steps)
        print(f"a fall in {agent_steps:>2} agent steps: {value:.3f}, true {true:.3f}")
    reward, discount = torch.tensor([0.0]), torch.tensor([0.99**3])  # three agent steps earlier
if profile() == "full":
    narrow = nb["train"](replace(nb["RAINBOW"], low=-0.5), seed=0)
    print(f"trained with low = -0.5, last agent: {narrow.test.mean:.0f} agent steps")

# %% [markdown]
# All values are halved, and none is lost: what counts is which of two is larger, and that stays.
# Only falls within the same three agent steps look alike. So the agent should play as before, and
# with this seed it does: 444 agent steps are within the range of the recorded seeds, 405 to 500.

# %% [markdown]
# ### Exercise 5
#
# With this seed it does not pay: the careful agent falls a little earlier. Nothing in this game
# happens by chance, so the action with the better mean mostly has the better worst cases too. Where
# the two disagree, perhaps the tail is to blame: it was learned from the fewest examples. Where a
# game is risky (a short way along a cliff), the careful agent would take the longer way.

# %%
run = nb["train"](nb["RAINBOW"], seed=0, stop_at=475 if profile() == "quick" else np.inf)
net = run.brain.q_net
net.load_state_dict(run.best)


def careful(obs, worst=0.1):
    """Actions (N,) with the best mean of their worst outcomes."""
    net.eval()
    with torch.inference_mode():
        probability = torch.softmax(net(torch.from_numpy(obs)), dim=-1)  # (N, A, atoms)
    before = probability.cumsum(dim=-1) - probability
    counted = (worst - before).clamp(min=0).minimum(probability)  # of each atom, from the worst
    return ((counted * net.support).sum(dim=-1) / worst).argmax(dim=1).numpy()


for name, choose in {"mean": run.brain.greedy, "worst 10 %": careful}.items():
    print(f"{name:<11}{evaluate(choose, nb['ARENA'], 5_000_000).mean:.0f} agent steps")
