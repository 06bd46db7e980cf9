"""Checks for notebook 02: mini-batches, targets, predictions, the loss, one gradient step."""

import time

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
        raise Wrong("these are still rows; `zip(*transitions)` turns them into columns")
    if len(answer) != 5:
        raise Wrong(
            "expected the five columns obs, action, reward, next_obs, terminated; got "
            f"{len(answer)} things"
        )
    if not isinstance(answer, Transition):
        raise Wrong(
            f"expected a `Transition` of columns, got a {type(answer).__name__}: `batch.obs` would "
            "not work.\n  `Transition(*columns)` builds one."
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
                f"expected `{name}` in float32 like the weights, got {got.dtype}.\n  A network "
                "with 32-bit weights rejects 64-bit inputs; a 64-bit reward makes the loss 64-bit."
            )
    if action.dtype != torch.int64:
        raise Wrong(
            f"expected `action` in int64, got {action.dtype}.\n  `gather` accepts no other type."
        )
    if terminated.dtype not in (torch.bool, torch.float32):
        raise Wrong(f"expected `terminated` as bool or float32, got {terminated.dtype}")


@exercise
def check_ring(ring):
    """A class ``Ring(capacity)`` with ``push(item)``, ``items()`` and ``len()``."""
    memory = ring(3)
    if nothing(memory) or memory.push("a") is Ellipsis or nothing(memory.items()):
        raise Open("Your class stores nothing yet.")
    held = list(call(memory.items))
    if not held:
        raise Wrong(
            "pushed a, but items() is empty.\n  Does `push` store it, and does `len()` count it?"
        )
    if any(item is None for item in held):
        raise Wrong(
            f"pushed one item into a ring of 3, and items() returns {held}.\n  Return only what is "
            "stored, `places[:len(self)]`, and put the first item into the first place."
        )
    pushed = ["a"]
    for item in "bcdefgh":  # twice round
        memory.push(item)
        pushed.append(item)
        held, expected = sorted(memory.items()), pushed[-3:]
        told = f"pushed {', '.join(pushed)} into a ring of 3"
        if len(held) > 3:
            raise Wrong(
                f"{told} and it holds {held}.\n  It never drops an item, so a long training "
                "would fill the computer's memory."
            )
        if held == ["a", "b", "c"] != expected:
            raise Wrong(
                f"{told} and it holds a, b, c.\n  Once full it accepts nothing new; it should "
                "overwrite the oldest item."
            )
        if held != expected:
            raise Wrong(
                f"{told}, expected {', '.join(expected)}, got {', '.join(map(str, held))}.\n  "
                "Always overwrite the oldest item, then move on to the next place, in a circle."
            )
    if len(memory) != 3:
        raise Wrong(f"expected len() to be 3, the number of stored items; got {len(memory)}")
    if list(ring(5).items()):
        raise Wrong(
            "a new ring already holds the items of another one: they share one list.\n  Create the "
            "list in `__init__`, not in the class body."
        )
    small = ring(5)
    small.push("a")
    if len(small) != 1:
        raise Wrong(f"pushed one item into a ring of 5: expected len() 1, got {len(small)}")
    few, many = _seconds_of_push(ring, 10), _seconds_of_push(ring, 100_000)
    if many > 20 * few:
        raise Wrong(
            f"a push takes {1e6 * few:.1f} µs into a ring of 10, but {1e6 * many:.1f} µs into one "
            "of 100,000.\n  `pop(0)`, like any shift, moves every item. Write over the oldest."
        )


def _seconds_of_push(ring, capacity):
    """Return the seconds of one push into a full ring, the fastest of 50."""
    memory = ring(capacity)
    started = time.perf_counter()
    for item in range(capacity):
        memory.push(item)
        if time.perf_counter() - started > 3:
            raise Wrong(
                f"filling a ring of {capacity:,} takes more than 3 seconds.\n  Does each push move "
                "all the other items? Write over the oldest instead."
            )
    took = []
    for item in range(50):
        started = time.perf_counter()
        memory.push(item)
        took.append(time.perf_counter() - started)
    return min(took)


