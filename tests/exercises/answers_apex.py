"""Exercises of notebook 09: what must pass, what must not, and which hint comes."""

import math

import numpy as np
import torch

from exercises.apex import (
    check_due,
    check_epsilon,
    check_initial_priorities,
    check_late_priorities,
    check_turns,
)


def share(i, n):
    return i / (n - 1) if n > 1 else 0.5


def epsilon(i, n):
    return 0.4 ** (1 + 7 * share(i, n))


def epsilon_alone(i, n):
    if n == 1:
        return 0.4**4.5
    return 0.4 * np.float32(0.4) ** (7 * i / (n - 1))


def epsilon_loop(i, n):
    if n == 1:
        return math.sqrt(0.4 * 0.4**8)
    value, factor = 0.4, 0.4 ** (7 / (n - 1))
    for _ in range(i):
        value *= factor
    return value


def epsilon_error(i, n):
    try:
        return 0.4 ** (1 + 7 * i / (n - 1))
    except ZeroDivisionError:
        return 0.4 ** ((1 + 8) / 2)


def epsilon_with(alone):
    """Right with several actors."""
    return lambda i, n: epsilon(i, n) if n > 1 else alone


def take(q, action):
    return q.gather(1, action[:, None])[:, 0]


def initial(q, action, reward, discount, next_q):
    return (reward + discount * next_q.max(dim=1).values - take(q, action)).abs()


def initial_loop(q, action, reward, discount, next_q):
    priorities = []
    for row, a, r, d, next_row in zip(q, action, reward, discount, next_q, strict=True):
        priorities.append(abs(r + d * max(next_row) - row[a]))
    return priorities


def initial_python(q, action, reward, discount, next_q):
    rows = zip(*(x.tolist() for x in (q, action, reward, discount, next_q)), strict=True)
    return [abs(r + d * max(after) - now[a]) for now, a, r, d, after in rows]


def initial_numpy(q, action, reward, discount, next_q):
    q, action, reward, discount, next_q = map(np.asarray, (q, action, reward, discount, next_q))
    return np.abs(q[np.arange(len(q)), action] - discount * next_q.max(axis=1) - reward)


def initial_loss(q, action, reward, discount, next_q):
    target = torch.addcmul(reward, discount, next_q.amax(1))
    return torch.nn.functional.l1_loss(take(q, action), target, reduction="none")


def initial_columns(q, action, reward, discount, next_q):
    best = next_q.topk(1).values
    target = torch.where(discount[:, None] > 0, discount[:, None] * best, 0) + reward[:, None]
    return (target - q.gather(1, action[:, None])).abs().squeeze(1)


def initial_with(chosen=take, best=lambda next_q: next_q.amax(dim=1), end=torch.abs):
    """One part exchanged."""

    def answer(q, action, reward, discount, next_q):
        return end(reward + discount * best(next_q) - chosen(q, action))

    return answer


def initial_in_place(q, action, reward, discount, next_q):
    reward += discount * next_q.amax(dim=1)
    return (reward - take(q, action)).abs()


def late(priority, written, keys, new):
    slots, counts = keys.T
    valid = written[slots] == counts
    priority[slots[valid]] = new[valid]
    return priority


def late_loop(priority, written, keys, new):
    found = priority.tolist()
    for (slot, count), value in zip(keys, new, strict=True):
        if written[slot] > count:
            continue
        found[slot] = value
    return found


def late_torch(priority, written, keys, new):
    priority, written, keys, new = map(torch.from_numpy, (priority, written, keys, new))
    valid = written[keys[:, 0]] == keys[:, 1]
    return priority.index_put((keys[valid, 0],), new[valid])


def late_where(priority, written, keys, new):
    slots = keys[:, 0]
    new[written[slots] != keys[:, 1]] = priority[slots][written[slots] != keys[:, 1]]
    priority[slots] = new
    return priority


def late_by_slot(priority, written, keys, new):
    drawn = dict(zip(map(tuple, keys.tolist()), new, strict=True))
    now = zip(written.tolist(), priority.tolist(), strict=True)
    return tuple(drawn.get((slot, count), old) for slot, (count, old) in enumerate(now))


def late_with(keep=lambda now, then: now == then, value=lambda old, new: new):
    """A loop with one part exchanged."""

    def answer(priority, written, keys, new):
        for (slot, count), number in zip(keys, new, strict=True):
            if keep(written[slot], count):
                priority[slot] = value(priority[slot], number)
        return priority

    return answer


def late_all_or_none(priority, written, keys, new):
    if (written[keys[:, 0]] == keys[:, 1]).all():
        priority[keys[:, 0]] = new
    return priority


def late_if_any(priority, written, keys, new):
    if (written[keys[:, 0]] == keys[:, 1]).any():
        priority[keys[:, 0]] = new
    return priority


