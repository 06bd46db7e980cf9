"""Exercises of notebook 08: what must pass, what must not, and which hint comes."""

import time

import numpy as np
import torch
import torch.nn.functional as F

from exercises.faster import (
    check_next_rows,
    check_patches,
    check_replay_ratio,
    check_speed_up,
    check_timer,
)


def patches_reshape(x, size):
    b, c, h, w = x.shape
    blocks = x.reshape(b, c, h // size, size, w // size, size)
    return blocks.permute(0, 1, 3, 5, 2, 4).reshape(b, c * size * size, h // size, w // size)


def patches_loop(x, size):
    channels = []
    for c in range(x.shape[1]):
        for i in range(size):
            channels += [x[:, c, i::size, j::size] for j in range(size)]
    return torch.stack(channels, dim=1)


def patches_unfold(x, size):
    b, c, h, w = x.shape
    return F.unfold(x, size, stride=size).reshape(b, c * size * size, h // size, w // size)


def patches_columns(x, size):
    b, c, h, w = x.shape
    blocks = x.reshape(b, c, h // size, size, w // size, size)
    return blocks.permute(0, 1, 5, 3, 2, 4).reshape(b, c * size * size, h // size, w // size)


def timer(warm_up=1, calls=8, divide=True):
    def measure(work):
        for _ in range(warm_up):
            work()
        started = time.perf_counter()
        for _ in range(calls):
            work()
        return (time.perf_counter() - started) / (calls if divide else 1)

    return measure


def timer_median(work):
    work()
    rounds = []
    for _ in range(5):
        started = time.perf_counter()
        work()
        rounds.append(time.perf_counter() - started)
    return np.median(rounds)


def timer_tensor(work):
    return torch.tensor(timer(warm_up=2, calls=5)(work))


RIGHT = [
    (
        check_replay_ratio,
        [
            lambda batch, updates, steps: batch * updates / steps,
            lambda batch, updates, steps: torch.tensor(updates / steps) * batch,
            lambda batch, updates, steps: np.float32(batch) / steps * updates,
        ],
    ),
    (
        check_next_rows,
        [
            lambda rows, carts, n: rows + n * carts,
            lambda rows, carts, n: [int(r) + carts * n for r in rows],
            lambda rows, carts, n: torch.from_numpy((rows // carts + n) * carts + rows % carts),
        ],
    ),
    (check_patches, [patches_reshape, patches_loop, patches_unfold]),
    (
        check_speed_up,
        [
            lambda before, after: np.median(before) / np.median(after),
            lambda before, after: sorted(before)[2] / sorted(after)[2],
            lambda before, after: torch.tensor(np.median(before)) / np.median(after),
            lambda before, after: min(before) / min(after),
            lambda before, after: np.sort(before)[1:-1].mean() / np.sort(after)[1:-1].mean(),
        ],
    ),
    (check_timer, [timer(), timer_median, timer_tensor]),
]
WRONG = [
    (
        check_replay_ratio,
        {
            "whole batch": lambda batch, updates, steps: updates / steps,
            "how many are new": lambda batch, updates, steps: batch * updates,
            "other way round": lambda batch, updates, steps: steps / batch / updates,
            "one update's share": lambda batch, updates, steps: batch / steps,
            "not `//`": lambda batch, updates, steps: batch * updates // steps,
            "expected": lambda batch, updates, steps: batch + updates / steps,
        },
    ),
    (
        check_next_rows,
        {
            "next *cart*": lambda rows, carts, n: rows + n,
            "one step": lambda rows, carts, n: rows + carts,
            "backwards": lambda rows, carts, n: rows - n * carts,
            "cart must stay": lambda rows, carts, n: (rows // carts + n) * carts,
        },
    ),
    (
        check_patches,
        {
            "rows, not squares": lambda x, s: x.reshape(
                x.shape[0], x.shape[1] * s * s, x.shape[2] // s, x.shape[3] // s
            ),
            "you called `pixel_unshuffle`": F.pixel_unshuffle,
            "but you called": lambda x, s: torch.nn.PixelUnshuffle(s)(x),
            "column order": patches_columns,
            "come last": lambda x, s: F.pixel_unshuffle(x, s).permute(0, 2, 3, 1),
            "leaving pixels out": lambda x, s: x[..., ::s, ::s],
            "mean of each patch": F.avg_pool2d,
            "alternate": lambda x, s: torch.cat(
                [x[:, :, i::s, j::s] for i in range(s) for j in range(s)], dim=1
            ),
        },
    ),
    (
        check_speed_up,
        {
            "not a median": lambda before, after: before.mean() / after.mean(),
            "mean of the ratios": lambda before, after: (before / after).mean(),
            "of either side": lambda before, after: np.median(before) / after.mean(),
            "other way round": lambda before, after: np.median(after) / np.median(before),
            "in seconds": lambda before, after: np.median(before) - np.median(after),
            "share that was saved": lambda b, a: 1 - np.median(a) / np.median(b),
            "flatters": lambda before, after: before.max() / after.min(),
            "expected a speed-up 4, got": lambda before, after: (
                np.exp(np.log(before).mean()) / np.median(after)
            ),
        },
    ),
    (
        check_timer,
        {
            "A single call": timer(warm_up=0, calls=1),
            "first call is in it": timer(warm_up=0, calls=8),
            "The first call": timer(warm_up=0, calls=4),
            "all calls": timer(divide=False),
            "called 2": timer(warm_up=1, calls=1),
            "milliseconds": lambda work: 1_000 * timer()(work),
            "perf_counter": lambda work: 0 * timer()(work),
            "one number": lambda work: [timer()(work)] * 3,
        },
    ),
]
