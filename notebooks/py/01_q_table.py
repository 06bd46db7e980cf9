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
# # 1 · A table that learns to act
#
# A table of numbers and one line of arithmetic learn to balance a pole: 195
# steps or more, ten times in a row, in each of 20 trainings. You need only
# Python and numpy.
#
# **1 Q-table** → [2 Q-network](02_cartpole_dqn.ipynb) →
# [3 target network](03_target_network.ipynb) → [4 Pong](04_pong_dqn.ipynb) →
# [5 double & dueling](05_double_dueling.ipynb) →
# [6 prioritized & n-step](06_prioritized_nstep.ipynb) →
# [7 Rainbow](07_rainbow.ipynb) →
# [8 faster training](08_faster_training.ipynb)
#
# *45 minutes to read and run, 40 minutes of exercises. Run All takes about a
# minute.*

# %% tags=["setup", "hide-input"]
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from helpers.runtime import start

QUICK = start(
    "01_q_table", "two small tables: grid and CartPole", full=0.3, quick=0.3
)

# %% [markdown]
# ## You will be able to
#
# - solve a decision that affects the future by working backwards;
# - carry out one Q-learning update, by hand and in Python;
# - fill a Q-table for a small world and check it;
# - split a learning program into Brain, Agent and Environment.
#
# *Papers:* Watkins 1989 (Q-learning); Barto, Sutton and Anderson 1983 (pole on
# a cart, in boxes).

# %% [markdown]
# ## A decision that affects the future
#
# You travel from Seoul to Busan, with one stop on the way. Each road has a
# cost. The road to Wonju is the cheaper first step. And the whole trip?

# %%
ROADS = {
    "Seoul": {"Wonju": 25, "Daejeon": 50},
    "Wonju": {"Busan": 90},
    "Daejeon": {"Busan": 35},
    "Busan": {},  # arrived
}

# %% [markdown]
# *Work backwards.* From Busan there is nothing left to pay. From Wonju and
# Daejeon only one road is left. Then decide in Seoul: **the cost now + the best
# that can follow**.


# %%
def cost_to_go(city, roads):
    """Smallest total cost from a city to the end, and the next stop."""
    options = {
        stop: cost + cost_to_go(stop, roads)[0]
        for stop, cost in roads[city].items()
    }
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

# %% [markdown]
# The cheap first road loses: 115 against 85.

# %% tags=["hide-input"]
# @title The roads; below each city, the cost still to come
import matplotlib.pyplot as plt
import numpy as np
from helpers.plotting import show

PLACES = {
    "Seoul": (0, 1),
    "Wonju": (1, 1.7),
    "Daejeon": (1, 0.3),
    "Busan": (2, 1),
}
figure, axes = plt.subplots(figsize=(6.5, 3), layout="constrained")
for city, roads in ROADS.items():
    for stop, cost in roads.items():
        chosen = (city, stop) in {("Seoul", best), (best, "Busan")}
        colour, width = ("#e8743b", 2.5) if chosen else ("0.6", 1.2)
        arrow = dict(arrowstyle="-|>", color=colour, lw=width)
        arrow |= dict(shrinkA=30, shrinkB=30)
        axes.annotate("", PLACES[stop], PLACES[city], arrowprops=arrow)
        x, y = np.mean([PLACES[city], PLACES[stop]], axis=0)
        axes.text(x, y, cost, ha="center", va="center", color=colour,
                  backgroundcolor="white")  # fmt: skip
for city, (x, y) in PLACES.items():
    label = f"{city}\nto go: {cost_to_go(city, ROADS)[0]}"
    axes.text(x, y, label, ha="center", va="center",
              bbox=dict(boxstyle="round", fc="#dce6f1"))  # fmt: skip
axes.set(
    title="The cheap first road leads to an expensive second one",
    xlim=(-0.3, 2.3),
    ylim=(0, 2),
)
axes.set_axis_off()  # a map without a scale: only the costs count
show(figure, "01_roads")

# %% [markdown]
# ## Agent and environment
#
# The traveller is an **agent**, the part that decides. Everything else is the
# **environment**. In each **agent step** the agent gets an **observation** of
# the environment's **state** and picks an **action**. The environment answers
# with a **reward** (one number) and the next observation. A run from start to
# end is an **episode**. The rule by which the agent picks actions is its
# **policy**.
#
# In the trip, a state is a city, an action a road, and the reward minus its
# cost.

# %% tags=["hide-input"]
# @title The loop of agent and environment
figure, axes = plt.subplots(figsize=(6.5, 2.6), layout="constrained")
for y, name in ((1, "agent"), (0, "environment")):
    axes.text(0, y, name, ha="center", va="center", fontsize=11,
              bbox=dict(boxstyle="round,pad=0.6", fc="#dce6f1"))  # fmt: skip
for x, tip, out, back, text in (
    (0.45, 0.19, 1, 0, "action"),
    (-0.45, -0.1, 0, 1, "reward and\nnext observation"),
):
    side = np.sign(x)
    axes.plot([0, x, x], [out, out, back], color="#e8743b", lw=1.5, zorder=0)
    arrow = dict(arrowstyle="-|>", color="#e8743b", lw=1.5, shrinkA=0)
    axes.annotate("", (tip, back), (x, back), arrowprops=arrow)
    axes.text(x + 0.04 * side, 0.5, text, va="center",
              ha="left" if x > 0 else "right")  # fmt: skip
axes.set(
    title="One step: an action goes in, a reward and an observation come out",
    xlim=(-1, 1),
    ylim=(-0.4, 1.4),
)
axes.set_axis_off()  # a drawing without quantities
show(figure, "01_loop")

# %% [markdown]
# The *state* is everything that decides what can happen next. The *observation*
# is the part of it that the agent sees; here, all of it. If the next state and
# the reward depend only on the present state and action, the task is a **Markov
# decision process** (MDP).
#
# We had a map. From now on the agent has none. Nobody tells it "Daejeon is
# right", as a label would. It gets only rewards, and only on the roads it
# tries.

# %% [markdown]
# ## Returns and the discount γ
#
# The agent wants a large **return**: the sum of all rewards to come. A
# reward is multiplied by the **discount** γ, a number between 0 and 1, once for
# every step it lies ahead:
#
# $$G_t = r_t + \gamma\, r_{t+1} + \gamma^2 r_{t+2} + \dots
# = r_t + \gamma\, G_{t+1}.$$
#
# This is again "now + what follows", so we compute it backwards. For the
# rewards 0, 0, 1 and γ = 0.9: the last return is $1$, the one before it
# $0.9\cdot1 = 0.9$, the first $0.9\cdot0.9 = 0.81$.

