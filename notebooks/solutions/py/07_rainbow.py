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
# One answer to each exercise after the summary of [notebook
# 7](../07_rainbow.ipynb). Yours may look different and be right. The exercises
# before the summary have our version right below them.

# %% tags=["setup", "hide-input"]
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))
from helpers.colab import install_missing

install_missing()

# %%
import numpy as np
import torch
import torch.nn.functional as F
from exercises.rainbow import check_quantile_loss
from helpers.evaluation import evaluate
from helpers.plotting import show
from helpers.runtime import profile, seed_everything
from tools.definitions import load_definitions
from torch import nn

NAMES = ["Config", "train", "outcomes", "quantile_loss"]
nb = load_definitions("07_rainbow", NAMES)
torch.set_num_threads(1)
QUICK = profile() == "quick"

# %% [markdown]
# **Exercise 7.5**
#
# Both slopes in one expression: for an outcome above θ the first term is the
# larger one, for an outcome below it the second.


# %%
def my_quantile_loss(theta, outcome, tau):
    """One number theta against outcomes (B,): their mean loss."""
    above = outcome - theta
    return torch.maximum(tau * above, (tau - 1) * above).mean()


assert check_quantile_loss(my_quantile_loss)

# %% [markdown]
# **Exercise 7.6**
#
# A fall in the next step has the value −1, which lies beyond the end, so the
# projection moves it to −0.5. Earlier steps are not cut a second time: their
# targets start from what the network says, and $-0.5 \cdot 0.99^k$ lies inside
# the range.

# %%
support = torch.linspace(-0.5, 0, 51)
distribution = F.one_hot(
    torch.tensor([0]), 51
).float()  # any: the discount is 0
reward, discount = torch.tensor([-1.0]), torch.tensor([0.0])  # the fall
for agent_steps in range(0, 70, 3):
    distribution = nb["project"](distribution, reward, discount, support)
    if agent_steps in (0, 3, 24, 69):
        value, true = (
            (distribution * support).sum().item(),
            -(0.99**agent_steps),
        )
        print(f"{agent_steps:>2} agent steps: {value:.3f}, true {true:.3f}")
    reward, discount = torch.tensor([0.0]), torch.tensor([0.99**3])  # 3 earlier

if not QUICK:
    narrow = nb["train"](nb["Config"](low=-0.5), seed=0)
    print(f"trained with low = -0.5: {narrow.test.mean:.0f} agent steps")

# %% [markdown]
# All values are halved and none is lost. The greedy action depends on which of
# two values is larger, and that stays the same, except for falls within the
# same three agent steps. So we expect an agent that plays about as well. The
# training above is one seed; it can only show that such an agent can learn.
#
# **Exercise 7.7**

# %%
run = nb["train"](nb["Config"](), seed=0, stop_at=475 if QUICK else np.inf)
net = run.brain.q_net
net.load_state_dict(run.best)


def careful(obs, worst=0.1):
    """Actions (N,) with the highest mean of their worst outcomes."""
    net.eval()
    with torch.inference_mode():
        probability = torch.softmax(net(torch.from_numpy(obs)), dim=-1)
    before = probability.cumsum(dim=-1) - probability  # (N, A, atoms)
    counted = (worst - before).clamp(min=0).minimum(probability)
    return ((counted * net.support).sum(dim=-1) / worst).argmax(dim=1).numpy()


for name, choose in {"mean": run.brain.greedy, "worst 10 %": careful}.items():
    print(
        f"{name:<11}{evaluate(choose, nb['ARENA'], 5_000_000).mean:.0f} steps"
    )

# %% [markdown]
# In the recorded run the careful agent falls a little earlier (one seed).
# CartPole has no randomness after the reset, so the action with the better mean
# usually has the better worst case too, and there is little to gain. The tail
# is also learned from the fewest examples, so it is the least reliable part of
# the distribution. Caution matters where the game itself is risky: next to a
# cliff with wind, a careful agent takes the longer way.
#
# **Exercise 7.8**
#
# The quantile loss for a random τ is the same two slopes; only τ now differs
# from sample to sample and also goes into the network.


# %%
class ImplicitQuantiles(nn.Module):
    """τ (B,) to the quantile (B,) of one distribution."""

    def __init__(self, features=64):
        super().__init__()
        self.features = nn.Parameter(torch.ones(features))  # of the only state
        self.embed = nn.Linear(64, features)
        self.output = nn.Sequential(
            nn.Linear(features, 64), nn.ReLU(), nn.Linear(64, 1)
        )

    def forward(self, tau):
        cosines = torch.cos(
            torch.pi * torch.arange(64) * tau[:, None]
        )  # (B, 64)
        return self.output(self.features * F.relu(self.embed(cosines)))[:, 0]


rng = seed_everything(0)
net = ImplicitQuantiles()
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
for _ in range(1_000 if QUICK else 4_000):
    tau, outcome = torch.rand(256), nb["outcomes"](rng, 256)
    u = outcome - net(tau)
    loss = torch.maximum(tau * u, (tau - 1) * u).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

# %%
import matplotlib.pyplot as plt

levels = torch.arange(0.01, 1, 0.01)
with torch.inference_mode():
    values = net(levels)
many = np.sort(nb["outcomes"](rng, 20_000).numpy())
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.plot(values, levels, "o", markersize=3, color="#1f4e8c", label="IQN")
truth = np.linspace(0, 1, len(many))
axes.plot(many, truth, color="#e8743b", linewidth=1, label="truth")
axes.set(
    title="An implicit quantile network on the lottery",
    xlabel="outcome",
    ylabel="τ: share of outcomes below",
)
axes.legend(fontsize=8)
show(figure, "07_iqn")
print(f"mean of 99 quantiles {values.mean():.2f}; of the lottery 1.80")

# %% [markdown]
# One network answers for *any* τ, also for values between the 25 fixed ones,
# and its size does not grow with their number. An agent can ask for as many
# quantiles as it wants, or for low ones only: that is the careful agent of the
# previous exercise. The price: nothing forces the quantiles to be in order, and
# the jump at τ = 0.7 is rounded off. The mean of the 99 quantiles is 1.72, a
# little below the true 1.80.
