"""Checks for notebook 02: mini-batches, targets, predictions, the loss, one gradient step."""

import time

import numpy as np
import torch
from torch import nn

from exercises import (
    RecordedCalls,
    ReturnedNothing,
    StillOpen,
    WrongAnswer,
    call,
    check_learns,
    check_unchanged,
    compare,
    exercise,
    is_missing,
    state_of,
)
from helpers.replay import Transition


@exercise
def check_columns(function):
    """``function(transitions)``: list of B Transitions to a Transition of tensors."""
    rng = np.random.default_rng(0)
    for size, width, actions in ((6, 4, 2), (1, 3, 9), (9, 1, 5), (5, 6, 3)):
        rows = [
            Transition(
                rng.normal(size=width).astype(np.float32),
                int(rng.integers(actions)),
                float(rng.normal()) if i % 3 else float(rng.integers(-2, 3)),
                rng.normal(size=width).astype(np.float32),
                bool(i % 5 == 2) or actions == 9,
            )
            for i in range(size)
        ]
        rows[-1] = rows[0]  # a memory may draw one transition twice
        _check_batch(call(function, rows), rows)


def _check_batch(answer, rows):
    """``check_columns`` for one batch."""
    if len(answer) == len(rows) and all(isinstance(part, Transition) for part in answer):
        raise WrongAnswer("these are still rows; `zip(*transitions)` turns them into columns")
    if len(answer) != 5:
        raise WrongAnswer(
            "expected the five columns obs, action, reward, next_obs, terminated; got "
            f"{len(answer)} results"
        )
    if not isinstance(answer, Transition):
        raise WrongAnswer(
            f"expected a `Transition` of columns, got a {type(answer).__name__}: `batch.obs` would "
            "not work.\n  `Transition(*columns)` builds one."
        )
    for name, got, column in zip(Transition._fields, answer, zip(*rows, strict=True), strict=True):
        expected = np.stack(column).astype(float)
        mistakes = [(f"`{name}` has one dimension too many: (B, 1).", expected[..., None])]
        compare(got, expected, f"`{name}`", mistakes)
        if not isinstance(got, torch.Tensor):
            raise WrongAnswer(f"expected `{name}` to be a tensor, got {type(got).__name__}")
    obs, action, reward, next_obs, terminated = answer
    for name, got in (("obs", obs), ("reward", reward), ("next_obs", next_obs)):
        if got.dtype != torch.float32:
            raise WrongAnswer(
                f"expected `{name}` in float32 like the weights, got {got.dtype}.\n  A network "
                "with 32-bit weights rejects 64-bit inputs; a 64-bit reward makes the loss 64-bit."
            )
    if action.dtype != torch.int64:
        raise WrongAnswer(
            f"expected `action` in int64, got {action.dtype}.\n  `gather` accepts no other type."
        )
    if terminated.dtype != torch.bool:
        raise WrongAnswer(
            f"expected `terminated` as bool, got {terminated.dtype}.\n  A mask of 0s and 1s "
            "selects rows 0 and 1 when it is used as an index."
        )


@exercise
def check_ring(ring):
    """A class ``Ring(capacity)`` with ``push(item)``, ``items()`` and ``len()``."""
    memory = ring(3)
    if is_missing(memory) or memory.push("a") is Ellipsis or is_missing(memory.items()):
        raise StillOpen("Your class stores nothing yet.")
    stored = list(call(memory.items))
    if not stored:
        raise WrongAnswer(
            "pushed a, but items() is empty.\n  Does `push` store it, and does `len()` count it?"
        )
    if any(item is None for item in stored):
        raise WrongAnswer(
            f"pushed one item into a ring of 3, and items() returns {stored}.\n  Return only what "
            "is stored, `places[:len(self)]`, and put the first item into the first place."
        )
    pushed = ["a"]
    for item in "bcdefgh":  # twice round
        memory.push(item)
        pushed.append(item)
        stored, expected = sorted(memory.items()), pushed[-3:]
        message = f"pushed {', '.join(pushed)} into a ring of 3"
        if len(stored) > 3:
            raise WrongAnswer(
                f"{message} and it holds {stored}.\n  It never drops an item, so a long training "
                "would fill the computer's memory."
            )
        if stored == ["a", "b", "c"] != expected:
            raise WrongAnswer(
                f"{message} and it holds a, b, c.\n  Once full it accepts nothing new; it should "
                "overwrite the oldest item."
            )
        if stored != expected:
            raise WrongAnswer(
                f"{message}, expected {', '.join(expected)}, got {', '.join(map(str, stored))}.\n  "
                "Always overwrite the oldest item, then move on to the next place, in a circle."
            )
    if len(memory) != 3:
        raise WrongAnswer(f"expected len() to be 3, the number of stored items; got {len(memory)}")
    if list(ring(5).items()):
        raise WrongAnswer(
            "a new ring already holds the items of another one: they share one list.\n  Create the "
            "list in `__init__`, not in the class body."
        )
    small = ring(5)
    small.push("a")
    if len(small) != 1:
        raise WrongAnswer(f"pushed one item into a ring of 5: expected len() 1, got {len(small)}")
    for capacity in (1, 2, 5, 8):
        _check_numbers(ring, capacity)
    few, many = _seconds_of_push(ring, 10), _seconds_of_push(ring, 100_000)
    if many > 20 * few:
        raise WrongAnswer(
            f"a push takes {1e6 * few:.1f} µs into a ring of 10, but {1e6 * many:.1f} µs into one "
            "of 100,000.\n  `pop(0)`, like any shift, moves every item. Write over the oldest."
        )


