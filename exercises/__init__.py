"""Checks for the exercises of the notebooks: your function in, an answer in plain words out.

A check never stops a notebook. It calls your function with random inputs, compares its answers
with an independent reference and, if they differ, tries the usual mistakes: if one of them gives
exactly your numbers, it is named. Any correct implementation passes: numpy or torch, looped or
not, of 32 or 64 bits, on any device.

The inputs vary in whatever an answer could take for granted: sizes (a batch of one, too),
constants, signs, whole numbers and fractions, equal items, and every branch is reached.
"""

import functools
import inspect
import traceback

import numpy as np
import torch
from torch.overrides import TorchFunctionMode


class StillOpen(Exception):
    """An exercise that nobody has begun: the function does nothing."""


class ReturnedNothing(StillOpen):
    """The function returned nothing."""


class WrongAnswer(Exception):
    """An answer that is not right: what was expected, what came, what may help."""


def as_array(value):
    """Numbers in whatever form (tensor, list, array, number) as a numpy array.

    Raises:
        WrongAnswer: if it is nothing of the kind.
    """
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy()
    if isinstance(value, (list, tuple)) and any(isinstance(v, torch.Tensor) for v in value):
        return np.array([as_array(v) for v in value])
    try:
        return np.asarray(value, float)
    except (TypeError, ValueError):
        inside = f" of unequal {type(value[0]).__name__}s" if _is_ragged(value) else ""
        raise WrongAnswer(f"expected numbers, got {type(value).__name__}{inside}") from None


def _is_ragged(value):
    """Whether a list holds lists (or arrays) of different lengths."""
    return isinstance(value, list) and len({len(v) for v in value if hasattr(v, "__len__")}) > 1


def number_kinds(value):
    """Kinds of the numbers as numpy has them: "b" Boolean, "i" and "u" whole, "f" fractions."""
    if isinstance(value, (list, tuple)):
        return {kind for part in value for kind in number_kinds(part)}
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    return {np.asarray(value).dtype.kind}


def copied(value):
    """A copy of an input, so that a function that changes it does no harm."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    return value.copy() if isinstance(value, (np.ndarray, list)) else value


def few_numbers(array):
    """A few of the numbers, for a message."""
    flat = np.round(np.asarray(array, float).ravel(), 3)
    if not np.ndim(array):
        return f"{flat[0]:g}"
    return f"{flat[:6].tolist()}{' …' if flat.size > 6 else ''}"


def is_missing(answer):
    """Whether a function that should return something returned nothing."""
    return answer is None or answer is Ellipsis


def call(function, *inputs):
    """Call the learner's function with copies of the inputs.

    Raises:
        ReturnedNothing: if nothing comes back.
        WrongAnswer: if nothing comes back, but an input was changed.
    """
    copies = [*map(copied, inputs)]
    answer = function(*copies)
    if not is_missing(answer):
        return answer
    pairs = [pair for pair in zip(copies, inputs, strict=True) if hasattr(pair[0], "shape")]
    if all(agree(as_array(after), as_array(before)) for after, before in pairs):
        raise ReturnedNothing
    raise WrongAnswer("your function changes its input and returns nothing: is a `return` missing?")


def call_all(function, inputs, asked):
    """Call the learner's function for each tuple of inputs.

    Args:
        function: the learner's.
        inputs: tuples of arguments.
        asked: what each call was asked for, "value -7.0"; for messages.

    Returns:
        The list of answers.

    Raises:
        ReturnedNothing: if nothing ever comes back.
        WrongAnswer: if nothing comes back for some of the inputs.
    """
    answers = [function(*map(copied, arguments)) for arguments in inputs]
    empty = [what for what, got in zip(asked, answers, strict=True) if is_missing(got)]
    if len(empty) == len(answers):
        raise ReturnedNothing
    if empty:
        raise WrongAnswer(f"nothing comes back for {empty[0]}: is a `return` missing in that case?")
    return answers


def call_each(function, inputs, asked):
    """Like ``call_all``, for a function that returns one number.

    Raises:
        ReturnedNothing: if nothing ever comes back.
        WrongAnswer: if nothing comes back for some of the inputs, or more than one number.
    """
    answers = call_all(function, inputs, asked)
    shapes = [as_array(got).shape for got in answers]
    if any(shapes):
        raise WrongAnswer(
            f"expected one number from each call, got an array of shape {max(shapes)}"
        )
    return answers


RELATIVE, ABSOLUTE = 2e-5, 3e-6  # more than the rounding of 32-bit floats, less than a learner's


def agree(a, b):
    """Whether two arrays are equal up to the rounding of 32-bit floats."""
    return a.shape == b.shape and np.allclose(a, b, rtol=RELATIVE, atol=ABSOLUTE)


def compare(answer, expected, what, mistakes=(), asked=None):
    """Compare numbers with the reference's.

    Args:
        answer: what the learner's function returned.
        expected: the reference's answer.
        what: what the numbers are, "targets".
        mistakes: (hint, answer of a usual mistake) pairs, most usual first.
        asked: what each number was asked for, "value -7.0"; for the message.

    Raises:
        WrongAnswer: if shape or numbers differ; with the hint of the mistake that fits.
    """
    got, expected = as_array(answer), as_array(expected)
    got = got.astype(float) if got.dtype.kind in "biu" else got
    if agree(got, expected):
        return
    if got.shape != expected.shape:
        message = f"expected {what} of shape {expected.shape}, got shape {got.shape}"
    else:
        message = difference(got, expected, what, asked)
    for hint, mistaken in (*mistakes, *_usual_slips(got, expected)):
        if agree(got, as_array(mistaken)):
            raise WrongAnswer(f"{message}.\n  {hint}")
    raise WrongAnswer(message)


def _usual_slips(got, expected):
    """(hint, answer) pairs that fit every exercise."""
    if got.shape != expected.shape:
        if expected.shape and got.shape == np.squeeze(expected).shape:
            yield (
                "The numbers are right, but a dimension of size 1 is lost: `squeeze()` drops all "
                "of them. Name the one to drop: `[:, 0]` or `squeeze(1)`.",
                np.squeeze(expected),
            )
    elif (got == np.trunc(got)).all():
        hint = "The fractions are cut off: are the numbers stored in an array of whole numbers?"
        yield hint, np.trunc(expected)
        yield "That is rounded; return the number as it is.", np.round(expected)
    else:
        for decimals in (1, 2, 3, 4):
            hint = "That is rounded; return the numbers as they are."
            yield hint, np.round(expected, decimals)


def difference(got, expected, what, asked=None):
    """Say how two arrays of one shape differ: all the numbers if few, else the first place."""
    differs = ~np.isclose(got, expected, RELATIVE, ABSOLUTE)
    first = tuple(int(i) for i in np.argwhere(differs)[0:1].ravel())
    if not expected.ndim:
        return f"expected {what} {_both(expected, got)}"
    wanted, found = _both(expected[first], got[first]).split(", got ")
    if asked is not None:
        return f"expected {what}: {wanted} for {asked[first[0]]}, got {found}"
    if expected.size <= 6 and few_numbers(expected) != few_numbers(got):
        return f"expected {what} {few_numbers(expected)}, got {few_numbers(got)}"
    place = first[0] if len(first) == 1 else first
    return f"expected {what} with {wanted} in place {place}, got {found} there"


def _both(expected, got):
    """Two numbers, with as many digits as it takes to tell them apart."""
    for digits in (6, 9, 12):
        wanted, found = f"{expected:.{digits}g}", f"{got:.{digits}g}"
        if wanted != found:
            break
    return f"{wanted}, got {found}"


class RecordedCalls(TorchFunctionMode):
    """While it is entered, keeps the names of the torch functions that are called."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Note the name, and call the function."""
        self.names.add(getattr(func, "__name__", ""))
        return func(*args, **(kwargs or {}))


