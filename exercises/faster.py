"""Checks for notebook 08: timing, speed-ups, replay ratio, rows of columns, patches."""

import time

import numpy as np
import torch
import torch.nn.functional as F

from exercises import RecordedCalls, WrongAnswer, as_array, call, compare, exercise


@exercise
def check_replay_ratio(function):
    """``function(batch, updates, agent_steps)``: how often a transition is used on average."""
    cases = [(128, 16, 64), (32, 1, 8), (50, 3, 60), (32, 1, 3), (64, 5, 7_000), (1, 1, 1)]
    rng = np.random.default_rng(0)
    cases += [tuple(case) for case in rng.integers(1, [300, 50, 900], (8, 3)).tolist()]
    for batch, updates, agent_steps in cases:
        expected = batch * updates / agent_steps
        mistakes = [
            (
                "Those are updates for each agent step; every update uses a whole batch.",
                updates / agent_steps,
            ),
            (
                "That many transitions are drawn; divide by how many are new.",
                batch * updates,
            ),
            ("The other way round: draws divided by new transitions.", 1 / expected),
            ("That is one update's share; there are several.", batch / agent_steps),
            (
                "A ratio need not be a whole number: use `/`, not `//`.",
                batch * updates // agent_steps,
            ),
        ]
        answer = call(function, batch, updates, agent_steps)
        compare(answer, expected, "a replay ratio", mistakes)


