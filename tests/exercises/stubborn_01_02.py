"""Stubborn wrong answers to the exercises of notebooks 1 and 2: (check, kind, what, answer)."""

import numpy as np
import torch
import torch.nn.functional as F

from exercises.cartpole import (
    check_columns,
    check_fit_once,
    check_huber,
    check_pick,
    check_ring,
    check_target,
)
from exercises.q_table import (
    check_bins,
    check_choose,
    check_episode,
    check_q_update,
    check_returns,
)
from helpers.replay import Transition
from tests.exercises import (
    answers_cartpole,
    answers_q_table,
)
from tests.exercises.kinds import (
    BRANCH,
    CONSTANT,
    EFFECT,
    FORBIDDEN,
    MASK,
    MAXIMUM,
    MERGED,
    OCCURRENCE,
    ROUNDED,
    SINGLE,
    TIES,
    WHOLE,
)


def returns_by_value(rewards, gamma):
    """Finds its place by the value of the reward: the first one of several."""
    values = rewards.tolist()
    right = answers_q_table.returns_sums(rewards, gamma)
    return right[[values.index(r) for r in values]]


def update(
    best=lambda q, next_obs: q[next_obs].max(),
    only=lambda transition: True,
    place=lambda obs, action: (obs, action),
    keep=lambda entry: entry,
    target=lambda value, reward: value,
    others=1.0,
):
    """An update in place with one part exchanged."""

    def answer(q, transition, alpha, gamma):
        obs, action, reward, next_obs, terminated = transition
        obs, action = place(obs, action)
        if only(transition):
            value = reward if terminated else reward + gamma * best(q, next_obs)
            q *= others
            q[obs][action] += alpha * (target(value, reward) - q[obs][action])
            q[obs][action] = keep(q[obs][action])

    return answer


def update_number_or_tuple(q, transition, alpha, gamma):
    """Forgets the end of the episode where the observation is a tuple."""
    obs, action, reward, next_obs, terminated = transition
    over = terminated and not isinstance(obs, tuple)
    target = reward if over else reward + gamma * q[next_obs].max()
    q[obs][action] += alpha * (target - q[obs][action])


def choose(pick=None, actions=None, best_of=None):
    """An ε-greedy choice with one part exchanged."""
    best_of = best_of or (lambda q: np.flatnonzero(q == q.max()))

    def answer(q, epsilon, rng):
        if rng.random() < epsilon:
            return int(rng.integers(actions or len(q)))
        best = best_of(q)
        return int(pick(best, rng) if pick else rng.choice(best))

    return answer


def best_above_zero(q):
    best = 0.0
    for value in q:
        best = max(best, value)
    return np.flatnonzero(q == best) if best > 0 else np.array([0])


def heavier_first(best, rng):
    return best[0] if rng.random() < 0.5 else rng.choice(best)


def episode(store=lambda *step: step[:5], limit=None, count=lambda seen: len(seen), ends=None):
    """An episode with one part exchanged."""
    ends = ends or (lambda terminated, truncated: terminated or truncated)

    def answer(env, choose_action, learn):
        obs, _ = env.reset()
        seen = []
        while limit is None or len(seen) < limit:
            action = choose_action(obs)
            next_obs, reward, terminated, truncated, _ = env.step(action)
            step = store(obs, action, reward, next_obs, terminated, truncated)
            if step is not None:
                learn(Transition(*step))
            seen.append(obs)
            obs = next_obs
            if ends(terminated, truncated):
                break
        return count(seen)

    return answer


