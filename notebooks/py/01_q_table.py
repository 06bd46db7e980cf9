# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags
#     formats: notebooks//ipynb,notebooks/py//py:percent
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
# # 1. A table that learns to act
#
# [Open in Colab](https://colab.research.google.com/github/OWNER/dqn-ladder/blob/main/notebooks/01_q_table.ipynb)
#
# **Promise:** with a table of numbers and one line of arithmetic you make a cart balance a pole for
# 200 steps, ten times in a row, and you know why the line works.
#
# **Papers:** Watkins 1989, *Learning from Delayed Rewards* (Q-learning); Barto, Sutton and Anderson
# 1983 (the pole on the cart, cut into boxes).
#
# **Time:** on two CPU cores without a GPU the quick profile takes about 25 seconds, the full
# profile (ten seeds, five table sizes) about two minutes.

# %% [markdown]
# ## You will be able to
#
# 1. solve a decision that affects the future backwards, and say what γ does to a return;
# 2. carry out one Q-learning update by hand;
# 3. fill a Q-table for a grid world and check it against the optimal values;
# 4. split a learning program into Brain, Agent and Environment, and say where a table ends.
#
# You need Python, numpy arrays and nothing about reinforcement learning.

# %% [markdown]
# ## Set-up
#
# In a hurry? Put `%env DQN_PROFILE=quick` into a cell of its own before this one: short trainings,
# and recorded curves instead of long ones.

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
import math
import time
from dataclasses import dataclass, replace

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display

from exercises.q_table import check_bins, check_choose, check_q_update, check_returns
from helpers.animation import animated_png
from helpers.display import VirtualDisplay
from helpers.plotting import (
    LiveCurve,
    is_mine_normal,
    load_curves,
    moving_mean,
    save_curves,
    show,
)
from helpers.replay import Transition
from helpers.runtime import (
    check_learned,
    in_notebook,
    profile,
    results_path,
    seed_everything,
    versions,
)

QUICK = profile() == "quick"
VirtualDisplay().start()
versions()

# %% [markdown]
# ## The configuration
#
# Every number that you may want to turn stands here, with its unit and where it comes from. The
# words are explained when they are needed.


# %%
@dataclass(frozen=True)
class Config:
    # the task
    max_agent_steps: int = 200  # agent steps; then the clock stops the episode (CartPole-v0)
    goal_agent_steps: int = 195  # agent steps that count as a success (CartPole-v0)
    solved_in_a_row: int = 10  # successes in a row that end the training (teaching version)
    episodes: int = 1_000  # episodes at most (ours)
    # the table
    bins: int = 6  # intervals per variable (teaching version)
    limits: tuple = (2.4, 3.0, 0.5, 2.0)  # m, m/s, rad, rad/s: the bins lie within ± these (ours)
    # learning
    alpha: float = 0.5  # share of the error taken away by one update (ours)
    gamma: float = 0.99  # discount of one agent step (teaching version)
    epsilon_first: float = 0.5  # probability of a random action in episode 0 (teaching version)


CONFIG = Config()

# %% [markdown]
# ## A decision that affects the future
#
# You travel from Seoul to Busan and must choose one stop on the way. Each road has a cost.
#
# | road | cost |
# |---|---|
# | Seoul → Wonju | 25 |
# | Seoul → Daejeon | 50 |
# | Wonju → Busan | 90 |
# | Daejeon → Busan | 35 |
#
# Whoever looks only at the first road takes the one for 25. The trouble is what follows it.

# %%
ROADS = {
    "Seoul": {"Wonju": 25, "Daejeon": 50},
    "Wonju": {"Busan": 90},
    "Daejeon": {"Busan": 35},
    "Busan": {},  # arrived
}


# %% [markdown]
# *Solve it backwards.* From Busan nothing is left to pay. From Wonju and Daejeon one road is left.
# Only then, knowing what each stop will still cost, decide in Seoul: **what comes now + the best
# that can follow**. The function says just that, and calls itself for "what can follow".


# %%
def cost_to_go(city, roads):
    """Smallest total cost from a city to the end of the roads, and the next stop."""
    options = {stop: cost + cost_to_go(stop, roads)[0] for stop, cost in roads[city].items()}
    if not options:
        return 0, None
    best = min(options, key=options.get)
    return options[best], best


# %% tags=["nbval-check-output"]
for stop, cost in ROADS["Seoul"].items():
    rest, _ = cost_to_go(stop, ROADS)
    print(f"via {stop:<8}{cost} now + {rest} later = {cost + rest}")
total, best = cost_to_go("Seoul", ROADS)
print("best:", best, total)
assert (total, best) == (85, "Daejeon")

# %% [markdown]
# The shorter first road loses, 115 against 85. Drawn as a graph, with the cost that is still to
# come below each city:

# %%
PLACES = {"Seoul": (0, 1), "Wonju": (1, 1.7), "Daejeon": (1, 0.3), "Busan": (2, 1)}
figure, axes = plt.subplots(figsize=(6.5, 3), layout="constrained")
for city, roads in ROADS.items():
    for stop, cost in roads.items():
        chosen = (city, stop) in {("Seoul", best), (best, "Busan")}
        colour = "#e8743b" if chosen else "0.6"
        arrow = dict(
            arrowstyle="-|>", color=colour, lw=2.5 if chosen else 1.2, shrinkA=30, shrinkB=30
        )
        axes.annotate("", PLACES[stop], PLACES[city], arrowprops=arrow)
        x, y = np.mean([PLACES[city], PLACES[stop]], axis=0)
        axes.text(x, y, cost, ha="center", va="center", backgroundcolor="white", color=colour)
