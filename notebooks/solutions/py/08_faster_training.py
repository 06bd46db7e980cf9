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
# One answer to each exercise after the summary of
# [notebook 8](../08_faster_training.ipynb). Yours may look different and be
# right. The exercises before the summary have our version right below them.

# %% tags=["setup", "hide-input"]
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))
from helpers.colab import install_missing

install_missing()

# %% [markdown]
# **Exercise 8.6**
#
# Split height and width into two axes each. Then move the two inner axes next
# to the channels.

# %%
from exercises.faster import check_patches


def my_patches(pictures, size):
    """(B, C, H, W) to (B, C · size², H / size, W / size)."""
    b, c, h, w = pictures.shape
    squares = pictures.reshape(b, c, h // size, size, w // size, size)
    inner_first = squares.permute(0, 1, 3, 5, 2, 4)
    return inner_first.reshape(b, c * size * size, h // size, w // size)


check_patches(my_patches)

# %% [markdown]
# **Exercise 8.7**
#
# An update of the larger network takes two to three times as long. What is
# saved *around* the update stays the same in milliseconds, so its share gets
# smaller: the emulator in C++, playing while learning. What makes the
# convolutions faster keeps its ratio. We compare both kinds.

# %%
import time
from dataclasses import replace

import numpy as np
import torch
from helpers.runtime import profile
from tools.definitions import load_definitions

NAMES = ["Way", "warm_up", "ChannelsLast", "Patches"]
torch.set_flush_denormal(True)
nb = load_definitions("08_faster_training", NAMES)
base = dict(games=8, fused=True, network=nb["ChannelsLast"])
CHANGES = {
    "emulator in C++": (dict(), dict(cpp=True)),
    "patches": (dict(cpp=True), dict(cpp=True, network=nb["Patches"])),
}
SMALL, TURNS = nb["PONG"], 5 if profile() == "quick" else 20


def seconds_per_turn(bench):
    """Seconds of a step of all games, updates included."""
    started = time.perf_counter()
    for _ in range(TURNS):
        bench.turn()
    return (time.perf_counter() - started) / TURNS


# %%
for channels, hidden in (((16, 32, 32), 256), ((32, 64, 64), 512)):
    nb["PONG"] = replace(SMALL, channels=channels, hidden=hidden)
    print(f"channels {channels}, {hidden} hidden units")
    for name, change in CHANGES.items():
        ways = [nb["Way"](**{**base, **part}) for part in change]
        pair = [nb["warm_up"](way) for way in ways]
        rounds = [[seconds_per_turn(b) for b in pair] for _ in range(3)]
        before, after = np.transpose(rounds)
        print(f"    {name:<17}{np.median(before / after):.2f} times faster")

# %% [markdown]
# **Exercise 8.8**
#
# `PongAgent` gets 3 actions instead of 6, and the environment needs the number
# of the real action: `envs.send(np.array([0, 2, 3])[actions])`. The
# evaluation needs the same translation. One training differs from another by a
# factor of three with nothing changed but the seed, so a single pair says
# nothing. Ten seeds each way show a factor of two; a gain of a tenth would need
# hundreds. And the comparison holds for Pong alone: another game has other
# useful actions.
