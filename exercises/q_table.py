"""Checks for notebook 01: returns, one Q-update, ties, bins."""

import numpy as np

from exercises import Open, Wrong, call, call_each, compare, exercise


@exercise
def check_returns(function):
    """``function(rewards, gamma)`` to the discounted return from every step on, (T,)."""
    rng = np.random.default_rng(0)
    for rewards in (rng.normal(size=6), np.ones(1), np.array([0.0, 0.0, 1.0])):
        gamma, expected = 0.5, np.zeros(len(rewards))
        for t in reversed(range(len(rewards))):
            after = expected[t + 1] if t + 1 < len(rewards) else 0.0
            expected[t] = rewards[t] + gamma * after
        powers = gamma ** np.arange(len(rewards))
        from_start = np.array([(powers * rewards)[t:].sum() for t in range(len(rewards))])
        undiscounted = np.cumsum(rewards[::-1])[::-1]
        compare(
            call(function, rewards, gamma),
            expected,
            "returns",
            [
                ("γ is missing.", undiscounted),
                (
                    "Every return is discounted from the first step of the game; it should be "
                    "discounted from its own step: divide by γ^t, or go backwards.",
                    from_start,
                ),
                ("These are the rewards so far; a return counts what is still to come.",
                 np.cumsum(rewards)),
                ("The reward of the step itself is left out.", expected - rewards),
                ("That is one number; expected one for every step.", expected[0]),
            ],
        )  # fmt: skip


@exercise
def check_q_update(function):
    """``function(q, state, action, reward, next_state, terminated, alpha, gamma)``: new table."""
    rng = np.random.default_rng(0)
    for terminated in (False, True):
        q = rng.normal(size=(4, 2)) + 1
        state, action, reward, next_state, alpha, gamma = 1, 0, -1.0, 2, 0.25, 0.9

        def updated(target, q=q, state=state, action=action, alpha=alpha):
            new = q.copy()
            new[state, action] += alpha * (target - q[state, action])
            return new

        future = 0.0 if terminated else gamma * q[next_state].max()
        goes_on = gamma * q[next_state].max()
        replaced = q.copy()
        replaced[state, action] = reward + future
        mistakes = [
            (
                "That counts a future after the end of the game: where `terminated` is true the "
                "target is the reward alone.",
                updated(reward + goes_on),
            ),
            ("α is not used: the entry jumps to the target at once.", replaced),
            ("γ is missing.", updated(reward + (0.0 if terminated else q[next_state].max()))),
            (
                "That is the best value of the state itself; the target looks at the *next* one.",
                updated(reward + (0.0 if terminated else gamma * q[state].max())),
            ),
            (
                "That is the largest entry of the whole table, or of a column; the best action "
                "of the next state is wanted: `q[next_state].max()`.",
                updated(reward + (0.0 if terminated else gamma * q.max())),
            ),
        ]
        given = q.copy()
        answer = function(given, state, action, reward, next_state, terminated, alpha, gamma)
        changed = not np.array_equal(given, q)
        if (answer is None or answer is Ellipsis) and not changed:
            raise Open
        table = given if answer is None or answer is Ellipsis else answer  # in place is fine too
        compare(table, updated(reward + future), "table", mistakes)


@exercise
def check_choose(function):
    """``function(q_values, epsilon, rng)`` to an action: ties are broken at random."""
    rng = np.random.default_rng(0)
    q_values, draws = np.array([1.0, 3.0, 3.0, 0.0]), 4_000

    def shares(values, epsilon):
        found = [function(values.copy(), epsilon, rng) for _ in range(draws)]
        if found[0] is None or found[0] is Ellipsis:
            raise Open
        actions = np.array([int(a) for a in found])
        if not ((actions >= 0) & (actions < len(values))).all():
            raise Wrong(f"expected actions 0 to {len(values) - 1}, got {actions.min()} to "
                        f"{actions.max()}")  # fmt: skip
        return np.bincount(actions, minlength=len(values)) / draws

    greedy = shares(q_values, 0.0)
    if greedy[1] == 1.0 or greedy[2] == 1.0:
        raise Wrong(
            "actions 1 and 2 are equally good, but only one of them is ever taken.\n  `argmax` "
            "returns the first of several; choose among all `np.flatnonzero(q == q.max())`."
        )
    if greedy[0] + greedy[3] > 0:
        raise Wrong("with ε = 0 only the best actions may be taken; others were.\n  "
                    "Is ε compared the right way round?")  # fmt: skip
    if abs(greedy[1] - 0.5) > 0.05:
        raise Wrong(f"expected both best actions half the time, got {greedy[1]:.2f} and "
                    f"{greedy[2]:.2f}")  # fmt: skip
    always = shares(q_values, 1.0)
    if abs(always - 0.25).max() > 0.05:
        raise Wrong(f"with ε = 1 expected all actions equally often, got shares "
                    f"{always.round(2).tolist()}")  # fmt: skip
    some = shares(q_values, 0.4)
    if abs(some[0] - 0.1) > 0.025:
        hint = "A random draw may hit the best actions as well; do not leave them out."
        raise Wrong(f"with ε = 0.4 expected action 0 in 0.10 of the draws, got {some[0]:.2f}.\n  "
                    + hint)  # fmt: skip


@exercise
def check_bins(function):
    """``function(value, low, high, count)`` to the number of the bin, 0 to count - 1."""
    low, high, count = -2.4, 2.4, 6
    values = [-2.39, -1.9, -1.5, -0.9, -0.1, 0.1, 1.0, 2.39, -7.0, 9.0]
    raw = np.floor((np.array(values) - low) / (high - low) * count)
    expected = raw.clip(0, count - 1)
    compare(
        call_each(function, [(v, low, high, count) for v in values]),
        expected,
        "bins",
        [
            (
                "Values beyond the ends fall out of the table: they belong to the first and the "
                "last bin.",
                raw,
            ),
            ("The numbers begin at 1; a table begins at 0.", expected + 1),
            ("That is one bin too many at the upper end.", raw.clip(0, count)),
            (
                "The bins are rounded, not cut: the first and the last are only half as wide.",
                np.round((np.array(values) - low) / (high - low) * (count - 1)).clip(0, count - 1),
            ),
        ],
    )