def late_zeros(priority, written, keys, new):
    priority[keys[:, 0]] = new * (written[keys[:, 0]] == keys[:, 1])
    return priority


def late_largest(priority, written, keys, new):
    largest = priority.max()
    for (slot, count), value in zip(keys, new, strict=True):
        priority[slot] = value if written[slot] == count else largest
    return priority


def late_shifted(priority, written, keys, new):
    valid = written[keys[:, 0]] == keys[:, 1]
    priority[keys[valid, 0]] = new[: valid.sum()]
    return priority


def late_nothing_back(priority, written, keys, new):
    late(priority, written, keys, new)


def due_half(before, after, every):
    if after // every > before // every:
        return True


def turns(agent_steps, updates, ratio, band):
    due = ratio * agent_steps
    return np.array([due - updates <= band, updates < due])


def turns_tensor(agent_steps, updates, ratio, band):
    missing = torch.tensor(ratio * agent_steps - updates)
    return torch.stack([missing <= band, missing > 0])


def turns_branches(agent_steps, updates, ratio, band):
    play = learn = True
    if ratio * agent_steps > updates + band:
        play = False
    if updates >= ratio * agent_steps:
        learn = False
    return play, learn


def turns_with(
    play=lambda due, updates, band: due - updates <= band,
    learn=lambda due, updates, band: updates < due,
    due=lambda steps, ratio: ratio * steps,
):
    """The right pair with one part exchanged."""

    def answer(agent_steps, updates, ratio, band):
        so_many = due(agent_steps, ratio)
        return play(so_many, updates, band), learn(so_many, updates, band)

    return answer


