"""Exercises of notebook 07: what must pass, what must not, and which hint comes."""

import numpy as np
import torch

from exercises.rainbow import (
    check_c51_loss,
    check_noise,
    check_project,
    check_quantile_loss,
)


def places(reward, discount, support):
    low, high = support[0], support[-1]
    moved = (reward[:, None] + discount[:, None] * support).clamp(low, high)
    return (moved - low) / (support[1] - support[0])


def by_nearness(probability, reward, discount, support):
    place = places(reward, discount, support)
    nearness = 1 - (place[:, :, None] - torch.arange(len(support))).abs()
    return (probability[:, :, None] * nearness.clamp(min=0)).sum(dim=1)


def by_floor(probability, reward, discount, support, *, lose=False, swap=False):
    place = places(reward, discount, support)
    place = torch.where((place - place.round()).abs() < 1e-4, place.round(), place)
    below, above = place.floor().long(), place.ceil().long()
    to_above = place - below
    to_below = above - place if lose else 1 - to_above
    if swap:
        whole = below == above
        to_below, to_above = (
            torch.where(whole, to_below, to_above),
            torch.where(whole, to_above, to_below),
        )
    found = torch.zeros_like(probability)
    found.scatter_add_(1, below, probability * to_below)
    return found.scatter_add_(1, above, probability * to_above)


def by_loop(probability, reward, discount, support):
    found = np.zeros(probability.shape)
    for row, spots in enumerate(places(reward, discount, support).numpy()):
        for p, spot in zip(probability[row].tolist(), spots, strict=True):
            left = min(int(spot), len(support) - 2)
            found[row, left] += p * (left + 1 - spot)
            found[row, left + 1] += p * (spot - left)
    return found


def overwriting(probability, reward, discount, support):
    """Forgets that one atom may be written to more than once."""
    place = places(reward, discount, support)
    below = place.floor().long().clamp(max=len(support) - 2)
    found, rows = torch.zeros_like(probability), torch.arange(len(reward))[:, None]
    found[rows, below] += probability * (below + 1 - place)
    found[rows, below + 1] += probability * (place - below)
    return found


def unclamped(probability, reward, discount, support):
    moved = reward[:, None] + discount[:, None] * support
    place = (moved - support[0]) / (support[1] - support[0])
    nearness = 1 - (place[:, :, None] - torch.arange(len(support))).abs()
    return (probability[:, :, None] * nearness.clamp(min=0)).sum(dim=1)


def out_of_bounds(probability, reward, discount, support):
    """Writes to atoms that do not exist."""
    moved = reward[:, None] + discount[:, None] * support
    below = ((moved - support[0]) / (support[1] - support[0])).floor().long()
    return torch.zeros_like(probability).scatter_add_(1, below, probability)


def symmetric(probability, reward, discount, support):
    """Takes the low end to be minus the high one."""
    low = -support[-1]
    moved = (reward[:, None] + discount[:, None] * support).clamp(low, support[-1])
    place = (moved - low) / (2 * support[-1] / (len(support) - 1))
    nearness = 1 - (place[:, :, None] - torch.arange(len(support))).abs()
    return (probability[:, :, None] * nearness.clamp(min=0)).sum(dim=1)


def nearest(probability, reward, discount, support):
    found = torch.zeros_like(probability)
    spots = (places(reward, discount, support) + 0.5 + 1e-4).floor().long()
    return found.scatter_add_(1, spots.clamp(max=len(support) - 1), probability)


def pinball(theta, outcome, tau):
    u = outcome - theta
    return torch.maximum(tau * u, (tau - 1) * u).mean()


def pinball_loop(theta, outcome, tau):
    losses = [tau * (x - theta) if x > theta else (1 - tau) * (theta - x) for x in outcome.tolist()]
    return sum(losses) / len(losses)


def f(x):
    return x.sign() * x.abs().sqrt()


def c51(target, logits):
    log_p = torch.log_softmax(logits, dim=1)
    kl = torch.nn.functional.kl_div(log_p, target, reduction="none").sum(dim=1)
    return -(target * log_p).sum(dim=1), kl


def c51_loop(target, logits):
    losses, divergences = [], []
    for m, row in zip(target.numpy(), logits.numpy(), strict=True):
        p = np.exp(row) / np.exp(row).sum()
        losses.append(-sum(a * np.log(b) for a, b in zip(m, p, strict=True)))
        divergences.append(sum(a * np.log(a / b) for a, b in zip(m, p, strict=True) if a > 0))
    return losses, divergences


def entropy(m):
    return -torch.special.xlogy(m, m).sum(dim=1)


