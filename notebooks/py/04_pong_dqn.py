# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 4. Pong from pixels
#
# [Open in Colab](https://colab.research.google.com/github/OWNER/dqn-ladder/blob/main/notebooks/04_pong_dqn.ipynb)
#
# **An agent that sees nothing but the screen learns to beat Pong's built-in player.** The
# table of notebook 01 has become a network, and now the four numbers of CartPole become
# 28,224 pixels. What keeps it affordable is the subject of this notebook.
#
# Paper: Mnih et al., [*Human-level control through deep reinforcement
# learning*](https://www.nature.com/articles/nature14236), Nature 2015.
#
# `quick`: a minute and a half on two CPU cores; it trains a little and then loads a trained agent.
# `full`: trains that agent from nothing, in about 20 minutes on two CPU cores.

# %% [markdown]
# ## You will be able to
#
# 1. turn an Atari game into observations a network can learn from, and say what each wrapper
#    is for;
# 2. compute the shapes inside a convolutional network, and the memory a replay buffer needs;
# 3. train a DQN on pixels, stop it, and go on later;
# 4. find out why a network that "does not learn" does not learn.
#
# **What changes from notebook 03:** the Brain gets a convolutional network. The target, the
# target network and ε-greedy stay. Eight games run side by side, and the replay memory stores
# frames instead of observations.
#
# In a hurry? Put `%env DQN_PROFILE=quick` into a cell of its own before the next one.

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
import os
import time
from dataclasses import asdict, dataclass, replace

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import display
from torch import nn

from exercises.pong import check_bytes, check_n_step, check_score, check_stacks, check_transitions
from helpers.animation import (
    animated_png,
    overlay_q_values,
    player,
    save_animation,
    video,
)
from helpers.atari import (
    ClipReward,
    FireOnReset,
    Grey,
    MaxAndSkip,
    NoopStart,
    Shrink,
    StackFrames,
    make_pong,
    make_pong_to_watch,
    replay_actions,
)
from helpers.checkpoint import load_checkpoint, load_weights, read_card, save_checkpoint
from helpers.evaluation import evaluate
from helpers.plotting import LiveCurve, is_mine_normal, load_curves, save_curves, show
from helpers.replay import FrameReplayMemory
from helpers.runtime import (
    build_dir,
    check_learned,
    check_values,
    pick_device,
    profile,
    results_path,
    seed_everything,
    show_source,
    versions,
)

versions()

# %% [markdown]
# ## Settings
#
# Every number that matters stands here, with its unit. Where the number differs from the paper
# the comment says so; the table near the end says why.
#
# Three counts must be kept apart. A **frame** is one picture of the emulator, 60 a second. An
# **agent step** is one decision, which lasts four frames. An **update** is one gradient step.


# %%
@dataclass(frozen=True)
class Config:
    """Everything that decides what comes out."""

    seed: int = 0
    # network
    channels: tuple = (32, 64, 64)  # filters of the three convolutions (paper: the same)
    hidden: int = 512  # units (paper: the same)
    # who collects
    num_envs: int = 8  # games side by side (paper: 1)
    agent_steps: int = 200_000  # decisions in all (paper: 12.5 million)
    # memory
    capacity: int = 100_000  # transitions (paper: 1,000,000)
    learn_start: int = 5_000  # transitions of random play before learning (paper: 50,000)
    batch: int = 32  # transitions an update (paper: the same)
    n_step: int = 3  # rewards summed before the bootstrap (paper: 1)
    # learning
    gamma: float = 0.98  # discount an agent step (paper: 0.99)
    lr_start: float = 1e-3  # Adam (paper: RMSprop at 2.5e-4)
    lr_end: float = 1e-4
    train_every: int = 4  # agent steps an update (paper: the same)
    target_every: int = 1_000  # agent steps between copies (paper: 40,000)
    max_grad_norm: float = 10.0  # the gradient is shortened to this length
    # exploration
    epsilon_end: float = 0.01  # chance of a random action at last (paper: 0.1)
    epsilon_steps: int = 20_000  # agent steps over which it falls from 1 (paper: 250,000)
    # measuring
    evaluate_every: int = 20_000  # agent steps between greedy evaluations
    games: int = 10  # games in an evaluation
    stop_at: float = 20.0  # mean score that ends the training


# %% [markdown]
# The network above is the paper's. On a CPU most of the time goes into its convolutions, so a
# machine without a GPU takes half the filters; this is the **CPU configuration**. It learns
# Pong as well, since Pong is a simple picture.
#
# `DQN_PROFILE=quick` shortens the training to a few thousand agent steps.
# `DQN_SEED` picks the seed.

# %%
device = pick_device()
torch.set_num_threads(int(os.environ.get("DQN_THREADS", 2)))
config = Config(seed=int(os.environ.get("DQN_SEED", 0)))
if device.type == "cpu":
    config = replace(config, channels=(16, 32, 32), hidden=256)
QUICK = profile() == "quick"
if QUICK:
    config = replace(
        config,
        num_envs=4,
        agent_steps=5_000,
        learn_start=1_000,
        epsilon_steps=3_000,
        evaluate_every=5_000,
        games=2,
    )
print(f"{device.type}, {'quick' if QUICK else 'full'}, seed {config.seed}")

# %% [markdown]
# ## A first look at Pong
#
# The game runs inside the Arcade Learning Environment (ALE), an Atari 2600 emulator. We play
# the green paddle on the right. Whoever misses the ball gives the other a point, +1 or −1 for
# us, and the first to reach 21 wins. A game's score therefore lies between −21 and +21.

# %% tags=["nbval-check-output"]
raw = gym.make("ALE/Pong-v5", frameskip=1, repeat_action_probability=0.0, render_mode="rgb_array")
print("observation:", raw.observation_space.shape, raw.observation_space.dtype)
print("actions:", raw.action_space.n)
for number, meaning in enumerate(raw.unwrapped.get_action_meanings()):
    print(number, meaning)

# %% [markdown]
# Six actions, though the paddle only moves up and down: on a joystick RIGHT moves it up and LEFT
# down, and FIRE serves. `RIGHTFIRE` does what `RIGHT` does, so three would be enough. We keep
# all six: the agent is not told.
#
# One random step shows what the environment hands back.