RIGHT = [
    (
        check_epsilon,
        [
            epsilon,
            epsilon_alone,
            epsilon_loop,
            epsilon_error,
            lambda i, n: torch.tensor(0.4) ** (torch.linspace(1, 8, n)[i] if n > 1 else 4.5),
            lambda i, n: np.logspace(1, 8, n if n > 1 else 3, base=0.4)[i if n > 1 else 1],
            lambda i, n: math.exp(math.log(0.4) * (1 + 7 * (i + (n == 1)) / (n - 1 or 2))),
            lambda i, n: np.array(0.4 ** np.mean([1, 8] if n == 1 else 1 + 7 * i / (n - 1))),
            lambda i, n: 0.4 ** np.nan_to_num(1 + 7 * np.divide(i, n - 1 or np.nan), nan=4.5),
        ],
    ),
    (
        check_initial_priorities,
        [
            initial,
            initial_loop,
            initial_python,
            initial_numpy,
            initial_loss,
            initial_columns,
            initial_with(chosen=lambda q, a: q[torch.arange(len(a)), a]),
            initial_with(chosen=lambda q, a: q[range(len(a)), a], end=lambda x: (x**2).sqrt()),
        ],
    ),
    (
        check_late_priorities,
        [
            late,
            late_loop,
            late_torch,
            late_where,
            late_by_slot,
            late_with(),
            late_with(np.less_equal),
        ],
    ),
    (
        check_due,
        [
            lambda before, after, every: after // every > before // every,
            lambda before, after, every: any(m % every == 0 for m in range(before + 1, after + 1)),
            lambda before, after, every: np.int64(after) % every < after - before,
            lambda before, after, every: torch.tensor(after) // every != before // every,
            lambda before, after, every: before % every + (after - before) >= every,
            lambda before, after, every: after // every - before // every,
            lambda before, after, every: math.floor(before / every + 1) * every <= after,
            lambda before, after, every: np.array(1 if after - after % every > before else 0),
        ],
    ),
    (
        check_turns,
        [
            turns,
            turns_tensor,
            turns_branches,
            turns_with(),
            turns_with(due=lambda steps, ratio: math.ceil(ratio * steps)),
            lambda s, u, r, b: [np.float64(s) * r - u <= b, np.float32(u) < s * r],
            lambda s, u, r, b: (torch.tensor(s * r - u) <= b, torch.tensor(u < s * r)),
            lambda s, u, r, b: (int(not s * r - u > b), torch.tensor(max(s * r - u, 0.0))),
        ],
    ),
]
WRONG = [
    (
        check_epsilon,
        {
            "i / n is not 1": lambda i, n: 0.4 ** (1 + 7 * i / n),
            "The 1 in the exponent is missing": lambda i, n: 0.4 ** (7 * share(i, n)),
            "Only 7 · i is divided": lambda i, n: 0.4 ** ((1 + 7 * i) / max(n - 1, 1)),
            "not divided by anything": lambda i, n: 0.4 ** (1 + 7 * i),
            "are brackets missing": lambda i, n: 0.4**1 + 7 * share(i, n),
            "should be a power": lambda i, n: 0.4 * (1 + 7 * share(i, n)),
            "evenly spaced": lambda i, n: np.linspace(0.4, 0.4**8, n)[i],
            "reverse order": lambda i, n: epsilon(n - 1 - i, n),
            "not from 1": lambda i, n: epsilon(i + 1, n),
            "from 0, not from 1": lambda i, n: epsilon(i - 1, n),
            "count from 0": lambda i, n: 0.4 ** (1 + 7 * (i + 1) / n),
            "use `/`, not `//`": lambda i, n: 0.4 ** (1 + 7 * i // max(n - 1, 1)),
            "need not be whole": lambda i, n: 0.4 ** (1 + 7 * (i // (n - 1) if n > 1 else 0.5)),
            "is fixed in your function": lambda i, n: 0.4 ** (1 + 7 * i / 3),
            "divide by if n = 1": lambda i, n: 0.4 ** (1 + 7 * i / (n - 1)),
            "for actor 0 of 1, got nan": lambda i, n: 0.4 ** (1 + 7 * torch.tensor(i) / (n - 1)),
            "if n = 1?\n  With several": epsilon_with(np.nan),
            "almost half of its steps": lambda i, n: 0.4 ** (1 + 7 * i / max(n - 1, 1)),
            "the start of the schedule": lambda i, n: np.logspace(1, 8, n, base=0.4)[i],
            "as if i / (n − 1) were 0": lambda i, n: 0.4 ** np.linspace(1, 8, n)[i],
            "for actor 0 of 1, got 0.4": epsilon_with(0.4),
            "the end of the schedule": epsilon_with(0.4**8),
            "not of the values of ε.\n": epsilon_with((0.4 + 0.4**8) / 2),
            "begin with 1, not with 0": epsilon_with(0.4 ** (7 * 0.5)),
            "4.5 is the middle of 1 and 8": epsilon_with(0.4**4),
            "whole: 4.5 is the middle": epsilon_with(0.4**5),
            "That is the exponent": epsilon_with(4.5),
            "would never explore": epsilon_with(0.0),
            "all of its steps at random": epsilon_with(1.0),
            "With several actors your ε is right": epsilon_with(0.1),
            "return the numbers as they are.\n  With several": epsilon_with(0.0162),
            "nothing comes back for actor 0 of 1": epsilon_with(None),
            "expected one number from each call": lambda i, n: [epsilon(k, n) for k in range(n)],
            "That is rounded": lambda i, n: round(epsilon(i, n), 4),
            "expected ε: 0.4 for actor 0 of 4, got 0.5": lambda i, n: 0.5 ** (1 + 7 * share(i, n)),
        },
    ),
    (
        check_initial_priorities,
        {
            "take the absolute value": initial_with(end=lambda x: x),
            "has no sign": initial_with(end=lambda x: -x),
            "next value is not discounted": lambda q, a, r, d, n: initial(q, a, r, d**0, n),
            "smaller than 1 elsewhere": lambda q, a, r, d, n: initial(q, a, r, d.ceil(), n),
            "reward is not discounted": lambda q, a, r, d, n: initial(q, a, d * r, d, n),
            "not the largest": initial_with(chosen=lambda q, a: q.amax(dim=1)),
            "of the action just played": lambda q, a, r, d, n: (
                r + d * take(n, a) - take(q, a)
            ).abs(),
            "yours comes from `q`": lambda q, a, r, d, n: (
                r + d * take(n, q.argmax(dim=1)) - take(q, a)
            ).abs(),
            "not in the whole batch": initial_with(best=torch.max),
            "not the mean": initial_with(best=lambda n: n.mean(dim=1)),
            "never below 0": initial_with(best=lambda n: n.amax(dim=1).clamp(min=0)),
            "reward is missing": lambda q, a, r, d, n: initial(q, a, 0 * r, d, n),
            "distance from Q of the action": initial_with(chosen=lambda q, a: 0),
            "That is the target": initial_with(chosen=lambda q, a: 0, end=lambda x: x),
            "not its square": initial_with(end=torch.square),
            "value of the error, not its square": initial_with(end=lambda x: x**2 / 2),
            "one priority for each transition": initial_with(end=lambda x: x.abs().mean()),
            "did a shape (B, 1) meet": initial_with(best=lambda n: n.amax(dim=1, keepdim=True)),
            "or is it `q[:, action]`": initial_with(chosen=lambda q, a: q[:, a]),
            "shape (4,), got shape (4, 1)": lambda *inputs: initial(*inputs)[:, None],
            "has changed `reward`": initial_in_place,
            "has changed `q`": lambda q, a, r, d, n: initial_numpy(q.neg_(), a, -r, -d, n),
            "expected priorities": initial_with(end=lambda x: x.clamp(min=0)),
        },
    ),
    (
        check_late_priorities,
        {
            "holds another transition": late_with(lambda now, then: True),
            "The other way round": late_with(np.not_equal),
            "No new priority was stored": lambda priority, written, keys, new: priority,
            "the rest of the batch invalid": late_all_or_none,
            "rest of the batch valid": late_if_any,
            "once is enough": late_with(lambda now, then: now - then < 2),
            "Off by one": late_with(lambda now, then: now == then + 1),
            "the one that the slot has now": late_zeros,
            "leave the one": late_largest,
            "no longer match `new`": late_shifted,
            "may also fall": late_with(value=max),
            "yours adds them": late_with(value=lambda old, new: old + new),
            "not only of those in the batch": lambda *inputs: late(*inputs)[inputs[2][:, 0]],
            "not only the new ones": lambda p, w, keys, new: new[w[keys[:, 0]] == keys[:, 1]],
            "is a `return` missing": late_nothing_back,
            "shape (5,), got shape (4,)": lambda priority, written, keys, new: new,
        },
    ),
    (
        check_due,
        {
            "may jump over": lambda before, after, every: after % every == 0,
            "closer together": lambda before, after, every: after - before >= every,
            "is reached now": lambda before, after, every: any(
                m % every == 0 for m in range(before, after)
            ),
            "must not count twice": lambda before, after, every: any(
                m % every == 0 for m in range(before, after + 1)
            ),
            "reached exactly": lambda before, after, every: any(
                m % every == 0 for m in range(before + 1, after)
            ),
            "larger remainder": lambda before, after, every: after % every < before % every,
            "True for any progress": lambda before, after, every: after / every > before / every,
            "True for good": lambda before, after, every: after >= every,
            "only the first multiple": lambda before, after, every: before < every <= after,
            "half-way": lambda before, after, every: round(after / every) > round(before / every),
            "always 16": lambda before, after, every: after % every < 16,
            "other way round": lambda before, after, every: after // every == before // every,
            "always True": lambda before, after, every: True,
            "always False": lambda before, after, every: False,
            "expected True or False for before = 0, after = 16": lambda before, after, every: [
                m for m in range(before + 1, after + 1) if m % every == 0
            ],
            "every = 20, got 'no'": lambda before, after, every: "no",
            "got nan": lambda before, after, every: float("nan"),
            "nothing comes back for before = 0": due_half,
            "expected True for before = 32": lambda before, after, every: (after // every) % 2,
        },
    ),
    (
        check_turns,
        {
            "come first in the pair": lambda *inputs: turns(*inputs)[::-1],
            "Both answers": lambda *inputs: ~turns(*inputs),
            "per agent step": turns_with(due=lambda steps, ratio: steps / ratio),
            "ratio is not used": turns_with(due=lambda steps, ratio: steps),
            "ratio is fixed": turns_with(due=lambda steps, ratio: steps / 4),
            "cut off": turns_with(due=lambda steps, ratio: int(ratio * steps)),
            "rounded": turns_with(due=lambda steps, ratio: round(ratio * steps)),
            "exactly `band`": turns_with(play=lambda due, u, band: due - u < band),
            "`band` is not used": turns_with(play=lambda due, u, band: due <= u),
            "band is fixed": turns_with(play=lambda due, u, band: due - u <= 32),
            "when there are too many": turns_with(play=lambda due, u, band: abs(due - u) <= band),
            "not agent steps": lambda s, u, r, b: (s - u / r <= b, u < s * r),
            "not for extra ones": turns_with(play=lambda due, u, band: u - due >= band),
            "actors have to wait": turns_with(play=lambda due, u, band: due - u > band),
            "actors may always play": turns_with(play=lambda due, u, band: True),
            "actors may never play": turns_with(play=lambda due, u, band: False),
            "the learner waits": turns_with(learn=lambda due, u, band: u <= due),
            "at the same time": turns_with(learn=lambda due, u, band: due - u > band),
            "as soon as an update is due": turns_with(learn=lambda due, u, band: due - u >= band),
            "never makes more": turns_with(learn=lambda due, u, band: u - due <= band),
            "band is for the actors": turns_with(learn=lambda due, u, band: u - due < band),
            "learner has to wait": turns_with(learn=lambda due, u, band: u >= due),
            "learner may always learn": turns_with(learn=lambda due, u, band: True),
            "learner may never learn": turns_with(learn=lambda due, u, band: False),
            "expected a pair": lambda s, u, r, b: s * r - u <= b,
            "each of them True or False": lambda s, u, r, b: (True, "yes"),
            "got (True, None)": lambda s, u, r, b: (True, True if u < s * r else None),
            "250 updates are due then": turns_with(due=lambda steps, ratio: ratio * steps + 5),
        },
    ),
]
