"""Checks for notebook 03: moving targets, soft updates, time limits, losses, fair scores."""

import numpy as np
import torch
from torch import nn

from exercises import (
    ReturnedNothing,
    StillOpen,
    WrongAnswer,
    call,
    call_each,
    check_learns,
    check_unchanged,
    compare,
    exercise,
    is_missing,
    number_kinds,
    state_of,
)


def _net(outputs=3, inputs=4):
    return nn.Sequential(nn.Linear(inputs, 8), nn.ReLU(), nn.Linear(8, outputs))


@exercise
def check_growth(function):
    """``function(ratio, gamma, rate)``: the factor by which an update multiplies the weight."""
    cases = [(1.2, 0.9, 0.5), (1.0, 0.9, 0.5), (0.5, 0.9, 0.1), (2.0, 0.99, 0.25), (1.5, 0.5, 1.0)]
    cases += [(0, 0.8, 0.3), (-2, 0.7, 0.4), (3, 1, 0.6), (-0.7, 0.95, 0.123), (1, 0.5, 1)]
    rng = np.random.default_rng(0)
    cases += [tuple(case) for case in rng.uniform([-3, 0.1, 0.01], [3, 1, 1], (5, 3)).tolist()]
    ratio, gamma, rate = np.array(cases).T
    asked = [f"ratio {k:g}, γ {g:g}, step size {a:g}" for k, g, a in cases]
    answers = call_each(function, cases, asked)
    compare(
        answers,
        1 + rate * (gamma * ratio - 1),
        "factor",
        [
            (
                "That is the target divided by w; an update moves only part of the way.",
                gamma * ratio,
            ),
            ("γ is missing: the target is γ · k · w.", 1 + rate * (ratio - 1)),
            ("The sign is wrong: w moves towards its target.", 1 - rate * (gamma * ratio - 1)),
            ("The step size is missing.", 1 + (gamma * ratio - 1)),
            ("That is the change of w divided by w; add the 1.", rate * (gamma * ratio - 1)),
            ("Part of the old value stays: w moves from w, not from 0.", rate * gamma * ratio),
            ("That leaves out k: Q(s') is k · w.", 1 + rate * (gamma - 1)),
            ("The old value is not subtracted: the error is target − w.", 1 + rate * gamma * ratio),
        ],
        asked,
    )


@exercise
def check_td_target(function):
    """``function(reward, terminated, truncated, next_q, gamma)`` to targets (B,)."""
    rng = np.random.default_rng(0)
    cases = [  # batch size, actions, γ, shift of the Q-values, how the episodes end
        (size, 3, 0.9, 2.0, rng.permutation(np.arange(size) % 3)) for size in (3, 6, 1)
    ]  # 3: as many rows as actions, so that a wrong axis does not crash
    for end in range(4):  # 0: goes on, 1: terminated, 2: truncated, 3: both
        cases.append((1, 2 + end, 0.5, 2.0 - end, np.array([end])))
        cases.append((8, 4, 0.8, -5.0, np.full(8, end)))
    cases += [(12, 2, 0.99, -5.0, np.arange(12) % 4), (9, 5, 0.3, 0.0, rng.integers(0, 4, 9))]
    for size, actions, gamma, shift, end in cases:
        reward = torch.from_numpy(rng.normal(size=size)).float()
        if shift == -5:
            reward = reward.sign()  # as in Pong
        terminated = torch.from_numpy((end == 1) | (end == 3))
        truncated = torch.from_numpy((end == 2) | (end == 3))
        next_q = torch.from_numpy(rng.normal(size=(size, actions)) + shift).float()
        best, ends = next_q.max(dim=1).values, (terminated | truncated).float()
        goes_on = 1 - terminated.float()
        expected = reward + gamma * goes_on * best
        mistakes = [
            (
                "That treats the time limit as terminal. A truncated game could have gone on, so "
                "its future counts; only `terminated` removes it.",
                reward + gamma * (1 - ends) * best,
            ),
            (
                "That adds a future after the end of the game: where `terminated` is true, "
                "nothing follows.",
                reward + gamma * best,
            ),
            (
                "If `terminated` and `truncated` are both true, the game has terminated: nothing "
                "follows.",
                reward + gamma * (1 - (terminated & ~truncated).float()) * best,
            ),
            ("γ is missing.", reward + goes_on * best),
            (
                "That is the mean over the actions; the target uses the best one.",
                reward + gamma * goes_on * next_q.mean(dim=1),
            ),
            (
                "The mask must be 1 where the game goes on and 0 where it ended; yours is the "
                "other way round.",
                reward + gamma * terminated.float() * best,
            ),
            (
                "You masked the reward as well; only the future ends.",
                goes_on * (reward + gamma * best),
            ),
            (
                "That is the largest value of the whole batch; each row has its own: dim=1.",
                reward + gamma * goes_on * next_q.max(),
            ),
            (
                "Adding (B,) and (B, 1) gave a (B, B) table: leave out `keepdim`, or drop that "
                "dimension.",
                reward + gamma * goes_on * best[:, None],
            ),
            (
                "The best value can be negative; yours is never below 0.",
                reward + gamma * goes_on * best.clamp(min=0),
            ),
            (
                "γ is an argument of the function; yours has a fixed value.",
                reward + 0.9 * goes_on * best,
            ),
        ]
        if size == actions:
            over_rows = next_q.max(dim=0).values
            hint = "The maximum runs over the batch: `next_q` is (B, actions), use dim=1."
            mistakes.append((hint, reward + gamma * goes_on * over_rows))
        answer = call(function, reward, terminated, truncated, next_q, gamma)
        compare(answer, expected, "targets", mistakes)