for city, (x, y) in PLACES.items():
    label = f"{city}\nto go: {cost_to_go(city, ROADS)[0]}"
    axes.text(x, y, label, ha="center", va="center", bbox=dict(boxstyle="round", fc="#dce6f1"))
axes.set(title="The cheap first road leads to the dear second one", xlim=(-0.3, 2.3), ylim=(0, 2))
axes.set_axis_off()  # a map without a scale: only the costs on the roads count
show(figure, "01_roads")

# %% [markdown]
# ## The words
#
# An **agent** decides; the **environment** is everything else. At each **step** the agent sees an
# **observation** `obs` of the environment's **state**, takes an **action**, and gets a **reward**
# (one number) and the next observation. A run from start to end is an **episode**. A rule that says
# what to do in every state is a **policy**; an *optimal* policy is one that no other beats.
#
# | trip | word |
# |---|---|
# | you | agent |
# | roads and costs | environment |
# | the city where you are | state |
# | which road to take | action |
# | minus the cost | reward |
#
# We had the map. From now on the agent does not: it learns by travelling.

# %% [markdown]
# ### How this differs from supervised learning
#
# | | supervised learning | reinforcement learning |
# |---|---|---|
# | is told | the right answer | how good its own answer was |
# | when | at once | perhaps many steps later |
# | data | given beforehand | depends on what the agent does |
# | a mistake | costs one prediction | changes what is seen next |
#
# Nobody ever says "Daejeon was right". The traveller must have tried both roads and remember how
# the trips ended. So an agent has to **explore**, that is, to try what does not look best now.

# %% [markdown]
# ## Returns and the discount γ
#
# What the agent wants is not the next reward but the **return**: the sum of all rewards to come,
# each step further away multiplied once more by the **discount** γ between 0 and 1:
#
# $$G_t = r_t + \gamma\, r_{t+1} + \gamma^2 r_{t+2} + \dots = r_t + \gamma\, G_{t+1}.$$
#
# The right-hand form is again "what comes now + what follows", so it is computed backwards.


# %%
def discounted_returns(rewards, gamma):
    """Return G_t for every step t of one episode, (T,) rewards to (T,) returns."""
    returns = np.zeros(len(rewards))
    following = 0.0
    for t in reversed(range(len(rewards))):
        following = rewards[t] + gamma * following
        returns[t] = following
    return returns


# %% [markdown]
# By hand, rewards 0, 0, 1 and γ = 0.9: the last return is $1$, the one before
# $0 + 0.9\cdot1 = 0.9$, the first $0 + 0.9\cdot0.9 = 0.81$.

# %% tags=["nbval-check-output"]
returns = discounted_returns([0, 0, 1], gamma=0.9)
print("returns", returns.shape, returns.round(2).tolist())
assert np.allclose(returns, [0.81, 0.9, 1.0])

# %% [markdown]
# So γ says how far the agent looks ahead. The figure shows what a reward of 1 is worth today.

# %%
figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
for gamma in (0.5, 0.9, 0.95, 0.99):
    axes.plot(gamma ** np.arange(101), label=f"γ = {gamma}")
axes.set(
    title="The closer γ is to 1, the further a reward is felt",
    xlabel="agent steps until the reward",
    ylabel="worth today [rewards]",
)
axes.legend(fontsize=8)
show(figure, "01_discount")

# %% [markdown]
# A rule of thumb: the weights add up to $1/(1-\gamma)$, so γ = 0.95 looks about 20 steps ahead and
# γ = 0.99 about 100. With γ = 1 an endless episode may have an infinite return.

# %% [markdown]
# ## A grid world
#
# Now a task without a map. The agent stands on a field of a grid and moves up, right, down or left.
# Every episode begins on a random free field, so that all of them are seen. Walls (#) and the edge
# leave the agent where it is. Reaching **G** gives reward 1, falling into the pit **P** gives −1;
# both end the episode. Every other step gives 0, and γ = 0.95 makes a short way worth more than a
# long one.

# %%
GRID = (".....", ".#.#.", "..P..", ".#..G")
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # row and column steps
ARROWS = "↑→↓←"
GRID_GAMMA = 0.95  # discount of one agent step


# %% [markdown]
# A Gymnasium environment is a class with two spaces and two methods. `reset` returns the first
# observation, `step` returns five things: the next observation, the reward, `terminated` (the game
# is over), `truncated` (something outside the game stopped it, such as a clock) and a dictionary
# for extras. Here the observation is the number of the field, counted row by row.


# %%
class GridWorld(gym.Env):
    """Fields to walk on: G ends the episode with reward 1, P with -1."""

    def __init__(self, grid=GRID):
        self.grid, self.columns = grid, len(grid[0])
        self.observation_space = gym.spaces.Discrete(len(grid) * self.columns)
        self.action_space = gym.spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        free = [field for field, kind in enumerate("".join(self.grid)) if kind == "."]
        self.field = int(self.np_random.choice(free))
        return self.field, {}

    def step(self, action):
        self.field = self.neighbour(self.field, action)
        kind = "".join(self.grid)[self.field]
        reward = {"G": 1.0, "P": -1.0}.get(kind, 0.0)
        return self.field, reward, kind in "GP", False, {}

    def neighbour(self, field, action):
        """Field that a move leads to; walls and the edge stop it."""
        row, column = np.array(divmod(field, self.columns)) + MOVES[action]
        inside = 0 <= row < len(self.grid) and 0 <= column < self.columns
        return (
            int(row * self.columns + column) if inside and self.grid[row][column] != "#" else field
        )


# %% tags=["nbval-check-output"]
env = GridWorld()
env.reset(seed=0)
env.field = 0  # put it into the upper left corner, to walk by hand
print("fields", env.observation_space.n, "  actions", env.action_space.n)
for action in (0, 1, 2):
    field, reward, terminated, truncated, _ = env.step(action)
    print(ARROWS[action], " field", field, " reward", reward, " terminated", terminated)

