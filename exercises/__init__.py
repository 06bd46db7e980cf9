"""Checks for the exercises of the notebooks: your function in, an answer in plain words out.

A check never stops a notebook. It calls your function with random inputs, compares what comes
with an independent reference, and if it differs, tries the usual mistakes: the one that gives
just your numbers is named. Any correct implementation passes: numpy or torch, looped or not, of
any floating type, on any device.
"""

import functools
import traceback

import numpy as np
import torch


class Open(Exception):
    """An exercise that nobody has begun: the function returns nothing, or does nothing."""

    def __init__(self, why="Your function returns nothing yet."):
        super().__init__(why)


class Wrong(Exception):
    """An answer that is not right: what was expected, what came, what may help."""


def as_array(value):
    """Numbers in whatever form (tensor, list, array, number) as a numpy array.

    Raises:
        Wrong: if it is nothing of the kind.
    """
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy()
    if isinstance(value, (list, tuple)) and any(isinstance(v, torch.Tensor) for v in value):
        return np.array([as_array(v) for v in value])
    try:
        return np.asarray(value, float)
    except (TypeError, ValueError):
        raise Wrong(f"expected numbers, got {type(value).__name__}") from None


def copied(value):
    """A copy of an input, so that a function that changes it does no harm."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    return value.copy() if isinstance(value, np.ndarray) else value


def short(array):
    """A few of the numbers, for a message."""
    flat = np.round(np.asarray(array, float).ravel(), 3)
    return f"{flat[:6].tolist()}{' …' if flat.size > 6 else ''}"


def call(function, *inputs):
    """Call the learner's function with copies of the inputs.

    Raises:
        Open: if nothing comes back.
    """
    answer = function(*map(copied, inputs))
    if answer is None or answer is Ellipsis:
        raise Open
    return answer


def call_each(function, inputs):
    """Call the learner's function once for each tuple of inputs; return the list of answers.

    Raises:
        Open: if nothing ever comes back.
        Wrong: if nothing comes back for some of the inputs.
    """
    answers = [function(*map(copied, given)) for given in inputs]
    empty = [given for given, got in zip(inputs, answers, strict=True) if got is None]
    if answers[0] is Ellipsis or len(empty) == len(answers):
        raise Open
    if empty:
        raise Wrong(f"nothing comes back for the input {empty[0][0]}: is a `return` missing?")
    return answers


def agree(a, b):
    """Whether two arrays are equal up to the rounding of 32-bit floats."""
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-4, atol=1e-5)


def compare(answer, expected, what, mistakes=()):
    """Hold numbers against the reference's.

    Args:
        answer: what the learner's function returned.
        expected: the reference's answer.
        what: what the numbers are, "targets".
        mistakes: (hint, answer of a usual mistake) pairs, most usual first.

    Raises:
        Wrong: if shape or numbers differ; with the hint of the mistake that fits.
    """
    got, expected = as_array(answer), as_array(expected)
    if agree(got, expected):
        return
    told = f"expected {what} {short(expected)}, got {short(got)}"
    for hint, mistaken in mistakes:
        if agree(got, as_array(mistaken)):
            raise Wrong(f"{told}.\n  {hint}")
    if got.shape != expected.shape:
        raise Wrong(f"expected {what} of shape {expected.shape}, got {got.shape}")
    raise Wrong(told)


def _is(frame, function):
    """Whether a line of a traceback stands in the learner's function (or class)."""
    code = getattr(function, "__code__", None) or getattr(function.__init__, "__code__", None)
    return code is not None and frame.filename == code.co_filename


def exercise(check):
    """Turn a function that raises ``Wrong`` into a check that answers and never raises.

    The check returns True (solved), False (not yet) or None (still open).
    """

    @functools.wraps(check)
    def answered(function):
        name = check.__name__.removeprefix("check_").replace("_", " ")
        try:
            check(function)
        except Open as reason:
            print(f"○ {name}: still open. {reason}")
            return None
        except Wrong as wrong:
            print(f"✗ {name}: not yet. {wrong}")
            return False
        except Exception as error:  # whatever the learner's code raises
            print(f"✗ {name}: your function raised {type(error).__name__}: {error}")
            theirs = [f.line for f in traceback.extract_tb(error.__traceback__) if _is(f, function)]
            if theirs:
                print(f"  at: {theirs[-1]}")
            return False
        print(f"✓ {name}: right.")
        return True

    return answered