def _check_numbers(ring, capacity):
    """Push numbers into a ring, many of them zero or equal, while another one is in use."""
    rng, memory, other, pushed = np.random.default_rng(capacity), ring(capacity), ring(4), []
    if len(memory):
        raise WrongAnswer(f"expected len() 0 of a new ring of {capacity}, got {len(memory)}")
    for item in rng.integers(0, 3, 4 * capacity + 3).tolist():
        memory.push(item)
        other.push(-1)
        pushed.append(item)
        expected, stored = sorted(pushed[-capacity:]), sorted(memory.items())
        message = f"pushed {', '.join(map(str, pushed[-9:]))} into a ring of {capacity}"
        if stored == sorted(set(expected)) != expected:
            raise WrongAnswer(
                f"{message}, and items() returns {stored}.\n  Equal items are stored as often as "
                "they were pushed: a set or a dictionary merges them."
            )
        if stored == [item for item in expected if item] != expected:
            raise WrongAnswer(
                f"{message}, and items() returns {stored}.\n  A 0 is an item, too; compare with "
                "`is not None`."
            )
        if stored != expected:
            raise WrongAnswer(f"{message}: expected the items {expected}, got {stored}")
        if len(memory) != len(expected):
            raise WrongAnswer(f"{message}: expected len() {len(expected)}, got {len(memory)}")


def _seconds_of_push(ring, capacity):
    """Return the seconds of one push into a full ring, the fastest of 50."""
    memory = ring(capacity)
    started = time.perf_counter()
    for item in range(capacity):
        memory.push(item)
        if time.perf_counter() - started > 3:
            raise WrongAnswer(
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
    sizes = ((5, 3), (3, 3), (1, 3), (1, 2), (7, 6), (4, 4), (6, 2), (2, 1))
    for size, actions in sizes:
        shift = -5 if size == 7 else 0  # all negative
        q = torch.from_numpy(rng.normal(size=(size, actions)) + shift).float()
        action = torch.from_numpy(rng.integers(0, actions, size))
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
        ]
        if actions <= size:
            mistakes += [
                ("`q[action]` selects whole rows.", q[action]),
                (
                    "`gather(0, …)` picks along the rows; the actions are columns: `gather(1, …)`.",
                    q[action, 0],
                ),
            ]
        if size > 1:
            hint = "`[0]` keeps the first row only; `[:, 0]` drops the second dimension."
            mistakes.append((hint, expected[:1]))
        compare(call(function, q, action), expected, "values", mistakes)


@exercise
def check_huber(function):
    """``function(error)`` to the Huber loss of each error, with the corner at 1."""
    torch.manual_seed(0)
    some = torch.tensor([-4.0, -1.0, -0.2, 0.0, 0.5, 1.0, 3.0])
    many = torch.linspace(-3.3, 3.3, 45)[torch.randperm(45)]
    others = (many, -0.3 - many.abs(), many[:1].abs() / 9, many[:1].abs() + 5, many[:1] * 0 - 2)
    with RecordedCalls() as recorded:
        for error in (some, *others, many.double()):
            _check_huber_losses(function, error)
    forbidden = recorded.names & {"huber_loss", "smooth_l1_loss"}
    if forbidden:
        raise WrongAnswer(
            f"the losses are right, but they are PyTorch's own: you called `{forbidden.pop()}`.\n  "
            "Write the two parts yourself; `torch.where` chooses between them."
        )


