"""Checks for notebook 02: columns, the ring of a memory, picking values, losses, targets."""

import numpy as np
import torch
from torch import nn

from exercises import Nothing, Open, Wrong, call, compare, exercise, nothing
from helpers.replay import Transition


@exercise
def check_columns(function):
    """``function(transitions)``: list of B Transitions to a Transition of tensors."""
    rng = np.random.default_rng(0)
    rows = [
        Transition(
            rng.normal(size=4).astype(np.float32), int(rng.integers(2)), float(rng.normal()),
            rng.normal(size=4).astype(np.float32), bool(i == 2),
        )
        for i in range(6)
    ]  # fmt: skip
    answer = call(function, rows)
    if len(answer) == 6 and all(isinstance(part, (Transition, tuple, list)) for part in answer):
        raise Wrong("these are still rows; `zip(*transitions)` makes columns of them")
    if len(answer) != 5:
        raise Wrong(
            "expected the five columns obs, action, reward, next_obs, terminated; got "
            f"{len(answer)} things"
        )
    if not isinstance(answer, Transition):
        raise Wrong(
            f"expected a `Transition` of columns, got a {type(answer).__name__}: `batch.obs` would "
            "not work.\n  `Transition(*columns)` makes one."
        )
    for name, got, column in zip(Transition._fields, answer, zip(*rows, strict=True), strict=True):
        expected = np.stack(column).astype(float)
        mistakes = [(f"`{name}` has one dimension too many: (B, 1).", expected[..., None])]
        compare(got, expected, f"`{name}`", mistakes)
        if not isinstance(got, torch.Tensor):
            raise Wrong(f"expected `{name}` to be a tensor, got {type(got).__name__}")
    obs, action, reward, next_obs, terminated = answer
    for name, got in (("obs", obs), ("reward", reward), ("next_obs", next_obs)):
        if got.dtype != torch.float32:
            raise Wrong(
                f"expected `{name}` in float32, as the weights are; got {got.dtype}.\n  A network "
                "of 32-bit weights refuses 64-bit numbers, or the loss becomes 64-bit unnoticed."
            )
    if action.dtype != torch.int64:
        raise Wrong(
            f"expected `action` in int64, got {action.dtype}.\n  `gather` takes nothing else."
        )
    if terminated.dtype not in (torch.bool, torch.float32):
        raise Wrong(f"expected `terminated` as bool or float32, got {terminated.dtype}")


@exercise
def check_ring(ring):
    """A class ``Ring(capacity)`` with ``push(item)``, ``items()`` and ``len()``."""
    memory = ring(3)
    if nothing(memory) or memory.push("a") is Ellipsis or nothing(memory.items()):
        raise Open("Your function returns nothing yet.")
    held = list(call(memory.items))
    if not held:
        raise Wrong(
            "pushed a, and items() gives nothing.\n  Does `push` store it, and does `len()` know?"
        )
    if any(item is None for item in held):
        raise Wrong(
            f"one item in a ring of 3, and items() gives {held}.\n  Only what is stored: "
            "`places[:len(self)]`; and the first item belongs into the first place."
        )
    pushed = ["a"]
    for item in "bcdefgh":  # twice round
        memory.push(item)
        pushed.append(item)
        held, expected = sorted(memory.items()), pushed[-3:]
        told = f"pushed {', '.join(pushed)} into a ring of 3"
        if len(held) > 3:
            raise Wrong(
                f"{told} and it holds {held}.\n  It never forgets: a training would fill the "
                "machine's memory."
            )
        if held == ["a", "b", "c"] != expected:
            raise Wrong(
                f"{told} and it holds a, b, c.\n  When it is full it takes nothing new; it should "
                "forget the oldest."
            )
        if held != expected:
            raise Wrong(
                f"{told}, expected {', '.join(expected)}, got {', '.join(map(str, held))}.\n  "
                "Which one is overwritten? Always the oldest; then the next place, round and round."
            )
    if len(memory) != 3:
        raise Wrong(f"expected len() to be 3, what is stored; got {len(memory)}")
    if list(ring(5).items()):
        raise Wrong(
            "a new ring holds the items of another: they share one list.\n  Make the list in "
            "`__init__`, not in the class."
        )
    small = ring(5)
    small.push("a")
    if len(small) != 1:
        raise Wrong(f"one item in a ring of 5: expected len() 1, got {len(small)}")


