"""Exercises of notebook 01: what must pass, what must not, and which hint comes."""

import numpy as np
import torch

from exercises.q_table import (
    check_bins,
    check_choose,
    check_episode,
    check_q_update,
    check_returns,
)
from helpers.replay import Transition


def returns_backwards(rewards, gamma):
    found, after = [], 0.0
    for reward in rewards[::-1]:
        after = reward + gamma * after
        found.insert(0, after)
    return found


def returns_sums(rewards, gamma):
    return np.array(
        [sum(gamma**k * r for k, r in enumerate(rewards[t:])) for t in range(len(rewards))]
    )


def returns_torch(rewards, gamma):
    steps = torch.arange(len(rewards))
    powers = gamma ** (steps[None, :] - steps[:, None]).clamp(min=0) * (steps >= steps[:, None])
    return (powers * torch.from_numpy(rewards)).sum(1).float()


def powers(rewards, gamma):
    return gamma ** np.arange(len(rewards)) * rewards


def returns_like_rewards(rewards, gamma):
    returns, after = np.zeros_like(rewards), 0.0
    for t in reversed(range(len(rewards))):
        returns[t] = after = rewards[t] + gamma * after
    return returns


WRONG_RETURNS = {
    "fractions are cut off": returns_like_rewards,
    "did not sum them": powers,
    "γ is missing": lambda r, g: np.cumsum(r[::-1])[::-1],
    "from the first step": lambda r, g: np.array([powers(r, g)[t:].sum() for t in range(len(r))]),
    "so far": lambda r, g: np.cumsum(r),
    "left out": lambda r, g: returns_sums(r, g) - r,
    "order is wrong": lambda r, g: returns_sums(r, g)[::-1],
    "one number": lambda r, g: returns_sums(r, g)[0],
}


def update_in_place(q, transition, alpha, gamma):
    s, a, r, n, end = transition
    target = r if end else r + gamma * max(q[n])
    q[s][a] += alpha * (target - q[s][a])


def update_new(q, t, alpha, gamma):
    new = q.copy()
    target = t.reward + gamma * q[t.next_obs].max() * (not t.terminated)
    new[t.obs][t.action] = (1 - alpha) * q[t.obs][t.action] + alpha * target
    return new


def update_loop(q, transition, alpha, gamma):
    s, a, r, n, end = transition
    rows, best = q.tolist(), 0.0 if end else max(q[n])
    row = rows
    for i in np.atleast_1d(s):
        row = row[i]
    row[a] += alpha * (r + gamma * best - row[a])
    return rows


def update_with(target, alpha_used=True):
    def update(q, transition, alpha, gamma):
        s, a, r, n, end = transition
        q[s, a] += (alpha if alpha_used else 1.0) * (target(q, s, r, n, end, gamma) - q[s, a])
        return q

    return update


def update_not_at_the_end(q, transition, alpha, gamma):
    s, a, r, n, end = transition
    if not end:
        q[s, a] += alpha * (r + gamma * q[n].max() - q[s, a])


def update_and_tell(q, transition, alpha, gamma):
    s, a, r, n, end = transition
    error = (r if end else r + gamma * max(q[n])) - q[s][a]
    q[s][a] += alpha * error
    return error


def update_only_numbers(q, transition, alpha, gamma):
    s, a, r, n, end = transition
    q[int(s), a] += alpha * ((r if end else r + gamma * q[n].max()) - q[s, a])


WRONG_UPDATES = {
    "write `q_table[obs][action]`": update_with(
        lambda q, s, r, n, end, g: r + g * q[n].max() * (not end)
    ),
    "your function raised TypeError": update_only_numbers,
    "a target, too: its reward": update_not_at_the_end,
    "entry alone": lambda q, *rest: update_new(q, *rest)[1, 0],
    "same action": update_with(lambda q, s, r, n, end, g: r + g * q[n, 0] * (not end)),
    "minus entry": update_with(lambda q, s, r, n, end, g: r + g * q[n].max() * (not end) + q[s, 0]),
    "reward counts at the end": update_with(
        lambda q, s, r, n, end, g: (r + g * q[n].max()) * (not end)
    ),
    "after the end": update_with(lambda q, s, r, n, end, g: r + g * q[n].max()),
    "α is not used": update_with(
        lambda q, s, r, n, end, g: r + g * q[n].max() * (not end), alpha_used=False
    ),
    "γ is missing": update_with(lambda q, s, r, n, end, g: r + q[n].max() * (not end)),
    "*next* state": update_with(lambda q, s, r, n, end, g: r + g * q[s].max() * (not end)),
    "whole table, or": update_with(lambda q, s, r, n, end, g: r + g * q.max() * (not end)),
    "expected table": update_with(lambda q, s, r, n, end, g: r + g * q[n].mean() * (not end)),
}