# %% [markdown]
# Up runs into the edge, right moves on, down runs into the wall below. Nothing was earned, nothing
# has ended.

# %% [markdown]
# ## The Q-table and its update
#
# $Q(s,a)$ is what the agent believes the return to be if it takes action $a$ in state $s$ and acts
# as well as it can from then on. For 20 fields and 4 actions that is a table of 20 × 4 numbers, all
# zero at first. After every step the entry moves a share α (the **learning rate**) towards what was
# just seen, the **target** $y$:
#
# $$Q(s,a) \leftarrow Q(s,a) + \alpha\,(y - Q(s,a)), \qquad
# y = r + \gamma \max_{a'} Q(s',a').$$
#
# The target is again "what comes now + the best that can follow". As its second part is the agent's
# own estimate, this is called **bootstrapping**: the table pulls itself up by its own entries.

# %% [markdown]
# **By hand.** Say $Q(s,a)=0.2$, reward $0$, the best entry of the next field is $1.0$, γ = 0.95,
# α = 0.5. Target: $0 + 0.95\cdot1.0 = 0.95$. Error: $0.95-0.2 = 0.75$. New entry:
# $0.2+0.5\cdot0.75 = 0.575$.
#
# If the step *terminates* the game with reward 1, nothing can follow, whatever stands in the table:
# target $1$, error $0.8$, new entry $0.6$. If it is only *truncated*, the game could have gone on,
# and the first computation holds.


# %%
def q_update(q_table, transition, alpha, gamma):
    """Move one entry of the table, in place, by alpha towards its target.

    The observations of the transition must be usable as an index: a number or a tuple.
    Source: Watkins 1989.
    """
    obs, action, reward, next_obs, terminated = transition
    following = 0.0 if terminated else q_table[next_obs].max()
    target = reward + gamma * following
    q_table[obs][action] += alpha * (target - q_table[obs][action])


# %% tags=["nbval-check-output"]
q_table = np.array([[0.2, 0.0], [0.3, 1.0]])  # (2 states, 2 actions)
q_update(q_table, Transition(0, 0, 0.0, 1, terminated=False), alpha=0.5, gamma=0.95)
print(f"the game goes on: {q_table[0, 0]:.3f}")
assert np.isclose(q_table[0, 0], 0.575)
q_table[0, 0] = 0.2
q_update(q_table, Transition(0, 0, 1.0, 1, terminated=True), alpha=0.5, gamma=0.95)
print(f"the game is over: {q_table[0, 0]:.3f}")
assert np.isclose(q_table[0, 0], 0.6)

# %% [markdown]
# ## Choosing: ε-greedy, ties at random
#
# Mostly take the action with the largest entry (**greedy**), but with probability **ε** any action
# at random, to see what else there is. At the start all entries are equal, and `argmax` would
# always take the first: up, against the edge, for ever. So among equals the dice decide.


# %%
def choose(q_values, epsilon, rng):
    """Index of an ε-greedy action from (A,) Q-values; ties are broken at random."""
    if rng.random() < epsilon:
        return int(rng.integers(len(q_values)))
    best = np.flatnonzero(q_values == q_values.max())
    return int(rng.choice(best)) if len(best) > 1 else int(best[0])


# %% tags=["nbval-check-output"]
rng = np.random.default_rng(0)
print("argmax of equals:", {int(np.zeros(4).argmax()) for _ in range(100)})
print("ours, of equals: ", {choose(np.zeros(4), 0.0, rng) for _ in range(100)})
print("one is best:     ", {choose(np.array([0, 3, 1, 2]), 0.0, rng) for _ in range(100)})

# %% [markdown]
# ## The table fills up
#
# The loop: choose, act, learn, until the episode ends. A clock of 100 agent steps stops an agent
# that is lost. It **truncates**, and as `q_update` only sees `terminated`, the clock does not spoil
# the table.


# %%
def learn_grid(episodes, alpha=0.5, gamma=GRID_GAMMA, epsilon=0.3, seed=0, max_agent_steps=100):
    """Q-learning on the grid; return the table (fields, actions)."""
    rng = np.random.default_rng(seed)
    env = gym.wrappers.TimeLimit(GridWorld(), max_agent_steps)
    env.reset(seed=seed)  # later resets go on from this seed
    q_table = np.zeros((env.observation_space.n, env.action_space.n))
    for _ in range(episodes):
        obs, over = env.reset()[0], False
        while not over:
            action = choose(q_table[obs], epsilon, rng)
            next_obs, reward, terminated, truncated, _ = env.step(action)
            q_update(q_table, Transition(obs, action, reward, next_obs, terminated), alpha, gamma)
            obs, over = next_obs, terminated or truncated
    return q_table


# %% [markdown]
# ### The optimal values, for comparison
#
# We built the grid, so *we* have the map and can compute what the agent should find.
# **Value iteration** sets every entry to its target, for all fields and actions at once, and
# repeats that until nothing changes: the Seoul trip again, for a world with loops.


# %%
def value_iteration(grid, gamma, sweeps=200):
    """Optimal table (fields, actions) of the grid, computed from the map."""
    env, kinds = GridWorld(grid), "".join(grid)
    q_table = np.zeros((len(kinds), len(MOVES)))
    for _ in range(sweeps):
        values = q_table.max(axis=1)  # (fields,) of the sweep before
        for field, action in np.ndindex(q_table.shape):
            if kinds[field] == ".":  # nobody acts in a wall, on G or in P
                after = env.neighbour(field, action)
                reward = {"G": 1.0, "P": -1.0}.get(kinds[after], 0.0)
                q_table[field, action] = reward + gamma * values[after]
    return q_table


