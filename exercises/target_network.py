"""Checks for notebook 03: moving targets, soft updates, time limits, losses, fair scores."""

import numpy as np
import torch
from torch import nn

from exercises import Nothing, Open, Wrong, call, call_each, compare, exercise, nothing

GAMMA = 0.9


def _net(outputs=3):
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, outputs))


@exercise
def check_growth(function):
    """``function(ratio, gamma, rate)``: the factor by which an update multiplies the weight."""
    cases = [(1.2, 0.9, 0.5), (1.0, 0.9, 0.5), (0.5, 0.9, 0.1), (2.0, 0.99, 0.25), (1.5, 0.5, 1.0)]
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
            ("The old value stays in part: w moves from w, not from 0.", rate * gamma * ratio),
            ("That leaves out k: Q(s') is k · w.", 1 + rate * (gamma - 1)),
            ("w also has to give way: the error is target − w.", 1 + rate * gamma * ratio),
        ],
        asked,
    )


@exercise
def check_td_target(function):
    """``function(reward, terminated, truncated, next_q, gamma)`` to targets (B,)."""
    rng = np.random.default_rng(0)
    for size in (3, 6, 1):  # 3: as many rows as actions, so that a wrong axis does not crash
        reward = torch.from_numpy(rng.normal(size=size)).float()
        kind = rng.permutation(np.arange(size) % 3)  # 0: goes on, 1: terminated, 2: truncated
        terminated, truncated = torch.from_numpy(kind == 1), torch.from_numpy(kind == 2)
        next_q = torch.from_numpy(rng.normal(size=(size, 3)) + 2).float()
        best, ends = next_q.max(dim=1).values, (terminated | truncated).float()
        goes_on = 1 - terminated.float()
        expected = reward + GAMMA * goes_on * best
        mistakes = [
            (
                "That treats the time limit as terminal. A truncated game could have gone on, so "
                "its future counts; only `terminated` removes it.",
                reward + GAMMA * (1 - ends) * best,
            ),
            (
                "That adds a future after the end of the game: where `terminated` is true, "
                "nothing follows.",
                reward + GAMMA * best,
            ),
            ("γ is missing.", reward + goes_on * best),
            (
                "That is the mean over the actions; the target uses the best one.",
                reward + GAMMA * goes_on * next_q.mean(dim=1),
            ),
            (
                "The mask must be 1 where the game goes on and 0 where it ended; yours is the "
                "other way round.",
                reward + GAMMA * terminated.float() * best,
            ),
            (
                "You masked the reward as well; only the future ends.",
                goes_on * (reward + GAMMA * best),
            ),
            (
                "That is the largest value of the whole batch; each row has its own: dim=1.",
                reward + GAMMA * goes_on * next_q.max(),
            ),
            (
                "Adding (B,) and (B, 1) gave a (B, B) table: leave out `keepdim`, or drop that "
                "dimension.",
                reward + GAMMA * goes_on * best[:, None],
            ),
        ]
        if size == 3:
            over_rows = next_q.max(dim=0).values
            hint = "The maximum runs over the batch: `next_q` is (B, actions), use dim=1."
            mistakes.append((hint, reward + GAMMA * goes_on * over_rows))
        answer = call(function, reward, terminated, truncated, next_q, GAMMA)
        compare(answer, expected, "targets", mistakes)


@exercise
def check_td_loss(function):
    """``function(q_net, obs, action, target)`` to the mean squared error, with gradients."""
    torch.manual_seed(0)
    q_net = _net()
    for size in (5, 8):
        obs, action = torch.randn(size, 4), torch.randint(3, (size,))
        target = torch.randn(size, requires_grad=True)
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
        ]
        q_net.zero_grad(set_to_none=True)
        loss = function(q_net, obs, action, target)  # no copies: gradients must reach q_net
        if nothing(loss):
            raise Nothing
        compare(loss, expected, "a loss", mistakes)
        if not isinstance(loss, torch.Tensor) or not loss.requires_grad:
            raise Wrong(
                "the number is right, but nothing can be learned from it: expected a tensor with "
                "a gradient.\n  Use no `.item()`, `.detach()`, `no_grad` or numpy between "
                "`q_net` and the loss."
            )
        if any(p.grad is not None for p in q_net.parameters()):
            raise Wrong("the gradients are there already: leave `backward()` to the training loop.")
        loss.backward()
        if target.grad is not None and target.grad.abs().sum() > 0:
            raise Wrong(
                "the target is trained as well: a gradient reaches it.\n  Treat it as a fixed "
                "number: use `target.detach()`."
            )
        for mine, theirs in zip(q_net.parameters(), reference, strict=True):
            compare(mine.grad if mine.grad is not None else 0 * theirs, theirs, "gradients")


