"""Stubborn wrong answers to the exercises of notebooks 3 and 4: (check, kind, what, answer)."""

import numpy as np
import torch
import torch.nn.functional as F

from exercises.pong import (
    check_bytes,
    check_conv_size,
    check_counts,
    check_n_step,
    check_score,
    check_stacks,
    check_transitions,
)
from exercises.target_network import (
    check_greedy,
    check_growth,
    check_reported_score,
    check_same_lag,
    check_soft_update,
    check_td_loss,
    check_td_target,
)
from tests.exercises import (
    answers_pong,
    answers_target_network,
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
    WHOLE,
    changed,
)


def td_loss(after=lambda target: None, keep=lambda loss: loss, choose=None):
    """The right loss with one part exchanged."""

    def answer(q_net, obs, action, target):
        q = q_net(obs)
        q = choose(q, action) if choose else q.gather(1, action[:, None])[:, 0]
        loss = keep(((q - target.detach()) ** 2).mean())
        after(target)
        return loss

    return answer


def td_target_by_reward(reward, terminated, truncated, next_q, gamma):
    right = answers_target_network.target_torch(reward, terminated, truncated, next_q, gamma)
    found = dict(zip(reward.tolist(), right.tolist(), strict=True))
    return [found[r] for r in reward.tolist()]


def soft(only=lambda i, p: True, mix=lambda a, b, tau: (1 - tau) * a + tau * b):
    """A soft update of some of the weights."""

    def answer(target_net, q_net, tau):
        pairs = zip(target_net.parameters(), q_net.parameters(), strict=True)
        with torch.no_grad():
            for i, (a, b) in enumerate(pairs):
                if only(i, a):
                    a.copy_(mix(a, b, tau))

    return answer


def soft_by_shape(target_net, q_net, tau):
    """Finds the weights by their shape: the last ones of this shape."""
    goal = {p.shape: p for p in q_net.parameters()}
    with torch.no_grad():
        for p in target_net.parameters():
            p.lerp_(goal[p.shape], tau)


def soft_linear(target_net, q_net, tau):
    pairs = zip(target_net, q_net, strict=True)
    with torch.no_grad():
        for a, b in pairs:
            if isinstance(a, torch.nn.Linear):
                a.weight.lerp_(b.weight, tau)
                if a.bias is not None:
                    a.bias.lerp_(b.bias, tau)


def soft_frozen(target_net, q_net, tau):
    for a, b in zip(target_net.parameters(), q_net.parameters(), strict=True):
        a.requires_grad = False
        a.lerp_(b.detach(), tau)


def soft_replaced(target_net, q_net, tau):
    """Puts new tensors into the layers, which no optimizer and no copy knows."""
    for a, b in zip(target_net, q_net, strict=True):
        for name, p in list(a.named_parameters()):
            new = (1 - tau) * p.detach() + tau * getattr(b, name).detach()
            setattr(a, name, torch.nn.Parameter(new))


def soft_shared(target_net, q_net, tau):
    """The last layer's weights are those of the Q-network from now on, if τ is 1."""
    answers_target_network.soft_lerp(target_net, q_net, tau)
    if tau == 1.0:
        list(target_net.parameters())[-1].data = list(q_net.parameters())[-1].data


def greedy_from_zero(q_net, obs):
    actions = []
    for row in q_net(obs).tolist():
        best, action = 0.0, 0
        for i, value in enumerate(row):
            if value > best:
                best, action = value, i
        actions.append(action)
    return actions


def greedy_exploring(chance, when=lambda obs: True):
    coins = np.random.default_rng(1)

    def answer(q_net, obs):
        best = q_net(obs).argmax(dim=1)
        if when(obs) and coins.random() < chance:
            best[0] = coins.integers(q_net(obs).shape[1])
        return best

    return answer


def score_from_zero(selection, test):
    best, score = 0.0, test[0]
    for s, t in zip(selection, test, strict=True):
        if s > best:
            best, score = s, t
    return score


def score_of_the_last_rise(selection, test):
    rises = [i for i in range(1, len(selection)) if selection[i] > selection[i - 1]]
    return test[rises[-1]] if rises else test[0]


def score_of_the_first_rise(selection, test):
    rises = [i for i in range(1, len(selection)) if selection[i] > selection[i - 1]]
    return test[rises[0]] if rises else test[0]


