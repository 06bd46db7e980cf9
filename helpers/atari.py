"""Atari's preprocessing, one wrapper per idea, and Pong ready for training.

Gymnasium's ``AtariPreprocessing`` and ale-py's C++ vector environment do the same and
are faster; these wrappers are for reading. Tests check that all three give equal pixels. (The one
exception is the last picture of a finished game, which no action and no target depends on.)
Source: Mnih et al. 2015, Methods, "Preprocessing"; Machado et al. 2018.
"""

import gymnasium as gym
import numpy as np

from helpers.checks import check_count

try:
    import ale_py
    from ale_py.vector_env import AtariVectorEnv
except ImportError as error:  # pragma: no cover - tested by hiding the module
    raise ImportError(
        'expected ale-py >= 0.11.1, got none: pip install "ale-py>=0.11.1"'
    ) from error

ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # no banner in red on stderr
gym.register_envs(ale_py)


class NoopStart(gym.Wrapper):
    """Do nothing for 1 to ``noop_max`` frames after a reset, so that games start differently.

    The number is drawn from the environment's own seeded generator.
    """

    def __init__(self, env, noop_max=30):
        if noop_max < 1:
            raise ValueError(f"expected noop_max >= 1, got {noop_max}: leave NoopStart out instead")
        super().__init__(env)
        self.noop_max = noop_max

    def reset(self, **kwargs):
        """Reset, then wait."""
        obs, info = self.env.reset(**kwargs)
        for _ in range(self.unwrapped.np_random.integers(1, self.noop_max + 1)):
            obs, _, terminated, truncated, info = self.env.step(0)
            if terminated or truncated:
                obs, info = self.env.reset()
        return obs, info


class FireOnReset(gym.Wrapper):
    """Press FIRE after a reset: some games do not start until the player does."""

    def __init__(self, env):
        meanings = env.unwrapped.get_action_meanings()
        if meanings[1] != "FIRE":
            raise ValueError(f"expected action 1 to be FIRE, got {meanings}")
        super().__init__(env)

    def reset(self, **kwargs):
        """Reset, then press FIRE for one frame."""
        self.env.reset(**kwargs)
        obs, _, _, _, info = self.env.step(1)
        return obs, info


class Grey(gym.ObservationWrapper):
    """Colours (H, W, 3) to luminance (H, W), uint8, weighted as the eye sees brightness."""

    def __init__(self, env):
        super().__init__(env)
        shape = env.observation_space.shape[:2]
        self.observation_space = gym.spaces.Box(0, 255, shape, np.uint8)

    def observation(self, obs):
        """Weigh red, green and blue."""
        return np.round(obs @ [0.2989, 0.5870, 0.1140]).astype(np.uint8)


class MaxAndSkip(gym.Wrapper):
    """Repeat each action for ``skip`` frames; return the maximum of the last two.

    The Atari 2600 draws some objects in every other frame only; the maximum keeps them.
    Rewards of the skipped frames are summed.
    """

    def __init__(self, env, skip=4):
        super().__init__(env)
        self.skip = skip

    def step(self, action):
        """Repeat the action, stopping early if the game ends."""
        total, last_two = 0.0, []
        for _ in range(self.skip):
            obs, reward, terminated, truncated, info = self.env.step(action)
            total += reward
            last_two = [*last_two[-1:], obs]
            if terminated or truncated:
                break
        return np.max(last_two, axis=0), total, terminated, truncated, info


class Shrink(gym.ObservationWrapper):
    """Resize a grey picture to ``size`` = (height, width) by averaging areas."""

    def __init__(self, env, size=(84, 84)):
        super().__init__(env)
        self.size = size
        self.observation_space = gym.spaces.Box(0, 255, size, np.uint8)

    def observation(self, obs):
        """Resize (OpenCV counts width first)."""
        import cv2

        return cv2.resize(obs, self.size[::-1], interpolation=cv2.INTER_AREA)


