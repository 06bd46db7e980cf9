"""Our wrappers against Gymnasium's, ale-py's own and small environments made for the purpose."""

import importlib.util
import sys

import ale_py
import gymnasium as gym
import numpy as np
import pytest
from ale_py.vector_env import AtariVectorEnv
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation

from helpers import atari
from helpers.atari import (
    ClipReward,
    FireOnReset,
    Grey,
    MaxAndSkip,
    NoopStart,
    Shrink,
    StackFrames,
    make_pong,
    make_pong_to_watch,
    replay_actions,
)

# --- pixel for pixel --------------------------------------------------------------------------


def raw(game="Pong", **how):
    return gym.make(f"ALE/{game}-v5", frameskip=1, repeat_action_probability=0.0, **how)


def ours(env):
    return StackFrames(Shrink(MaxAndSkip(Grey(env))))


def gymnasiums(env):
    return FrameStackObservation(AtariPreprocessing(env, noop_max=0), 4, padding_type="zero")


def ales(game="pong", **how):
    settings = dict(num_threads=1, noop_max=0, repeat_action_probability=0.0) | how
    return AtariVectorEnv(game, num_envs=1, reward_clipping=False, **settings)


def compare(seed, env, *others, vectors=(), agent_steps=220):
    """Play the same random games everywhere, over their ends. Return how many ended."""
    actions = np.random.default_rng(seed)
    obs, _ = env.reset(seed=seed)
    seen = [other.reset(seed=seed)[0] for other in others]
    seen += [vector.reset(seed=seed)[0][0] for vector in vectors]
    ends, earned = 0, 0.0
    for _ in range(agent_steps):
        for other in seen:
            np.testing.assert_array_equal(obs, other)
        action = int(actions.integers(env.action_space.n))
        obs, reward, terminated, truncated, _ = env.step(action)
        came = [other.step(action)[:4] for other in others]
        for vector in vectors:
            came.append([column[0] for column in vector.step(np.array([action]))[:4]])
        for other in came:
            assert tuple(other[1:]) == (reward, terminated, truncated)
        seen, earned = [other[0] for other in came], earned + abs(reward)
        if terminated or truncated:
            for other in seen:  # the last picture of a game: see below
                np.testing.assert_array_equal(obs[:-1], other[:-1])
            ends += 1
            obs, _ = env.reset()
            seen = [other.reset()[0] for other in others]
            seen += [vector.step(np.array([2]))[0][0] for vector in vectors]  # action ignored
    assert earned > 0
    for vector in vectors:
        vector.close()
    return ends


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_pixels_equal_gymnasium_and_ale(seed):
    compare(seed, ours(raw()), gymnasiums(raw()), vectors=[ales(use_fire_reset=False)])


@pytest.mark.parametrize("seed", [3, 4])
def test_pixels_equal_with_fire_on_reset(seed):
    """The C++ environment presses FIRE for one frame after a reset, and so do we."""
    compare(seed, ours(FireOnReset(raw())), vectors=[ales(use_fire_reset=True)])


def test_pixels_equal_over_the_ends_of_games():
    """A limit on the frames ends the games, and the next ones begin alike.

    Only the newest picture of the last observation may differ: ours holds the two last frames of
    the game, while the others stop before they have looked at the frame that ended it.
    """
    limit = dict(max_num_frames_per_episode=330)
    env, gymnasium = ours(raw(**limit)), gymnasiums(raw(**limit))
    assert (
        compare(0, env, gymnasium, vectors=[ales(use_fire_reset=False, **limit)], agent_steps=350)
        >= 4
    )


def test_reset_shows_one_frame_on_black():
    env, vector = ours(FireOnReset(raw())), ales(use_fire_reset=True)
    for obs in (env.reset(seed=0)[0], vector.reset(seed=0)[0][0]):
        assert not obs[:3].any() and obs[3].any()
    vector.close()


@pytest.mark.parametrize("game", ["Pong", "Breakout", "Seaquest", "MsPacman", "SpaceInvaders"])
def test_luminance_is_that_of_ale(game):
    env = raw(game)
    env.reset(seed=0)
    for i in range(60):
        obs, _, terminated, _, _ = env.step(i % env.action_space.n)
        if i % 10 == 0:
            grey = Grey(env).observation(obs)
            np.testing.assert_array_equal(grey, env.unwrapped.ale.getScreenGrayscale())
        assert not terminated