@exercise
def check_pick(function):
    """``function(q, action)``: (B, A) and (B,) to the value of each row's action, (B,)."""
    rng = np.random.default_rng(0)
    for size in (5, 3):
        q = torch.from_numpy(rng.normal(size=(size, 3))).float()
        action = torch.from_numpy(rng.integers(0, 3, size))
        expected = q[torch.arange(size), action]
        mistakes = [
            ("That is (B, 1): drop the second dimension, `[:, 0]`.", expected[:, None]),
            (
                "`q[:, action]` takes these columns from *every* row. Each row has its own action: "
                "`gather`, or `q[torch.arange(B), action]`.",
                q[:, action],
            ),
            ("That is the largest value; the action taken may be another.", q.max(dim=1).values),
            ("`q[action]` takes whole rows.", q[action]),
        ]
        compare(call(function, q, action), expected, "values", mistakes)


@exercise
def check_huber(function):
    """``function(error)`` to the Huber loss of each error, with the corner at 1."""
    error = torch.tensor([-4.0, -1.0, -0.2, 0.0, 0.5, 1.0, 3.0])
    size = error.abs()
    expected = torch.where(size <= 1, 0.5 * error**2, size - 0.5)
    mistakes = [
        ("That is the squared error: large errors pull without limit.", 0.5 * error**2),
        ("That is the squared error, without the ½ even.", error**2),
        ("That is the absolute error: it has a corner at 0.", size),
        ("The two parts do not meet at 1: the straight one is |error| − ½.",
         torch.where(size <= 1, 0.5 * error**2, size)),
        ("Negative errors must count like positive ones.",
         torch.where(error <= 1, 0.5 * error**2, error - 0.5)),
        ("The square part lacks its ½.", torch.where(size <= 1, error**2, size - 0.5)),
        ("That is the mean; here the loss of each error is asked for.", expected.mean()),
    ]  # fmt: skip
    compare(call(function, error), expected, "losses", mistakes)


@exercise
def check_target(function):
    """``function(q_net, reward, next_obs, terminated, gamma)`` to targets (B,), not trained."""
    torch.manual_seed(0)
    q_net, gamma = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), 0.9
    reward, next_obs = torch.randn(6), torch.randn(6, 4)
    terminated = torch.tensor([0.0, 1, 0, 0, 1, 0])
    with torch.no_grad():
        next_q = q_net(next_obs)
    best = next_q.max(dim=1).values
    expected = reward + gamma * (1 - terminated) * best
    mistakes = [
        ("That counts a future after the end of the game.", reward + gamma * best),
        ("γ is missing.", reward + (1 - terminated) * best),
        ("That is the mean over the actions.", reward + gamma * (1 - terminated) * next_q.mean(1)),
        ("The reward is masked as well; only the future ends.",
         (1 - terminated) * (reward + gamma * best)),
        ("The reward is missing.", gamma * (1 - terminated) * best),
        ("The mask is the other way round: it should be 1 where the game goes on.",
         reward + gamma * terminated * best),
        ("That is the largest value of the whole batch; each row has its own: dim=1.",
         reward + gamma * (1 - terminated) * next_q.max()),
        ("(B,) met (B, 1) and became a (B, B) table: leave out `keepdim`, or drop that dimension.",
         reward + gamma * (1 - terminated) * best[:, None]),
    ]  # fmt: skip
    answer = function(q_net, reward.clone(), next_obs.clone(), terminated.clone(), gamma)
    if nothing(answer):
        raise Nothing
    compare(answer, expected, "targets", mistakes)
    parts = answer if isinstance(answer, (list, tuple)) else [answer]
    if any(isinstance(part, torch.Tensor) and part.requires_grad for part in parts):
        raise Wrong(
            "the numbers are right, but a gradient runs through them.\n  The network would learn "
            "to move its own target: compute it under `torch.no_grad()`."
        )