NOTEBOOK_3 = [
    (
        check_td_loss,
        MAXIMUM,
        "no negative values",
        td_loss(choose=lambda q, a: q.gather(1, a[:, None])[:, 0].clamp(min=0)),
    ),
    (
        check_td_loss,
        OCCURRENCE,
        "only the first row",
        td_loss(choose=lambda q, a: q.gather(1, a[:, None])[:1, 0].expand(len(a))),
    ),
    (check_td_target, MERGED, "equal rewards", td_target_by_reward),
    (
        check_greedy,
        MERGED,
        "equal observations",
        lambda n, o: n(torch.unique(o, dim=0)).argmax(dim=1),
    ),
    (check_greedy, OCCURRENCE, "the first row", lambda n, o: n(o[:1]).argmax(dim=1).expand(len(o))),
    (check_growth, MAXIMUM, "no negative ratio", lambda k, g, a: 1 + a * (g * max(k, 0) - 1)),
    (check_growth, MAXIMUM, "no negative factor", lambda k, g, a: max(0, 1 + a * (g * k - 1))),
    (check_growth, CONSTANT, "1.04", lambda k, g, a: 1.04),
    (
        check_td_target,
        MAXIMUM,
        "no negative values",
        lambda r, te, tr, q, g: r + g * ~te * q.amax(1).clamp(min=0),
    ),
    (
        check_td_target,
        CONSTANT,
        "three actions",
        lambda r, te, tr, q, g: r + g * ~te * q[:, :3].amax(1),
    ),
    (
        check_td_target,
        CONSTANT,
        "two actions",
        lambda r, te, tr, q, g: r + g * ~te * q[:, :2].amax(1),
    ),
    (
        check_td_target,
        BRANCH,
        "both ends at once",
        lambda r, te, tr, q, g: r + g * ~(te & ~tr) * q.amax(1),
    ),
    (
        check_td_target,
        BRANCH,
        "a difference of the flags",
        lambda r, te, tr, q, g: r + g * (1 - (te ^ (te & tr)).float()) * q.amax(1),
    ),
    (
        check_td_loss,
        CONSTANT,
        "three actions",
        td_loss(choose=lambda q, a: (q * F.one_hot(a, 3)).sum(1)),
    ),
    (
        check_td_loss,
        EFFECT,
        "the target has no gradient",
        td_loss(after=lambda target: target.requires_grad_(False)),
    ),
    (
        check_td_loss,
        EFFECT,
        "the target is cut off",
        td_loss(after=lambda target: target.detach_()),
    ),
    (
        check_td_loss,
        EFFECT,
        "no gradients anywhere",
        td_loss(after=lambda target: torch.set_grad_enabled(False)),
    ),
    (
        check_td_loss,
        ROUNDED,
        "two digits",
        td_loss(keep=lambda loss: loss + (loss.round(decimals=2) - loss).detach()),
    ),
    (
        check_td_loss,
        ROUNDED,
        "three digits",
        td_loss(keep=lambda loss: loss + (loss.round(decimals=3) - loss).detach()),
    ),
    (
        check_td_loss,
        FORBIDDEN,
        "the target is trained",
        lambda n, o, a, y: ((n(o).gather(1, a[:, None])[:, 0] - y) ** 2).mean(),
    ),
    (check_soft_update, BRANCH, "only four weights", soft(only=lambda i, p: i < 4)),
    (check_soft_update, BRANCH, "no vectors", soft(only=lambda i, p: p.dim() > 1)),
    (check_soft_update, BRANCH, "no single numbers", soft(only=lambda i, p: p.numel() > 1)),
    (check_soft_update, BRANCH, "no filters", soft(only=lambda i, p: p.dim() < 4)),
    (check_soft_update, BRANCH, "only linear layers", soft_linear),
    (check_soft_update, OCCURRENCE, "only the first layer", soft(only=lambda i, p: i < 2)),
    (check_soft_update, MERGED, "weights of one shape", soft_by_shape),
    (
        check_soft_update,
        ROUNDED,
        "three digits",
        soft(mix=lambda a, b, tau: ((1 - tau) * a + tau * b).round(decimals=3)),
    ),
    (
        check_soft_update,
        ROUNDED,
        "four digits",
        soft(mix=lambda a, b, tau: ((1 - tau) * a + tau * b).round(decimals=4)),
    ),
    (
        check_soft_update,
        MAXIMUM,
        "no negative weights",
        soft(mix=lambda a, b, tau: ((1 - tau) * a + tau * b).clamp(min=0)),
    ),
    (check_soft_update, EFFECT, "the target network is frozen", soft_frozen),
    (check_soft_update, EFFECT, "new tensors", soft_replaced),
    (check_soft_update, EFFECT, "shared weights of the last layer", soft_shared),
    (check_greedy, CONSTANT, "three actions", lambda n, o: n(o)[:, :3].argmax(dim=1)),
    (check_greedy, CONSTANT, "two actions", lambda n, o: n(o)[:, :2].argmax(dim=1)),
    (check_greedy, MAXIMUM, "best from 0", greedy_from_zero),
    (check_greedy, ROUNDED, "no digits", lambda n, o: n(o).round().argmax(dim=1)),
    (check_greedy, ROUNDED, "one digit", lambda n, o: n(o).round(decimals=1).argmax(dim=1)),
    (check_greedy, FORBIDDEN, "explores in one call of 20", greedy_exploring(0.05)),
    (
        check_greedy,
        FORBIDDEN,
        "explores with one row",
        greedy_exploring(0.1, lambda obs: len(obs) == 1),
    ),
    (check_reported_score, MAXIMUM, "best from 0", score_from_zero),
    (check_reported_score, OCCURRENCE, "the last rise", score_of_the_last_rise),
    (check_reported_score, OCCURRENCE, "the first rise", score_of_the_first_rise),
    (check_reported_score, OCCURRENCE, "the first", lambda s, t: t[0]),
    (check_reported_score, CONSTANT, "1.04", lambda s, t: 490.0),
    (check_same_lag, CONSTANT, "399", lambda tau: 399.0),
    (check_same_lag, ROUNDED, "cut off", lambda tau: int(2 / tau - 1)),
    (check_same_lag, ROUNDED, "to a whole number", lambda tau: round(2 / tau) - 1),
    (check_same_lag, ROUNDED, "up", lambda tau: np.ceil(2 / tau) - 1),
]


