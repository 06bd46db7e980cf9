"""Exercises of notebook 02: what must pass, what must not, and which hint comes."""

from collections import deque

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
from helpers.replay import Transition


def columns_zip(transitions):
    c = Transition(*zip(*transitions, strict=True))
    return Transition(
        torch.from_numpy(np.stack(c.obs)),
        torch.tensor(c.action),
        torch.tensor(c.reward, dtype=torch.float32),
        torch.from_numpy(np.stack(c.next_obs)),
        torch.tensor(c.terminated),
    )


def columns_fields(transitions):
    def column(name, dtype):
        return torch.as_tensor(np.array([getattr(t, name) for t in transitions]), dtype=dtype)

    return Transition(
        column("obs", torch.float32),
        column("action", torch.int64),
        column("reward", torch.float32),
        column("next_obs", torch.float32),
        column("terminated", torch.bool),
    )


def columns_stack(transitions):
    obs = torch.stack([torch.from_numpy(t.obs) for t in transitions])
    next_obs = torch.stack([torch.from_numpy(t.next_obs) for t in transitions])
    action = torch.tensor([t.action for t in transitions])
    reward = torch.tensor([t.reward for t in transitions])
    terminated = torch.tensor([t.terminated for t in transitions])
    return Transition(obs, action, reward, next_obs, terminated)


def with_column(**changed):
    def columns(transitions):
        return columns_zip(transitions)._replace(
            **{k: f(columns_zip(transitions)) for k, f in changed.items()}
        )

    return columns


WRONG_COLUMNS = {
    "rows": lambda ts: ts,
    "to be a tensor, got tuple": lambda ts: Transition(*zip(*ts, strict=True)),
    "one dimension": with_column(reward=lambda c: c.reward[:, None]),
    "float32": with_column(reward=lambda c: c.reward.double()),
    "int64": with_column(action=lambda c: c.action.float()),
    "to be a tensor": with_column(obs=lambda c: c.obs.numpy()),
    "`Transition(*columns)`": lambda ts: tuple(columns_zip(ts)),
    "cannot be used here": lambda ts: 5,
    "expected `terminated` as bool": with_column(terminated=lambda c: c.terminated.float()),
    "got 4 results": lambda ts: columns_zip(ts)[:4],
    "`obs`": with_column(obs=lambda c: c.next_obs),
}


class RingList:
    def __init__(self, capacity):
        self.capacity, self.kept, self.head = capacity, [], 0

    def push(self, item):
        if len(self.kept) < self.capacity:
            self.kept.append(item)
        else:
            self.kept[self.head] = item
        self.head = (self.head + 1) % self.capacity

    def items(self):
        return self.kept

    def __len__(self):
        return len(self.kept)


class RingDeque(RingList):
    def __init__(self, capacity):
        self.kept = deque(maxlen=capacity)

    def push(self, item):
        self.kept.append(item)

    def items(self):
        return list(self.kept)


class RingModulo(RingList):
    def __init__(self, capacity):
        self.places, self.pushes = [None] * capacity, 0

    def push(self, item):
        self.places[self.pushes % len(self.places)] = item
        self.pushes += 1

    def items(self):
        return self.places[: len(self)]

    def __len__(self):
        return min(self.pushes, len(self.places))


class RingPop(RingList):
    """Moves all items at each push, once full."""

    def push(self, item):
        if len(self.kept) == self.capacity:
            self.kept.pop(0)
        self.kept.append(item)


class RingSlice(RingList):
    """Copies all items at each push."""

    def push(self, item):
        self.kept = [*self.kept, item][-self.capacity :]


class Endless(RingList):
    def push(self, item):
        self.kept.append(item)


class Full(RingList):
    def push(self, item):
        if len(self.kept) < self.capacity:
            self.kept.append(item)


class NewestOut(RingList):
    def push(self, item):
        if len(self.kept) == self.capacity:
            self.kept.pop()
        self.kept.append(item)


class WrongLength(RingList):
    def __len__(self):
        return self.capacity


class Shared(RingList):
    everything = deque(maxlen=3)  # noqa: RUF012

    def __init__(self, capacity):
        self.capacity = capacity
        self.kept = self.everything

    def push(self, item):
        self.kept.append(item)

    def items(self):
        return list(self.kept)


class EmptyPlaces(RingList):
    """Hands back the list of places as it is."""

    def items(self):
        return self.kept + [None] * (self.capacity - len(self.kept))


