"""Checks for notebook 06: n-step targets, priorities, sum tree, importance weights."""

import numpy as np
import torch

from exercises import WrongAnswer, as_array, call, call_each, compare, exercise, number_kinds


def _target(reward, terminated, next_value, gamma, *, ends=True, power=None, shift=0):
    """Targets (B,), row by row; the arguments by name are usual mistakes."""
    found = []
    rows = zip(reward.tolist(), terminated.tolist(), next_value.tolist(), strict=True)
    for rewards, over, value in rows:
        total, alive = 0.0, True
        for k, (r, end) in enumerate(zip(rewards, over, strict=True)):
            total += alive * gamma ** (k + shift) * r
            alive = alive and not (end and ends)
        found.append(total + alive * gamma ** (len(rewards) if power is None else power) * value)
    return np.array(found)


@exercise
def check_n_step_target(function):
    """``function(reward, terminated, next_value, gamma)``: (B, n), (B, n), (B,) to (B,)."""
    torch.manual_seed(0)
    cases = []
    for n, gamma in ((3, 0.5), (4, 0.9)):
        reward, next_value = torch.randn(n + 2, n) + 1, torch.rand(n + 2) + 2
        terminated = torch.eye(n + 2, n, dtype=torch.bool)  # row i ends with step i, row n does not
        terminated[n + 1, [0, n - 1]] = True  # and the last row holds two ends
        cases.append((reward, terminated, next_value, gamma))
    for size, n, gamma in ((1, 3, 0.7), (4, 1, 0.8), (1, 1, 0.6), (3, 3, 0.99), (12, 5, 0.3)):
        for chance in (0.0, 0.3, 1.0):
            terminated = torch.rand(size, n) < chance
            cases.append((torch.randn(size, n) - 1, terminated, torch.randn(size) - 2, gamma))
    ones = torch.ones(6, 4)
    cases.append((ones, torch.eye(6, 4, dtype=torch.bool), -2 * torch.ones(6), 0.9))
    for inputs in cases:
        mistakes = _n_step_mistakes(*inputs)
        compare(call(function, *inputs), _target(*inputs), "targets", mistakes)


def _n_step_mistakes(reward, terminated, next_value, gamma):
    """Usual mistakes of ``check_n_step_target`` for one batch."""
    inputs, n = (reward, terminated, next_value, gamma), reward.shape[1]
    discounts = gamma ** torch.arange(n)
    goes_on = ~terminated.any(dim=1)
    all_rewards = (discounts * reward).sum(dim=1)
    bootstrap = gamma**n * next_value
    last_end = torch.where(goes_on, n - 1, n - 1 - terminated.flip(1).int().argmax(dim=1))
    to_last_end = torch.arange(n) <= last_end[:, None]
    before_the_end = terminated.long().cumsum(dim=1) == 0
    to_the_end = terminated.long().cumsum(dim=1) - terminated.long() == 0
    return [
        (
            "That counts rewards after the end of the game. What follows `terminated` belongs to "
            "the next game.",
            all_rewards + goes_on * bootstrap,
        ),
        (
            "The game has ended inside the window, so the next value must not count.",
            _target(*inputs) + (~goes_on * bootstrap).numpy(),
        ),
        ("That ignores `terminated`.", _target(*inputs, ends=False)),
        (
            "The next value is n steps ahead: its discount is γⁿ, not γ.",
            _target(*inputs, power=1),
        ),
        (
            "The next value is n steps ahead, not n − 1: its discount is γⁿ.",
            _target(*inputs, power=n - 1),
        ),
        ("The next value is not discounted.", _target(*inputs, power=0)),
        (
            "The first reward is not discounted: its factor is γ⁰ = 1.",
            _target(*inputs, shift=1),
        ),
        (
            "The reward of the step that ends the game still counts.",
            (discounts * reward * before_the_end).sum(dim=1) + goes_on * bootstrap,
        ),
        (
            "A window may contain two ends; the target stops at the *first*.",
            (discounts * reward * to_last_end).sum(dim=1) + goes_on * bootstrap,
        ),
        (
            "That looks at the last step only; the game may end at any step of the window.",
            all_rewards + ~terminated[:, -1] * bootstrap,
        ),
        (
            "That is the 1-step target: add the discounted rewards of all n steps.",
            reward[:, 0] + gamma * ~terminated[:, 0] * next_value,
        ),
        (
            "The discounts are in the reverse order: the first reward has γ⁰ = 1, the last γⁿ⁻¹.",
            (discounts.flip(0) * reward * to_the_end).sum(dim=1) + goes_on * bootstrap,
        ),
        (
            "γ is an argument of the function; yours has a fixed value.",
            _target(reward, terminated, next_value, 0.5),
        ),
        (
            "n is the number of rewards in a row, `reward.shape[1]`; yours is always 3.",
            _target(*inputs, power=3),
        ),
        (
            "The next value can be negative; yours is never below 0.",
            _target(reward, terminated, next_value.clamp(min=0), gamma),
        ),
    ]