def _check_huber_losses(function, error):
    """``check_huber`` for one tensor of errors."""
    size = error.abs()
    expected = torch.where(size <= 1, 0.5 * error**2, size - 0.5)
    mistakes = [
        ("That is the squared error: the gradient of a large error has no limit.", 0.5 * error**2),
        ("That is the squared error, and the ½ is missing too.", error**2),
        ("That is the absolute error: it has a corner at 0.", size),
        (
            "The two parts do not meet at 1: the straight part is |error| − ½.",
            torch.where(size <= 1, 0.5 * error**2, size),
        ),
        (
            "The two parts do not meet at 1: the straight part is |error| − ½.",
            torch.where(size <= 1, 0.5 * error**2, size - 1),
        ),
        (
            "Negative errors must count like positive ones: use the absolute value.",
            torch.where(error <= 1, 0.5 * error**2, error - 0.5),
        ),
        (
            "Negative errors must count like positive ones: use the absolute value.",
            torch.where(size <= 1, 0.5 * error**2, error - 0.5),
        ),
        (
            "The two parts are swapped: the parabola belongs to the small errors.",
            torch.where(size > 1, 0.5 * error**2, size - 0.5),
        ),
        ("The ½ of the square part is missing.", torch.where(size <= 1, error**2, size - 0.5)),
        ("That is the mean; return the loss of each error instead.", expected.mean()),
    ]
    compare(call(function, error), expected, "losses", mistakes)


@exercise
def check_target(function):
    """``function(q_net, reward, next_obs, terminated, gamma)`` to targets (B,), no gradient."""
    torch.manual_seed(0)
    q_net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    reward, next_obs = torch.randn(6), torch.randn(6, 4)
    terminated = torch.tensor([0.0, 1, 0, 0, 1, 0])
    _check_targets(function, q_net, reward, next_obs, terminated, 0.9)
    for size, width, actions, gamma in ((7, 2, 2, 0.5), (1, 3, 5, 0.8), (3, 4, 3, 0.99)):
        q_net = nn.Sequential(nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, actions))
        for part, shift in enumerate((0.0, -5.0, 5.0)):  # -5: all values are negative
            with torch.no_grad():
                q_net[2].bias += shift
            reward = torch.randn(size) if part else torch.ones(size)
            for terminated in (torch.zeros(size), torch.ones(size), (reward > 0).float()):
                obs = torch.randn(size, width)
                _check_targets(function, q_net, reward, obs, terminated, gamma)