def bins(change=lambda value: value, width=None):
    def answer(value, low, high, count):
        if width:
            return int(np.clip((change(value) - low) // width(low, high, count), 0, count - 1))
        return answers_q_table.bin_floor(change(value), low, high, count)

    return answer


OTHER_RNG = np.random.default_rng(0)

NOTEBOOK_1 = [
    (check_returns, MAXIMUM, "from 0", lambda r, g: answers_q_table.returns_sums(r, g).clip(0)),
    (
        check_returns,
        MAXIMUM,
        "no negative rewards",
        lambda r, g: answers_q_table.returns_sums(r.clip(0), g),
    ),
    (
        check_choose,
        FORBIDDEN,
        "a generator of its own",
        lambda q, e, rng: answers_q_table.choose_ties(q, e, np.random.default_rng()),
    ),
    (
        check_choose,
        FORBIDDEN,
        "a global generator",
        lambda q, e, rng: answers_q_table.choose_ties(q, e, OTHER_RNG),
    ),
    (
        check_choose,
        MERGED,
        "equal Q-values",
        choose(best_of=lambda q: np.flatnonzero(np.unique(q) == q.max())),
    ),
    (check_returns, OCCURRENCE, "place by value", returns_by_value),
    (check_q_update, CONSTANT, "state 1", update(place=lambda obs, action: (1, action))),
    (check_q_update, CONSTANT, "action 0", update(place=lambda obs, action: (obs, 0))),
    (check_q_update, CONSTANT, "next state 2", update(best=lambda q, s: q[2].max())),
    (
        check_q_update,
        CONSTANT,
        "two actions",
        update(best=lambda q, s: max(q[s][0], q[s][-1]) if q.ndim == 2 else q[s].max()),
    ),
    (check_q_update, CONSTANT, "reward -1", update(target=lambda value, r: value - r - 1)),
    (check_q_update, MAXIMUM, "best from 0", update(best=lambda q, s: max(0.0, q[s].max()))),
    (
        check_q_update,
        WHOLE,
        "a whole target",
        update(target=lambda value, r: int(value) if isinstance(r, int) else value),
    ),
    (check_q_update, BRANCH, "no reward", update(only=lambda t: t.reward != 0)),
    (check_q_update, BRANCH, "the same state again", update(only=lambda t: t.obs != t.next_obs)),
    (check_q_update, BRANCH, "a positive reward", update(only=lambda t: t.reward <= 0)),
    (check_q_update, BRANCH, "the end with a tuple", update_number_or_tuple),
    (
        check_q_update,
        BRANCH,
        "a tuple of four",
        update(only=lambda t: not (isinstance(t.obs, tuple) and len(t.obs) == 4)),
    ),
    (check_q_update, ROUNDED, "two digits", update(keep=lambda entry: round(entry, 2))),
    (check_q_update, ROUNDED, "three digits", update(keep=lambda entry: round(entry, 3))),
    (check_q_update, EFFECT, "the other entries decay", update(others=0.999)),
    (check_choose, CONSTANT, "four actions", choose(actions=4)),
    (check_choose, CONSTANT, "two actions", choose(actions=2)),
    (check_choose, MAXIMUM, "best from 0", choose(best_of=best_above_zero)),
    (
        check_choose,
        TIES,
        "the first or the last",
        choose(pick=lambda best, rng: rng.choice([best[0], best[-1]])),
    ),
    (check_choose, TIES, "the first two", choose(pick=lambda best, rng: rng.choice(best[:2]))),
    (check_choose, TIES, "the last two", choose(pick=lambda best, rng: rng.choice(best[-2:]))),
    (check_choose, TIES, "the first more often", choose(pick=heavier_first)),
    (
        check_choose,
        TIES,
        "rounded places",
        choose(pick=lambda best, rng: best[round(rng.random() * (len(best) - 1))]),
    ),
    (
        check_choose,
        TIES,
        "a tie of more than two: the first",
        choose(pick=lambda best, rng: rng.choice(best) if len(best) == 2 else best[0]),
    ),
    (
        check_choose,
        TIES,
        "all between the first and the last",
        choose(pick=lambda best, rng: rng.integers(best[0], best[-1] + 1)),
    ),
    (
        check_choose,
        ROUNDED,
        "nearly the best",
        choose(best_of=lambda q: np.flatnonzero(q > q.max() - 0.05)),
    ),
    (
        check_choose,
        ROUNDED,
        "one digit",
        choose(best_of=lambda q: np.flatnonzero(q.round(1) == q.round(1).max())),
    ),
    (check_choose, OCCURRENCE, "the last", choose(pick=lambda best, rng: best[-1])),
    (
        check_choose,
        BRANCH,
        "a single best action",
        choose(pick=lambda best, rng: rng.choice(best) if len(best) > 1 else 0),
    ),
    (check_episode, CONSTANT, "at most 500 steps", episode(limit=500)),
    (check_episode, CONSTANT, "at most 200 steps", episode(limit=200)),
    (check_episode, CONSTANT, "4 steps", episode(count=lambda seen: 4)),
    (check_episode, MERGED, "different observations", episode(count=lambda seen: len(set(seen)))),
    (
        check_episode,
        MERGED,
        "no observation twice",
        episode(store=lambda o, *rest: (o, *rest[:4]) if o != rest[2] else None),
    ),
    (
        check_episode,
        WHOLE,
        "whole rewards",
        episode(store=lambda o, a, r, n, te, tr: (o, a, int(r), n, te)),
    ),
    (
        check_episode,
        ROUNDED,
        "one digit",
        episode(store=lambda o, a, r, n, te, tr: (o, a, round(r, 1), n, te)),
    ),
    (
        check_episode,
        MAXIMUM,
        "rewards from 0",
        episode(store=lambda o, a, r, n, te, tr: (o, a, max(r, 0), n, te)),
    ),
    (check_episode, BRANCH, "both ends at once", episode(ends=lambda te, tr: te != tr)),
    (
        check_episode,
        BRANCH,
        "terminated, but not truncated",
        episode(store=lambda o, a, r, n, te, tr: (o, a, r, n, te and not tr)),
    ),
    (
        check_episode,
        BRANCH,
        "no reward",
        episode(store=lambda o, a, r, n, te, tr: (o, a, r, n, te) if r else None),
    ),
    (
        check_episode,
        BRANCH,
        "observation 0",
        episode(store=lambda o, a, r, n, te, tr: (o or None, a, r, n, te)),
    ),
    (check_bins, WHOLE, "a whole width", bins(width=lambda lo, hi, n: (hi - lo) // n or 1)),
    (
        check_bins,
        WHOLE,
        "a whole width for whole numbers",
        bins(width=lambda lo, hi, n: (hi - lo) // n if isinstance(lo, int) else (hi - lo) / n),
    ),
    (check_bins, ROUNDED, "no digits", bins(round)),
    (
        check_bins,
        ROUNDED,
        "edges of two digits",
        lambda v, lo, hi, n: np.digitize(v, np.linspace(lo, hi, n + 1)[1:-1].round(2)),
    ),
    (check_bins, ROUNDED, "one digit", bins(lambda value: round(value, 1))),
    (check_bins, MAXIMUM, "no negative values", bins(lambda value: max(value, 0))),
]


def columns(**changes):
    """The right columns, some of them changed."""
    return answers_cartpole.with_column(**changes)


def columns_of(rows_of):
    """The right columns of other rows."""
    return lambda rows: answers_cartpole.columns_zip(rows_of(rows))


class RingSet(answers_cartpole.RingList):
    """Equal items are one."""

    def items(self):
        return list(dict.fromkeys(self.kept))


class RingTrue(answers_cartpole.RingModulo):
    """Takes a 0 for an empty place."""

    def items(self):
        return [item for item in self.places if item]


class RingThree(answers_cartpole.RingList):
    """Always three places, except for the timing."""

    def __init__(self, capacity):
        super().__init__(capacity if capacity > 8 else 3)


class RingOne(answers_cartpole.RingList):
    """With one place, nothing is replaced."""

    def push(self, item):
        if not (self.capacity == 1 and self.kept):
            super().push(item)


class RingEarlyLength(answers_cartpole.RingList):
    """Its length is right only when it is full, or holds one item."""

    def __len__(self):
        return min(len(self.kept), 1) if len(self.kept) < self.capacity else self.capacity


class RingByValue(answers_cartpole.RingList):
    """Replaces the first item that equals the oldest one, and so loses the order."""

    def push(self, item):
        if item in self.kept and len(self.kept) == self.capacity:
            return
        super().push(item)


class RingEmptied(answers_cartpole.RingList):
    """Hands its items out, and has none left."""

    def items(self):
        items, self.kept, self.head = self.kept, [], 0
        return items


class RingSorted(answers_cartpole.RingList):
    """Puts its items in order, and so forgets which is the oldest."""

    def items(self):
        self.kept.sort()
        return self.kept


class RingDelete(answers_cartpole.RingList):
    def push(self, item):
        self.kept.append(item)
        del self.kept[: -self.capacity]


class RingInsert(answers_cartpole.RingList):
    def push(self, item):
        self.kept.insert(0, item)
        del self.kept[self.capacity :]


class RingRoll(answers_cartpole.RingList):
    """Moves a numpy array, once there are numbers only."""

    def push(self, item):
        if len(self.kept) < self.capacity:
            super().push(item)
        else:
            self.kept[:-1] = self.kept[1:]
            self.kept[-1] = item


def fit(
    errors=lambda e: e,
    only=lambda batch: True,
    clip=None,
    choose=None,
    step="optimizer",
    after=lambda q_net: None,
    goal=lambda target: target,
):
    """An update with one part exchanged."""

    def answer(q_net, optimizer, batch, target):
        if not only(batch):
            return
        q = q_net(batch.obs)
        predicted = choose(q, batch.action) if choose else q.gather(1, batch.action[:, None])[:, 0]
        error = errors(predicted - goal(target))
        loss = F.smooth_l1_loss(error, torch.zeros_like(error))
        optimizer.zero_grad()
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(q_net.parameters(), clip)
        if step == "optimizer":
            optimizer.step()
        else:
            rate = step or optimizer.param_groups[0]["lr"]
            with torch.no_grad():
                for p in q_net.parameters():
                    p -= rate * p.grad
        after(q_net)

    return answer


def fit_first_row(q_net, optimizer, batch, target):
    batch = Transition(*(column[:1] for column in batch))
    answers_cartpole.fit_gather(q_net, optimizer, batch, target[:1])


def target_of_three(q_net, reward, next_obs, terminated, gamma):
    q = q_net(next_obs).detach()
    best = torch.maximum(torch.maximum(q[:, 0], q[:, 1]), q[:, min(2, q.shape[1] - 1)])
    return reward + gamma * (1 - terminated) * best


def target_from_zero(q_net, reward, next_obs, terminated, gamma):
    found = []
    for r, o, over in zip(reward, next_obs, terminated, strict=True):
        best = 0.0
        for value in q_net(o).tolist():
            best = max(best, value)
        found.append(r.item() + gamma * (1 - over.item()) * best)
    return found


def pick_by_value(q, action):
    places = [action.tolist().index(a) for a in action.tolist()]
    return q[places, action]


NOTEBOOK_2 = [
    (check_columns, CONSTANT, "two actions", columns(action=lambda c: (c.action > 0).long())),
    (check_columns, CONSTANT, "four numbers", columns(obs=lambda c: c.obs.reshape(-1, 4))),
    (check_columns, SINGLE, "obs", columns(obs=lambda c: c.obs.squeeze())),
    (check_columns, SINGLE, "next_obs", columns(next_obs=lambda c: c.next_obs.squeeze())),
    (check_columns, SINGLE, "reward", columns(reward=lambda c: c.reward.squeeze())),
    (check_columns, SINGLE, "action", columns(action=lambda c: c.action.squeeze())),
    (check_columns, SINGLE, "terminated", columns(terminated=lambda c: c.terminated.squeeze())),
    (
        check_columns,
        MERGED,
        "the same row twice",
        columns_of(lambda rows: list({id(row): row for row in rows}.values())),
    ),
    (check_columns, WHOLE, "whole rewards", columns(reward=lambda c: c.reward.long().float())),
    (check_columns, ROUNDED, "rewards", columns(reward=lambda c: c.reward.round(decimals=2))),
    (check_columns, ROUNDED, "clipped", columns(reward=lambda c: c.reward.sign())),
    (check_columns, MAXIMUM, "no negative ones", columns(obs=lambda c: c.obs.clamp(min=0))),
    (check_columns, MASK, "int64", columns(terminated=lambda c: c.terminated.long())),
    (check_columns, MASK, "uint8", columns(terminated=lambda c: c.terminated.byte())),
    (check_columns, MASK, "float32", columns(terminated=lambda c: c.terminated.float())),
    (
        check_columns,
        OCCURRENCE,
        "only the first end",
        columns(terminated=lambda c: (c.terminated.long().cumsum(0) == 1) & c.terminated),
    ),
    (
        check_columns,
        OCCURRENCE,
        "only the last end",
        columns(
            terminated=lambda c: (c.terminated.flip(0).long().cumsum(0) == 1).flip(0) & c.terminated
        ),
    ),
    (
        check_columns,
        BRANCH,
        "one row",
        lambda rows: (
            answers_cartpole.columns_zip(rows * 2)
            if len(rows) == 1
            else answers_cartpole.columns_zip(rows)
        ),
    ),
    (check_ring, EFFECT, "items() empties it", RingEmptied),
    (check_ring, EFFECT, "items() sorts it", RingSorted),
    (check_ring, CONSTANT, "three places", RingThree),
    (check_ring, MERGED, "equal items", RingSet),
    (check_ring, MERGED, "an item that is there", RingByValue),
    (check_ring, BRANCH, "a 0", RingTrue),
    (check_ring, BRANCH, "length while it fills", RingEarlyLength),
    (check_ring, SINGLE, "one place", RingOne),
    (check_ring, FORBIDDEN, "pop(0)", answers_cartpole.RingPop),
    (check_ring, FORBIDDEN, "del of the first", RingDelete),
    (check_ring, FORBIDDEN, "insert at the front", RingInsert),
    (check_ring, FORBIDDEN, "a shift", RingRoll),
    (check_pick, CONSTANT, "three actions", lambda q, a: (q * F.one_hot(a, 3)).sum(1)),
    (
        check_pick,
        MAXIMUM,
        "largest of a masked row",
        lambda q, a: (q * F.one_hot(a, q.shape[1])).amax(1),
    ),
    (
        check_pick,
        MAXIMUM,
        "no negative values",
        lambda q, a: q.gather(1, a[:, None])[:, 0].clamp(min=0),
    ),
    (check_pick, OCCURRENCE, "the first row with this action", pick_by_value),
    (
        check_pick,
        ROUNDED,
        "two digits",
        lambda q, a: q.round(decimals=2).gather(1, a[:, None])[:, 0],
    ),
    (
        check_huber,
        FORBIDDEN,
        "huber_loss",
        lambda e: F.huber_loss(e, torch.zeros_like(e), reduction="none"),
    ),
    (
        check_huber,
        FORBIDDEN,
        "smooth_l1_loss",
        lambda e: F.smooth_l1_loss(e, torch.zeros_like(e), reduction="none"),
    ),
    (
        check_huber,
        FORBIDDEN,
        "nn.HuberLoss",
        lambda e: torch.nn.HuberLoss(reduction="none")(e, torch.zeros_like(e)),
    ),
    (
        check_huber,
        MAXIMUM,
        "no negative errors",
        lambda e: answers_cartpole.huber_where(e.clamp(min=0)),
    ),
    (check_target, CONSTANT, "three actions", target_of_three),
    (check_target, MAXIMUM, "best from 0", target_from_zero),
    (
        check_target,
        MAXIMUM,
        "no negative values",
        lambda n, r, o, t, g: r + g * (1 - t) * n(o).detach().amax(1).clamp(min=0),
    ),
    (
        check_target,
        FORBIDDEN,
        "with a gradient",
        lambda n, r, o, t, g: r + g * (1 - t) * n(o).amax(1),
    ),
    (check_fit_once, CONSTANT, "learning rate 0.1", fit(step=0.1)),
    (
        check_fit_once,
        CONSTANT,
        "three actions",
        fit(choose=lambda q, a: (q * F.one_hot(a, 3)).sum(1)),
    ),
    (check_fit_once, FORBIDDEN, "a step without the optimizer", fit(step=None)),
    (check_fit_once, BRANCH, "a batch of one", fit(only=lambda batch: len(batch.obs) > 1)),
    (check_fit_once, BRANCH, "clipped at 10", fit(clip=10)),
    (check_fit_once, BRANCH, "clipped at 1", fit(clip=1)),
    (check_fit_once, BRANCH, "large errors", fit(errors=lambda e: e.clamp(-3, 3))),
    (check_fit_once, MAXIMUM, "no negative errors", fit(errors=lambda e: e.clamp(min=0))),
    (check_fit_once, OCCURRENCE, "only the first row", fit_first_row),
    (check_fit_once, ROUNDED, "targets", fit(goal=lambda target: target.round(decimals=1))),
    (
        check_fit_once,
        ROUNDED,
        "targets, two digits",
        fit(goal=lambda target: target.round(decimals=2)),
    ),
    (
        check_fit_once,
        EFFECT,
        "the network is frozen",
        fit(after=lambda q_net: torch.is_grad_enabled() and q_net[2].requires_grad_(False)),
    ),
]
