"""Exercises of notebook 03: what must pass, what must not, and which hint comes."""

import numpy as np
import torch

from exercises.target_network import (
    check_greedy,
    check_growth,
    check_reported_score,
    check_same_lag,
    check_soft_update,
    check_td_loss,
    check_td_target,
)

# --- td_target --------------------------------------------------------------------------------


def target_torch(reward, terminated, truncated, next_q, gamma):
    return reward + gamma * (1 - terminated.float()) * next_q.max(dim=1).values


def target_where(reward, terminated, truncated, next_q, gamma):
    best = next_q.double().amax(1)
    return torch.where(terminated, reward.double(), reward.double() + gamma * best)


def target_numpy(reward, terminated, truncated, next_q, gamma):
    return reward.numpy() + gamma * ~terminated.numpy() * next_q.numpy().max(axis=1)


def target_loop(reward, terminated, truncated, next_q, gamma):
    rows = zip(reward.tolist(), terminated.tolist(), next_q.tolist(), strict=True)
    return [r if end else r + gamma * max(q) for r, end, q in rows]


def target_in_place(reward, terminated, truncated, next_q, gamma):
    next_q[terminated] = 0  # changes its input: that is its own affair
    return reward.add_(gamma * next_q.max(1)[0] * ~terminated)


WRONG_TARGETS = {
    "over the batch": lambda r, te, tr, q, g: r + g * (~te).float() * q.max(0).values,
    "as terminal": lambda r, te, tr, q, g: r + g * (~(te | tr)).float() * q.max(1).values,
    "nothing follows": lambda r, te, tr, q, g: r + g * q.max(1).values,
    "γ is missing": lambda r, te, tr, q, g: r + (~te).float() * q.max(1).values,
    "uses the best one": lambda r, te, tr, q, g: r + g * (~te).float() * q.mean(1),
    "other way round": lambda r, te, tr, q, g: r + g * te.float() * q.max(1).values,
    "`keepdim`": lambda r, te, tr, q, g: r + g * (~te).float() * q.max(1, keepdim=True).values,
    "whole batch": lambda r, te, tr, q, g: r + g * (~te).float() * q.max(),
    "masked the reward": lambda r, te, tr, q, g: (~te).float() * (r + g * q.max(1).values),
    "expected targets of shape": lambda r, te, tr, q, g: (r + g * (~te) * q.max(1).values)[:, None],
    "raised": lambda r, te, tr, q, g: r + g * (1 - te) * q.max(1).values,  # bool has no minus
}

# --- td_loss ----------------------------------------------------------------------------------


def loss_gather(q_net, obs, action, target):
    q = q_net(obs).gather(1, action[:, None])[:, 0]
    return ((q - target.detach()) ** 2).mean()


def loss_function(q_net, obs, action, target):
    q = q_net(obs).gather(1, action.unsqueeze(1)).squeeze(1)
    return torch.nn.functional.mse_loss(q, target.detach())


def loss_one_hot(q_net, obs, action, target):
    q = q_net(obs)
    mask = torch.nn.functional.one_hot(action, q.shape[1])
    with torch.no_grad():
        goal = target.clone()
    return ((q * mask).sum(1) - goal).pow(2).mean()


def loss_loop(q_net, obs, action, target):
    rows = [(q_net(o)[a] - y.detach()) ** 2 for o, a, y in zip(obs, action, target, strict=True)]
    return sum(rows) / len(rows)


def taken(q_net, obs, action):
    return q_net(obs).gather(1, action[:, None])


WRONG_LOSSES = {
    "table": lambda n, o, a, y: ((taken(n, o, a) - y.detach()) ** 2).mean(),
    "sum": lambda n, o, a, y: ((taken(n, o, a)[:, 0] - y.detach()) ** 2).sum(),
    "half": lambda n, o, a, y: 0.5 * loss_gather(n, o, a, y),
    "*taken*": lambda n, o, a, y: ((n(o).max(1).values - y.detach()) ** 2).mean(),
    "absolute": lambda n, o, a, y: (taken(n, o, a)[:, 0] - y.detach()).abs().mean(),
    "the target is trained": lambda n, o, a, y: ((taken(n, o, a)[:, 0] - y) ** 2).mean(),
    "nothing can be learned": lambda n, o, a, y: loss_gather(n, o, a, y).detach(),
    "training loop": lambda n, o, a, y: (
        loss_gather(n, o, a, y).backward(),
        loss_gather(n, o, a, y),
    )[1],
    "nothing can be": lambda n, o, a, y: loss_gather(n, o, a, y).item(),
}

# --- soft update ------------------------------------------------------------------------------


def soft_lerp(target_net, q_net, tau):
    with torch.no_grad():
        for a, b in zip(target_net.parameters(), q_net.parameters(), strict=True):
            a.lerp_(b, tau)


def soft_copy(target_net, q_net, tau):
    for a, b in zip(target_net.parameters(), q_net.parameters(), strict=True):
        a.data.copy_((1 - tau) * a.data + tau * b.data)


def soft_state(target_net, q_net, tau):
    old, new = target_net.state_dict(), q_net.state_dict()
    target_net.load_state_dict({k: (1 - tau) * old[k] + tau * new[k] for k in old})


def soft_with(mix, skip_bias=False):
    def update(target_net, q_net, tau):
        with torch.no_grad():
            for a, b in zip(target_net.parameters(), q_net.parameters(), strict=True):
                if not (skip_bias and a.dim() == 1):
                    a.copy_(mix(a, b, tau))

    return update


