"""Checks for notebook 01: returns, one Q-update, one episode, ties, bins."""

import numpy as np

from exercises import (
    ReturnedNothing,
    StillOpen,
    WrongAnswer,
    as_array,
    call,
    call_each,
    compare,
    exercise,
    is_missing,
    number_kinds,
)
from helpers.replay import Transition


@exercise
def check_returns(function):
    """``function(rewards, gamma)`` to the discounted return from every step on, (T,)."""
    rng = np.random.default_rng(0)
    cases = [(0.5, rng.normal(size=6)), (0.9, rng.normal(size=4)), (0.5, rng.normal(size=1))]
    cases += [(0.9, np.array([0, 0, 1])), (0.7, rng.integers(-3, 4, 12)), (0.8, np.array([-3]))]
    cases += [(0.3, -rng.random(9)), (1.0, rng.normal(size=5)), (0.99, np.ones(40))]
    for gamma, rewards in cases:
        expected = np.zeros(len(rewards))
        for t in reversed(range(len(rewards))):
            after = expected[t + 1] if t + 1 < len(rewards) else 0.0
            expected[t] = rewards[t] + gamma * after
        powers = gamma ** np.arange(len(rewards))
        from_start = np.array([(powers * rewards)[t:].sum() for t in range(len(rewards))])
        undiscounted = np.cumsum(rewards[::-1])[::-1]
        whole = [
            (
                "The fractions are cut off. `np.zeros_like(rewards)` makes whole numbers of whole "
                "rewards; use `np.zeros(len(rewards))`.",
                mistake,
            )
            for mistake in (np.trunc(expected), _truncated_returns(rewards, gamma))
        ]
        mistakes = [
            ("You discounted the rewards, but did not sum them.", powers * rewards),
            ("γ is missing.", undiscounted),
            (
                "You discounted every return from the first step of the episode. Discount each "
                "one from its own step: divide by γ^t, or go backwards.",
                from_start,
            ),
            (
                "You summed the rewards so far. A return sums the rewards still to come.",
                np.cumsum(rewards),
            ),
            ("The reward of the step itself is left out.", expected - rewards),
            ("The order is wrong: the return of the first step comes first.", expected[::-1]),
            ("You returned one number. Return one for every step.", expected[0]),
        ]
        answer = call(function, rewards, gamma)
        compare(answer, expected, "returns", whole if rewards.dtype.kind == "i" else mistakes)


def _truncated_returns(rewards, gamma):
    """Returns of whole rewards, cut off at each step on the way back."""
    returns = np.zeros(len(rewards) + 1, int)
    for t in reversed(range(len(rewards))):
        returns[t] = rewards[t] + gamma * returns[t + 1]
    return returns[:-1]


def _update(function, q, transition, alpha, gamma):
    """Call the learner's update with a copy of the table.

    Returns:
        the table: the one returned or the one changed in place; and whether anything came.
    """
    table = q.copy()
    answer = function(table, transition, alpha, gamma)
    changed = not np.array_equal(table, q)
    came = changed or not is_missing(answer)
    if is_missing(answer) or (changed and as_array(answer).shape != q.shape):
        answer = table  # in place is fine, too
    return answer, came


