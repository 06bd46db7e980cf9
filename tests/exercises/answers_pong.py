"""Exercises of notebook 04: what must pass, what must not, and which hint comes."""

import numpy as np
import torch

from exercises.pong import (
    check_bytes,
    check_conv_size,
    check_counts,
    check_n_step,
    check_score,
    check_stacks,
    check_transitions,
)

BLACK = np.zeros((84, 84), np.uint8)


def start_of(is_first, t):
    return int(np.flatnonzero(is_first[: t + 1])[-1])


def stack_loop(frames, is_first, t):
    rows = []
    for i in range(t - 3, t + 1):
        rows.append(frames[i] if i >= start_of(is_first, t) else BLACK)
    return np.stack(rows)


def stack_backwards(frames, is_first, t):
    rows, here = [], t
    while len(rows) < 4 and here >= 0:
        rows.insert(0, frames[here])
        if is_first[here]:
            break
        here -= 1
    return np.concatenate([np.zeros((4 - len(rows), 84, 84), np.uint8), np.stack(rows)])


def stack_torch(frames, is_first, t):
    index = torch.arange(t - 3, t + 1)
    rows = torch.from_numpy(frames)[index.clamp(min=0)].clone()
    rows[index < start_of(is_first, t)] = 0
    return rows


def counts_of_days(hours):
    frames = hours / 24 * 24 * 60 * 60 * 60
    return np.array([frames, frames / 4, frames / 16])


WRONG_COUNTS = {
    "usual factor of four": lambda h: (216_000 * h, 216_000 * h, 54_000 * h),
    "fewer agent steps than frames": lambda h: (216_000 * h, 864_000 * h, 216_000 * h),
    "an update every agent step": lambda h: (216_000 * h, 54_000 * h, 54_000 * h),
    "fewer updates than agent steps": lambda h: (216_000 * h, 54_000 * h, 216_000 * h),
    "counts minutes": lambda h: (3_600 * h, 900 * h, 225 * h),
    "in the order": lambda h: (13_500 * h, 54_000 * h, 216_000 * h),
    "shape (3,), got shape (2,)": lambda h: (216_000 * h, 54_000 * h),
}


def conv_by_sliding(pixels, kernel, stride):
    return len([left for left in range(0, pixels, stride) if left + kernel <= pixels])