def soft_shared(target_net, q_net, tau):
    soft_lerp(target_net, q_net, tau)
    for a, b in zip(target_net.parameters(), q_net.parameters(), strict=True):
        if tau == 1.0:
            a.data = b.data


WRONG_UPDATES = {
    "swapped": soft_with(lambda a, b, tau: tau * a + (1 - tau) * b),
    "hard update": soft_with(lambda a, b, tau: b),
    "biases": soft_with(lambda a, b, tau: (1 - tau) * a + tau * b, skip_bias=True),
    "old share": soft_with(lambda a, b, tau: a + tau * b),
    "Q-network has changed": lambda t, q, tau: soft_lerp(q, t, tau),
    "share their weights": soft_shared,
}

# --- growth -----------------------------------------------------------------------------------


def growth_by_one_update(ratio, gamma, rate):
    w = 3.0
    w = w + rate * (gamma * ratio * w - w)
    return w / 3.0


RIGHT_GROWTHS = [
    lambda k, g, a: 1 + a * (g * k - 1),
    lambda k, g, a: (1 - a) + a * g * k,
    lambda k, g, a: torch.tensor(1 - a * (1 - g * k)),
    growth_by_one_update,
]
WRONG_GROWTHS = {
    "part of the way": lambda k, g, a: g * k,
    "γ is missing": lambda k, g, a: 1 + a * (k - 1),
    "sign is wrong": lambda k, g, a: 1 - a * (g * k - 1),
    "add the 1": lambda k, g, a: a * (g * k - 1),
    "not from 0": lambda k, g, a: a * g * k,
    "leaves out k": lambda k, g, a: 1 + a * (g - 1),
    "not subtracted": lambda k, g, a: 1 + a * g * k,
    "expected factor": lambda k, g, a: 1.04,
}

# --- reported score ---------------------------------------------------------------------------

RIGHT_SCORES = [
    lambda s, t: t[np.argmax(s)],
    lambda s, t: max(zip(s, t, strict=True))[1],
    lambda s, t: torch.tensor(t)[torch.tensor(s).argmax()],
]
WRONG_SCORES = {
    "luck helped it": lambda s, t: s.max(),
    "chose by the test score": lambda s, t: t.max(),
    "only one": lambda s, t: t.mean(),
    "last checkpoint": lambda s, t: t[-1],
    "position of the checkpoint": lambda s, t: np.argmax(s),
    "test score alone": lambda s, t: (s.max() + t[np.argmax(s)]) / 2,
    "shape": lambda s, t: t,
}

# --- the same lag -----------------------------------------------------------------------------


def lag_by_counting(tau):
    ages = np.arange(20_000)
    return 2 * (tau * (1 - tau) ** ages * ages).sum() + 1


RIGHT_LAGS = [
    lambda tau: 2 / tau - 1,
    lambda tau: 2 * (1 - tau) / tau + 1,
    lag_by_counting,
]
WRONG_LAGS = {
    "mean age of the soft target. Which": lambda tau: (1 - tau) / tau,
    "half of that on average": lambda tau: 1 / tau,
    "Nearly": lambda tau: 2 / tau,
    "their mean is": lambda tau: 2 * (1 - tau) / tau,
    "*plus* 1": lambda tau: 2 * (1 - tau) / tau - 1,
}

# --- greedy -----------------------------------------------------------------------------------


def greedy_loop(q_net, obs):
    return [int(q_net(o).argmax()) for o in obs]


RIGHT_GREEDY = [
    lambda n, o: n(o).argmax(dim=1),
    lambda n, o: n(o).detach().numpy().argmax(axis=-1),
    lambda n, o: n(o).max(dim=1).indices,
    greedy_loop,
]
COINS = np.random.default_rng(0)


def exploring(q_net, obs):
    best = q_net(obs).argmax(dim=1)
    return torch.where(torch.rand(len(obs)) < 0.5, torch.randint(3, (len(obs),)), best)


def rarely_exploring(q_net, obs):
    best = q_net(obs).argmax(dim=1).clone()
    if COINS.random() < 0.3:
        best[0] = (best[0] + 1) % 3
    return best


WRONG_GREEDY = {
    "values and positions": lambda q_net, obs: q_net(obs).max(dim=1),
    "*position*": lambda n, o: n(o).detach().max(dim=1).values,
    "worst": lambda n, o: n(o).argmin(dim=1),
    "dim=1": lambda n, o: n(o).argmax(dim=0),
    "gradient": lambda n, o: n(o).max(dim=1).values,
    "it still explores": exploring,
    "called again": rarely_exploring,
    "whole numbers": lambda n, o: n(o).argmax(dim=1).float(),
    "shape": lambda n, o: n(o).argmax(dim=1, keepdim=True),
}

RIGHT = [
    (check_td_target, [target_torch, target_where, target_numpy, target_loop, target_in_place]),
    (check_td_loss, [loss_gather, loss_function, loss_one_hot, loss_loop]),
    (check_soft_update, [soft_lerp, soft_copy, soft_state]),
    (check_greedy, RIGHT_GREEDY),
    (check_growth, RIGHT_GROWTHS),
    (check_reported_score, RIGHT_SCORES),
    (check_same_lag, RIGHT_LAGS),
]
WRONG = [
    (check_td_target, WRONG_TARGETS),
    (check_td_loss, WRONG_LOSSES),
    (check_soft_update, WRONG_UPDATES),
    (check_greedy, WRONG_GREEDY),
    (check_growth, WRONG_GROWTHS),
    (check_reported_score, WRONG_SCORES),
    (check_same_lag, WRONG_LAGS),
]
