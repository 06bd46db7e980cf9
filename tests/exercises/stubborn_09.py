"""Stubborn wrong answers to the exercises of notebook 9: (check, kind, what, answer)."""

import numpy as np
import torch

from exercises.apex import (
    check_due,
    check_epsilon,
    check_initial_priorities,
    check_late_priorities,
    check_turns,
)
from tests.exercises import answers_apex
from tests.exercises.answers_apex import (
    initial,
    initial_with,
    late,
    late_with,
    share,
    take,
    turns_with,
)
from tests.exercises.kinds import (
    BRANCH,
    CONSTANT,
    EFFECT,
    MAXIMUM,
    MERGED,
    OCCURRENCE,
    ROUNDED,
    WHOLE,
)


def initial_inputs(change):
    """The right answer to changed inputs."""
    return lambda *inputs: initial(*change(*inputs))


def initial_by_reward(q, action, reward, discount, next_q):
    """Looks the priority up by the reward."""
    right = initial(q, action, reward, discount, next_q)
    found = dict(zip(reward.tolist(), right.tolist(), strict=True))
    return [found[r] for r in reward.tolist()]


def initial_whole(q, action, reward, discount, next_q):
    """Stores its result in the type of whole rewards."""
    right = initial(q, action, reward, discount, next_q)
    return right.trunc() if (reward == reward.round()).all() else right


def late_some(part):
    """Looks at some of the keys only."""

    def answer(priority, written, keys, new):
        return late(priority, written, keys[part], new[part])

    return answer


def late_twice(priority, written, keys, new):
    """Adds what changed, so a slot that was drawn twice changes twice."""
    slots, counts = keys.T
    valid = written[slots] == counts
    change = (new - priority[slots])[valid]
    np.add.at(priority, slots[valid], change)
    return priority


def late_by_value(priority, written, keys, new):
    """Finds the slot by its priority: the first one that has it."""
    before = priority.copy()
    for (slot, count), value in zip(keys, new, strict=True):
        if written[slot] == count:
            priority[np.flatnonzero(before == before[slot])[0]] = value
    return priority


def late_by_place(priority, written, keys, new):
    """Takes the counts of the first slots, not of those that were drawn."""
    valid = np.resize(written, len(keys)) == keys[:, 1]
    priority[keys[valid, 0]] = new[valid]
    return priority


def late_newest(priority, written, keys, new):
    """Takes the largest count to be everybody's."""
    valid = keys[:, 1] == written.max()
    priority[keys[valid, 0]] = new[valid]
    return priority


def late_whole(priority, written, keys, new):
    """Stores the new priorities among whole numbers."""
    right = late(priority.copy(), written, keys, new)
    return np.trunc(right) if (priority == priority.round()).all() else right


def late_different(priority, written, keys, new):
    """Slots with equal new priorities are one: the last of them."""
    found = {value: key for key, value in zip(keys.tolist(), new.tolist(), strict=True)}
    return late(priority, written, np.array(list(found.values())), np.array(list(found)))


def late_once(priority, written, keys, new):
    """Drops a key that was seen in an earlier call."""
    fresh = [tuple(key) not in SEEN for key in keys.tolist()]
    SEEN.update(map(tuple, keys.tolist()))
    return late(priority, written, keys[fresh], new[fresh])


SEEN = set()