# %%
def draw_grid(axes, q_table, title):
    """Heatmap of the best entry per field, an arrow for each action that shares it."""
    shape = len(GRID), len(GRID[0])
    picture = axes.imshow(q_table.max(axis=1).reshape(shape), cmap="Blues", vmin=0, vmax=1)
    for field, kind in enumerate("".join(GRID)):
        row, column = divmod(field, shape[1])
        if kind == ".":
            best = q_table[field] >= q_table[field].max() - 1e-3
            dark = q_table[field].max() > 0.6
            text = f"{''.join(np.array(list(ARROWS))[best])}\n{q_table[field].max():.2f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=8,
                      color="white" if dark else "black")  # fmt: skip
        else:
            colour = {"#": "0.5", "G": "#4f9d69", "P": "#e8743b"}[kind]
            axes.add_patch(plt.Rectangle((column - 0.5, row - 0.5), 1, 1, color=colour))
            name = {"#": "wall", "G": "G +1", "P": "P −1"}[kind]
            axes.text(column, row, name, ha="center", va="center", fontsize=8, color="white")
    axes.set(title=title, xlabel="column", xticks=range(shape[1]), yticks=range(shape[0]))
    axes.title.set_fontsize(10)
    return picture


# %%
optimal = value_iteration(GRID, GRID_GAMMA)
tables = {
    "before: ties everywhere": learn_grid(episodes=0),
    "after 20 episodes": learn_grid(episodes=20),
    "after 1,000 episodes": learn_grid(episodes=1_000),
    "optimal (value iteration)": optimal,
}
figure, panels = plt.subplots(
    2, 2, figsize=(7, 5.6), sharex=True, sharey=True, layout="constrained"
)
for axes, (title, table) in zip(panels.flat, tables.items(), strict=True):
    picture = draw_grid(axes, table, title)
for axes in panels[:, 0]:
    axes.set_ylabel("row")
for axes in panels[0]:
    axes.set_xlabel("")
figure.colorbar(picture, ax=panels, label="best Q of the field [discounted reward]", shrink=0.7)
figure.suptitle("The Q-table fills up from the goal backwards", fontsize=11)
show(figure, "01_grid")

# %% [markdown]
# Before, every field has four equal arrows. After 20 episodes values have begun to seep back from
# G: an entry can only become positive once its neighbour is. After 1,000 episodes the arrows and
# the numbers agree with the optimal ones, found without the map. The upper left corner is seven
# steps from the goal: $0.95^6 \approx 0.74$, as the reward comes with the seventh step.

# %% tags=["nbval-check-output"]
learned = tables["after 1,000 episodes"]
ways = np.array([kind == "." for kind in "".join(GRID)])
best = learned.argmax(axis=1)
is_optimal = optimal[np.arange(20), best] >= optimal.max(axis=1) - 1e-9
print("best values within 0.01 of the optimal ones:",
      bool(np.abs(learned.max(axis=1) - optimal.max(axis=1))[ways].max() < 0.01))  # fmt: skip
print("greedy action optimal on every field:       ", bool(is_optimal[ways].all()))
assert np.isclose(optimal[0].max(), 0.95**6)

# %% [markdown]
# ## Turn the knobs
#
# What do α, γ and ε do? The figure learns three times, each time with one knob turned far. Below
# it, in a live notebook, are sliders for all three; where no kernel runs (this page on the web, a
# script) the figure has to do.

# %%
knobs = {
    "α = 0.02: too slow": dict(alpha=0.02),
    "γ = 0.5: short-sighted": dict(gamma=0.5),
    "ε = 1: only random moves": dict(epsilon=1.0),
}
figure, panels = plt.subplots(1, 3, figsize=(8.5, 2.9), sharey=True, layout="constrained")
for axes, (title, knob) in zip(panels, knobs.items(), strict=True):
    draw_grid(axes, learn_grid(episodes=150, **knob), title)
panels[0].set_ylabel("row")
figure.suptitle("150 episodes with one knob turned all the way", fontsize=11)
show(figure, "01_knobs")


# %% [markdown]
# With a small α the values need far more episodes. With γ = 0.5 a goal a few steps away is worth
# almost nothing, though most arrows may still be right. The surprise is ε = 1: only random moves,
# yet the table is nearly optimal. The target asks for the *best* next entry, whatever was really
# done next, so Q-learning learns the best policy while following another one (it is
# **off-policy**). That works on a small grid only: a cart pushed at random never balances for long,
# and does not see what a good one sees.


# %%
def grid_with(alpha, gamma, epsilon):
    """What the sliders call: learn anew with these settings and draw."""
    figure, axes = plt.subplots(figsize=(5, 3.8), layout="constrained")
    table = learn_grid(episodes=150, alpha=alpha, gamma=gamma, epsilon=epsilon)
    picture = draw_grid(axes, table, f"150 episodes: α = {alpha}, γ = {gamma}, ε = {epsilon}")
    axes.set_ylabel("row")
    figure.colorbar(picture, label="best Q [discounted reward]")
    show(figure, "01_sliders")


def sliders():
    """Show the sliders, or one figure where widgets cannot run."""
    try:
        from ipywidgets import FloatSlider, interact
    except ImportError:
        print("ipywidgets is not installed: one figure instead of sliders")
        return grid_with(0.5, GRID_GAMMA, 0.3)
    if not in_notebook():
        print("no notebook kernel here: one figure instead of sliders")
        return grid_with(0.5, GRID_GAMMA, 0.3)
    now = {"continuous_update": False}  # learn when the slider is let go, not on the way
    interact(
        grid_with,
        alpha=FloatSlider(0.5, min=0.02, max=1.0, step=0.02, description="α", **now),
        gamma=FloatSlider(GRID_GAMMA, min=0.0, max=0.99, step=0.01, description="γ", **now),
        epsilon=FloatSlider(0.3, min=0.0, max=1.0, step=0.05, description="ε", **now),
    )