# %% tags=["nbval-check-output"]
obs, info = raw.reset(seed=0)
raw.action_space.seed(0)
next_obs, reward, terminated, truncated, info = raw.step(raw.action_space.sample())
print("next_obs", next_obs.shape, next_obs.dtype, "from", next_obs.min(), "to", next_obs.max())
print("reward", reward, "terminated", terminated, "truncated", truncated)

# %%
for _ in range(60):
    next_obs, *_ = raw.step(0)  # one second later, the ball is in play
figure, axes = plt.subplots(figsize=(3, 3.6), layout="constrained")
axes.imshow(next_obs)
axes.set(title="One raw frame of Pong", xlabel="x [pixel]", ylabel="y [pixel]")
show(figure, "04_raw_frame")

# %% [markdown]
# ## From the screen to an observation
#
# A raw frame holds 210 × 160 × 3 = 100,800 numbers, most of them useless, and still lacks one
# thing: it does not say where the ball is *going*. Wrappers mend both, one idea each. Every
# wrapper stands around the environment, or around the wrapper before it.
#
# Two prepare the start of a game. `NoopStart` waits for a random number of frames, so that
# games differ although the emulator has no randomness of its own. `FireOnReset` presses FIRE,
# since some games wait for it.

# %%
show_source(NoopStart, FireOnReset)

# %% [markdown]
# **Grey.** Colour does not matter here. Luminance weighs red, green and blue as the eye does and
# leaves a third of the numbers.

# %%
show_source(Grey)

# %%
play = Grey(raw)
grey, _ = play.reset(seed=0)
for _ in range(60):
    grey, *_ = play.step(0)
figure, axes = plt.subplots(1, 2, figsize=(6, 3.4), layout="constrained")
axes[0].imshow(play.render())
axes[0].set_title("before: colour, 100,800 numbers")
axes[1].imshow(grey, cmap="gray", vmin=0, vmax=255)
axes[1].set_title("after: grey, 33,600 numbers")
for ax in axes:
    ax.set(xlabel="x [pixel]", ylabel="y [pixel]")
show(figure, "04_grey")

# %% [markdown]
# **Max and skip.** Sixty decisions a second are too many: neighbouring frames are nearly the
# same. Each action is repeated for four frames. The picture shown is the pixel-wise maximum of
# the last two, because the console drew some objects only in every other frame.

# %%
show_source(MaxAndSkip)

# %%
earlier = grey
play.step(0)
later, *_ = play.step(0)
moved = np.argwhere(earlier[34:194, 24:136] != later[34:194, 24:136])  # between the paddles
row, column = moved.mean(axis=0).astype(int) + np.array([34, 24])
near = np.s_[row - 12 : row + 13, column - 12 : column + 13]  # around the ball
pictures = {
    "a frame": earlier,
    "two frames later": later,
    "pixel-wise maximum": np.maximum(earlier, later),
}
figure, panels = plt.subplots(1, 3, figsize=(7.5, 2.9), layout="constrained")
for ax, (title, picture) in zip(panels, pictures.items(), strict=True):
    ax.imshow(picture[near], cmap="gray", vmin=0, vmax=255)
    ax.set(title=title, xlabel="x [pixel]", ylabel="y [pixel]")
figure.suptitle("25 × 25 pixels around the ball")
show(figure, "04_max_and_skip")

# %% [markdown]
# The ball stands twice in the third picture: nothing that was visible in either frame is lost.
#
# **Shrink.** 84 × 84 pixels are enough to see the ball. Averaging areas keeps it visible, where
# picking every second pixel could drop it.

# %%
show_source(Shrink)

# %%
small = Shrink(play)
shrunk = small.observation(later)
figure, axes = plt.subplots(1, 2, figsize=(6, 3.4), layout="constrained")
axes[0].imshow(later, cmap="gray", vmin=0, vmax=255)
axes[0].set_title("before: 210 × 160")
axes[1].imshow(shrunk, cmap="gray", vmin=0, vmax=255)
axes[1].set_title("after: 84 × 84 = 7,056 numbers")
for ax in axes:
    ax.set(xlabel="x [pixel]", ylabel="y [pixel]")
show(figure, "04_shrink")

# %% [markdown]
# **Stack frames.** One picture does not tell whether the ball comes or goes. Without that the
# observation is no *state*: the best action depends on something that cannot be seen. The last
# four pictures together show it.

# %%
show_source(StackFrames)

# %%
env = StackFrames(Shrink(MaxAndSkip(Grey(FireOnReset(raw)))))
obs, _ = env.reset(seed=0)
for _ in range(16):
    obs, *_ = env.step(0)
figure, axes = plt.subplots(1, 4, figsize=(8, 2.5), layout="constrained")
for i, ax in enumerate(axes):
    ax.imshow(obs[i], cmap="gray", vmin=0, vmax=255)
    ax.set(title=f"channel {i}: t − {3 - i}", xlabel="x [pixel]")
axes[0].set_ylabel("y [pixel]")
figure.suptitle("One observation: four pictures, one agent step apart")
show(figure, "04_stack")

# %% [markdown]
# **Clip rewards.** Only the sign of a reward is kept, so that one learning rate fits games
# with scores of 1 and of 10,000. Pong's rewards are −1, 0 and 1 already; other games need it.
# The *score* we report is never the clipped one.

# %% tags=["nbval-check-output"]
clip = ClipReward(raw)
print([clip.reward(r) for r in (-1.0, 0.0, 1.0, 400.0)])

# %% [markdown]
# ## The same, faster
#
# Those wrappers are for reading. For training, ale-py brings an environment written in C++ that
# does all of this for many games at once. Equal settings must give equal pixels: here both play
# 50 random steps.

# %% tags=["nbval-check-output"]
fast = make_pong(1, noop_max=0, clip_rewards=False)
slow_obs, _ = env.reset(seed=3)
fast_obs, _ = fast.reset(seed=3)
rng = np.random.default_rng(0)
equal = np.array_equal(slow_obs, fast_obs[0])
for action in rng.integers(0, 6, 50):
    slow_obs, *_ = env.step(action)
    fast_obs, *_ = fast.step(np.array([action]))
    equal &= np.array_equal(slow_obs, fast_obs[0])
print("observation", fast_obs.shape, fast_obs.dtype)
print("pixel-equal over 50 steps:", bool(equal))