@exercise
def check_pick(function):
    """``function(q, action)``: (B, A) and (B,) to the value of each row's action, (B,)."""
    rng = np.random.default_rng(0)
    for size in (5, 3):
        q = torch.from_numpy(rng.normal(size=(size, 3))).float()
        action = torch.from_numpy(rng.integers(0, 3, size))
        expected = q[torch.arange(size), action]
        mistakes = [
            ("The shape is (B, 1): drop the second dimension with `[:, 0]`.", expected[:, None]),
            (
                "`q[:, action]` takes these columns from *every* row, but each row has its own "
                "action. Use `gather`, or `q[torch.arange(B), action]`.",
                q[:, action],
            ),
            (
                "These are the largest values; the action taken may be a different one.",
                q.max(dim=1).values,
            ),
            ("`q[action]` selects whole rows.", q[action]),
            (
                "`gather(0, …)` picks along the rows; the actions are columns: `gather(1, …)`.",
                q[action, 0],
            ),
            (
                "`[0]` keeps the first row only; `[:, 0]` drops the second dimension.",
                expected[:1],
            ),
        ]
        compare(call(function, q, action), expected, "values", mistakes)


@exercise
def check_huber(function):
    """``function(error)`` to the Huber loss of each error, with the corner at 1."""
    error = torch.tensor([-4.0, -1.0, -0.2, 0.0, 0.5, 1.0, 3.0])
    size = error.abs()
    expected = torch.where(size <= 1, 0.5 * error**2, size - 0.5)
    mistakes = [
        ("That is the squared error: the gradient of a large error has no limit.", 0.5 * error**2),
        ("That is the squared error, and the ½ is missing too.", error**2),
        ("That is the absolute error: it has a corner at 0.", size),
        ("The two parts do not meet at 1: the straight part is |error| − ½.",
         torch.where(size <= 1, 0.5 * error**2, size)),
        ("The two parts do not meet at 1: the straight part is |error| − ½.",
         torch.where(size <= 1, 0.5 * error**2, size - 1)),
        ("Negative errors must count like positive ones: use the absolute value.",
         torch.where(error <= 1, 0.5 * error**2, error - 0.5)),
        ("Negative errors must count like positive ones: use the absolute value.",
         torch.where(size <= 1, 0.5 * error**2, error - 0.5)),
        ("The two parts are swapped: the parabola belongs to the small errors.",
         torch.where(size > 1, 0.5 * error**2, size - 0.5)),
        ("The ½ of the square part is missing.", torch.where(size <= 1, error**2, size - 0.5)),
        ("That is the mean; return the loss of each error instead.", expected.mean()),
    ]  # fmt: skip
    compare(call(function, error), expected, "losses", mistakes)


@exercise
def check_target(function):
    """``function(q_net, reward, next_obs, terminated, gamma)`` to targets (B,), no gradient."""
    torch.manual_seed(0)
    q_net, gamma = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), 0.9
    reward, next_obs = torch.randn(6), torch.randn(6, 4)
    terminated = torch.tensor([0.0, 1, 0, 0, 1, 0])
    with torch.no_grad():
        next_q = q_net(next_obs)
    best = next_q.max(dim=1).values
    expected = reward + gamma * (1 - terminated) * best
    mistakes = [
        ("That adds future reward after the end of a game.", reward + gamma * best),
        ("γ is missing.", reward + (1 - terminated) * best),
        ("That is the mean over the actions.", reward + gamma * (1 - terminated) * next_q.mean(1)),
        ("The reward is masked too; mask only the value of the next observation.",
         (1 - terminated) * (reward + gamma * best)),
        ("The reward is missing.", gamma * (1 - terminated) * best),
        ("`argmax` returns the number of the best action; its value is needed: `max`.",
         reward + gamma * (1 - terminated) * next_q.argmax(dim=1)),
        ("The mask is inverted: it should be 1 where the game goes on.",
         reward + gamma * terminated * best),
        ("That is the largest value of the whole batch; take one per row: `dim=1`.",
         reward + gamma * (1 - terminated) * next_q.max()),
        ("(B,) and (B, 1) were broadcast to a (B, B) table: leave out `keepdim`, or drop the "
         "second dimension.",
         reward + gamma * (1 - terminated) * best[:, None]),
    ]  # fmt: skip
    try:
        answer = function(q_net, reward.clone(), next_obs.clone(), terminated.clone(), gamma)
    except TypeError as error:
        if "operator.invert" in str(error):
            raise Wrong(
                "`~` inverts booleans, but here `terminated` holds 1.0 and 0.0: "
                "use `1 - terminated`."
            ) from None
        if "multiply sequence" in str(error):
            raise Wrong("`max(dim=1)` returns values and indices: take its `.values`.") from None
        raise
    if nothing(answer):
        raise Nothing
    compare(answer, expected, "targets", mistakes)
    parts = answer if isinstance(answer, (list, tuple)) else [answer]
    if any(isinstance(part, torch.Tensor) and part.requires_grad for part in parts):
        raise Wrong(
            "the numbers are right, but a gradient flows through them.\n  The network would learn "
            "to move its own targets: compute them under `torch.no_grad()`."
        )


