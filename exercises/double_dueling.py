"""Checks for notebook 05: largest estimate, Double DQN's target, dueling sums, Holm."""

import numpy as np
import torch

from exercises import call, call_each, compare, exercise


@exercise
def check_largest_estimate(function):
    """``function(num_actions)``: mean of the largest of so many estimates of -1 or +1."""
    numbers = [1, 2, 3, 4, 8, 12, 5, 6, 7]
    half = np.array([0.5**n for n in numbers])  # probability that all estimates are -1
    mistakes = [
        (
            "That is the probability that some estimate is +1. What is the largest estimate in the "
            "other case?",
            1 - half,
        ),
        (
            "That treats only the case where *all* estimates are +1 as the good one; a single +1 "
            "is enough.",
            2 * half - 1,
        ),
        (
            "The case without any +1 changes the sum by 2: you lose a +1 and add a −1.",
            1 - half / 2,
        ),
        (
            "Each estimate has mean 0, but the question is about the *largest* of them.",
            np.zeros(len(numbers)),
        ),
        (
            "In one case there is no +1 at all: all estimates may be −1.",
            np.ones(len(numbers)),
        ),
    ]
    asked = [f"{n} action{'s' * (n > 1)}" for n in numbers]
    answers = call_each(function, [(n,) for n in numbers], asked)
    compare(answers, 1 - 2 * half, "the mean of the largest estimate", mistakes, asked)


@exercise
def check_double_target(function):
    """``function(reward, terminated, next_q, next_target_q, gamma)`` to targets (B,)."""
    rng = np.random.default_rng(0)
    cases = [  # batch size, actions, γ, shift of the Q-values, which rows have terminated
        (size, 3, gamma, 2.0, np.arange(size) % 3 == 1)
        for size, gamma in (
            (3, 0.9),
            (8, 0.5),
            (1, 0.8),
        )  # 3 rows, 3 actions: no wrong axis crashes
    ]
    for shift in (2.0, -5.0):
        for size, actions in ((1, 4), (5, 2), (4, 6), (2, 1)):
            gamma = rng.uniform(0.1, 1)
            for ends in (np.zeros(size, bool), np.ones(size, bool), rng.random(size) < 0.5):
                cases.append((size, actions, gamma, shift, ends))
    for size, actions, gamma, shift, ends in cases:
        reward = torch.from_numpy(rng.normal(size=size)).float()
        if shift == -5:
            reward = reward.sign()  # as in Pong
        terminated = torch.from_numpy(ends)
        q_values = rng.normal(size=(2, size, actions)) + shift
        next_q, next_target_q = torch.from_numpy(q_values).float()
        goes_on, rows = 1 - terminated.float(), torch.arange(size)
        best, target_best = next_q.argmax(dim=1), next_target_q.argmax(dim=1)

        def target(future, reward=reward, goes_on=goes_on, gamma=gamma):
            return reward + gamma * goes_on * future

        expected = target(next_target_q[rows, best])
        mistakes = [
            (
                "That is DQN: the target network selects *and* evaluates.",
                target(next_target_q[rows, target_best]),
            ),
            (
                "You swapped the networks: the Q-network selects, the target network evaluates.",
                target(next_q[rows, target_best]),
            ),
            (
                "The Q-network selects *and* evaluates; the target network is not used.",
                target(next_q[rows, best]),
            ),
            (
                "You added a future value after the end of the episode.",
                reward + gamma * next_target_q[rows, best],
            ),
            (
                "The mask is inverted: it should be 1 where the episode goes on.",
                target(next_target_q[rows, best], goes_on=1 - goes_on),
            ),
            (
                "You masked the reward too; only the future ends.",
                goes_on * target(next_target_q[rows, best]),
            ),
            ("The reward is missing.", target(next_target_q[rows, best], reward=0)),
            (
                "γ is an argument; you used a fixed number.",
                target(next_target_q[rows, best], gamma=0.9),
            ),
            ("γ is missing.", reward + goes_on * next_target_q[rows, best]),
            (
                "You used the index of the action as its value: look up the target network's value "
                "of that action (`gather`).",
                target(best),
            ),
            (
                "That is the smaller of the two networks' largest values (*clipped* double "
                "Q-learning, a relative of Double DQN).",
                target(torch.minimum(next_q[rows, best], next_target_q[rows, target_best])),
            ),
            (
                "(B,) and (B, 1) were broadcast to a (B, B) table: drop the second dimension after "
                "`gather`.",
                target(next_target_q[rows, best][:, None]),
            ),
            (
                "The value of the action can be negative; yours is never below 0.",
                target(next_target_q[rows, best].clamp(min=0)),
            ),
        ]
        if size == 3:  # as many actions as rows
            hint = "That picks whole columns or rows: `gather` takes one action per row."
            tables = next_target_q[:, best], next_target_q[best]
            mistakes += [(hint, target(table)) for table in tables]
        answer = call(function, reward, terminated, next_q, next_target_q, gamma)
        compare(answer, expected, "targets", mistakes)


