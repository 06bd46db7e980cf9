# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Solutions to notebook 4
#
# One answer to each exercise after the summary of
# [notebook 4](../04_pong_dqn.ipynb). Yours may look different and be right. The
# exercises before the summary have our version right below them.

# %% tags=["setup", "hide-input"]
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))
from helpers.colab import install_missing

install_missing()

# %% [markdown]
# **Exercise 4.7**
#
# Work backwards: whatever comes after a step is dropped if the game ended with
# that step.

# %%
from exercises.pong import check_n_step


def my_n_step(rewards, terminated, next_value, gamma):
    """Target from rewards (n,), ends (n,) and the value after the last."""
    target = next_value
    for reward, end in zip(rewards[::-1], terminated[::-1], strict=True):
        target = reward + gamma * target * (not end)
    return target


assert check_n_step(my_n_step)

# %% [markdown]
# **Exercise 4.8**
#
# First collect stacks in which the ball can be seen. It is the brightest thing
# between the paddles, and its columns in the two newest frames give the
# direction.

# %%
import numpy as np
import torch
import torch.nn.functional as F
from helpers.atari import make_pong
from helpers.runtime import profile
from tools.definitions import load_definitions

QUICK = profile() == "quick"
torch.set_num_threads(1)


def ball_column(frames):
    """Column of the ball in frames (B, 84, 84), NaN where it is not seen."""
    field = frames[:, 16:76, 14:70] > 150  # without scores and paddles
    count = field.sum(axis=(1, 2))
    columns = (field * np.arange(14, 70)).sum(axis=(1, 2))
    return np.where(count > 0, columns / np.maximum(count, 1), np.nan)


envs, rng = make_pong(8), np.random.default_rng(0)
obs, _ = envs.reset(seed=0)
seen = []
for t in range(700):
    obs = envs.step(rng.integers(0, 6, 8))[0]
    if t % 2 == 0:
        seen.append(obs.copy())
envs.close()
seen = np.concatenate(seen)
moved = ball_column(seen[:, 3]) - ball_column(seen[:, 2])
known = np.abs(moved) > 0.5
stacks, flies_right = seen[known], (moved[known] > 0).astype(np.int64)
right = flies_right.mean()
print(f"{len(stacks):,} stacks with a moving ball, {right:.0%} to the right")

# %% [markdown]
# Train on the first three quarters, test on the rest, and do both for several
# first weights.

# %%
QNetwork = load_definitions("04_pong_dqn", ["QNetwork"])["QNetwork"]
held_out = len(stacks) * 3 // 4
single = stacks.copy()
single[:, :3] = 0


def share_right(pictures, seed, updates):
    """Share of right answers on the pictures held out."""
    torch.manual_seed(seed)
    rng, net = np.random.default_rng(seed), QNetwork(2, (16, 32, 32), 64)
    net.mean_frame.copy_(torch.from_numpy(stacks[:, 3].mean(axis=0)))
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-4)
    for _ in range(updates):
        rows = rng.integers(held_out, size=32)
        answers = net(torch.from_numpy(pictures[rows]))
        loss = F.cross_entropy(answers, torch.from_numpy(flies_right[rows]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.inference_mode():
        answers = net(torch.from_numpy(pictures[held_out:])).argmax(dim=1)
    return np.mean(answers.numpy() == flies_right[held_out:])


for name, pictures in (("one frame", single), ("four frames", stacks)):
    shares = [
        share_right(pictures, seed, 30 if QUICK else 300)
        for seed in range(1 if QUICK else 3)
    ]
    print(f"{name:<12} right:", *(f"{share:.0%}" for share in shares))
always = max(flies_right[held_out:].mean(), 1 - flies_right[held_out:].mean())
print(f"always the more frequent direction: {always:.0%}")

# %% [markdown]
# From one frame the network is right in 86 % of the new pictures. That is what
# "always right" gets, because a random player misses most balls and they fly on
# to the right. So it learned nothing about the direction. From four frames it
# is right in 90 to 92 %. One frame shows where the ball is, but not where it
# flies: two moments with opposite futures look the same.

# %% [markdown]
# **Exercise 4.9**
#
# Give both optimizers the same rates, from too small to too large, and compare
# the *best* of each, over several seeds. Everything else stays as it is: the
# network, its first weights, and the mini-batches.

# %%
from helpers.replay import FrameReplayMemory
from helpers.tables import show_table

memory = FrameReplayMemory(16_000, 8, rng, n_step=3, gamma=0.98)
envs = make_pong(8)
obs, _ = envs.reset(seed=0)
for _ in range(300 if QUICK else 1_500):
    action = rng.integers(0, 6, 8)
    next_obs, reward, terminated, truncated, _ = envs.step(action)
    memory.push(obs, action, reward, terminated, truncated)
    obs = next_obs
envs.close()
average = torch.from_numpy(memory.sample(1_000).obs[:, -1].mean(axis=0))


def last_loss(optimizer, rate, seed, updates):
    """Mean loss of the last 50 updates."""
    torch.manual_seed(seed)
    memory.rng = np.random.default_rng(seed)  # the same batches for all
    net, losses = QNetwork(6, (16, 32, 32), 256), []
    net.mean_frame.copy_(average)
    optimizer = optimizer(net.parameters(), lr=rate)
    for _ in range(updates):
        batch = memory.sample(32)
        action = torch.from_numpy(batch.action)[:, None]
        q = net(torch.from_numpy(batch.obs)).gather(1, action)[:, 0]
        loss = 0.5 * ((q - torch.from_numpy(batch.reward)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return np.mean(losses[-50:])


# %%
table = []
for name in ("Adam", "RMSprop"):
    for rate in (1e-3,) if QUICK else (1e-4, 3e-4, 1e-3, 3e-3):
        losses = [
            last_loss(
                getattr(torch.optim, name), rate, seed, 60 if QUICK else 400
            )
            for seed in range(1 if QUICK else 3)
        ]
        cells = [f"{loss:.4f}" for loss in losses]
        table.append([f"{name}, {rate:g}", *cells])
show_table(["optimizer", *(f"seed {i}" for i in range(len(losses)))], table)
ignorant = 0.5 * memory.sample(2_000).reward.var()
print(f"always the average: {ignorant:.4f}")

# %% [markdown]
# The learning rate matters much more than the optimizer: from 1e-4 to 1e-3 the
# loss falls to about a third, for both. At its best rate, 1e-3, RMSprop has a
# slightly lower loss than Adam on each of the three seeds (0.0032 and 0.0037 on
# average). So the answer for this task is: no, Adam is not better. Three seeds,
# which also chose the rates, are not enough to claim that RMSprop is. And had
# we compared RMSprop at 1e-4 with Adam at 1e-3, we would have measured the rate
# and called it the optimizer.
