"""Checks for notebook 06: n-step targets, priorities, sum tree, importance weights."""

import numpy as np
import torch

from exercises import Wrong, as_array, call, call_each, compare, exercise


def _target(reward, terminated, next_value, gamma, *, ends=True, power=None, shift=0):
    """Targets (B,), row by row; the arguments by name are usual mistakes."""
    found = []
    for rewards, over, value in zip(reward.tolist(), terminated.tolist(), next_value.tolist(),
                                    strict=True):  # fmt: skip
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
    for n, gamma in ((3, 0.5), (4, 0.9)):
        reward, next_value = torch.randn(n + 2, n) + 1, torch.rand(n + 2) + 2
        terminated = torch.eye(n + 2, n, dtype=torch.bool)  # row i ends with step i, row n does not
        terminated[n + 1, [0, n - 1]] = True  # and the last row holds two ends
        given = reward, terminated, next_value, gamma
        discounts = gamma ** torch.arange(n)
        goes_on = ~terminated.any(dim=1)
        all_rewards = (discounts * reward).sum(dim=1)
        bootstrap = gamma**n * next_value
        last_end = torch.where(goes_on, n - 1, n - 1 - terminated.flip(1).int().argmax(dim=1))
        to_last_end = torch.arange(n) <= last_end[:, None]
        mistakes = [
            ("That counts rewards after the end of the game. What follows `terminated` belongs to "
             "the next game.", all_rewards + goes_on * bootstrap),
            ("The game has ended inside the window, so the next value must not count.",
             _target(*given, ends=True) + (~goes_on * bootstrap).numpy()),
            ("That ignores `terminated`.", _target(*given, ends=False)),
            ("The next value is n steps ahead: its discount is γⁿ, not γ.",
             _target(*given, power=1)),
            ("The next value is n steps ahead, not n − 1: its discount is γⁿ.",
             _target(*given, power=n - 1)),
            ("The next value is not discounted.", _target(*given, power=0)),
            ("The first reward is not discounted: its factor is γ⁰ = 1.",
             _target(*given, shift=1)),
            ("The reward of the step that ends the game still counts.",
             ((discounts * reward * (terminated.long().cumsum(dim=1) == 0)).sum(dim=1)
              + goes_on * bootstrap)),
            ("A window may contain two ends; the target stops at the *first*.",
             (discounts * reward * to_last_end).sum(dim=1) + goes_on * bootstrap),
            ("That looks at the last step only; the game may end at any step of the window.",
             all_rewards + ~terminated[:, -1] * bootstrap),
            ("That is the 1-step target: add the discounted rewards of all n steps.",
             reward[:, 0] + gamma * ~terminated[:, 0] * next_value),
            ("The discounts are in the reverse order: the first reward has γ⁰ = 1, the last γⁿ⁻¹.",
             ((discounts.flip(0) * reward * (terminated.long().cumsum(dim=1)
               - terminated.long() == 0)).sum(dim=1) + goes_on * bootstrap)),
            ("γ is an argument of the function; yours has a fixed value.",
             _target(*given[:3], 0.5)),
        ]  # fmt: skip
        compare(call(function, *given), _target(*given), "targets", mistakes)


@exercise
def check_probabilities(function):
    """``function(errors, alpha, epsilon)``: TD errors (N,) to probabilities (N,)."""
    rng = np.random.default_rng(0)
    for size, alpha, epsilon in ((5, 0.5, 0.1), (4, 0.7, 0.5), (3, 0.0, 0.2)):
        errors = rng.normal(size=size) * 3
        errors[1] = -abs(errors[1])
        size_of_error = np.abs(errors)
        powers = (size_of_error + epsilon) ** alpha
        clipped = (np.maximum(errors, 0) + epsilon) ** alpha
        late = size_of_error**alpha + epsilon
        linear = alpha * (size_of_error + epsilon)
        mistakes = [
            ("These do not sum to 1: divide by the sum of all $p^α$.", powers),
            ("ε is missing: a transition with error 0 would never be drawn again.",
             size_of_error**alpha / (size_of_error**alpha).sum()),
            ("ε belongs to the priority, before the power α.", late / late.sum()),
            ("α is missing.", (size_of_error + epsilon) / (size_of_error + epsilon).sum()),
            ("α is a power, not a factor (a factor cancels out).",
             linear / (linear.sum() or 1.0)),
            ("A power after the division no longer sums to 1: first the power, then divide.",
             ((size_of_error + epsilon) / (size_of_error + epsilon).sum()) ** alpha),
            ("A negative error is a surprise, too: take the absolute value.",
             clipped / clipped.sum()),
            ("Divide by the sum, not by the largest.", powers / powers.max()),
            ("That is a softmax; priorities are in proportion to $p^α$.",
             np.exp(powers) / np.exp(powers).sum()),
            ("Add ε after taking the absolute value, not before.",
             np.abs(errors + epsilon) ** alpha / (np.abs(errors + epsilon) ** alpha).sum()),
            ("Take the absolute value of the error, not its square.",
             (errors**2 + epsilon) ** alpha / ((errors**2 + epsilon) ** alpha).sum()),
        ]  # fmt: skip
        answer = call(function, errors, alpha, epsilon)
        if np.isnan(as_array(answer)).any():
            raise Wrong(
                "some are NaN, as a power of a negative number is. A negative error is a "
                "surprise, too: take the absolute value first."
            )
        compare(answer, powers / powers.sum(), "probabilities", mistakes)