RIGHT = [
    (check_c51_loss, [c51, c51_loop, lambda m, x: list(c51(m, x))]),
    (check_project, [by_nearness, by_floor, by_loop]),
    (
        check_quantile_loss,
        [
            pinball,
            pinball_loop,
            lambda theta, x, tau: ((tau - (x < theta).float()) * (x - theta)).mean(),
        ],
    ),
    (
        check_noise,
        [
            lambda a, b: torch.outer(f(b), f(a)),
            lambda a, b: f(b)[:, None] * f(a),
            lambda a, b: f(torch.outer(b, a)),  # the root of a product is the product of the roots
        ],
    ),
]
WRONG = [
    (
        check_c51_loss,
        {
            "two results": lambda m, x: c51(m, x)[0],
            "The sign is wrong": lambda m, x: (-c51(m, x)[0], c51(m, x)[1]),
            "logarithm is missing": lambda m, x: (-(m * x.softmax(1)).sum(1), 0),
            "no probabilities yet": lambda m, x: (-(m * x).sum(1), 0),
            "dim=1": lambda m, x: (-(m * x.log_softmax(0)).sum(1), 0),
            "swapped": lambda m, x: (-torch.special.xlogy(x.softmax(1), m).sum(1), 0),
            "has no logarithm": lambda m, x: (-(m * x.log()).sum(1), c51(m, x)[1]),
            "one number for the batch": lambda m, x: (c51(m, x)[0].mean(), 0),
            "keep the rows": lambda m, x: (c51(m, x)[0], c51(m, x)[1].sum()),
            "0 · log 0 counts as 0": lambda m, x: (
                c51(m, x)[0],
                c51(m, x)[0] + (m * m.log()).sum(1),
            ),
            "cross-entropy again": lambda m, x: (c51(m, x)[0],) * 2,
            "expected KL divergences": lambda m, x: (c51(m, x)[0], 0 * c51(m, x)[1]),
            "the *target* weights": lambda m, x: (
                c51(m, x)[0],
                (x.softmax(1) * (x.log_softmax(1) - (m + 1e-8).log())).sum(1),
            ),
            "The entropy is added": lambda m, x: (c51(m, x)[0], c51(m, x)[0] + entropy(m)),
            "never below 0": lambda m, x: (c51(m, x)[0], -c51(m, x)[1]),
        },
    ),
    (
        check_project,
        {
            "That atom should get all of it": lambda *arguments: by_floor(*arguments, lose=True),
            "*closer* atom": lambda *arguments: by_floor(*arguments, swap=True),
            "closest atom": nearest,
            "beyond an end is lost; the atom at that end should get it": lambda p, r, d, s: (
                by_nearness(
                    torch.where((r[:, None] + d[:, None] * s).abs() > 1 + 1e-6, 0.0, p), r, d, s
                )
            ),
            "reward is missing": lambda p, r, d, s: by_nearness(p, 0 * r, d, s),
            "discount is not used": lambda p, r, d, s: by_nearness(p, r, torch.ones(6), s),
            "The atoms were not moved": lambda p, r, d, s: p,
            "same index twice": overwriting,
            "`clamp`": unclamped,
            "has no atom above": out_of_bounds,
            "expected probabilities": symmetric,
            "of shape (6, 5)": lambda p, r, d, s: p.sum(dim=1),
        },
    ),
    (
        check_quantile_loss,
        {
            "are mixed up": lambda theta, outcome, tau: (
                torch.where(outcome > theta, tau, 1 - tau) * (theta - outcome)
            ).mean(),
            "pull with τ": lambda theta, x, tau: pinball(theta, x, 1 - tau),
            "without end": lambda theta, x, tau: (
                torch.where(x > theta, tau, 1 - tau) * (x - theta)
            ).mean(),
            "median": lambda theta, x, tau: (x - theta).abs().mean(),
            "squared": lambda theta, x, tau: (
                torch.where(x > theta, tau, 1 - tau) * (x - theta) ** 2
            ).mean(),
            "one loss for each": lambda theta, x, tau: (
                torch.where(x > theta, tau, 1 - tau) * (x - theta).abs()
            ),
            "not the mean": lambda theta, x, tau: len(x) * pinball(theta, x, tau),
            "Both sides": lambda theta, x, tau: tau * (x - theta).abs().mean(),
        },
    ),
    (
        check_noise,
        {
            "root of |x|": lambda a, b: torch.outer(b.sqrt(), a.sqrt()),
            "f is missing": lambda a, b: torch.outer(b, a),
            "sign is lost": lambda a, b: torch.outer(b.abs().sqrt(), a.abs().sqrt()),
            "(J, I)": lambda a, b: torch.outer(f(a), f(b)),
            "one of the two draws only": lambda a, b: torch.outer(b.abs().sqrt(), f(a)),
            "product": lambda a, b: f(b)[:, None] + f(a),
        },
    ),
]
