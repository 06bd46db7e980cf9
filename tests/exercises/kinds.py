"""Kinds of wrong answers that a check with a few fixed inputs would accept."""

import numpy as np
import torch

CONSTANT = "a constant of the example or the heading"
MAXIMUM = "a maximum that starts from 0"
WHOLE = "cut off, because the input holds whole numbers"
SINGLE = "a batch of one loses its dimension"
MERGED = "equal items are merged"
TIES = "ties are broken unevenly"
OCCURRENCE = "the first or last occurrence instead of the right one"
BRANCH = "a wrong branch"
MASK = "0 and 1 where a mask is asked for"
ROUNDED = "a rounded result"
EFFECT = "a lasting side effect"
FORBIDDEN = "a method that the text forbids"
KINDS = (
    CONSTANT,
    MAXIMUM,
    WHOLE,
    SINGLE,
    MERGED,
    TIES,
    OCCURRENCE,
    BRANCH,
    MASK,
    ROUNDED,
    EFFECT,
    FORBIDDEN,
)


def changed(right, change):
    """The right answer with a changed result: an array, or a tuple of arrays."""

    def answer(*inputs):
        result = right(*inputs)
        if isinstance(result, tuple) or _is_pair(result):
            return tuple(change(np.asarray(part)) for part in result)
        if isinstance(result, torch.Tensor):
            result = result.detach().numpy()
        return change(np.array(result))

    return answer


def _is_pair(result):
    """Whether a list holds two results."""
    return isinstance(result, list) and len(result) == 2 and np.ndim(result[0]) > 0