# %% [markdown]
# A **vector environment** takes one action per game and returns one observation per game: a
# mini-batch, which is what a network likes.
#
# One thing must be minded. When a game ends, its last observation comes back with
# `terminated=True`. The *next* step ignores our action and returns the first observation of a
# new game. That step, the **autoreset**, joins the end of one game to the start of another. It
# is not a transition and must not be learned from.

# %% [markdown]
# ## How much memory does the memory need?
#
# A transition holds two observations of 4 × 84 × 84 numbers. As 32-bit floats, 500,000 of them
# would not fit into any laptop. Three facts bring that down: pixels are
# whole numbers of one byte; the next observation is the observation of the next transition; and
# neighbouring stacks share three of their four pictures.

# %% tags=["nbval-check-output"]
transitions = 500_000
pixels = 84 * 84
ways = {
    "two stacks of 32-bit floats": 2 * 4 * pixels * 4,
    "two stacks of bytes": 2 * 4 * pixels,
    "one stack of bytes": 4 * pixels,
    "one frame of bytes": pixels,
}
for way, size in ways.items():
    print(f"{way:<28}{size:>8,} bytes each {size * transitions / 1e9:>7.1f} GB in all")

# %% [markdown]
# From 113 GB to 3.5 GB without losing anything. `FrameReplayMemory` does the last line: it keeps
# each picture once and rebuilds the stacks when a batch is drawn. It also sees to the ends: no
# stack and no sum of rewards reaches across an episode's end, and the autoreset is left out.

# %%
show_source(FrameReplayMemory.push, FrameReplayMemory._stacks)

# %% tags=["nbval-check-output"]
memory = FrameReplayMemory(10_000, num_envs=1, rng=np.random.default_rng(0), n_step=3, gamma=0.98)
obs, _ = fast.reset(seed=0)
for action in rng.integers(0, 6, 400):
    next_obs, reward, terminated, truncated, _ = fast.step(np.array([action]))
    memory.push(obs, np.array([action]), reward, terminated, truncated)
    obs = next_obs
batch = memory.sample(32)
for name, column in batch._asdict().items():
    print(f"{name:<9}{column.shape!s:<17}{column.dtype}")
print(f"{memory.nbytes / memory.capacity:,.0f} bytes a transition")

# %% [markdown]
# Two columns are new. `reward` is the sum of the next three rewards, discounted: a point is felt
# three steps back at once instead of one, so news travels faster through the values. (Notebook
# 06 is about this; the paper's DQN sums one.) `discount` is what the value after those steps is
# worth: γ³, or 0 if the game ended before.

# %% tags=["nbval-check-output"]
gamma = 0.98
print(f"running game:  discount = γ³ = {gamma**3:.6f}")
print(f"reward in two steps, 0 otherwise: 0 + γ·0 + γ²·1 = {gamma**2:.4f}")
print("discounts in this batch:", sorted({round(float(d), 6) for d in batch.discount}))

# %% [markdown]
# ## The network
#
# A convolution slides a small filter over the picture. With an input of $n$ pixels, a filter of
# $k$ and a stride of $s$ its output has
#
# $$\left\lfloor \frac{n - k}{s} \right\rfloor + 1$$
#
# pixels. Three of them turn 84 × 84 into 7 × 7.


# %% tags=["nbval-check-output"]
def conv_size(pixels, kernel, stride):
    """Pixels along one side after a convolution without padding."""
    return (pixels - kernel) // stride + 1


size = 84
for kernel, stride in ((8, 4), (4, 2), (3, 1)):
    print(
        f"{size:>3} pixels, filter {kernel}, stride {stride} -> {conv_size(size, kernel, stride)}"
    )
    size = conv_size(size, kernel, stride)
assert size == 7

# %% [markdown]
# The network returns one value per action. Two details matter more than they seem to:
# `centre` subtracts the average picture (why, we measure below), and the weights start
# *orthogonal*, so signals neither fade nor grow on their way through the layers. The last layer
# starts small: an agent that knows nothing should claim nothing.


# %%
class QNetwork(nn.Module):
    """Pictures (B, 4, 84, 84) uint8 to Q-values (B, A)."""

    def __init__(self, num_actions, channels, hidden):
        super().__init__()
        first, second, third = channels
        side = conv_size(conv_size(conv_size(84, 8, 4), 4, 2), 3, 1)
        self.layers = nn.Sequential(
            nn.Conv2d(4, first, 8, stride=4), nn.ReLU(),
            nn.Conv2d(first, second, 4, stride=2), nn.ReLU(),
            nn.Conv2d(second, third, 3, stride=1), nn.ReLU(),
            nn.Flatten(),
            nn.Linear(third * side * side, hidden), nn.ReLU(),
            nn.Linear(hidden, num_actions),
        )  # fmt: skip
        self.register_buffer("mean_frame", torch.zeros(84, 84))  # saved with the weights
        for layer in self.layers:
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.orthogonal_(layer.weight, gain=2**0.5)
                nn.init.zeros_(layer.bias)
        nn.init.orthogonal_(self.layers[-1].weight, gain=0.01)

    def centre(self, obs):
        """Bytes (B, 4, 84, 84) to floats around 0; the ball is about 1."""
        pixels = obs.to(torch.float32, memory_format=torch.channels_last)
        return (pixels - self.mean_frame) / 64

    def forward(self, obs):
        """Q-values (B, A)."""
        return self.layers(self.centre(obs))


# %% tags=["nbval-check-output"]
paper_net = QNetwork(6, (32, 64, 64), 512)
x = paper_net.centre(torch.from_numpy(batch.obs))
print(f"{'input':<10}{tuple(x.shape)}")
for layer in paper_net.layers:
    x = layer(x)
    if not isinstance(layer, nn.ReLU):
        print(f"{type(layer).__name__:<10}{tuple(x.shape)}")
print(f"{sum(p.numel() for p in paper_net.parameters()):,} weights in the paper's network")
small_net = QNetwork(6, (16, 32, 32), 256)
print(f"{sum(p.numel() for p in small_net.parameters()):,} weights in the CPU configuration")