# %% [markdown]
# **Exercise 1.1** (●○○, 5 min). Write the discounted return of *every* step of
# an episode. The check names common mistakes. Our version is in the folded cell
# below it.

# %%
from exercises.q_table import check_returns


def my_returns(rewards, gamma):
    """Return of every step: rewards (T,) to returns (T,)."""
    # your code here


check_returns(my_returns)


# %% tags=["hide-input"]
# @title Our version
def discounted_returns(rewards, gamma):
    """Return G_t for every step t of one episode, (T,) to (T,)."""
    returns = np.zeros(len(rewards))
    following = 0.0
    for t in reversed(range(len(rewards))):
        following = rewards[t] + gamma * following
        returns[t] = following
    return returns


# %% tags=["nbval-check-output"]
returns = discounted_returns([0, 0, 1], gamma=0.9)
print("returns", returns.shape, returns.round(2).tolist())

# %% [markdown]
# This agrees with the calculation above. So γ says how far the agent looks
# ahead:

# %% tags=["hide-input"]
# @title What a later reward is worth now
figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
for gamma in (0.5, 0.9, 0.95, 0.99):
    axes.plot(gamma ** np.arange(101), label=f"γ = {gamma}")
axes.set(
    title="The closer γ is to 1, the further ahead a reward still counts",
    xlabel="agent steps until the reward",
    ylabel="value now of a reward of 1",
)
axes.legend(fontsize=8)
show(figure, "01_discount")

# %% [markdown]
# A rule of thumb: the weights 1, γ, γ², … add up to $1/(1-\gamma)$. So γ = 0.95
# looks about 20 steps ahead, and γ = 0.99 about 100.
#
# The return that a policy gets on average from a state is the **value** of that
# state.

# %% [markdown]
# ## A grid world, solved with a map
#
# The agent stands on a square of a grid and moves up, right, down or left.
# Walls (#) and the edge stop it. Reaching **G** pays 1, falling into the pit
# **P** pays −1, and both end the episode. All other steps pay 0; γ = 0.95 makes
# a short path worth more than a long one.

# %%
GRID = (".....", ".#.#.", "..P..", ".#..G")
REWARDS = {"G": 1.0, "P": -1.0}  # of entering a square; others: 0
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # row and column steps
ARROWS = "↑→↓←"
GRID_GAMMA = 0.95  # discount of one agent step

# %% [markdown]
# A Gymnasium environment has two methods. `reset` returns the first
# observation, here the number of the square. `step` returns five things: the
# next observation, the reward, `terminated` (the task itself ended the
# episode), `truncated` (something outside stopped it, such as a time limit),
# and a dictionary of extras.

# %%
import gymnasium as gym


class GridWorld(gym.Env):
    """Squares to walk on: G ends the episode with reward 1, P with -1."""

    def __init__(self, grid=GRID):
        self.grid, self.columns = grid, len(grid[0])
        self.kinds = "".join(grid)
        self.observation_space = gym.spaces.Discrete(len(self.kinds))
        self.action_space = gym.spaces.Discrete(len(MOVES))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        free = [i for i, kind in enumerate(self.kinds) if kind == "."]
        self.square = int(self.np_random.choice(free))
        return self.square, {}

    def step(self, action):
        self.square = self.neighbour(self.square, action)
        kind = self.kinds[self.square]
        return self.square, REWARDS.get(kind, 0.0), kind in "GP", False, {}

    def neighbour(self, square, action):
        """Square that a move leads to; walls and the edge stop it."""
        row, column = np.array(divmod(square, self.columns)) + MOVES[action]
        inside = 0 <= row < len(self.grid) and 0 <= column < self.columns
        if inside and self.grid[row][column] != "#":
            return int(row * self.columns + column)
        return square


# %% tags=["nbval-check-output"]
env = GridWorld()
env.reset(seed=0)
env.square = 0  # put it into the upper left corner
print("squares", env.observation_space.n, " actions", env.action_space.n)
for action in (0, 1, 2):
    square, reward, terminated, _, _ = env.step(action)
    print(f"{ARROWS[action]} square {square} reward {reward} end {terminated}")

# %% [markdown]
# Up runs into the edge, down into a wall. Which action is best? The **action
# value** $q(s,a)$ is the average return of taking action $a$ in state $s$ and
# following the policy afterwards. For the best policy it satisfies the
# **Bellman equation**,
#
# $$q_*(s,a) = \mathbb{E}\,\bigl[\,r + \gamma \max_{a'} q_*(s',a')\,\bigr],$$
#
# again "now + the best that can follow", with $s'$ the next state.
# ($\mathbb{E}$ averages over chance; our grid has none.)
#
# *We* have the map. **Value iteration** sets every entry to
# the right-hand side of this equation until nothing changes.
# (An alternative, **policy iteration**, is exercise 1.9.)


# %%
def value_iteration(grid, gamma, sweeps=200):
    """Optimal action values (squares, actions), computed from the map."""
    env = GridWorld(grid)
    q_table = np.zeros((len(env.kinds), len(MOVES)))
    for _ in range(sweeps):
        values = q_table.max(axis=1)  # (squares,) of the sweep before
        for square, action in np.ndindex(q_table.shape):
            if env.kinds[square] == ".":  # the others have no future
                after = env.neighbour(square, action)
                reward = REWARDS.get(env.kinds[after], 0.0)
                q_table[square, action] = reward + gamma * values[after]
    return q_table


# %% tags=["nbval-check-output"]
optimal = value_iteration(GRID, GRID_GAMMA)
for action, value in zip(ARROWS, optimal[0], strict=True):
    print(f"upper left corner, {action}: {value:.3f}")
print(f"0.95 to the power of 6: {0.95**6:.3f}")

# %% [markdown]
# From the corner, the reward comes with the seventh step, so it is discounted
# six times: $0.95^6 = 0.735$. Running into the edge wastes a step, another
# factor of 0.95. Down leads into a dead end and wastes two.

# %% [markdown]
# ## Learning without a map: the Q-table
#
# Without a map, the agent keeps a table of estimates $Q(s,a)$, here 20 × 4
# numbers, all zero at first. After each step it moves one entry a fraction α
# (the **learning rate**) of the way towards a better estimate, the **TD
# target** $y$:
#
# $$Q(s,a) \leftarrow Q(s,a) + \alpha\,(y - Q(s,a)), \qquad
# y = r + \gamma \max_{a'} Q(s',a').$$
#
# This is **Q-learning**. It is **model-free**: it needs only the steps the
# agent has taken. $y - Q(s,a)$ is the **TD error** (TD: temporal difference).
# The target contains an estimate of the future. Learning one estimate from
# another is called **bootstrapping**.