# --- wrapper by wrapper -----------------------------------------------------------------------


class Film(gym.Env):
    """Shows pictures with the number of the frame, and notes what it was told to do."""

    action_space = gym.spaces.Discrete(3)
    observation_space = gym.spaces.Box(0, 255, (4, 6, 3), np.uint8)

    def __init__(self, length=1000, rewards=(1.0,), meanings=("NOOP", "FIRE", "RIGHT")):
        self.length, self.rewards, self.meanings = length, rewards, list(meanings)
        self.told, self.resets = [], 0

    def get_action_meanings(self):
        return self.meanings

    def picture(self):
        return np.full(self.observation_space.shape, self.frame, np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.frame, self.told, self.resets = 0, [], self.resets + 1
        return self.picture(), {"frame": 0}

    def step(self, action):
        self.told.append(action)
        self.frame += 1
        reward = self.rewards[(self.frame - 1) % len(self.rewards)]
        over = self.frame == self.length
        return self.picture(), reward, over, False, {"frame": self.frame}


def test_noop_start_waits_for_a_seeded_number_of_frames():
    film = Film()
    env, waits = NoopStart(film, noop_max=5), []
    for seed in range(60):
        obs, info = env.reset(seed=seed)
        assert film.told == [0] * info["frame"]
        assert obs[0, 0, 0] == info["frame"]
        waits.append(info["frame"])
    assert set(waits) == {1, 2, 3, 4, 5}
    assert waits == [env.reset(seed=seed)[1]["frame"] for seed in range(60)]


def test_noop_start_begins_anew_if_the_game_ends_meanwhile():
    film = Film(length=1)
    obs, info = NoopStart(film, noop_max=3).reset(seed=1)
    assert film.resets > 1
    assert info["frame"] == 0 == obs.max()


def test_fire_on_reset_presses_fire_once():
    film = Film()
    obs, info = FireOnReset(film).reset(seed=0)
    assert film.told == [1]
    assert obs[0, 0, 0] == info["frame"] == 1


def test_fire_on_reset_needs_a_fire_button():
    with pytest.raises(ValueError, match=r"expected action 1 to be FIRE, got .*'UP'"):
        FireOnReset(Film(meanings=("NOOP", "UP", "DOWN")))


def test_grey_weighs_the_colours():
    env = Grey(Film())
    picture = np.zeros((4, 6, 3), np.uint8)
    picture[0, :4] = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]
    grey = env.observation(picture)
    assert grey[0, :4].tolist() == [76, 150, 29, 255]  # 0.2989, 0.5870, 0.1140 of 255
    assert grey.dtype == np.uint8 and not grey[1:].any()
    assert env.observation_space == gym.spaces.Box(0, 255, (4, 6), np.uint8)


def test_max_and_skip_repeats_sums_and_takes_the_brighter_of_the_last_two():
    class Flicker(Film):
        def picture(self):  # every second frame is dark; earlier frames are brighter
            return super().picture() * 0 + (0 if self.frame % 2 == 0 else 100 - self.frame)

    film = Flicker(rewards=(1.0, 2.0, 3.0, 4.0))
    env = MaxAndSkip(film)
    env.reset(seed=0)
    obs, reward, terminated, truncated, info = env.step(2)
    assert film.told == [2, 2, 2, 2]
    assert (obs.max(), reward, terminated, truncated) == (97, 10.0, False, False)
    assert info["frame"] == 4
    obs, *_ = MaxAndSkip(film, skip=1).step(0)
    assert obs.max() == 95 and film.told[4:] == [0]


@pytest.mark.parametrize("length, earned", [(1, 1.0), (2, 2.0), (6, 2.0), (4, 4.0)])
def test_max_and_skip_stops_at_the_end(length, earned):
    film = Film(length=length)
    env = MaxAndSkip(film)
    env.reset(seed=0)
    terminated = False
    while not terminated:
        obs, reward, terminated, _, _ = env.step(0)
    assert film.frame == length == obs.max()
    assert reward == earned