def episode_while_true(env, choose_action, learn):
    obs, _ = env.reset(seed=0)
    count = 0
    while True:
        action = choose_action(obs)
        after, reward, terminated, truncated, _ = env.step(action)
        learn(Transition(obs, action, reward, after, terminated))
        obs, count = after, count + 1
        if terminated or truncated:
            return count


def episode_flag(env, choose_action, learn):
    obs, over, lengths = env.reset()[0], False, []
    while not over:
        action = choose_action(obs)
        after, reward, *ends, _ = env.step(action)
        learn((obs, action, reward, after, ends[0]))
        lengths.append(1)
        obs, over = after, any(ends)
    return np.sum(lengths)


def episode_recursive(env, choose_action, learn):
    def onward(obs):
        action = choose_action(obs)
        after, reward, terminated, truncated, _ = env.step(action)
        learn(Transition(obs, action, reward, after, terminated))
        return 1 if terminated or truncated else 1 + onward(after)

    return onward(env.reset()[0])


def episode_with(store, ends=lambda terminated, truncated: terminated or truncated, move=True):
    """An episode that stores, ends or goes on in another way."""

    def episode(env, choose_action, learn):
        obs, over, count = env.reset()[0], False, 0
        while not over:
            action = choose_action(obs)
            after, reward, terminated, truncated, _ = env.step(action)
            learn(store(obs, action, reward, after, terminated, truncated))
            obs, count = after if move else obs, count + 1
            over = ends(terminated, truncated)
        return count

    return episode


def episode_returns_nothing(env, choose_action, learn):
    episode_while_true(env, choose_action, learn)


def episode_of_one_step(env, choose_action, learn):
    obs, _ = env.reset()
    action = choose_action(obs)
    after, reward, terminated, _, _ = env.step(action)
    learn(Transition(obs, action, reward, after, terminated))
    return 1


def episode_without_learning(env, choose_action, learn):
    return episode_while_true(env, choose_action, lambda transition: None)


def episode_of_reversed_actions(env, choose_action, learn):
    return episode_while_true(env, lambda obs: 3 - choose_action(obs), learn)


def episode_of_whole_reset(env, choose_action, learn):
    obs, over, count = env.reset(), False, 0
    while not over:
        after, reward, terminated, truncated, _ = env.step(choose_action(obs))
        learn(Transition(obs, 0, reward, after, terminated))
        obs, over, count = after, terminated or truncated, count + 1
    return count


WRONG_EPISODES = {
    "two things": episode_of_whole_reset,
    "the last one too": lambda *arguments: episode_while_true(*arguments) - 1,
    "*before* the step": episode_with(lambda o, a, r, n, end, clock: (o, a, r, o, end)),
    "replaced by `next_obs`": episode_with(lambda o, a, r, n, end, clock: (n, a, r, n, end)),
    "not the future": episode_with(lambda o, a, r, n, end, clock: (o, a, r, n, end or clock)),
    "Is `truncated` in its": episode_with(lambda o, a, r, n, end, clock: (o, a, r, n, clock)),
    "stored with `terminated=False`": episode_with(lambda o, a, r, n, *_: (o, a, r, n, False)),
    "in step 1, got (10, 3, -1": episode_with(lambda o, a, r, n, end, clock: (o, a, -1, n, end)),
    "another step followed": episode_with(lambda *t: t[:5], ends=lambda end, clock: end),
    "`obs = next_obs` is missing": episode_with(lambda *t: t[:5], move=False),
    "of 5 values": episode_with(lambda *t: t[:4]),
    "number of agent steps": episode_returns_nothing,
    "until the end of the episode": episode_of_one_step,
    "expected 4 transitions": episode_without_learning,
    "the chosen actions": episode_of_reversed_actions,
    "before `env.reset()`": lambda env, choose_action, learn: env.step(0),
}


def choose_ties(q, epsilon, rng):
    if rng.random() < epsilon:
        return rng.integers(len(q))
    return rng.choice(np.flatnonzero(q == q.max()))