# %% [markdown]
# **By hand.** $Q(s,a)=0.2$, reward $0$, the best entry of the next square is
# $1$, γ = 0.95, α = 0.5. The target is $0.95\cdot1 = 0.95$, the TD error
# $0.95-0.2 = 0.75$, the new entry $0.2+0.5\cdot0.75 = 0.575$.
#
# If the step *terminates* the episode with reward 1, nothing can follow: the
# target is $1$, the new entry $0.6$. If it is only *truncated*, the target
# keeps its future.
#
# So an update needs five things, a **transition**: `obs, action, reward,
# next_obs, terminated`.

# %% [markdown]
# **Exercise 1.2** (●●○, 10 min). First by hand: $Q=0.5$, $r=-1$, the best next
# entry is $0.8$, γ = 0.9, α = 0.25. What is the new entry if the episode goes
# on, and what if it ends here? Then write the update.

# %%
from exercises.q_table import check_q_update


def my_q_update(q_table, transition, alpha, gamma):
    """Move one entry of q_table, in place.

    q_table[obs] is one row (actions,); obs is a number, or a tuple if
    the table has more axes.
    transition: (obs, action, reward, next_obs, terminated)
    """
    # your code here


check_q_update(my_q_update)


# %% tags=["hide-input"]
# @title Our version
def q_update(q_table, transition, alpha, gamma):
    """Move one entry of the table, in place, by alpha towards its target.

    Observations must be usable as an index: a number or a tuple.
    Source: Watkins 1989.
    """
    obs, action, reward, next_obs, terminated = transition
    following = 0.0 if terminated else q_table[next_obs].max()
    target = reward + gamma * following
    q_table[obs][action] += alpha * (target - q_table[obs][action])


# %% tags=["nbval-check-output"]
from helpers.replay import Transition

for terminated in (False, True):
    q_table = np.array([[0.5, 0.0], [0.3, 0.8]])  # (2 states, 2 actions)
    q_update(q_table, Transition(0, 0, -1.0, 1, terminated), 0.25, 0.9)
    print(f"terminated {terminated}: new entry {q_table[0, 0]:.3f}")

# %% [markdown]
# The targets are $-1+0.9\cdot0.8=-0.28$ and, at the end, $-1$.

# %% [markdown]
# ## Exploring: ε-greedy
#
# A **greedy** agent always takes the action with the largest entry. An
# **ε-greedy** agent **explores**: with probability ε it takes a random action,
# otherwise the greedy one. At first all entries are equal, and `argmax` would
# always return the first: up, into the edge, forever. So we break ties at
# random.
#
# **Exercise 1.3** (●●○, 7 min). Write the function that
# chooses an action. `rng` is a numpy `Generator`:
# use `rng.random()`, `rng.integers(n)` and `rng.choice(list)`.

# %%
from exercises.q_table import check_choose


def my_choose(q_values, epsilon, rng):
    """Index of an ε-greedy action from (A,) Q-values, ties at random."""
    # your code here


check_choose(my_choose)


# %% tags=["hide-input"]
# @title Our version
def choose(q_values, epsilon, rng):
    """Index of an ε-greedy action from (A,) Q-values, ties at random."""
    if rng.random() < epsilon:
        return int(rng.integers(len(q_values)))
    best = np.flatnonzero(q_values == q_values.max())
    return int(rng.choice(best)) if len(best) > 1 else int(best[0])


# %% tags=["nbval-check-output"]
rng = np.random.default_rng(0)
ties, clear = np.zeros(4), np.array([0, 3, 1, 2])
print("argmax, 4 equal:", {int(ties.argmax()) for _ in range(100)})
print("ours, 4 equal:  ", {choose(ties, 0.0, rng) for _ in range(100)})
print("ours, one best: ", {choose(clear, 0.0, rng) for _ in range(100)})

# %% [markdown]
# ## The table fills up
#
# Put the parts together: choose, act, learn. Both
# `terminated` and `truncated` end the loop, but only `terminated` goes into the
# transition.
#
# **Exercise 1.4** (●●○, 10 min). Write the loop that plays one episode.
# `choose_action(obs)` returns an action, `learn(transition)` updates the table.
# Return the number of agent steps.

# %%
from exercises.q_table import check_episode


def my_episode(env, choose_action, learn):
    """Play one episode, learn from every step, return its agent steps.

    learn takes Transition(obs, action, reward, next_obs, terminated).
    """
    # your code here


check_episode(my_episode)


# %% tags=["hide-input"]
# @title Our version
def run_episode(env, choose_action, learn):
    """Play one episode, learn from every step, return its agent steps."""
    obs, _ = env.reset()
    agent_steps, over = 0, False
    while not over:
        action = choose_action(obs)
        next_obs, reward, terminated, truncated, _ = env.step(action)
        learn(Transition(obs, action, reward, next_obs, terminated))
        agent_steps += 1
        obs, over = next_obs, terminated or truncated
    return agent_steps


# %%
def learn_grid(episodes, alpha=0.5, gamma=GRID_GAMMA, epsilon=0.3, seed=0):
    """Q-learning on the grid; return the table (squares, actions)."""
    rng = np.random.default_rng(seed)
    # the time limit stops an agent that is lost
    env = gym.wrappers.TimeLimit(GridWorld(), max_episode_steps=100)
    env.reset(seed=seed)  # later resets go on from this seed
    q_table = np.zeros((env.observation_space.n, env.action_space.n))

    def choose_action(obs):
        return choose(q_table[obs], epsilon, rng)

    def learn(transition):
        q_update(q_table, transition, alpha, gamma)

    for _ in range(episodes):
        run_episode(env, choose_action, learn)
    return q_table


# %%
tables = {
    "before: ties everywhere": learn_grid(episodes=0),
    "after 20 episodes": learn_grid(episodes=20),
    "after 1,000 episodes": learn_grid(episodes=1_000),
    "optimal (value iteration)": optimal,
}