class OnceRound(RingList):
    """Never begins again at the first place."""

    def push(self, item):
        if len(self.kept) < self.capacity:
            self.kept.append(item)
        else:
            self.kept[self.head] = item
            self.head += 1


class SecondFirst(RingList):
    """Counts before it stores."""

    def __init__(self, capacity):
        self.kept, self.pushes = [None] * capacity, 0

    def push(self, item):
        self.pushes += 1
        self.kept[self.pushes % len(self.kept)] = item

    def items(self):
        return self.kept[: len(self)]

    def __len__(self):
        return min(self.pushes, len(self.kept))


class LengthMissing(SecondFirst):
    """Stores, but does not count."""

    def __len__(self):
        return 0


WRONG_RINGS = {
    "list assignment index out of range": OnceRound,
    "into the first place": SecondFirst,
    "does `len()` count it": LengthMissing,
    "Return only what is stored": EmptyPlaces,
    "never drops": Endless,
    "accepts nothing new": Full,
    "Always overwrite the oldest": NewestOut,
    "len()": WrongLength,
    "share one list": Shared,
    "`pop(0)`": RingPop,
    "move all the other items": RingSlice,
}


def pick_loop(q, action):
    return [float(row[a]) for row, a in zip(q, action, strict=True)]


WRONG_PICKS = {
    "(B, 1)": lambda q, a: q.gather(1, a[:, None]),
    "*every* row": lambda q, a: q[:, a],
    "largest": lambda q, a: q.max(1).values,
    "whole rows": lambda q, a: q[a],
    "expected values": lambda q, a: q[:, 0],
    "the actions are columns": lambda q, a: q.gather(0, a[:, None])[:, 0],
    "keeps the first row": lambda q, a: q.gather(1, a[:, None])[0],
}


def huber_where(error):
    return torch.where(error.abs() <= 1, 0.5 * error**2, error.abs() - 0.5)


WRONG_HUBERS = {
    "no limit": lambda e: 0.5 * e**2,
    "the ½ is missing too": lambda e: e**2,
    "corner at 0": lambda e: e.abs(),
    "do not meet": lambda e: torch.where(e.abs() <= 1, 0.5 * e**2, e.abs()),
    "Negative": lambda e: torch.where(e <= 1, 0.5 * e**2, e - 0.5),
    "½ of the square part": lambda e: torch.where(e.abs() <= 1, e**2, e.abs() - 0.5),
    "mean": lambda e: F.smooth_l1_loss(e, torch.zeros_like(e)),
    "meet at 1": lambda e: torch.where(e.abs() <= 1, 0.5 * e**2, e.abs() - 1),
    "use the absolute value": lambda e: torch.where(e.abs() <= 1, 0.5 * e**2, e - 0.5),
    "you called `huber_loss`": lambda e: F.huber_loss(e, torch.zeros_like(e), reduction="none"),
    "PyTorch's own": lambda e: torch.nn.SmoothL1Loss(reduction="none")(e, 0 * e),
    "swapped": lambda e: torch.where(e.abs() > 1, 0.5 * e**2, e.abs() - 0.5),
}


def target_no_grad(q_net, reward, next_obs, terminated, gamma):
    with torch.no_grad():
        return reward + gamma * (1 - terminated) * q_net(next_obs).max(dim=1).values


def target_detach(q_net, reward, next_obs, terminated, gamma):
    best = q_net(next_obs).amax(1).detach()
    return torch.where(terminated.bool(), reward, reward + gamma * best)


def target_loop(q_net, reward, next_obs, terminated, gamma):
    rows = zip(reward, next_obs, terminated, strict=True)
    return np.array(
        [r.item() if t else r.item() + gamma * q_net(o).max().item() for r, o, t in rows]
    )


def best(q_net, next_obs):
    return q_net(next_obs).max(1).values.detach()


WRONG_TARGETS = {
    "after the end": lambda n, r, o, t, g: r + g * best(n, o),
    "γ is missing": lambda n, r, o, t, g: r + (1 - t) * best(n, o),
    "mean": lambda n, r, o, t, g: r + g * (1 - t) * n(o).mean(1).detach(),
    "masked too": lambda n, r, o, t, g: (1 - t) * (r + g * best(n, o)),
    "inverted": lambda n, r, o, t, g: r + g * t * best(n, o),
    "whole batch": lambda n, r, o, t, g: r + g * (1 - t) * best(n, o).max(),
    "`keepdim`": lambda n, r, o, t, g: r + g * (1 - t) * best(n, o)[:, None],
    "move its own targets": lambda n, r, o, t, g: [
        a + g * (1 - b) * n(x).max() for a, b, x in zip(r, t, o, strict=True)
    ],
    "reward is missing": lambda n, r, o, t, g: g * (1 - t) * best(n, o),
    "a gradient": lambda n, r, o, t, g: r + g * (1 - t) * n(o).max(1).values,
    "number of the best action": lambda n, r, o, t, g: r + g * (1 - t) * n(o).argmax(1),
    "inverts booleans": lambda n, r, o, t, g: r + g * best(n, o) * ~t,
    "take its `.values`": lambda n, r, o, t, g: r + g * n(o).max(dim=1) * (1 - t),
}


