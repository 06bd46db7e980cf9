"""Ablations: the same training with one thing changed, over many seeds, compared with intervals."""

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

from helpers.tables import show_table


def interquartile_mean(values, axis=-1):
    """Mean of the middle half of the values along an axis: robust to a few odd seeds.

    Source: Agarwal et al. 2021, *Deep RL at the edge of the statistical precipice*.
    """
    return stats.trim_mean(values, 0.25, axis=axis)


def bootstrap_interval(values, rng, level=0.95, draws=10_000, statistic=np.mean):
    """Interval of a mean over seeds: what other seeds would be likely to give.

    Draws as many values as there are, with replacement, takes their mean, and repeats. With one
    task, as here, this is the stratified bootstrap of Agarwal et al. 2021.

    Args:
        values: (seeds,) one finite figure for each seed, at least two.
        rng: numpy ``Generator``.
        level: share of the means that lie inside, in (0, 1).
        draws: repetitions.
        statistic: ``np.mean`` or ``interquartile_mean``.

    Returns:
        (low, high), percentiles of the statistic.

    Raises:
        ValueError: if there are fewer than two values, or one is not finite.

    Source: Efron 1979, *Bootstrap methods: another look at the jackknife*; percentile method.
    """
    values = np.asarray(values, float)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"expected at least two finite values, shape (seeds,), got {values}")
    if not 0 < level < 1:
        raise ValueError(f"expected level in (0, 1), got {level}")
    means = statistic(rng.choice(values, (draws, len(values))), axis=1)
    low, high = np.quantile(means, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def paired_p_value(differences):
    """Share of all 2^n ways to choose the signs of n differences whose mean is this far from 0.

    An exact permutation test: without a difference between two variants, either could have been
    the better one on each seed. With n seeds, p cannot be below 2^(1 - n).

    Args:
        differences: (n,) finite, one variant minus another on the same seed, n at most 24.

    Returns:
        p, two-sided, in (0, 1].

    Raises:
        ValueError: if there are more than 24 differences, or one is not finite.

    Source: Fisher 1935, *The design of experiments*, section 21.
    """
    differences = np.asarray(differences, float)
    if len(differences) > 24 or not np.isfinite(differences).all():
        raise ValueError(f"expected at most 24 finite differences, got {differences}")
    left, right = map(_signed_sums, np.array_split(differences, 2))
    sums = np.abs(left[:, None] + right)
    rounding = 1e-12 * np.abs(differences).sum()
    return float(np.mean(sums >= abs(differences.sum()) - rounding))


def _signed_sums(values):
    """Sums of values under every choice of their signs, (2^n,)."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def holm(p_values):
    """p-values corrected for the number of comparisons, in the order given.

    Below 0.05 in the result means: the chance that any of the differences so marked is none at
    all is below 5 %.

    Args:
        p_values: (m,) one for each comparison.

    Returns:
        (m,) corrected, at most 1.

    Source: Holm 1979, *A simple sequentially rejective multiple test procedure*.
    """
    p_values = np.asarray(p_values, float)
    order = np.argsort(p_values)
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1))
    corrected = np.empty_like(stepped)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def figures_per_seed(curves, goal):
    """Figures of every seed of one variant, from its greedy evaluations.

    Args:
        curves: ``{seed: (agent steps, greedy means)}`` as ``load_curves`` returns, all of the
            same agent steps.
        goal: greedy mean that counts as solved.

    Returns:
        A dictionary of arrays (seeds,): solved (bool), solved_at (agent steps until the first
        mean >= goal, the whole budget if never), area (mean of all evaluations), last.

    Raises:
        ValueError: if the curves were not evaluated at the same agent steps.
    """
    agent_steps = next(iter(curves.values()))[0]
    if any(not np.array_equal(agent_steps, x) for x, _ in curves.values()):
        raise ValueError("expected all seeds to be evaluated at the same agent steps, they are not")
    values = np.stack([y for _, y in curves.values()])  # (seeds, evaluations)
    solved = (values >= goal).any(axis=1)
    first = np.where(solved, (values >= goal).argmax(axis=1), -1)
    return dict(
        solved=solved, solved_at=agent_steps[first], area=values.mean(axis=1), last=values[:, -1]
    )


COLUMNS = {  # figures of a seed and their titles
    "area": "mean over the training",
    "last": "last",
    "solved_at": "solved at [agent steps]",
}


def show_levels(variants, goal, rng, digits=0):
    """Show a table of ``{title: curves}``: what each variant reaches, with 95 % intervals.

    "Mean over the training" is the mean of all greedy evaluations, "IQM" its interquartile mean
    over the seeds, "last" the last evaluation. A mean of agent steps that contains a seed which
    never reached the goal is a lower bound, marked "≥".

    Args:
        variants: ``{title: curves}``, curves as in ``figures_per_seed``.
        goal: greedy mean that counts as solved.
        rng: numpy ``Generator`` for the intervals.
        digits: decimals of greedy means.
    """
    header = ["", "solved", COLUMNS["area"], "IQM", "last", "worst last", COLUMNS["solved_at"]]
    rows = []
    for title, curves in variants.items():
        found = figures_per_seed(curves, goal)
        mark = "" if found["solved"].all() else "≥ "
        rows.append(
            [
                title,
                f"{found['solved'].sum()}/{len(found['solved'])}",
                _with_interval(found["area"], rng, digits),
                _with_interval(found["area"], rng, digits, interquartile_mean),
                _with_interval(found["last"], rng, digits),
                f"{found['last'].min():.{digits}f}",
                mark + _with_interval(found["solved_at"], rng, 0),
            ]
        )
    show_table(header, rows)


def show_differences(variants, goal, rng, digits=0):
    """Show a table of how ``{title: curves}`` differ from the first of them, seed by seed.

    Means with 95 % intervals, each for itself. A star marks the differences that stay below
    p = 0.05 after Holm's correction for all comparisons of the table. "≥" and "≤" mark
    differences of agent steps in which a seed never reached the goal, so that they are bounds.

    Args:
        variants: ``{title: curves}``, curves as in ``figures_per_seed``; all of the same seeds.
        goal: greedy mean that counts as solved.
        rng: numpy ``Generator`` for the intervals.
        digits: decimals of greedy means.

    Returns:
        ``{(title, column): corrected p}``, columns "area", "last" and "solved_at".

    Raises:
        ValueError: if the variants were not trained on the same seeds.
    """
    first, *others = variants
    if any(list(variants[title]) != list(variants[first]) for title in others):
        seeds = {title: list(curves) for title, curves in variants.items()}
        raise ValueError(f"expected the same seeds for every variant, got {seeds}")
    figures = {title: figures_per_seed(curves, goal) for title, curves in variants.items()}
    differences = {(t, c): figures[t][c] - figures[first][c] for t in others for c in COLUMNS}
    p_values = holm([paired_p_value(d) for d in differences.values()])
    corrected = dict(zip(differences, map(float, p_values), strict=True))
    rows = []
    for title in others:
        cells = [title]
        for column in COLUMNS:
            decimals, mark = (digits, "") if column != "solved_at" else (0, None)
            if mark is None:
                mark = _bound(figures[title]["solved"].all(), figures[first]["solved"].all())
            text = _with_interval(differences[title, column], rng, decimals, sign="+")
            cells.append(mark + text + (" *" if corrected[title, column] < 0.05 else ""))
        rows.append(cells)
    show_table([f"minus {first}", *COLUMNS.values()], rows)
    return corrected


def _bound(all_solved, all_of_first_solved):
    """Mark of a difference of agent steps in which some seeds were never solved."""
    marks = {(True, True): "", (False, True): "≥ ", (True, False): "≤ ", (False, False): "≈ "}
    return marks[bool(all_solved), bool(all_of_first_solved)]


def _with_interval(values, rng, digits, statistic=np.mean, sign=""):
    """Text of a mean and its interval: "12 (9 to 15)"."""

    def form(value):
        text = f"{value:{sign},.{digits}f}"
        is_rounded = float(text.replace(",", "")) == 0 != value  # on which side of 0?
        return f"{value:{sign},.{digits + 1}f}" if is_rounded else text

    low, high = bootstrap_interval(values, rng, statistic=statistic)
    return f"{form(statistic(values))} ({form(low)} to {form(high)})"


def draw_curves(variants, goal, ylabel):
    """Return a figure with one panel per variant: median, middle half and range of its seeds."""
    rows = 1 if len(variants) <= 5 else 2
    columns = -(-len(variants) // rows)
    shape = dict(figsize=(max(7.5, 1.8 * columns), 0.6 + 2.4 * rows), sharey=True)
    figure, panels = plt.subplots(rows, columns, squeeze=False, layout="constrained", **shape)
    for axes in panels.flat[len(variants) :]:
        axes.set_visible(False)
    for axes, (title, curves) in zip(panels.flat, variants.items(), strict=False):
        x, values = next(iter(curves.values()))[0], np.stack([y for _, y in curves.values()])
        least, low, middle, high, most = np.quantile(values, (0, 0.25, 0.5, 0.75, 1), axis=0)
        axes.fill_between(x, least, most, color="0.87", label=f"range of {len(values)} seeds")
        axes.fill_between(x, low, high, color="#9db8d6", label="middle half")
        axes.plot(x, middle, color="#1f4e8c", label="median")
        axes.axhline(goal, color="#e8743b", linestyle="--", linewidth=1, label=f"goal: {goal}")
        axes.set_title(title, fontsize=9)
        last = x.max()
        axes.set_xticks([0, last / 2, last], ["0", f"{last / 2:,.0f}", f"{last:,.0f}"], fontsize=8)
    figure.supylabel(ylabel, fontsize=10)
    figure.supxlabel("agent steps of training", fontsize=10)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure
