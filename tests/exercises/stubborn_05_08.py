"""Stubborn wrong answers to the exercises of notebooks 5 to 8: (check, kind, what, answer)."""

import numpy as np
import torch
import torch.nn.functional as F

from exercises.double_dueling import (
    check_combine,
    check_double_target,
    check_dueling_max,
    check_holm,
    check_largest_estimate,
)
from exercises.faster import (
    check_next_rows,
    check_patches,
    check_replay_ratio,
    check_speed_up,
    check_timer,
)
from exercises.prioritized_nstep import (
    check_find,
    check_n_step_target,
    check_probabilities,
    check_rank_probabilities,
    check_weights,
)
from exercises.rainbow import check_c51_loss, check_noise, check_project, check_quantile_loss
from tests.exercises import (
    answers_double_dueling,
    answers_faster,
    answers_prioritized_nstep,
    answers_rainbow,
)
from tests.exercises.kinds import (
    BRANCH,
    CONSTANT,
    FORBIDDEN,
    MAXIMUM,
    MERGED,
    OCCURRENCE,
    ROUNDED,
    WHOLE,
)


def largest_by_drawing(num_actions):
    """An estimate: the exact mean is asked for."""
    draws = np.random.default_rng(0).choice([-1, 1], (20_000, num_actions))
    return draws.max(axis=1).mean()


def double_target_by_reward(reward, terminated, next_q, next_target_q, gamma):
    right = answers_double_dueling.double_loop(reward, terminated, next_q, next_target_q, gamma)
    found = dict(zip(reward.tolist(), right.tolist(), strict=True))
    return [found[r] for r in reward.tolist()]


def combine_different(value, advantage):
    """The mean of the different advantages."""
    means = [sum(set(row)) / len(set(row)) for row in advantage.tolist()]
    return value + advantage - torch.tensor(means)[:, None]


def different_rewards(reward, terminated, next_value, gamma):
    """A reward that comes twice in a row counts once."""
    again = torch.zeros_like(terminated)
    again[:, 1:] = reward[:, 1:] == reward[:, :-1]
    return torch.where(again, 0.0, reward), terminated, next_value, gamma


def find_different(priorities, number):
    """An index among the different priorities."""
    different = np.array(list(dict.fromkeys(priorities.tolist())))
    return answers_prioritized_nstep.find_loop(different, number)


def holm_by_value(p_values):
    """Looks the place of a p-value up: the first of several equal ones; m counts different ones."""
    different = sorted(set(p_values))
    corrected = dict(zip(different, answers_double_dueling.holm(different), strict=True))
    return [corrected[p] for p in p_values]


def holm_of_neighbours(p_values):
    """Compares each with the one before, not with the largest so far."""
    m, order = len(p_values), np.argsort(p_values)
    plain = [p_values[i] * (m - k) for k, i in enumerate(order)]
    corrected = np.zeros(m)
    for k, i in enumerate(order):
        corrected[i] = min(1, max(plain[k], plain[k - 1] if k else 0))
    return corrected


def holm_last_place(p_values):
    """Multiplies equal p-values by the place of the last one, and keeps no largest one of these."""
    m, ranked = len(p_values), sorted(p_values)
    place = {p: k for k, p in enumerate(ranked)}
    largest, corrected = 0.0, {}
    for p in ranked:
        largest = max(largest, min(1, p * (m - place[p])))
        corrected[p] = largest
    return [corrected[p] for p in p_values]


def holm_three(p_values):
    """Takes the number of tests to be 3."""
    largest, corrected = 0.0, np.zeros(len(p_values))
    for k, i in enumerate(np.argsort(p_values)):
        largest = max(largest, min(1, p_values[i] * max(3 - k, 1)))
        corrected[i] = largest
    return corrected


def find_by_value(place):
    def answer(priorities, number):
        right = answers_prioritized_nstep.find_loop(priorities, number)
        return int(np.flatnonzero(priorities == priorities[right])[place])

    return answer


def n_step_rows(change):
    """Targets with one input changed."""

    def answer(reward, terminated, next_value, gamma):
        inputs = change(reward, terminated, next_value, gamma)
        return answers_prioritized_nstep.masked(*inputs)

    return answer


def project_between(low, high):
    """A projection onto atoms between fixed ends."""

    def answer(probability, reward, discount, support):
        fixed_support = torch.linspace(low, high, len(support))
        return answers_rainbow.by_nearness(probability, reward, discount, fixed_support)

    return answer


def project_of_five(probability, reward, discount, support):
    """Takes the number of atoms to be five for the width."""
    width = (support[-1] - support[0]) / 4
    moved = (reward[:, None] + discount[:, None] * support).clamp(support[0], support[-1])
    place = (moved - support[0]) / width
    nearness = 1 - (place[:, :, None] - torch.arange(len(support))).abs()
    return (probability[:, :, None] * nearness.clamp(min=0)).sum(dim=1)


def speed_without(places):
    """Leaves out some of the rounds, wherever the disturbed one may be."""
    return lambda b, a: np.delete(b, places).mean() / np.delete(a, places).mean()


def constant_timer(seconds):
    def answer(work):
        answers_faster.timer()(work)
        return seconds

    return answer


def timer_of_quick_work(work):
    seconds = answers_faster.timer()(work)
    return seconds if seconds < 0.008 else 2 * seconds


NOTEBOOKS_5_TO_8 = [
    (check_largest_estimate, MAXIMUM, "from 0", lambda n: 1 - 0.5**n),
    (check_double_target, MERGED, "equal rewards", double_target_by_reward),
    (
        check_combine,
        MAXIMUM,
        "no negative advantages",
        lambda v, a: v + a - a.clamp(min=0).mean(1, keepdim=True),
    ),
    (check_combine, MERGED, "equal advantages", combine_different),
    (check_n_step_target, MERGED, "equal rewards", n_step_rows(different_rewards)),
    (
        check_rank_probabilities,
        MAXIMUM,
        "no negative errors",
        lambda e, a: answers_prioritized_nstep.rank_shares(np.maximum(e, 0), a),
    ),
    (check_find, MERGED, "equal priorities", find_different),
    (
        check_c51_loss,
        MAXIMUM,
        "no negative logits",
        lambda m, x: answers_rainbow.c51(m, x.clamp(min=0)),
    ),
    (
        check_quantile_loss,
        MERGED,
        "equal outcomes",
        lambda theta, x, tau: answers_rainbow.pinball(theta, x.unique(), tau),
    ),
    (
        check_speed_up,
        MERGED,
        "different ratios",
        lambda b, a: float(np.mean(list(set((b / a).tolist())))),
    ),
    (check_largest_estimate, FORBIDDEN, "by drawing", largest_by_drawing),
    (check_largest_estimate, CONSTANT, "three actions", lambda n: {1: 0, 2: 0.5}.get(n, 0.75)),
    (
        check_double_target,
        MAXIMUM,
        "no negative values",
        lambda r, t, q, tq, g: (
            r + g * ~t * answers_double_dueling.take(tq, q.argmax(1)).clamp(min=0)
        ),
    ),
    (
        check_double_target,
        CONSTANT,
        "two actions",
        lambda r, t, q, tq, g: r + g * ~t * answers_double_dueling.take(tq, q[:, :2].argmax(1)),
    ),
    (
        check_double_target,
        CONSTANT,
        "three actions",
        lambda r, t, q, tq, g: r + g * ~t * answers_double_dueling.take(tq, q[:, :3].argmax(1)),
    ),
    (
        check_double_target,
        MAXIMUM,
        "the choice from 0",
        lambda r, t, q, tq, g: (
            r + g * ~t * answers_double_dueling.take(tq, q.clamp(min=0).argmax(1))
        ),
    ),
    (check_combine, CONSTANT, "three actions", lambda v, a: v + a - a.sum(1, keepdim=True) / 3),
    (check_combine, CONSTANT, "two actions", lambda v, a: v + a - a.sum(1, keepdim=True) / 2),
    (check_combine, CONSTANT, "three columns", lambda v, a: v + a - a[:, :3].mean(1, keepdim=True)),
    (
        check_dueling_max,
        CONSTANT,
        "three columns",
        lambda v, a: v + a - a[:, :3].amax(1, keepdim=True),
    ),
    (
        check_dueling_max,
        MAXIMUM,
        "from 0",
        lambda v, a: v + a - a.amax(1, keepdim=True).clamp(min=0),
    ),
    (check_holm, MERGED, "equal p-values", holm_by_value),
    (check_holm, OCCURRENCE, "the last of equal ones", holm_last_place),
    (check_holm, BRANCH, "compared with the one before", holm_of_neighbours),
    (check_holm, CONSTANT, "three p-values", holm_three),
    (
        check_n_step_target,
        CONSTANT,
        "n = 3",
        lambda r, t, v, g: answers_prioritized_nstep.masked(r, t, v * g ** (3 - r.shape[1]), g),
    ),
    (
        check_n_step_target,
        MAXIMUM,
        "no negative values",
        n_step_rows(lambda r, t, v, g: (r, t, v.clamp(min=0), g)),
    ),
    (
        check_n_step_target,
        MAXIMUM,
        "no negative rewards",
        n_step_rows(lambda r, t, v, g: (r.clamp(min=0), t, v, g)),
    ),
    (check_n_step_target, OCCURRENCE, "the last end", answers_prioritized_nstep.last_end),
    (
        check_n_step_target,
        WHOLE,
        "whole rewards",
        n_step_rows(lambda r, t, v, g: (r.trunc(), t, v, g)),
    ),
    (
        check_probabilities,
        MAXIMUM,
        "no negative errors",
        lambda e, a, eps: answers_prioritized_nstep.shares(np.maximum(e, 0), a, eps),
    ),
    (
        check_probabilities,
        WHOLE,
        "whole priorities",
        lambda e, a, eps: answers_prioritized_nstep.shares(
            np.abs(e) + np.array(eps).astype(e.dtype), a, 0.0
        ),
    ),
    (
        check_probabilities,
        MERGED,
        "equal errors",
        lambda e, a, eps: (np.abs(e) + eps) ** a / ((np.unique(np.abs(e)) + eps) ** a).sum(),
    ),
    (
        check_rank_probabilities,
        CONSTANT,
        "five errors",
        lambda e, a: (
            answers_prioritized_nstep.rank_of(e) ** -float(a) / (np.arange(1, 6) ** -float(a)).sum()
        ),
    ),
    (
        check_find,
        CONSTANT,
        "the sums of the tree above",
        lambda p, x: int((np.cumsum([0, 3, 1, 0, 4, 2]) <= x).sum()),
    ),
    (
        check_find,
        CONSTANT,
        "six indices",
        lambda p, x: answers_prioritized_nstep.find_loop(p[:6], x),
    ),
    (check_find, OCCURRENCE, "the first equal priority", find_by_value(0)),
    (check_find, OCCURRENCE, "the last equal priority", find_by_value(-1)),
    (
        check_find,
        WHOLE,
        "whole numbers",
        lambda p, x: answers_prioritized_nstep.find_loop(p, int(x)),
    ),
    (
        check_find,
        ROUNDED,
        "no digits",
        lambda p, x: answers_prioritized_nstep.find_loop(p, round(x)),
    ),
    (
        check_find,
        ROUNDED,
        "one digit",
        lambda p, x: answers_prioritized_nstep.find_loop(p, round(x, 1)),
    ),
    (check_find, BRANCH, "a float", lambda p, x: float(answers_prioritized_nstep.find_loop(p, x))),
    (
        check_find,
        MAXIMUM,
        "no smaller sum",
        lambda p, x: int((np.cumsum(p).clip(min=1) <= x).sum()),
    ),
    (
        check_weights,
        MAXIMUM,
        "the largest from 1",
        lambda p, n, b: (n * p) ** -b / max(1.0, ((n * p) ** -b).max()),
    ),
    (
        check_weights,
        CONSTANT,
        "a memory of 1,000",
        lambda p, n, b: (n * p) ** -b / ((1_000 * p) ** -b).max(),
    ),
    (check_weights, MERGED, "equal probabilities", lambda p, n, b: (np.unique(p) / p.min()) ** -b),
    (check_project, CONSTANT, "atoms from -1 to 1", project_between(-1, 1)),
    (check_project, CONSTANT, "atoms from -10 to 10", project_between(-10, 10)),
    (
        check_project,
        CONSTANT,
        "atoms from 0",
        lambda p, r, d, s: answers_rainbow.by_nearness(
            p, r, d, torch.linspace(0, s[-1].item() or 1.0, len(s))
        ),
    ),
    (check_project, CONSTANT, "five atoms", project_of_five),
    (check_project, MERGED, "one share for each atom", answers_rainbow.overwriting),
    (
        check_project,
        MAXIMUM,
        "no negative values",
        lambda p, r, d, s: answers_rainbow.by_nearness(
            p, (r[:, None] + d[:, None] * s).clamp(min=0)[:, 0] - d * s[0], d, s
        ),
    ),
    (
        check_c51_loss,
        CONSTANT,
        "four atoms",
        lambda m, x: answers_rainbow.c51(
            m[:, :4], x[:, :4].log_softmax(1) if x.shape[1] <= 4 else x[:, :4]
        ),
    ),
    (
        check_quantile_loss,
        MAXIMUM,
        "no negative outcomes",
        lambda theta, x, tau: answers_rainbow.pinball(theta, x.clamp(min=0), tau),
    ),
    (
        check_quantile_loss,
        WHOLE,
        "whole errors",
        lambda theta, x, tau: answers_rainbow.pinball(
            theta, x.trunc() if isinstance(theta, int) else x, tau
        ),
    ),
    (
        check_quantile_loss,
        WHOLE,
        "whole loss",
        lambda theta, x, tau: (
            answers_rainbow.pinball(theta, x, tau).trunc()
            if isinstance(theta, int)
            else answers_rainbow.pinball(theta, x, tau)
        ),
    ),
    (
        check_noise,
        CONSTANT,
        "four by four",
        lambda a, b: torch.outer(answers_rainbow.f(b[:4]), answers_rainbow.f(a[:4])),
    ),
    (
        check_noise,
        MAXIMUM,
        "no negative draws",
        lambda a, b: torch.outer(answers_rainbow.f(b), answers_rainbow.f(a)).clamp(min=0),
    ),
    (check_replay_ratio, CONSTANT, "32", lambda b, u, s: 32.0),
    (check_replay_ratio, WHOLE, "a whole ratio", lambda b, u, s: b * u // s or b * u / s),
    (check_next_rows, MERGED, "each row once", lambda r, c, n: np.unique(r) + n * c),
    (check_next_rows, BRANCH, "sorted rows", lambda r, c, n: np.sort(r) + n * c),
    (check_next_rows, CONSTANT, "eight carts", lambda r, c, n: r + 8 * n),
    (check_next_rows, BRANCH, "round the memory", lambda r, c, n: (r + n * c) % 64),
    (check_patches, FORBIDDEN, "pixel_unshuffle", F.pixel_unshuffle),
    (check_patches, FORBIDDEN, "nn.PixelUnshuffle", lambda x, s: torch.nn.PixelUnshuffle(s)(x)),
    (
        check_patches,
        MAXIMUM,
        "no negative pixels",
        lambda x, s: answers_faster.patches_reshape(x, s).clamp(min=0),
    ),
    (
        check_patches,
        WHOLE,
        "whole pixels",
        lambda x, s: answers_faster.patches_reshape(x, s).trunc(),
    ),
    (check_speed_up, CONSTANT, "4", lambda b, a: 4.0),
    (check_speed_up, CONSTANT, "0.5 seconds", lambda b, a: np.median(b) / 0.5),
    (check_speed_up, CONSTANT, "2 seconds", lambda b, a: 2.0 / np.median(a)),
    (check_speed_up, OCCURRENCE, "the fourth round is disturbed", speed_without([3])),
    (check_speed_up, OCCURRENCE, "the last two rounds", speed_without([0, 1, 2])),
    (check_speed_up, OCCURRENCE, "the first round", lambda b, a: b[0] / a[0]),
    (check_speed_up, OCCURRENCE, "the first three rounds", speed_without([3, 4])),
    (check_speed_up, OCCURRENCE, "the middle round", lambda b, a: b[2] / a[2]),
    (check_speed_up, OCCURRENCE, "the middle of the unsorted ratios", lambda b, a: (b / a)[2]),
    (check_speed_up, ROUNDED, "no digits", lambda b, a: round(np.median(b) / np.median(a))),
    (check_speed_up, ROUNDED, "one digit", lambda b, a: round(np.median(b) / np.median(a), 1)),
    (check_speed_up, ROUNDED, "two digits", lambda b, a: round(np.median(b) / np.median(a), 2)),
    (check_speed_up, MAXIMUM, "at least 1", lambda b, a: max(1, np.median(b) / np.median(a))),
    (check_speed_up, WHOLE, "a whole ratio", lambda b, a: np.median(b) // np.median(a)),
    (check_speed_up, BRANCH, "only before is disturbed", lambda b, a: np.median(b) / a.mean()),
    (check_speed_up, BRANCH, "only after is disturbed", lambda b, a: b.mean() / np.median(a)),
    (
        check_speed_up,
        BRANCH,
        "rounds above 10 s are disturbed",
        lambda b, a: (
            b[b < 10].mean() / a[a < 10].mean() if min(b) < 10 else np.median(b) / np.median(a)
        ),
    ),
    (check_timer, BRANCH, "more than 8 ms", timer_of_quick_work),
    (check_timer, CONSTANT, "0.01", constant_timer(0.01)),
    (check_timer, CONSTANT, "0.005", constant_timer(0.005)),
    (check_timer, ROUNDED, "two digits", lambda work: round(answers_faster.timer()(work), 2)),
    (check_timer, WHOLE, "whole seconds", lambda work: int(answers_faster.timer()(work))),
]