sliders()

# %% [markdown]
# ## CartPole: a state of four numbers
#
# A cart on a track carries a pole. The agent pushes it left (0) or right (1), 50 times a second. It
# sees four numbers: position, speed, angle, angular speed. The episode *terminates* when the pole
# leans more than 12° or the cart leaves the track. It is *truncated* after 200 agent steps.

# %% tags=["nbval-check-output"]
with gym.make("CartPole-v1", render_mode="rgb_array") as env:
    obs, _ = env.reset(seed=0)
    print("obs     ", obs.shape, obs.dtype)
    print("actions ", env.action_space.n)
    frame = env.render()

# %%
figure, axes = plt.subplots(figsize=(4.5, 3), layout="constrained")
axes.imshow(frame)
axes.set(title="CartPole: the first frame", xlabel="pixels", ylabel="pixels")
show(figure, "01_frame")

# %% [markdown]
# ### From numbers to a row of the table
#
# A table needs a finite number of rows, so each variable is cut into 6 **bins**. Six bins have five
# inner edges; whatever lies beyond the outermost edge falls into the outermost bin. Four variables
# give $6^4 = 1{,}296$ states, times 2 actions 2,592 entries.
#
# Position, limits ±2.4 m: the edges are −1.6, −0.8, 0, 0.8, 1.6. A cart at 1.0 m has four of them
# at or below it, so it lies in bin 4.


# %%
def bin_edges(low, high, count):
    """The count - 1 inner edges that cut [low, high] into count equal bins."""
    return np.linspace(low, high, count + 1)[1:-1]


# %% tags=["nbval-check-output"]
edges = bin_edges(-2.4, 2.4, 6)
print("edges", edges.round(1).tolist())
positions = [-5.0, -1.0, 0.0, 1.0, 5.0]
print("bins ", np.digitize(positions, edges).tolist(), "for", positions)
assert np.digitize(positions, edges).tolist() == [0, 1, 3, 4, 5]

# %% [markdown]
# ## Brain, Agent, Environment
#
# Three classes, each with one job:
#
# - the **Brain** holds what was learned: it decides, and it learns;
# - the **Agent** is the cart: it asks its Brain what to do and hands it what came of it;
# - the **Environment** runs the task and counts the successes.
#
# One turn of the loop is three hand-overs: *choose* (Agent → Brain → Agent), *act* (Agent →
# Environment → Agent), *learn* (Agent → Brain). What is handed over in the end is a **transition**:
# `obs, action, reward, next_obs, terminated`.
#
# Why so many? Because in the next notebook the table becomes a network, and **only the Brain
# changes**.


# %%
class Brain:
    """A Q-table over binned observations."""

    def __init__(self, config, rng):
        self.config, self.rng = config, rng
        self.bins = [bin_edges(-limit, limit, config.bins) for limit in config.limits]
        self.q_table = np.zeros((config.bins,) * len(self.bins) + (2,))
        self.updates = 0

    def digitize_state(self, obs):
        """Four numbers to four bins, as a tuple that indexes the table."""
        pairs = zip(obs, self.bins, strict=True)
        return tuple(int(np.searchsorted(edges, x, side="right")) for x, edges in pairs)

    def update_q_table(self, transition):
        """One Q-learning update with the binned transition."""
        states = {
            name: self.digitize_state(getattr(transition, name)) for name in ("obs", "next_obs")
        }
        q_update(self.q_table, transition._replace(**states), self.config.alpha, self.config.gamma)
        self.updates += 1

    def decide_action(self, obs, episode):
        """ε-greedy; ε = 0.5, 0.25, 0.167 ... falls with every episode."""
        epsilon = self.config.epsilon_first / (episode + 1)
        return choose(self.q_table[self.digitize_state(obs)], epsilon, self.rng)

    def learn(self, transition):
        """Take in one transition."""
        self.update_q_table(transition)


# %%
class Agent:
    """The cart: asks its brain what to do, and hands it what came of it."""

    def __init__(self, brain):
        self.brain = brain

    def get_action(self, obs, episode):
        """Ask the brain for an action."""
        return self.brain.decide_action(obs, episode)

    def learn(self, transition):
        """Hand one transition to the brain."""
        self.brain.learn(transition)


# %% [markdown]
# ### The Environment and its shaped reward
#
# CartPole itself pays 1 for every step. We pay differently (**reward shaping**): 0 in between, −1
# for a fall before step 195, +1 on reaching step 195. So the table says how near a fall is, and is
# not busy adding up ones.
#
# The training counts as **solved** after 10 episodes in a row of at least 195 steps. The clock at
# 200 ends the episode but not the game: the transition says `terminated=False`.


