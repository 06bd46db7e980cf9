"""Checks for notebook 05: the largest guess, Double DQN's target, the dueling sum."""

import numpy as np
import torch

from exercises import call, call_each, compare, exercise


@exercise
def check_largest_guess(function):
    """``function(num_actions)``: mean of the largest of so many guesses of -1 or +1."""
    numbers = [1, 2, 3, 4, 8, 12]
    half = np.array([0.5**n for n in numbers])  # chance that all guesses are -1
    mistakes = [
        ("That is the chance that some guess is +1. What is the largest guess in the other case?",
         1 - half),
        ("That is the chance that *all* guesses are +1, seen as the good case; one is enough.",
         2 * half - 1),
        ("Only one case in all is −1, but it counts twice: +1 is missing there, and −1 comes "
         "instead.", 1 - half / 2),
        ("The guesses are right on average, so their mean is 0; asked is the *largest* of them.",
         np.zeros(len(numbers))),
        ("Some case has no +1 in it: all guesses may be −1.", np.ones(len(numbers))),
    ]  # fmt: skip
    asked = [f"{n} action{'s' * (n > 1)}" for n in numbers]
    answers = call_each(function, [(n,) for n in numbers], asked)
    compare(answers, 1 - 2 * half, "the mean of the largest guess", mistakes, asked)


@exercise
def check_double_target(function):
    """``function(reward, terminated, next_q, next_target_q, gamma)`` to targets (B,)."""
    rng = np.random.default_rng(0)
    for size, gamma in ((3, 0.9), (8, 0.5), (1, 0.8)):  # 3 rows, 3 actions: no wrong axis crashes
        reward = torch.from_numpy(rng.normal(size=size)).float()
        terminated = torch.from_numpy(np.arange(size) % 3 == 1)
        next_q, next_target_q = torch.from_numpy(rng.normal(size=(2, size, 3)) + 2).float()
        goes_on, rows = 1 - terminated.float(), torch.arange(size)
        best, target_best = next_q.argmax(dim=1), next_target_q.argmax(dim=1)

        def target(future, reward=reward, goes_on=goes_on, gamma=gamma):
            return reward + gamma * goes_on * future

        expected = target(next_target_q[rows, best])
        mistakes = [
            ("That is DQN: the target network chooses *and* judges.",
             target(next_target_q[rows, target_best])),
            ("The networks have changed places: the one that learns chooses, the target network "
             "judges.", target(next_q[rows, target_best])),
            ("The network that learns chooses *and* judges; the target network is not used.",
             target(next_q[rows, best])),
            ("That counts a future after the end of the game.",
             reward + gamma * next_target_q[rows, best]),
            ("The mask is the other way round: it should be 1 where the game goes on.",
             target(next_target_q[rows, best], goes_on=1 - goes_on)),
            ("The reward is masked as well; only the future ends.",
             goes_on * target(next_target_q[rows, best])),
            ("The reward is missing.", target(next_target_q[rows, best], reward=0)),
            ("γ is an argument; yours is fixed.",
             target(next_target_q[rows, best], gamma=0.9)),
            ("γ is missing.", reward + goes_on * next_target_q[rows, best]),
            ("The index of the action was taken for its value: look up what the target network "
             "says of that action (`gather`).", target(best)),
            ("That is the smaller of the two networks' largest values (a relative of Double DQN, "
             "*clipped* double Q).",
             target(torch.minimum(next_q[rows, best], next_target_q[rows, target_best]))),
            ("(B,) met (B, 1) and became a (B, B) table: drop the second dimension after "
             "`gather`.", target(next_target_q[rows, best][:, None])),
        ]  # fmt: skip
        answer = call(function, reward, terminated, next_q, next_target_q, gamma)
        compare(answer, expected, "targets", mistakes)


@exercise
def check_dueling_max(function):
    """``function(value, advantage)``: V (B, 1), A (B, actions) to Q, the largest of a row is V."""
    torch.manual_seed(2)
    for size in (3, 5, 1):
        value, advantage = torch.randn(size, 1), torch.randn(size, 3)
        largest = advantage.max(dim=1, keepdim=True).values
        mistakes = [
            ("That subtracts the mean; here the *largest* advantage is to become 0.",
             value + advantage - advantage.mean(dim=1, keepdim=True)),
            ("Nothing is subtracted: then V may be anything.", value + advantage),
            ("The largest advantage was added; it must be taken off.", value + advantage + largest),
            ("That is the largest advantage of the whole batch; each row has its own.",
             value + advantage - advantage.max()),
            ("V is missing.", advantage - largest),
            ("The *place* of the largest advantage was taken for its value.",
             value + advantage - advantage.argmax(dim=1, keepdim=True)),
            ("That subtracts the smallest advantage.",
             value + advantage - advantage.min(dim=1, keepdim=True).values),
        ]  # fmt: skip
        if size == 3:
            over_rows = advantage.max(dim=0).values
            mistakes += [
                ("The maximum runs over the batch: use dim=1, and keep the dimension.",
                 value + advantage - over_rows),
                ("`keepdim=True` is missing: (B,) was taken for a row, not for a column.",
                 value + advantage - largest[:, 0]),
            ]  # fmt: skip
        expected = value + advantage - largest
        compare(call(function, value, advantage), expected, "Q-values", mistakes)