def state_of(network):
    """Copies of a network's weights, for ``check_unchanged``."""
    return [p.detach().clone() for p in network.parameters()]


def check_unchanged(network, before, name="the network"):
    """Check that a network has the weights ``before`` and can still learn.

    Raises:
        WrongAnswer: if not.
    """
    check_learns(network, name)
    if any(not torch.equal(p, b) for p, b in zip(network.parameters(), before, strict=True)):
        raise WrongAnswer(f"your function has changed the weights of {name}.")


def check_learns(network, name="the network"):
    """Check that the gradients of a network's weights are still switched on.

    Raises:
        WrongAnswer: if not.
    """
    if any(not p.requires_grad for p in network.parameters()):
        raise WrongAnswer(
            f"your function has switched the gradients of {name} off for good, so it cannot learn "
            "any more.\n  `with torch.no_grad():` switches them off only within its block."
        )


def _stands_in(frame, function):
    """Whether a line of a traceback stands in the learner's function (or class)."""
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None) or getattr(function.__init__, "__code__", None)
    return code is not None and frame.filename == code.co_filename


def _text_of(error):
    """Text of an error, even of one that cannot be shown."""
    try:
        return str(error)
    except Exception:  # the learner's own class
        return "(its message cannot be shown)"


def exercise(check):
    """Turn a function that raises ``WrongAnswer`` into a check that answers and never raises.

    The check returns True (solved), False (not yet) or None (still open).
    """

    @functools.wraps(check)
    def answered(function):
        name = check.__name__.removeprefix("check_").replace("_", " ")
        outcomes = []  # of each call: "something", "nothing" or "error"
        gradients_on = torch.is_grad_enabled()

        def watched(*arguments):
            outcomes.append("error")
            answer = function(*arguments)
            outcomes[-1] = "nothing" if is_missing(answer) else "something"
            if torch.is_grad_enabled() != gradients_on:
                raise WrongAnswer(
                    "your function has switched all gradients off for good, so nothing can learn "
                    "any more.\n  `with torch.no_grad():` switches them off only within its block."
                )
            return answer

        try:
            with torch.random.fork_rng(devices=[]):  # the learner's own random numbers go on
                check(watched)
        except ReturnedNothing:
            if "something" not in outcomes:
                print(f"○ {name}: still open. Your function returns nothing yet.")
                return None
            print(f"✗ {name}: not yet. For some inputs nothing comes back: is a `return` missing?")
            return False
        except StillOpen as reason:
            print(f"○ {name}: still open. {reason}")
            return None
        except WrongAnswer as wrong:
            print(f"✗ {name}: not yet. {wrong}")
            return False
        except Exception as error:  # whatever the learner's code raises
            if isinstance(error, NotImplementedError) and not error.args:  # torch's has a message
                print(f"○ {name}: still open.")
                return None
            frames = traceback.extract_tb(error.__traceback__)
            theirs = [frame.line for frame in frames if _stands_in(frame, function)]
            message = _text_of(error)
            if theirs:
                print(f"✗ {name}: your function raised {type(error).__name__}: {message}")
                print(f"  at: {theirs[-1]}")
            elif outcomes[-1:] == ["error"]:
                print(f"✗ {name}: not yet. Your function could not be called: {message}")
            else:
                print(f"✗ {name}: not yet. What came back cannot be used here: {message}")
            return False
        finally:
            torch.set_grad_enabled(gradients_on)
        print(f"✓ {name}: right.")
        return True

    return answered