@exercise
def check_td_loss(function):
    """``function(q_net, obs, action, target)`` to the mean squared error, with gradients."""
    torch.manual_seed(0)
    for size, outputs, inputs, spread in ((5, 3, 4, 1), (8, 3, 4, 1), (1, 2, 3, 1), (7, 5, 2, 9)):
        _check_td_loss(function, _net(outputs, inputs), size, outputs, inputs, spread)


def _check_td_loss(function, q_net, size, outputs, inputs, spread):
    """``check_td_loss`` for one batch."""
    obs, action = torch.randn(size, inputs), torch.randint(outputs, (size,))
    target = (spread * torch.randn(size)).requires_grad_()
    q = q_net(obs)[torch.arange(size), action]
    expected = ((q - target) ** 2).mean()
    reference = torch.autograd.grad(expected, q_net.parameters(), retain_graph=True)
    column = q[:, None]
    mistakes = [
        (
            "(B, 1) minus (B,) gives a (B, B) table: every value is compared with every "
            "target. Drop the second dimension after `gather`: `[:, 0]` or `squeeze(1)`.",
            ((column - target) ** 2).mean(),
        ),
        (
            "That is the sum; the mean does not depend on the batch size.",
            ((q - target) ** 2).sum(),
        ),
        ("That is half of it.", 0.5 * expected),
        (
            "That uses the value of the best action; the loss needs the action *taken*.",
            ((q_net(obs).max(dim=1).values - target) ** 2).mean(),
        ),
        ("That is the absolute error, not the squared one.", (q - target).abs().mean()),
        (
            "That is the Huber loss; here the squared error is asked for.",
            nn.functional.smooth_l1_loss(q, target),
        ),
    ]
    q_net.zero_grad(set_to_none=True)
    before = state_of(q_net)
    loss = function(q_net, obs, action, target)  # no copies: gradients must reach q_net
    if is_missing(loss):
        raise ReturnedNothing
    compare(loss, expected, "a loss", mistakes)
    if not isinstance(loss, torch.Tensor) or not loss.requires_grad:
        raise WrongAnswer(
            "the number is right, but nothing can be learned from it: expected a tensor with "
            "a gradient.\n  Use no `.item()`, `.detach()`, `no_grad` or numpy between "
            "`q_net` and the loss."
        )
    if any(p.grad is not None for p in q_net.parameters()):
        raise WrongAnswer(
            "the gradients are there already: leave `backward()` to the training loop."
        )
    if not target.requires_grad:
        raise WrongAnswer(
            "the loss is right, but the gradient of `target` itself is switched off from now on."
            "\n  `target.detach()` returns a fixed copy and leaves `target` as it is."
        )
    check_unchanged(q_net, before)
    loss.backward()
    if target.grad is not None and target.grad.abs().sum() > 0:
        raise WrongAnswer(
            "the target is trained as well: a gradient reaches it.\n  Treat it as a fixed "
            "number: use `target.detach()`."
        )
    for mine, theirs in zip(q_net.parameters(), reference, strict=True):
        compare(mine.grad if mine.grad is not None else 0 * theirs, theirs, "gradients")