def _check_dueling(function, subtracted, mistakes_of):
    """Check a dueling sum that subtracts ``subtracted(advantage, dim, keepdim)``."""
    torch.manual_seed(2)
    cases = [(size, 3, 0.0) for size in (3, 5, 1)]
    cases += [
        (size, actions, shift)
        for size, actions in ((1, 4), (4, 2), (6, 6), (7, 1), (1, 1))
        for shift in (0.0, -5.0, 5.0)
    ]
    for size, actions, shift in cases:
        value, advantage = torch.randn(size, 1), torch.randn(size, actions) + shift
        if size == 6:
            advantage = advantage.round()  # equal ones
        right = subtracted(advantage, 1, True)
        mistakes = [
            *mistakes_of(value, advantage),
            ("Nothing is subtracted: then V and A are not identifiable.", value + advantage),
            ("You added it; it has to be subtracted.", value + advantage + right),
            (
                "You took it over the whole batch; each row has its own.",
                value + advantage - subtracted(advantage.reshape(1, -1), 1, True),
            ),
            ("V is missing.", advantage - right),
        ]
        if size == actions:
            mistakes += [
                (
                    "You took it over the batch: use dim=1, and keep the dimension.",
                    value + advantage - subtracted(advantage, 0, False),
                ),
                (
                    "`keepdim=True` is missing: (B,) was broadcast as a row, not as a column.",
                    value + advantage - right[:, 0],
                ),
            ]
        compare(call(function, value, advantage), value + advantage - right, "Q-values", mistakes)


@exercise
def check_combine(function):
    """``function(value, advantage)``: V (B, 1), A (B, actions) to Q, the mean of a row is V."""

    def mistakes(value, advantage):
        return [
            (
                "That subtracts the sum of the advantages; divide it by their number.",
                value + advantage - advantage.sum(dim=1, keepdim=True),
            ),
            (
                "That subtracts the largest advantage; the formula subtracts the mean.",
                value + advantage - advantage.amax(dim=1, keepdim=True),
            ),
            (
                "The advantages are missing: you returned V for every action.",
                value.expand_as(advantage),
            ),
            (
                "The number of actions is fixed in your function; it is `advantage.shape[1]`.",
                value + advantage - advantage.sum(dim=1, keepdim=True) / 3,
            ),
        ]

    _check_dueling(function, torch.mean, mistakes)


@exercise
def check_dueling_max(function):
    """``function(value, advantage)``: V (B, 1), A (B, actions) to Q, the largest of a row is V."""

    def mistakes(value, advantage):
        return [
            (
                "That subtracts the mean; here the *largest* advantage has to become 0.",
                value + advantage - advantage.mean(dim=1, keepdim=True),
            ),
            (
                "You used the *index* of the largest advantage as its value.",
                value + advantage - advantage.argmax(dim=1, keepdim=True),
            ),
            (
                "That subtracts the smallest advantage.",
                value + advantage - advantage.amin(dim=1, keepdim=True),
            ),
            (
                "The largest advantage can be negative; yours is never below 0.",
                value + advantage - advantage.amax(dim=1, keepdim=True).clamp(min=0),
            ),
        ]

    _check_dueling(function, torch.amax, mistakes)


def _holm(p_values, step=1, running=True, most=1.0):
    """Holm's correction, with its usual mistakes on request."""
    order, largest, corrected = np.argsort(p_values), 0.0, np.zeros(len(p_values))
    for place, i in enumerate(order):
        value = min(most, p_values[i] * (len(p_values) - step * place))
        largest = max(largest, value) if running else value
        corrected[i] = largest
    return corrected


@exercise
def check_holm(function):
    """``function(p_values)``: Holm's corrected p-values, in the order given."""
    rng = np.random.default_rng(0)
    cases = [[0.01, 0.04, 0.03], [0.02, 0.7, 0.001, 0.6], [0.04], [0.3, 0.01, 0.02, 0.01]]
    cases += [
        [0.0111, 0.0101, 0.0112, 0.0113, 0.0114],  # the smallest raises all the others
        [0.25, 0.25],
        [0.0, 1.0, 0.0437],
        [0.0123] * 5 + [0.0345] * 3,
        [0.8, 0.9, 0.7, 0.00012345],
    ]
    cases += [(rng.random(n) ** power).tolist() for n in (2, 6, 9, 15) for power in (1, 3, 6)]
    for p in cases:
        expected, values = _holm(p), np.array(p)
        order = np.argsort(p)
        unique = np.unique(values)
        merged = dict(zip(unique.tolist(), _holm(unique), strict=True))
        mistakes = [
            (
                "That is Bonferroni's correction: it multiplies every p-value by their number.",
                np.minimum(1, values * len(p)),
            ),
            (
                "A corrected p-value must not be smaller than that of a smaller p-value: keep the "
                "largest so far.",
                _holm(p, running=False),
            ),
            ("A probability is at most 1.", _holm(p, most=np.inf)),
            (
                "The numbers are right, but they are sorted: return them in the order given.",
                expected[order],
            ),
            (
                "Sorting twice does not undo a sort: write `corrected[order] = …`.",
                expected[order][order],
            ),
            (
                "You corrected the p-values in the order given; start with the smallest one.",
                np.minimum(1, np.maximum.accumulate(values * np.arange(len(p), 0, -1))),
            ),
            ("These are the p-values as given: multiply them.", values),
            (
                "Equal p-values are merged: each of them counts.",
                [merged[x] for x in p],
            ),
        ]
        compare(call(function, list(p)), expected, "corrected p-values", mistakes)
