"""Replay memories: where transitions wait until a mini-batch asks for them.

``ReplayMemory`` keeps whole transitions and serves the CartPole notebooks.
``FrameReplayMemory`` keeps each picture once and serves the pixel notebooks.
Both forget the oldest entry first, sample uniformly with replacement and take
their random numbers from a generator that is handed in, so a seed fixes every batch.
"""

from collections import namedtuple

import numpy as np

Transition = namedtuple("Transition", "obs action reward next_obs terminated")
Transition.__doc__ = """One turn of the loop: what was seen, done, earned and seen next.

``terminated`` says that the game ended here, so no reward can follow ``next_obs``.
A time limit (``truncated``) is not an end of the game and is not stored here.
"""

FrameBatch = namedtuple("FrameBatch", "obs action reward next_obs discount")
FrameBatch.__doc__ = """A mini-batch rebuilt from frames, all numpy arrays.

obs: (B, stack, H, W) uint8. action: (B,) int64. reward: (B,) float32, the n-step
return r_0 + γ r_1 + … (discounted, cut at an episode's end). next_obs: (B, stack, H, W)
uint8, the observation that follows the last reward. discount: (B,) float32, what
max Q(next_obs) is to be multiplied with: γ^m after m rewards, 0 after a terminal.
"""


def _positive_int(name, value):
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise ValueError(f"expected {name} to be a whole number >= 1, got {value!r}")
    return int(value)


def _check_rng(rng):
    if not isinstance(rng, np.random.Generator):
        raise ValueError(
            f"expected rng to be a numpy Generator, got {type(rng).__name__}: "
            "pass np.random.default_rng(seed)"
        )
    return rng


class ReplayMemory:
    """A ring of the last ``capacity`` transitions.

    Args:
        capacity: how many transitions fit, >= 1; the next one replaces the oldest.
        rng: numpy ``Generator`` that draws the batches.

    Source: Lin 1992; Mnih et al. 2015, Methods, "Training algorithm".
    """

    def __init__(self, capacity, rng):
        self.capacity = _positive_int("capacity", capacity)
        self.rng = _check_rng(rng)
        self._ring = []
        self._head = 0  # where the next transition goes once the ring is full

    def push(self, obs, action, reward, next_obs, terminated):
        """Store one transition; the oldest one goes when the ring is full.

        Args:
            obs: what the agent saw, any shape.
            action: what it did.
            reward: what it got, a finite number.
            next_obs: what it saw then, same shape as ``obs``.
            terminated: True if the game ended with this step (not: ran out of time).

        Raises:
            ValueError: if the two observations differ in shape or the reward is not finite.
        """
        if np.shape(obs) != np.shape(next_obs):
            raise ValueError(
                f"expected next_obs of shape {np.shape(obs)} like obs, got {np.shape(next_obs)}"
            )
        if not np.isfinite(reward):
            raise ValueError(f"expected a finite reward, got {reward}: look at the environment")
        transition = Transition(obs, action, reward, next_obs, bool(terminated))
        if len(self._ring) < self.capacity:
            self._ring.append(transition)
        else:
            self._ring[self._head] = transition
        self._head = (self._head + 1) % self.capacity

    def sample(self, batch_size):
        """Draw ``batch_size`` transitions, each equally likely, as a list.

        Raises:
            ValueError: if fewer transitions than that are stored.
        """
        batch_size = _positive_int("batch_size", batch_size)
        if batch_size > len(self):
            raise ValueError(
                f"expected at least {batch_size} stored transitions, got {len(self)}: "
                "push more before sampling, or ask for a smaller batch"
            )
        return [self._ring[i] for i in self.rng.integers(len(self), size=batch_size)]

    def __len__(self):
        return len(self._ring)


