"""Checks for the exercises of the notebooks: your function in, an answer in plain words out.

A check never stops a notebook. It calls your function with random inputs, compares what comes
with an independent reference, and if it differs, tries the usual mistakes: the one that gives
just your numbers is named. Any correct implementation passes: numpy or torch, looped or not, of
32 or 64 bits, on any device.
"""

import functools
import inspect
import traceback

import numpy as np
import torch


class Open(Exception):
    """An exercise that nobody has begun: the function does nothing."""


class Nothing(Open):
    """The function returned nothing."""


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
        inside = f" of unequal {type(value[0]).__name__}s" if _is_ragged(value) else ""
        raise Wrong(f"expected numbers, got {type(value).__name__}{inside}") from None


def _is_ragged(value):
    """Whether a list holds lists (or arrays) of different lengths."""
    return isinstance(value, list) and len({len(v) for v in value if hasattr(v, "__len__")}) > 1


def copied(value):
    """A copy of an input, so that a function that changes it does no harm."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    return value.copy() if isinstance(value, (np.ndarray, list)) else value


def short(array):
    """A few of the numbers, for a message."""
    flat = np.round(np.asarray(array, float).ravel(), 3)
    if not np.ndim(array):
        return f"{flat[0]:g}"
    return f"{flat[:6].tolist()}{' …' if flat.size > 6 else ''}"


def nothing(answer):
    """Whether a function that should return something returned nothing."""
    return answer is None or answer is Ellipsis


def call(function, *inputs):
    """Call the learner's function with copies of the inputs.

    Raises:
        Nothing: if nothing comes back.
        Wrong: if nothing comes back, but an input was changed.
    """
    given = [*map(copied, inputs)]
    answer = function(*given)
    if not nothing(answer):
        return answer
    pairs = [pair for pair in zip(given, inputs, strict=True) if hasattr(pair[0], "shape")]
    if all(agree(as_array(after), as_array(before)) for after, before in pairs):
        raise Nothing
    raise Wrong("your function changes its input and returns nothing: is a `return` missing?")


def call_each(function, inputs, asked):
    """Call the learner's function, which gives one number, for each tuple of inputs.

    Args:
        function: the learner's.
        inputs: tuples of arguments.
        asked: what each call was asked for, "value -7.0"; for messages.

    Returns:
        The list of answers.

    Raises:
        Nothing: if nothing ever comes back.
        Wrong: if nothing comes back for some of the inputs, or more than one number.
    """
    answers = [function(*map(copied, given)) for given in inputs]
    empty = [what for what, got in zip(asked, answers, strict=True) if nothing(got)]
    if len(empty) == len(answers):
        raise Nothing
    if empty:
        raise Wrong(f"nothing comes back for {empty[0]}: is a `return` missing in that case?")
    shapes = [as_array(got).shape for got in answers]
    if any(shapes):
        raise Wrong(f"expected one number from each call, got an array of shape {max(shapes)}")
    return answers


def agree(a, b):
    """Whether two arrays are equal up to the rounding of 32-bit floats."""
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-4, atol=1e-5)


def compare(answer, expected, what, mistakes=(), given=None):
    """Hold numbers against the reference's.

    Args:
        answer: what the learner's function returned.
        expected: the reference's answer.
        what: what the numbers are, "targets".
        mistakes: (hint, answer of a usual mistake) pairs, most usual first.
        given: what each number was asked for, "value -7.0"; for the message.

    Raises:
        Wrong: if shape or numbers differ; with the hint of the mistake that fits.
    """
    got, expected = as_array(answer), as_array(expected)
    if agree(got, expected):
        return
    if got.shape != expected.shape:
        told = f"expected {what} of shape {expected.shape}, got shape {got.shape}"
    else:
        told = difference(got, expected, what, given)
    for hint, mistaken in mistakes:
        if agree(got, as_array(mistaken)):
            raise Wrong(f"{told}.\n  {hint}")
    raise Wrong(told)


def difference(got, expected, what, given=None):
    """Words for how two arrays of one shape differ: all of it if short, else the first place."""
    first = tuple(int(i) for i in np.argwhere(~np.isclose(got, expected, 1e-4, 1e-5))[0:1].ravel())
    if expected.ndim and given is not None:
        return f"expected {what}: {expected[first]:g} for {given[first[0]]}, got {got[first]:g}"
    if expected.size <= 6:
        return f"expected {what} {short(expected)}, got {short(got)}"
    place = first[0] if len(first) == 1 else first
    return f"expected {what} with {expected[first]:g} in place {place}, got {got[first]:g} there"


def _is(frame, function):
    """Whether a line of a traceback stands in the learner's function (or class)."""
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None) or getattr(function.__init__, "__code__", None)
    return code is not None and frame.filename == code.co_filename


def _message(error):
    """Text of an error, even of one that cannot say it."""
    try:
        return str(error)
    except Exception:  # the learner's own class
        return "(its message cannot be shown)"


def exercise(check):
    """Turn a function that raises ``Wrong`` into a check that answers and never raises.

    The check returns True (solved), False (not yet) or None (still open).
    """

    @functools.wraps(check)
    def answered(function):
        name = check.__name__.removeprefix("check_").replace("_", " ")
        outcomes = []  # of each call: "something", "nothing" or "error"

        def watched(*given):
            outcomes.append("error")
            answer = function(*given)
            outcomes[-1] = "nothing" if nothing(answer) else "something"
            return answer

        try:
            with torch.random.fork_rng(devices=[]):  # the learner's own random numbers go on
                check(watched)
        except NotImplementedError:
            print(f"○ {name}: still open.")
            return None
        except Nothing:
            if "something" not in outcomes:
                print(f"○ {name}: still open. Your function returns nothing yet.")
                return None
            print(f"✗ {name}: not yet. For some inputs nothing comes back: is a `return` missing?")
            return False
        except Open as reason:
            print(f"○ {name}: still open. {reason}")
            return None
        except Wrong as wrong:
            print(f"✗ {name}: not yet. {wrong}")
            return False
        except Exception as error:  # whatever the learner's code raises
            theirs = [f.line for f in traceback.extract_tb(error.__traceback__) if _is(f, function)]
            message = _message(error)
            if theirs:
                print(f"✗ {name}: your function raised {type(error).__name__}: {message}")
                print(f"  at: {theirs[-1]}")
            elif outcomes[-1:] == ["error"]:
                print(f"✗ {name}: not yet. Your function could not be called: {message}")
            else:
                print(f"✗ {name}: not yet. What came back cannot be used here: {message}")
            return False
        print(f"✓ {name}: right.")
        return True

    return answered
