"""Stubborn wrong answers: those that a check with a few fixed inputs would accept.

Each kind is tried on every check it applies to. Most answers are made here, from a right one: with
an argument fixed at a constant, with a rounded result, with a lost dimension, or spoiled in one
case only. Those that cannot be made in this way are written out in ``stubborn_*.py``.
"""

import numpy as np
import torch

from exercises.apex import (
    check_due,
    check_epsilon,
    check_initial_priorities,
    check_late_priorities,
    check_turns,
)
from exercises.cartpole import (
    check_huber,
    check_pick,
    check_ring,
    check_target,
)
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
)
from exercises.pong import (
    check_bytes,
    check_conv_size,
    check_counts,
    check_n_step,
    check_score,
    check_stacks,
    check_transitions,
)
from exercises.prioritized_nstep import (
    check_find,
    check_n_step_target,
    check_probabilities,
    check_rank_probabilities,
    check_weights,
)
from exercises.q_table import (
    check_bins,
    check_choose,
    check_q_update,
    check_returns,
)
from exercises.rainbow import check_c51_loss, check_noise, check_project, check_quantile_loss
from exercises.target_network import (
    check_greedy,
    check_growth,
    check_reported_score,
    check_same_lag,
    check_soft_update,
    check_td_loss,
    check_td_target,
)
from tests.exercises import (
    answers_apex,
    answers_cartpole,
    answers_double_dueling,
    answers_faster,
    answers_pong,
    answers_prioritized_nstep,
    answers_q_table,
    answers_rainbow,
    answers_target_network,
)
from tests.exercises.kinds import (
    BRANCH,
    CONSTANT,
    EFFECT,
    FORBIDDEN,
    MASK,
    MAXIMUM,
    MERGED,
    OCCURRENCE,
    ROUNDED,
    SINGLE,
    TIES,
    WHOLE,
    changed,
)
from tests.exercises.stubborn_01_02 import NOTEBOOK_1, NOTEBOOK_2
from tests.exercises.stubborn_03_04 import NOTEBOOK_3, NOTEBOOK_4
from tests.exercises.stubborn_05_08 import NOTEBOOKS_5_TO_8
from tests.exercises.stubborn_09 import NOTEBOOK_9

MODULES = (
    answers_q_table,
    answers_cartpole,
    answers_target_network,
    answers_pong,
    answers_double_dueling,
    answers_prioritized_nstep,
    answers_rainbow,
    answers_faster,
    answers_apex,
)
RIGHT = {check: functions[0] for module in MODULES for check, functions in module.RIGHT}
RIGHT[check_huber] = answers_cartpole.huber_where


def fixed(right, place, value):
    """The right answer with a constant in place of an argument."""

    def answer(*inputs):
        return right(*inputs[:place], value, *inputs[place + 1 :])

    return answer


def remembered(right, place):
    """The right answer that keeps to the first value of an argument."""
    values = []

    def answer(*inputs):
        values.append(inputs[place])
        return right(*inputs[:place], values[0], *inputs[place + 1 :])

    return answer


def spoiled(right, when):
    """The right answer, except where ``when(*inputs)``: there it is wrong."""

    def answer(*inputs):
        spoil = bool(when(*inputs))
        result = right(*inputs)
        if not spoil:
            return result
        if isinstance(result, tuple):
            return (*result[:-1], 2 * result[-1] + 1)
        if isinstance(result, torch.Tensor) and result.requires_grad:
            return 2 * result
        array = result.detach().numpy() if isinstance(result, torch.Tensor) else np.array(result)
        return ~array if array.dtype == bool else 2 * array + np.ones((), array.dtype)

    return answer


def as_whole(right):
    """The right answer, cut off where numbers among the inputs are whole."""

    def answer(*inputs):
        numbers = [x for x in inputs if isinstance(x, np.ndarray) and x.dtype != bool]
        whole = all(x.dtype.kind == "i" for x in numbers) if numbers else False
        if not numbers:
            whole = any(type(x) is int for x in inputs)
        result = np.array(right(*inputs), float)
        return np.trunc(result) if whole else result

    return answer


def switched_off(right):
    """The right answer, and no gradients anywhere from now on."""

    def answer(*inputs):
        result = right(*inputs)
        torch.set_grad_enabled(False)
        return result

    return answer


def frozen(right, place):
    """The right answer, and a network that cannot learn from now on."""

    def answer(*inputs):
        result = right(*inputs)
        inputs[place].requires_grad_(False)
        return result

    return answer


def moved(right, place):
    """The right answer, and other weights afterwards."""

    def answer(*inputs):
        result = right(*inputs)
        with torch.no_grad():
            for p in inputs[place].parameters():
                p.mul_(0.5)
        return result

    return answer


# Arguments of a check that an answer may replace by a constant: place to values.
FIXED = {
    check_returns: {1: (0.5, 0.9, 0.99, 1.0)},
    check_q_update: {2: (0.25, 0.5, 0.1, 1.0), 3: (0.9, 0.99, 1.0)},
    check_choose: {1: (0.0, 0.1, 0.4, 1.0)},
    check_bins: {1: (-2.4,), 2: (2.4,), 3: (6, 5)},
    check_target: {4: (0.9, 0.99)},
    check_growth: {0: (1.2,), 1: (0.9, 0.99), 2: (0.5, 0.1)},
    check_td_target: {4: (0.9, 0.99)},
    check_soft_update: {2: (0.25, 0.005, 1.0)},
    check_same_lag: {0: (0.005, 0.02)},
    check_counts: {0: (1, 38 * 24)},
    check_conv_size: {0: (84,), 1: (8, 4, 3), 2: (4, 2, 1)},
    check_n_step: {2: (6.4,), 3: (0.5, 0.9)},
    check_bytes: {0: (100_000, 1_000_000), 1: (True, False)},
    check_largest_estimate: {0: (2, 4)},
    check_double_target: {4: (0.9, 0.5, 0.99)},
    check_n_step_target: {3: (0.5, 0.9, 0.99)},
    check_probabilities: {1: (0.5, 0.6, 0.7), 2: (0.1, 0.01, 1e-6, 0.0)},
    check_rank_probabilities: {1: (1.0, 0.5, 0.7)},
    check_weights: {2: (0.5, 0.4, 1.0)},
    check_quantile_loss: {0: (0.3, 0.0), 2: (0.9, 0.5, 0.25)},
    check_replay_ratio: {0: (128, 32), 1: (16, 1), 2: (64, 8)},
    check_next_rows: {1: (8, 64, 16), 2: (1, 3)},
    check_patches: {1: (2, 4)},
    check_epsilon: {0: (0, 3), 1: (1, 4, 8, 16, 360)},
    check_due: {0: (0,), 1: (16, 100), 2: (1, 16, 100)},
    check_turns: {0: (1_000,), 1: (0, 250), 2: (0.25, 0.5, 1.0), 3: (0, 8, 32)},
}

# Checks of functions that return fractions, and how many digits a rounded answer keeps.
FRACTIONS = (
    check_returns,
    check_huber,
    check_target,
    check_growth,
    check_td_target,
    check_td_loss,
    check_reported_score,
    check_same_lag,
    check_n_step,
    check_largest_estimate,
    check_double_target,
    check_combine,
    check_dueling_max,
    check_holm,
    check_n_step_target,
    check_probabilities,
    check_rank_probabilities,
    check_weights,
    check_c51_loss,
    check_project,
    check_quantile_loss,
    check_noise,
    check_replay_ratio,
    check_patches,
    check_epsilon,
    check_initial_priorities,
    check_late_priorities,
)

# Checks of functions that return one number, or one row, for each item.
BATCHES = (
    check_returns,
    check_pick,
    check_huber,
    check_target,
    check_td_target,
    check_greedy,
    check_transitions,
    check_score,
    check_double_target,
    check_combine,
    check_dueling_max,
    check_holm,
    check_n_step_target,
    check_probabilities,
    check_rank_probabilities,
    check_weights,
    check_c51_loss,
    check_project,
    check_noise,
    check_next_rows,
    check_patches,
    check_initial_priorities,
    check_late_priorities,
)

# Checks whose inputs can be whole numbers while the result is a fraction.
WHOLES = (
    check_returns,
    check_n_step,
    check_probabilities,
    check_rank_probabilities,
    check_growth,
    check_replay_ratio,
    check_epsilon,
)

NETWORKS = {check_target: (0,), check_greedy: (0,), check_soft_update: (0, 1), check_td_loss: (0,)}

# Cases that an answer may get wrong: every one of them has to be among the inputs of the check.
CASES = {
    check_returns: {
        "one reward": lambda r, g: len(r) == 1,
        "many rewards": lambda r, g: len(r) > 20,
        "only negative rewards": lambda r, g: (r < 0).all(),
        "whole rewards": lambda r, g: r.dtype.kind == "i",
        "no discount": lambda r, g: g == 1,
        "a strong discount": lambda r, g: g < 0.5,
    },
    check_bins: {
        "one bin": lambda v, lo, hi, n: n == 1,
        "many bins": lambda v, lo, hi, n: n > 8,
        "negative range": lambda v, lo, hi, n: hi < 0,
        "positive range": lambda v, lo, hi, n: lo > 0,
        "whole numbers": lambda v, lo, hi, n: isinstance(v, int),
        "just below an edge": lambda v, lo, hi, n: (v - lo) / (hi - lo) * n % 1 > 0.997,
        "just above an edge": lambda v, lo, hi, n: 0 < (v - lo) / (hi - lo) * n % 1 < 0.003,
        "the lowest value": lambda v, lo, hi, n: v == lo,
        "the highest value": lambda v, lo, hi, n: v == hi,
    },
    check_pick: {
        "one row": lambda q, a: len(q) == 1,
        "two actions": lambda q, a: q.shape[1] == 2,
        "many actions": lambda q, a: q.shape[1] > 4,
        "only negative values": lambda q, a: (q < 0).all(),
        "as many rows as actions": lambda q, a: q.shape[0] == q.shape[1],
        "more actions than rows": lambda q, a: q.shape[0] < q.shape[1],
    },
    check_huber: {
        "one error": lambda e: len(e) == 1,
        "only small errors": lambda e: (e.abs() < 1).all(),
        "only large errors": lambda e: (e.abs() > 1).all(),
        "only negative errors": lambda e: (e < 0).all(),
        "64 bits": lambda e: e.dtype == torch.float64,
    },
    check_target: {
        "one row": lambda n, r, o, t, g: len(r) == 1,
        "all terminated": lambda n, r, o, t, g: t.all(),
        "one terminated row": lambda n, r, o, t, g: len(r) == 1 and t.all(),
        "none terminated": lambda n, r, o, t, g: not t.any(),
        "only negative values": lambda n, r, o, t, g: (n(o) < 0).all(),
        "two actions": lambda n, r, o, t, g: n(o).shape[1] == 2,
        "many actions": lambda n, r, o, t, g: n(o).shape[1] > 4,
        "other observations": lambda n, r, o, t, g: o.shape[1] != 4,
    },
    check_growth: {
        "a negative ratio": lambda k, g, a: k < 0,
        "a ratio of 0": lambda k, g, a: k == 0,
        "no discount": lambda k, g, a: g == 1,
        "a full step": lambda k, g, a: a == 1,
        "a small step": lambda k, g, a: a < 0.15,
    },
    check_td_target: {
        "one row": lambda r, te, tr, q, g: len(r) == 1,
        "one terminated row": lambda r, te, tr, q, g: len(r) == 1 and te.all(),
        "one truncated row": lambda r, te, tr, q, g: len(r) == 1 and tr.all(),
        "both": lambda r, te, tr, q, g: (te & tr).any(),
        "all terminated": lambda r, te, tr, q, g: len(r) > 1 and te.all(),
        "all truncated": lambda r, te, tr, q, g: len(r) > 1 and tr.all(),
        "only negative values": lambda r, te, tr, q, g: (q < 0).all(),
        "two actions": lambda r, te, tr, q, g: q.shape[1] == 2,
        "many actions": lambda r, te, tr, q, g: q.shape[1] > 4,
    },
    check_td_loss: {
        "one row": lambda n, o, a, y: len(o) == 1,
        "two actions": lambda n, o, a, y: n(o).shape[1] == 2,
        "many actions": lambda n, o, a, y: n(o).shape[1] > 4,
        "large errors": lambda n, o, a, y: y.abs().max() > 5,
    },
    check_greedy: {
        "one row": lambda n, o: len(o) == 1,
        "only negative values": lambda n, o: (n(o) < 0).all(),
        "two actions": lambda n, o: n(o).shape[1] == 2,
        "many actions": lambda n, o: n(o).shape[1] > 4,
        "other observations": lambda n, o: o.shape[1] != 4,
    },
    check_reported_score: {
        "one checkpoint": lambda s, t: len(s) == 1,
        "many checkpoints": lambda s, t: len(s) > 9,
        "negative scores": lambda s, t: (t < 0).all() and (s < 0).all(),
        "whole scores": lambda s, t: t.dtype.kind == "i",
        "the first is the best": lambda s, t: len(s) > 1 and s.argmax() == 0,
        "the last is the best": lambda s, t: len(s) > 1 and s.argmax() == len(s) - 1,
        "equal scores": lambda s, t: len(set(s.tolist())) < len(s),
    },
    check_same_lag: {
        "a period that is not whole": lambda tau: abs(2 / tau - round(2 / tau)) > 0.1,
        "a large share": lambda tau: 0.5 < tau < 1,
        "all": lambda tau: tau == 1,
    },
    check_counts: {
        "a part of an hour": lambda h: h < 1,
        "hours and a half": lambda h: h == 2.5,
        "less than a day": lambda h: 3 < h < 24,
    },
    check_conv_size: {
        "a filter as large as the picture": lambda n, k, s: n == k,
        "one pixel": lambda n, k, s: n == 1,
        "a stride larger than the filter": lambda n, k, s: s > k,
        "more than half a step left over": lambda n, k, s: (n - k) / s % 1 > 0.5,
        "a filter of one pixel": lambda n, k, s: k == 1,
        "an odd stride": lambda n, k, s: s in (5, 7),
    },
    check_stacks: {
        "the first frame": lambda f, first, t: t == 0,
        "frame t starts a game": lambda f, first, t: t > 0 and first[t],
        "frame t - 1 does": lambda f, first, t: t > 1 and first[t - 1],
        "frame t - 2 does": lambda f, first, t: t > 2 and first[t - 2],
        "frame t - 3 does": lambda f, first, t: t > 3 and first[t - 3],
        "two starts in a stack": lambda f, first, t: first[max(t - 3, 0) : t + 1].sum() > 1,
        "a later start": lambda f, first, t: first[t + 1 :].any(),
        "no later start": lambda f, first, t: t > 3 and not first[t + 1 :].any(),
        "one frame in all": lambda f, first, t: len(f) == 1,
    },
    check_transitions: {
        "one step": lambda te, tr: len(te) == 1,
        "both at once": lambda te, tr: (te & tr).any(),
        "no end": lambda te, tr: not (te | tr).any(),
        "only truncated": lambda te, tr: tr.any() and not te.any(),
        "only terminated": lambda te, tr: te.any() and not tr.any(),
        "many steps": lambda te, tr: len(te) > 20,
        "the first step ends": lambda te, tr: len(te) > 1 and (te | tr)[0],
        "the last step ends": lambda te, tr: len(te) > 1 and (te | tr)[-1],
    },
    check_score: {
        "one finished game": lambda r, over: over.sum() == 1,
        "many games": lambda r, over: over.sum() > 8,
        "the first step ends": lambda r, over: over[0],
        "the last step ends": lambda r, over: over[-1],
        "a game of one step": lambda r, over: (over[1:] & over[:-1]).any(),
        "whole rewards": lambda r, over: r.dtype.kind == "i",
        "fractions": lambda r, over: (r % 1).any(),
        "only negative rewards": lambda r, over: (r < 0).all(),
    },
    check_n_step: {
        "one reward": lambda r, te, v, g: len(r) == 1,
        "two rewards": lambda r, te, v, g: len(r) == 2,
        "many rewards": lambda r, te, v, g: len(r) > 4,
        "two ends": lambda r, te, v, g: te.sum() > 1,
        "a negative value": lambda r, te, v, g: v < 0 and not te.any(),
        "whole rewards": lambda r, te, v, g: r.dtype.kind == "i",
        "no discount": lambda r, te, v, g: g == 1,
    },
    check_bytes: {
        "another capacity": lambda n, once: n not in (100_000, 1_000_000),
        "frames once": lambda n, once: once,
        "two stacks": lambda n, once: not once,
    },
    check_largest_estimate: {
        f"{n} action(s)": lambda m, n=n: m == n for n in (1, 2, 3, 4, 5, 6, 7, 8)
    },
    check_double_target: {
        "one row": lambda r, t, q, tq, g: len(r) == 1,
        "one terminated row": lambda r, t, q, tq, g: len(r) == 1 and t.all(),
        "all terminated": lambda r, t, q, tq, g: len(r) > 1 and t.all(),
        "none terminated": lambda r, t, q, tq, g: len(r) > 1 and not t.any(),
        "only negative values": lambda r, t, q, tq, g: (tq < 0).all(),
        "one action": lambda r, t, q, tq, g: q.shape[1] == 1,
        "two actions": lambda r, t, q, tq, g: q.shape[1] == 2,
        "many actions": lambda r, t, q, tq, g: q.shape[1] > 4,
    },
    check_combine: {
        "one row": lambda v, a: len(v) == 1,
        "one action": lambda v, a: a.shape[1] == 1,
        "two actions": lambda v, a: a.shape[1] == 2,
        "many actions": lambda v, a: a.shape[1] > 4,
        "only negative advantages": lambda v, a: (a < 0).all(),
        "only positive advantages": lambda v, a: (a > 0).all(),
    },
    check_holm: {
        "one p-value": lambda p: len(p) == 1,
        "two p-values": lambda p: len(p) == 2,
        "many p-values": lambda p: len(p) > 9,
        "equal p-values": lambda p: len(set(p)) < len(p),
        "a p-value of 0": lambda p: 0 in p,
        "a p-value of 1": lambda p: 1 in p,
        "several above 1": lambda p: sum(x > 0.6 for x in p) > 1,
    },
    check_n_step_target: {
        "one row": lambda r, t, v, g: len(r) == 1,
        "one step": lambda r, t, v, g: r.shape[1] == 1,
        "two ends": lambda r, t, v, g: (t.sum(1) > 1).any(),
        "three ends": lambda r, t, v, g: (t.sum(1) > 2).any(),
        "no end": lambda r, t, v, g: not t.any(),
        "many steps": lambda r, t, v, g: r.shape[1] > 4,
        "negative values": lambda r, t, v, g: (v < 0).any(),
        "equal rewards": lambda r, t, v, g: (r == r[0, 0]).all() and r.numel() > 1,
        "a game that ends with the first step": lambda r, t, v, g: t[:, 0].any(),
        "as many rows as steps": lambda r, t, v, g: len(r) == r.shape[1] > 1,
    },
    check_probabilities: {
        "one error": lambda e, a, eps: len(e) == 1,
        "an error of 0": lambda e, a, eps: (e == 0).any() and len(e) > 1,
        "an ε of 0": lambda e, a, eps: eps == 0,
        "an α of 0": lambda e, a, eps: a == 0,
        "an α of 1": lambda e, a, eps: a == 1,
        "equal errors": lambda e, a, eps: len(set(e.tolist())) < len(e),
        "whole errors": lambda e, a, eps: e.dtype.kind == "i",
        "only negative errors": lambda e, a, eps: (e < 0).all() and len(e) > 1,
        "many errors": lambda e, a, eps: len(e) > 20,
    },
    check_rank_probabilities: {
        "one error": lambda e, a: len(e) == 1,
        "an error of 0": lambda e, a: (e == 0).any(),
        "an α of 0": lambda e, a: a == 0,
        "whole errors": lambda e, a: e.dtype.kind == "i",
        "only negative errors": lambda e, a: (e < 0).all() and len(e) > 1,
        "many errors": lambda e, a: len(e) > 20,
        "one much larger error": lambda e, a: np.abs(e).max() >= 1_000,
    },
    check_find: {
        "one priority": lambda p, x: len(p) == 1,
        "many priorities": lambda p, x: len(p) > 10,
        "equal priorities": lambda p, x: len(set(p.tolist())) == 1 < len(p),
        "a last priority of 0": lambda p, x: p[-1] == 0,
        "several zeros in a row": lambda p, x: ((p[1:] == 0) & (p[:-1] == 0)).any(),
        "zero in front, number 0": lambda p, x: p[0] == 0 == x,
        "on an edge": lambda p, x: x in np.cumsum(p) and x > 0,
    },
    check_weights: {
        "one probability": lambda p, n, b: len(p) == 1,
        "equal probabilities": lambda p, n, b: len(set(p.tolist())) < len(p),
        "a full memory": lambda p, n, b: n > 100_000,
        "a small memory": lambda p, n, b: n <= 10,
        "all often drawn": lambda p, n, b: (n * p > 1).all(),
        "all rarely drawn": lambda p, n, b: (n * p < 0.1).all(),
        "many": lambda p, n, b: len(p) > 20,
    },
    check_c51_loss: {
        "one row": lambda m, x: len(m) == 1,
        "two atoms": lambda m, x: m.shape[1] == 2,
        "51 atoms": lambda m, x: m.shape[1] == 51,
        "only negative logits": lambda m, x: (x < 0).all(),
        "only positive logits": lambda m, x: (x > 0).all(),
        "equal logits": lambda m, x: (x == x[0, 0]).all(),
    },
    check_project: {
        "one row": lambda p, r, d, s: len(p) == 1,
        "two atoms": lambda p, r, d, s: len(s) == 2,
        "many atoms": lambda p, r, d, s: len(s) > 6,
        "negative atoms": lambda p, r, d, s: (s < 0).all(),
        "positive atoms": lambda p, r, d, s: (s > 0).all(),
        "no future": lambda p, r, d, s: not d.any(),
        "no discount": lambda p, r, d, s: (d == 1).all(),
        "as many rows as atoms": lambda p, r, d, s: len(p) == len(s),
    },
    check_quantile_loss: {
        "one outcome": lambda theta, x, tau: len(x) == 1,
        "all above θ": lambda theta, x, tau: (x > theta).all(),
        "all below θ": lambda theta, x, tau: (x < theta).all(),
        "some equal to θ": lambda theta, x, tau: (x == theta).any(),
        "a whole θ": lambda theta, x, tau: isinstance(theta, int),
        "only negative outcomes": lambda theta, x, tau: (x < 0).all(),
        "the median": lambda theta, x, tau: tau == 0.5,
        "many outcomes": lambda theta, x, tau: len(x) > 20,
    },
    check_noise: {
        "one input": lambda a, b: len(a) == 1,
        "one output": lambda a, b: len(b) == 1,
        "as many inputs as outputs": lambda a, b: len(a) == len(b) > 1,
        "more inputs": lambda a, b: len(a) > len(b),
        "large draws": lambda a, b: a.abs().max() > 2.5,
        "only negative draws": lambda a, b: (a < 0).all() and (b < 0).all(),
    },
    check_replay_ratio: {
        "one update": lambda b, u, s: u == 1,
        "a batch of one": lambda b, u, s: b == 1,
        "below 1": lambda b, u, s: b * u < s,
        "more updates than steps": lambda b, u, s: u > s,
        "not whole": lambda b, u, s: b * u % s,
    },
    check_next_rows: {
        "one row": lambda r, c, n: len(r) == 1,
        "one cart": lambda r, c, n: c == 1,
        "other numbers of carts": lambda r, c, n: c not in (8, 1),
        "a row twice": lambda r, c, n: len(set(r.tolist())) < len(r),
        "not in order": lambda r, c, n: (np.diff(r) < 0).any(),
        "0 steps": lambda r, c, n: n == 0,
        "many steps": lambda r, c, n: n > 4,
    },
    check_patches: {
        "one picture": lambda x, s: len(x) == 1,
        "one channel": lambda x, s: x.shape[1] == 1,
        "many channels": lambda x, s: x.shape[1] > 3,
        "patches of one pixel": lambda x, s: s == 1,
        "patches of three pixels": lambda x, s: s == 3,
        "one patch": lambda x, s: x.shape[-1] == x.shape[-2] == s,
        "squares": lambda x, s: x.shape[-1] == x.shape[-2] and x.shape[-1] > s,
        "negative pixels": lambda x, s: (x < 0).any(),
    },
    check_epsilon: {
        "a lone actor": lambda i, n: n == 1,
        "two actors": lambda i, n: n == 2,
        "the first of several": lambda i, n: i == 0 and n > 1,
        "the last of several": lambda i, n: i == n - 1 > 0,
        "neither the first nor the last": lambda i, n: 0 < i < n - 1,
        "other numbers of actors": lambda i, n: n not in (1, 2, 4, 8, 16, 360),
        "many actors": lambda i, n: n > 360,
    },
    check_initial_priorities: {
        "one transition": lambda q, a, r, d, n: len(q) == 1,
        "one that ended": lambda q, a, r, d, n: len(q) == 1 and not d.any(),
        "one that goes on": lambda q, a, r, d, n: len(q) == 1 and d.all(),
        "all ended": lambda q, a, r, d, n: len(q) > 1 and not d.any(),
        "none ended": lambda q, a, r, d, n: len(q) > 1 and d.all(),
        "no discount": lambda q, a, r, d, n: (d == 1).all(),
        "only negative values": lambda q, a, r, d, n: (n < 0).all() and d.any(),
        "one action": lambda q, a, r, d, n: q.shape[1] == 1,
        "two actions": lambda q, a, r, d, n: q.shape[1] == 2,
        "many actions": lambda q, a, r, d, n: q.shape[1] > 6,
        "as many transitions as actions": lambda q, a, r, d, n: q.shape[0] == q.shape[1],
        "whole rewards": lambda q, a, r, d, n: (r == r.round()).all(),
        "many transitions": lambda q, a, r, d, n: len(q) > 20,
    },
    check_late_priorities: {
        "one slot": lambda p, w, k, new: len(p) == 1,
        "one valid key": lambda p, w, k, new: len(k) == 1 and w[k[0, 0]] == k[0, 1],
        "one late key": lambda p, w, k, new: len(k) == 1 and w[k[0, 0]] > k[0, 1],
        "all valid": lambda p, w, k, new: len(k) > 1 and (w[k[:, 0]] == k[:, 1]).all(),
        "all late": lambda p, w, k, new: len(k) > 1 and (w[k[:, 0]] > k[:, 1]).all(),
        "a slot drawn twice": lambda p, w, k, new: len(set(k[:, 0])) < len(k),
        "more keys than slots": lambda p, w, k, new: len(k) > len(p),
        "as many keys as slots": lambda p, w, k, new: len(k) == len(p) > 1,
        "an empty slot": lambda p, w, k, new: (w == 0).any(),
        "equal priorities": lambda p, w, k, new: len(set(p)) < len(p),
        "a new priority of 0": lambda p, w, k, new: (new == 0).any(),
        "whole priorities": lambda p, w, k, new: (p == p.round()).all(),
        "many slots": lambda p, w, k, new: len(p) > 100,
        "written more than once meanwhile": lambda p, w, k, new: (w[k[:, 0]] - k[:, 1] > 2).any(),
    },
    check_due: {
        "every update": lambda b, a, e: e == 1,
        "from 0": lambda b, a, e: b == 0 and a < e,
        "no progress": lambda b, a, e: b == a and b % e,
        "no progress at a multiple": lambda b, a, e: b == a and b % e == 0,
        "from a multiple": lambda b, a, e: b % e == 0 and b > 0 and a - b < e,
        "to a multiple": lambda b, a, e: a % e == 0 and a - b < e,
        "from one multiple to the next": lambda b, a, e: b % e == 0 and a - b == e,
        "two multiples": lambda b, a, e: a // e - b // e == 2,
        "many multiples": lambda b, a, e: a // e - b // e > 2,
        "one update": lambda b, a, e: a - b == 1,
        "not 16 updates": lambda b, a, e: a - b not in (0, 1, 16),
        "many updates": lambda b, a, e: b > 1_000 and a // e > b // e,
        "many updates, none due": lambda b, a, e: b > 1_000 and a // e == b // e,
    },
    check_turns: {
        "at the start": lambda s, u, r, b: s == 0 == u,
        "an update too many at the start": lambda s, u, r, b: s == 0 < u,
        "no update yet": lambda s, u, r, b: u == 0 < s,
        "exactly `band` missing": lambda s, u, r, b: r * s - u == b > 0,
        "one more than `band` missing": lambda s, u, r, b: r * s - u == b + 1,
        "none missing": lambda s, u, r, b: r * s == u > 0,
        "one missing": lambda s, u, r, b: r * s - u == 1,
        "a part of one missing": lambda s, u, r, b: 0 < r * s - u < 0.5,
        "most of one missing": lambda s, u, r, b: 0.5 < r * s - u < 1,
        "a part more than `band` missing": lambda s, u, r, b: 0 < r * s - u - b < 0.5,
        "no band": lambda s, u, r, b: b == 0,
        "a ratio of 1": lambda s, u, r, b: r == 1,
        "more updates than agent steps": lambda s, u, r, b: r > 1,
        "a ratio that is not exact": lambda s, u, r, b: r in (0.1, 0.3, 0.7),
        "many agent steps": lambda s, u, r, b: s > 100_000,
        "far too many updates": lambda s, u, r, b: u > r * s + b,
    },
}
CASES[check_dueling_max] = CASES[check_combine]