@exercise
def check_q_update(function):
    """``function(q_table, transition, alpha, gamma)``: changes one entry, or returns the table."""
    rng = np.random.default_rng(0)
    for case in range(14):
        states, actions, shift = 4, 2, 1.0
        obs, action, reward, next_obs, alpha, gamma = 1, 0, -1.0, 2, 0.25, 0.9
        terminated = case % 2 == 1
        if case > 1:
            states, actions = rng.integers(2, 7), rng.integers(1, 6)
            shift = -4.0 if case % 3 else 0.0  # -4: all entries of the table are negative
            obs, next_obs = (int(i) for i in rng.integers(states, size=2))
            action = int(rng.integers(actions))
            reward = int(rng.integers(-2, 3)) if case % 4 < 2 else float(rng.normal())
            alpha, gamma = rng.uniform(0.05, 1.0, 2).tolist()
        if case in (12, 13):
            next_obs = obs  # the agent ran into a wall
        q = rng.normal(size=(states, actions)) + shift

        def updated(target, q=q, place=(obs, action), alpha=alpha):
            new = q.copy()
            new[place] += alpha * (target - q[place])
            return new

        goes_on = gamma * q[next_obs].max()
        future = 0.0 if terminated else goes_on
        mistakes = [
            (
                "You added a future after the end of the episode. If `terminated` is true, the "
                "target is the reward alone.",
                updated(reward + goes_on),
            ),
            (
                "α is not used: the entry jumps straight to the target.",
                updated(reward + future, alpha=1.0),
            ),
            ("γ is missing.", updated(reward + (0.0 if terminated else q[next_obs].max()))),
            (
                "You took the best value of the state itself. The target uses the *next* state.",
                updated(reward + (0.0 if terminated else gamma * q[obs].max())),
            ),
            (
                "You took the largest entry of the whole table, or of a column. The target uses "
                "the best action of the next state: `q_table[next_obs].max()`.",
                updated(reward + (0.0 if terminated else gamma * q.max())),
            ),
            (
                "You took the value of the same action in the next state. The target uses the "
                "best action there.",
                updated(reward + (0.0 if terminated else gamma * q[next_obs, action])),
            ),
            (
                "The old entry is not subtracted: it moves by α times (target *minus entry*).",
                updated(reward + future + q[obs, action]),
            ),
            ("The reward counts at the end, too. Only the future is missing there.", updated(0.0)),
            ("Nothing was learned. The last step has a target, too: its reward.", q),
            (
                "The best value of the next state can be negative; yours is never below 0.",
                updated(reward + max(future, 0.0)),
            ),
            (
                "You returned the new entry alone. Return the whole table, or change it in place.",
                updated(reward + future)[obs, action],
            ),
        ]
        transition = Transition(obs, action, reward, next_obs, terminated)
        answer, came = _update(function, q, transition, alpha, gamma)
        if not came and case == 0:
            raise StillOpen("Your function does not change the table yet.")
        compare(answer, updated(reward + future), "table", mistakes)
    for q, obs, next_obs in (
        (rng.normal(size=(3, 3, 2)), (1, 2), (2, 0)),
        (rng.normal(size=(2, 3, 4, 2, 3)), (1, 2, 3, 0), (0, 2, 1, 1)),
        (rng.normal(size=(2, 3, 2)) - 4, (0, 2), (0, 2)),
    ):
        for terminated in (False, True):
            _check_tuple_index(function, q, obs, next_obs, terminated)


def _check_tuple_index(function, q, obs, next_obs, terminated):
    """Ask for one update of a table with several axes of states, as CartPole's has four."""
    action, reward, alpha, gamma = q.shape[-1] - 2, 0.5, 0.25, 0.9
    expected, place = q.copy(), (*obs, action)
    target = reward + (0.0 if terminated else gamma * q[next_obs].max())
    expected[place] += alpha * (target - q[place])
    what = f"table with the observation {obs}"
    hint = (
        "An observation can be a tuple. `q_table[obs, action]` then means something else; "
        "write `q_table[obs][action]` and `q_table[next_obs]`."
    )
    transition = Transition(obs, action, reward, next_obs, terminated)
    try:
        answer, _ = _update(function, q, transition, alpha, gamma)
    except Exception as error:  # whatever the learner's code raises
        raise WrongAnswer(
            f"{what}: your function raised {type(error).__name__}: {error}\n  {hint}"
        ) from None
    compare(answer, expected, what, [(hint, as_array(answer))])


class _Walk:
    """An environment for ``check_episode``: it counts from ``first`` up, to a set end.

    A long walk goes round: it sees the same 7 observations again and again, some twice in a row.
    """

    def __init__(self, length, terminated, truncated, first):
        self.length, self.first = length, first
        self.path = [first + i for i in range(length + 1)]
        if length > 7:
            self.path = [first + i * i % 7 for i in range(length + 1)]
        self.terminated, self.truncated = terminated, truncated
        self.resets, self.actions = 0, []

    def reset(self, **_):
        self.resets += 1
        return self.first, {}

    def step(self, action):
        if not self.resets:
            raise WrongAnswer("`step` was called before `env.reset()`.")
        if len(self.actions) == self.length:
            end = "terminated" if self.terminated else "truncated"
            end = "terminated and truncated" if self.terminated and self.truncated else end
            raise WrongAnswer(
                f"the episode was {end}, but another step followed.\n  The loop ends when "
                "`terminated` *or* `truncated` is true."
            )
        self.actions.append(action)
        over = len(self.actions) == self.length
        now = self.path[len(self.actions)]
        return now, now / 8, over and self.terminated, over and self.truncated, {}