class Counting(torch.optim.SGD):
    """Plain gradient descent that counts its steps."""

    steps = 0

    def step(self, closure=None):
        """Step, and count it."""
        self.steps += 1
        return super().step(closure)


def _two_steps(function, seed=0):
    """Weights of a small network after each of two calls of a ``fit_once``, and the optimizer."""
    torch.manual_seed(seed)
    q_net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    optimizer, weights, answers = Counting(q_net.parameters(), lr=0.1), [], []
    for _ in range(2):
        obs, action, reward = torch.randn(6, 4), torch.randint(3, (6,)), torch.randn(6)
        batch = Transition(obs, action, reward, torch.randn(6, 4), torch.zeros(6, dtype=torch.bool))
        answers.append(function(q_net, optimizer, batch, 2 * torch.randn(6)))
        weights.append(nn.utils.parameters_to_vector(q_net.parameters()).detach().clone())
    return weights, q_net, optimizer, answers


def _reference(loss=nn.functional.smooth_l1_loss, choose=None, clear=True):
    """A ``fit_once`` with another loss, another choice of values, or gradients that add up."""
    choose = choose or (lambda q, action: q.gather(1, action[:, None])[:, 0])

    def fit_once(q_net, optimizer, batch, target):
        if clear:
            optimizer.zero_grad()
        loss(choose(q_net(batch.obs), batch.action), target).backward()
        optimizer.step()

    return fit_once


def _all_pairs(predicted, target):
    """Huber loss of every prediction with every target."""
    return nn.functional.huber_loss(*torch.broadcast_tensors(predicted[:, None], target))


def _all_columns(table, target):
    """Huber loss of a (B, B) table of values with the targets, broadcast."""
    return nn.functional.huber_loss(*torch.broadcast_tensors(table, target))


def _twice(fit_once):
    """A ``fit_once`` that makes two steps."""

    def two_steps(*given):
        fit_once(*given)
        fit_once(*given)

    return two_steps


@exercise
def check_fit_once(function):
    """``function(q_net, optimizer, batch, target)``: one optimizer step, in place."""
    torch.manual_seed(0)
    start = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    before = nn.utils.parameters_to_vector(start.parameters()).detach()
    weights, q_net, optimizer, answers = _two_steps(function)
    if torch.equal(weights[1], before):
        if optimizer.steps:
            raise Wrong(
                "`optimizer.step()` ran, but without a gradient.\n  The order is `zero_grad`, "
                "`backward`, `step`."
            )
        if any(weight.grad is not None for weight in q_net.parameters()):
            raise Wrong(
                "there are gradients, but the weights did not move.\n  Call `optimizer.step()` "
                "after `loss.backward()`."
            )
        if all(map(nothing, answers)):
            raise Open("Your function does not change the weights yet.")
        raise Wrong("the weights did not move.\n  Call `loss.backward()`, then `optimizer.step()`.")
    huber = nn.functional.smooth_l1_loss
    mistakes = [
        ("The gradients of the two updates add up: call `optimizer.zero_grad()` first.",
         _reference(clear=False)),
        ("That is the squared error; here the Huber loss is asked for.",
         _reference(nn.functional.mse_loss)),
        ("That is half the squared error; here the Huber loss is asked for.",
         _reference(lambda p, t: 0.5 * nn.functional.mse_loss(p, t))),
        ("That is the sum of the losses; take their mean.",
         _reference(lambda p, t: huber(p, t, reduction="sum"))),
        ("(B, 1) and (B,) were broadcast: every prediction is compared with every target. Drop "
         "the second dimension of the prediction with `[:, 0]`.", _reference(_all_pairs)),
        ("The prediction is the value of the action taken, not the largest one.",
         _reference(choose=lambda q, action: q.max(dim=1).values)),
        ("`q[:, action]` takes these columns from every row, so predictions meet the targets of "
         "other rows. Use one value per row, of shape (B,).",
         _reference(loss=_all_columns, choose=lambda q, action: q[:, action])),
        ("That is two steps; one is asked for.", _twice(_reference())),
        ("The step goes uphill: the loss grows. Is there a minus sign too many?",
         _reference(lambda p, t: -huber(p, t))),
    ]  # fmt: skip
    expected = _two_steps(_reference())[0]
    cases = [(hint, _two_steps(mistaken)[0][1] - before) for hint, mistaken in mistakes]
    compare(weights[1] - before, expected[1] - before, "changes of the weights", cases)