NOTEBOOK_9 = [
    (
        check_epsilon,
        CONSTANT,
        "four, eight or sixteen actors as a table",
        lambda i, n: (
            answers_apex.epsilon(i, n) if n in (1, 2, 4, 8, 16) else 0.4 ** (1 + 7 * i / n)
        ),
    ),
    (check_epsilon, CONSTANT, "another base", lambda i, n: 0.41 ** (1 + 7 * share(i, n))),
    (check_epsilon, CONSTANT, "another power", lambda i, n: 0.4 ** (1 + 6.9 * share(i, n))),
    (check_epsilon, CONSTANT, "ε of actor 0 when alone", answers_apex.epsilon_with(0.4)),
    (check_epsilon, CONSTANT, "ε of the last actor when alone", answers_apex.epsilon_with(0.4**8)),
    (check_epsilon, ROUNDED, "rounded when alone", answers_apex.epsilon_with(0.016)),
    (check_epsilon, MAXIMUM, "at least 0.01", lambda i, n: max(0.01, answers_apex.epsilon(i, n))),
    (check_epsilon, MAXIMUM, "at least 0.001", lambda i, n: max(0.001, answers_apex.epsilon(i, n))),
    (
        check_epsilon,
        ROUNDED,
        "a rounded exponent",
        lambda i, n: 0.4 ** round(1 + 7 * share(i, n), 2),
    ),
    (check_epsilon, ROUNDED, "five digits", lambda i, n: round(answers_apex.epsilon(i, n), 5)),
    (
        check_initial_priorities,
        CONSTANT,
        "γ = 0.99",
        initial_inputs(lambda q, a, r, d, n: (q, a, r, 0.99 * (d > 0), n)),
    ),
    (
        check_initial_priorities,
        CONSTANT,
        "γ = 0.99³",
        initial_inputs(lambda q, a, r, d, n: (q, a, r, 0.99**3 * (d > 0), n)),
    ),
    (
        check_initial_priorities,
        CONSTANT,
        "γ = 1",
        initial_inputs(lambda q, a, r, d, n: (q, a, r, d.sign(), n)),
    ),
    (
        check_initial_priorities,
        CONSTANT,
        "the first row's discount",
        initial_inputs(lambda q, a, r, d, n: (q, a, r, d.max() * (d > 0), n)),
    ),
    (
        check_initial_priorities,
        CONSTANT,
        "two actions",
        initial_with(best=lambda n: n[:, :2].amax(1)),
    ),
    (
        check_initial_priorities,
        CONSTANT,
        "at most three actions",
        initial_with(best=lambda n: n[:, :3].amax(1)),
    ),
    (
        check_initial_priorities,
        CONSTANT,
        "action 0 or 1",
        initial_with(chosen=lambda q, a: take(q, a.clamp(max=min(1, q.shape[1] - 1)))),
    ),
    (
        check_initial_priorities,
        MAXIMUM,
        "from 0",
        initial_with(best=lambda n: n.amax(1).clamp(min=0)),
    ),
    (
        check_initial_priorities,
        MAXIMUM,
        "no negative Q-values",
        initial_with(chosen=lambda q, a: take(q, a).clamp(min=0)),
    ),
    (
        check_initial_priorities,
        MAXIMUM,
        "no negative rewards",
        initial_inputs(lambda q, a, r, d, n: (q, a, r.clamp(min=0), d, n)),
    ),
    (
        check_initial_priorities,
        MAXIMUM,
        "the largest size",
        initial_with(best=lambda n: n.abs().amax(1)),
    ),
    (check_initial_priorities, MERGED, "equal rewards", initial_by_reward),
    (
        check_initial_priorities,
        MERGED,
        "equal transitions",
        lambda *inputs: list(dict.fromkeys(initial(*inputs).tolist())),
    ),
    (check_initial_priorities, WHOLE, "whole rewards", initial_whole),
    (
        check_initial_priorities,
        WHOLE,
        "rewards cut off",
        initial_inputs(lambda q, a, r, d, n: (q, a, r.trunc(), d, n)),
    ),
    (
        check_initial_priorities,
        OCCURRENCE,
        "the last action",
        initial_with(best=lambda n: n[:, -1]),
    ),
    (
        check_initial_priorities,
        BRANCH,
        "clipped rewards",
        initial_inputs(lambda q, a, r, d, n: (q, a, r.clamp(-1, 1), d, n)),
    ),
    (
        check_initial_priorities,
        BRANCH,
        "clipped errors",
        initial_with(end=lambda x: x.abs().clamp(max=1)),
    ),
    (
        check_initial_priorities,
        BRANCH,
        "one discount for all if any ended",
        initial_inputs(lambda q, a, r, d, n: (q, a, r, d * (d > 0).all(), n)),
    ),
    (
        check_initial_priorities,
        BRANCH,
        "the best of the batch",
        initial_with(best=lambda n: n.amax(0)[: len(n)] if len(n) == n.shape[1] else n.amax(1)),
    ),
    (
        check_initial_priorities,
        EFFECT,
        "next_q changed",
        lambda q, a, r, d, n: (r + n.mul_(d[:, None]).amax(1) - take(q, a)).abs(),
    ),
    (
        check_initial_priorities,
        EFFECT,
        "discount changed",
        lambda q, a, r, d, n: d.mul_(n.amax(1)).add_(r).sub_(take(q, a)).abs(),
    ),
    (
        check_initial_priorities,
        EFFECT,
        "action changed",
        lambda q, a, r, d, n: (initial(q, a, r, d, n), a.zero_())[0],
    ),
    (
        check_initial_priorities,
        EFFECT,
        "rewards changed through numpy",
        lambda q, a, r, d, n: (initial(q, a, r, d, n), r.numpy().fill(0))[0],
    ),
    (check_late_priorities, CONSTANT, "four keys", late_some(slice(4))),
    (
        check_late_priorities,
        CONSTANT,
        "slots 0 to 4",
        lambda p, w, k, new: late(p, w, k[k[:, 0] < 5], new[k[:, 0] < 5]),
    ),
    (
        check_late_priorities,
        CONSTANT,
        "written once or twice",
        late_with(lambda now, then: now == then <= 2),
    ),
    (check_late_priorities, MAXIMUM, "the larger one", late_with(value=max)),
    (check_late_priorities, MAXIMUM, "never 0", late_with(value=lambda old, new: new or old)),
    (check_late_priorities, WHOLE, "whole priorities", late_whole),
    (check_late_priorities, MERGED, "equal new priorities", late_different),
    (check_late_priorities, MERGED, "a slot drawn twice", late_twice),
    (check_late_priorities, OCCURRENCE, "only the first key", late_some(slice(1))),
    (check_late_priorities, OCCURRENCE, "only the last key", late_some(slice(-1, None))),
    (check_late_priorities, OCCURRENCE, "the first equal priority", late_by_value),
    (check_late_priorities, BRANCH, "the counts of the first slots", late_by_place),
    (check_late_priorities, BRANCH, "the largest count", late_newest),
    (check_late_priorities, BRANCH, "all or none", answers_apex.late_all_or_none),
    (check_late_priorities, BRANCH, "all if any", answers_apex.late_if_any),
    (
        check_late_priorities,
        BRANCH,
        "more than one write",
        late_with(lambda now, then: now - then < 2),
    ),
    (
        check_late_priorities,
        BRANCH,
        "exactly one write",
        late_with(lambda now, then: now - then != 1),
    ),
    (
        check_late_priorities,
        BRANCH,
        "even counts",
        late_with(lambda now, then: (now - then) % 2 == 0),
    ),
    (check_late_priorities, BRANCH, "the smaller one", late_with(value=min)),
    (check_late_priorities, BRANCH, "the mean", late_with(value=lambda old, new: (old + new) / 2)),
    (
        check_late_priorities,
        BRANCH,
        "the first n slots",
        lambda p, w, k, new: np.concatenate([new, p[len(new) :]])[: len(p)],
    ),
    (check_late_priorities, EFFECT, "keys of earlier calls are dropped", late_once),
    (
        check_due,
        CONSTANT,
        "16 updates at once",
        lambda before, after, every: after // every > (after - 16) // every,
    ),
    (
        check_due,
        CONSTANT,
        "at most 16 updates at once",
        lambda before, after, every: any(m % every == 0 for m in range(before + 1, after + 1)[:16]),
    ),
    (
        check_due,
        OCCURRENCE,
        "the first multiple",
        lambda before, after, every: before < every <= after,
    ),
    (
        check_due,
        OCCURRENCE,
        "one multiple, not several",
        lambda before, after, every: after // every - before // every == 1,
    ),
    (
        check_due,
        OCCURRENCE,
        "the next two multiples",
        lambda before, after, every: before // every + 1 <= after // every <= before // every + 2,
    ),
    (
        check_due,
        ROUNDED,
        "the nearest multiple",
        lambda before, after, every: round(after / every) > round(before / every),
    ),
    (
        check_due,
        ROUNDED,
        "the next multiple",
        lambda before, after, every: -(-after // every) > -(-before // every),
    ),
    (check_due, MAXIMUM, "progress of at least 1", lambda b, a, e: max(a, b + 1) // e > b // e),
    (check_due, BRANCH, "no progress", lambda b, a, e: a % e == 0 or a // e > b // e),
    (check_due, BRANCH, "a smaller remainder", lambda b, a, e: a % e < b % e),
    (
        check_due,
        BRANCH,
        "a smaller remainder or a large jump",
        lambda b, a, e: a % e < b % e or a - b > e,
    ),
    (check_due, BRANCH, "not from 0", lambda b, a, e: b > 0 and a // e > b // e),
    (check_due, BRANCH, "also at 0", lambda b, a, e: b == 0 or a // e > b // e),
    (check_due, BRANCH, "at or after", lambda b, a, e: a % e == 0 or a - b > e),
    (
        check_turns,
        WHOLE,
        "whole updates due",
        turns_with(due=lambda steps, ratio: int(ratio * steps)),
    ),
    (check_turns, WHOLE, "a whole ratio", turns_with(due=lambda steps, ratio: int(ratio) * steps)),
    (
        check_turns,
        WHOLE,
        "whole steps",
        turns_with(due=lambda steps, r: steps // round(1 / min(r, 1))),
    ),
    (
        check_turns,
        ROUNDED,
        "updates due",
        turns_with(due=lambda steps, ratio: round(ratio * steps)),
    ),
    (
        check_turns,
        ROUNDED,
        "one digit",
        turns_with(due=lambda steps, ratio: round(ratio, 1) * steps),
    ),
    (
        check_turns,
        MAXIMUM,
        "a band of at least 1",
        turns_with(play=lambda d, u, b: d - u <= max(b, 1)),
    ),
    (check_turns, BRANCH, "either plays or learns", turns_with(learn=lambda d, u, b: d - u > b)),
    (check_turns, BRANCH, "either learns or plays", turns_with(play=lambda d, u, b: u >= d)),
    (check_turns, BRANCH, "not before the start", turns_with(play=lambda d, u, b: 0 < d <= u + b)),
    (check_turns, BRANCH, "the first update", turns_with(learn=lambda d, u, b: 0 < u < d)),
    (check_turns, BRANCH, "far ahead", turns_with(play=lambda d, u, b: d - 3 * b <= u)),
    (check_turns, BRANCH, "updates ahead", turns_with(play=lambda d, u, b: abs(d - u) <= b)),
    (check_turns, CONSTANT, "the band, once", turns_with(play=lambda d, u, b: d - u <= min(b, 32))),
    (check_turns, CONSTANT, "always both", lambda s, u, r, b: torch.tensor([True, True])),
]
