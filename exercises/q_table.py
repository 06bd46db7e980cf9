"""Checks for notebook 01: returns, one Q-update, ties, bins."""

import numpy as np

from exercises import Nothing, Wrong, as_array, call, call_each, compare, exercise, nothing


@exercise
def check_returns(function):
    """``function(rewards, gamma)`` to the discounted return from every step on, (T,)."""
    rng = np.random.default_rng(0)
    for gamma, size in ((0.5, 6), (0.9, 4), (0.5, 1)):
        rewards = rng.normal(size=size)
        expected = np.zeros(len(rewards))
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
                ("They stand in the wrong order: the return of the first step comes first.",
                 expected[::-1]),
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
            (
                "That is the value of the same action in the next state; the best one counts.",
                updated(reward + (0.0 if terminated else gamma * q[next_state, action])),
            ),
            (
                "The old entry is not taken off: it moves by α times target *minus entry*.",
                updated(reward + future + q[state, action]),
            ),
            ("The reward counts at the end, too; only the future does not.", updated(0.0)),
            ("Nothing was learned. A step that ends the game has a target, too: its reward.", q),
            ("That is the new entry alone; hand back the whole table.",
             updated(reward + future)[state, action]),
        ]  # fmt: skip
        given = q.copy()
        answer = function(given, state, action, reward, next_state, terminated, alpha, gamma)
        changed = not np.array_equal(given, q)
        if nothing(answer) and not changed and not terminated:
            raise Nothing
        if nothing(answer) or (changed and as_array(answer).shape != q.shape):
            answer = given  # in place is fine, too
        compare(answer, updated(reward + future), "table", mistakes)


@exercise
def check_choose(function):
    """``function(q_values, epsilon, rng)`` to an action: ties are broken at random."""
    rng = np.random.default_rng(0)
    q_values, draws = np.array([1.0, 3.0, 3.0, 0.0]), 4_000

    def shares(values, epsilon):
        found = [function(values.copy(), epsilon, rng) for _ in range(draws)]
        empty = sum(map(nothing, found))
        if empty == draws and epsilon == 0:
            raise Nothing
        if empty:
            raise Wrong(f"with ε = {epsilon:g} nothing comes back in {empty / draws:.0%} of the "
                        "draws: is a `return` missing?")  # fmt: skip
        for a in map(np.asarray, found):
            if a.ndim:
                raise Wrong(f"expected one action, a number; got an array of shape {a.shape}")
            if a.dtype.kind not in "iu":
                raise Wrong(f"expected an action, a whole number; got {a}.\n  Is that the *value* "
                            "of the action? Its place in the row is wanted.")  # fmt: skip
        actions = np.array(found, int)
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
    if always[1] + always[2] == 0:
        raise Wrong("with ε = 1 the best actions are never taken.\n  A random draw may hit them as "
                    "well; do not leave them out.")  # fmt: skip
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
    for low, high, count in ((-2.4, 2.4, 6), (1.0, 11.0, 5)):
        inside = low + (high - low) * np.array([0.01, 0.3, 0.45, 0.52, 0.7, 0.99])
        values = [low - 4.0, *inside, high + 7.0]
        ratio = (np.array(values) - low) / (high - low) * count
        raw = np.floor(ratio)
        beyond = ("Values beyond the ends fall out of the table: they belong to the first and the "
                  "last bin.")  # fmt: skip
        mistakes = [
            (beyond, raw),
            (beyond, np.trunc(ratio)),
            (beyond, raw.clip(0)),
            (beyond, raw.clip(None, count - 1)),
            ("The numbers begin at 1; a table begins at 0.", raw.clip(0, count - 1) + 1),
            ("That is one bin too many at the upper end.", raw.clip(0, count)),
            (
                "The bins are rounded, not cut: the first and the last are only half as wide.",
                np.round((np.array(values) - low) / (high - low) * (count - 1)).clip(0, count - 1),
            ),
        ]
        asked = [f"value {v:.3g} ({low:g} to {high:g} in {count} bins)" for v in values]
        answers = call_each(function, [(v, low, high, count) for v in values], asked)
        compare(answers, raw.clip(0, count - 1), "bins", mistakes, asked)
        if np.array([np.asarray(a) for a in answers]).dtype.kind not in "iu":
            raise Wrong(f"the bin is right, but {answers[0]!r} is no whole number: a table cannot "
                        "be indexed with it.\n  `int(…)` makes one.")  # fmt: skip