WRONG_CONV_SIZES = {
    "+ 1 is missing": lambda n, k, s: (n - k) // s,
    "not a whole number": lambda n, k, s: (n - k) / s + 1,
    "would stick out does not count": lambda n, k, s: -((k - n) // s) + 1,
    "stride is not used": lambda n, k, s: n - k + 1,
    "filter is not used": lambda n, k, s: n // s,
    "number of moves": lambda n, k, s: (n - k + 1) // s,
    "not k + 1": lambda n, k, s: (n - k - 1) // s + 1,
    "one number from each call": lambda n, k, s: [(n - k) // s + 1] * 2,
}

WRONG_STACKS = {
    "previous game": lambda f, first, t: f[np.maximum(np.arange(t - 3, t + 1), 0)],
    "come last": lambda f, first, t: stack_loop(f, first, t)[::-1],
    "newest frame comes first": lambda f, first, t: np.roll(stack_loop(f, first, t), 1, 0),
    "you repeat": lambda f, first, t: f[np.arange(t - 3, t + 1).clip(start_of(first, t))],
    "t - 1": lambda f, first, t: stack_loop(f, first, t - 1),
    "float32": lambda f, first, t: stack_loop(f, first, t).astype(np.float32),
    "shape": lambda f, first, t: stack_loop(f, first, t)[1:],
}


def stored_shift(terminated, truncated):
    over = terminated | truncated
    return np.concatenate([[True], ~over[:-1]])


def stored_loop(terminated, truncated):
    found, resetting = [], False
    for end, cut in zip(terminated, truncated, strict=True):
        found.append(not resetting)
        resetting = end or cut
    return found


def stored_torch(terminated, truncated):
    keep = torch.ones(len(terminated), dtype=torch.bool)
    keep[1:] = ~torch.from_numpy(terminated | truncated)[:-1]
    return keep


WRONG_STORED = {
    "joins two games": lambda te, tr: np.ones(len(te), bool),
    "left out": lambda te, tr: ~(te | tr),
    "After a time limit": lambda te, tr: np.concatenate([[True], ~te[:-1]]),
    "After a terminated": lambda te, tr: np.concatenate([[True], ~tr[:-1]]),
    "other way round": lambda te, tr: ~stored_shift(te, tr),
    "`np.roll`": lambda te, tr: ~np.roll(te | tr, 1),
}


def score_loop(rewards, over):
    scores, score = [], 0.0
    for reward, end in zip(rewards, over, strict=True):
        score += reward
        if end:
            scores.append(score)
            score = 0.0
    return scores


def score_split(rewards, over):
    return np.array([part.sum() for part in np.split(rewards, np.flatnonzero(over) + 1)[:-1]])


def score_sums(rewards, over):
    sums = torch.from_numpy(np.cumsum(rewards))[torch.from_numpy(over)]
    return torch.diff(sums, prepend=torch.zeros(1, dtype=sums.dtype))


WRONG_SCORES = {
    "*clipped*": lambda r, over: score_loop(np.sign(r), over),
    "of a whole game": lambda r, over: np.sign(score_loop(r, over)),
    "unfinished": lambda r, over: [p.sum() for p in np.split(r, np.flatnonzero(over) + 1)],
    "set back": lambda r, over: np.cumsum(r)[over],
    "last step": lambda r, over: [p[:-1].sum() for p in np.split(r, np.flatnonzero(over) + 1)[:-1]],
    "mean": lambda r, over: np.mean(score_loop(r, over)),
    "only the last reward": lambda r, over: r[over],
}


def target_loop(rewards, terminated, value, gamma):
    total = 0.0
    for k in range(len(rewards)):
        total += gamma**k * rewards[k]
        if terminated[k]:
            return total
    return total + gamma ** len(rewards) * value


def target_backwards(rewards, terminated, value, gamma):
    for reward, end in zip(rewards[::-1], terminated[::-1], strict=True):
        value = reward + gamma * value * (not end)
    return value


def target_arrays(rewards, terminated, value, gamma):
    alive = np.concatenate([[1.0], np.cumprod(~terminated)])
    powers = gamma ** np.arange(len(rewards) + 1)
    return torch.tensor((powers * alive * np.append(rewards, value)).sum())


def all_rewards(rewards, terminated, value, gamma):
    powers = gamma ** np.arange(3)
    return (powers * rewards).sum() + gamma**3 * value * (not terminated.any())


def cut(rewards, terminated, value, gamma, discount):
    return target_loop(rewards, terminated, 0.0, gamma) + discount * value


def lost_end(rewards, terminated, value, gamma):
    target = value
    for reward, end in zip(rewards[::-1], terminated[::-1], strict=True):
        target = 0.0 if end else reward + gamma * target
    return target


WRONG_N_STEP = {
    "although the game has ended": lambda r, te, v, g: target_loop(r, np.zeros(3, bool), v, g),
    "Only the last": lambda r, te, v, g: target_loop(r, te & [False, False, True], v, g),
    "tells who won the point": lost_end,
    "Rewards after the end": all_rewards,
    "The future counts": lambda r, te, v, g: cut(r, te, v, g, g**3),
    "γ³, not γ": lambda r, te, v, g: cut(r, te, v, g, g * (not te.any())),
    "one power short": lambda r, te, v, g: cut(r, te, v, g, g**2 * (not te.any())),
    "not discounted": lambda r, te, v, g: target_loop(r, te, 0.0, 1.0) + g**3 * v * (not te.any()),
}

WRONG_BYTES = {
    "float32": lambda n, once: 4 * n * 7_056 * (1 if once else 8),
    "one stack": lambda n, once: n * 7_056 * (1 if once else 4),
    "each stack has four": lambda n, once: n * 7_056 * (1 if once else 2),
    "adds one frame": lambda n, once: n * 7_056 * (4 if once else 8),
    "an eighth": lambda n, once: n * 7_056 * 8,
    "two stacks are eight": lambda n, once: n * 7_056,
}

RIGHT = [
    (
        check_counts,
        [
            lambda hours: (216_000 * hours, 54_000 * hours, 13_500 * hours),
            lambda hours: torch.tensor([216_000, 54_000, 13_500]) * hours,
            counts_of_days,
        ],
    ),
    (
        check_conv_size,
        [
            lambda n, k, s: (n - k) // s + 1,
            lambda n, k, s: torch.nn.Conv2d(1, 1, k, stride=s)(torch.zeros(1, 1, n, n)).shape[-1],
            conv_by_sliding,
        ],
    ),
    (check_stacks, [stack_loop, stack_backwards, stack_torch]),
    (check_transitions, [stored_shift, stored_loop, stored_torch]),
    (check_score, [score_loop, score_split, score_sums]),
    (check_n_step, [target_loop, target_backwards, target_arrays]),
    (
        check_bytes,
        [
            lambda n, once: n * 84 * 84 * (1 if once else 8),
            lambda n, once: float(n) * np.zeros((84, 84), np.uint8).nbytes * (8 - 7 * once),
            lambda n, once: torch.tensor(n * 7_056 * [8, 1][once]),
            lambda n, once: (n + 3) * 7_056 if once else n * 8 * 7_056,
        ],
    ),
]
WRONG = [
    (check_counts, WRONG_COUNTS),
    (check_conv_size, WRONG_CONV_SIZES),
    (check_stacks, WRONG_STACKS),
    (check_transitions, WRONG_STORED),
    (check_score, WRONG_SCORES),
    (check_n_step, WRONG_N_STEP),
    (check_bytes, WRONG_BYTES),
]
