"""Replay memories: where transitions wait until a mini-batch asks for them.

``ReplayMemory`` keeps whole transitions, ``FrameReplayMemory`` keeps each picture once. Both
forget the oldest first and sample uniformly, with replacement, from a seeded generator.
"""

from collections import namedtuple
from copy import deepcopy

import numpy as np

from helpers.checks import (
    check_count,
    check_flags,
    check_reward,
    check_rewards,
    check_rng,
    check_shape,
)

Transition = namedtuple("Transition", "obs action reward next_obs terminated")
Transition.__doc__ = """One turn of the loop: what was seen, done, earned and seen next.

``terminated``: the game ended here, so no reward can follow ``next_obs``; a time limit
(``truncated``) is not such an end and is not stored.
"""

FrameBatch = namedtuple("FrameBatch", "obs action reward next_obs discount")
FrameBatch.__doc__ = """A mini-batch rebuilt from frames, all numpy arrays.

obs: (B, stack, H, W) uint8. action: (B,) int64. reward: (B,) float32, r_0 + γ r_1 + …,
cut at an episode's end. next_obs: like obs, what follows the last reward. discount: (B,)
float32, the factor of max Q(next_obs): γ^m after m rewards, 0 after a terminal.
"""


def check_batch(batch_size, stored):
    """Refuse to draw more transitions than are stored."""
    if check_count("batch_size", batch_size) > stored:
        got = f"got {batch_size}: push more first, or ask for a smaller batch"
        raise ValueError(f"expected batch_size <= {stored} stored transitions, {got}")


class ReplayMemory:
    """A ring of the last ``capacity`` transitions; the numpy ``Generator`` rng draws batches.

    For subclasses: ``_ring`` holds the transitions, ``_head`` is the slot of the next one.

    Source: Lin 1992; Mnih et al. 2015, Methods, "Training algorithm".
    """

    def __init__(self, capacity, rng):
        self.capacity = check_count("capacity", capacity)
        self.rng = check_rng(rng)
        self._ring = []
        self._head = 0  # where the next transition goes

    def push(self, obs, action, reward, next_obs, terminated):
        """Store a copy of one transition, in place of the oldest one when the ring is full."""
        obs, next_obs = deepcopy(obs), deepcopy(next_obs)
        check_shape("next_obs", next_obs, np.shape(obs))
        if not (np.isfinite(obs).all() and np.isfinite(next_obs).all()):
            raise ValueError("expected finite observations, got NaN or infinity")
        if not isinstance(terminated, (bool, np.bool_)):
            raise ValueError(f"expected terminated to be True or False, got {terminated!r}")
        transition = Transition(obs, action, check_reward(reward), next_obs, bool(terminated))
        if len(self._ring) < self.capacity:
            self._ring.append(transition)
        else:
            self._ring[self._head] = transition
        self._head = (self._head + 1) % self.capacity

    def sample(self, batch_size):
        """Draw a list of ``batch_size`` transitions, at most as many as are stored."""
        check_batch(batch_size, len(self))
        return [self._ring[i] for i in self.rng.integers(len(self), size=batch_size)]

    def __len__(self):
        return len(self._ring)


def _not_continued(obs, seen, has_ended):
    """Say which stack does not continue the one seen before it, and the most likely reason.

    Args:
        obs: (N, stack, H, W) uint8, now pushed.
        seen: like obs, pushed before; black at the start of an episode.
        has_ended: (N,) bool, the episode ended with the push before.
    """
    i = int((obs[:, :-1] != seen[:, 1:]).any((1, 2, 3)).argmax())
    obs, seen = obs[i], seen[i]
    if has_ended[i]:
        why = (
            "its episode has ended, so the next step should show the last stack again; make the "
            "vector environment with autoreset_mode=AutoresetMode.NEXT_STEP"
        )
    elif (obs[:0:-1] == seen[1:]).all():
        why = "expected the newest frame last, got it first"
    elif not seen.any() and (obs == obs[-1]).all():
        why = (
            "the first frame of an episode is repeated; make FrameStackObservation with "
            'padding_type="zero"'
        )
    elif not seen.any():
        why = (
            "expected the first step of an episode, got one from its middle; if the environment "
            "reuses its arrays (copy=False), push a copy"
        )
    elif not obs[:-1].any():
        why = "a new episode began without an end; after envs.reset(), use a new memory"
    else:
        why = "a step was left out, or the environment reuses its arrays (copy=False): push a copy"
    return f"the stack of environment {i} does not continue: {why}"