def _check_targets(function, q_net, reward, next_obs, terminated, gamma):
    """``check_target`` for one batch."""
    before = state_of(q_net)
    with torch.no_grad():
        next_q = q_net(next_obs)
    best, goes_on = next_q.max(dim=1).values, 1 - terminated
    expected = reward + gamma * goes_on * best
    mistakes = [
        ("That adds future reward after the end of a game.", reward + gamma * best),
        ("γ is missing.", reward + goes_on * best),
        ("That is the mean over the actions.", reward + gamma * goes_on * next_q.mean(1)),
        (
            "The reward is masked too; mask only the value of the next observation.",
            goes_on * (reward + gamma * best),
        ),
        ("The reward is missing.", gamma * goes_on * best),
        (
            "`argmax` returns the number of the best action; its value is needed: `max`.",
            reward + gamma * goes_on * next_q.argmax(dim=1),
        ),
        (
            "The mask is inverted: it should be 1 where the game goes on.",
            reward + gamma * terminated * best,
        ),
        (
            "That is the largest value of the whole batch; take one per row: `dim=1`.",
            reward + gamma * goes_on * next_q.max(),
        ),
        (
            "(B,) and (B, 1) were broadcast to a (B, B) table: leave out `keepdim`, or drop the "
            "second dimension.",
            reward + gamma * goes_on * best[:, None],
        ),
        (
            "The best value can be negative; yours is never below 0.",
            reward + gamma * goes_on * best.clamp(min=0),
        ),
        (
            "γ is an argument of the function; yours has a fixed value.",
            reward + 0.9 * goes_on * best,
        ),
    ]
    try:
        answer = function(q_net, reward.clone(), next_obs.clone(), terminated.clone(), gamma)
    except TypeError as error:
        if "operator.invert" in str(error):
            raise WrongAnswer(
                "`~` inverts booleans, but here `terminated` holds 1.0 and 0.0: "
                "use `1 - terminated`."
            ) from None
        if "multiply sequence" in str(error):
            raise WrongAnswer(
                "`max(dim=1)` returns values and indices: take its `.values`."
            ) from None
        raise
    if is_missing(answer):
        raise ReturnedNothing
    compare(answer, expected, "targets", mistakes)
    check_unchanged(q_net, before)
    parts = answer if isinstance(answer, (list, tuple)) else [answer]
    if any(isinstance(part, torch.Tensor) and part.requires_grad for part in parts):
        raise WrongAnswer(
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


def _start(run):
    """A small network, always the same for the same run."""
    torch.manual_seed(0)
    inputs, actions = run[1]
    bend = nn.Tanh() if run[2] == 1 else nn.ReLU()
    return nn.Sequential(nn.Linear(inputs, 8), bend, nn.Linear(8, actions))


# Batch size, (inputs, actions), scale of the observations, scale of the targets, optimizer.
# Large observations make large gradients, so that clipping them shows.
RUNS = (
    (6, (4, 3), 1, 2, {"lr": 0.1}),
    (1, (4, 2), 1, 0.3, {"lr": 0.02}),
    (1, (3, 5), 1, 9, {"lr": 0.3}),
    (9, (2, 4), 60, 9, {"lr": 0.05, "momentum": 0.9}),
)


def _two_steps(function, run=RUNS[0]):
    """Weights of a small network after each of two calls of a ``fit_once``, and the optimizer."""
    size, sizes, obs_scale, target_scale, settings = run
    q_net = _start(run)
    optimizer, weights, answers = Counting(q_net.parameters(), **settings), [], []
    for _ in range(2):
        obs, action = obs_scale * torch.randn(size, sizes[0]), torch.randint(sizes[1], (size,))
        reward, next_obs = torch.randn(size), torch.randn(size, sizes[0])
        batch = Transition(obs, action, reward, next_obs, torch.zeros(size, dtype=torch.bool))
        answers.append(function(q_net, optimizer, batch, target_scale * torch.randn(size)))
        weights.append(_vector(q_net))
    return weights, q_net, optimizer, answers


def _vector(q_net):
    """All weights of a network as one vector."""
    return nn.utils.parameters_to_vector(q_net.parameters()).detach().clone()


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

    def two_steps(*arguments):
        fit_once(*arguments)
        fit_once(*arguments)

    return two_steps


@exercise
def check_fit_once(function):
    """``function(q_net, optimizer, batch, target)``: one optimizer step, in place."""
    before = _vector(_start(RUNS[0]))
    weights, q_net, optimizer, answers = _two_steps(function)
    if torch.equal(weights[1], before):
        if optimizer.steps:
            raise WrongAnswer(
                "`optimizer.step()` ran, but without a gradient.\n  The order is `zero_grad`, "
                "`backward`, `step`."
            )
        if any(weight.grad is not None for weight in q_net.parameters()):
            raise WrongAnswer(
                "there are gradients, but the weights did not move.\n  Call `optimizer.step()` "
                "after `loss.backward()`."
            )
        if all(map(is_missing, answers)):
            raise StillOpen("Your function does not change the weights yet.")
        raise WrongAnswer(
            "the weights did not move.\n  Call `loss.backward()`, then `optimizer.step()`."
        )
    _compare_steps(weights, RUNS[0])
    for run in RUNS[1:]:
        weights, q_net, optimizer, _ = _two_steps(function, run)
        _compare_steps(weights, run)
        check_learns(q_net)
        if optimizer.steps != 2:
            raise WrongAnswer(
                f"the weights are right, but two updates made {optimizer.steps} steps of the "
                "optimizer.\n  Call `optimizer.step()` once per update."
            )


def _compare_steps(weights, run):
    """Compare the weights after two steps with the reference's."""
    huber, before = nn.functional.smooth_l1_loss, _vector(_start(run))
    expected = _two_steps(_reference(), run)[0]
    if all(torch.allclose(w, e, 1e-5, 1e-6) for w, e in zip(weights, expected, strict=True)):
        return
    mistakes = [
        (
            "The gradients of the two updates add up: call `optimizer.zero_grad()` first.",
            _reference(clear=False),
        ),
        (
            "That is the squared error; here the Huber loss is asked for.",
            _reference(nn.functional.mse_loss),
        ),
        (
            "That is half the squared error; here the Huber loss is asked for.",
            _reference(lambda p, t: 0.5 * nn.functional.mse_loss(p, t)),
        ),
        (
            "That is the sum of the losses; take their mean.",
            _reference(lambda p, t: huber(p, t, reduction="sum")),
        ),
        (
            "(B, 1) and (B,) were broadcast: every prediction is compared with every target. Drop "
            "the second dimension of the prediction with `[:, 0]`.",
            _reference(_all_pairs),
        ),
        (
            "The prediction is the value of the action taken, not the largest one.",
            _reference(choose=lambda q, action: q.max(dim=1).values),
        ),
        (
            "`q[:, action]` takes these columns from every row, so predictions meet the targets of "
            "other rows. Use one value per row, of shape (B,).",
            _reference(loss=_all_columns, choose=lambda q, action: q[:, action]),
        ),
        ("That is two steps; one is asked for.", _twice(_reference())),
        (
            "The step goes uphill: the loss grows. Is there a minus sign too many?",
            _reference(lambda p, t: -huber(p, t)),
        ),
    ]
    cases = [(hint, _two_steps(mistaken, run)[0][1] - before) for hint, mistaken in mistakes]
    compare(weights[1] - before, expected[1] - before, "changes of the weights", cases)
    compare(weights[0] - before, expected[0] - before, "changes of the weights in the first step")
