"""What several helpers ask of their arguments; each raises ValueError with expected and actual."""

from numbers import Real

import numpy as np

LARGEST = float(np.finfo(np.float32).max)  # beyond it, a float32 is infinite


def check_count(name, value):
    """Return ``value`` as an int, if it is a whole number of at least 1."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise ValueError(f"expected {name} to be a whole number >= 1, got {value!r}")
    return int(value)


def check_rng(rng):
    """Return ``rng`` if it is a numpy ``Generator``."""
    if not isinstance(rng, np.random.Generator):
        raise ValueError(f"expected rng = np.random.default_rng(seed), got {type(rng).__name__}")
    return rng


def check_shape(name, value, shape):
    """Refuse an array (or nested list) of another shape."""
    if np.shape(value) != shape:
        raise ValueError(f"expected {name} of shape {shape}, got {np.shape(value)}")


def check_flags(name, value):
    """Return ``value`` as an array, if it holds nothing but True and False."""
    value = np.asarray(value)
    if value.dtype != bool:
        raise ValueError(f"expected {name} to hold True or False, got {value!r}")
    return value


def check_reward(value):
    """Return a reward as a float, if it is one real number that float32 can hold."""
    if not isinstance(value, Real):
        raise ValueError(f"expected the reward to be one real number, got {value!r}")
    if not abs(value) <= LARGEST:  # NaN is not <= anything
        raise ValueError(f"expected a finite reward (in float32), got {value}")
    return float(value)


def check_rewards(value):
    """Return rewards as an array, if float32 can hold every one of them."""
    value = np.asarray(value)
    if value.dtype.kind not in "biuf":
        raise ValueError(f"expected rewards to be real numbers, got {value!r}")
    if not (np.abs(value) <= LARGEST).all():  # NaN is not <= anything
        raise ValueError(f"expected finite rewards (in float32), got {value}")
    return value
