"""Prioritized replay: transitions with a larger TD error are drawn more often.

``SumTree`` draws in proportion to priorities; the two memories add it to the memories of
``helpers.replay``. Source: Schaul et al. 2016, *Prioritized experience replay*, section 3.3.
"""

from collections import namedtuple

import numpy as np

from helpers.checks import check_count
from helpers.replay import FrameReplayMemory, ReplayMemory, check_batch

Sample = namedtuple("Sample", "batch keys weight")
Sample.__doc__ = """What a prioritized memory draws.

batch: transitions, in the form in which the plain memory returns them. keys: (B, 2) int64, which
transitions these are, for ``update_priorities``. weight: (B,) float32 importance weights in (0, 1].
"""


class SumTree:
    """Draws indices in proportion to their priorities; a draw or a change is O(log capacity).

    A complete binary tree in one array: node i has the children 2i and 2i + 1, the root is
    node 1, the leaves are the priorities, and every other node is the sum of its children.

    Args:
        capacity: number of priorities; all start at 0.
    """

    def __init__(self, capacity):
        self.capacity = check_count("capacity", capacity)
        self._depth = (self.capacity - 1).bit_length()
        self._first_leaf = 1 << self._depth
        self._node = np.zeros(2 * self._first_leaf)

    @property
    def total(self):
        """Sum of all priorities."""
        return self._node[1]

    def __getitem__(self, index):
        """Priorities of an array of indices."""
        return self._node[self._leaf(index)]

    def __setitem__(self, index, priority):
        """Set the priorities of indices (B,); if an index occurs twice, the last value counts.

        Sums are computed again from the children, never by adding differences, so rounding
        errors do not build up over millions of updates.

        Raises:
            ValueError: if a priority is negative, or too large for a finite sum of all, or an
                index out of range or no whole number.
        """
        node, priority = self._leaf(np.atleast_1d(index)), np.asarray(priority, float)
        largest = np.finfo(float).max / self.capacity
        if not ((priority >= 0) & (priority <= largest)).all():
            raise ValueError(f"expected priorities in [0, {largest:.0e}], got {priority}")
        self._node[node] = priority
        for _ in range(self._depth):
            node = node >> 1
            self._node[node] = self._node[2 * node] + self._node[2 * node + 1]

    def draw(self, size, rng):
        """Draw indices (B,): one from each of ``size`` equal parts of the total (stratified).

        The probability of an index is priority / total; one with priority 0 is never drawn.

        Raises:
            ValueError: if all priorities are 0.
        """
        if not self.total > 0:
            raise ValueError("expected a priority above 0, all are 0: push or update first")
        return self.find((np.arange(size) + rng.random(size)) / size * self.total)

    def find(self, mass):
        """Return the indices (B,) where the running sum first exceeds the numbers mass (B,)."""
        mass, node = np.array(mass, float), np.ones(len(mass), np.int64)
        if not ((mass >= 0) & (mass <= self.total * (1 + 1e-9))).all():  # rounded sums: a margin
            raise ValueError(f"expected numbers in [0, {self.total:g}], got {mass}")
        for _ in range(self._depth):
            left, right = self._node[2 * node], self._node[2 * node + 1]
            go_right = (mass >= left) & (right > 0)  # never into an empty branch, despite rounding
            mass -= np.where(go_right, left, 0.0)
            node = 2 * node + go_right
        return node - self._first_leaf

    def _leaf(self, index):
        """Return the nodes that hold these priorities."""
        index = np.asarray(index)
        if index.size and index.dtype.kind not in "iu":
            raise ValueError(f"expected whole numbers as indices, got {index.dtype}")
        if index.size and not 0 <= index.min() <= index.max() < self.capacity:
            raise ValueError(f"expected indices in 0..{self.capacity - 1}, got {index}")
        return self._first_leaf + index.astype(np.int64)


