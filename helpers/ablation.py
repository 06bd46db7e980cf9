"""Ablations: the same training with one thing changed, over many seeds, compared with intervals."""

import matplotlib.pyplot as plt
import numpy as np


def bootstrap_interval(values, rng, level=0.95, draws=10_000):
    """Interval of the mean over seeds: what other seeds would be likely to give.

    Draws as many values as there are, with replacement, takes their mean, and repeats.

    Args:
        values: (seeds,) one finite figure for each seed, at least two.
        rng: numpy ``Generator``.
        level: share of the means that lie inside, in (0, 1).
        draws: repetitions.

    Returns:
        (low, high), the percentiles of the means.

    Raises:
        ValueError: if there are fewer than two values, or one is not finite.

    Source: Efron 1979, *Bootstrap methods: another look at the jackknife*; percentile method.
    """
    values = np.asarray(values, float)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"expected at least two finite values, shape (seeds,), got {values}")
    if not 0 < level < 1:
        raise ValueError(f"expected level in (0, 1), got {level}")
    means = rng.choice(values, (draws, len(values))).mean(axis=1)
    low, high = np.quantile(means, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


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


def print_table(variants, goal, rng, digits=0):
    """Print the figures of ``{title: curves}``, and how they differ from those of the first.

    Means over the seeds with 95 % bootstrap intervals. A mean of agent steps that contains a seed
    which was never solved is marked ">=". Differences are taken seed by seed.

    Args:
        variants: ``{title: curves}``, curves as in ``figures_per_seed``; all of the same seeds.
        goal: greedy mean that counts as solved.
        rng: numpy ``Generator`` for the intervals.
        digits: decimals of greedy means.

    Raises:
        ValueError: if the variants were not trained on the same seeds.
    """
    decimals = {"solved_at": 0, "area": digits, "last": digits}

    def text(column, values, mark="", sign=""):
        form = f"{{:{sign},.{decimals[column]}f}}".format
        mean, (low, high) = mark + form(values.mean()), bootstrap_interval(values, rng)
        width = 9 if column == "solved_at" else 4 + digits
        return f"{mean:>{width}} ({form(low)} to {form(high)})"

    first, *others = variants
    if any(list(variants[title]) != list(variants[first]) for title in others):
        seeds = {title: list(curves) for title, curves in variants.items()}
        raise ValueError(f"expected the same seeds for every variant, got {seeds}")
    figures = {title: figures_per_seed(curves, goal) for title, curves in variants.items()}
    lines = [["", "solved", "solved at [agent steps]", "area", "last", "worst"]]
    for title, found in figures.items():
        solved = f"{found['solved'].sum():>2}/{len(found['solved'])}"
        marks = {} if found["solved"].all() else {"solved_at": ">= "}
        cells = [text(column, found[column], marks.get(column, "")) for column in decimals]
        lines.append([title, solved, *cells, f"{found['last'].min():>5.{digits}f}"])
    for title in others:
        differences = {c: figures[title][c] - figures[first][c] for c in decimals}
        lines.append([title, "", *(text(c, d, sign="+") for c, d in differences.items()), ""])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for i, line in enumerate(lines):
        if i == 1 + len(variants):
            print(f"\nminus {first}: an interval that contains 0 shows no difference")
        print("  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)).rstrip())


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
