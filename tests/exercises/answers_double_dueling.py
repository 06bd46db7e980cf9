"""Exercises of notebook 05: what must pass, what must not, and which hint comes."""

from itertools import product

import numpy as np
import torch

from exercises.double_dueling import check_double_target, check_dueling_max, check_largest_guess


def count_cases(num_actions):
    cases = list(product((-1, 1), repeat=num_actions))
    return sum(max(case) for case in cases) / len(cases)


def take(q, action):
    return q.gather(1, action[:, None])[:, 0]


def double_loop(reward, terminated, next_q, next_target_q, gamma):
    targets = []
    for r, over, q, judged in zip(reward, terminated, next_q, next_target_q, strict=True):
        targets.append(r if over else r + gamma * judged[q.argmax()])
    return torch.stack(targets)


RIGHT = [
    (
        check_largest_guess,
        [
            count_cases,
            lambda n: 1 - 2 * 0.5**n,
            lambda n: torch.tensor(1 - 2.0 ** (1 - n)),
        ],
    ),
    (
        check_double_target,
        [
            lambda r, t, q, tq, g: r + g * ~t * take(tq, q.argmax(1)),
            lambda r, t, q, tq, g: (
                r + g * t.logical_not() * tq[torch.arange(len(r)), q.max(1).indices]
            ),
            double_loop,
        ],
    ),
    (
        check_dueling_max,
        [
            lambda v, a: v + a - a.max(dim=1, keepdim=True).values,
            lambda v, a: v + a - a.amax(1)[:, None],
            lambda v, a: torch.stack(
                [row + x - x.max() for row, x in zip(v, a, strict=True)]
            ).numpy(),
        ],
    ),
]
WRONG = [
    (
        check_largest_guess,
        {
            "in the other case": lambda n: 1 - 0.5**n,
            "one is enough": lambda n: 2 * 0.5**n - 1,
            "counts twice": lambda n: 1 - 0.5 ** (n + 1),
            "their mean is 0": lambda n: 0.0,
            "no +1 in it": lambda n: 1.0,
            "2 actions, got 0.6": lambda n: 0.6 if n == 2 else count_cases(n),
            "for 8 actions: is a `return` missing": lambda n: None if n == 8 else count_cases(n),
            "one number from each call": lambda n: np.array([count_cases(n)]),
        },
    ),
    (
        check_double_target,
        {
            "That is DQN": lambda r, t, q, tq, g: r + g * ~t * tq.max(1).values,
            "changed places": lambda r, t, q, tq, g: r + g * ~t * take(q, tq.argmax(1)),
            "is not used": lambda r, t, q, tq, g: r + g * ~t * q.max(1).values,
            "after the end": lambda r, t, q, tq, g: r + g * take(tq, q.argmax(1)),
            "γ is missing": lambda r, t, q, tq, g: r + ~t * take(tq, q.argmax(1)),
            "taken for its value": lambda r, t, q, tq, g: r + g * ~t * q.argmax(1),
            "clipped": lambda r, t, q, tq, g: (
                r + g * ~t * torch.minimum(q.max(1).values, tq.max(1).values)
            ),
            "other way round": lambda r, t, q, tq, g: r + g * t * take(tq, q.argmax(1)),
            "masked as well": lambda r, t, q, tq, g: ~t * (r + g * take(tq, q.argmax(1))),
            "reward is missing": lambda r, t, q, tq, g: g * ~t * take(tq, q.argmax(1)),
            "yours is fixed": lambda r, t, q, tq, g: r + 0.9 * ~t * take(tq, q.argmax(1)),
            "For some inputs nothing comes back": lambda r, t, q, tq, g: (
                r + g * ~t * take(tq, q.argmax(1)) if t.any() else None
            ),
            "could not be called": lambda r, t, q, tq: r,
            "(B, B) table": lambda r, t, q, tq, g: (
                r + g * ~t * tq.gather(1, q.argmax(1, keepdim=True))
            ),
            "of shape (3,), got shape (3, 3)": lambda r, t, q, tq, g: r[:, None] + tq,
            "got": lambda r, t, q, tq, g: -r,
        },
    ),
    (
        check_dueling_max,
        {
            "subtracts the mean": lambda v, a: v + a - a.mean(1, keepdim=True),
            "Nothing is subtracted": lambda v, a: v + a,
            "must be taken off": lambda v, a: v + a + a.amax(1, keepdim=True),
            "whole batch": lambda v, a: v + a - a.max(),
            "*place*": lambda v, a: v + a - a.argmax(1, keepdim=True),
            "smallest": lambda v, a: v + a - a.amin(1, keepdim=True),
            "V is missing": lambda v, a: a - a.amax(1, keepdim=True),
            "runs over the batch": lambda v, a: v + a - a.max(dim=0).values,
            "`keepdim=True` is missing": lambda v, a: v + a - a.max(dim=1).values,
            "got": lambda v, a: np.zeros((3, 3)),
        },
    ),
]