class FrameReplayMemory:
    """A ring of frames per environment, from which stacks and returns are rebuilt.

    An observation is a stack of the last few frames, so neighbouring observations
    share all frames but one. Only the newest frame of each is stored.

    Call ``push`` once per step of the vector environment. Gymnasium's vector
    environments reset on the step *after* an end; that step is recognised here and
    not stored (of a truncated episode its last frame is kept, as the bootstrap needs it).

    Args:
        capacity: transitions in all, shared evenly by the environments.
        num_envs: how many environments push side by side.
        rng: numpy ``Generator`` that draws the batches.
        frame_shape: (height, width) of one frame in pixels.
        stack: frames in one observation.
        n_step: rewards summed before the bootstrap (1: plain Q-learning).
        gamma: discount γ of one agent step, in [0, 1].

    Source: Mnih et al. 2015, Methods; n-step returns: Sutton & Barto 2018, eq. 7.1.
    """

    def __init__(
        self, capacity, num_envs, rng, *, frame_shape=(84, 84), stack=4, n_step=1, gamma=0.99
    ):
        self.num_envs = _positive_int("num_envs", num_envs)
        self.stack = _positive_int("stack", stack)
        self.n_step = _positive_int("n_step", n_step)
        self.capacity = _positive_int("capacity", capacity)
        self.rng = _check_rng(rng)
        self.gamma = float(gamma)
        self._slots = self.capacity // self.num_envs
        if self._slots < self.stack + self.n_step:
            raise ValueError(
                f"expected capacity >= num_envs * (stack + n_step) = "
                f"{self.num_envs * (self.stack + self.n_step)}, got {capacity}"
            )
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"expected gamma in [0, 1], got {gamma}")
        rings = (self.num_envs, self._slots)
        self._frame = np.zeros((*rings, *frame_shape), np.uint8)
        self._action = np.zeros(rings, np.uint8)
        self._reward = np.zeros(rings, np.float32)
        self._terminated = np.zeros(rings, bool)
        self._truncated = np.zeros(rings, bool)
        self._is_last_frame = np.zeros(rings, bool)  # a frame after a truncation: no transition
        self._depth = np.zeros(rings, np.uint8)  # earlier frames of this episode in the stack
        self._head = np.zeros(self.num_envs, np.int64)  # next slot to write
        self._count = np.zeros(self.num_envs, np.int64)  # slots in use
        self._next_depth = np.zeros(self.num_envs, np.uint8)
        self._was_terminated = np.zeros(self.num_envs, bool)  # by the previous push
        self._was_truncated = np.zeros(self.num_envs, bool)

    @property
    def nbytes(self):
        """Bytes of all arrays together."""
        return sum(a.nbytes for a in vars(self).values() if isinstance(a, np.ndarray))

    def push(self, obs, action, reward, terminated, truncated):
        """Store one step of every environment; the autoreset step is left out.

        Args:
            obs: (N, stack, H, W) uint8, what the agents saw *before* acting.
            action: (N,) integers in 0..255.
            reward: (N,) numbers, finite.
            terminated: (N,) bool, the game ended with this step.
            truncated: (N,) bool, the time limit ended it.

        Raises:
            ValueError: on another shape or dtype, or a reward that is not finite.
        """
        expected = (self.num_envs, self.stack, *self._frame.shape[2:])
        if np.shape(obs) != expected or obs.dtype != np.uint8:
            raise ValueError(
                f"expected obs of shape {expected} and dtype uint8, got "
                f"{np.shape(obs)} {getattr(obs, 'dtype', type(obs).__name__)}"
            )
        columns = dict(action=action, reward=reward, terminated=terminated, truncated=truncated)
        for name, value in columns.items():
            if np.shape(value) != (self.num_envs,):
                raise ValueError(
                    f"expected {name} of shape ({self.num_envs},), got {np.shape(value)}"
                )
        if not np.isfinite(reward).all():
            raise ValueError(f"expected finite rewards, got {reward}: look at the environment")

        is_reset = self._was_terminated | self._was_truncated
        env = np.flatnonzero(~self._was_terminated)  # a terminal's last frame is never needed
        slot = self._head[env]
        self._frame[env, slot] = obs[env, -1]
        self._action[env, slot] = action[env]
        self._reward[env, slot] = reward[env]
        self._terminated[env, slot] = terminated[env]
        self._truncated[env, slot] = truncated[env] & ~terminated[env]
        self._is_last_frame[env, slot] = is_reset[env]
        self._depth[env, slot] = self._next_depth[env]
        self._head[env] = (slot + 1) % self._slots
        self._count[env] = np.minimum(self._count[env] + 1, self._slots)

        depth = np.minimum(self._next_depth + 1, self.stack - 1)
        self._next_depth = np.where(is_reset, 0, depth).astype(np.uint8)
        self._was_terminated = terminated & ~is_reset
        self._was_truncated = truncated & ~terminated & ~is_reset

    def sample(self, batch_size):
        """Draw a mini-batch, every complete transition equally likely.

        The newest ``n_step`` transitions of a running episode wait until the frame
        that follows them has arrived; the oldest whose stack is partly overwritten are left out.

        Returns:
            FrameBatch of ``batch_size`` rows.

        Raises:
            ValueError: if fewer transitions than that are stored.
        """
        batch_size = _positive_int("batch_size", batch_size)
        if batch_size > len(self):
            raise ValueError(
                f"expected at least {batch_size} stored transitions, got {len(self)}: "
                "push more before sampling, or ask for a smaller batch"
            )
        env, offset = self._draw(batch_size)
        for _ in range(20):  # redraw the few rows that are not complete
            bad = np.flatnonzero(~self._is_complete(env, offset))
            if not len(bad):
                return self._gather(env, offset)
            env[bad], offset[bad] = self._draw(len(bad))
        envs, offsets = np.nonzero(np.arange(self._slots) < self._count[:, None])
        good = np.flatnonzero(self._is_complete(envs, offsets))
        if not len(good):
            raise ValueError(f"no transition has its {self.n_step} next steps yet: push more")
        good = self.rng.choice(good, batch_size)
        return self._gather(envs[good], offsets[good])

    def __len__(self):
        """Number of stored transitions."""
        return int(self._count.sum() - self._is_last_frame.sum())

    def _draw(self, size):
        """Environment and offset (0: its oldest slot) of random slots, (size,) each."""
        ends = np.cumsum(self._count)
        pick = self.rng.integers(ends[-1], size=size)
        env = np.searchsorted(ends, pick, side="right")
        return env, pick - (ends[env] - self._count[env])

    def _window(self, env, offset):
        """Slots (B, n) of each row's n steps, which of them count, and where they end.

        Returns:
            slots (B, n), used (B, n) bool: up to and with the first end, last (B,) step
            index of the last used one, ended (B,) bool: an end lies in the window.
        """
        steps = np.arange(self.n_step)
        slots = self._slot(env[:, None], offset[:, None] + steps)
        in_ring = offset[:, None] + steps < self._count[env, None]
        rows = (env[:, None], slots)
        end = (self._terminated[rows] | self._truncated[rows]) & in_ring
        ended = end.any(1)
        last = np.where(ended, end.argmax(1), self.n_step - 1)
        return slots, steps <= last[:, None], last, ended

    def _slot(self, env, offset):
        return (self._head[env] - self._count[env] + offset) % self._slots

    def _is_complete(self, env, offset):
        """Which rows (B,) can be rebuilt from what the ring still holds and already has."""
        slots, _, last, ended = self._window(env, offset)
        first = slots[:, 0]
        has_stack = offset >= self._depth[env, first]
        last_slot = np.take_along_axis(slots, last[:, None], 1)[:, 0]
        terminal = ended & self._terminated[env, last_slot]
        has_next = terminal | (offset + last + 1 < self._count[env])
        return has_stack & has_next & ~self._is_last_frame[env, first]

    def _gather(self, env, offset):
        slots, used, last, _ = self._window(env, offset)
        weights = self.gamma ** np.arange(self.n_step) * used  # (B, n)
        reward = (weights * self._reward[env[:, None], slots]).sum(1)
        last_slot = np.take_along_axis(slots, last[:, None], 1)[:, 0]
        alive = ~self._terminated[env, last_slot]
        return FrameBatch(
            obs=self._stacks(env, offset),
            action=self._action[env, slots[:, 0]].astype(np.int64),
            reward=reward.astype(np.float32),
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