def made_from_right_answers():
    """(check, kind, what, function) of each."""
    for check, places in FIXED.items():
        right = RIGHT[check]
        for place, values in places.items():
            yield check, CONSTANT, f"argument {place} as first seen", remembered(right, place)
            for value in values:
                yield check, CONSTANT, f"argument {place} is {value}", fixed(right, place, value)
    for check in FRACTIONS:
        for digits in (0, 1, 2, 3):
            answer = changed(RIGHT[check], lambda x, digits=digits: np.round(x, digits))
            yield check, ROUNDED, f"{digits} digits", answer
    for check in BATCHES:
        yield check, SINGLE, "squeeze()", changed(RIGHT[check], np.squeeze)
    for check in WHOLES:
        yield check, WHOLE, "stored as whole numbers", as_whole(RIGHT[check])
    for check, right in RIGHT.items():
        if check not in (check_ring, check_td_loss):
            yield check, EFFECT, "no gradients anywhere", switched_off(right)
    for check, places in NETWORKS.items():
        for place in places:
            yield check, EFFECT, f"network {place} frozen", frozen(RIGHT[check], place)
            if check is not check_soft_update:
                yield check, EFFECT, f"network {place} moved", moved(RIGHT[check], place)
    for check, cases in CASES.items():
        for what, when in cases.items():
            yield check, BRANCH, what, spoiled(RIGHT[check], when)


STUBBORN = [
    *made_from_right_answers(),
    *NOTEBOOK_1,
    *NOTEBOOK_2,
    *NOTEBOOK_3,
    *NOTEBOOK_4,
    *NOTEBOOKS_5_TO_8,
    *NOTEBOOK_9,
]

# Kinds that apply to nearly every check, with those they do not apply to.
EXEMPT = {
    CONSTANT: {check_huber, check_transitions},  # no number could be fixed
    ROUNDED: {check_ring, check_stacks, check_transitions, check_next_rows},  # nothing to round
    BRANCH: set(),
    EFFECT: set(),
}

# Kinds that apply to some checks, with the least number of these.
FEWEST = {
    MAXIMUM: 39,
    WHOLE: 23,
    SINGLE: 25,
    MERGED: 23,
    TIES: 1,
    OCCURRENCE: 20,
    MASK: 2,
    FORBIDDEN: 9,
}
