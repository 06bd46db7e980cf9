"""Checks for notebook 01: returns, one Q-update, one episode, ties, bins."""

import numpy as np

from exercises import Nothing, Open, Wrong, as_array, call, call_each, compare, exercise, nothing
from helpers.replay import Transition


@exercise
def check_returns(function):
    """``function(rewards, gamma)`` to the discounted return from every step on, (T,)."""
    rng = np.random.default_rng(0)
    drawn = [(0.5, rng.normal(size=6)), (0.9, rng.normal(size=4)), (0.5, rng.normal(size=1))]
    for gamma, rewards in (*drawn, (0.9, np.array([0, 0, 1]))):
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
                np.trunc(expected),
            )
        ]
        compare(
            call(function, rewards, gamma),
            expected,
            "returns",
            whole
            if rewards.dtype.kind == "i"
            else [
                (
                    "You discounted the rewards, but did not sum them.",
                    powers * rewards,
                ),
                ("γ is missing.", undiscounted),
                (
                    "You discounted every return from the first step of the episode. Discount each "
                    "one from its own step: divide by γ^t, or go backwards.",
                    from_start,
                ),
                ("You summed the rewards so far. A return sums the rewards still to come.",
                 np.cumsum(rewards)),
                ("The reward of the step itself is left out.", expected - rewards),
                ("The order is wrong: the return of the first step comes first.", expected[::-1]),
                ("You returned one number. Return one for every step.", expected[0]),
            ],
        )  # fmt: skip


@exercise
def check_q_update(function):
    """``function(q_table, transition, alpha, gamma)``: changes one entry, or returns the table."""
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
                "You added a future after the end of the episode. If `terminated` is true, the "
                "target is the reward alone.",
                updated(reward + goes_on),
            ),
            ("α is not used: the entry jumps straight to the target.", replaced),
            ("γ is missing.", updated(reward + (0.0 if terminated else q[next_state].max()))),
            (
                "You took the best value of the state itself. The target uses the *next* state.",
                updated(reward + (0.0 if terminated else gamma * q[state].max())),
            ),
            (
                "You took the largest entry of the whole table, or of a column. The target uses "
                "the best action of the next state: `q_table[next_obs].max()`.",
                updated(reward + (0.0 if terminated else gamma * q.max())),
            ),
            (
                "You took the value of the same action in the next state. The target uses the "
                "best action there.",
                updated(reward + (0.0 if terminated else gamma * q[next_state, action])),
            ),
            (
                "The old entry is not subtracted: it moves by α times (target *minus entry*).",
                updated(reward + future + q[state, action]),
            ),
            (
                "The reward counts at the end, too. Only the future is missing there.",
                updated(0.0),
            ),
            ("Nothing was learned. The last step has a target, too: its reward.", q),
            (
                "You returned the new entry alone. Return the whole table, or change it in place.",
                updated(reward + future)[state, action],
            ),
        ]
        given = q.copy()
        transition = Transition(state, action, reward, next_state, terminated)
        answer = function(given, transition, alpha, gamma)
        changed = not np.array_equal(given, q)
        if nothing(answer) and not changed and not terminated:
            raise Open("Your function does not change the table yet.")
        if nothing(answer) or (changed and as_array(answer).shape != q.shape):
            answer = given  # in place is fine, too
        compare(answer, updated(reward + future), "table", mistakes)
    _check_tuple_index(function, rng.normal(size=(3, 3, 2)))


