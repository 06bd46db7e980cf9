"""Replay memories against slow, list-based references."""

from collections import deque

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.replay import FrameReplayMemory, ReplayMemory, Transition

H, W = 2, 3  # of the pictures in these tests


def rng(seed=0):
    return np.random.default_rng(seed)


def transition(i):
    return Transition(np.array([i]), i % 2, float(i), np.array([i + 1]), i % 5 == 0)


# --- ReplayMemory ---------------------------------------------------------------------------


@given(capacity=st.integers(1, 20), pushes=st.integers(0, 60))
def test_ring_keeps_the_newest(capacity, pushes):
    memory, reference = ReplayMemory(capacity, rng()), deque(maxlen=capacity)
    for i in range(pushes):
        memory.push(*transition(i))
        reference.append(i)
        assert len(memory) == len(reference)
    assert sorted(t.reward for t in memory._ring) == sorted(float(i) for i in reference)


@given(pushes=st.integers(1, 30))
def test_what_is_pushed_comes_back_whole(pushes):
    memory = ReplayMemory(10, rng())
    for i in range(pushes):
        memory.push(*transition(i))
    for got in memory.sample(min(5, len(memory))):
        expected = transition(int(got.reward))
        np.testing.assert_array_equal(got.obs, expected.obs)
        np.testing.assert_array_equal(got.next_obs, expected.next_obs)
        assert (got.action, got.terminated) == (expected.action, expected.terminated)


def test_sampling_is_seeded_and_uniform():
    memories = [ReplayMemory(50, rng(seed)) for seed in (1, 1, 2)]
    for memory in memories:
        for i in range(80):
            memory.push(*transition(i))
    draws = [[t.reward for _ in range(200) for t in memory.sample(50)] for memory in memories]
    assert draws[0] == draws[1] != draws[2]
    counts = np.bincount(np.array(draws[0], int), minlength=80)[30:]
    chi_square = ((counts - 200) ** 2 / 200).sum()
    assert chi_square < 86  # 49 degrees of freedom: 0.1 % lie above


def test_bad_arguments_are_named():
    for capacity in (0, -1, 2.5, True, "10"):
        with pytest.raises(ValueError, match="expected capacity to be a whole number >= 1, got"):
            ReplayMemory(capacity, rng())
    with pytest.raises(ValueError, match="expected a numpy Generator, got int"):
        ReplayMemory(10, 42)
    memory = ReplayMemory(10, rng())
    memory.push(*transition(0))
    with pytest.raises(ValueError, match="at least 2 stored transitions, got 1"):
        memory.sample(2)
    with pytest.raises(ValueError, match=r"next_obs of shape \(4,\) like obs, got \(3,\)"):
        memory.push(np.zeros(4), 0, 0.0, np.zeros(3), False)
    for reward in (np.nan, np.inf):
        with pytest.raises(ValueError, match="finite reward"):
            memory.push(np.zeros(4), 0, reward, np.zeros(4), False)
    assert len(memory) == 1  # nothing of what was refused is in it


# --- FrameReplayMemory ----------------------------------------------------------------------


class Game:
    """One environment that plays out given episodes, as Gymnasium's autoreset shows them."""

    def __init__(self, episodes, stack, first_frame):
        self.episodes, self.stack = deque(episodes), stack
        self.frame = first_frame
        self.begin()

    def begin(self):
        self.length, self.end = self.episodes[0]
        self.episodes.rotate(-1)
        self.steps, self.over = 0, False
        self.obs = np.zeros((self.stack, H, W), np.uint8)
        self.show()

    def show(self):
        self.frame = self.frame % 250 + 1
        self.obs = np.concatenate([self.obs[1:], np.full((1, H, W), self.frame, np.uint8)])

    def step(self):
        """Return next_obs, terminated, truncated, is_reset."""
        if self.over:
            self.begin()
            return self.obs, False, False, True
        self.steps += 1
        self.show()
        self.over = self.steps == self.length
        return (
            self.obs,
            self.over and self.end == "terminated",
            self.over and self.end == "truncated",
            False,
        )


class Reference:
    """A list of everything that happened in one environment, and slow lookups in it."""

    def __init__(self):
        self.steps = []  # (obs, action, reward, next_obs, terminated, truncated)
        self.last_frame_came = False  # of a truncated episode: with the autoreset step

    def batch_rows(self, n_step, gamma):
        """What every transition should look like in a batch; None while it is incomplete."""
        rows = []
        for start in range(len(self.steps)):
            total, discount, row = 0.0, 1.0, None
            for k in range(n_step):
                if start + k >= len(self.steps):
                    break
                _, _, reward, next_obs, terminated, truncated = self.steps[start + k]
                total += discount * reward
                discount *= gamma
                if terminated:
                    row = (total, None, 0.0)
                elif truncated or k == n_step - 1:
                    if start + k == len(self.steps) - 1 and not self.last_frame_came:
                        break  # the observation after it has not been pushed yet
                    row = (total, next_obs, discount)
                if row is not None:
                    break
            rows.append(row and (self.steps[start][0], self.steps[start][1], *row))
        return rows


episode = st.tuples(st.integers(1, 9), st.sampled_from(["terminated", "truncated"]))
games = st.lists(st.lists(episode, min_size=1, max_size=4), min_size=1, max_size=3)