@exercise
def check_probabilities(function):
    """``function(errors, alpha, epsilon)``: TD errors (N,) to probabilities (N,)."""
    rng = np.random.default_rng(0)
    cases = []
    for size, alpha, epsilon in ((5, 0.5, 0.1), (4, 0.7, 0.5), (3, 0.0, 0.2)):
        errors = rng.normal(size=size) * 3
        errors[1] = -abs(errors[1])
        cases.append((errors, alpha, epsilon))
    cases += [
        (np.array([3, -4, 0, 1, -1]), 0.6, 0.01),  # whole numbers
        (np.array([3.0, -3.0, 3.0, 0.5]), 1.0, 0.3),  # equal ones
        (np.array([0.0, -1.5, 4.0, 0.0]), 0.4, 0.0),
        (np.array([-2.5]), 0.8, 0.05),
        (np.array([0.0]), 0.8, 0.05),
        (-rng.random(40), 0.35, 1e-3),
        (rng.normal(size=7) / 100, 0.9, 0.002),
    ]
    for errors, alpha, epsilon in cases:
        size_of_error = np.abs(errors)
        powers = (size_of_error + epsilon) ** alpha
        linear = alpha * (size_of_error + epsilon)
        mistakes = [
            ("These do not sum to 1: divide by the sum of all $p^α$.", powers),
            (
                "ε is missing: a transition with error 0 would never be drawn again.",
                _share(size_of_error**alpha),
            ),
            (
                "ε belongs to the priority, before the power α.",
                _share(size_of_error**alpha + epsilon),
            ),
            ("α is missing.", _share(size_of_error + epsilon)),
            ("α is a power, not a factor (a factor cancels out).", _share(linear)),
            (
                "A power after the division no longer sums to 1: first the power, then divide.",
                _share(size_of_error + epsilon) ** alpha,
            ),
            (
                "A negative error is a surprise, too: take the absolute value.",
                _share((np.maximum(errors, 0) + epsilon) ** alpha),
            ),
            ("Divide by the sum, not by the largest.", powers / powers.max()),
            ("That is a softmax; priorities are in proportion to $p^α$.", _share(np.exp(powers))),
            (
                "Add ε after taking the absolute value, not before.",
                _share(np.abs(errors + epsilon) ** alpha),
            ),
            (
                "Take the absolute value of the error, not its square.",
                _share((errors**2 + epsilon) ** alpha),
            ),
        ]
        answer = call(function, errors, alpha, epsilon)
        if np.isnan(as_array(answer)).any():
            raise WrongAnswer(
                "some probabilities are NaN: a negative number has no fractional power.\n  A "
                "negative error is a surprise, too: take the absolute value first."
            )
        compare(answer, _share(powers), "probabilities", mistakes)


def _share(priorities):
    """Each priority's share of their sum."""
    return priorities / (priorities.sum() or 1.0)


@exercise
def check_rank_probabilities(function):
    """``function(errors, alpha)``: TD errors (N,) to probabilities (N,) by rank."""
    rng = np.random.default_rng(1)
    cases = [(rng.normal(size=5) * 10, 1.0), (rng.normal(size=6) * 10, 0.5)]
    cases += [
        (rng.permutation(np.array([3, -4, 0, 12, -1, 7])), 0.7),  # whole numbers
        (-rng.random(9), 0.6),
        (rng.random(30) / 1_000, 0.9),
        (np.array([-2.5]), 0.8),
        (np.array([0.02, -1_000.0]), 0.35),
        (rng.normal(size=4), 0.0),
    ]
    for errors, alpha in cases:
        size = len(errors)
        order = np.argsort(-np.abs(errors))
        rank = np.empty(size)
        rank[order] = np.arange(1, size + 1)
        powers = rank**-alpha
        signed = np.empty(size)
        signed[np.argsort(-errors)] = np.arange(1, size + 1)
        in_order = np.arange(1, size + 1) ** -alpha
        mistakes = [
            ("These do not sum to 1: divide by the sum.", powers),
            (
                "Rank 1 is the *largest* error; yours is the smallest.",
                (size + 1 - rank) ** -alpha / powers.sum(),
            ),
            (
                "Rank by |δ|: a large negative error is a surprise, too.",
                signed**-alpha / powers.sum(),
            ),
            (
                "These are the probabilities in the order of the ranks; give each transition its "
                "own.",
                in_order / in_order.sum(),
            ),
            (
                "`argsort` says which transition has rank k, not which rank a transition has.",
                (order + 1.0) ** -alpha / powers.sum(),
            ),
            ("α is missing.", (1 / rank) / (1 / rank).sum()),
            ("p = 1 / rank: the first rank is drawn most.", rank**alpha / (rank**alpha).sum()),
        ]
        compare(call(function, errors, alpha), powers / powers.sum(), "probabilities", mistakes)