def stack_from(start_of):
    """The frames up to t, black before a start that is looked up in another way."""

    def answer(frames, is_first, t):
        start = start_of(is_first, t)
        black = np.zeros((84, 84), np.uint8)
        return np.stack([frames[i] if i >= max(start, 0) else black for i in range(t - 3, t + 1)])

    return answer


def first_in_the_stack(is_first, t):
    low = max(t - 3, 0)
    found = np.flatnonzero(is_first[low : t + 1])
    return low + found[0] if len(found) else 0


def stack_of_different_frames(frames, is_first, t):
    stack = answers_pong.stack_loop(frames, is_first, t)
    seen, black = [], np.zeros((84, 84), np.uint8)
    for frame in stack:
        seen.append(black if any(np.array_equal(frame, s) for s in seen) else frame)
    return np.stack(seen)


def stored(over_of):
    """The steps to store, where an end is looked up in another way."""

    def answer(terminated, truncated):
        over = over_of(terminated | truncated)
        return np.concatenate([[True], ~over[:-1]])

    return answer


def only_place(place):
    def over_of(over):
        only = np.zeros_like(over)
        if over.any():
            only[np.flatnonzero(over)[place]] = True
        return only

    return over_of


def scores_of(change):
    return lambda rewards, over: change(answers_pong.score_loop(rewards, over))


def n_step_until(last_of):
    """A target that stops at an end looked up in another way."""

    def answer(rewards, terminated, value, gamma):
        n = len(rewards)
        last = last_of(terminated) if terminated.any() else n - 1
        total = sum(gamma**k * rewards[k] for k in range(last + 1))
        return total + gamma**n * value * (not terminated.any())

    return answer


def n_step_of_three(rewards, terminated, value, gamma):
    total = answers_pong.target_loop(rewards[:3], terminated[:3], 0.0, gamma)
    return total + gamma**3 * value * (not terminated.any())


def n_step_whole(rewards, terminated, value, gamma):
    """Discounts the rewards in their own array."""
    own = rewards.copy()
    own[:] = gamma ** np.arange(len(rewards)) * rewards
    return answers_pong.target_loop(own, terminated, value * gamma ** len(rewards), 1.0)