@exercise
def check_next_rows(function):
    """``function(rows, num_carts, n)``: rows of the same carts n steps later, (B,)."""
    cases = [(np.array([0, 3, 8, 21]), 8, n) for n in (3, 1)]
    cases += [
        (np.array([40, 7, 7, 13]), 5, 4),  # not in order, one of them twice
        (np.array([6]), 16, 2),
        (np.array([0]), 1, 7),
        (np.arange(30), 3, 5),
        (np.array([11, 2]), 12, 0),
        (np.array([99_999, 250_003]), 64, 3),
    ]
    for rows, carts, n in cases:
        mistakes = [
            ("The next row is the next *cart*; a step later is `num_carts` rows on.", rows + n),
            ("That is backwards.", rows - n * carts),
            (
                "Row t N + i holds step t of cart i; the cart must stay the same.",
                (rows // carts + n) * carts,
            ),
            ("That is one step; n steps are n times as far.", rows + carts),
            (
                "The number of carts is fixed in your function; it is an argument.",
                rows + 8 * n,
            ),
            ("Each row has an answer, also if it comes twice.", np.unique(rows) + n * carts),
        ]
        compare(call(function, rows, carts, n), rows + n * carts, "rows", mistakes)


@exercise
def check_patches(function):
    """``function(pictures, size)``: (B, C, H, W) to (B, C · size², H / size, W / size)."""
    torch.manual_seed(0)
    shapes = [((2, 1, 4, 6), 2), ((1, 3, 8, 4), 4), ((3, 2, 6, 3), 3), ((1, 1, 2, 2), 2)]
    shapes += [((2, 4, 3, 5), 1), ((2, 3, 4, 4), 2), ((5, 2, 10, 20), 5)]
    with RecordedCalls() as recorded:
        for shape, size in shapes:
            pictures = torch.arange(float(np.prod(shape))).reshape(shape)
            if shape[0] > 1:
                pictures = torch.randn(shape)
            _check_patches(function, pictures, size)
    if "pixel_unshuffle" in recorded.names:
        raise WrongAnswer(
            "the patches are right, but you called `pixel_unshuffle`.\n  Write them with `reshape` "
            "and `permute`, or with slices like `pictures[:, :, i::size, j::size]`."
        )


def _reference_patches(pictures, size):
    """What ``pixel_unshuffle`` does, pixel by pixel of a patch."""
    channels = [
        pictures[:, c, i::size, j::size]
        for c in range(pictures.shape[1])
        for i in range(size)
        for j in range(size)
    ]
    return torch.stack(channels, dim=1)


def _check_patches(function, pictures, size):
    """``check_patches`` for one batch."""
    b, c, h, w = pictures.shape
    expected = _reference_patches(pictures, size)
    blocks = pictures.reshape(b, c, h // size, size, w // size, size)
    mistakes = [
        (
            "`reshape` alone keeps the order of the numbers: it cuts rows, not squares.",
            pictures.reshape(b, c * size * size, h // size, w // size),
        ),
        (
            "The pixels of a patch are in column order; `pixel_unshuffle` goes row by row.",
            blocks.permute(0, 1, 5, 3, 2, 4).reshape(expected.shape),
        ),
        (
            "The channels of the picture alternate; all pixels of the first one come first.",
            blocks.permute(0, 3, 5, 1, 2, 4).reshape(expected.shape),
        ),
        ("The patches are there, but the channels come last.", expected.permute(0, 2, 3, 1)),
        (
            "That makes the picture smaller by leaving pixels out.",
            pictures[..., ::size, ::size],
        ),
        ("That is the mean of each patch: its pixels are lost.", F.avg_pool2d(pictures, size)),
    ]
    compare(call(function, pictures, size), expected, "patches", mistakes)


@exercise
def check_speed_up(function):
    """``function(before, after)``: seconds of several rounds each, to how many times faster."""
    quiet = np.array([2.0, 2.2, 1.8, 2.0, 2.0]), np.array([0.5, 0.4, 0.5, 0.55, 0.5])
    cases = []
    for side, slow in ((0, 14.0), (0, 1_400.0), (1, 55.0)):  # one round, by another program
        before, after = (seconds.copy() for seconds in quiet)
        (before, after)[side][3] = slow
        if side:
            before[3] = 2.1
        cases.append((before, after))
    even = np.array([1.0, 1.02, 0.98, 1.01, 0.99])
    place = 0
    for ratio in (1.44, 0.24, 23.7, 2.5, 0.034):
        for side in (0, 1):
            before, after = 3.1 * ratio * even, 3.1 * np.roll(even, 2)
            (before, after)[side][place % 5] *= 8 + 100 * side
            cases.append((before, after))
            place += 1
    cases.append((np.array([300.0, 297, 302, 4_000, 299]), np.array([71.0, 70, 72, 71, 70])))
    for before, after in cases:
        _check_speed_up(function, before, after)


def _check_speed_up(function, before, after):
    """``check_speed_up`` for one pair of measurements."""
    expected = np.median(before) / np.median(after)
    mistakes = [
        (
            "One disturbed round spoils a mean, but not a median.",
            before.mean() / after.mean(),
        ),
        (
            "One disturbed round also spoils the mean of the ratios: take their median.",
            (before / after).mean(),
        ),
        (
            "A round of either side may be disturbed: use the median for both.",
            np.median(before) / after.mean(),
        ),
        (
            "A round of either side may be disturbed: use the median for both.",
            before.mean() / np.median(after),
        ),
        ("The other way round: divide the seconds before by the seconds after.", 1 / expected),
        (
            "That is what was saved, in seconds, not how many times faster.",
            np.median(before) - np.median(after),
        ),
        ("That is the share that was saved.", 1 - 1 / expected),
        (
            "The worst round of one against the best of the other flatters.",
            before.max() / after.min(),
        ),
    ]
    answer = as_array(call(function, before, after))
    # The best rounds of both, or means without the extremes, are fine, too.
    if answer.ndim or not 0.9 < answer / expected < 1.15:
        compare(answer, expected, "a speed-up", mistakes)


@exercise
def check_timer(function):
    """``function(work)`` to the seconds of one call of ``work``, without its first call."""
    for setting_up, each in ((0.06, 0.004), (0.04, 0.013)):
        _check_timer(function, setting_up, each)


def _check_timer(function, setting_up, each):
    """``check_timer`` for work of so many seconds, and more for the first call."""
    took = []

    def work():
        started = time.perf_counter()
        time.sleep(each if took else setting_up)
        took.append(time.perf_counter() - started)

    seconds = as_array(call(function, work))
    if seconds.ndim:
        raise WrongAnswer(f"expected one number of seconds, got {seconds.size}: take their median")
    if len(took) < 3:
        raise WrongAnswer(
            f"`work` was called {len(took)} time(s): expected a call to warm up, and several to "
            "measure.\n  A single call says little."
        )
    warm, with_first = float(np.mean(took[1:])), float(np.mean(took))
    message = f"expected about {warm:.3f} s, got {seconds:.3f} s"
    if abs(seconds - with_first) < 0.3 * (with_first - warm):
        raise WrongAnswer(
            f"{message}.\n  The first call is in it; warm up before the clock starts."
        )
    if seconds > 100 * warm:
        raise WrongAnswer(f"{message}.\n  Are these milliseconds?")
    if seconds > 0.8 * sum(took[1:]):
        raise WrongAnswer(f"{message}.\n  That is the time of all calls; divide by their number.")
    if seconds < 0.1 * warm:
        raise WrongAnswer(
            f"{message}.\n  Waiting takes time as well: `time.perf_counter` counts it."
        )
    if not 0.7 * min(took[1:]) < seconds < 1.5 * warm + 0.002:
        raise WrongAnswer(message)
