"""Checks for notebook 07: projection, C51 loss, factorised noise, quantile loss."""

import numpy as np
import torch

from exercises import WrongAnswer, as_array, call, compare, exercise, is_missing


def _project(probability, reward, discount, support, *, lost=False, nearest=False, swapped=False):
    """Row by row, atom by atom; each keyword argument plants a common mistake."""
    low, high, atoms = support[0].item(), support[-1].item(), len(support)
    width, found = (high - low) / (atoms - 1), np.zeros((len(reward), atoms))
    for row in range(len(reward)):
        for j in range(atoms):
            moved = reward[row].item() + discount[row].item() * support[j].item()
            place = (min(max(moved, low), high) - low) / width
            if abs(place - round(place)) < 1e-5:  # 0.35 / 0.05 is 6.999…, and means 7
                place = round(place)
            below, above = int(np.floor(place)), int(np.ceil(place))
            p = probability[row, j].item()
            if nearest:
                found[row, int(np.floor(place + 0.5))] += p
            elif below == above:
                found[row, below] += 0 if lost else p
            else:
                share = place - below if swapped else above - place
                found[row, below] += p * share
                found[row, above] += p * (1 - share)
    return found


@exercise
def check_project(function):
    """``function(probability, reward, discount, support)``: (B, N), (B,), (B,), (N,) to (B, N)."""
    torch.manual_seed(0)
    for support in (torch.linspace(-1, 1, 5), torch.linspace(0, 3, 4)):
        probability = torch.softmax(torch.randn(6, len(support)), dim=1)
        reward = torch.tensor([0.0, 0.3, -0.8, 0.5, 0.9, 0.2])
        discount = torch.tensor([1.0, 0.9, 0.9, 0.0, 0.9, 0.0])
        _check_projection(function, probability, reward, discount, support)
    for low, high, atoms, size in (
        (-1.0, 1.0, 5, 1),
        (-6.0, -2.0, 3, 5),  # all values are negative
        (2.0, 10.0, 9, 8),
        (-0.5, 0.25, 2, 4),
        (-3.0, 3.0, 7, 7),
    ):
        support, span = torch.linspace(low, high, atoms), high - low
        for discounts in ((0.0, 0.0), (1.0, 1.0), (0.3, 1.0)):  # the first two land on atoms
            probability = torch.softmax(2 * torch.randn(size, atoms), dim=1)
            discount = torch.empty(size).uniform_(*discounts)
            reward = torch.randn(size) * span / 2
            if discounts == (1.0, 1.0):
                reward = torch.randint(-2, 3, (size,)) * (support[1] - support[0])
            _check_projection(function, probability, reward, discount, support)


def _check_projection(function, *inputs):
    """``check_project`` for one batch."""
    probability, reward, discount, support = inputs
    expected = _project(*inputs)
    moved = reward[:, None] + discount[:, None] * support
    outside = (moved < support[0] - 1e-6) | (moved > support[-1] + 1e-6)
    kept = torch.where(outside, 0.0, probability)
    place = (moved - support[0]) / (support[1] - support[0])
    nearness = 1 - (place[:, :, None] - torch.arange(len(support))).abs()
    mistakes = [
        (
            "Probability is lost: where a value lands exactly on an atom, `floor` and `ceil` are "
            "the same, and both shares are 0. That atom should get all of it.",
            _project(*inputs, lost=True),
        ),
        (
            "The two shares are swapped: the *closer* atom gets more.",
            _project(*inputs, swapped=True),
        ),
        (
            "All of it goes to the closest atom; that changes the mean.",
            _project(*inputs, nearest=True),
        ),
        (
            "Probability that lands beyond an end is lost; the atom at that end should get it.",
            _project(kept, *inputs[1:]),
        ),
        (
            "Probability that lands beyond an end is lost in part; the atom at that end should get "
            "all of it: `clamp` the moved values first.",
            (probability[:, :, None] * nearness.clamp(min=0)).sum(dim=1),
        ),
        ("The reward is missing.", _project(probability, 0 * reward, discount, support)),
        (
            "The discount is not used.",
            _project(probability, reward, torch.ones(len(reward)), support),
        ),
        ("The atoms were not moved.", probability),
    ]
    try:
        answer = call(function, *inputs)
    except (IndexError, RuntimeError) as error:
        if "out of" not in str(error):
            raise
        raise WrongAnswer(
            f"{error}.\n  Some values land beyond the ends (`clamp` them first), and a value at "
            "the last atom has no atom above it."
        ) from error
    got = as_array(answer)
    fits = any(
        got.shape == expected.shape and np.allclose(got, as_array(m), atol=1e-5)
        for _, m in mistakes
    )
    if got.shape == expected.shape and not fits and (got.sum(axis=1) < 0.999).any():
        row = int((got.sum(axis=1) < 0.999).argmax())
        raise WrongAnswer(
            f"the probabilities of row {row} sum to {got[row].sum():.3f}, expected 1.\n  Where did "
            "the rest go? Check values beyond the ends, values that land exactly on an atom, and "
            "`+=` with the same index twice (`scatter_add_` or `np.add.at` count both)."
        )
    compare(answer, expected, "probabilities", mistakes)