# %% tags=["hide-input"]
# @title The table after 0, 20 and 1,000 episodes, and the optimal one
def draw_grid(axes, q_table, title):
    """Heatmap of the best entry per square, an arrow for each best action."""
    shape = len(GRID), len(GRID[0])
    picture = axes.imshow(q_table.max(axis=1).reshape(shape), cmap="Blues",
                          vmin=0, vmax=1)  # fmt: skip
    for square, kind in enumerate("".join(GRID)):
        row, column = divmod(square, shape[1])
        best, text_colour = q_table[square].max(), "white"
        if kind == ".":
            shared = q_table[square] >= best - 1e-3
            text = f"{''.join(np.array(list(ARROWS))[shared])}\n{best:.2f}"
            text_colour = "white" if best > 0.6 else "black"
        else:
            colour = {"#": "0.5", "G": "#4f9d69", "P": "#e8743b"}[kind]
            box = (column - 0.5, row - 0.5)
            axes.add_patch(plt.Rectangle(box, 1, 1, color=colour))
            text = {"#": "wall", "G": "G +1", "P": "P −1"}[kind]
        axes.text(column, row, text, ha="center", va="center", fontsize=8,
                  color=text_colour)  # fmt: skip
    axes.set(title=title, xlabel="column", ylabel="row",
             xticks=range(shape[1]), yticks=range(shape[0]))  # fmt: skip
    axes.title.set_fontsize(10)
    axes.label_outer()
    return picture


figure, panels = plt.subplots(
    2, 2, figsize=(7, 5.6), sharex=True, sharey=True, layout="constrained"
)
for axes, (title, table) in zip(panels.flat, tables.items(), strict=True):
    picture = draw_grid(axes, table, title)
figure.colorbar(
    picture,
    ax=panels,
    label="best Q of the square [discounted reward]",
    shrink=0.7,
)
figure.suptitle("The Q-table fills up from the goal backwards", fontsize=11)
show(figure, "01_grid")

# %% [markdown]
# Except beside G, an entry can only become positive after its neighbour has, so
# values spread backwards from G. Two arrows mark a tie. After 1,000 episodes
# the table matches the optimal one:

# %% tags=["nbval-check-output"]
free = np.array([kind == "." for kind in "".join(GRID)])


def print_comparison(name, q_table):
    """Print how a table differs from the optimal one on the free squares."""
    error = np.abs(q_table.max(axis=1) - optimal.max(axis=1))[free].max()
    chosen = optimal[np.arange(20), q_table.argmax(axis=1)]  # their true value
    right = (chosen >= optimal.max(axis=1) - 1e-9)[free].sum()
    print(f"{name}: largest error of a best value {error:.2f}, "
          f"best arrows {right} of {free.sum()}")  # fmt: skip


print_comparison("ε = 0.3", tables["after 1,000 episodes"])
print_comparison("ε = 1.0", learn_grid(episodes=1_000, epsilon=1.0))

# %% [markdown]
# In the second line the agent moved at random. Its table still contains the
# *best* policy: the target asks for the best next action, whatever the agent
# does. Learning about one policy while following another is called
# **off-policy**. An **on-policy** method, such as SARSA, learns about the
# policy it follows: its target uses the next action taken, $r +
# \gamma\,Q(s',a')$.

# %% [markdown]
# ## CartPole: from four numbers to a row of the table
#
# A cart on a track carries a pole. The agent pushes
# it left (0) or right (1). It observes four numbers:
# position, velocity, angle and angular velocity. The episode *terminates* when
# the pole leans more than 12° (0.21 rad) or the cart leaves the track (±2.4 m).

# %% tags=["nbval-check-output"]
with gym.make("CartPole-v1") as env:
    obs, _ = env.reset(seed=0)
    print("obs     ", obs.shape, obs.dtype)
    print("actions ", env.action_space.n)

# %% [markdown]
# A table needs finitely many rows. So we cut each variable into 6 **bins**
# (intervals): $6^4 = 1{,}296$ states; with 2 actions each, 2,592 entries. Six
# bins have five inner edges; what is beyond them belongs to the outermost bins.
# For a position within ±2.4 m the edges are −1.6, −0.8, 0, 0.8 and 1.6. A cart
# at 1.0 m has passed four of them: bin 4.
#
# **Exercise 1.5** (●●○, 8 min). Cut the range from `low` to `high` into `count`
# equal bins. Which one contains `value`? (On an edge, either of the two.)

# %%
from exercises.q_table import check_bins


def my_bin(value, low, high, count):
    """Number of the bin that contains the value, 0 to count - 1."""
    # your code here


check_bins(my_bin)


# %% tags=["hide-input"]
# @title Our version: the edges first, then numpy counts those below the value
# my_bin in one line: int(np.digitize(value, bin_edges(low, high, count)))
def bin_edges(low, high, count):
    """The count - 1 inner edges that cut [low, high] into equal bins."""
    return np.linspace(low, high, count + 1)[1:-1]


# %% tags=["nbval-check-output"]
positions = [-5.0, -1.0, 0.0, 1.0, 5.0]
edges = bin_edges(-2.4, 2.4, 6)
print("edges of the position", edges.round(1).tolist())
print("bins", np.digitize(positions, edges).tolist(), "of", positions)
edges = bin_edges(-0.5, 0.5, 6)
print("edges of the angle   ", edges.round(2).tolist())
print("bins", np.digitize([-0.21, 0.21], edges).tolist(), "of ±0.21 rad")

# %% [markdown]
# The last line shows some waste: the episode ends at 0.21 rad, so bins 0 and 5
# of the angle are never used, and 432 of the 1,296 states stay empty.
#
# States in the same bin look alike but can lead to different places: no longer
# exactly an MDP, and no proof says that Q-learning must work.

# %% [markdown]
# ## Brain, Agent and Environment
#
# The **Brain** decides and learns. The **Agent** asks its Brain for actions and
# passes on what happened. The **Environment** runs the task and counts
# successes.
#
# Settings marked *teaching* are those of a common tutorial. Its 200 and 195
# steps come from the older CartPole-v0.

# %%
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Config:
    # the task, with the numbers of CartPole-v0
    max_agent_steps: int = 200  # agent steps; then the episode is truncated
    goal_agent_steps: int = 195  # agent steps that count as a success
    solved_in_a_row: int = 10  # successes that end the training (teaching)
    episodes: int = 1_000  # episodes at most (teaching)
    # the table
    bins: int = 6  # intervals per variable (teaching)
    limits: tuple = (2.4, 3.0, 0.5, 2.0)  # m, m/s, rad, rad/s (teaching)
    # learning
    alpha: float = 0.5  # learning rate of one update (teaching)
    gamma: float = 0.99  # discount of one agent step (teaching)
    epsilon_first: float = 0.5  # ε in episode 0 (teaching)