def _deep_net():
    """Layers of several kinds: two of one shape, one without a bias, one with a single output."""
    return nn.Sequential(
        nn.Conv2d(1, 2, 2),
        nn.Linear(8, 5, bias=False),
        nn.Linear(5, 5),
        nn.Linear(5, 5),
        nn.Linear(5, 1),
    )


@exercise
def check_soft_update(function):
    """``function(target_net, q_net, tau)`` moves the target network in place."""
    torch.manual_seed(0)
    for build in (_net, _deep_net):
        for tau in (0.25, 1.0, 0.6, 0.005):
            q_net, target_net = build(), build()
            for _ in range(2):
                _check_soft_update(function, target_net, q_net, tau)


def _check_soft_update(function, target_net, q_net, tau):
    """``check_soft_update`` for one pair of networks."""
    before, goal, weights = state_of(target_net), state_of(q_net), list(target_net.parameters())
    function(target_net, q_net, tau)
    after = state_of(target_net)
    if any(not torch.equal(p, g) for p, g in zip(q_net.parameters(), goal, strict=True)):
        raise WrongAnswer("the Q-network has changed.\n  Only the target network moves.")
    still = [torch.equal(a, b) for a, b in zip(after, before, strict=True)]
    there = [torch.equal(b, g) for b, g in zip(before, goal, strict=True)]
    if all(still) and not all(there):
        raise StillOpen(
            "The target network has not moved. (`p = …` only gives the loop variable a new "
            "value; `p.copy_(…)` or `p.lerp_(…)` change the weights.)"
        )
    for a, b, g in zip(after, before, goal, strict=True):
        mistakes = [
            (
                "You swapped τ and 1 − τ: the target keeps the share 1 − τ of itself.",
                tau * b + (1 - tau) * g,
            ),
            ("That is a hard update: τ is not used.", g),
            ("These weights have not moved. Did you leave out the biases?", b),
            ("You added τ times the Q-network; the old share must shrink, too.", b + tau * g),
        ]
        compare(a, (1 - tau) * b + tau * g, "weights", mistakes)
    if any(p is not w for p, w in zip(target_net.parameters(), weights, strict=True)):
        raise WrongAnswer(
            "the numbers are right, but the target network has new tensors for weights.\n  Change "
            "the old ones in place: `p.copy_(…)` or `p.lerp_(…)`."
        )
    check_learns(q_net, "the Q-network")
    check_learns(target_net, "the target network")
    with torch.no_grad():
        for p in q_net.parameters():
            p.add_(1.0)
    if any(not torch.equal(p, a) for p, a in zip(target_net.parameters(), after, strict=True)):
        raise WrongAnswer(
            "the two networks now share their weights: changing one changes the other.\n"
            "  Copy the numbers (`copy_`, `lerp_`), not the tensors."
        )


@exercise
def check_greedy(function):
    """``function(q_net, obs)`` to the best action of every observation, (N,) whole numbers."""
    torch.manual_seed(0)
    for size, outputs, inputs, shift, repetitions in (
        (50, 3, 4, 0, 20),
        (3, 3, 4, 0, 200),
        (1, 3, 4, 0, 200),
        (1, 2, 2, -9, 50),  # all values are negative
        (30, 5, 6, -9, 10),
        (4, 1, 3, 0, 1),
    ):
        q_net, obs = _net(outputs, inputs), torch.randn(size, inputs)
        obs[-1] = obs[0]
        with torch.no_grad():
            q_net[2].bias += shift
            q = q_net(obs)
        _check_greedy(function, q_net, obs, q, repetitions)