@exercise
def check_rank_probabilities(function):
    """``function(errors, alpha)``: TD errors (N,) to probabilities (N,) by rank."""
    rng = np.random.default_rng(1)
    for size, alpha in ((5, 1.0), (6, 0.5)):
        errors = rng.normal(size=size) * 10
        order = np.argsort(-np.abs(errors))
        rank = np.empty(size)
        rank[order] = np.arange(1, size + 1)
        powers = rank**-alpha
        signed = np.empty(size)
        signed[np.argsort(-errors)] = np.arange(1, size + 1)
        in_order = np.arange(1, size + 1) ** -alpha
        mistakes = [
            ("These do not sum to 1: divide by the sum.", powers),
            ("Rank 1 is the *largest* error; yours is the smallest.",
             (size + 1 - rank) ** -alpha / powers.sum()),
            ("Rank by |δ|: a large negative error is a surprise, too.",
             signed**-alpha / powers.sum()),
            ("These are the probabilities in the order of the ranks; give each transition its own.",
             in_order / in_order.sum()),
            ("`argsort` says which transition has rank k, not which rank a transition has.",
             (order + 1.0) ** -alpha / powers.sum()),
            ("α is missing.", (1 / rank) / (1 / rank).sum()),
            ("p = 1 / rank: the first rank is drawn most.", rank**alpha / (rank**alpha).sum()),
        ]  # fmt: skip
        compare(call(function, errors, alpha), powers / powers.sum(), "probabilities", mistakes)


@exercise
def check_find(function):
    """``function(priorities, number)``: index on which the number falls, as in the sum tree."""
    priorities = np.array([0.0, 3.0, 1.0, 0.0, 4.0, 2.0])
    numbers = [0.2, 3.9, 9.99, 3.0, 4.0, 0.0, 8.5]
    sums = np.cumsum(priorities)
    expected = np.searchsorted(sums, numbers, side="right")
    mistakes = [
        ("One too far: indices start at 0.", expected + 1),
        ("One too few.", expected - 1),
        ("A number equal to a running sum belongs to the *next* index: `<`, not `<=`. Otherwise an "
         "index with priority 0 can be drawn.", np.searchsorted(sums, numbers, side="left")),
        ("Compare with the running *sums* (0, 3, 4, 4, 8, 10), not with single priorities.",
         [next((i for i, p in enumerate(priorities) if p > x), 5) for x in numbers]),
        ("That is always the index of the largest priority; it must depend on the number.",
         np.full(len(numbers), 4)),
        ("That cuts 0 … 10 into equal parts; each part must be as wide as its priority.",
         [int(x / 10 * 6) for x in numbers]),
    ]  # fmt: skip
    asked = [f"number {x:g}" for x in numbers]
    answers = call_each(function, [(priorities, x) for x in numbers], asked)
    compare(answers, expected, "the index", mistakes, asked)


@exercise
def check_weights(function):
    """``function(probability, number_stored, beta)``: importance weights (B,), the largest is 1."""
    rng = np.random.default_rng(0)
    for size, beta in ((6, 0.5), (4, 1.0), (5, 0.0)):
        probability = rng.uniform(1e-4, 1e-2, size)
        stored = 1_000
        raw = (stored * probability) ** -beta
        mistakes = [
            ("They are not normalised: divide by the largest weight in the batch, so that none is "
             "above 1.", raw),
            ("The other way round: a transition that is drawn often must count less.",
             (stored * probability) ** beta / ((stored * probability) ** beta).max()),
            ("Upside down: divide each weight by the largest, not the largest by each weight.",
             raw.max() / raw),
            ("That divides by the smallest weight, so all are at least 1; divide by the largest.",
             raw / raw.min()),
            ("That divides by the sum; divide by the largest.",
             raw / raw.sum()),
            ("That divides by the mean, so some weights are above 1; divide by the largest.",
             raw / raw.mean()),
            ("That cuts the weights off at 1; divide by the largest.", np.minimum(raw, 1)),
            ("β is the power of the whole fraction, $(N P)^{-β}$.",
             1 / (stored * probability**beta)),
            ("β is missing.", probability**-1.0 / (probability**-1.0).max()),
        ]  # fmt: skip
        answer = call(function, probability, stored, beta)
        compare(answer, raw / raw.max(), "weights", mistakes)