CONFIG = Config()


# %%
class Brain:
    """A Q-table over binned observations."""

    def __init__(self, config, rng):
        self.config, self.rng = config, rng
        count = config.bins
        self.bins = [bin_edges(-x, x, count) for x in config.limits]
        self.q_table = np.zeros((count,) * len(self.bins) + (2,))
        self.updates = 0

    def digitize_state(self, obs):
        """Four numbers to four bins, a tuple that indexes the table."""
        pairs = zip(obs, self.bins, strict=True)
        return tuple(int(np.digitize(x, edges)) for x, edges in pairs)

    def decide_action(self, obs, episode):
        """ε-greedy; ε falls with every episode: 0.5, 0.25, 0.167 ..."""
        epsilon = self.config.epsilon_first / (episode + 1)
        q_values = self.q_table[self.digitize_state(obs)]  # (2,)
        return choose(q_values, epsilon, self.rng)

    def update_q_table(self, transition):
        """One Q-learning update with the binned transition."""
        binned = transition._replace(
            obs=self.digitize_state(transition.obs),
            next_obs=self.digitize_state(transition.next_obs),
        )
        q_update(self.q_table, binned, self.config.alpha, self.config.gamma)
        self.updates += 1

    def learn(self, transition):
        """Learn from one transition."""
        self.update_q_table(transition)


# %%
class Agent:
    """Asks its Brain what to do, and tells it what happened."""

    def __init__(self, brain):
        self.brain = brain

    def get_action(self, obs, episode):
        """Ask the Brain for an action."""
        return self.brain.decide_action(obs, episode)

    def learn(self, transition):
        """Pass one transition on to the Brain."""
        self.brain.learn(transition)


# %% [markdown]
# CartPole pays 1 for every step. We pay differently (**reward shaping**): −1
# for a fall before step 195, +1 for reaching step 195, 0 otherwise. So the
# values tell how close a fall is.
#
# The +1 depends on a clock that the agent cannot see: the same observation pays
# 1 at step 195 and 0 at any other, so the table learns an average.
#
# The task is **solved** after 10 episodes in a row of at least 195 steps.
# `play` is the loop of exercise 1.4.


# %%
class Environment:
    """CartPole with a time limit, a shaped reward and a rule for "solved"."""

    def __init__(self, agent, config, seed):
        self.agent, self.config = agent, config
        self.env = gym.make(
            "CartPole-v1",
            max_episode_steps=config.max_agent_steps,
            render_mode="rgb_array",
        )
        self.env.reset(seed=seed)  # later resets go on from this seed
        self.in_a_row = 0

    def shaped_reward(self, agent_steps, terminated):
        """+1 on reaching the goal, -1 for a fall before it, 0 otherwise."""
        goal = self.config.goal_agent_steps
        if agent_steps == goal:
            return 1.0
        return -1.0 if terminated and agent_steps < goal else 0.0

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
                self.agent.learn(
                    Transition(obs, action, reward, next_obs, terminated)
                )
            obs = next_obs
            over = terminated or truncated  # truncated ends the episode only
        return agent_steps

    def run(self, live=None):
        """Play until solved or out of episodes; return all lengths."""
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
print("falls at step 50:  ", task.shaped_reward(50, terminated=True))
print("upright at step 50:", task.shaped_reward(50, terminated=False))
print("reaches step 195:  ", task.shaped_reward(195, terminated=False))
print("time limit at 200: ", task.shaped_reward(200, terminated=False))

# %% [markdown]
# ## Training the table
#
# Predict: how many episodes will the table need?

# %%
from helpers.plotting import LiveCurve
from helpers.runtime import seed_everything


def train(config, seed, live=None, environment=Environment, brain=Brain):
    """Train one agent; return its Brain and the length of every episode."""
    learner = brain(config, seed_everything(seed))
    return learner, environment(Agent(learner), config, seed).run(live)


SEED = 0
live = LiveCurve(
    "01_train",
    title="The table learns to balance",
    ylabel="agent steps",
    window=20,
    goal=CONFIG.goal_agent_steps,
)
brain, lengths = train(CONFIG, SEED, live)
live.close(lengths)

# %% [markdown]
# The curve climbs with setbacks. Likely reasons: with α = 0.5 one fall changes
# an entry a lot, and a bin mixes states that need different pushes.

# %%
used = (brain.q_table != 0).any(axis=-1)
print(f"{len(lengths)} episodes, {sum(lengths):,} agent steps, "
      f"{brain.updates:,} updates")  # fmt: skip
print(f"states with a value: {used.sum()} of {used.size:,}")

# %% tags=["hide-input"]
# @title What the table has learned: which push for which angle
gap = np.where(used, brain.q_table[..., 1] - brain.q_table[..., 0], 0)
count = used.sum(axis=(0, 1))  # (angle, angular velocity)
mean = np.where(count, gap.sum(axis=(0, 1)) / np.maximum(count, 1), np.nan)
figure, axes = plt.subplots(figsize=(6.5, 3.6), layout="constrained")
picture = axes.imshow(mean.T, cmap="RdBu", vmin=-0.5, vmax=0.5,
                      origin="lower", aspect="auto")  # fmt: skip
for (x, y), n in np.ndenumerate(count):
    axes.text(x, y, n or "", ha="center", va="center", fontsize=8)
edges = np.arange(CONFIG.bins - 1) + 0.5
axes.set(
    title="Blue: the table prefers right; red: left\n"
    "(in each box: number of states with a value)",
    xlabel="angle of the pole [rad]",
    ylabel="angular velocity [rad/s]",
    xticks=edges,
    xticklabels=brain.bins[2].round(2),
    yticks=edges,
    yticklabels=brain.bins[3].round(2),
)
figure.colorbar(picture, label="Q(right) − Q(left), mean")
show(figure, "01_learned")

# %% [markdown]
# Where the pole leans and turns to the right (top right), the table mostly
# prefers right; in the opposite corner, left. The cart follows the fall.
#
# Skill or luck? We judge this agent on 20 new episodes, without exploring or
# learning.

# %%
import math


def greedy_lengths(agent, config, seed, games=20):
    """Lengths of greedy episodes in a separate environment."""
    task = Environment(agent, config, seed)
    # in episode infinity ε is exactly 0
    return [task.play(math.inf, learning=False) for _ in range(games)]


greedy = greedy_lengths(Agent(brain), CONFIG, seed=10_000)
print(f"greedy, 20 episodes: mean {np.mean(greedy):.0f} agent steps, "
      f"shortest {min(greedy)}, longest {max(greedy)}")  # fmt: skip