def _check_tuple_index(function, q):
    """Ask for one update of a table with two axes of states, as CartPole's has four."""
    obs, action, reward, next_obs, alpha, gamma = (1, 2), 0, 0.5, (2, 0), 0.25, 0.9
    expected, given = q.copy(), q.copy()
    expected[1, 2, 0] += alpha * (reward + gamma * q[2, 0].max() - q[1, 2, 0])
    what = "table with the observation (1, 2)"
    hint = ("An observation can be a tuple. `q_table[obs, action]` then means something else; "
            "write `q_table[obs][action]` and `q_table[next_obs]`.")  # fmt: skip
    try:
        answer = function(given, Transition(obs, action, reward, next_obs, False), alpha, gamma)
    except Exception as error:  # whatever the learner's code raises
        raise Wrong(
            f"{what}: your function raised {type(error).__name__}: {error}\n  {hint}"
        ) from None
    if nothing(answer) or (not np.array_equal(given, q) and as_array(answer).shape != q.shape):
        answer = given  # in place is fine, too
    compare(answer, expected, what, [(hint, as_array(answer))])


class _Walk:
    """An environment for ``check_episode``: observations 10, 11, …, ended as told."""

    def __init__(self, length, terminated):
        self.length, self.terminated = length, terminated
        self.resets, self.actions = 0, []

    def reset(self, **_):
        self.resets += 1
        return 10, {}

    def step(self, action):
        if not self.resets:
            raise Wrong("`step` was called before `env.reset()`.")
        if len(self.actions) == self.length:
            end = "terminated" if self.terminated else "truncated"
            raise Wrong(f"the episode was {end}, but another step followed.\n  The loop ends when "
                        "`terminated` *or* `truncated` is true.")  # fmt: skip
        self.actions.append(action)
        over = len(self.actions) == self.length
        now = 10 + len(self.actions)
        return now, now / 8, over and self.terminated, over and not self.terminated, {}


@exercise
def check_episode(function):
    """``function(env, choose_action, learn)`` to the number of agent steps of one episode."""
    for length, terminated in ((4, True), (3, False)):
        env, asked, learned = _Walk(length, terminated), [], []

        def choose_action(obs, asked=asked):
            asked.append(obs)
            return 3 * len(asked) % 4  # 3, 2, 1, 0

        def learn(transition, learned=learned):
            learned.append(tuple(transition))

        answer = function(env, choose_action, learn)
        if nothing(answer) and not (env.resets or asked or learned):
            raise Nothing
        _check_walk(env, asked, learned)
        if nothing(answer):
            raise Wrong("the episode is right, but nothing is returned: return the number of "
                        "agent steps.")  # fmt: skip
        last = "Every step counts, the last one too, and nothing else does."
        compare(answer, length, "agent steps", [(last, length - 1), (last, length + 1)])


def _check_walk(env, asked, learned):
    """Compare what was asked, done and learned in one episode with what should have been."""
    n = env.length
    seen = list(range(10, 10 + n))
    if env.resets != 1:
        raise Wrong(f"expected one call of `env.reset()`, got {env.resets}")
    if len(env.actions) < n:
        raise Wrong(f"expected {n} steps until the end of the episode, got {len(env.actions)}")
    if asked and isinstance(asked[0], tuple):
        raise Wrong(f"expected `choose_action({seen[0]})`, got `choose_action({asked[0]})`.\n"
                    "  `reset` returns two things: `obs, _ = env.reset()`.")  # fmt: skip
    if asked != seen:
        hint = ""
        if len(asked) > 1 and set(asked) == {10}:
            hint = "\n  The agent always sees the first observation: `obs = next_obs` is missing."
        raise Wrong(f"expected actions for the observations {seen}, got {asked}{hint}")
    actions = [3 * (i + 1) % 4 for i in range(n)]
    if env.actions != actions:
        raise Wrong(f"expected the chosen actions {actions} in `env.step`, got {env.actions}")
    if len(learned) != n or any(len(transition) != 5 for transition in learned):
        raise Wrong(f"expected {n} transitions of 5 values in `learn`, got {len(learned)}: "
                    f"{learned[:1]}")  # fmt: skip
    right = [
        (o, a, (o + 1) / 8, o + 1, env.terminated and o == seen[-1])
        for o, a in zip(seen, actions, strict=True)
    ]
    if learned == right:
        return
    ends = [(*turn[:4], turn[0] == seen[-1]) for turn in right]
    hints = [
        ("`next_obs` is the observation *before* the step, again.",
         [(o, a, r, o, end) for o, a, r, _, end in right]),
        ("`obs` was replaced by `next_obs` before the transition was made.",
         [(nxt, a, r, nxt, end) for _, a, r, nxt, end in right]),
        ("The time limit is stored as `terminated`. It ends the loop, not the future: store "
         "`terminated` alone.", ends),
        ("The last step terminated, but is stored with `terminated=False`. Is `truncated` in its "
         "place?", [(*turn[:4], False) for turn in right]),
    ]  # fmt: skip
    place = next(i for i in range(n) if learned[i] != right[i])
    hint = next((f"\n  {hint}" for hint, mistake in hints if learned == mistake), "")
    names = "(obs, action, reward, next_obs, terminated)"
    raise Wrong(f"expected {names} = {right[place]} in step {place + 1}, got {learned[place]}"
                f"{hint}")  # fmt: skip


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
            raise Wrong(f"with ε = {epsilon:g} nothing is returned in {empty / draws:.0%} of the "
                        "draws: is a `return` missing?")  # fmt: skip
        for a in map(np.asarray, found):
            if a.ndim:
                hint = ("\n  `np.where(…)` returns a tuple: take its element `[0]`, or use "
                        "`np.flatnonzero(…)`." if a.shape == (2,) else "")  # fmt: skip
                raise Wrong("expected one action, a number; got an array of shape "
                            f"{a.shape}{hint}")  # fmt: skip
            if a.dtype.kind not in "iu":
                raise Wrong(f"expected an action, a whole number; got {a}.\n  Is that the *value* "
                            "of the action? Return its index.")  # fmt: skip
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
        raise Wrong("with ε = 1 the best actions are never taken.\n  A random draw may also hit "
                    "them; do not leave them out.")  # fmt: skip
    if abs(always - 0.25).max() > 0.05:
        hint = ("\n  `rng.integers(n)` draws 0 to n − 1: pass it the number of actions."
                if always[-1] == 0 else "")  # fmt: skip
        raise Wrong(f"with ε = 1 expected all actions equally often, got shares "
                    f"{always.round(2).tolist()}{hint}")  # fmt: skip
    some = shares(q_values, 0.4)
    if abs(some[0] - 0.1) > 0.025:
        hint = "A random draw may also hit the best actions; do not leave them out."
        raise Wrong(f"with ε = 0.4 expected action 0 in 0.10 of the draws, got {some[0]:.2f}.\n  "
                    + hint)  # fmt: skip
    first, second = (
        [int(function(q_values.copy(), 0.4, generator)) for _ in range(100)]
        for generator in (np.random.default_rng(1), np.random.default_rng(1))
    )
    if first != second:
        raise Wrong("the shares are right, but the same `rng` gives other actions the second "
                    "time.\n  Draw every random number from `rng`, so that a training can be "
                    "repeated.")  # fmt: skip


@exercise
def check_bins(function):
    """``function(value, low, high, count)`` to the number of the bin, 0 to count - 1."""
    for low, high, count in ((-2.4, 2.4, 6), (1.0, 11.0, 5)):
        inside = low + (high - low) * np.array([0.01, 0.3, 0.45, 0.52, 0.7, 0.99])
        values = [low - 4.0, *inside, high + 7.0]
        ratio = (np.array(values) - low) / (high - low) * count
        raw = np.floor(ratio)
        beyond = ("Values beyond the ends fall out of the table. Put them into the first and the "
                  "last bin.")  # fmt: skip
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
        asked = [f"value {v:.3g} ({low:g} to {high:g} in {count} bins)" for v in values]
        answers = call_each(function, [(v, low, high, count) for v in values], asked)
        compare(answers, raw.clip(0, count - 1), "bins", mistakes, asked)
        if np.array([np.asarray(a) for a in answers]).dtype.kind not in "iu":
            raise Wrong(f"the bin is right, but {answers[0]!r} is no whole number: it cannot "
                        "index a table.\n  Use `int(…)`.")  # fmt: skip