@exercise
def check_episode(function):
    """``function(env, choose_action, learn)`` to the number of agent steps of one episode."""
    for length, terminated, truncated, first in (
        (4, True, False, 10),
        (3, False, True, 10),
        (1, True, False, 0),
        (1, False, True, -3),
        (5, True, True, -2),
        (600, False, True, 0),  # longer than any limit of the notebooks
    ):
        env, asked, learned = _Walk(length, terminated, truncated, first), [], []

        def choose_action(obs, asked=asked):
            asked.append(obs)
            return 3 * len(asked) % 4  # 3, 2, 1, 0

        def learn(transition, learned=learned):
            learned.append(tuple(transition))

        answer = function(env, choose_action, learn)
        if is_missing(answer) and not (env.resets or asked or learned):
            raise ReturnedNothing
        _check_walk(env, asked, learned)
        if is_missing(answer):
            raise WrongAnswer(
                "the episode is right, but nothing is returned: return the number of agent steps."
            )
        last = "Every step counts, the last one too, and nothing else does."
        compare(answer, length, "agent steps", [(last, length - 1), (last, length + 1)])


def _check_walk(env, asked, learned):
    """Compare what was asked, done and learned in one episode with what should have been."""
    n, first = env.length, env.first
    seen, after = env.path[:-1], env.path[1:]
    if env.resets != 1:
        raise WrongAnswer(f"expected one call of `env.reset()`, got {env.resets}")
    if len(env.actions) < n:
        raise WrongAnswer(
            f"expected {n} steps until the end of the episode, got {len(env.actions)}"
        )
    if asked and isinstance(asked[0], tuple):
        raise WrongAnswer(
            f"expected `choose_action({seen[0]})`, got `choose_action({asked[0]})`.\n"
            "  `reset` returns two things: `obs, _ = env.reset()`."
        )
    if asked != seen:
        hint = ""
        if len(asked) > 1 and set(asked) == {first}:
            hint = "\n  The agent always sees the first observation: `obs = next_obs` is missing."
        raise WrongAnswer(
            f"expected actions for the observations {_few(seen)}, got {_few(asked)}{hint}"
        )
    actions = [3 * (i + 1) % 4 for i in range(n)]
    if env.actions != actions:
        raise WrongAnswer(
            f"expected the chosen actions {_few(actions)} in `env.step`, got {_few(env.actions)}"
        )
    if len(learned) != n or any(len(transition) != 5 for transition in learned):
        raise WrongAnswer(
            f"expected {n} transitions of 5 values in `learn`, got {len(learned)}: {learned[:1]}"
        )
    right = [
        (obs, action, now / 8, now, env.terminated and i == n - 1)
        for i, (obs, action, now) in enumerate(zip(seen, actions, after, strict=True))
    ]
    if learned == right:
        return
    ends = [*right[:-1], (*right[-1][:4], True)]
    never = [(*turn[:4], False) for turn in right]
    hints = [
        (
            "`next_obs` is the observation *before* the step, again.",
            [(o, a, r, o, end) for o, a, r, _, end in right],
        ),
        (
            "`obs` was replaced by `next_obs` before the transition was made.",
            [(after, a, r, after, end) for _, a, r, after, end in right],
        ),
        (
            "The time limit is stored as `terminated`. It ends the loop, not the future: store "
            "`terminated` alone.",
            ends,
        ),
        (
            "The last step terminated, but is stored with `terminated=False`. Is `truncated` in "
            "its place?",
            never,
        ),
    ]
    place = next(i for i in range(n) if learned[i] != right[i])
    hint = next((f"\n  {hint}" for hint, mistake in hints if learned == mistake), "")
    names = "(obs, action, reward, next_obs, terminated)"
    raise WrongAnswer(
        f"expected {names} = {right[place]} in step {place + 1}, got {learned[place]}{hint}"
    )