# %%
class Environment:
    """CartPole with a time limit, a shaped reward and a rule for "solved"."""

    def __init__(self, agent, config, seed):
        self.agent, self.config = agent, config
        self.env = gym.make(
            "CartPole-v1", max_episode_steps=config.max_agent_steps, render_mode="rgb_array"
        )
        self.env.reset(seed=seed)  # later resets go on from this seed
        self.in_a_row = 0

    def shaped_reward(self, agent_steps, terminated):
        """+1 on reaching the goal, -1 for a fall before it, 0 otherwise."""
        if agent_steps == self.config.goal_agent_steps:
            return 1.0
        return -1.0 if terminated and agent_steps < self.config.goal_agent_steps else 0.0

    def play(self, episode, learning=True, frames=None):
        """Play one episode and return its length in agent steps."""
        obs, _ = self.env.reset()
        agent_steps, over = 0, False
        while not over:
            if frames is not None:
                frames.append(self.env.render())
            action = self.agent.get_action(obs, episode)
            next_obs, _, terminated, truncated, _ = self.env.step(action)
            agent_steps += 1
            if learning:
                reward = self.shaped_reward(agent_steps, terminated)
                self.agent.learn(Transition(obs, action, reward, next_obs, terminated))
            obs, over = next_obs, terminated or truncated  # truncated ends the episode only
        return agent_steps

    def run(self, live=None):
        """Play until solved or out of episodes; return the length of every episode."""
        lengths = []
        while len(lengths) < self.config.episodes and not self.solved:
            lengths.append(self.play(episode=len(lengths)))
            success = lengths[-1] >= self.config.goal_agent_steps
            self.in_a_row = self.in_a_row + 1 if success else 0
            if live is not None:
                live.update(lengths, f"successes in a row: {self.in_a_row}")
        return lengths

    @property
    def solved(self):
        """True after enough successes in a row."""
        return self.in_a_row >= self.config.solved_in_a_row


# %% tags=["nbval-check-output"]
task = Environment(agent=None, config=CONFIG, seed=0)
print("falls at step  50:", task.shaped_reward(50, terminated=True))
print("stands at step 50:", task.shaped_reward(50, terminated=False))
print("reaches step  195:", task.shaped_reward(195, terminated=False))
print("clock at step 200:", task.shaped_reward(200, terminated=False))

# %% [markdown]
# ## Train

# %%
brain = Brain(CONFIG, seed_everything(0))
task = Environment(Agent(brain), CONFIG, seed=0)
live = LiveCurve(
    "01_train", title="The table learns to balance", ylabel="agent steps", window=20, goal=195
)
started = time.monotonic()
lengths = task.run(live)
live.close(lengths)
seconds = time.monotonic() - started

# %% tags=["nbval-check-output"]
print("solved:", task.solved)
print("last ten all >= 195:", min(lengths[-10:]) >= 195)
print("one update per agent step:", brain.updates == sum(lengths))
assert brain.updates > 1_000 and len(lengths) > 10

# %%
visited = (brain.q_table != 0).any(axis=-1)
print(f"{len(lengths)} episodes, {brain.updates:,} agent steps, {seconds:.1f} s")
print(f"states with a value: {visited.sum():,} of {visited.size:,}")

# %% [markdown]
# Only a small part of the table has ever been touched. The cart cannot be everywhere, and a good
# cart least of all.
#
# Was it skill or luck? Play 20 more games in another environment, without exploring and without
# learning. `episode=math.inf` makes ε exactly 0.


# %%
def greedy_lengths(agent, config, seed, games=20):
    """Lengths of some games in a separate environment, without exploring or learning."""
    task = Environment(agent, config, seed)
    return [task.play(math.inf, learning=False) for _ in range(games)]


greedy = greedy_lengths(Agent(brain), CONFIG, seed=10_000)
print(
    f"greedy: mean {np.mean(greedy):.0f} agent steps, shortest {min(greedy)}, longest {max(greedy)}"
)

# %% [markdown]
# ## What you should see
#
# One seed proves little. `full` trains ten; `quick` shows their recorded curves.


# %%
def train_seeds(config, seeds):
    """Rows (seed, episode, length in agent steps) and the share of states used, per seed."""
    rows, used = [], []
    for seed in range(seeds):
        brain = Brain(config, seed_everything(seed))
        lengths = Environment(Agent(brain), config, seed).run()
        rows += [(seed, episode + 1, length) for episode, length in enumerate(lengths)]
        used.append((brain.q_table != 0).any(axis=-1).mean())
    return rows, used


CURVES = results_path("01_q_table.csv")
if not QUICK:
    save_curves(CURVES, ("seed", "episode", "agent_steps"), train_seeds(CONFIG, seeds=10)[0])


# %%
def is_solved(lengths, config):
    """True if the last episodes are the row of successes that ends a training."""
    row = np.asarray(lengths)[-config.solved_in_a_row :]
    return len(row) == config.solved_in_a_row and bool((row >= config.goal_agent_steps).all())


if CURVES.exists():
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    recorded = load_curves(CURVES, "episode", "agent_steps")
    for x, y in recorded.values():
        axes.plot(x, moving_mean(y, 20), color="#1f4e8c", linewidth=0.9, alpha=0.6)
        axes.plot(x[-1], moving_mean(y, 20)[-1], "o", color="#1f4e8c", markersize=4)
    axes.axhline(195, color="#e8743b", linestyle="--", linewidth=1, label="goal: 195")
    axes.set(title=f"The table with {len(recorded)} seeds: a dot where the training ended",
             xlabel="episode", ylabel="mean of the last 20\n[agent steps]")  # fmt: skip
    axes.legend(fontsize=8)
    show(figure, "01_seeds")
    ends = sorted(len(y) for _, y in recorded.values() if is_solved(y, CONFIG))
    print(f"solved: {len(ends)} of {len(recorded)} seeds, after {ends[0]} to {ends[-1]} episodes")
else:
    print("no recorded curves yet: run this notebook with DQN_PROFILE=full")

# %% [markdown]
# All ten recorded seeds solve it, after 105 to 750 episodes, half of them in fewer than 200. Every
# curve has the same shape: 20 to 30 steps at first, a climb between episodes 30 and 100, then a
# plateau with dips. One seed needs 750 episodes for its ten in a row: with α = 0.5 one fall shifts
# an entry by half, and the row has to begin anew.

