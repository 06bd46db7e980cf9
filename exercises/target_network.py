"""Checks for notebook 03: targets, losses, soft updates, exploration, evaluation."""

import numpy as np
import torch
from torch import nn

from exercises import Nothing, Open, Wrong, call, call_each, compare, exercise, nothing

GAMMA = 0.9


def _net(outputs=3):
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, outputs))


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
                "That takes the time limit for an end. A truncated game could have gone on, so "
                "its future counts; only `terminated` removes it.",
                reward + GAMMA * (1 - ends) * best,
            ),
            (
                "That counts a future after the end of the game: where `terminated` is true "
                "nothing follows.",
                reward + GAMMA * best,
            ),
            ("γ is missing.", reward + goes_on * best),
            (
                "That is the mean over the actions; the target asks for the best one.",
                reward + GAMMA * goes_on * next_q.mean(dim=1),
            ),
            (
                "The mask should be 1 where the game goes on and 0 where it ended; yours is the "
                "other way round.",
                reward + GAMMA * terminated.float() * best,
            ),
            (
                "The reward is masked as well; only the future ends.",
                goes_on * (reward + GAMMA * best),
            ),
            (
                "That is the largest value of the whole batch; each row has its own: dim=1.",
                reward + GAMMA * goes_on * next_q.max(),
            ),
            (
                "(B,) met (B, 1) and became a (B, B) table: leave out `keepdim`, or drop that "
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
    """``function(q_net, obs, action, target)`` to the mean squared error, a number to train on."""
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
                "(B, 1) minus (B,) became a (B, B) table: every value met every target. Drop the "
                "second dimension after `gather`, with `[:, 0]` or `squeeze(1)`.",
                ((column - target) ** 2).mean(),
            ),
            (
                "That is the sum; the mean does not depend on the batch size.",
                ((q - target) ** 2).sum(),
            ),
            ("That is half of it.", 0.5 * expected),
            (
                "That takes the best action's value; the loss is about the action *taken*.",
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
                "a gradient.\n  Leave out `.item()`, `.detach()`, `no_grad` and numpy on the way "
                "from `q_net` to the loss."
            )
        if any(p.grad is not None for p in q_net.parameters()):
            raise Wrong("the gradients are there already: `backward()` is the training loop's.")
        loss.backward()
        if target.grad is not None and target.grad.abs().sum() > 0:
            raise Wrong(
                "the target is trained as well: a gradient reaches it.\n  It is a number to aim "
                "at; use `target.detach()`, or compute it under `torch.no_grad()`."
            )
        for mine, theirs in zip(q_net.parameters(), reference, strict=True):
            compare(mine.grad if mine.grad is not None else 0 * theirs, theirs, "gradients")


@exercise
def check_soft_update(function):
    """``function(target_net, q_net, tau)`` moves the target network; what it returns is ignored."""
    torch.manual_seed(0)
    for tau in (0.25, 1.0):
        q_net, target_net = _net(), _net()
        before = [p.detach().clone() for p in target_net.parameters()]
        goal = [p.detach().clone() for p in q_net.parameters()]
        function(target_net, q_net, tau)
        after = [p.detach().clone() for p in target_net.parameters()]
        if any(not torch.equal(p, g) for p, g in zip(q_net.parameters(), goal, strict=True)):
            raise Wrong("the Q-network has changed.\n  It is the target network that follows.")
        if all(torch.equal(a, b) for a, b in zip(after, before, strict=True)):
            raise Open(
                "The target network has not moved. (`p = …` only gives the loop variable a new "
                "value; `p.copy_(…)` or `p.lerp_(…)` change the weights.)"
            )
        for a, b, g in zip(after, before, goal, strict=True):
            mistakes = [
                (
                    "τ and 1 − τ have changed places: the target keeps the share 1 − τ of itself.",
                    tau * b + (1 - tau) * g,
                ),
                ("A hard copy; τ is not used.", g),
                ("This one has not moved. Are the biases left out?", b),
                ("τ times the Q-network was added; the old share must shrink too.", b + tau * g),
            ]
            compare(a, (1 - tau) * b + tau * g, "weights", mistakes)
        with torch.no_grad():
            next(q_net.parameters()).add_(1.0)
        if not torch.equal(next(target_net.parameters()), after[0]):
            raise Wrong(
                "the two networks share their weights now: a change of one changes the other.\n"
                "  Copy the numbers (`copy_`, `lerp_`), not the tensors."
            )


@exercise
def check_epsilon(function):
    """``function(agent_steps)``: from 1.0 in a straight line to 0.05 at step 1,000, then 0.05."""
    steps = [0, 1, 250, 500, 999, 1_000, 1_001, 5_000]
    line = np.array([1.0 - 0.95 * t / 1_000 for t in steps])
    expected = np.maximum(line, 0.05)
    asked = [f"agent step {t:,}" for t in steps]
    answers = call_each(function, [(t,) for t in steps], asked)
    compare(
        answers,
        expected,
        "ε",
        [
            ("It never stops falling: after 1,000 steps it should stay at 0.05.", line),
            ("It never falls. Does it use `agent_steps`?", np.ones(len(steps))),
            (
                "It falls to 0 first: the line runs from 1.0 to 0.05, not to 0.",
                np.maximum([1.0 - t / 1_000 for t in steps], 0.05),
            ),
            ("It rises: start and end have changed places.", np.minimum(1.05 - line, 1.0)),
            ("It is at its end from the start.", np.full(len(steps), 0.05)),
            ("It goes on to 0; it should stop at 0.05.", np.maximum(line, 0.0)),
        ],
        asked,
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
        if isinstance(answer, torch.Tensor) and answer.requires_grad:
            raise Wrong("these are values with a gradient; expected actions, which have none")
        again = [call(lambda given: function(q_net, given), obs) for _ in range(20)]
        if any(not np.array_equal(np.asarray(a), np.asarray(again[0])) for a in again):
            raise Wrong(
                "asked again, it gives other actions: it still explores.\n  Whoever evaluates with "
                "the exploring policy measures ε, not the agent."
            )
        mistakes = [
            ("These are the values; the action is the *place* of the largest.", q.max(1).values),
            ("That is the worst action.", q.argmin(dim=1)),
            ("The maximum runs over the observations: use dim=1.", q.argmax(dim=0)),
        ]
        compare(answer, q.argmax(dim=1), "actions", mistakes, [f"row {i}" for i in range(size)])
        if torch.as_tensor(answer).is_floating_point():
            raise Wrong("the actions are right, but floats: whole numbers are needed to act")