def choose_noise(q, epsilon, rng):
    best = q == q.max()
    return int(
        (best * (1 + rng.random(len(q)))).argmax()
        if rng.random() >= epsilon
        else rng.integers(len(q))
    )


def choose_shares(q, epsilon, rng):
    best = q == q.max()
    return rng.choice(len(q), p=(1 - epsilon) * best / best.sum() + epsilon / len(q))


def random_others(q, epsilon, rng):
    best = np.flatnonzero(q == q.max())
    others = np.flatnonzero(q < q.max())
    return rng.choice(others if len(others) and rng.random() < epsilon else best)


def choose_half(q, epsilon, rng):
    if rng.random() < epsilon:
        rng.integers(len(q))
    else:
        return choose_ties(q, 0.0, rng)


WRONG_CHOICES = {
    "element `[0]`": lambda q, e, rng: (
        rng.integers(len(q)) if rng.random() < e else rng.choice(np.where(q == q.max()))
    ),
    "Draw every random number from `rng`": lambda q, e, rng: choose_ties(
        q, e, np.random.default_rng()
    ),
    "the number of actions": lambda q, e, rng: (
        rng.integers(len(q) - 1) if rng.random() < e else choose_ties(q, 0.0, rng)
    ),
    "is a `return` missing": choose_half,
    "Is that the *value*": lambda q, e, rng: q.max(),
    "array of shape (1,)": lambda q, e, rng: rng.choice(4, size=1),
    "do not leave them out": random_others,
    "`argmax`": lambda q, e, rng: rng.integers(4) if rng.random() < e else q.argmax(),
    "right way round": lambda q, e, rng: choose_ties(q, 1 - e, rng),
    "all actions equally often": lambda q, e, rng: (
        rng.integers(3) if rng.random() < e else choose_ties(q, 0.0, rng)
    ),
    "with ε = 1": lambda q, e, rng: choose_ties(q, 0.0, rng),
    "half the time": lambda q, e, rng: rng.choice([1, 1, 1, 2]) if e == 0 else rng.integers(4),
}


def bin_floor(value, low, high, count):
    return int(min(max((value - low) / (high - low) * count, 0), count - 1))


def bin_digitize(value, low, high, count):
    return np.digitize(value, np.linspace(low, high, count + 1)[1:-1])


def bin_loop(value, low, high, count):
    for i in range(count - 1):
        if value < low + (i + 1) * (high - low) / count:
            return i
    return torch.tensor(count - 1)


WRONG_BINS = {
    "outer edges count": lambda v, lo, hi, n: int(np.digitize(v, np.linspace(lo, hi, n + 1))),
    "only count − 1": lambda v, lo, hi, n: int(np.digitize(v, np.linspace(lo, hi, n))),
    "of these the inner ones": lambda v, lo, hi, n: int(
        np.digitize(v, np.linspace(lo, hi, n)[1:-1])
    ),
    "out of the table": lambda v, lo, hi, n: np.floor((v - lo) / (hi - lo) * n),
    "expected bins: 0 for value -6.4": lambda v, lo, hi, n: int((v - lo) / (hi - lo) * n),
    "first and the last bin": lambda v, lo, hi, n: int(max((v - lo) / (hi - lo) * n, 0)),
    "is not a whole number": lambda v, lo, hi, n: np.floor((v - lo) / (hi - lo) * n).clip(0, n - 1),
    "(1 to 11 in 5 bins)": lambda v, lo, hi, n: bin_floor(v, -hi, hi, n),
    "start at 1": lambda v, lo, hi, n: bin_floor(v, lo, hi, n) + 1,
    "one bin too many": lambda v, lo, hi, n: int(min(max((v - lo) / (hi - lo) * n, 0), n)),
    "rounded": lambda v, lo, hi, n: int(np.round((v - lo) / (hi - lo) * (n - 1)).clip(0, n - 1)),
}

RIGHT = [
    (check_returns, [returns_backwards, returns_sums, returns_torch]),
    (check_q_update, [update_in_place, update_new, update_loop, update_and_tell]),
    (check_episode, [episode_while_true, episode_flag, episode_recursive]),
    (check_choose, [choose_ties, choose_noise, choose_shares]),
    (check_bins, [bin_floor, bin_digitize, bin_loop]),
]
WRONG = [
    (check_returns, WRONG_RETURNS),
    (check_q_update, WRONG_UPDATES),
    (check_episode, WRONG_EPISODES),
    (check_choose, WRONG_CHOICES),
    (check_bins, WRONG_BINS),
]