# %% [markdown]
# ## The loss
#
# Two things differ from notebook 03. The discount comes from the memory, and the error is squared
# instead of Huber's: with rewards of ±1 there are no large errors to tame. The network is to agree
# with the **target**
#
# $$y = r + d \cdot \max_{a'} Q_{\text{target}}(s', a'),
# \qquad L = \tfrac{1}{2}\,\bigl(Q(s, a) - y\bigr)^2$$
#
# where $d$ is 0 after the end of a game. A batch of three, by hand.


# %%
def td_target(reward, discount, next_q):
    """Targets (B,) from rewards (B,), discounts (B,) and target-network values (B, A)."""
    return reward + discount * next_q.max(dim=1).values


# %% tags=["nbval-check-output"]
reward = torch.tensor([0.0, 1.0, -1.0])
discount = torch.tensor([0.9, 0.9, 0.0])  # the third game ended
next_q = torch.tensor([[0.2, 0.5], [-0.4, -0.1], [7.0, 9.0]])
by_hand = torch.tensor([0.0 + 0.9 * 0.5, 1.0 + 0.9 * -0.1, -1.0 + 0.0])
target = td_target(reward, discount, next_q)
q = torch.tensor([0.40, 1.00, -0.50])
loss = 0.5 * ((q - target) ** 2).mean()
print("targets", [round(v, 4) for v in target.tolist()])
print("loss   ", round(loss.item(), 6))
assert torch.allclose(target, by_hand)

# %% [markdown]
# The 9.0 in the last row has no effect: after the end there is nothing to come. The errors are
# −0.05, 0.09 and 0.5, so the loss is ½ · (0.0025 + 0.0081 + 0.25) / 3 = 0.043433.
#
# ## The Brain
#
# As in notebook 03 it owns two networks and the optimizer, chooses actions and learns from a
# batch. What is new: it acts for all games at once, and it can look at pictures first to learn
# their average.


# %%
class Brain:
    """Where the learning lives: two networks, an optimizer, the rule of notebook 03."""

    def __init__(self, config, num_actions, device):
        self.config, self.num_actions, self.device = config, num_actions, device
        sizes = (num_actions, config.channels, config.hidden)
        layout = torch.channels_last  # the order of numbers that convolutions are fastest with
        self.q_net = QNetwork(*sizes).to(device, memory_format=layout)
        self.target_net = QNetwork(*sizes).to(device, memory_format=layout)
        self.optimizer = torch.optim.Adam(self.q_net.parameters(), lr=config.lr_start, fused=True)
        self.updates = self.copies = 0
        self.copy_to_target()

    def calibrate(self, obs):
        """Take the average picture of observations (B, 4, 84, 84) as the background."""
        self.q_net.mean_frame.copy_(torch.from_numpy(obs[:, -1].mean(axis=0, dtype=np.float32)))
        self.copy_to_target()

    def q_values(self, obs):
        """Q-values (N, A) of observations (N, 4, 84, 84), as numpy."""
        with torch.inference_mode():
            return self.q_net(torch.from_numpy(obs).to(self.device)).cpu().numpy()

    def decide_actions(self, obs, epsilon, rng):
        """Actions (N,): random with probability epsilon, else the best known."""
        best = self.q_values(obs).argmax(axis=1)
        explore = rng.random(len(best)) < epsilon
        return np.where(explore, rng.integers(0, self.num_actions, len(best)), best)

    def copy_to_target(self):
        """Let the target network be as the Q-network is now."""
        self.target_net.load_state_dict(self.q_net.state_dict())
        self.copies += 1

    def learn(self, batch, lr):
        """Do one update; return the loss and the mean Q-value of the batch (tensors)."""
        obs, action, reward, next_obs, discount = (
            torch.from_numpy(column).to(self.device) for column in batch
        )
        with torch.no_grad():
            target = td_target(reward, discount, self.target_net(next_obs))
        q = self.q_net(obs).gather(1, action.unsqueeze(1)).squeeze(1)
        assert q.shape == target.shape == (len(reward),)
        loss = 0.5 * ((q - target) ** 2).mean()
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.q_net.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        self.updates += 1
        return loss.detach(), q.detach().mean()


# %% [markdown]
# The Agent joins a Brain to its memory. Both of its hand-overs are one line each, as before.


# %%
class Agent:
    """The player: asks its Brain for actions, keeps what happened, passes batches on."""

    def __init__(self, config, num_actions, device, rng):
        self.config, self.rng = config, rng
        self.brain = Brain(config, num_actions, device)
        self.memory = FrameReplayMemory(
            config.capacity, config.num_envs, rng, n_step=config.n_step, gamma=config.gamma
        )

    def get_actions(self, obs, epsilon):
        """One action per game, (N,)."""
        return self.brain.decide_actions(obs, epsilon, self.rng)

    def memorize(self, obs, action, reward, terminated, truncated):
        """Keep one step of every game."""
        self.memory.push(obs, action, reward, terminated, truncated)

    def learn(self, lr):
        """One update from one mini-batch."""
        return self.brain.learn(self.memory.sample(self.config.batch), lr)


# %% [markdown]
# ## Two schedules
#
# Exploration starts with random play only, until there is something to learn from, and falls to
# 1 % within 20,000 agent steps. The learning rate falls in a straight line as well: large steps
# find the way, small ones keep it.


# %%
def line(start, end, progress):
    """The value at a progress of 0…1 on a straight line from start to end."""
    return start + (end - start) * min(max(progress, 0.0), 1.0)


def epsilon_at(agent_steps, config):
    """Chance of a random action."""
    progress = (agent_steps - config.learn_start) / config.epsilon_steps
    return line(1.0, config.epsilon_end, progress)


# %%
steps = np.arange(0, 100_001, 1_000)
figure, axes = plt.subplots(figsize=(6, 2.6), layout="constrained")
axes.plot(steps, [epsilon_at(s, Config()) for s in steps], label="here")
paper = replace(Config(), learn_start=50_000, epsilon_steps=250_000, epsilon_end=0.1)
axes.plot(steps, [epsilon_at(s, paper) for s in steps], "--", label="paper")
axes.set(title="Exploration: ε against agent steps", xlabel="agent steps", ylabel="ε")
axes.legend()
show(figure, "04_epsilon")