@exercise
def check_find(function):
    """``function(priorities, number)``: index on which the number falls, as in the sum tree."""
    for priorities, numbers in (
        ([0.0, 3.0, 1.0, 0.0, 4.0, 2.0], [0.2, 3.9, 9.99, 3.0, 4.0, 0.0, 8.5]),
        ([2.0, 1, 1, 0, 0, 2, 0], [0.0, 0.5, 1.75, 2.0, 2.5, 3.0, 3.99, 4.0, 4.25, 5.75]),
        ([0.25, 0.25, 0.25, 0.25], [0.0, 0.2, 0.25, 0.4, 0.5, 0.6, 0.75, 0.99]),
        ([0.0, 0, 5, 0, 0], [0.0, 0.1, 2.5, 4.75]),
        ([1.5], [0.0, 1.25]),
        ([0.5, 0.0, 8.0, 0.125, 0.0], [0.4, 0.5, 8.25, 8.5, 8.6]),
        ([1.0, 2.0] * 10, [0.9, 1.0, 14.5, 15.0, 29.75]),
    ):
        priorities = np.array(priorities)
        sums, total = np.cumsum(priorities), priorities.sum()
        last = len(priorities) - 1
        expected = np.searchsorted(sums, numbers, side="right")
        same = [int(np.flatnonzero(priorities == priorities[i])[0]) for i in expected]
        shown = ", ".join(f"{s:g}" for s in sums[:8]) + (", …" if last >= 8 else "")
        mistakes = [
            ("One too far: indices start at 0.", expected + 1),
            ("One too few.", expected - 1),
            (
                "A number equal to a running sum belongs to the *next* index: `<`, not `<=`. "
                "Otherwise an index with priority 0 can be drawn.",
                np.searchsorted(sums, numbers, side="left"),
            ),
            (
                f"Compare with the running *sums* ({shown}), not with single priorities.",
                [next((i for i, p in enumerate(priorities) if p > x), last) for x in numbers],
            ),
            (
                f"That cuts 0 … {total:g} into equal parts; each part must be as wide as its "
                "priority.",
                [int(x / total * len(priorities)) for x in numbers],
            ),
            (
                "Several priorities can be equal; yours returns the first index that has this one.",
                same,
            ),
        ]
        if (priorities == priorities.max()).sum() == 1:
            hint = "That is always the index of the largest priority; it must depend on the number."
            mistakes.append((hint, np.full(len(numbers), priorities.argmax())))
        asked = [f"number {x:g}" for x in numbers]
        answers = call_each(function, [(priorities, x) for x in numbers], asked)
        compare(answers, expected, "the index", mistakes, asked)
        if not number_kinds(answers) <= {"i", "u"}:
            raise WrongAnswer(
                f"the index is right, but {answers[0]!r} is not a whole number: it cannot index an "
                "array.\n  Use `int(…)`."
            )


@exercise
def check_weights(function):
    """``function(probability, number_stored, beta)``: importance weights (B,), the largest is 1."""
    rng = np.random.default_rng(0)
    cases = [
        (rng.uniform(1e-4, 1e-2, size), 1_000, beta)
        for size, beta in ((6, 0.5), (4, 1.0), (5, 0.0))
    ]
    cases += [
        (rng.uniform(1e-6, 1e-4, 32), 500_000, 0.4),
        (np.array([0.5, 0.25, 0.25]), 3, 0.7),  # equal ones
        (np.array([0.3, 0.7, 0.3]), 2, 0.9),
        (np.array([0.02]), 60, 0.6),
        (np.array([1.0]), 1, 0.35),
        (rng.uniform(0.1, 0.9, 7), 10, 0.27),  # drawn more often than 1/N: all below 1 at first
        (rng.uniform(1e-5, 2e-5, 7), 10, 1.0),
    ]
    for probability, stored, beta in cases:
        raw = (stored * probability) ** -beta
        mistakes = [
            (
                "They are not normalised: divide by the largest weight in the batch, so that none "
                "is above 1.",
                raw,
            ),
            (
                "The other way round: a transition that is drawn often must count less.",
                (stored * probability) ** beta / ((stored * probability) ** beta).max(),
            ),
            (
                "Upside down: divide each weight by the largest, not the largest by each weight.",
                raw.max() / raw,
            ),
            (
                "That divides by the smallest weight, so all are at least 1; divide by the "
                "largest.",
                raw / raw.min(),
            ),
            ("That divides by the sum; divide by the largest.", raw / raw.sum()),
            (
                "That divides by the mean, so some weights are above 1; divide by the largest.",
                raw / raw.mean(),
            ),
            ("That cuts the weights off at 1; divide by the largest.", np.minimum(raw, 1)),
            (
                "The largest weight is 1 also when all are below 1 at first: always divide by it.",
                raw / max(raw.max(), 1),
            ),
            (
                "β is the power of the whole fraction, $(N P)^{-β}$.",
                1 / (stored * probability**beta),
            ),
            ("β is missing.", probability**-1.0 / (probability**-1.0).max()),
        ]
        answer = call(function, probability, stored, beta)
        compare(answer, raw / raw.max(), "weights", mistakes)
