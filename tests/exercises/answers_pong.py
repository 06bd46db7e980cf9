"""Exercises of notebook 04: what must pass, what must not, and which hint comes."""

import numpy as np
import torch

from exercises.pong import check_bytes, check_n_step, check_score, check_stacks, check_transitions

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


WRONG_STACKS = {
    "game before": lambda f, first, t: f[np.maximum(np.arange(t - 3, t + 1), 0)],
    "come last": lambda f, first, t: stack_loop(f, first, t)[::-1],
    "newest frame stands first": lambda f, first, t: np.roll(stack_loop(f, first, t), 1, 0),
    "repeated": lambda f, first, t: f[np.arange(t - 3, t + 1).clip(start_of(first, t))],
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
    "unfinished": lambda r, over: [p.sum() for p in np.split(r, np.flatnonzero(over) + 1)],
    "set back": lambda r, over: np.cumsum(r)[over],
    "last step": lambda r, over: [p[:-1].sum() for p in np.split(r, np.flatnonzero(over) + 1)[:-1]],
    "mean": lambda r, over: np.mean(score_loop(r, over)),
    "alone": lambda r, over: r[over],
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
    "Only an end at the last": lambda r, te, v, g: target_loop(r, te & [False, False, True], v, g),
    "one with the news": lost_end,
    "Rewards after the end": all_rewards,
    "The future counts": lambda r, te, v, g: cut(r, te, v, g, g**3),
    "γ³, not γ": lambda r, te, v, g: cut(r, te, v, g, g * (not te.any())),
    "one power short": lambda r, te, v, g: cut(r, te, v, g, g**2 * (not te.any())),
    "not discounted": lambda r, te, v, g: target_loop(r, te, 0.0, 1.0) + g**3 * v * (not te.any()),
}

WRONG_BYTES = {
    "float32": lambda n, once: 4 * n * 7_056 * (1 if once else 8),
    "one stack": lambda n, once: n * 7_056 * (1 if once else 4),
    "has four": lambda n, once: n * 7_056 * (1 if once else 2),
    "stored once, it is one": lambda n, once: n * 7_056 * (4 if once else 8),
    "an eighth": lambda n, once: n * 7_056 * 8,
    "without sharing": lambda n, once: n * 7_056,
}

RIGHT = [
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
    (check_stacks, WRONG_STACKS),
    (check_transitions, WRONG_STORED),
    (check_score, WRONG_SCORES),
    (check_n_step, WRONG_N_STEP),
    (check_bytes, WRONG_BYTES),
]
