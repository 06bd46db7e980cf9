"""Exercises of notebook 06: what must pass, what must not, and which hint comes."""

import numpy as np
import torch

from exercises.prioritized_nstep import (
    check_find,
    check_n_step_target,
    check_probabilities,
    check_rank_probabilities,
    check_weights,
)


def powers(reward, gamma):
    return gamma ** torch.arange(reward.shape[1])


def alive(terminated):
    """1 for each step that belongs to the game: up to its end, with it."""
    ended = terminated.long().cumsum(dim=1)
    return (ended - terminated.long() == 0).float()


def masked(reward, terminated, next_value, gamma):
    inside = (powers(reward, gamma) * alive(terminated) * reward).sum(dim=1)
    return inside + gamma ** reward.shape[1] * ~terminated.any(dim=1) * next_value


def backwards(reward, terminated, next_value, gamma):
    target = next_value
    for k in reversed(range(reward.shape[1])):
        target = reward[:, k] + gamma * ~terminated[:, k] * target
    return target


def row_by_row(reward, terminated, next_value, gamma):
    targets = []
    for rewards, over, value in zip(reward, terminated, next_value, strict=True):
        target, factor = 0.0, 1.0
        for r, end in zip(rewards, over, strict=True):
            target, factor = target + factor * r.item(), factor * gamma
            if end:
                factor = 0.0
                break
        targets.append(target + factor * value.item())
    return np.array(targets)


def last_end(reward, terminated, next_value, gamma):
    n = reward.shape[1]
    end = torch.where(terminated.any(dim=1), n - 1 - terminated.flip(1).int().argmax(dim=1), n - 1)
    inside = torch.arange(n) <= end[:, None]
    total = (powers(reward, gamma) * inside * reward).sum(dim=1)
    return total + gamma**n * ~terminated.any(dim=1) * next_value


def find_loop(priorities, number):
    for index, p in enumerate(priorities):
        if number < p:
            return index
        number -= p


def shares(errors, alpha, epsilon):
    p = (np.abs(errors) + epsilon) ** alpha
    return p / p.sum()


def signed_shares(errors, alpha, epsilon):
    with np.errstate(invalid="ignore"):
        p = (errors + epsilon) ** alpha
    return p / p.sum()


def rank_of(errors):
    """1 for the largest."""
    return (np.abs(errors)[:, None] <= np.abs(errors)).sum(axis=1)


def rank_loop(errors, alpha):
    order = sorted(range(len(errors)), key=lambda i: -abs(errors[i]))
    p = {i: (1 / rank) ** alpha for rank, i in enumerate(order, start=1)}
    return [p[i] / sum(p.values()) for i in range(len(errors))]


def rank_shares(errors, alpha, rank=rank_of):
    p = rank(errors) ** -float(alpha)
    return p / p.sum()