class StackFrames(gym.Wrapper):
    """Return the last ``stack`` pictures together, (stack, H, W), so motion becomes visible.

    After a reset the missing earlier pictures are black.
    """

    def __init__(self, env, stack=4):
        super().__init__(env)
        shape = (stack, *env.observation_space.shape)
        self.observation_space = gym.spaces.Box(0, 255, shape, np.uint8)

    def reset(self, **kwargs):
        """Start a new stack."""
        obs, info = self.env.reset(**kwargs)
        self._frames = np.zeros(self.observation_space.shape, np.uint8)
        self._frames[-1] = obs
        return self._frames, info

    def step(self, action):
        """Drop the oldest picture and append the new one."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        self._frames = np.concatenate([self._frames[1:], obs[None]])
        return self._frames, reward, terminated, truncated, info


class ClipReward(gym.RewardWrapper):
    """Keep only the sign of a reward, so one learning rate fits every game."""

    def reward(self, reward):
        """-1, 0 or 1."""
        return float(np.sign(reward))


def make_pong(
    num_envs, *, clip_rewards=True, noop_max=30, sticky=0.0, size=(84, 84), num_threads=0
):
    """Make ale-py's C++ vector environment of Pong, which training and evaluation use.

    Args:
        num_envs: games side by side.
        clip_rewards: return only the sign of a reward (training); scores need False.
        noop_max: wait a random time after a reset, less than that many frames; 0: not at all.
        sticky: in every emulator frame, the probability that the console repeats the previous
            action instead of the new one. 0.25 is what Machado et al. 2018 recommend and the
            default of "ALE/Pong-v5"; 0 is how Mnih et al. 2015 played.
        size: (height, width) of the picture in pixels.
        num_threads: threads that run the games; 0: as many as there are cores.

    Returns:
        A Gymnasium vector environment: obs (N, 4, H, W) uint8, actions (N,) int32 or
        int64 in 0..5, one agent step = 4 frames. After the end of a game it resets on the
        *next* step, which ignores the action and is not a transition.

    Raises:
        ValueError: if ``sticky`` is not in [0, 1), or a number of games or pixels below 1.
    """
    check_count("num_envs", num_envs)  # with 0, the emulator would end the whole process
    for name, pixels in zip(("height", "width"), size, strict=True):
        check_count(name, pixels)
    if not 0 <= sticky < 1:
        raise ValueError(f"expected sticky in [0, 1), got {sticky}")
    return AtariVectorEnv(
        "pong",
        num_envs=num_envs,
        num_threads=num_threads,
        img_height=size[0],
        img_width=size[1],
        noop_max=noop_max,
        reward_clipping=clip_rewards,
        use_fire_reset=True,
        repeat_action_probability=sticky,
    )


def replay_actions(envs, seed, actions):
    """Play recorded games again, from their first reset on.

    Without sticky actions the emulator has no randomness of its own, and the waits of
    ``noop_max`` come from the seed, so the same actions give the same games. It is enough to keep
    the actions, one byte each, instead of the pictures.

    Args:
        envs: made as ``make_pong`` made them the first time; they are reset.
        seed: of that first reset.
        actions: (T, N) whole numbers; row t holds the actions of the N games at step t.

    Yields:
        (obs, actions, reward, terminated, truncated, next_obs) of each step, in order.

    Raises:
        ValueError: if ``actions`` has another shape or dtype, or holds an unknown action.
    """
    actions, known = np.asarray(actions), int(envs.single_action_space.n)
    if actions.ndim != 2 or actions.shape[1] != envs.num_envs:
        raise ValueError(f"expected actions of shape (T, {envs.num_envs}), got {actions.shape}")
    if not np.issubdtype(actions.dtype, np.integer):
        raise ValueError(f"expected actions of a whole-number dtype, got {actions.dtype}")
    if actions.size and not 0 <= actions.min() <= actions.max() < known:
        raise ValueError(
            f"expected actions in 0..{known - 1}, got {actions.min()}..{actions.max()}"
        )
    obs, _ = envs.reset(seed=seed)
    for row in actions.astype(np.int64):
        next_obs, reward, terminated, truncated, _ = envs.step(row)
        yield obs, row, reward, terminated, truncated, next_obs
        obs = next_obs


def make_pong_to_watch():
    """Make one Pong with the same observations that also renders in colour.

    Returns:
        A Gymnasium environment: obs (4, 84, 84) uint8, ``render()`` (210, 160, 3) uint8.
    """
    env = gym.make(
        "ALE/Pong-v5", frameskip=1, repeat_action_probability=0.0, render_mode="rgb_array"
    )
    return StackFrames(Shrink(MaxAndSkip(Grey(FireOnReset(NoopStart(env))))))