@exercise
def check_c51_loss(function):
    """``function(target, logits)``: (B, N) each, to cross-entropy (B,) and KL divergence (B,)."""
    torch.manual_seed(0)
    for size, atoms, spread, shift in (
        (5, 4, 2, 0),
        (1, 4, 2, 0),
        (3, 3, 1, -9),
        (8, 2, 2, 5),
        (4, 51, 3, 0),
        (2, 6, 0, 1),
    ):
        target = torch.softmax(torch.randn(size, atoms), dim=1)
        target[:3, 1] = 0.0
        target[0] = torch.eye(atoms)[min(2, atoms - 1)]
        target = target / target.sum(dim=1, keepdim=True)
        _check_c51_loss(function, target, spread * torch.randn(size, atoms) + shift)


def _results(answer):
    """What a function returned, in words."""
    if not isinstance(answer, (tuple, list)):
        return f"one {type(answer).__name__}"
    return f"a {type(answer).__name__} of {len(answer)}: {[type(x).__name__ for x in answer]}"


def _check_c51_loss(function, target, logits):
    """``check_c51_loss`` for one batch."""
    answer = call(function, target, logits)
    if not isinstance(answer, (tuple, list)) or len(answer) != 2 or any(map(is_missing, answer)):
        raise WrongAnswer(f"expected two results, got {_results(answer)}: return cross_entropy, kl")
    if np.isnan(as_array(answer[0])).any():
        raise WrongAnswer(
            "the cross-entropy is NaN: a logit can be negative and then has no logarithm. "
            "`torch.log_softmax` turns logits into logarithms of probabilities."
        )
    log_p = torch.log_softmax(logits, dim=1)
    loss = -(target * log_p).sum(dim=1)
    entropy = -torch.special.xlogy(target, target).sum(dim=1)
    mean = "That is one number for the batch: sum over the atoms (dim=1), keep the rows."
    mistakes = [
        ("The sign is wrong: logarithms of probabilities are negative, the loss is not.", -loss),
        ("The logarithm is missing.", -(target * log_p.exp()).sum(dim=1)),
        (
            "The logits are no probabilities yet: `torch.log_softmax` first.",
            -(target * logits).sum(dim=1),
        ),
        (
            "The softmax runs over the batch: use dim=1.",
            -(target * torch.log_softmax(logits, dim=0)).sum(dim=1),
        ),
        (
            "Target and prediction are swapped: the *target* weights the logarithms.",
            -torch.special.xlogy(log_p.exp(), target).sum(dim=1),
        ),
        (mean, loss.mean()),
        (mean, loss.sum()),
    ]
    compare(answer[0], loss, "cross-entropies", mistakes)
    got = as_array(answer[1])
    if np.isnan(got).any():
        raise WrongAnswer(
            "the KL divergence is NaN where a target probability is 0: 0 · log 0 counts as 0. "
            "`torch.special.xlogy(m, m)` does that."
        )
    compare(
        answer[1],
        loss - entropy,
        "KL divergences",
        [
            ("That is the cross-entropy again; subtract the entropy of the target.", loss),
            ("The entropy is added: its sign is wrong.", loss + entropy),
            (
                "Target and prediction are swapped: the *target* weights the logarithms.",
                (log_p.exp() * (log_p - (target + 1e-8).log())).sum(dim=1),
            ),
            ("That is the negative KL divergence; it is never below 0.", entropy - loss),
            (mean, (loss - entropy).mean()),
            (mean, (loss - entropy).sum()),
        ],
    )