class FrameReplayMemory:
    """A ring of frames per environment, from which stacks and returns are rebuilt.

    Neighbouring observations share all frames but one: only the newest of each is stored.
    Call ``push`` once per step of the vector environment. Gymnasium's vector environments
    reset on the step *after* an end; that step is recognised here and not stored (of a
    truncated episode its last frame is kept, as the bootstrap needs it).

    Args:
        capacity: transitions in all, shared evenly by the environments.
        num_envs: how many environments push side by side.
        rng: numpy ``Generator`` that draws the batches.
        frame_shape: (height, width) of one frame in pixels.
        stack: frames in one observation.
        n_step: rewards summed before the bootstrap (1: plain Q-learning).
        gamma: discount γ of one agent step, in [0, 1].

    For subclasses: environment i owns the slots 0 … ``_slots`` - 1 of row i of each array;
    ``_head[i]`` is the next one to be written, ``_count[i]`` how many are in use. ``_store``
    puts frames into slots. A transition is named by (env, offset), offset 0 being the oldest
    slot; ``_is_complete`` says which of them ``_gather`` can rebuild.

    Source: Mnih et al. 2015, Methods; n-step returns: Sutton & Barto 2018, eq. 7.1.
    """

    def __init__(
        self, capacity, num_envs, rng, *, frame_shape=(84, 84), stack=4, n_step=1, gamma=0.99
    ):
        self.capacity, self.rng = check_count("capacity", capacity), check_rng(rng)
        self.num_envs, self.stack = check_count("num_envs", num_envs), check_count("stack", stack)
        self.n_step, self.gamma = check_count("n_step", n_step), float(gamma)
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"expected gamma in [0, 1], got {gamma}")
        self._slots = self.capacity // self.num_envs
        if self._slots < self.stack + self.n_step:
            least = f"num_envs * (stack + n_step) = {self.num_envs * (self.stack + self.n_step)}"
            raise ValueError(f"expected capacity >= {least}, got {capacity}")
        rings = (self.num_envs, self._slots)
        self._frame = np.zeros((*rings, *frame_shape), np.uint8)
        self._action = np.zeros(rings, np.uint8)
        self._reward = np.zeros(rings, np.float32)
        self._terminated, self._truncated = np.zeros((2, *rings), bool)
        self._is_last_frame = np.zeros(rings, bool)  # a frame after a truncation: no transition
        self._depth = np.zeros(rings, np.uint8)  # earlier frames of this episode in the stack
        self._head, self._count = np.zeros((2, self.num_envs), np.int64)  # next slot; slots in use
        self._last_frames = 0  # how many of them hold such a frame
        self._next_depth = np.zeros(self.num_envs, np.uint8)
        self._was_terminated, self._was_truncated = np.zeros((2, self.num_envs), bool)  # last push
        self._seen = np.zeros((self.num_envs, self.stack, *frame_shape), np.uint8)  # last push

    @property
    def nbytes(self):
        """Bytes of all arrays together."""
        return sum(a.nbytes for a in vars(self).values() if isinstance(a, np.ndarray))

    def push(self, obs, action, reward, terminated, truncated):
        """Store one step of every environment; the autoreset step is left out.

        Args:
            obs: (N, stack, H, W) uint8, what the agents saw *before* acting, the newest frame
                last; each continues the stack of the step before it, and an episode begins with
                black frames.
            action: (N,) integers in 0..255.
            reward: (N,) finite numbers.
            terminated: (N,) bool, the game ended with this step.
            truncated: (N,) bool, the time limit ended it.

        Raises:
            ValueError: on another shape, dtype or range, a reward that is not finite, or a stack
                that does not continue the one before it.
        """
        obs, action, reward = np.asarray(obs), np.asarray(action), check_rewards(reward)
        terminated = check_flags("terminated", terminated)
        truncated = check_flags("truncated", truncated)
        check_shape("obs", obs, self._seen.shape)
        if obs.dtype != np.uint8:
            raise ValueError(f"expected obs of dtype uint8, got {obs.dtype}")
        columns = dict(action=action, reward=reward, terminated=terminated, truncated=truncated)
        for name, value in columns.items():
            check_shape(name, value, (self.num_envs,))
        if (action.astype(np.uint8) != action).any():
            raise ValueError(f"expected actions to be whole numbers in 0..255, got {action}")
        is_reset = self._was_terminated | self._was_truncated
        if not np.array_equal(obs[:, :-1], self._seen[:, 1:]):
            raise ValueError(_not_continued(obs, self._seen, is_reset))
        env = np.flatnonzero(~self._was_terminated)  # a terminal's last frame is never needed
        slot = self._head[env]
        self._store(env, slot, obs[env, -1])
        self._action[env, slot] = action[env]
        self._reward[env, slot] = reward[env]
        self._terminated[env, slot] = terminated[env]
        self._truncated[env, slot] = truncated[env] & ~terminated[env]
        self._last_frames += int(is_reset[env].sum() - self._is_last_frame[env, slot].sum())
        self._is_last_frame[env, slot] = is_reset[env]
        self._depth[env, slot] = self._next_depth[env]
        self._head[env] = (slot + 1) % self._slots
        self._count[env] = np.minimum(self._count[env] + 1, self._slots)
        self._next_depth = np.minimum(self._next_depth + 1, self.stack - 1).astype(np.uint8)
        self._next_depth[is_reset] = 0
        self._was_terminated = terminated & ~is_reset
        self._was_truncated = truncated & ~terminated & ~is_reset
        self._seen[:] = obs
        self._seen[is_reset] = 0  # a new episode begins with black frames

    def sample(self, batch_size):
        """Draw a mini-batch (FrameBatch), every complete transition equally likely.

        The newest ``n_step`` transitions of a running episode wait until the frame that
        follows them has arrived; the oldest whose stack is partly overwritten are left out.

        Raises:
            ValueError: if fewer transitions than that are stored, or none is complete.
        """
        return self._gather(*self._draw(batch_size))

    def __len__(self):
        """Number of stored transitions."""
        return int(self._count.sum()) - self._last_frames

    def _store(self, env, slot, frames):
        self._frame[env, slot] = frames

    def _draw(self, batch_size):
        """Environment and offset (0: its oldest slot) of complete transitions, (B,) each."""
        check_batch(batch_size, len(self))
        env, offset = self._draw_any(batch_size)
        for _ in range(20):  # redraw the few rows that are not complete
            bad = np.flatnonzero(~self._is_complete(env, offset))
            if not len(bad):
                return env, offset
            env[bad], offset[bad] = self._draw_any(len(bad))
        envs, offsets = np.nonzero(np.arange(self._slots) < self._count[:, None])
        if not len(good := np.flatnonzero(self._is_complete(envs, offsets))):
            raise ValueError(f"no transition has its {self.n_step} next steps yet: push more")
        good = self.rng.choice(good, batch_size)
        return envs[good], offsets[good]

    def _draw_any(self, size):
        ends = np.cumsum(self._count)
        pick = self.rng.integers(ends[-1], size=size)
        env = np.searchsorted(ends, pick, side="right")
        return env, pick - (ends[env] - self._count[env])

    def _slot(self, env, offset):
        return (self._head[env] - self._count[env] + offset) % self._slots

    def _window(self, env, offset):
        """Slots (B, n) of the steps; which (B,) is the last, at an end or the n-th; its slot."""
        offsets = offset[:, None] + np.arange(self.n_step)
        rows = env[:, None], self._slot(env[:, None], offsets)
        end = (self._terminated[rows] | self._truncated[rows]) & (offsets < self._count[env, None])
        last = np.where(end.any(1), end.argmax(1), self.n_step - 1)
        return rows[1], last, self._slot(env, offset + last)

    def _is_complete(self, env, offset):
        """Which rows (B,) can be rebuilt from what the ring still holds and already has."""
        slots, last, last_slot = self._window(env, offset)
        has_stack = offset >= self._depth[env, slots[:, 0]]
        newest = offset + last + ~self._terminated[env, last_slot]  # one more, but after a terminal
        return has_stack & (newest < self._count[env]) & ~self._is_last_frame[env, slots[:, 0]]

    def _gather(self, env, offset):
        slots, last, last_slot = self._window(env, offset)
        steps, alive = np.arange(self.n_step), ~self._terminated[env, last_slot]
        weights = self.gamma**steps * (steps <= last[:, None])  # (B, n)
        return FrameBatch(
            obs=self._stacks(env, offset),
            action=self._action[env, slots[:, 0]].astype(np.int64),
            reward=(weights * self._reward[env[:, None], slots]).sum(1).astype(np.float32),
            next_obs=self._stacks(env, np.where(alive, offset + last + 1, offset)),
            discount=(self.gamma ** (last + 1) * alive).astype(np.float32),
        )

    def _stacks(self, env, offset):
        """Observations (B, stack, H, W); frames from before the episode's start are black."""
        back = np.arange(self.stack)[::-1]
        slots = self._slot(env[:, None], offset[:, None] - back)
        frames = self._frame[env[:, None], slots]
        frames[back > self._depth[env, slots[:, -1]][:, None]] = 0
        return frames