# %% [markdown]
# ## Bug museum: does the network see the ball?
#
# Before hours of training it is worth asking a smaller question. A network should be able to
# learn, from a fixed memory, *which reward follows within three steps*. No bootstrap, no
# exploration: plain supervised learning. If this fails, nothing else can work.
#
# Two networks are compared. One divides pixels by 255, as is often done. The other subtracts the
# average picture first.

# %%
seed_everything(config.seed)
envs = make_pong(8)
look = FrameReplayMemory(16_000, 8, np.random.default_rng(0), n_step=3, gamma=0.98)
obs, _ = envs.reset(seed=0)
for _ in range(500 if QUICK else 1_500):
    action = rng.integers(0, 6, 8)
    next_obs, reward, terminated, truncated, _ = envs.step(action)
    look.push(obs, action, reward, terminated, truncated)
    obs = next_obs
envs.close()
average = look.sample(1_000).obs[:, -1].mean(axis=0)


# %%
class DivideBy255(QNetwork):
    """The same network with the usual scaling."""

    def centre(self, obs):
        """Bytes to floats in 0…1."""
        return obs.to(torch.float32, memory_format=torch.channels_last) / 255


def learn_rewards(net, optimizer, updates):
    """Train Q(s, a) on the three-step reward alone; return the loss of each update."""
    losses = []
    for _ in range(updates):
        batch = look.sample(32)
        action = torch.from_numpy(batch.action).unsqueeze(1)
        q = net(torch.from_numpy(batch.obs)).gather(1, action).squeeze(1)
        loss = 0.5 * ((q - torch.from_numpy(batch.reward)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# %%
updates = 250 if QUICK else 1_000
curves = {}
for name, network in (("divided by 255", DivideBy255), ("centred", QNetwork)):
    torch.manual_seed(0)
    net = network(6, (16, 32, 32), 256)
    net.mean_frame.copy_(torch.from_numpy(average))
    curves[name] = learn_rewards(net, torch.optim.Adam(net.parameters(), lr=5e-4), updates)
knows_nothing = 0.5 * look.sample(2_000).reward.var()

# %%
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
for name, losses in curves.items():
    axes.plot(np.convolve(losses, np.ones(50) / 50, "valid"), label=name)
axes.axhline(knows_nothing, color="0.5", linestyle="--", label="always says the average")
axes.set(
    title="Predicting the next reward: centred pictures are learned much sooner",
    xlabel="updates (mean of 50)",
    ylabel="loss [reward²]",
)
axes.legend()
show(figure, "04_centring")

# %% [markdown]
# The dashed line is the loss of a network that sees nothing and always says the average. Divided
# by 255, the network stays there for hundreds of updates. A grey background of 87 becomes 0.34
# in every pixel, the ball is a few pixels on top of that, and the gradients push on the
# background. Centred, the background is 0, and the ball is what is left.
#
# This is one line in `centre`. Whenever "it does not learn", look first at what the network gets,
# and give it a task so small that failing is a finding.

# %% [markdown]
# ## RMSprop or Adam?
#
# The paper used RMSprop, and many versions still do. On the same small task, with the rates
# usual for each:

# %%
choices = {
    "RMSprop, 1e-4": lambda p: torch.optim.RMSprop(p, lr=1e-4),
    "Adam, 1e-4": lambda p: torch.optim.Adam(p, lr=1e-4),
    "Adam, 1e-3": lambda p: torch.optim.Adam(p, lr=1e-3),
}
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
for name, make_optimizer in choices.items():
    torch.manual_seed(0)
    net = QNetwork(6, (16, 32, 32), 256)
    net.mean_frame.copy_(torch.from_numpy(average))
    losses = learn_rewards(net, make_optimizer(net.parameters()), updates)
    axes.plot(np.convolve(losses, np.ones(50) / 50, "valid"), label=name)
axes.set(
    title="The same task, three optimizers",
    xlabel="updates (mean of 50)",
    ylabel="loss [reward²]",
)
axes.legend()
show(figure, "04_optimizers")

# %% [markdown]
# A rate of 1e-4 is meant for millions of updates. This training has fifty thousand, so it takes
# Adam at 1e-3, and lets the rate fall to 1e-4 on the way: large steps first, small ones later.

# %% [markdown]
# ## The Environment, and the training loop
#
# The Environment runs the games. Its method `run` is the loop of every notebook: choose, act,
# learn. Three things are new.
#
# - `send` starts the games' next step and `recv` fetches it. Between the two the Agent learns,
#   while the emulators run on other cores. The result is the same on every run.
# - Every 20,000 agent steps ten greedy games are played in separate environments. The best
#   weights are kept.
# - After each evaluation everything is saved. Run the cell again after an interruption, and it
#   goes on as if nothing had happened.


# %%
class Environment:
    """Runs the games, and keeps the books of a training."""

    def __init__(self, config, device):
        self.config = config
        self.rng = seed_everything(config.seed)
        self.envs = make_pong(config.num_envs)
        self.obs, _ = self.envs.reset(seed=config.seed)
        self.agent = Agent(config, 6, device, self.rng)
        self.file = build_dir("runs") / f"04_pong_dqn_{profile()}_seed{config.seed}.safetensors"
        self.agent_steps, self.seconds = 0, 0.0
        self.actions = []  # (N,) of each step: with the seed they say all about the games
        self.score = np.zeros(config.num_envs)  # of the running games
        self.scores, self.score_steps = [], []  # of each finished game, and when it ended
        self.evaluations = []  # [agent steps, minutes, mean, std] each
        self.best, self.best_weights = -22.0, self.agent.brain.q_net.state_dict()

    def record(self, obs, actions, reward, terminated, truncated, next_obs):
        """Enter one step of all games into the memory and the books."""
        self.agent.memorize(obs, actions, reward, terminated, truncated)
        self.actions.append(actions)
        self.obs, self.score = next_obs, self.score + reward
        for i in np.flatnonzero(terminated | truncated):
            self.scores.append(float(self.score[i]))
            self.score_steps.append(self.agent_steps)
            self.score[i] = 0.0
        self.agent_steps += self.config.num_envs

    def evaluate(self):
        """Play greedy games; keep the weights if they are the best so far."""
        envs = make_pong(self.config.games, clip_rewards=False)
        brain = self.agent.brain
        result = evaluate(lambda obs: brain.q_values(obs).argmax(1), envs, seed=10_000)
        envs.close()
        row = [self.agent_steps, self.seconds / 60, result.mean, result.std]
        self.evaluations.append(row)
        if result.mean > self.best:
            self.best = result.mean
            self.best_weights = {k: v.clone() for k, v in brain.q_net.state_dict().items()}


# %% [markdown]
# ## Stop, and go on later
#
# A checkpoint is written in one piece: an interruption while saving leaves the old one. It holds
# the networks, the optimizer's moments and all counts, but neither the memory (0.7 GB) nor the
# state of the emulators. It need not. The emulator has no randomness of its own, and how long
# each game waits at its start follows from the seed. So the **actions** tell the games
# completely: one byte an agent step, 0.2 MB for the whole training.
#
# The state of the random generator is kept too. The newest observation is there as a proof: the
# games played again must end in it.


# %%
def state(self):
    """The actions, and all that playing them again does not bring back."""
    brain = self.agent.brain
    actions = np.array(self.actions, np.uint8).reshape(-1, self.config.num_envs)
    return {
        "config": asdict(self.config),
        "actions": torch.from_numpy(actions),
        "obs": torch.from_numpy(self.obs),
        "rng": self.rng.bit_generator.state,
        "q_net": brain.q_net.state_dict(),
        "target_net": brain.target_net.state_dict(),
        "optimizer": brain.optimizer.state_dict(),
        "best_weights": self.best_weights,
        "counts": [brain.updates, brain.copies],
        "books": [self.seconds, self.best, self.evaluations],
    }


def save(self):
    """Put the state into the file of this training."""
    save_checkpoint(self.file, self.state())


Environment.state, Environment.save = state, save

# %% [markdown]
# To go on, the games are played again from their first reset, with the same actions. Nothing is
# learned meanwhile, so this takes a small part of the time the training took. Frames, rewards,
# ends and running scores come back exactly, and the same calls as before fill the memory. At last
# the random generator is put where it stood.

# %% [markdown]
# From there on the training is **the same to the last bit** as one without the interruption, on
# the same machine with the same number of threads. (Some sums on a GPU have no fixed order. There
# the two agree at first and part later.)
#
# One trap: a file holds tensors in plain order, while these networks keep theirs `channels_last`.
# The optimizer wants its moments in the order of the weights, and does not check.


# %%
def resume(self):
    """Go on from the file if there is one of the same settings; say so."""
    if QUICK or not self.file.exists():
        return
    brain, state = self.agent.brain, load_checkpoint(self.file, self.agent.brain.device)
    if state.keys() != self.state().keys():
        print(f"{self.file.name} was saved by another version of this notebook: starting anew")
        return
    if state["config"] != {**asdict(self.config), "channels": list(self.config.channels)}:
        print(f"{self.file.name} has other settings: starting anew")
        return
    load_weights(brain.q_net, state["q_net"], "q_net")
    load_weights(brain.target_net, state["target_net"], "target_net")
    brain.optimizer.load_state_dict(state["optimizer"])
    for weights, moments in brain.optimizer.state.items():
        for name in ("exp_avg", "exp_avg_sq"):  # empty_like: in the order of the weights
            moments[name] = torch.empty_like(weights).copy_(moments[name])
    self.best_weights = state["best_weights"]
    brain.updates, brain.copies = state["counts"]
    self.seconds, self.best, self.evaluations = state["books"]
    print(f"playing the first {state['actions'].numel():,} agent steps again", flush=True)
    for step in replay_actions(self.envs, self.config.seed, state["actions"].cpu().numpy()):
        self.record(*step)
    if not np.array_equal(self.obs, state["obs"].cpu().numpy()):
        raise RuntimeError(
            f"the games did not come out as before: was {self.file.name} made with another "
            "version of ale-py? Install that one, or delete the file to start anew"
        )
    self.rng.bit_generator.state = state["rng"]
    print(f"going on at {self.agent_steps:,} agent steps")


Environment.resume = resume

# %% [markdown]
# And the loop itself. `check_values` looks at the last update of every turn, and at the weights
# before they are saved. Rewards lie in −1…1, so no return can be larger than
# $1 + \gamma + \gamma^2 + \dots = 1/(1-\gamma) = 50$. A Q-value beyond that, or one that is
# no number at all, means that the training has **diverged**. It would not find back, so it ends
# with an error that names the usual causes.


# %%
def run(self):
    """Train until the budget is used or the goal is reached."""
    c, agent, brain, memory = self.config, self.agent, self.agent.brain, self.agent.memory
    bound = 1 / (1 - c.gamma)  # of |Q|, as rewards lie in -1…1
    started, before = time.monotonic(), self.seconds
    curve = LiveCurve(
        "04_training", window=20, title="Pong while it learns", ylabel="score of a game"
    )
    first_time = brain.updates == 0
    while self.agent_steps < c.agent_steps and self.best < c.stop_at:
        epsilon = epsilon_at(self.agent_steps, c)
        actions = agent.get_actions(self.obs, epsilon)
        self.envs.send(actions)  # the games go on while we learn
        learning = len(memory) >= c.learn_start
        if learning:
            if first_time:
                brain.calibrate(memory.sample(min(2_000, len(memory))).obs)
                first_time = False
            lr = line(c.lr_start, c.lr_end, self.agent_steps / c.agent_steps)
            for _ in range(c.num_envs // c.train_every):
                loss, q = agent.learn(lr)
        next_obs, reward, terminated, truncated, _ = self.envs.recv()
        self.record(self.obs, actions, reward, terminated, truncated, next_obs)

        self.seconds = before + time.monotonic() - started
        if self.agent_steps % c.target_every == 0:
            brain.copy_to_target()
        if learning:  # at once: a network that explodes may be dead and quiet a moment later
            check_values(loss, q, bound, self.agent_steps)
        if self.agent_steps % c.evaluate_every == 0:
            if learning:  # the weights as they are now, which are to be saved
                check_values(loss, brain.q_values(self.obs), bound, self.agent_steps)
            self.evaluate()
            self.save()
        if learning and self.agent_steps % 1_000 == 0:
            curve.update(
                self.scores,
                f"{self.agent_steps:,} of {c.agent_steps:,} agent steps, "
                f"{self.agent_steps / self.seconds:.0f}/s, ε {epsilon:.2f}, "
                f"loss {loss:.4f}, mean Q {q:+.2f}, best greedy {self.best:+.1f}",
            )
    curve.close(self.scores, f"{self.agent_steps:,} agent steps, {self.seconds / 60:.1f} min")
    self.envs.close()


Environment.run = run

# %% [markdown]
# ## Train

# %%
environment = Environment(config, device)
environment.resume()
environment.run()

# %% tags=["nbval-check-output"]
brain = environment.agent.brain
print("updates were made:", brain.updates > 0)
print("target was copied while training:", brain.copies > 2)
print("games were finished:", len(environment.scores) > 0)
print("ε fell:", epsilon_at(environment.agent_steps, config) < 0.5)
assert brain.updates > 0 and brain.copies > 2 and environment.scores

# %% [markdown]
# In `quick` the score stays near −20: a few thousand agent steps are not enough to learn Pong.
# They are enough to run every line of the loop.

# %%
if not QUICK:
    evaluations = [(config.seed, *(round(v, 3) for v in row)) for row in environment.evaluations]
    columns = ("seed", "agent_steps", "minutes", "greedy_mean", "greedy_std")
    save_curves(results_path(f"04_pong_dqn_seed{config.seed}.csv"), columns, evaluations)
    games = [
        (config.seed, number, at, score)
        for number, (at, score) in enumerate(
            zip(environment.score_steps, environment.scores, strict=True), start=1
        )
    ]
    columns = ("seed", "game", "agent_steps", "score")
    save_curves(results_path(f"04_pong_dqn_games_seed{config.seed}.csv"), columns, games)

# %% [markdown]
# ## The trained agent
#
# After a `full` training the best weights are published with a **card** that says how they were
# made, and judged on games that had no part in choosing them (other seeds than those of the
# evaluations above). `quick` takes the checkpoint that comes with this notebook. It was made by
# this very cell.

# %%
name = "04_pong_dqn.safetensors"
player_brain = Brain(config, 6, device)
if QUICK:
    file = ROOT / "checkpoints" / name
    print("loading the checkpoint that comes with the notebook")
    published = load_checkpoint(file, device)
    trained_config = Config(**published["config"])
    player_brain = Brain(trained_config, 6, device)
    load_weights(player_brain.q_net, published["q_net"], "q_net")
else:
    load_weights(player_brain.q_net, environment.best_weights, "q_net")

# %%
TEST_SEED, games = 20_000, 3 if QUICK else 10
test_envs = make_pong(games, clip_rewards=False)
result = evaluate(lambda obs: player_brain.q_values(obs).argmax(1), test_envs, seed=TEST_SEED)
test_envs.close()
print("scores", result.returns.astype(int).tolist())
print(f"greedy mean {result.mean:.1f} ± {result.std:.1f} over {games} games")

# %%
if not QUICK:
    card = {
        "notebook": "04_pong_dqn",
        "config": asdict(config),
        "agent_steps": environment.agent_steps,
        "updates": brain.updates,
        "minutes": round(environment.seconds / 60, 1),
        "hardware": f"{device.type}, {torch.get_num_threads()} torch thread(s)",
        "torch": torch.__version__,
        "greedy_mean": result.mean,
        "greedy_std": result.std,
        "games": games,
        "test_seed": TEST_SEED,
    }
    file = build_dir("checkpoints") / name
    state = {"config": asdict(config), "q_net": player_brain.q_net.state_dict()}
    save_checkpoint(file, state, card)
    rows = [(config.seed, game + 1, score) for game, score in enumerate(result.returns)]
    columns = ("seed", "game", "score")
    save_curves(results_path(f"04_pong_dqn_test_seed{config.seed}.csv"), columns, rows)
for key, value in read_card(file).items():
    print(f"{key:<12}", value)

# %% [markdown]
# ## What you should see
#
# Three trainings with the CPU configuration, from nothing, on two CPU cores. Seed 0 had two torch
# threads and little work beside it: 180,000 agent steps in 18 minutes. Seed 1 ran with one thread,
# seed 2 with two, both beside more work: 200,000 agent steps in 24 and 27 minutes. All three reach
# a greedy mean of 19 or more on the test games.

# %%
figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
for seed in range(3):
    recorded = ROOT / "results" / f"04_pong_dqn_seed{seed}.csv"
    if not recorded.exists():
        print(f"seed {seed}: not recorded")
        continue
    steps, means = load_curves(recorded, "agent_steps", "greedy_mean")[seed]
    _, minutes = load_curves(recorded, "agent_steps", "minutes")[seed]
    axes.plot(steps, means, "o-", label=f"seed {seed}")
    print(
        f"seed {seed}: best {means.max():+.1f} after {steps[means.argmax()]:,.0f} agent steps "
        f"and {minutes[means.argmax()]:.0f} min"
    )
axes.axhline(18, color="#e8743b", linestyle="--", linewidth=1, label="goal: 18")
axes.set(
    title="Greedy score while learning, mean of 10 games",
    xlabel="agent steps",
    ylabel="score [points]",
    ylim=(-22, 22),
)
axes.legend(loc="lower right")
show(figure, "04_seeds")

# %% [markdown]
# ### Is mine normal?
#
# Your training among the recorded ones, as far as it has come.

# %%
recorded = {}
for seed in range(3):
    path = ROOT / "results" / f"04_pong_dqn_seed{seed}.csv"
    recorded |= load_curves(path, "agent_steps", "greedy_mean") if path.exists() else {}
mine = [(agent_steps, mean) for agent_steps, _, mean, *_ in environment.evaluations]
if len(recorded) >= 3 and mine:
    figure, verdict = is_mine_normal(
        tuple(zip(*mine, strict=True)), recorded, title="My training among the recorded ones",
        xlabel="agent steps", ylabel="score [points]",
    )  # fmt: skip
    show(figure, "04_mine")
    print(verdict)

# %% [markdown]
# **The shape.** Near −20 for the first tens of thousands of agent steps: the agent learns when a
# point is about to be lost, long before it can prevent it. Then the rallies get longer, and once
# it can return the ball the score climbs steeply. Between two evaluations it may fall back by
# many points: Pong's player is deterministic, and one small flaw costs every rally. That is why
# the best weights are kept.

# %% [markdown]
# **Two usual failures.** The loss stays at the dashed line of the figure above: the network
# does not see the ball (scaling, wrong channel order, frames of different episodes in a stack).
# The mean Q-value climbs far above 1 while the score does not: the target network is copied too
# rarely or never, or ends of games are bootstrapped through.

# %% [markdown]
# ## Watch it play
#
# One whole game with a seed not used so far. The bars are the six Q-values, the chosen action is
# orange. Watch how they part when the ball comes near, and how little they differ while it flies
# away: then it does not matter what one does.

# %%
watch = make_pong_to_watch()
meanings = watch.unwrapped.get_action_meanings()
obs, _ = watch.reset(seed=30_000)
frames, score, over = [], 0.0, False
while not over:
    values = player_brain.q_values(obs[None])[0]
    action = int(values.argmax())
    frames.append(overlay_q_values(watch.render(), values, action, meanings, scale=1))
    obs, reward, terminated, truncated, _ = watch.step(action)
    score += reward
    over = terminated or truncated
print(f"score {score:+.0f} after {len(frames):,} agent steps")

# %% tags=["nbval-check-output"]
print("the trained agent wins the game:", score > 0)

# %%
rally = frames[:240]
display(animated_png(rally, fps=15, max_bytes=200_000, alt="The trained agent plays Pong"))
print(save_animation(rally, build_dir("animations") / "04_pong_dqn.gif", fps=15).name)

# %% [markdown]
# The first points, at the speed of the game. Below, the whole game with controls, at three times
# that speed. (A page that is not trusted, or a browser without MP4, shows an empty box there; the
# file is in `build/animations`.)

# %%
print(save_animation(frames, build_dir("animations") / "04_pong_dqn.mp4", fps=45).name)
display(video(frames, fps=45, max_bytes=280_000))

# %% [markdown]
# And a player with single steps, to look at one decision closely.

# %%
display(player(frames[40:60], fps=5, max_bytes=300_000))

# %%
check_learned(
    f"Pong, greedy mean of {len(result.returns)} games [points]", result.mean, at_least=18
)

# %% [markdown]
# ## Differences from the paper
#
# | | Here | Nature DQN (2015) | Why |
# |---|---|---|---|
# | input | average picture subtracted, / 64 | / 255 | the figure above |
# | start weights | orthogonal, small last layer | Torch's default | fewer updates lost |
# | returns | 3 rewards summed | 1 | points are rare; see notebook 06 |
# | optimizer | Adam, 1e-3 → 1e-4 | RMSprop, 2.5e-4 | fifty thousand updates, not millions |
# | loss | ½ error², gradient norm ≤ 10 | error clipped to ±1 | rewards are small anyway |
# | target copy | 1,000 agent steps | 40,000 agent steps | faster news, still stable |
# | games | 8 at once | 1 | the emulators use the other core |
# | discount γ | 0.98 | 0.99 | a rally is about 40 agent steps |
# | evaluation | best weights, greedy | ε = 0.05 | reported as such |
#
# Sticky actions (a quarter of all actions repeated at random) are off, as in the paper.

# %% [markdown]
# ## Exercises
#
# Write your answer into the cell below each text and run it: the check says what it expected, what
# came, and what may be wrong. Difficulty runs from 1 to 5. Solutions are in
# `notebooks/solutions/04_pong_dqn.ipynb`; try first.

# %% [markdown]
# ### Exercise 1: how many bytes?
#
# *Predict · difficulty 1 · 5 minutes · why frames are stored once*
#
# Guess before you compute: how many gigabytes do the pictures of 100,000 transitions take, if each
# transition holds `obs` and `next_obs`, and if each frame is stored once?


# %%
def my_bytes(capacity, frames_once):
    """Bytes of the pictures of a memory; a frame has 84 × 84 pixels of one byte."""
    # your code here


check_bytes(my_bytes)

# %% [markdown]
# ### Exercise 2: a stack, and where it must stop
#
# *Fill in · difficulty 3 · 15 minutes · no ball of another game*
#
# Rebuild the observation of step `t` from single frames. `is_first[t]` says that a game begins with
# frame `t`; what lies before its beginning is black.


# %%
def my_stack(frames, is_first, t):
    """The 4 frames up to t, oldest first: (T, 84, 84) uint8 to (4, 84, 84) uint8."""
    # your code here


check_stacks(my_stack)

# %% [markdown]
# ### Exercise 3: which steps are transitions?
#
# *Fill in · difficulty 3 · 10 minutes · the step that only resets*
#
# A vector environment answers the step *after* an end with the first observation of a new game and
# ignores the action. From the two flags of T steps of one environment say which steps to store.


# %%
def my_transitions(terminated, truncated):
    """True where a step is a transition: Boolean arrays (T,) to (T,)."""
    # your code here


check_transitions(my_transitions)

# %% [markdown]
# ### Exercise 4: the score
#
# *Repair · difficulty 2 · 10 minutes · clipping is for learning*
#
# `np.sign(rewards).sum()` is what one program prints as its score in a game that pays up to 3 a
# step, over everything since the program began. Write the scores of the *finished* games.


# %%
def my_scores(rewards, over):
    """Scores of the finished games, from the rewards (T,) and ends (T,) of one environment."""
    # your code here


check_score(my_scores)

# %% [markdown]
# ### Exercise 5: three rewards and a value
#
# *Fill in · difficulty 3 · 15 minutes · γ to the power of n, and ends in between*
#
# One n-step target from n rewards in a row. The game may end at any of them.


# %%
def my_n_step(rewards, terminated, next_value, gamma):
    """Target from rewards (n,), ends (n,) and the best value after the last step."""
    # your code here


check_n_step(my_n_step)

# %% [markdown]
# ### Exercise 6: one frame
#
# *Predict and extend · difficulty 3 · 15 minutes · what a state must tell*
#
# Two moments of Pong with the ball in the same place: what does a single frame not say? The network
# of "Does the network see the ball?" can be asked: let it tell whether the ball flies left or
# right, from one frame and from four.

# %% [markdown]
# ## Summary
#
# - Wrappers turn a screen into a state: grey, small, four at once, four frames a decision.
# - Storing each frame once takes 7 kB a transition instead of 226.
# - The rule is the one of notebook 03. What makes or breaks it on pixels is what the network gets.
#
# **Next:** the values of a maximum are too high. Notebook 05 measures by how much, and mends it.