@settings(max_examples=120, deadline=None)
@given(
    games=games,
    pushes=st.integers(1, 70),
    slots=st.integers(8, 30),
    stack=st.integers(1, 4),
    n_step=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_batches_are_what_the_reference_allows(games, pushes, slots, stack, n_step, seed):
    numbers = rng(seed)
    gamma, count = 0.5, len(games)  # all sums are exact in 32 bits
    players = [Game(episodes, stack, 60 * i) for i, episodes in enumerate(games)]
    memory = FrameReplayMemory(
        slots * count, count, rng(seed), frame_shape=(H, W), stack=stack, n_step=n_step, gamma=gamma
    )
    references = [Reference() for _ in players]
    obs = np.stack([player.obs for player in players])
    for step in range(pushes):
        action = numbers.integers(0, 250, count)
        came = [player.step() for player in players]
        terminated, truncated = (np.array([c[i] for c in came]) for i in (1, 2))
        reward = np.where([c[3] for c in came], 0.0, step + 100 * np.arange(count))
        memory.push(obs, action, reward, terminated, truncated)
        for i, (next_obs, done, cut, is_reset) in enumerate(came):
            references[i].last_frame_came = is_reset
            if not is_reset:
                row = (obs[i], action[i], reward[i], next_obs, done, cut)
                references[i].steps.append(row)
        obs = np.stack([c[0] for c in came])

    def key(obs, action, reward, next_obs, discount):
        following = b"" if discount == 0 else next_obs.tobytes()
        return obs.tobytes(), int(action), round(float(reward), 3), following, round(discount, 4)

    allowed, recent = set(), set()
    for reference in references:
        rows = reference.batch_rows(n_step, gamma)
        allowed |= {key(*row) for row in rows if row}
        # these must be there: complete, stored lately enough, their whole stack not overwritten
        safe = slots - stack - sum(step[5] for step in reference.steps[-slots:])
        recent |= {key(*row) for row in rows[-safe:] if row and safe > 0}
    if not allowed:
        with pytest.raises(ValueError, match="no transition has its"):
            memory.sample(1)
        return
    got = set()
    for _ in range(60):
        batch = memory.sample(min(32, len(memory)))
        for row in zip(*batch, strict=True):
            got.add(key(*row[:4], float(row[4])))
    assert got <= allowed
    assert recent <= got or len(recent) > 20  # all of few are drawn in so many batches


def test_autoreset_step_is_not_stored():
    memory = FrameReplayMemory(40, 1, rng(), frame_shape=(H, W), stack=2)
    obs = np.zeros((1, 2, H, W), np.uint8)
    for terminated in (False, True, False, False):  # the third push is the autoreset
        memory.push(obs, np.array([0]), np.array([0.0]), np.array([terminated]), np.array([False]))
    assert len(memory) == 3


def test_a_frame_is_stored_once():
    memory = FrameReplayMemory(10_000, 8, rng(), n_step=3)
    assert memory.nbytes / memory.capacity <= 1.02 * 84 * 84


def test_length_counts_transitions_only_even_after_wrapping():
    game = Game([(3, "truncated"), (2, "terminated")], 2, 0)
    memory = FrameReplayMemory(9, 1, rng(), frame_shape=(H, W), stack=2, n_step=2)
    obs = game.obs
    for _ in range(100):
        next_obs, terminated, truncated, _ = game.step()
        columns = (np.array([value]) for value in (0, 0.0, terminated, truncated))
        memory.push(obs[None], *columns)
        obs = next_obs
        assert len(memory) == int((memory._count - memory._is_last_frame.sum(1)).sum())


def test_frame_memory_names_what_is_wrong():
    with pytest.raises(ValueError, match="expected capacity >= .* = 40, got 39"):
        FrameReplayMemory(39, 8, rng(), stack=4, n_step=1)
    with pytest.raises(ValueError, match=r"gamma in \[0, 1\], got 1.5"):
        FrameReplayMemory(100, 1, rng(), gamma=1.5)
    memory = FrameReplayMemory(100, 2, rng(), frame_shape=(H, W))
    good = dict(
        obs=np.zeros((2, 4, H, W), np.uint8),
        action=np.zeros(2, int),
        reward=np.zeros(2),
        terminated=np.zeros(2, bool),
        truncated=np.zeros(2, bool),
    )
    with pytest.raises(ValueError, match=r"obs \(2, 4, 2, 3\) of dtype uint8, got .* float32"):
        memory.push(**{**good, "obs": good["obs"].astype(np.float32)})
    with pytest.raises(ValueError, match=r"got \(2, 3, 2, 3\)"):
        memory.push(**{**good, "obs": good["obs"][:, :3]})
    with pytest.raises(ValueError, match=r"action of shape \(2,\), got \(3,\)"):
        memory.push(**{**good, "action": np.zeros(3, int)})
    with pytest.raises(ValueError, match="finite rewards"):
        memory.push(**{**good, "reward": np.array([0.0, np.nan])})
    assert len(memory) == 0
    with pytest.raises(ValueError, match="at least 4 stored transitions, got 0"):
        memory.sample(4)


def test_real_autoreset_of_gymnasium_is_recognised():
    """With Gymnasium's own vector environment: number of transitions = number of real steps."""
    envs = gym.make_vec("CartPole-v1", num_envs=3, vectorization_mode="sync")
    envs = gym.wrappers.vector.TransformObservation(
        envs,
        lambda obs: obs,
        single_observation_space=envs.single_observation_space,
    )
    memory = FrameReplayMemory(900, 3, rng(), frame_shape=(1, 4), stack=1)
    obs, _ = envs.reset(seed=0)
    real, was_over = 0, np.zeros(3, bool)
    for _ in range(200):
        action = rng(1).integers(0, 2, 3)
        next_obs, reward, terminated, truncated, _ = envs.step(action)
        pictures = (obs * 10).astype(np.int8).view(np.uint8).reshape(3, 1, 1, 4)
        memory.push(pictures, action, reward, terminated, truncated)
        real += int((~was_over).sum())
        was_over = terminated | truncated
        obs = next_obs
    assert len(memory) == real < 600