def _few(values):
    """The first of the values, for a message."""
    return f"[{', '.join(map(str, values[:6]))}, …]" if len(values) > 6 else f"{values}"


DRAWS = 1_500


def _shares(function, q_values, epsilon, rng, draws=DRAWS):
    """Share of each action in many draws."""
    found = [function(q_values.copy(), epsilon, rng) for _ in range(draws)]
    empty = sum(map(is_missing, found))
    if empty == draws and epsilon == 0:
        raise ReturnedNothing
    if empty:
        raise WrongAnswer(
            f"with ε = {epsilon:g} nothing is returned in {empty / draws:.0%} of the draws: is a "
            "`return` missing?"
        )
    for a in map(np.asarray, found):
        if a.ndim:
            hint = ""
            if a.shape == (2,):
                hint = (
                    "\n  `np.where(…)` returns a tuple: take its element `[0]`, or use "
                    "`np.flatnonzero(…)`."
                )
            raise WrongAnswer(
                f"expected one action, a number; got an array of shape {a.shape}{hint}"
            )
        if a.dtype.kind not in "iu":
            raise WrongAnswer(
                f"expected an action, a whole number; got {a}.\n  Is that the *value* of the "
                "action? Return its index."
            )
    actions = np.array(found, int)
    if not ((actions >= 0) & (actions < len(q_values))).all():
        raise WrongAnswer(
            f"expected actions 0 to {len(q_values) - 1}, got {actions.min()} to {actions.max()}"
        )
    return np.bincount(actions, minlength=len(q_values)) / draws


def _far_off(shares, expected, draws=DRAWS):
    """Whether any share is more than five standard errors from what it should be."""
    return (abs(shares - expected) > 5 * np.sqrt(expected * (1 - expected) / draws) + 1e-9).any()


