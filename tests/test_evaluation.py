"""Evaluation counts exactly the first episode of each environment."""

import gymnasium as gym
import numpy as np
import pytest

from helpers.evaluation import evaluate


class Lengths:
    """Environment i ends after lengths[i] steps, again and again, with reward 1 a step."""

    def __init__(self, *lengths):
        self.lengths, self.num_envs = np.array(lengths), len(lengths)

    def reset(self, seed):
        self.seed, self.steps, self.total = seed, np.zeros(self.num_envs, int), 0
        return self.steps.copy(), {}

    def step(self, action):
        self.total += 1
        self.steps += 1
        over = self.steps == self.lengths
        self.steps[over] = 0
        return self.steps.copy(), np.ones(self.num_envs), over, np.zeros_like(over), {}


def act(obs):
    return np.zeros(len(obs), int)


def test_first_episodes_only():
    envs = Lengths(3, 7, 5)
    result = evaluate(act, envs, seed=11)
    assert result.returns.tolist() == [3, 7, 5] and envs.total == 7 and envs.seed == 11
    assert (result.mean, result.agent_steps) == (5, 15)
    assert result.std == pytest.approx(np.std([3, 7, 5]))


def test_rewards_after_the_end_do_not_count():
    class Paying(Lengths):
        def step(self, action):
            obs, reward, over, cut, info = super().step(action)
            return obs, reward * 10.0**self.total, over, cut, info  # 10, 100, 1000, …

    result = evaluate(act, Paying(1, 3), seed=0)
    assert result.returns.tolist() == [10, 1110] and result.agent_steps == 4


def test_a_time_limit_ends_an_episode_too():
    class Limited(Lengths):
        def step(self, action):
            obs, reward, over, cut, info = super().step(action)
            return obs, reward, cut, over, info

    assert evaluate(act, Limited(3, 7), seed=0).returns.tolist() == [3, 7]


def test_gives_up_in_the_end():
    assert evaluate(act, Lengths(3, 10**9), 0, max_agent_steps=20).returns.tolist() == [3, 20]


def test_gives_up_after_half_an_hour_of_an_atari_game():
    """By itself: 30 minutes of 60 frames a second, 4 of them in a step."""
    assert evaluate(act, Lengths(10**9), seed=0).agent_steps == 30 * 60 * 60 // 4


@pytest.mark.parametrize("limit", [0, -1, 2.5])
def test_a_limit_below_one_is_refused(limit):
    with pytest.raises(ValueError, match="max_agent_steps to be a whole number >= 1"):
        evaluate(lambda obs: np.zeros(2, int), Lengths(3, 3), seed=0, max_agent_steps=limit)


def test_wrong_number_of_actions_is_named():
    with pytest.raises(ValueError, match=r"actions of shape \(2,\), got \(2, 1\)"):
        evaluate(lambda obs: np.zeros((2, 1)), Lengths(3, 4), 0)


@pytest.mark.parametrize("reward", [np.nan, np.inf])
def test_rewards_that_are_no_numbers_are_refused(reward):
    class Odd(Lengths):
        def step(self, action):
            obs, _, over, cut, info = super().step(action)
            return obs, np.array([1.0, reward if self.total == 4 else 1.0]), over, cut, info

    assert evaluate(act, Odd(5, 3), 0).returns.tolist() == [5, 3]  # after its end it does not count
    with pytest.raises(ValueError, match="expected finite rewards, got returns"):
        evaluate(act, Odd(5, 4), 0)


def test_cartpole_pushed_one_way_falls_soon_and_repeatably():
    envs = gym.make_vec("CartPole-v1", num_envs=20)
    first, again = (evaluate(act, envs, seed=3) for _ in range(2))
    assert first.returns.min() >= 8 and first.returns.max() <= 12
    assert first.returns.tolist() == again.returns.tolist()