def fit_gather(q_net, optimizer, batch, target):
    predicted = q_net(batch.obs).gather(1, batch.action[:, None])[:, 0]
    loss = F.smooth_l1_loss(predicted, target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def fit_rows(q_net, optimizer, batch, target):
    optimizer.zero_grad()
    predicted = q_net(batch.obs)[torch.arange(len(target)), batch.action]
    F.huber_loss(predicted, target).backward()
    optimizer.step()
    return predicted.detach()


def fit_with_shapes(q_net, optimizer, batch, target):
    assert target.shape == batch.reward.shape == batch.terminated.shape
    fit_gather(q_net, optimizer, batch, target)


def fit_twice(*arguments):
    fit_gather(*arguments)
    fit_gather(*arguments)


def fit_late_zero(q_net, optimizer, batch, target):
    q = q_net(batch.obs)
    predicted = (q * F.one_hot(batch.action, q.shape[1])).sum(dim=1)
    size = (predicted - target).abs()
    torch.where(size <= 1, 0.5 * size**2, size - 0.5).mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def fit(loss=F.smooth_l1_loss, column=lambda q, a: q.gather(1, a[:, None])[:, 0], order="zbs"):
    """An update with its parts exchanged: z zero_grad, b backward, s step."""

    def fit_once(q_net, optimizer, batch, target):
        value = loss(column(q_net(batch.obs), batch.action), target)
        calls = {"z": optimizer.zero_grad, "b": value.backward, "s": optimizer.step}
        for name in order:
            calls[name]()

    return fit_once


def pairs(predicted, target):
    errors = predicted - target
    return F.smooth_l1_loss(errors, torch.zeros_like(errors))


WRONG_FITS = {
    "add up": fit(order="bs"),
    "`optimizer.step()` ran": fit(order="bzs"),
    "there are gradients": fit(order="zb"),
    "did not move.\n  Call `loss.backward()`": lambda *arguments: 0.5,
    "That is the squared error": fit(F.mse_loss),
    "half the squared": fit(lambda p, t: 0.5 * F.mse_loss(p, t)),
    "the sum of the losses": fit(lambda p, t: F.smooth_l1_loss(p, t, reduction="sum")),
    "every prediction": fit(pairs, lambda q, a: q.gather(1, a[:, None])),
    "not the largest": fit(column=lambda q, a: q.max(1).values),
    "uphill": fit(lambda p, t: -F.smooth_l1_loss(p, t)),
    "changes of the weights": fit(F.l1_loss),
    "takes these columns from every row": fit(pairs, lambda q, a: q[:, a]),
    "two steps": fit_twice,
}

RIGHT = [
    (check_columns, [columns_zip, columns_fields, columns_stack]),
    (check_ring, [RingList, RingDeque, RingModulo]),
    (
        check_pick,
        [
            lambda q, a: q.gather(1, a[:, None])[:, 0],
            lambda q, a: q[torch.arange(len(a)), a].double(),
            lambda q, a: (q * F.one_hot(a, q.shape[1])).sum(1).numpy(),
            pick_loop,
        ],
    ),
    (
        check_huber,
        [
            lambda e: e.abs().clamp(max=1) * (e.abs() - 0.5 * e.abs().clamp(max=1)),
            huber_where,
            lambda e: [0.5 * x * x if abs(x) <= 1 else abs(x) - 0.5 for x in e.tolist()],
        ],
    ),
    (check_target, [target_no_grad, target_detach, target_loop]),
    (check_fit_once, [fit_gather, fit_rows, fit_late_zero, fit_with_shapes]),
]
WRONG = [
    (check_columns, WRONG_COLUMNS),
    (check_ring, WRONG_RINGS),
    (check_pick, WRONG_PICKS),
    (check_huber, WRONG_HUBERS),
    (check_target, WRONG_TARGETS),
    (check_fit_once, WRONG_FITS),
]