def test_shrink_averages_areas():
    env = Shrink(Grey(Film()), size=(2, 3))
    picture = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    expected = picture.reshape(2, 2, 3, 2).mean((1, 3)).round()
    np.testing.assert_array_equal(env.observation(picture), expected)
    assert env.observation_space == gym.spaces.Box(0, 255, (2, 3), np.uint8)
    assert env.reset(seed=0)[0].shape == (2, 3)


def test_stack_frames_is_oldest_first_and_starts_black():
    env = StackFrames(Grey(Film()), stack=3)
    first, _ = env.reset(seed=0)
    kept = [first.copy()] + [env.step(0)[0] for _ in range(4)]
    newest = [obs[:, 0, 0].tolist() for obs in kept]
    assert newest == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4]]
    assert env.observation_space.contains(kept[-1]) and kept[-1].shape == (3, 4, 6)
    again, _ = env.reset()
    assert not again.any()  # nothing is left of the game before
    np.testing.assert_array_equal(kept[0], first)  # what was handed out does not change


def test_clip_reward_keeps_the_sign():
    env = ClipReward(Film(rewards=(-400.0, 0.0, 0.25, 7.0)))
    env.reset(seed=0)
    assert [env.step(0)[1] for _ in range(4)] == [-1.0, 0.0, 1.0, 1.0]


# --- Pong, ready for training -----------------------------------------------------------------


@pytest.mark.parametrize("size", [(84, 84), (42, 50)])
def test_make_pong(size):
    envs = make_pong(3, size=size, num_threads=1)
    obs, _ = envs.reset(seed=0)
    assert obs.shape == (3, 4, *size) and obs.dtype == np.uint8
    assert envs.single_action_space.n == 6
    obs, reward, terminated, truncated, _ = envs.step(np.zeros(3, int))
    assert obs.shape == (3, 4, *size)
    assert reward.shape == terminated.shape == truncated.shape == (3,)
    envs.close()


def test_make_pong_is_what_the_wrappers_make():
    compare(5, ours(FireOnReset(raw())), vectors=[make_pong(1, noop_max=0, num_threads=1)])


def test_make_pong_begins_games_differently_but_by_seed():
    def first(seed):
        envs = make_pong(3, num_threads=1)
        obs, _ = envs.reset(seed=seed)
        for _ in range(20):
            obs, *_ = envs.step(np.zeros(3, int))
        envs.close()
        return obs

    obs = first(0)
    np.testing.assert_array_equal(obs, first(0))
    assert len({one.tobytes() for one in obs}) > 1


@pytest.mark.parametrize("clip, sticky", [(True, {}), (False, {"sticky": 0.25})])
def test_make_pong_hands_the_setting_on(monkeypatch, clip, sticky):
    """Pong itself pays -1, 0 or 1 only, so its games cannot tell whether rewards are clipped."""
    asked = {}
    monkeypatch.setattr(atari, "AtariVectorEnv", lambda game, **how: asked.update(how, game=game))
    make_pong(2, clip_rewards=clip, noop_max=7, **sticky)
    assert (asked["game"], asked["num_envs"], asked["noop_max"]) == ("pong", 2, 7)
    assert asked["reward_clipping"] is clip
    assert asked["repeat_action_probability"] == sticky.get("sticky", 0.0)


def test_sticky_actions_make_games_differ_but_the_seed_decides():
    """Without them, games without waits are the same whatever the seed is."""

    def last(sticky, seed):
        envs = make_pong(1, noop_max=0, sticky=sticky, num_threads=1)
        actions = np.random.default_rng(0)
        obs, _ = envs.reset(seed=seed)
        for _ in range(60):
            obs, *_ = envs.step(actions.integers(2, 4, 1))  # up or down
        envs.close()
        return obs.tobytes()

    assert last(0.0, 1) == last(0.0, 2)
    assert last(0.25, 1) == last(0.25, 1)
    assert len({last(0.0, 1), last(0.25, 1), last(0.25, 2)}) == 3


@pytest.mark.parametrize("sticky", [-0.1, 1.0])
def test_sticky_is_a_probability_below_one(sticky):
    with pytest.raises(ValueError, match=rf"expected sticky in \[0, 1\), got {sticky}"):
        make_pong(1, sticky=sticky)


