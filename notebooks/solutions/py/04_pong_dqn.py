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
# # Solutions to notebook 4
#
# [Open in Colab](https://colab.research.google.com/github/OWNER/dqn-ladder/blob/main/notebooks/solutions/04_pong_dqn.ipynb)
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
import torch.nn.functional as F

from exercises.pong import check_bytes, check_n_step, check_score, check_stacks, check_transitions
from helpers.atari import make_pong
from tools.definitions import load_definitions

# %% [markdown]
# ### Exercise 1
#
# Two stacks of four frames are $8\cdot84\cdot84=56{,}448$ bytes a transition, 5.6 GB for 100,000;
# one frame is 7,056 bytes, 0.7 GB.


# %%
def my_bytes(capacity, frames_once):
    """Bytes of the pictures of a memory; a frame has 84 × 84 pixels of one byte."""
    return capacity * 84 * 84 * (1 if frames_once else 8)


assert check_bytes(my_bytes)

# %% [markdown]
# ### Exercise 2
#
# Go back from `t`, one frame at a time, and stop where the game begins.


# %%
def my_stack(frames, is_first, t):
    """The 4 frames up to t, oldest first: (T, 84, 84) uint8 to (4, 84, 84) uint8."""
    stack = np.zeros((4, 84, 84), np.uint8)
    for place in (3, 2, 1, 0):
        stack[place] = frames[t]
        if is_first[t]:
            break
        t -= 1
    return stack


assert check_stacks(my_stack)

# %% [markdown]
# ### Exercise 3
#
# A step is none exactly if the step before it ended a game, in either way.


# %%
def my_transitions(terminated, truncated):
    """True where a step is a transition: Boolean arrays (T,) to (T,)."""
    over = terminated | truncated
    stored = np.ones(len(over), bool)
    stored[1:] = ~over[:-1]
    return stored


assert check_transitions(my_transitions)

# %% [markdown]
# ### Exercise 4


# %%
def my_scores(rewards, over):
    """Scores of the finished games, from the rewards (T,) and ends (T,) of one environment."""
    scores, score = [], 0.0
    for reward, end in zip(rewards, over, strict=True):
        score += reward
        if end:
            scores.append(score)
            score = 0.0
    return scores


assert check_score(my_scores)

# %% [markdown]
# ### Exercise 5
#
# Backwards, as in notebook 1: what comes after a step is dropped where the game ended with it.


# %%
def my_n_step(rewards, terminated, next_value, gamma):
    """Target from rewards (n,), ends (n,) and the best value after the last step."""
    target = next_value
    for reward, end in zip(rewards[::-1], terminated[::-1], strict=True):
        target = reward + gamma * target * (not end)
    return target


assert check_n_step(my_n_step)

# %% [markdown]
# ### Exercise 6
#
# A single frame says where the ball is, not where it flies to. So two moments with opposite futures
# look the same. The ball is the brightest thing between the paddles; where it stands in the newest
# picture and in the one before tells its direction, and that is what a network is to say, once from
# the newest picture alone (the other three are blackened) and once from all four.


# %%
def ball_column(frames):
    """Column of the ball in frames (B, 84, 84), NaN where it is not to be seen."""
    field = frames[:, 16:76, 14:70] > 150  # without score and paddles
    columns = np.arange(14, 70)
    count = field.sum(axis=(1, 2))
    with np.errstate(invalid="ignore"):
        return (field.sum(axis=1) * columns).sum(axis=1) / np.where(count > 0, count, np.nan)


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
print(f"{len(stacks):,} stacks with a moving ball, {flies_right.mean():.0%} of them to the right")

# %%
nb = load_definitions("04_pong_dqn", ["conv_size", "QNetwork"])
held_out = len(stacks) * 3 // 4  # those after it are for the test
single = stacks.copy()
single[:, :3] = 0
for name, pictures in (("one frame", single), ("four frames", stacks)):
    torch.manual_seed(0)
    net = nb["QNetwork"](2, (16, 32, 32), 64)
    net.mean_frame.copy_(torch.from_numpy(stacks[:, 3].mean(axis=0)))
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-4)
    for _ in range(300):
        rows = rng.integers(held_out, size=32)
        loss = F.cross_entropy(
            net(torch.from_numpy(pictures[rows])), torch.from_numpy(flies_right[rows])
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.inference_mode():
        said = net(torch.from_numpy(pictures[held_out:])).argmax(dim=1).numpy()
    print(f"{name:<12} right in {np.mean(said == flies_right[held_out:]):.0%} of new pictures")

# %% [markdown]
# Three balls of four fly to the right, as a random player misses most of them: to say "right"
# always would be right that often. A single frame says a little more, by where ball and paddles
# stand; four frames say more than one. Some 300 pictures give a standard error of 2 %, so the step
# from one frame to four is hardly luck. Other seeds would tell.
