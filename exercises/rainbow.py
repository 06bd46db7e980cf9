"""Checks for notebook 07: the projection of C51, the quantile loss, factorised noise."""

import numpy as np
import torch

from exercises import Wrong, as_array, call, compare, exercise


def _project(probability, reward, discount, support, *, lost=False, nearest=False, swapped=False):
    """One row after another, atom by atom; the arguments by name are usual mistakes."""
    low, high, atoms = support[0].item(), support[-1].item(), len(support)
    width, found = (high - low) / (atoms - 1), np.zeros((len(reward), atoms))
    for row in range(len(reward)):
        for j in range(atoms):
            moved = reward[row].item() + discount[row].item() * support[j].item()
            place = (min(max(moved, low), high) - low) / width
            place = round(place, 4)  # 0.35 / 0.05 is 6.999…, and means 7
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
        _check_batch(function, probability, reward, discount, support)


def _check_batch(function, *given):
    """``check_project`` for one batch."""
    probability, reward, discount, support = given
    expected = _project(*given)
    moved = reward[:, None] + discount[:, None] * support
    outside = (moved < support[0] - 1e-6) | (moved > support[-1] + 1e-6)
    kept = torch.where(outside, 0.0, probability)
    place = (moved - support[0]) / (support[1] - support[0])
    nearness = 1 - (place[:, :, None] - torch.arange(len(support))).abs()
    mistakes = [
        ("Probability is lost: where a value falls exactly on an atom, `floor` and `ceil` are the "
         "same, and both shares are 0. It belongs to that atom whole.",
         _project(*given, lost=True)),
        ("The shares have changed places: the *nearer* atom gets more.",
         _project(*given, swapped=True)),
        ("All of it goes to the nearest atom; that changes the mean.",
         _project(*given, nearest=True)),
        ("What is moved beyond an end is lost; it goes to the atom at that end.",
         _project(kept, *given[1:])),
        ("What is moved beyond an end is lost in part; it goes to the atom at that end whole: "
         "`clamp` the values first.", (probability[:, :, None] * nearness.clamp(min=0)).sum(dim=1)),
        ("The reward is missing.", _project(probability, 0 * reward, discount, support)),
        ("The discount is not used.",
         _project(probability, reward, torch.ones(len(reward)), support)),
        ("Nothing was moved.", probability),
    ]  # fmt: skip
    answer = call(function, *given)
    got = as_array(answer)
    fits = any(got.shape == expected.shape and np.allclose(got, as_array(m), atol=1e-5)
               for _, m in mistakes)  # fmt: skip
    if got.shape == expected.shape and not fits and (got.sum(axis=1) < 0.999).any():
        row = int((got.sum(axis=1) < 0.999).argmax())
        raise Wrong(
            f"the probabilities of row {row} sum to {got[row].sum():.3f}, expected 1.\n  Where did "
            "the rest go? Look at values beyond the ends, at values that fall exactly on an atom, "
            "and at `+=` with the same index twice (`index_add_` or `np.add.at` count both)."
        )
    compare(answer, expected, "probabilities", mistakes)


@exercise
def check_quantile_loss(function):
    """``function(theta, outcome, tau)``: the lopsided absolute error, mean over outcomes (B,)."""
    torch.manual_seed(0)
    outcome = torch.randn(9)
    for theta, tau in ((0.3, 0.9), (-0.4, 0.25)):
        u = outcome - theta
        weight = torch.where(u > 0, tau, 1 - tau)
        mistakes = [
            ("The strengths have changed places: outcomes *above* θ pull with τ.",
             ((1 - weight) * u.abs()).mean()),
            ("The sign of the error is left in: where u < 0 the loss is negative, and θ runs "
             "away.", (weight * u).mean()),
            ("That is the plain absolute error; its rest is the median, whatever τ is.",
             u.abs().mean()),
            ("Errors are squared: what rests there is not a quantile.", (weight * u**2).mean()),
            ("That is the sum over the outcomes, not their mean.", (weight * u.abs()).sum()),
            ("Both sides pull with τ.", (tau * u.abs()).mean()),
        ]  # fmt: skip
        expected = (weight * u.abs()).mean()
        compare(call(function, theta, outcome, tau), expected, "a loss", mistakes)


@exercise
def check_noise(function):
    """``function(draws_in, draws_out)``: (I,), (J,) standard normal, to the noise (J, I)."""
    torch.manual_seed(0)
    for inputs, outputs in ((4, 4), (3, 5)):
        a, b = torch.randn(inputs), torch.randn(outputs)
        squeezed = [x.sign() * x.abs().sqrt() for x in (a, b)]
        expected = torch.outer(squeezed[1], squeezed[0])
        mistakes = [
            ("f is missing: the product of two normal draws has heavier tails; f(x) = sign(x)√|x|.",
             torch.outer(b, a)),
            ("The sign is lost: noise must go both ways.",
             torch.outer(b.abs().sqrt(), a.abs().sqrt())),
            ("Rows are outputs and columns inputs, as in `Linear.weight`: (J, I).", expected.T),
            ("f is taken of the product only in size; the sign comes from one side.",
             torch.outer(squeezed[1].abs(), squeezed[0])),
            ("That adds the two; the noise of a weight is their product.",
             squeezed[1][:, None] + squeezed[0]),
        ]  # fmt: skip
        compare(call(function, a, b), expected, "the noise", mistakes)