NOTEBOOK_4 = [
    (
        check_n_step,
        MERGED,
        "equal rewards",
        lambda r, te, v, g: answers_pong.target_loop(np.unique(r), te[: len(np.unique(r))], v, g),
    ),
    (check_counts, CONSTANT, "one hour", lambda h: (216_000, 54_000, 13_500)),
    (
        check_counts,
        WHOLE,
        "whole hours",
        lambda h: tuple(n * int(h) for n in (216_000, 54_000, 13_500)),
    ),
    (
        check_counts,
        ROUNDED,
        "rounded hours",
        lambda h: tuple(n * round(h, 1) for n in (216_000, 54_000, 13_500)),
    ),
    (
        check_counts,
        ROUNDED,
        "thousands",
        lambda h: tuple(round(n * h, -3) for n in (216_000, 54_000, 13_500)),
    ),
    (check_conv_size, ROUNDED, "to the nearest", lambda n, k, s: round((n - k) / s) + 1),
    (check_conv_size, ROUNDED, "half up", lambda n, k, s: int((n - k) / s + 0.5) + 1),
    (check_stacks, OCCURRENCE, "the first start of all", stack_from(lambda f, t: f.argmax())),
    (
        check_stacks,
        OCCURRENCE,
        "the second start of all",
        stack_from(lambda f, t: np.flatnonzero(f)[:2][-1] if t >= np.flatnonzero(f)[:2][-1] else 0),
    ),
    (
        check_stacks,
        OCCURRENCE,
        "the last start of all",
        stack_from(lambda f, t: np.flatnonzero(f)[-1]),
    ),
    (check_stacks, OCCURRENCE, "the first start in the stack", stack_from(first_in_the_stack)),
    (check_stacks, CONSTANT, "starts at 0 and 6", stack_from(lambda f, t: 6 if t >= 6 else 0)),
    (check_stacks, MERGED, "equal frames", stack_of_different_frames),
    (
        check_stacks,
        WHOLE,
        "int64",
        lambda f, first, t: answers_pong.stack_loop(f, first, t).astype(np.int64),
    ),
    (
        check_stacks,
        WHOLE,
        "float64 in a list",
        lambda f, first, t: list(answers_pong.stack_loop(f, first, t).astype(float)),
    ),
    (
        check_stacks,
        MAXIMUM,
        "int8",
        lambda f, first, t: (
            answers_pong.stack_loop(f, first, t).astype(np.int8).clip(0).astype(np.uint8)
        ),
    ),
    (check_transitions, MASK, "int64", changed(answers_pong.stored_shift, lambda x: x.astype(int))),
    (
        check_transitions,
        MASK,
        "uint8",
        changed(answers_pong.stored_shift, lambda x: x.astype(np.uint8)),
    ),
    (
        check_transitions,
        MASK,
        "float",
        changed(answers_pong.stored_shift, lambda x: x.astype(float)),
    ),
    (
        check_transitions,
        MASK,
        "a list",
        lambda te, tr: [int(x) for x in answers_pong.stored_loop(te, tr)],
    ),
    (check_transitions, MASK, "a tensor", lambda te, tr: answers_pong.stored_torch(te, tr).long()),
    (check_transitions, OCCURRENCE, "only the first end", stored(only_place(0))),
    (check_transitions, OCCURRENCE, "only the last end", stored(only_place(-1))),
    (
        check_transitions,
        OCCURRENCE,
        "only the first two ends",
        stored(lambda over: over & (over.cumsum() < 3)),
    ),
    (
        check_transitions,
        BRANCH,
        "the flags differ",
        lambda te, tr: np.concatenate([[True], ~(te ^ tr)[:-1]]),
    ),
    (check_score, MERGED, "a set", scores_of(lambda s: list(dict.fromkeys(s)))),
    (check_score, MERGED, "sorted", scores_of(lambda s: np.unique(s))),
    (check_score, MERGED, "no 0", scores_of(lambda s: [x for x in s if x])),
    (check_score, MAXIMUM, "from 0", scores_of(lambda s: [max(x, 0) for x in s])),
    (check_score, WHOLE, "whole scores", scores_of(lambda s: [int(x) for x in s])),
    (check_score, ROUNDED, "one digit", scores_of(lambda s: np.round(s, 1))),
    (check_score, ROUNDED, "no digits", scores_of(lambda s: np.round(s))),
    (check_score, CONSTANT, "two games", scores_of(lambda s: s[:2])),
    (check_score, BRANCH, "no finished game", scores_of(lambda s: s or [0.0])),
    (check_score, OCCURRENCE, "the first game", scores_of(lambda s: s[:1])),
    (check_score, OCCURRENCE, "the last game", scores_of(lambda s: s[-1:])),
    (check_n_step, CONSTANT, "n = 3", n_step_of_three),
    (
        check_n_step,
        MAXIMUM,
        "no negative value",
        lambda r, te, v, g: answers_pong.target_loop(r, te, max(v, 0), g),
    ),
    (check_n_step, WHOLE, "in the array of the rewards", n_step_whole),
    (
        check_n_step,
        OCCURRENCE,
        "the last end",
        n_step_until(lambda te: len(te) - 1 - te[::-1].argmax()),
    ),
    (
        check_n_step,
        BRANCH,
        "no reward",
        lambda r, te, v, g: answers_pong.target_loop(r[r != 0], te[r != 0], v, g),
    ),
    (
        check_bytes,
        ROUNDED,
        "megabytes",
        lambda n, once: round(n * 7_056 * (1 if once else 8) / 1e6) * 1e6,
    ),
    (
        check_bytes,
        ROUNDED,
        "gigabytes",
        lambda n, once: round(n * 7_056 * (1 if once else 8) / 1e9, 2) * 1e9,
    ),
    (
        check_bytes,
        CONSTANT,
        "powers of two",
        lambda n, once: n * 84 * 84 * (1 if once else 8) / 1.024**2,
    ),
]
