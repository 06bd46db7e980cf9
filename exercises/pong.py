"""Checks for notebook 04: units, scores, autoreset, memory, convolutions, n-step targets."""

import math

import numpy as np

from exercises import WrongAnswer, as_array, call, call_each, compare, exercise, number_kinds

H = W = 84
UINT8 = {"uint8", "torch.uint8"}


@exercise
def check_counts(function):
    """``function(hours)`` of play to three counts: emulator frames, agent steps, updates.

    60 frames a second, 4 frames per agent step, one update every 4 agent steps.
    """
    for hours in (1, 2.5, 38 * 24, 0.02, 7):
        seconds = 3600 * hours
        frames, decisions, updates = 60 * seconds, 15 * seconds, 15 * seconds / 4
        mistakes = [
            (
                "Every frame is counted as an agent step, but an agent step lasts four frames. "
                "This is the usual factor of four.",
                [frames, frames, frames / 4],
            ),
            (
                "There are fewer agent steps than frames: divide by four.",
                [frames, 4 * frames, frames],
            ),
            (
                "That is an update every agent step; here there is one every four agent steps.",
                [frames, decisions, decisions],
            ),
            (
                "There are fewer updates than agent steps: divide by four.",
                [frames, decisions, 4 * decisions],
            ),
            (
                "An hour has 3,600 seconds; that counts minutes as seconds.",
                [frames / 60, decisions / 60, updates / 60],
            ),
            (
                "Asked for in the order frames, agent steps, updates.",
                [updates, decisions, frames],
            ),
            (
                "The hours are cut off to a whole number.",
                [count // hours * int(hours) for count in (frames, decisions, updates)],
            ),
        ]
        answer = as_array(call(function, hours))
        compare(answer, [frames, decisions, updates], "counts", mistakes)


@exercise
def check_conv_size(function):
    """``function(pixels, kernel, stride)`` to the pixels after a convolution without padding."""
    inputs = [(84, 8, 4), (20, 4, 2), (9, 3, 1), (50, 8, 4), (10, 3, 2), (7, 7, 3)]
    inputs += [(1, 1, 1), (6, 2, 5), (5, 5, 1), (12, 1, 4), (31, 3, 7), (100, 11, 10)]
    rng = np.random.default_rng(0)
    for _ in range(20):
        kernel, stride = rng.integers(1, 9, 2).tolist()
        inputs.append((kernel + int(rng.integers(40)), kernel, stride))
    expected = [(n - k) // s + 1 for n, k, s in inputs]
    mistakes = [
        ("The first position counts too: + 1 is missing.", [(n - k) // s for n, k, s in inputs]),
        (
            "That is not a whole number: a filter that would stick out does not count. Round down.",
            [(n - k) / s + 1 for n, k, s in inputs],
        ),
        (
            "Round down: a filter that would stick out does not count.",
            [math.ceil((n - k) / s) + 1 for n, k, s in inputs],
        ),
        (
            "Round down, not to the nearest: a filter that would stick out does not count.",
            [round((n - k) / s) + 1 for n, k, s in inputs],
        ),
        ("The stride is not used.", [n - k + 1 for n, k, s in inputs]),
        ("The size of the filter is not used.", [n // s for n, k, s in inputs]),
        (
            "The stride divides the number of moves, n - k, not n - k + 1.",
            [(n - k + 1) // s for n, k, s in inputs],
        ),
        ("The filter has size k, not k + 1.", [(n - k - 1) // s + 1 for n, k, s in inputs]),
    ]
    asked = [f"{n} pixels, filter {k}, stride {s}" for n, k, s in inputs]
    answers = call_each(function, inputs, asked)
    compare(answers, expected, "an output size", mistakes, asked)


@exercise
def check_stacks(function):
    """``function(frames, is_first, t)`` to the 4 newest frames at t, (4, 84, 84), oldest first.

    ``is_first[t]`` says that a game begins with frame t; frames from before it are black.
    """
    rng = np.random.default_rng(0)
    plays = [(10, [0, 6], (5, 9, 3, 7, 6, 1, 0, 2, 4, 8))]  # frames, starts, times to ask for
    plays += [(12, [0, 4, 5, 7], (4, 5, 6, 7, 8, 10, 11))]  # two starts in one stack
    plays += [(6, [0], (5,)), (1, [0], (0,)), (15, [0, 11, 12, 13, 14], (14, 13, 3))]
    for count, starts, times in plays:
        frames = rng.integers(1, 256, (count, H, W), dtype=np.uint8)
        frames[count // 2] = frames[(count - 1) // 2]  # nothing moved
        is_first = np.zeros(count, bool)
        is_first[starts] = True
        for t in times:
            _check_stack(function, frames, is_first, t)


def _check_stack(function, frames, is_first, t):
    """``check_stacks`` for one time."""
    starts = np.flatnonzero(is_first)

    def stack(t, start, before=None):
        """Frames t - 3 to t; those from before the start black, or all ``before``."""
        black = np.zeros_like(frames[0]) if before is None else before
        return np.stack([frames[i] if i >= max(start, 0) else black for i in range(t - 3, t + 1)])

    start = starts[starts <= t].max()
    expected = stack(t, start)
    mistakes = [
        (
            "The stack holds frames of the previous game: the agent would see a ball that "
            "belongs to another game.",
            frames[np.maximum(np.arange(t - 3, t + 1), 0)],
        ),
        (
            "The stack holds frames of the previous game: the agent would see a ball that "
            "belongs to another game.",
            stack(t, 0),
        ),
        ("The newest frame should come last.", expected[::-1]),
        (
            "Before the start you repeat the first frame; here it is black.",
            stack(t, start, frames[start]),
        ),
        ("The newest frame comes first, before the three older ones.", np.roll(expected, 1, 0)),
        (
            "Several games may start within four frames: the *last* start up to t counts.",
            stack(t, min(starts[(starts > t - 4) & (starts <= t)], default=start)),
        ),
    ]
    if t > 0:
        mistakes.append(
            ("Your stack ends with frame t - 1.", stack(t - 1, starts[starts <= t - 1].max()))
        )
    answer = call(function, frames, is_first, t)
    compare(answer, expected, "a stack of frames", mistakes)
    parts = answer if isinstance(answer, (list, tuple)) else [answer]
    others = {str(part.dtype) for part in parts if hasattr(part, "dtype")} - UINT8
    if others:
        raise WrongAnswer(
            f"the frames are right, but of dtype {others.pop()}: expected uint8.\n  In "
            "float32, 100,000 frames take four times as much memory: 2.8 GB instead of 0.7."
        )


@exercise
def check_transitions(function):
    """``function(terminated, truncated)`` to which steps of one environment to store, (T,) each.

    The environment resets on the step after an end; that step is not a transition.
    """
    cases = [
        ([0, 1, 0, 0, 0, 0, 1], [0, 0, 0, 0, 1, 0, 0]),
        ([0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]),
        ([1, 0, 1, 0], [0, 0, 1, 0]),
        ([0, 0, 0], [0, 0, 0]),
        ([0], [0]),
        ([0], [1]),
        ([0, 0, 0, 0], [1, 0, 0, 1]),
        ([1, 0, 1, 0, 1, 0, 0, 0, 1], [0, 0, 0, 0, 1, 0, 1, 0, 0]),
    ]
    rng = np.random.default_rng(0)
    for length in (2, 9, 40):
        over = rng.random(length) < 0.4
        for i in range(1, length):
            over[i] &= not over[i - 1]  # a step that resets does not end a game
        kind = rng.integers(3, size=length)  # terminated, truncated or both
        cases.append((over & (kind != 1), over & (kind != 0)))
    for terminated, truncated in cases:
        terminated, truncated = np.array(terminated, bool), np.array(truncated, bool)
        over = terminated | truncated

        def after(ends):
            return ~np.concatenate([[False], ends[:-1]])

        mistakes = [
            (
                "The step that only resets is stored: it joins two games into one transition.",
                np.ones(len(over), bool),
            ),
            (
                "The last step of a game is left out, but it is a transition, and the one that "
                "tells who won. The *next* step is not one.",
                ~over,
            ),
            (
                "No step comes before the first one (`np.roll` puts the last one there).",
                ~np.roll(over, 1),
            ),
            ("After a time limit the environment resets as well.", after(terminated)),
            ("After a terminated game it resets as well.", after(truncated)),
            ("It is the other way round.", ~after(over)),
            (
                "A game can terminate and be truncated at the same step: use `|`, not `^`.",
                after(terminated ^ truncated),
            ),
        ]
        answer = call(function, terminated, truncated)
        compare(answer, after(over), "stored steps", mistakes)
        if number_kinds(answer) != {"b"}:
            raise WrongAnswer(
                "the steps are right, but marked with 0 and 1: expected a Boolean mask, True or "
                "False.\n  Used as an index, 0s and 1s select steps 0 and 1."
            )


@exercise
def check_score(function):
    """``function(rewards, over)``, (T,) each, to the scores of the finished games."""
    rng = np.random.default_rng(7)
    cases = []
    for seed in range(3):
        rewards = rng.integers(-3, 4, 20).astype(float)
        cases.append((rewards, [6, 13][: 2 - seed % 2]))
    cases += [
        (rng.integers(-1, 2, 30), [3, 4, 9, 17, 22, 28]),  # whole numbers; a game of one step
        (np.array([1, 2, 1, 2, -3, 0, 1]), [1, 3, 4, 5]),  # equal scores; one is 0
        (np.array([-1.5, 0.25, 4.0]), [2]),  # none is unfinished
        (np.array([-1.5, 0.25, 4.0]), [0, 2]),
        (np.array([2.0, -1.0, 1.0]), []),  # none is finished
        (np.array([-7.0]), [0]),
        (rng.normal(size=12), [0, 1, 2, 10]),
        (-rng.random(200), [*range(9, 200, 10)]),
    ]
    for rewards, last_steps in cases:
        over = np.zeros(len(rewards), bool)
        over[last_steps] = True
        starts, ends = [0], [i + 1 for i in last_steps]
        starts += ends[:-1]
        spans = list(zip(starts, ends, strict=False))
        scores = [rewards[a:b].sum() for a, b in spans]
        clipped, rest = np.sign(rewards), rewards[ends[-1] if ends else 0 :].sum()
        mistakes = [
            (
                "These are sums of *clipped* rewards. Clipping is for learning; a score adds up "
                "what the game paid.",
                [clipped[a:b].sum() for a, b in spans],
            ),
            ("The unfinished game at the end is counted.", [*scores, rest]),
            (
                "The counter is not set back to 0 when a new game starts.",
                [rewards[:b].sum() for b in ends],
            ),
            ("You clip the score of a whole game; a score is not clipped at all.", np.sign(scores)),
            (
                "That is only the last reward of each game; a score is the sum of all.",
                rewards[over],
            ),
            (
                "The reward of the last step of each game is lost.",
                [rewards[a : b - 1].sum() for a, b in spans],
            ),
            (
                "Games with equal scores are merged: return one score for each game.",
                np.unique(scores),
            ),
        ]
        if scores:
            hint = "That is the mean over all games; expected one score per game."
            mistakes.append((hint, np.mean(scores)))
        compare(call(function, rewards, over), scores, "scores", mistakes)


@exercise
def check_n_step(function):
    """``function(rewards, terminated, next_value, gamma)`` to one n-step target.

    rewards and terminated (n,) of steps in a row; next_value: max Q after the last of them.
    """
    rng = np.random.default_rng(0)
    cases = [
        (np.array([1.0, 2.0, 5.0]), ends, 6.4, 0.5)
        for ends in ([0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0])
    ]
    cases += [
        (np.array([3, -2, 1]), [0, 0, 0], -4, 0.7),  # whole numbers, a negative value
        (np.array([1, 1, 1, 1, 1]), [0, 0, 0, 1, 0], 3, 0.9),
        (np.array([2, 7, 1, 8, 2]), [0, 1, 0, 1, 0], 9.5, 0.8),  # two ends: the first one counts
        (np.array([-1.0]), [0], -2.5, 0.6),
        (np.array([-1.0]), [1], -2.5, 0.6),
        (np.array([0.25, -0.5]), [1, 1], 1.5, 1.0),
        (np.array([0, 1, 0, 0, -1]), [0, 0, 0, 0, 0], 2.5, 0.8),  # as in Pong, mostly 0
        (np.array([0.0, 0.0, 0.0, 1.0]), [0, 0, 1, 0], 2.5, 0.8),
    ]
    for n in (2, 3, 4, 8):
        for chance in (0.0, 0.3):
            value, gamma = float(rng.normal()) - 2, float(rng.uniform(0.3, 1))
            cases.append((rng.normal(size=n) - 1, rng.random(n) < chance, value, gamma))
    for rewards, ends, value, gamma in cases:
        n, ends = len(rewards), np.array(ends, bool)
        powers = gamma ** np.arange(n)
        last = int(ends.argmax()) if ends.any() else n - 1
        very_last = n - 1 - int(ends[::-1].argmax()) if ends.any() else n - 1
        counts = np.arange(n) <= last
        own = (powers * rewards * counts).sum()
        alive = 0.0 if ends.any() else 1.0
        future = gamma**n * alive * value
        so_many = {1: "one reward", 2: "two rewards", 3: "three rewards"}.get(n, f"{n} rewards")
        power = "⁰¹²³⁴⁵⁶⁷⁸"[n]
        mistakes = [
            (
                "Rewards after the end of the game are counted, but they belong to the next one.",
                (powers * rewards).sum() + future,
            ),
            (
                "The future counts although the game has ended.",
                own + gamma**n * value,
            ),
            (
                "Only the last of the steps is checked for an end; the game may end earlier.",
                (powers * rewards).sum() + gamma**n * (1 - ends[-1]) * value,
            ),
            (
                "The reward of the step that ends the game is lost; it tells who won the point.",
                own - (powers[last] * rewards[last] if ends.any() else 0) + future,
            ),
            (f"After {so_many} the discount is γ{power}, not γ.", own + gamma * alive * value),
            (
                "The discount of the value is one power short.",
                own + gamma ** (n - 1) * alive * value,
            ),
            ("The rewards are not discounted.", (rewards * counts).sum() + future),
            (
                "There may be two ends; the target stops at the *first*.",
                (powers * rewards)[: very_last + 1].sum() + future,
            ),
            (
                "The value can be negative; yours never counts below 0.",
                own + gamma**n * alive * max(value, 0),
            ),
        ]
        answer = call(function, rewards, ends, value, gamma)
        compare(answer, own + future, "a target", mistakes)


@exercise
def check_bytes(function):
    """``function(capacity, frames_once)``: bytes of the pictures of a memory.

    frames_once False: each transition holds two stacks of 4 frames; True: one frame.
    """
    frame = H * W
    for capacity in (100_000, 1_000_000, 250_000, 3_456_789):
        for once in (False, True):
            expected = capacity * frame * (1 if once else 8)
            mistakes = [
                (
                    "That is a stack of four; stored once, a transition adds one frame."
                    if once
                    else "That is one stack; a transition has two, `obs` and `next_obs`.",
                    capacity * frame * 4,
                ),
                ("That is for float32; a frame takes one byte a pixel.", 4 * expected),
                (
                    "That is one frame per observation; each stack has four.",
                    capacity * frame * (1 if once else 2),
                ),
                (
                    "Both ways cost the same in yours; storing each frame once takes an eighth.",
                    capacity * frame * 8,
                ),
                (
                    "Both ways cost the same in yours; two stacks are eight frames.",
                    capacity * frame,
                ),
            ]
            answer = as_array(call(function, capacity, once))
            if answer.shape == () and abs(answer - expected) <= 1e-4 * expected:
                continue  # a few frames more at the edge are right, too
            compare(answer, float(expected), "bytes", mistakes)