# %% [markdown]
# ### Is mine normal?
#
# Change something in `CONFIG`, run the notebook again, and see where your training lies among the
# recorded ones.

# %%
recorded = load_curves(ROOT / "results" / "01_q_table.csv", "episode", "agent_steps")
figure, verdict = is_mine_normal(
    (np.arange(1, len(lengths) + 1), lengths), recorded, window=20,
    title="My training among the recorded ones", xlabel="episodes",
    ylabel="mean of the last 20\n[agent steps]",
)  # fmt: skip
show(figure, "01_mine")
print(verdict)

# %% [markdown]
# Two usual failures:
#
# - *stays near 10 steps*: the state says too little. Look at the limits of the bins; print
#   `digitize_state` of a few observations.
# - *hovers between 150 and 190, never ten in a row*: the bins are too coarse or α too large; or the
#   clock was stored as an end, which makes good states look finished.

# %% [markdown]
# ## How far the table reaches
#
# Coarse bins cannot tell a falling pole from a standing one. Fine bins can, but the table grows
# with the fourth power of their number, and every entry has to be learned by itself: the table
# knows nothing about a state from its neighbour.

# %%
SIZES = (2, 4, 6, 8, 12)  # bins per variable
BINS = results_path("01_bins.csv")
if not QUICK:
    table = []
    for count in SIZES:
        config = replace(CONFIG, bins=count)
        rows, used = train_seeds(config, seeds=5)
        for seed in range(5):
            games = [length for s, _, length in rows if s == seed]
            outcome = int(is_solved(games, config)), len(games), round(float(used[seed]), 4)
            table.append((count, seed, 2 * count**4, *outcome))
    save_curves(BINS, ("bins", "seed", "entries", "solved", "episodes", "share_used"), table)

# %%
if BINS.exists():
    rows = np.genfromtxt(BINS, delimiter=",", names=True)
    print("bins   entries  solved  episodes (median)  states used")
    for count in np.unique(rows["bins"]):
        some = rows[rows["bins"] == count]
        solved = f"{some['solved'].sum():.0f} of {len(some)}"
        episodes, used = np.median(some["episodes"]), some["share_used"].mean()
        print(f"{count:>4.0f}{some['entries'][0]:>10,.0f}  {solved}{episodes:>12.0f}{used:>18.1%}")
else:
    print("no recorded table yet: run this notebook with DQN_PROFILE=full")

# %% [markdown]
# In the recorded runs two bins solve 3 of 5 seeds and slowly, four to eight solve all, and twelve
# bins need more than twice the episodes of four and miss one seed, although most of their 41,472
# entries are never used. Finer is better only as long as there is time to fill the table.
#
# The cart's four numbers are a small state. Let us see what a picture would do.

# %% [markdown]
# ### Why not to pixels
#
# Suppose the agent sees the screen instead of four numbers: full HD, 1920 × 1080 pixels, three
# colour channels, and, to be modest, only 3 levels for each. That makes
#
# $$3^{1920\cdot1080\cdot3} = 3^{6{,}220{,}800}$$
#
# states. As a power of ten, by logarithm: $6{,}220{,}800 \cdot \log_{10} 3$. We first try the
# logarithm on a number that Python can still write out.

# %% tags=["nbval-check-output"]
assert len(str(3**1000)) == math.floor(1000 * math.log10(3)) + 1 == 478
values = 1920 * 1080 * 3
print(f"numbers in one picture: {values:,}")
print(f"  3 levels each: about 10^{math.floor(values * math.log10(3)):,} states")
print(f"256 levels each: about 10^{math.floor(values * math.log10(256)):,} states")
print(f"our table:             {CONFIG.bins**4:,} states")

# %% [markdown]
# The number of atoms in the visible universe is about 10^80. No table holds this, and no agent
# would see the same picture twice. What is needed is something that *guesses* the value of a state
# it has never seen from similar ones: a function with adjustable weights, a network. That is the
# next notebook.
#
# ## Take it away: what happens
#
# Remove one part at a time, and look at the episodes 31 to 300: the future (γ = 0, so only the next
# reward counts), the state (one bin, so the agent is blind), and exploration (ε = 0).

# %%
WITHOUT = {
    "as it is": CONFIG,
    "γ = 0: no future": replace(CONFIG, gamma=0.0),
    "one bin: blind": replace(CONFIG, bins=1),
    "ε = 0: ties only": replace(CONFIG, epsilon_first=0.0),
}
for name, config in WITHOUT.items():
    rows, _ = train_seeds(replace(config, episodes=300), seeds=2 if QUICK else 5)
    last = [length for _, episode, length in rows if episode > 30]
    print(f"{name:<25}mean after episode 30: {np.mean(last):>5.0f} agent steps")

# %% [markdown]
# Without a future the agent learns only that falling hurts in the very last bin, and lives about as
# long as a random one. Blind, it can do no better than push one way, near 10 steps. Without ε it
# does as well as before: the table starts at zero, every fall pulls a *tried* action below zero, so
# the untried one looks better and is tried next. Such an **optimistic start** explores by itself.
# With a reward of +1 per step it would do the opposite and keep the first habit.

# %% [markdown]
# ## Bug museum: the next state is this one
#
# One word wrong in `play`: `obs` is handed over where `next_obs` belongs. Nothing crashes. Each
# state's target is now its own best value, so no news ever travels from one state to the one before
# it. Know this curve when you see it.


# %%
class LooksAtItself(Brain):
    """Learns from transitions that lead nowhere."""

    def learn(self, transition):
        super().learn(transition._replace(next_obs=transition.obs))  # the bug


figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
for kind, colour in ((Brain, "#1f4e8c"), (LooksAtItself, "#e8743b")):
    for seed in range(2 if QUICK else 5):
        brain_here = kind(CONFIG, seed_everything(seed))
        run_here = Environment(Agent(brain_here), replace(CONFIG, episodes=300), seed).run()
        label = {Brain: "right", LooksAtItself: "broken"}[kind] if seed == 0 else None
        axes.plot(moving_mean(run_here, 20), color=colour, linewidth=1, label=label)
axes.set(
    title="The broken update hovers where the right one climbs",
    xlabel="episode",
    ylabel="mean of the last 20\n[agent steps]",
)
axes.legend(fontsize=8)
show(figure, "01_bug")

# %% [markdown]
# ## Differences from the paper
#
# | | Watkins 1989 | a common teaching version | here |
# |---|---|---|---|
# | learning rate | falls with the visits of an entry | 0.5 | 0.5 |
# | exploration | every action for ever | 0.5 / (episode + 1) | 0.5 / (episode + 1) |
# | table at first | any values | random | zero, ties at random |
# | end at the clock | – | treated as terminal | truncated: bootstraps |
# | +1 is paid | – | at the last step | on reaching step 195 |
# | seeds | – | none | 10, curves stored |
#
# The proof that Q-learning finds the optimum asks for a falling learning rate, for every pair to be
# visited again and again, and for a state that tells everything. Bins break the last condition: the
# table then works well, but nobody guarantees it.
#
# ## Watch the agent
#
# One more game, greedy, every fourth frame.

# %%
frames = []
shown = Environment(Agent(brain), CONFIG, seed=20_000).play(math.inf, False, frames)
display(animated_png([frame[::2, ::2] for frame in frames[::4]], fps=12.5))
print(f"{shown} agent steps")

# %% [markdown]
# ## Verdict

# %%
check_learned(
    "table: episodes until solved", len(lengths) if task.solved else np.inf, at_most=1_000
)
check_learned("table: greedy mean of 20 games [agent steps]", np.mean(greedy), at_least=100)
check_learned("grid: greedy actions that are optimal [share]", is_optimal[ways].mean(), at_least=1)

# %% [markdown]
# ## Exercises
#
# Write your answer into the cell below each text and run it: the check calls your function with
# numbers of its own and says what it expected, what came, and what may be wrong. Difficulty runs
# from 1 to 5. Solutions are in `notebooks/solutions/01_q_table.ipynb`; try first.

# %% [markdown]
# ### Exercise 1: returns
#
# *Fill in · difficulty 1 · 5 minutes · a return looks forward*
#
# From the rewards of one game make the discounted return of *every* step:
# $G_t = r_t + \gamma r_{t+1} + \gamma^2 r_{t+2} + \dots$ For rewards 0, 0, 1 and γ = 0.5 these are
# 0.25, 0.5, 1.


# %%
def returns(rewards, gamma):
    """Discounted return from every step on: rewards (T,) to (T,)."""
    # your code here


check_returns(returns)

# %% [markdown]
# ### Exercise 2: one update
#
# *Fill in · difficulty 2 · 10 minutes · nothing follows after the end*
#
# First by hand: $Q=0.5$, $r=-1$, best next value $0.8$, γ = 0.9, α = 0.25; what is the new entry if
# the game goes on, and what if it is over? Then in Python. `q` is (states, actions); hand back the
# new table, or change it in place.


# %%
def my_q_update(q, state, action, reward, next_state, terminated, alpha, gamma):
    """The table after one Q-learning update."""
    # your code here


check_q_update(my_q_update)

# %% [markdown]
# ### Exercise 3: the first habit
#
# *Repair · difficulty 2 · 10 minutes · ties are broken at random*
#
# An agent in the grid world runs into the same wall for ever when it is told to be greedy. Its
# choice is
#
# ```python
# def my_choose(q_values, epsilon, rng):
#     if rng.random() < epsilon:
#         return int(rng.integers(len(q_values)))
#     return int(q_values.argmax())
# ```
#
# What does it do with a row of zeros? Mend it.


# %%
def my_choose(q_values, epsilon, rng):
    """Index of an ε-greedy action; equally good ones equally often."""
    # your code here


check_choose(my_choose)

# %% [markdown]
# ### Exercise 4: bins
#
# *Fill in · difficulty 3 · 10 minutes · a table must catch every state*
#
# Cut the range from `low` to `high` into `count` equal bins and say into which of them `value`
# falls: 0 to `count - 1`. A cart can leave the range; what then?


# %%
def my_bin(value, low, high, count):
    """Number of the bin that ``value`` falls into."""
    # your code here


check_bins(my_bin)

# %% [markdown]
# ### Exercise 5: the clock is not a fall
#
# *Change and explain · difficulty 3 · 20 minutes · truncated is not terminated*
#
# In `Environment.play`, hand `terminated or truncated` to the Transition instead of `terminated`.
# Which entries of the table get another target, and in which direction? Predict first; then train
# a few seeds both ways and compare the episodes until solved.
#
# ### Exercise 6: a price for every step
#
# *Extend · difficulty 3 · 15 minutes · γ and a step cost both prefer short ways*
#
# Give the grid world reward −0.05 for every step and set γ = 1. Do the arrows change? What happens
# to them if a step costs more than the pit?

# %% [markdown]
# ## Summary
#
# - A decision is worth what comes now plus the best that can follow; solve it backwards.
# - Q-learning does that without a map: one entry, one step towards a target.
# - Explore, and break ties at random, or you keep the first habit.
# - `terminated` ends the future, `truncated` does not.
# - A table learns every state by itself, so it ends where states cannot be counted.
#
# **Next:** notebook 2 keeps the Agent and the Environment, and gives them a Brain with a network.