@pytest.mark.parametrize("how", [dict(num_envs=0), dict(num_envs=1, size=(0, 84))])
def test_a_size_of_zero_is_refused_before_the_emulator_sees_it(how):
    with pytest.raises(ValueError, match="whole number >= 1, got 0"):
        make_pong(**how)


LIMIT = dict(max_num_frames_per_episode=330)  # 82 agent steps, the waits at the start included


@pytest.fixture
def truncating():
    """Games that a limit ends now and then, with waits at their starts."""
    envs = AtariVectorEnv(
        "pong", num_envs=2, noop_max=30, use_fire_reset=True, repeat_action_probability=0.0, **LIMIT
    )
    yield envs
    envs.close()


def test_actions_played_again_give_the_same_games(truncating):
    """Over the ends of games and the random waits after them, whatever was played before."""
    envs, rng, played = truncating, np.random.default_rng(0), []
    obs, _ = envs.reset(seed=5)
    for _ in range(250):
        action = rng.integers(0, 6, 2)
        next_obs, reward, terminated, truncated, _ = envs.step(action)
        played.append((obs.copy(), action, reward, terminated, truncated, next_obs.copy()))
        obs = next_obs
    assert sum(step[4].any() for step in played) >= 2 and any(step[2].any() for step in played)
    actions = np.array([step[1] for step in played], np.uint8)
    for before, again in zip(played, replay_actions(envs, 5, actions), strict=True):
        for a, b in zip(before, again, strict=True):
            np.testing.assert_array_equal(a, b)

    def differs(seed, actions):
        """Whether the pictures before and after a step do, by step."""
        again = replay_actions(envs, seed, actions)
        return [
            not (np.array_equal(one[0], other[0]) and np.array_equal(one[-1], other[-1]))
            for one, other in zip(played, again, strict=True)
        ]

    assert any(differs(6, actions))  # the seed matters
    actions[100] = 5 - actions[100]  # the other way
    changed = differs(5, actions)
    assert not any(changed[:100]) and any(changed[100:])  # and every action


def test_no_actions_are_no_steps(truncating):
    assert list(replay_actions(truncating, 0, np.zeros((0, 2), np.uint8))) == []


@pytest.mark.parametrize(
    "actions, message",
    [
        (np.zeros((5, 3), np.uint8), r"shape \(T, 2\), got \(5, 3\)"),
        (np.zeros(10, np.uint8), r"shape \(T, 2\), got \(10,\)"),
        (np.zeros((5, 2), np.float32), "whole-number dtype, got float32"),
        (np.full((5, 2), 6), r"actions in 0\.\.5, got 6\.\.6"),
        (np.full((5, 2), -1), r"actions in 0\.\.5, got -1\.\.-1"),
    ],
)
def test_actions_that_were_never_played_are_refused(truncating, actions, message):
    with pytest.raises(ValueError, match=message):
        next(replay_actions(truncating, 0, actions))


def test_make_pong_to_watch_shows_colours_and_the_same_observations():
    env = make_pong_to_watch()
    obs, _ = env.reset(seed=0)
    assert obs.shape == (4, 84, 84) and obs.dtype == np.uint8
    assert env.action_space.n == 6
    picture = env.render()
    assert picture.shape == (210, 160, 3) and picture.dtype == np.uint8
    assert picture.std(axis=2).any()  # colours, not grey
    assert not obs[:3].any() and obs[3].any()
    obs, *_ = env.step(0)
    assert obs[2:].any((1, 2)).all() and not obs[:2].any()
    env.close()


def test_without_ale_py_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ale_py", None)
    spec = importlib.util.spec_from_file_location("atari_without_ale", atari.__file__)
    with pytest.raises(
        ImportError, match=r'expected ale-py >= 0\.11\.1.*pip install "ale-py>=0\.11\.1"'
    ):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_an_unknown_game_is_an_error_of_gymnasium():
    with pytest.raises(gym.error.Error):
        gym.make("ALE/NoSuchGame-v5")


def test_ale_prints_no_banner(capfd):
    raw().reset(seed=0)
    assert capfd.readouterr().err == ""
    assert ale_py.__version__


def test_noop_start_without_waiting_is_refused():
    with pytest.raises(ValueError, match="expected noop_max >= 1, got 0: leave NoopStart out"):
        NoopStart(raw(), noop_max=0)