class Priorities:
    """The priorities of a memory's slots, and keys for the transitions in them.

    A key is (slot, how often that slot had been written when it was drawn). If the slot has been
    overwritten before its new priority comes back, the counts differ and the priority is dropped.

    Args:
        slots: how many.
        alpha: 0 draws uniformly, 1 in proportion to the errors.
        epsilon: added to every |error|, so that every transition can be drawn.
    """

    def __init__(self, slots, alpha, epsilon):
        if not 0 <= alpha <= 1:
            raise ValueError(f"expected alpha in [0, 1], got {alpha}")
        if not epsilon > 0:
            raise ValueError(f"expected epsilon > 0, got {epsilon}")
        self.alpha, self.epsilon = float(alpha), float(epsilon)
        self.tree = SumTree(slots)
        self.written = np.zeros(slots, np.int64)
        self.largest = 1.0  # largest |error| + epsilon so far: a new transition gets it

    def enter(self, slots):
        """Give the new transitions in these slots the highest priority so far."""
        self.tree[slots] = np.full(len(slots), self.largest**self.alpha)
        self.written[slots] += 1

    def keys(self, slots):
        """Keys (B, 2) of the transitions that are in these slots now."""
        return np.stack([slots, self.written[slots]], axis=1)

    def weights(self, slots, stored, beta):
        """(N P(i))^-β with N transitions stored, divided by the largest of the batch, (B,)."""
        if not 0 <= beta <= 1:
            raise ValueError(f"expected beta in [0, 1], got {beta}")
        weight = (self.tree[slots] / self.tree.total * stored) ** -beta
        return (weight / weight.max()).astype(np.float32)

    def update(self, keys, errors):
        """Give drawn transitions the priorities (|error| + epsilon)^alpha.

        Args:
            keys: (B, 2), from a ``Sample``; those of overwritten transitions are ignored.
            errors: (B,) temporal-difference errors, any sign.

        Raises:
            ValueError: if an error is not finite.
        """
        errors = np.abs(np.asarray(errors, float))
        if errors.shape != (len(keys),):
            raise ValueError(f"expected errors of shape ({len(keys)},), got {errors.shape}")
        if not np.isfinite(errors).all():
            raise ValueError("expected finite errors, got NaN or infinity: the training diverges")
        slots, written = np.asarray(keys).T
        here = self.written[slots] == written
        slots, priority = slots[here], errors[here] + self.epsilon
        if len(slots):
            self.largest = max(self.largest, priority.max())
            self.tree[slots] = priority**self.alpha


class PrioritizedReplayMemory(ReplayMemory):
    """``ReplayMemory`` that draws transition i with probability p_i^α / Σ p^α.

    Args:
        capacity: transitions.
        rng: numpy ``Generator``.
        alpha: see ``Priorities``.
        epsilon: see ``Priorities``.
    """

    def __init__(self, capacity, rng, *, alpha=0.6, epsilon=1e-3):
        super().__init__(capacity, rng)
        self.priorities = Priorities(self.capacity, alpha, epsilon)

    def push(self, obs, action, reward, next_obs, terminated):
        """Store one transition with the highest priority so far."""
        slot = self._head  # where it goes
        super().push(obs, action, reward, next_obs, terminated)
        self.priorities.enter(np.array([slot]))

    def sample(self, batch_size, beta):
        """Draw a Sample of ``batch_size`` transitions; ``beta`` = 1 corrects the bias in full."""
        check_batch(batch_size, len(self))
        slots = self.priorities.tree.draw(batch_size, self.rng)
        weight = self.priorities.weights(slots, len(self), beta)
        return Sample([self._ring[i] for i in slots], self.priorities.keys(slots), weight)

    def update_priorities(self, keys, errors):
        """Give drawn transitions new priorities: see ``Priorities.update``."""
        self.priorities.update(keys, errors)


class PrioritizedFrameReplayMemory(FrameReplayMemory):
    """``FrameReplayMemory`` with priorities; for further arguments see there.

    If a drawn transition cannot be rebuilt (yet, or any more), another one is drawn.
    """

    def __init__(self, capacity, num_envs, rng, *, alpha=0.6, epsilon=1e-3, **further):
        super().__init__(capacity, num_envs, rng, **further)
        self.priorities = Priorities(self.num_envs * self._slots, alpha, epsilon)

    def _store(self, env, slot, frames):
        super()._store(env, slot, frames)
        self.priorities.enter(env * self._slots + slot)

    def push(self, obs, action, reward, terminated, truncated):
        """Store one step of every environment, with the highest priority so far."""
        super().push(obs, action, reward, terminated, truncated)
        env = np.arange(self.num_envs)
        newest = (self._head - 1) % self._slots
        env = env[self._is_last_frame[env, newest]]  # after a truncation: a frame, no transition
        self.priorities.tree[env * self._slots + newest[env]] = np.zeros(len(env))

    def sample(self, batch_size, beta):
        """Draw a Sample whose batch is a FrameBatch."""
        check_batch(batch_size, len(self))
        tree = self.priorities.tree
        slots = tree.draw(batch_size, self.rng)
        for _ in range(50):
            env, slot = np.divmod(slots, self._slots)
            offset = (slot - self._head[env] + self._count[env]) % self._slots
            bad = np.flatnonzero(~self._is_complete(env, offset))
            if not len(bad):
                weight = self.priorities.weights(slots, len(self), beta)
                return Sample(self._gather(env, offset), self.priorities.keys(slots), weight)
            slots[bad] = tree.draw(len(bad), self.rng)
        raise ValueError("nearly all priority is on transitions that are not complete: push more")

    def update_priorities(self, keys, errors):
        """Give drawn transitions new priorities: see ``Priorities.update``."""
        self.priorities.update(keys, errors)