@exercise
def check_quantile_loss(function):
    """``function(theta, outcome, tau)``: the pinball loss, its mean over outcomes (B,)."""
    torch.manual_seed(0)
    draws = torch.randn(9)
    for theta, outcome, tau in (
        (0.3, draws, 0.9),
        (-0.4, draws, 0.25),
        (0.1, torch.randn(1), 0.7),
        (-0.1, torch.randn(1), 0.7),
        (2, torch.tensor([-3.0, 1.0, 2.0, 2.0, 5.0]), 0.4),  # whole numbers; some are equal to θ
        (9.5, torch.randn(30), 0.1),  # above all outcomes
        (-9.5, torch.randn(30), 0.35),  # below all
        (-3, torch.randn(12) - 4, 0.5),  # all negative
        (1.25, 3 * torch.randn(200), 0.99),
    ):
        u = outcome - theta
        weight = torch.where(u > 0, tau, 1 - tau)
        mistakes = [
            (
                "The two strengths are swapped: outcomes *above* θ pull with τ.",
                ((1 - weight) * u.abs()).mean(),
            ),
            (
                "The error keeps its sign: where u < 0 the loss is negative, so θ can lower it "
                "without end.",
                (weight * u).mean(),
            ),
            (
                "θ - outcome and outcome - θ are mixed up: weight and size need the same u.",
                (torch.where(u > 0, tau, 1 - tau) * (theta - outcome)).mean(),
            ),
            (
                "That is the plain absolute error; it leads to the median, whatever τ is.",
                u.abs().mean(),
            ),
            (
                "The errors are squared, and that does not lead to a quantile.",
                (weight * u**2).mean(),
            ),
            ("That is the sum over the outcomes, not the mean.", (weight * u.abs()).sum()),
            ("That is one loss for each outcome: return their mean.", weight * u.abs()),
            (
                "Both sides pull with τ; outcomes below θ should pull with 1 - τ.",
                (tau * u.abs()).mean(),
            ),
        ]
        expected = (weight * u.abs()).mean()
        compare(call(function, theta, outcome, tau), expected, "a loss", mistakes)


@exercise
def check_noise(function):
    """``function(draws_in, draws_out)``: (I,), (J,) standard normal, to the noise (J, I)."""
    torch.manual_seed(0)
    for inputs, outputs in ((4, 4), (3, 5), (1, 1), (1, 6), (7, 1), (2, 9)):
        a, b = 3 * torch.randn(inputs), torch.randn(outputs)
        if outputs == 9:
            a, b = -a.abs(), -b.abs()
        squeezed = [x.sign() * x.abs().sqrt() for x in (a, b)]
        expected = torch.outer(squeezed[1], squeezed[0])
        mistakes = [
            ("f is missing: apply f(x) = sign(x)√|x| to the draws first.", torch.outer(b, a)),
            (
                "The sign is lost: noise can be negative too.",
                torch.outer(b.abs().sqrt(), a.abs().sqrt()),
            ),
            ("Rows are outputs and columns inputs, as in `Linear.weight`: (J, I).", expected.T),
            (
                "The sign comes from one of the two draws only; f keeps the sign of both.",
                torch.outer(squeezed[1].abs(), squeezed[0]),
            ),
            (
                "You add the two; the noise of a weight is their product.",
                squeezed[1][:, None] + squeezed[0],
            ),
        ]
        answer = call(function, a, b)
        if np.isnan(as_array(answer)).any():
            raise WrongAnswer(
                "the noise is NaN where a draw is negative: f takes the root of |x|, and puts the "
                "sign back."
            )
        compare(answer, expected, "the noise", mistakes)