# %% [markdown]
# A seed fixes the random numbers of a training. One seed proves little, so here
# are 20, read from `results/`. (`%env DQN_STUDY=1` in
# a new first cell trains them again, which takes long.)

# %% tags=["hide-input"]
# @title Repeat the 20 trainings (only if DQN_STUDY=1)
from helpers.plotting import (
    is_mine_normal,
    load_curves,
    moving_mean,
    save_curves,
)
from helpers.runtime import results_path, study

SEEDS = 20
CURVES, TESTS = results_path("01_q_table.csv"), results_path("01_tests.csv")
if study():
    rows, tests = [], []
    for seed in range(SEEDS):
        trained, played = train(CONFIG, seed)
        rows += [(seed, i + 1, length) for i, length in enumerate(played)]
        states = int((trained.q_table != 0).any(axis=-1).sum())
        games = greedy_lengths(Agent(trained), CONFIG, 10_000 + seed, 100)
        result = round(np.mean(games), 2), min(games)
        tests.append((seed, len(played), sum(played), states, *result))
    save_curves(CURVES, ("seed", "episode", "agent_steps"), rows)
    columns = ("episodes", "agent_steps", "states", "greedy_mean", "shortest")
    save_curves(TESTS, ("seed", *columns), tests)


# %% tags=["hide-input"]
# @title The table with 20 seeds
def is_solved(lengths, config):
    """True if the last episodes are the successes that end a training."""
    row = np.asarray(lengths)[-config.solved_in_a_row :]
    success = (row >= config.goal_agent_steps).all()
    return len(row) == config.solved_in_a_row and bool(success)


recorded = load_curves(CURVES, "episode", "agent_steps")
figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
for i, (x, y) in enumerate(recorded.values()):
    colour = plt.get_cmap("viridis")(i / len(recorded))
    smooth = moving_mean(y, 20)
    axes.plot(x, smooth, color=colour, linewidth=0.8)
    axes.plot(x[-1], smooth[-1], "o", color=colour, markersize=4)
axes.axhline(195, color="#e8743b", linestyle="--", linewidth=1)
axes.set(
    title=f"{len(recorded)} seeds: "
    "a dot marks the episode in which each is solved",
    xlabel="episode",
    ylabel="mean of the last 20\n[agent steps]",
)
show(figure, "01_seeds")
played = [y for _, y in recorded.values()]
ends = sorted(len(y) for y in played if is_solved(y, CONFIG))
print(f"solved: {len(ends)} of {len(recorded)} seeds, after {ends[0]} to "
      f"{ends[-1]} episodes, median {np.median(ends):.0f}")  # fmt: skip
means = np.genfromtxt(TESTS, delimiter=",", names=True)["greedy_mean"]
print(f"then 100 greedy episodes each: mean {means.mean():.0f} agent steps, "
      f"worst seed {means.min():.0f}")  # fmt: skip

# %% [markdown]
# All 20 seeds are solved, after 98 to 750 episodes. The first 20 episodes last
# 18 to 30 steps on average; then the curves climb, with dips. Solved is not
# perfect: in 100 greedy episodes the worst of the 20 agents averages 153 steps.
#
# *Is mine normal?* Change `CONFIG` (α = 0.1?) and compare. The grey line is the
# others' median; a solved seed keeps its last value.

# %% tags=["hide-input"]
# @title My training among the recorded ones
recorded = load_curves(results_path("01_q_table.csv"), "episode", "agent_steps")
figure, verdict = is_mine_normal(
    (np.arange(1, len(lengths) + 1), lengths),
    {seed: curve for seed, curve in recorded.items() if seed != SEED},
    window=20,
    title="My training among those of the other seeds",
    xlabel="episodes",
    ylabel="mean of the last 20\n[agent steps]",
)
show(figure, "01_mine")
print(verdict)

# %% [markdown]
# ## What does the table need?
#
# Remove one part at a time: the future (γ = 0), the observation (one bin: all
# states look alike), exploration (ε = 0). Also pay +1 for every step, as
# CartPole does. Predict: which change hurts most? These trainings go on for 300
# episodes, and we look at the last 100. A 95 % interval shows how uncertain a
# mean is.


# %%
class EveryStepPays(Environment):
    """CartPole's own reward."""

    def shaped_reward(self, agent_steps, terminated):
        """+1 for every step."""
        return 1.0


no_epsilon = replace(CONFIG, epsilon_first=0.0)
VARIANTS = {
    "all parts": (CONFIG, Environment),
    "γ = 0": (replace(CONFIG, gamma=0.0), Environment),
    "one bin": (replace(CONFIG, bins=1), Environment),
    "ε = 0": (no_epsilon, Environment),
    "+1 per step": (CONFIG, EveryStepPays),
    "+1 per step, ε = 0": (no_epsilon, EveryStepPays),
}

# %% tags=["hide-input"]
# @title Repeat the comparison (only if DQN_STUDY=1)
RUNS, VARIANT_FILE = 50, results_path("01_variants.csv")


def late_mean(config, seed, **how):
    """Mean length of the episodes 201 to 300 of a training that goes on."""
    config = replace(config, episodes=300, solved_in_a_row=301)
    return np.mean(train(config, seed, **how)[1][200:])


if study():
    rows = [
        (title, seed, round(late_mean(config, seed, environment=kind), 2))
        for title, (config, kind) in VARIANTS.items()
        for seed in range(RUNS)
    ]
    save_curves(VARIANT_FILE, ("variant", "seed", "agent_steps"), rows)

# %% tags=["hide-input"]
# @title Three policies that see nothing, 1,000 episodes each
from helpers.ablation import bootstrap_interval
from helpers.tables import show_table


def blind_lengths(policy, episodes=1_000):
    """Lengths of episodes of a policy that only knows the step's number."""
    rng, lengths = np.random.default_rng(0), []
    with gym.make("CartPole-v1") as env:
        env.reset(seed=0)
        for _ in range(episodes):
            env.reset()
            over, agent_steps = False, 0
            while not over:
                action = policy(agent_steps, rng)
                *_, terminated, truncated, _ = env.step(action)
                over = terminated or truncated
                agent_steps += 1
            lengths.append(agent_steps)
    return lengths


