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
# # Solutions to notebook 8
#
# [Open in Colab](https://colab.research.google.com/github/OWNER/dqn-ladder/blob/main/notebooks/solutions/08_faster_training.ipynb)
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
import time
from dataclasses import replace

import numpy as np

from exercises.faster import check_next_rows, check_patches, check_speed_up, check_timer
from helpers.runtime import pick_device, profile
from tools.definitions import load_definitions

# %% [markdown]
# ### Exercise 1
#
# One step is `num_carts` rows.


# %%
def my_next_rows(rows, num_carts, n):
    """Rows (B,) of the same carts, n steps later."""
    return rows + n * num_carts


assert check_next_rows(my_next_rows)

# %% [markdown]
# ### Exercise 2
#
# Split both sides of the picture in two axes each, then put the two inner ones next to the
# channels.


# %%
def my_patches(pictures, size):
    """(B, C, H, W) to (B, C · size², H / size, W / size)."""
    b, c, h, w = pictures.shape
    squares = pictures.reshape(b, c, h // size, size, w // size, size)
    return squares.permute(0, 1, 3, 5, 2, 4).reshape(b, c * size * size, h // size, w // size)


assert check_patches(my_patches)

# %% [markdown]
# ### Exercise 3
#
# On a GPU a call only *orders* the work. Without `synchronize` the clock measures how long
# ordering takes.


# %%
def my_timer(work):
    """Seconds of one call, without the first."""
    work()
    started = time.perf_counter()
    for _ in range(10):
        work()
    return (time.perf_counter() - started) / 10


assert check_timer(my_timer)

# %% [markdown]
# ### Exercise 4


# %%
def my_speed_up(before, after):
    """How many times faster, from the seconds of several rounds before and after."""
    return np.median(before) / np.median(after)


assert check_speed_up(my_speed_up)

# %% [markdown]
# ### Exercise 5
#
# An update of the larger network takes two or three times as long, and what is saved around it
# stays the same: the emulator in C++, playing while learning, one call of Adam. Nothing of them is
# lost, but they disappear beside the update. What makes the *convolutions* faster still helps.

# %%
NAMES = [
    "Config", "config", "QNetwork", "ChannelsLast", "td_target", "Brain", "Clock", "Way", "Bench",
    "UPDATE_EVERY", "make_memory", "keep", "draw", "to_patches", "Patches", "warm_up",
    "seconds_per_step", "follow", "steady_values", "greedy",
]  # fmt: skip
given = {"device": pick_device(), "QUICK": profile() == "quick"}
nb = load_definitions("08_faster_training", NAMES, given)
nb["Bench"].keep, nb["Bench"].draw = nb["keep"], nb["draw"]
base = dict(cpp=True, games=8, frames_once=True, fused=True, network=nb["ChannelsLast"])
CHANGES = {
    "games go on while we learn": (dict(ahead=False), dict(ahead=True)),
    "patches": (dict(), dict(network=nb["Patches"])),
}
settings = nb["config"]
for channels, hidden in (((16, 32, 32), 256), ((32, 64, 64), 512)):
    nb["config"] = replace(settings, channels=channels, hidden=hidden)
    print(f"channels {channels}, {hidden} hidden units")
    for name, change in CHANGES.items():
        ways = [nb["Way"](**{**base, **part}) for part in change]
        benches = [nb["warm_up"](way) for way in ways]
        rounds = [[nb["seconds_per_step"](b, 160) for b in benches] for _ in range(3)]
        before, after = np.median(rounds, axis=0)
        print(f"    {name:<28}{before / after:.2f} times faster")

# %% [markdown]
# ### Exercise 6
#
# The Environment needs `AGENT_ACTIONS = np.array([0, 2, 3])`, six becomes three in the Brain, and
# `envs.send(AGENT_ACTIONS[actions])` translates. Three trainings each way take about an hour; with
# trainings that differ threefold from seed to seed, a single pair says nothing.
