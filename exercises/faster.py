"""Checks for notebook 08: timing, speed-ups, replay ratio, rows of columns, patches."""

import time

import numpy as np
import torch
import torch.nn.functional as F

from exercises import Wrong, as_array, call, compare, exercise


@exercise
def check_replay_ratio(function):
    """``function(batch, updates, agent_steps)``: how often a transition is used on average."""
    for batch, updates, agent_steps in ((128, 16, 64), (32, 1, 8), (50, 3, 60)):
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
            ("A ratio need not be a whole number: use `/`, not `//`.",
             batch * updates // agent_steps),
        ]  # fmt: skip
        answer = call(function, batch, updates, agent_steps)
        compare(answer, expected, "a replay ratio", mistakes)


@exercise
def check_next_rows(function):
    """``function(rows, num_carts, n)``: rows of the same carts n steps later, (B,)."""
    rows, carts = np.array([0, 3, 8, 21]), 8
    for n in (3, 1):
        mistakes = [
            ("The next row is the next *cart*; a step later is `num_carts` rows on.", rows + n),
            ("That is backwards.", rows - n * carts),
            ("Row t N + i holds step t of cart i; the cart must stay the same.",
             (rows // carts + n) * carts),
            ("That is one step; n steps are n times as far.", rows + carts),
        ]  # fmt: skip
        compare(call(function, rows, carts, n), rows + n * carts, "rows", mistakes)


@exercise
def check_patches(function):
    """``function(pictures, size)``: (B, C, H, W) to (B, C · size², H / size, W / size)."""
    torch.manual_seed(0)
    for shape, size in (((2, 1, 4, 6), 2), ((1, 3, 8, 4), 4)):
        pictures = torch.arange(float(np.prod(shape))).reshape(shape)
        b, c, h, w = shape
        expected = F.pixel_unshuffle(pictures, size)
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
            ("That makes the picture smaller by leaving pixels out.",
             pictures[..., ::size, ::size]),
            ("That is the mean of each patch: its pixels are lost.",
             F.avg_pool2d(pictures, size)),
        ]  # fmt: skip
        compare(call(function, pictures, size), expected, "patches", mistakes)


@exercise
def check_speed_up(function):
    """``function(before, after)``: seconds of several rounds each, to how many times faster."""
    disturbed = ((14.0, 0.55), (1_400.0, 0.55), (2.1, 55.0))  # one round, by another program
    for slow_before, slow_after in disturbed:
        before = np.array([2.0, 2.2, 1.8, slow_before, 2.0])
        after = np.array([0.5, 0.4, 0.5, slow_after, 0.5])
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
            ("The other way round: divide the seconds before by the seconds after.", 1 / expected),
            ("That is what was saved, in seconds, not how many times faster.",
             np.median(before) - np.median(after)),
            ("That is the share that was saved.", 1 - 1 / expected),
            ("The worst round of one against the best of the other flatters.",
             before.max() / after.min()),
        ]  # fmt: skip
        answer = as_array(call(function, before, after))
        if answer.ndim or not 3.6 < answer < 4.6:  # best rounds, trimmed means: all are fine
            compare(answer, expected, "a speed-up", mistakes)


@exercise
def check_timer(function):
    """``function(work)`` to the seconds of one call of ``work``, without its first call."""
    took = []

    def work():
        started = time.perf_counter()
        time.sleep(0.2 if not took else 0.01)  # the first one sets things up
        took.append(time.perf_counter() - started)

    seconds = as_array(call(function, work))
    if seconds.ndim:
        raise Wrong(f"expected one number of seconds, got {seconds.size}: take their median")
    if len(took) < 3:
        raise Wrong(
            f"`work` was called {len(took)} time(s): expected a call to warm up, and several to "
            "measure.\n  A single call says little."
        )
    warm, with_first = float(np.mean(took[1:])), float(np.mean(took))
    told = f"expected about {warm:.3f} s, got {seconds:.3f} s"
    if abs(seconds - with_first) < 0.1 * (with_first - warm):
        raise Wrong(f"{told}.\n  The first call is in it; warm up before the clock starts.")
    if seconds > 100 * warm:
        raise Wrong(f"{told}.\n  Are these milliseconds?")
    if seconds > 0.8 * sum(took[1:]):
        raise Wrong(f"{told}.\n  That is the time of all calls; divide by their number.")
    if seconds < 0.1 * warm:
        raise Wrong(f"{told}.\n  Waiting takes time as well: `time.perf_counter` counts it.")
    if not 0.7 * min(took[1:]) < seconds < 1.5 * warm:
        raise Wrong(told)