RIGHT = [
    (check_n_step_target, [masked, backwards, row_by_row]),
    (
        check_probabilities,
        [
            shares,
            lambda e, a, eps: [
                (abs(x) + eps) ** a / sum((abs(y) + eps) ** a for y in e) for x in e
            ],
            lambda e, a, eps: torch.softmax(a * torch.log(torch.tensor(e).abs() + eps), dim=0),
        ],
    ),
    (
        check_rank_probabilities,
        [
            rank_shares,
            rank_loop,
            lambda e, a: rank_shares(e, a, lambda e: np.argsort(np.argsort(-np.abs(e))) + 1),
        ],
    ),
    (
        check_find,
        [
            find_loop,
            lambda p, x: np.searchsorted(np.cumsum(p), x, side="right"),
            lambda p, x: int((np.cumsum(p) <= x).sum()),
        ],
    ),
    (
        check_weights,
        [
            lambda p, n, b: (n * p) ** -b / ((n * p) ** -b).max(),
            lambda p, n, b: (p / p.min()) ** -b,  # N goes out
            lambda p, n, b: torch.from_numpy((p.min() / p) ** b),
        ],
    ),
]
WRONG = [
    (
        check_n_step_target,
        {
            "the next game": lambda r, t, v, g: (
                (powers(r, g) * r).sum(1) + g ** r.shape[1] * ~t.any(1) * v
            ),
            "ended inside the window, so": lambda r, t, v, g: (
                (powers(r, g) * alive(t) * r).sum(1) + g ** r.shape[1] * v
            ),
            "ignores `terminated`": lambda r, t, v, g: (
                (powers(r, g) * r).sum(1) + g ** r.shape[1] * v
            ),
            "γⁿ, not γ": lambda r, t, v, g: (
                (powers(r, g) * alive(t) * r).sum(1) + g * ~t.any(1) * v
            ),
            "not n − 1": lambda r, t, v, g: (
                (powers(r, g) * alive(t) * r).sum(1) + g ** (r.shape[1] - 1) * ~t.any(1) * v
            ),
            "next value is not discounted": lambda r, t, v, g: (
                (powers(r, g) * alive(t) * r).sum(1) + ~t.any(1) * v
            ),
            "γ⁰ = 1": lambda r, t, v, g: (
                (g * powers(r, g) * alive(t) * r).sum(1) + g ** r.shape[1] * ~t.any(1) * v
            ),
            "that ends the game": lambda r, t, v, g: (
                (powers(r, g) * (t.long().cumsum(1) == 0) * r).sum(1)
                + g ** r.shape[1] * ~t.any(1) * v
            ),
            "at the *first*": last_end,
            "looks at the last step only": lambda r, t, v, g: (
                (powers(r, g) * r).sum(1) + g ** r.shape[1] * ~t[:, -1] * v
            ),
            "the 1-step target": lambda r, t, v, g: r[:, 0] + g * ~t[:, 0] * v,
            "in the reverse order": lambda r, t, v, g: (
                (powers(r, g).flip(0) * alive(t) * r).sum(1) + g ** r.shape[1] * ~t.any(1) * v
            ),
            "a fixed value": lambda r, t, v, g: masked(r, t, v, 0.5),
            "got shape (5, 3)": lambda r, t, v, g: r,
        },
    ),
    (
        check_probabilities,
        {
            "do not sum to 1: divide": lambda e, a, eps: (np.abs(e) + eps) ** a,
            "ε is missing": lambda e, a, eps: shares(e, a, 0.0),
            "before the power α": lambda e, a, eps: (
                (np.abs(e) ** a + eps) / (np.abs(e) ** a + eps).sum()
            ),
            "α is missing": lambda e, a, eps: shares(e, 1.0, eps),
            "after the division": lambda e, a, eps: shares(e, 1.0, eps) ** a,
            "take the absolute value": lambda e, a, eps: shares(np.maximum(e, 0), a, eps),
            "not by the largest": lambda e, a, eps: shares(e, a, eps) / shares(e, a, eps).max(),
            "some probabilities are NaN": signed_shares,
            "not before": lambda e, a, eps: shares(e + eps, a, 0.0),
            "not its square": lambda e, a, eps: shares(e**2, a, eps),
            "softmax": lambda e, a, eps: torch.softmax(torch.tensor((np.abs(e) + eps) ** a), dim=0),
        },
    ),
    (
        check_rank_probabilities,
        {
            "do not sum to 1": lambda e, a: rank_of(e) ** -float(a),
            "yours is the smallest": lambda e, a: rank_shares(
                e, a, lambda e: len(e) + 1 - rank_of(e)
            ),
            "Rank by |δ|": lambda e, a: rank_shares(e, a, lambda e: (e[:, None] <= e).sum(axis=1)),
            "in the order of the ranks": lambda e, a: np.sort(rank_shares(e, a))[::-1],
            "`argsort`": lambda e, a: rank_shares(e, a, lambda e: np.argsort(-np.abs(e)) + 1),
            "α is missing": lambda e, a: rank_shares(e, 1.0),
            "first rank is drawn most": lambda e, a: rank_of(e) ** a / (rank_of(e) ** a).sum(),
        },
    ),
    (
        check_find,
        {
            "One too far": lambda p, x: find_loop(p, x) + 1,
            "One too few": lambda p, x: find_loop(p, x) - 1,
            "`<`, not `<=`": lambda p, x: np.searchsorted(np.cumsum(p), x),
            "*sums*": lambda p, x: next((i for i, q in enumerate(p) if q > x), 5),
            "for number 9.99: is a `return` missing": lambda p, x: next(
                (i for i, q in enumerate(p) if q > x), None
            ),
            "always the index of the largest": lambda p, x: int(p.argmax()),
            "equal parts": lambda p, x: int(x / 10 * 6),
            "for number 0.2, got": lambda p, x: x,
            "number 3.9": lambda p, x: 1 if x < 4 else find_loop(p, x),
        },
    ),
    (
        check_weights,
        {
            "not normalised": lambda p, n, b: (n * p) ** -b,
            "must count less": lambda p, n, b: (p / p.max()) ** b,
            "Upside down": lambda p, n, b: (p**-b).max() / p**-b,
            "smallest weight": lambda p, n, b: p**-b / (p**-b).min(),
            "by the sum": lambda p, n, b: p**-b / (p**-b).sum(),
            "by the mean": lambda p, n, b: p**-b / (p**-b).mean(),
            "cuts the weights off": lambda p, n, b: np.minimum((n * p) ** -b, 1),
            "the whole fraction": lambda p, n, b: 1 / (n * p**b),
            "β is missing": lambda p, n, b: p.min() / p,
        },
    ),
]