@exercise
def check_soft_update(function):
    """``function(target_net, q_net, tau)`` moves the target network in place."""
    torch.manual_seed(0)
    for tau in (0.25, 1.0):
        q_net, target_net = _net(), _net()
        before = [p.detach().clone() for p in target_net.parameters()]
        goal = [p.detach().clone() for p in q_net.parameters()]
        function(target_net, q_net, tau)
        after = [p.detach().clone() for p in target_net.parameters()]
        if any(not torch.equal(p, g) for p, g in zip(q_net.parameters(), goal, strict=True)):
            raise Wrong("the Q-network has changed.\n  Only the target network moves.")
        if all(torch.equal(a, b) for a, b in zip(after, before, strict=True)):
            raise Open(
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
        with torch.no_grad():
            next(q_net.parameters()).add_(1.0)
        if not torch.equal(next(target_net.parameters()), after[0]):
            raise Wrong(
                "the two networks now share their weights: changing one changes the other.\n"
                "  Copy the numbers (`copy_`, `lerp_`), not the tensors."
            )


@exercise
def check_greedy(function):
    """``function(q_net, obs)`` to the best action of every observation, (N,) whole numbers."""
    torch.manual_seed(0)
    q_net = _net()
    for size in (50, 3, 1):
        obs = torch.randn(size, 4)
        with torch.no_grad():
            q = q_net(obs)
        answer = call(lambda given: function(q_net, given), obs)
        if isinstance(answer, tuple):
            raise Wrong(
                "`max(dim=1)` returns values and positions; the action is the position: `argmax`"
            )
        if isinstance(answer, torch.Tensor) and answer.requires_grad:
            raise Wrong("these are values with a gradient; expected actions, which have none")
        again = [call(lambda given: function(q_net, given), obs) for _ in range(20)]
        if any(not np.array_equal(np.asarray(a), np.asarray(again[0])) for a in again):
            raise Wrong(
                "called again, it gives other actions: it still explores.\n  An evaluation that "
                "explores measures ε as much as the agent."
            )
        mistakes = [
            ("These are the values; the action is the *position* of the largest.", q.max(1).values),
            ("That is the worst action.", q.argmin(dim=1)),
            ("The maximum runs over the observations: use dim=1.", q.argmax(dim=0)),
        ]
        compare(answer, q.argmax(dim=1), "actions", mistakes, [f"row {i}" for i in range(size)])
        if torch.as_tensor(answer).is_floating_point():
            raise Wrong("the actions are right, but floats: an environment wants whole numbers")


@exercise
def check_reported_score(function):
    """``function(selection, test)``, (K,) scores each, to the one number to report."""
    rng = np.random.default_rng(0)
    for count in (5, 9, 2):
        selection, test = rng.normal(400, 20, (2, count))
        while np.argmax(selection) == np.argmax(test):
            test = rng.normal(400, 20, count)
        best = np.argmax(selection)
        compare(
            call(function, selection, test),
            test[best],
            "score",
            [
                ("That score chose the winner, so luck helped it. Report its *test* score.",
                 selection[best]),
                ("You chose by the test score. Then it is a selection score, too.", test.max()),
                ("That is the mean of all checkpoints; you keep only one.", test.mean()),
                ("That is the last checkpoint; you keep the one with the best selection score.",
                 test[-1]),
                ("That is the position of the checkpoint; report its test score.", best),
                ("That still contains the lucky score. Use the test score alone.",
                 (selection[best] + test[best]) / 2),
            ],
        )  # fmt: skip


@exercise
def check_same_lag(function):
    """``function(tau)``: the hard period with the same mean age of the weights."""
    cases = [0.02, 0.005, 0.1, 0.5, 1.0]
    tau = np.array(cases)
    asked = [f"τ = {t:g}" for t in cases]
    answers = call_each(function, [(t,) for t in cases], asked)
    compare(
        answers,
        2 / tau - 1,
        "period C",
        [
            ("That is the mean age of the soft target. Which C gives (C − 1)/2 = that?",
             (1 - tau) / tau),
            ("1/τ is about the mean age of the soft target; the hard one is C − 1 old at most "
             "and half of that on average.", 1 / tau),
            ("Nearly: the ages of a hard target run from 0 to C − 1, and their mean is "
             "(C − 1)/2.", 2 / tau),
            ("Nearly: the ages of a hard target run from 0 to C − 1, and their mean is "
             "(C − 1)/2.", 2 * (1 - tau) / tau),
            ("The mean of 0, 1, …, C − 1 is (C − 1)/2, so C is twice the age *plus* 1.",
             2 * (1 - tau) / tau - 1),
        ],
        asked,
    )  # fmt: skip
