"""Checks for notebook 04: units, scores, autoreset, memory, convolutions, n-step targets."""

import math

import numpy as np

from exercises import Wrong, as_array, call, call_each, compare, exercise

H = W = 84


def _pictures(count, seed=0):
    return np.random.default_rng(seed).integers(1, 256, (count, H, W), dtype=np.uint8)


@exercise
def check_counts(function):
    """``function(hours)`` of play to three counts: emulator frames, agent steps, updates.

    60 frames a second, 4 frames per agent step, one update every 4 agent steps.
    """
    for hours in (1, 2.5, 38 * 24):
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
        ]
        answer = as_array(call(function, hours))
        compare(answer, [frames, decisions, updates], "counts", mistakes)


@exercise
def check_conv_size(function):
    """``function(pixels, kernel, stride)`` to the pixels after a convolution without padding."""
    inputs = [(84, 8, 4), (20, 4, 2), (9, 3, 1), (50, 8, 4), (10, 3, 2), (7, 7, 3)]
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
    compare(answers, expected, "an output size", mistakes, given=asked)


@exercise
def check_stacks(function):
    """``function(frames, is_first, t)`` to the 4 newest frames at t, (4, 84, 84), oldest first.

    ``is_first[t]`` says that a game begins with frame t; frames from before it are black.
    """
    frames = _pictures(10)
    is_first = np.zeros(10, bool)
    is_first[[0, 6]] = True

    def stack(t, black=True, newest_first=False):
        start = max(i for i in range(t + 1) if is_first[i])
        rows = [
            frames[max(i, 0)] if (i >= start or not black) else np.zeros_like(frames[0])
            for i in range(t - 3, t + 1)
        ]
        return np.stack(rows[::-1] if newest_first else rows)

    def repeated(t):
        start = max(i for i in range(t + 1) if is_first[i])
        return np.stack([frames[max(i, start)] for i in range(t - 3, t + 1)])

    for t in (5, 9, 3, 7, 6, 1):
        mistakes = [
            (
                "The stack holds frames of the previous game: the agent would see a ball that "
                "belongs to another game.",
                stack(t, black=False),
            ),
            ("The newest frame should come last.", stack(t, newest_first=True)),
            ("Before the start you repeat the first frame; here it is black.", repeated(t)),
            (
                "The newest frame comes first, before the three older ones.",
                np.roll(stack(t), 1, 0),
            ),
        ]
        if t >= 4:
            mistakes.append(("Your stack ends with frame t - 1.", stack(t - 1)))
        answer = call(function, frames, is_first, t)
        compare(answer, stack(t), "a stack of frames", mistakes)
        if getattr(answer, "dtype", None) is not None and "uint8" not in str(answer.dtype):
            raise Wrong(
                f"the frames are right, but of dtype {answer.dtype}: expected uint8.\n  In "
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
    ]
    for terminated, truncated in cases:
        terminated, truncated = np.array(terminated, bool), np.array(truncated, bool)
        over = terminated | truncated

        def after(ends):
            return ~np.concatenate([[False], ends[:-1]])

        mistakes = [
            ("The step that only resets is stored: it joins two games into one transition.",
             np.ones(len(over), bool)),
            (
                "The last step of a game is left out, but it is a transition, and the one that "
                "tells who won. The *next* step is not one.",
                ~over,
            ),
            ("No step comes before the first one (`np.roll` puts the last one there).",
             ~np.roll(over, 1)),
            ("After a time limit the environment resets as well.", after(terminated)),
            ("After a terminated game it resets as well.", after(truncated)),
            ("It is the other way round.", ~after(over)),
        ]  # fmt: skip
        answer = call(function, terminated, truncated)
        compare(answer, after(over), "stored steps", mistakes)


@exercise
def check_score(function):
    """``function(rewards, over)``, (T,) each, to the scores of the finished games."""
    rng = np.random.default_rng(7)
    for seed in range(3):
        rewards = rng.integers(-3, 4, 20).astype(float)
        over = np.zeros(20, bool)
        over[[6, 13][: 2 - seed % 2]] = True
        starts, ends = [0], list(np.flatnonzero(over) + 1)
        starts += ends[:-1]
        spans = list(zip(starts, ends, strict=True))
        scores = [rewards[a:b].sum() for a, b in spans]
        clipped = np.sign(rewards)
        mistakes = [
            (
                "These are sums of *clipped* rewards. Clipping is for learning; a score adds up "
                "what the game paid.",
                [clipped[a:b].sum() for a, b in spans],
            ),
            ("The unfinished game at the end is counted.",
             [*scores, rewards[ends[-1] :].sum()]),
            ("The counter is not set back to 0 when a new game starts.",
             [rewards[:b].sum() for b in ends]),
            ("You clip the score of a whole game; a score is not clipped at all.", np.sign(scores)),
            ("That is only the last reward of each game; a score is the sum of all.",
             rewards[over]),
            ("The reward of the last step of each game is lost.",
             [rewards[a : b - 1].sum() for a, b in spans]),
            ("That is the mean over all games; expected one score per game.", np.mean(scores)),
        ]  # fmt: skip
        compare(call(function, rewards, over), scores, "scores", mistakes)


@exercise
def check_n_step(function):
    """``function(rewards, terminated, next_value, gamma)`` to one n-step target.

    rewards and terminated (n,) of steps in a row; next_value: max Q after the last of them.
    """
    gamma, value = 0.5, 6.4
    for ends in ([0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]):
        rewards, ends = np.array([1.0, 2.0, 5.0]), np.array(ends, bool)
        powers = gamma ** np.arange(3)
        last = int(ends.argmax()) if ends.any() else 2
        counts = np.arange(3) <= last
        own = (powers * rewards * counts).sum()
        alive = 0.0 if ends.any() else 1.0
        expected = own + gamma**3 * alive * value
        mistakes = [
            (
                "Rewards after the end of the game are counted, but they belong to the next one.",
                (powers * rewards).sum() + gamma**3 * alive * value,
            ),
            (
                "The future counts although the game has ended.",
                own + gamma**3 * value,
            ),
            (
                "Only the last of the steps is checked for an end; the game may end earlier.",
                (powers * rewards).sum() + gamma**3 * (1 - ends[-1]) * value,
            ),
            ("The reward of the step that ends the game is lost; it tells who won the point.",
             own - (powers[last] * rewards[last] if ends.any() else 0) + gamma**3 * alive * value),
            ("After three rewards the discount is γ³, not γ.", own + gamma * alive * value),
            ("The discount of the value is one power short.", own + gamma**2 * alive * value),
            ("The rewards are not discounted.",
             (rewards * counts).sum() + gamma**3 * alive * value),
        ]  # fmt: skip
        compare(call(function, rewards, ends, value, gamma), expected, "a target", mistakes)


@exercise
def check_bytes(function):
    """``function(capacity, frames_once)``: bytes of the pictures of a memory.

    frames_once False: each transition holds two stacks of 4 frames; True: one frame.
    """
    frame = H * W
    for capacity in (100_000, 1_000_000):  # a few frames more at the edge are right, too
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
                ("Both ways cost the same in yours; storing each frame once takes an eighth.",
                 capacity * frame * 8),
                ("Both ways cost the same in yours; two stacks are eight frames.",
                 capacity * frame),
            ]  # fmt: skip
            answer = as_array(call(function, capacity, once))
            compare(answer, float(expected), "bytes", mistakes)
