"""Exercises of notebook 05: what must pass, what must not, and which hint comes."""

from itertools import product

import numpy as np
import torch

from exercises.double_dueling import (
    check_combine,
    check_double_target,
    check_dueling_max,
    check_holm,
    check_largest_estimate,
)
from helpers.ablation import holm


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


def unbounded(p_values):
    order, largest, corrected = np.argsort(p_values), 0.0, np.zeros(len(p_values))
    for place, i in enumerate(order):
        largest = max(largest, p_values[i] * (len(p_values) - place))
        corrected[i] = largest
    return corrected


RIGHT = [
    (
        check_largest_estimate,
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
    (
        check_combine,
        [
            lambda v, a: v + a - a.mean(dim=1, keepdim=True),
            lambda v, a: v + (a - a.sum(1)[:, None] / a.shape[1]),
            lambda v, a: torch.stack(
                [row + x - x.mean() for row, x in zip(v, a, strict=True)]
            ).numpy(),
        ],
    ),
    (
        check_holm,
        [holm, lambda p: holm(p).tolist(), lambda p: torch.tensor(holm(p))],
    ),
]
WRONG = [
    (
        check_largest_estimate,
        {
            "in the other case": lambda n: 1 - 0.5**n,
            "a single +1 is enough": lambda n: 2 * 0.5**n - 1,
            "changes the sum by 2": lambda n: 1 - 0.5 ** (n + 1),
            "has mean 0": lambda n: 0.0,
            "no +1 at all": lambda n: 1.0,
            "2 actions, got 0.6": lambda n: 0.6 if n == 2 else count_cases(n),
            "for 8 actions: is a `return` missing": lambda n: None if n == 8 else count_cases(n),
            "one number from each call": lambda n: np.array([count_cases(n)]),
        },
    ),
    (
        check_double_target,
        {
            "That is DQN": lambda r, t, q, tq, g: r + g * ~t * tq.max(1).values,
            "swapped the networks": lambda r, t, q, tq, g: r + g * ~t * take(q, tq.argmax(1)),
            "is not used": lambda r, t, q, tq, g: r + g * ~t * q.max(1).values,
            "after the end of the episode": lambda r, t, q, tq, g: r + g * take(tq, q.argmax(1)),
            "γ is missing": lambda r, t, q, tq, g: r + ~t * take(tq, q.argmax(1)),
            "index of the action as its value": lambda r, t, q, tq, g: r + g * ~t * q.argmax(1),
            "clipped": lambda r, t, q, tq, g: (
                r + g * ~t * torch.minimum(q.max(1).values, tq.max(1).values)
            ),
            "inverted": lambda r, t, q, tq, g: r + g * t * take(tq, q.argmax(1)),
            "masked the reward too": lambda r, t, q, tq, g: ~t * (r + g * take(tq, q.argmax(1))),
            "reward is missing": lambda r, t, q, tq, g: g * ~t * take(tq, q.argmax(1)),
            "a fixed number": lambda r, t, q, tq, g: r + 0.9 * ~t * take(tq, q.argmax(1)),
            "For some inputs nothing comes back": lambda r, t, q, tq, g: (
                r + g * ~t * take(tq, q.argmax(1)) if t.any() else None
            ),
            "could not be called": lambda r, t, q, tq: r,
            "(B, B) table": lambda r, t, q, tq, g: (
                r + g * ~t * tq.gather(1, q.argmax(1, keepdim=True))
            ),
            "picks whole columns": lambda r, t, q, tq, g: r + g * ~t * tq[:, q.argmax(1)],
            "columns or rows": lambda r, t, q, tq, g: r + g * ~t * tq[q.argmax(1)],
            "of shape (3,), got shape (3, 3)": lambda r, t, q, tq, g: r[:, None] + tq,
            "got": lambda r, t, q, tq, g: -r,
        },
    ),
    (
        check_dueling_max,
        {
            "subtracts the mean": lambda v, a: v + a - a.mean(1, keepdim=True),
            "Nothing is subtracted": lambda v, a: v + a,
            "has to be subtracted": lambda v, a: v + a + a.amax(1, keepdim=True),
            "whole batch": lambda v, a: v + a - a.max(),
            "*index*": lambda v, a: v + a - a.argmax(1, keepdim=True),
            "smallest": lambda v, a: v + a - a.amin(1, keepdim=True),
            "V is missing": lambda v, a: a - a.amax(1, keepdim=True),
            "over the batch: use dim=1": lambda v, a: v + a - a.max(dim=0).values,
            "`keepdim=True` is missing": lambda v, a: v + a - a.max(dim=1).values,
            "got": lambda v, a: np.zeros((3, 3)),
        },
    ),
    (
        check_combine,
        {
            "sum of the advantages": lambda v, a: v + a - a.sum(1, keepdim=True),
            "subtracts the largest": lambda v, a: v + a - a.amax(1, keepdim=True),
            "are missing": lambda v, a: v.expand_as(a),
            "not identifiable": lambda v, a: v + a,
            "has to be subtracted": lambda v, a: v + a + a.mean(1, keepdim=True),
            "whole batch": lambda v, a: v + a - a.mean(),
            "V is missing": lambda v, a: a - a.mean(1, keepdim=True),
            "over the batch: use dim=1": lambda v, a: v + a - a.mean(dim=0),
            "`keepdim=True` is missing": lambda v, a: v + a - a.mean(dim=1),
            "got": lambda v, a: np.zeros((3, 3)),
        },
    ),
    (
        check_holm,
        {
            "Bonferroni": lambda p: [min(1, len(p) * x) for x in p],
            "largest so far": lambda p: [min(1.0, x * (len(p) - sorted(p).index(x))) for x in p],
            "at most 1": lambda p: unbounded(p),
            "twice does not undo": lambda p: np.sort(holm(p))[np.argsort(p)],
            "sorted": lambda p: np.sort(holm(p)),
            "start with the smallest": lambda p: np.minimum(
                1, np.maximum.accumulate(np.array(p) * np.arange(len(p), 0, -1))
            ),
            "as given": lambda p: p,
            "is a `return` missing": lambda p: None if len(p) == 1 else holm(p),
            "got": lambda p: [0.5 for _ in p],
        },
    ),
]