BLIND = {
    "always left": lambda agent_steps, rng: 0,
    "at random": lambda agent_steps, rng: int(rng.integers(2)),
    "left and right alternately": lambda agent_steps, rng: agent_steps % 2,
}
rng = np.random.default_rng(0)
blind = {name: blind_lengths(policy) for name, policy in BLIND.items()}
rows = []
for name, found in blind.items():
    low, high = bootstrap_interval(found, rng, draws=2_000)
    rows.append([name, f"{np.mean(found):.1f}", f"{low:.1f} to {high:.1f}"])
show_table(["blind policy", "mean [agent steps]", "95 % interval"], rows)
if study():
    path = results_path("01_blind.csv")
    save_curves(path, ("policy", "mean", "interval"), rows)

# %% tags=["hide-input"]
# @title What each variant reaches
import csv

with VARIANT_FILE.open(newline="") as file:
    rows = list(csv.DictReader(file))
late = {}  # mean of the episodes 201 to 300: {variant: (seeds,)}
for title in VARIANTS:
    found = [float(r["agent_steps"]) for r in rows if r["variant"] == title]
    late[title] = np.array(found)
figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
for y, values in enumerate(reversed(late.values())):
    jitter = np.linspace(-0.25, 0.25, len(values))
    axes.plot(values, y + jitter, "o", color="#1f4e8c", ms=3.5, alpha=0.7)
    axes.plot([values.mean()] * 2, [y - 0.4, y + 0.4], color="#e8743b", lw=2)
axes.plot([], "o", color="#1f4e8c", ms=3.5, label="one seed")
axes.plot([], color="#e8743b", lw=2, label="mean")
axes.legend(fontsize=8, loc="upper center")  # the only free place
axes.set(
    title=f"{len(values)} seeds: exploring helps where every step pays +1",
    xlabel="mean length of episodes 201 to 300 [agent steps]",
    xlim=(0, 205),
    yticks=range(len(late)),
    yticklabels=list(late)[::-1],
)
show(figure, "01_variants")
rows = []
for title, values in late.items():
    low, high = bootstrap_interval(values, rng)
    rows.append([title, f"{values.mean():.1f}", f"{low:.1f} to {high:.1f}"])
show_table(["variant", "mean [agent steps]", "95 % interval"], rows)

# %% [markdown]
# Without a future (γ = 0) the agent is no better than random pushes: a fall
# teaches it only about the last state. One bin hurts most: it is no better than
# the worst blind policy.

# %% tags=["hide-input"]
# @title What ε adds: the difference on the same seed, averaged
rewards = {"our reward": ("all parts", "ε = 0"),
           "+1 per step": ("+1 per step", "+1 per step, ε = 0")}  # fmt: skip
rows = []
for name, (with_epsilon, without) in rewards.items():
    gain = late[with_epsilon] - late[without]  # (seeds,)
    low, high = bootstrap_interval(gain, rng)
    rows.append([name, f"{gain.mean():+.0f}", f"{low:+.0f} to {high:+.0f}"])
show_table(["what ε adds", "mean [agent steps]", "95 % interval"], rows)

# %% [markdown]
# With our reward ε costs 4 steps (1 to 7). Probably the table explores by
# itself: it starts at zero, and a fall makes only *tried* actions negative, so
# the untried one is next. This is an **optimistic start**. With +1 per step,
# what was tried looks better than what was not, and the agent keeps its first
# habit: there ε adds 38 steps (23 to 52).

# %% [markdown]
# ## Watch the agent

# %%
from helpers.animation import animated_png
from helpers.runtime import build_dir

frames = []
task = Environment(Agent(brain), CONFIG, seed=20_000)
played = task.play(math.inf, learning=False, frames=frames)
small = [frame[::2, ::2] for frame in frames[::2]]
image = animated_png(
    small, fps=25, max_bytes=200_000, alt="the table balances the pole"
)
(build_dir("pictures") / "01_q_table.png").write_bytes(image.data)
print(f"{played} agent steps")
image

# %% [markdown]
# ## Summary
#
# - A decision is worth what comes now plus the best that can follow: the
#   Bellman equation. With a map, work backwards.
# - Q-learning does the same without a map. Each step moves one entry of the
#   table towards a target.
# - Explore: by chance (ε) or by an optimistic start. Break ties at random.
# - `terminated` ends the future, `truncated` does not.
# - A table learns each state on its own. Where there are too many states to
#   visit, we need a function that *guesses* the value of a new state from
#   similar ones.
#
# **Next:** [notebook 2](02_cartpole_dqn.ipynb) uses a network as that function.
# Agent and Environment stay as they are; only the Brain changes.

# %% [markdown]
# ## Going deeper
#
# ### More bins, or fewer?
#
# Coarse bins mix states that need different pushes. Fine bins separate them,
# but the table grows with the fourth power of their number.

# %% tags=["hide-input"]
# @title Repeat with 2 to 12 bins (only if DQN_STUDY=1)
BINS = results_path("01_bins.csv")


def train_bins(count, seed):
    """One row: what a table with so many bins per variable reaches."""
    config = replace(CONFIG, bins=count)
    trained, played = train(config, seed)
    share = (trained.q_table != 0).any(axis=-1).mean()
    solved = int(is_solved(played, config))
    row = (2 * count**4, solved, len(played), round(float(share), 4))
    return count, seed, *row


if study():
    rows = [train_bins(n, s) for n in (2, 4, 6, 8, 12) for s in range(5)]
    columns = ("entries", "solved", "episodes", "share_used")
    save_curves(BINS, ("bins", "seed", *columns), rows)

# %% tags=["hide-input"]
# @title How many bins per variable?
data = np.genfromtxt(BINS, delimiter=",", names=True)
rows = []
for count in np.unique(data["bins"]):
    some = data[data["bins"] == count]
    episodes = some["episodes"]
    rows.append([
        f"{count:.0f}", f"{some['entries'][0]:,.0f}",
        f"{some['share_used'].mean():.1%}",
        f"{some['solved'].sum():.0f} of {len(some)}",
        f"{np.median(episodes):.0f}",
        f"{episodes.min():.0f} to {episodes.max():.0f}",
    ])  # fmt: skip
show_table(
    ["bins", "entries", "states used", "solved", "episodes (median)",
     "(range)"],
    rows,
)  # fmt: skip

# %% [markdown]
# Two bins solve 3 of 5 seeds, twelve solve 4 of 5; a seed that is not solved
# counts as 1,000 episodes. Four, six and eight bins solve all five, in at most
# 413 episodes. Five seeds are too few to rank these three. Twelve bins are hard
# to predict: one seed needs 139 episodes, another is not solved in 1,000.

