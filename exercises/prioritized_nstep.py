"""Checks for notebook 06: n-step targets, draws from a sum tree, importance weights."""

import numpy as np
import torch

from exercises import call, call_each, compare, exercise


def _target(reward, terminated, next_value, gamma, *, ends=True, power=None, shift=0):
    """Targets (B,), row by row; the arguments by name are usual mistakes."""
    found = []
    for rewards, over, value in zip(reward.tolist(), terminated.tolist(), next_value.tolist(),
                                    strict=True):  # fmt: skip
        total, alive = 0.0, True
        for k, (r, end) in enumerate(zip(rewards, over, strict=True)):
            total += alive * gamma ** (k + shift) * r
            alive = alive and not (end and ends)
        found.append(total + alive * gamma ** (len(rewards) if power is None else power) * value)
    return np.array(found)


@exercise
def check_n_step_target(function):
    """``function(reward, terminated, next_value, gamma)``: (B, n), (B, n), (B,) to (B,)."""
    torch.manual_seed(0)
    for n, gamma in ((3, 0.5), (4, 0.9)):
        reward, next_value = torch.randn(n + 2, n) + 1, torch.rand(n + 2) + 2
        terminated = torch.eye(n + 2, n, dtype=torch.bool)  # row i ends with step i, row n does not
        terminated[n + 1, [0, n - 1]] = True  # and the last row holds two ends
        given = reward, terminated, next_value, gamma
        discounts = gamma ** torch.arange(n)
        goes_on = ~terminated.any(dim=1)
        all_rewards = (discounts * reward).sum(dim=1)
        bootstrap = gamma**n * next_value
        last_end = torch.where(goes_on, n - 1, n - 1 - terminated.flip(1).int().argmax(dim=1))
        to_last_end = torch.arange(n) <= last_end[:, None]
        mistakes = [
            ("That counts rewards after the end of the game: what follows `terminated` belongs to "
             "the next one.", all_rewards + goes_on * bootstrap),
            ("The next value counts although the game has ended inside the window.",
             _target(*given, ends=True) + (~goes_on * bootstrap).numpy()),
            ("Ends are not looked at.", _target(*given, ends=False)),
            ("The next value lies n steps ahead: γⁿ, not γ.", _target(*given, power=1)),
            ("The next value lies n steps ahead, not n − 1.", _target(*given, power=n - 1)),
            ("The next value is not discounted.", _target(*given, power=0)),
            ("The first reward is not discounted: its factor is γ⁰ = 1.",
             _target(*given, shift=1)),
            ("The reward of the step that ends the game still counts.",
             ((discounts * reward * (terminated.long().cumsum(dim=1) == 0)).sum(dim=1)
              + goes_on * bootstrap)),
            ("A window may hold two ends; the target stops at the *first*.",
             (discounts * reward * to_last_end).sum(dim=1) + goes_on * bootstrap),
            ("Only the last step is asked whether the game has ended; it may end at any of them.",
             all_rewards + ~terminated[:, -1] * bootstrap),
            ("γ is an argument; yours is fixed.", _target(*given[:3], 0.5)),
        ]  # fmt: skip
        compare(call(function, *given), _target(*given), "targets", mistakes)


@exercise
def check_find(function):
    """``function(priorities, number)``: index on which the number falls, as in the sum tree."""
    priorities = np.array([0.0, 3.0, 1.0, 0.0, 4.0, 2.0])
    numbers = [0.2, 3.9, 9.99, 3.0, 4.0, 0.0, 8.5]
    sums = np.cumsum(priorities)
    expected = np.searchsorted(sums, numbers, side="right")
    mistakes = [
        ("One too far: the index is the number of sums that the number has passed.", expected + 1),
        ("One too few.", expected - 1),
        ("A number that is just a sum belongs to the *next* index: `<`, not `<=`. Else an index of "
         "priority 0 can be drawn.", np.searchsorted(sums, numbers, side="left")),
        ("Compare with the *sums* so far (0, 3, 4, 4, 8, 10), not with the priorities themselves.",
         [next((i for i, p in enumerate(priorities) if p > x), 5) for x in numbers]),
        ("That is the index of the largest priority; it should depend on the number.",
         np.full(len(numbers), 4)),
        ("That cuts 0 … 10 into equal parts; each part is as wide as its priority.",
         [int(x / 10 * 6) for x in numbers]),
    ]  # fmt: skip
    asked = [f"number {x:g}" for x in numbers]
    answers = call_each(function, [(priorities, x) for x in numbers], asked)
    compare(answers, expected, "the index", mistakes, asked)


@exercise
def check_weights(function):
    """``function(probability, number_stored, beta)``: importance weights (B,), the largest is 1."""
    rng = np.random.default_rng(0)
    for size, beta in ((6, 0.5), (4, 1.0), (5, 0.0)):
        probability = rng.uniform(1e-4, 1e-2, size)
        stored = 1_000
        raw = (stored * probability) ** -beta
        mistakes = [
            ("They are not normalised: divide by the largest weight of the batch, so that no "
             "update is enlarged.", raw),
            ("The other way round: what is drawn often must count less.",
             (stored * probability) ** beta / ((stored * probability) ** beta).max()),
            ("Upside down: the largest weight by each weight.", raw.max() / raw),
            ("That divides by the smallest weight, so all are 1 or more; divide by the largest.",
             raw / raw.min()),
            ("That divides by the sum; then the size of an update depends on the batch.",
             raw / raw.sum()),
            ("That divides by the mean; some weights are over 1 then.", raw / raw.mean()),
            ("β is not used.", probability**-1.0 / (probability**-1.0).max()),
        ]  # fmt: skip
        answer = call(function, probability, stored, beta)
        compare(answer, raw / raw.max(), "weights", mistakes)