@exercise
def check_choose(function):
    """``function(q_values, epsilon, rng)`` to an action: ties are broken at random."""
    rng = np.random.default_rng(0)
    q_values = np.array([1.0, 3.0, 3.0, 0.0])
    greedy = _shares(function, q_values, 0.0, rng)
    if greedy[1] == 1.0 or greedy[2] == 1.0:
        raise WrongAnswer(
            "actions 1 and 2 are equally good, but only one of them is ever taken.\n  `argmax` "
            "returns the first of several; choose among all `np.flatnonzero(q == q.max())`."
        )
    if greedy[0] + greedy[3] > 0:
        raise WrongAnswer(
            "with ε = 0 only the best actions may be taken; others were.\n  Is ε compared the "
            "right way round?"
        )
    if _far_off(greedy, np.array([0, 0.5, 0.5, 0])):
        raise WrongAnswer(
            f"expected both best actions half the time, got {greedy[1]:.2f} and {greedy[2]:.2f}"
        )
    always = _shares(function, q_values, 1.0, rng)
    if always[1] + always[2] == 0:
        raise WrongAnswer(
            "with ε = 1 the best actions are never taken.\n  A random draw may also hit them; do "
            "not leave them out."
        )
    if _far_off(always, np.full(4, 0.25)):
        hint = ""
        if always[-1] == 0:
            hint = "\n  `rng.integers(n)` draws 0 to n − 1: pass it the number of actions."
        raise WrongAnswer(
            "with ε = 1 expected all actions equally often, got shares "
            f"{always.round(2).tolist()}{hint}"
        )
    for others, epsilon, draws in (
        ([1.0, 3.0, 3.0, 0.0], 0.4, DRAWS),
        ([-2.0, -0.5, -3.0, -0.5, -0.52, -0.5], 0.0, DRAWS),  # a tie of three, not in a row
        ([-5.0, -1.5, -2.0], 0.2, DRAWS),  # a single best action
        ([2, 0, 2, 1, 2], 0.5, DRAWS),  # whole numbers; the first and the last are best, too
        ([0.0, 0.0], 0.0, DRAWS // 2),
        ([-1.0, -1.0, -1.0, -1.0], 0.0, DRAWS),
        ([-0.3], 0.5, 20),
    ):
        q_values, count = np.array(others), len(others)
        best = q_values == q_values.max()
        expected = (1 - epsilon) * best / best.sum() + epsilon / count
        shares = _shares(function, q_values, epsilon, rng, draws)
        if not _far_off(shares, expected, draws):
            continue
        message = (
            f"with ε = {epsilon:g} and the Q-values {others} expected shares "
            f"{expected.round(2).tolist()}, got {shares.round(2).tolist()}"
        )
        if epsilon > 0 and _far_off(shares[best].sum(), expected[best].sum(), draws):
            message += ".\n  A random draw may also hit the best actions; do not leave them out."
        elif best.sum() > 1:
            message += ".\n  Each of the best actions should come equally often."
        raise WrongAnswer(message)
    first, second = (
        [int(function(np.array([1.0, 3.0, 3.0, 0.0]), 0.4, generator)) for _ in range(100)]
        for generator in (np.random.default_rng(1), np.random.default_rng(1))
    )
    if first != second:
        raise WrongAnswer(
            "the shares are right, but the same `rng` gives other actions the second time.\n  Draw "
            "every random number from `rng`, so that a training can be repeated."
        )


@exercise
def check_bins(function):
    """``function(value, low, high, count)`` to the number of the bin, 0 to count - 1."""
    rng = np.random.default_rng(0)
    inside = np.array([0.01, 0.3, 0.45, 0.52, 0.7, 0.99])
    cases = [
        (low, high, count, [low - 4.0, *(low + (high - low) * inside), high + 7.0, low, high])
        for low, high, count in ((-2.4, 2.4, 6), (1.0, 11.0, 5))
    ]
    for low, high, count in ((-7.0, -3.0, 4), (-0.21, 0.21, 2), (0.0, 3.0, 1), (-3.0, 3.0, 11)):
        edges = np.linspace(low, high, count + 1)
        width = (high - low) / count
        close = np.concatenate([edges - 0.002 * width, edges + 0.002 * width])
        cases.append((low, high, count, [*close, *rng.uniform(low - width, high + width, 6)]))
    cases.append((0, 10, 4, [-20, -1, 0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 30]))  # all whole numbers
    for low, high, count, values in cases:
        values = [v if isinstance(v, int) else float(v) for v in values]
        ratio = (np.array(values) - low) / (high - low) * count
        raw = np.floor(ratio)
        beyond = (
            "Values beyond the ends fall out of the table. Put them into the first and the last "
            "bin."
        )
        mistakes = [
            (beyond, raw),
            (beyond, np.trunc(ratio)),
            (beyond, raw.clip(0)),
            (beyond, raw.clip(None, count - 1)),
            (
                "The two outer edges count, too. Of the count + 1 edges use only the inner "
                "ones: `np.linspace(low, high, count + 1)[1:-1]`.",
                np.digitize(values, np.linspace(low, high, count + 1)),
            ),
            *(
                (
                    "`np.linspace(low, high, count)` gives count edges, and so only count − 1 "
                    "intervals. Take count + 1 edges, and of these the inner ones.",
                    np.digitize(values, np.linspace(low, high, count)[part]),
                )
                for part in (slice(None), slice(1, -1))
            ),
            ("Your bins start at 1; an index starts at 0.", raw.clip(0, count - 1) + 1),
            ("That is one bin too many at the upper end.", raw.clip(0, count)),
            (
                "You rounded instead of cutting: the first and the last bin are only half as wide.",
                np.round((np.array(values) - low) / (high - low) * (count - 1)).clip(0, count - 1),
            ),
        ]
        asked = [
            f"value {v:.4g} ({low:g} to {high:g} in {count} bin{'s' * (count > 1)})" for v in values
        ]
        answers = call_each(function, [(v, low, high, count) for v in values], asked)
        compare(answers, raw.clip(0, count - 1), "bins", mistakes, asked)
        if not number_kinds(answers) <= {"i", "u"}:
            raise WrongAnswer(
                f"the bin is right, but {answers[0]!r} is not a whole number: it cannot index a "
                "table.\n  Use `int(…)`."
            )
