"""Checks for notebook 06: n-step targets, draws from a sum tree, importance weights."""

import numpy as np
import torch

from exercises import call, call_each, compare, exercise

GAMMA = 0.5


def _target(reward, terminated, next_value, *, ends=True, power=None, shift=0):
    """Targets (B,), row by row; the arguments by name are usual mistakes."""
    found = []
    for rewards, over, value in zip(reward.tolist(), terminated.tolist(), next_value.tolist(),
                                    strict=True):  # fmt: skip
        total, alive = 0.0, True
        for k, (r, end) in enumerate(zip(rewards, over, strict=True)):
            total += alive * GAMMA ** (k + shift) * r
            alive = alive and not (end and ends)
        found.append(total + alive * GAMMA ** (len(rewards) if power is None else power) * value)
    return np.array(found)


@exercise
def check_n_step_target(function):
    """``function(reward, terminated, next_value, gamma)``: (B, n), (B, n), (B,) to (B,)."""
    torch.manual_seed(0)
    for n in (3, 4):
        reward, next_value = torch.randn(n + 1, n) + 1, torch.rand(n + 1) + 2
        terminated = torch.eye(n + 1, n, dtype=torch.bool)  # row i ends with step i, the last not
        given = reward, terminated, next_value
        discounts = GAMMA ** torch.arange(n)
        goes_on = ~terminated.any(dim=1)
        all_rewards = (discounts * reward).sum(dim=1)
        bootstrap = GAMMA**n * next_value
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
        ]  # fmt: skip
        compare(call(function, *given, GAMMA), _target(*given), "targets", mistakes)


@exercise
def check_find(function):
    """``function(priorities, number)``: index on which the number falls, as in the sum tree."""
    priorities = np.array([3.0, 1.0, 0.0, 4.0, 2.0])
    numbers = [0.2, 3.9, 9.99, 2.999, 4.001, 0.0, 8.5]
    sums = np.cumsum(priorities)
    expected = np.searchsorted(sums, numbers, side="right")
    mistakes = [
        ("One too far: the index is the number of sums that the number has passed.", expected + 1),
        ("One too few.", expected - 1),
        ("Compare with the *sums* so far (3, 4, 4, 8, 10), not with the priorities themselves.",
         [next((i for i, p in enumerate(priorities) if p > x), 4) for x in numbers]),
        ("That is the index of the largest priority; it should depend on the number.",
         np.full(len(numbers), 3)),
        ("That cuts 0 … 10 into five equal parts; each part is as wide as its priority.",
         [int(x / 2) for x in numbers]),
    ]  # fmt: skip
    answers = call_each(function, [(priorities, x) for x in numbers])
    compare(answers, expected, "the index", mistakes, [f"number {x:g}" for x in numbers])


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
            ("That divides by the sum; then the size of an update depends on the batch.",
             raw / raw.sum()),
            ("That divides by the mean; some weights are over 1 then.", raw / raw.mean()),
            ("β is not used.", probability**-1.0 / (probability**-1.0).max()),
        ]  # fmt: skip
        answer = call(function, probability, stored, beta)
        compare(answer, raw / raw.max(), "weights", mistakes)