def _check_greedy(function, q_net, obs, q, repetitions):
    """``check_greedy`` for one batch of observations."""
    before = state_of(q_net)
    answer = call(lambda batch: function(q_net, batch), obs)
    if isinstance(answer, tuple):
        raise WrongAnswer(
            "`max(dim=1)` returns values and positions; the action is the position: `argmax`"
        )
    if isinstance(answer, torch.Tensor) and answer.requires_grad:
        raise WrongAnswer("these are values with a gradient; expected actions, which have none")
    check_unchanged(q_net, before)
    again = [call(lambda batch: function(q_net, batch), obs) for _ in range(repetitions)]
    if any(not np.array_equal(np.asarray(a), np.asarray(again[0])) for a in again):
        raise WrongAnswer(
            "called again, it gives other actions: it still explores.\n  An evaluation that "
            "explores measures ε as much as the agent."
        )
    mistakes = [
        ("These are the values; the action is the *position* of the largest.", q.max(1).values),
        ("That is the worst action.", q.argmin(dim=1)),
        ("The maximum runs over the observations: use dim=1.", q.argmax(dim=0)),
    ]
    asked = [f"row {i}" for i in range(len(obs))]
    compare(answer, q.argmax(dim=1), "actions", mistakes, asked)
    if not number_kinds(answer) <= {"i", "u"}:
        raise WrongAnswer("the actions are right, but floats: an environment wants whole numbers")


@exercise
def check_reported_score(function):
    """``function(selection, test)``, (K,) scores each, to the one number to report."""
    rng = np.random.default_rng(0)
    cases = []
    for count in (5, 9, 2):
        selection, test = rng.normal(400, 20, (2, count))
        while np.argmax(selection) == np.argmax(test):
            test = rng.normal(400, 20, count)
        cases.append((selection, test))
    cases += [
        (np.array([-20.5, -19.25, -20.0]), np.array([-18.5, -20.75, -21.0])),  # Pong's are negative
        (np.array([17.3, 12.1, 12.1, 14.0]), np.array([11.7, 15.2, 11.7, 16.1])),  # the first
        (np.array([12.1, 12.1, 14.0, 17.3]), np.array([16.1, 15.2, 15.2, 11.7])),  # the last
        (np.array([12.1, 17.3, 14.0, 17.2]), np.array([9.1, 15.25, 15.25, 21.5])),
        (np.array([310, 480, 475]), np.array([490, 455, 460])),
        (np.array([412.3]), np.array([397.4])),
        (rng.normal(0, 0.3, 30), rng.normal(0, 0.3, 30)),
    ]
    for selection, test in cases:
        best = np.argmax(selection)
        compare(
            call(function, selection, test),
            test[best],
            "score",
            [
                (
                    "That score chose the winner, so luck helped it. Report its *test* score.",
                    selection[best],
                ),
                ("You chose by the test score. Then it is a selection score, too.", test.max()),
                ("That is the mean of all checkpoints; you keep only one.", test.mean()),
                (
                    "That is the last checkpoint; you keep the one with the best selection score.",
                    test[-1],
                ),
                ("That is the position of the checkpoint; report its test score.", best),
                (
                    "That still contains the lucky score. Use the test score alone.",
                    (selection[best] + test[best]) / 2,
                ),
            ],
        )


@exercise
def check_same_lag(function):
    """``function(tau)``: the hard period with the same mean age of the weights."""
    cases = [0.02, 0.005, 0.1, 0.5, 1.0, 0.3, 0.07, 0.9, 0.93, 1]
    tau = np.array(cases)
    asked = [f"τ = {t:g}" for t in cases]
    answers = call_each(function, [(t,) for t in cases], asked)
    nearly = "Nearly: the ages of a hard target run from 0 to C − 1, and their mean is (C − 1)/2."
    whole = (
        "Here C need not be a whole number: return it without rounding, so that the mean ages "
        "are equal."
    )
    exact = 2 / tau - 1
    compare(
        answers,
        exact,
        "period C",
        [
            (
                "That is the mean age of the soft target. Which C gives (C − 1)/2 = that?",
                (1 - tau) / tau,
            ),
            (
                "1/τ is about the mean age of the soft target; the hard one is C − 1 old at most "
                "and half of that on average.",
                1 / tau,
            ),
            (nearly, 2 / tau),
            (nearly, 2 * (1 - tau) / tau),
            (
                "The mean of 0, 1, …, C − 1 is (C − 1)/2, so C is twice the age *plus* 1.",
                2 * (1 - tau) / tau - 1,
            ),
            (whole, np.round(exact)),
            (whole, np.floor(exact + 1e-9)),
            (whole, np.ceil(exact - 1e-9)),
        ],
        asked,
    )