# %% [markdown]
# ### Why not a table of pictures?
#
# What if the agent saw the picture instead of the four numbers? Each number in
# it has 256 levels.

# %% tags=["nbval-check-output"]
with gym.make("CartPole-v1", render_mode="rgb_array") as env:
    env.reset(seed=0)
    frame = env.render()  # (400, 600, 3)
levels = frame.size * math.log10(256)
print(f"numbers in one picture: {frame.size:,}")
print(f"possible pictures: about 10 to the power of {levels:,.0f}")
print(f"states of our table: {CONFIG.bins**4:,}")

# %% [markdown]
# The visible universe has about $10^{80}$ atoms. No table holds this many
# rows. CartPole draws only a few of these pictures, but to a table even two
# almost equal ones are unrelated states.

# %% [markdown]
# ### A bug to recognize: the next state is this state
#
# Somebody passes `obs` where `next_obs` belongs. Nothing crashes. But the
# target of a state now contains its own best value, so no value ever spreads
# from one state to the state before.


# %%
class LooksAtItself(Brain):
    """Learns from transitions that lead nowhere."""

    def learn(self, transition):
        """Learn, with the bug."""
        super().learn(transition._replace(next_obs=transition.obs))


# %%
config = replace(CONFIG, episodes=len(lengths))
_, broken = train(config, SEED, brain=LooksAtItself)

# %% tags=["hide-input"]
# @title The correct and the broken update
BUG = results_path("01_bug.csv")
if study():
    found = [late_mean(CONFIG, s, brain=LooksAtItself) for s in range(RUNS)]
    rows = enumerate(np.round(found, 2))
    save_curves(BUG, ("seed", "agent_steps"), rows)
figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
axes.plot(moving_mean(lengths, 20), color="#1f4e8c", label="correct")
axes.plot(moving_mean(broken, 20), color="#e8743b", label="broken")
axes.set(
    title="The broken update stays where it started (one seed)",
    xlabel="episode",
    ylabel="mean of the last 20\n[agent steps]",
)
axes.legend(fontsize=8)
show(figure, "01_bug")
found = np.genfromtxt(BUG, delimiter=",", names=True)["agent_steps"]
print(f"episodes 201 to 300, {len(found)} seeds: correct "
      f"{late['all parts'].mean():.0f} agent steps, broken "
      f"{found.mean():.0f} (worst {found.min():.0f}, "
      f"best {found.max():.0f})")  # fmt: skip

# %% [markdown]
# The broken update stays at the level of random pushes. If your curve looks
# like the orange one, check what `next_obs` contains.

# %% [markdown]
# ### Sliders for α, γ and ε
#
# Drag a slider, and the agent learns the grid again, in 150 episodes. Try α =
# 0.02 (too slow), γ = 0.5 (short-sighted) and ε = 1 (random moves only). The
# sliders need a running kernel.

# %% tags=["hide-input"]
# @title Sliders
from ipywidgets import FloatSlider, interact


def plot_grid(alpha, gamma, epsilon):
    """Learn with these settings and draw the table."""
    table = learn_grid(150, alpha, gamma, epsilon)
    figure, axes = plt.subplots(figsize=(5, 3.8), layout="constrained")
    title = f"150 episodes: α = {alpha}, γ = {gamma}, ε = {epsilon}"
    picture = draw_grid(axes, table, title)
    figure.colorbar(picture, label="best Q [discounted reward]")
    show(figure, "01_sliders")


late_only = {"continuous_update": False}  # learn when the slider is let go
_ = interact(
    plot_grid,
    alpha=FloatSlider(0.5, min=0.02, max=1.0, step=0.02, **late_only),
    gamma=FloatSlider(0.95, min=0.0, max=0.99, step=0.01, **late_only),
    epsilon=FloatSlider(0.3, min=0.0, max=1.0, step=0.05, **late_only),
)

# %% [markdown]
# ### Differences from the paper
#
# | | Watkins 1989 | a common teaching version | here |
# |---|---|---|---|
# | learning rate | falls with the visits of an entry | 0.5 | 0.5 |
# | ε | – | 0.5 / (episode + 1) | 0.5 / (episode + 1) |
# | table at first | any values | random | zero, ties at random |
# | time limit | – | treated as terminal | truncated: bootstraps |
# | +1 is paid | – | at the last step | on reaching step 195 |
#
# The proof that Q-learning finds the optimum needs a falling learning rate,
# infinitely many visits to every state-action pair, and an MDP. Bins break the
# last condition.

# %% [markdown]
# ### Exercises that need more thought
#
# Answers are in the [solutions](solutions/01_q_table.ipynb).
#
# **Exercise 1.6** (●●○, 15 min). *A price for every step.* Give every step of
# the grid that does not end the episode the reward −0.05, and set γ = 1. Do the
# arrows of the optimal table change? What happens if a step costs 2, more than
# the pit?

# %% [markdown]
# **Exercise 1.7** (●●○, 20 min). *The time limit is not a fall.* In
# `Environment.play`, store `terminated or truncated` in the transition instead
# of `terminated`. Which entries of the table get another target, and in which
# direction? Predict first. Then train five seeds both ways and compare.

# %% [markdown]
# **Exercise 1.8** (●●●, 20 min). *Optimism.* With +1 per step and ε = 0 the
# table often keeps its first habit. Start every entry at 100, which is
# $1/(1-\gamma)$, the largest return possible. Predict what the agent does now,
# then train five seeds.

# %% [markdown]
# **Exercise 1.9** (●●●, 25 min). *Policy iteration.* Solve the grid by policy
# iteration: compute the values of a policy by repeated sweeps of $v(s)
# \leftarrow r + \gamma\,v(s')$ (no maximum: the policy picks the action), make
# the policy greedy, and repeat until it no longer changes. How many
# improvements does it need, starting from "always up"? Compare the result with
# `optimal`.

# %% tags=["hide-input"]
# @title Has it learned? (checked whenever the notebook is run)
from helpers.runtime import check_learned

needed = len(lengths) if is_solved(lengths, CONFIG) else np.inf
check_learned("table: episodes until solved", needed, at_most=1_000)
check_learned(
    "table: greedy mean of 20 games [agent steps]",
    np.mean(greedy),
    at_least=100,
)
found = learn_grid(episodes=1_000).argmax(axis=1)
share = optimal[np.arange(20), found] >= optimal.max(axis=1) - 1e-9
check_learned(
    "grid: greedy actions that are optimal [share]",
    share[free].mean(),
    at_least=1,
)
