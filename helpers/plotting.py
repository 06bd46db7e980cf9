"""Figures of a training: learning curves, live curves, bands of other seeds."""

import csv
import io
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from helpers.checkpoint import write_atomically
from helpers.runtime import build_dir, in_notebook


def moving_mean(values, window=100):
    """Mean of the last ``window`` values at each point (of fewer at the start), (T,)."""
    values = np.asarray(values, float)
    sums = np.cumsum(np.insert(values, 0, 0.0))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def _alt(figure):
    """Metadata of a picture: what a reader who cannot see the figure should know, its titles."""
    titles = [figure.get_suptitle(), *(axes.get_title() for axes in figure.axes)]
    said = "; ".join(title.replace("\n", " ") for title in titles if title)
    return {"image/png": {"alt": f"figure: {said}"}}


def show(figure, name):
    """Show a figure in a notebook, or save it to ``build/figures/NAME.png`` in a script."""
    if in_notebook():
        from IPython.display import display

        display(figure, metadata=_alt(figure))
    else:
        path = build_dir("figures") / f"{name}.png"
        figure.savefig(path, dpi=110, bbox_inches="tight")
        print(f"figure: {path}")
    plt.close(figure)


def save_curves(path, columns, rows):
    """Write learning curves as a small CSV, all or nothing: ``columns`` names, then the rows."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    write_atomically(path, text.getvalue().encode())


def load_curves(path, x, y):
    """Read ``{seed: (x values, y values)}`` from a CSV that has a column ``seed``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a column is missing.
    """
    with Path(path).open(newline="") as file:
        rows = list(csv.DictReader(file))
    missing = {"seed", x, y} - set(rows[0] if rows else ())
    if missing:
        raise ValueError(f"expected columns seed, {x}, {y} in {path}, missing: {sorted(missing)}")
    curves = {}
    for row in rows:
        xs, ys = curves.setdefault(int(row["seed"]), ([], []))
        xs.append(float(row[x]))
        ys.append(float(row[y]))
    return {seed: (np.array(xs), np.array(ys)) for seed, (xs, ys) in curves.items()}


def plot_band(axes, curves, label):
    """Draw the range over seeds as a grey band and their median as a line.

    Args:
        axes: matplotlib axes.
        curves: ``{seed: (x, y)}`` as ``load_curves`` returns; each is held at its last
            value once it has ended.
        label: what the band is, for the legend.
    """
    grid = np.unique(np.concatenate([x for x, _ in curves.values()]))
    values = np.array([np.interp(grid, x, y) for x, y in curves.values()])
    axes.fill_between(grid, values.min(0), values.max(0), color="0.85", label=label)
    axes.plot(grid, np.median(values, axis=0), color="0.55", linewidth=1)


def plot_learning_curve(
    returns, *, title, ylabel, window=100, xlabel="episode", goal=None, band=None, axes=None
):
    """Draw one value per episode and the mean of the last ``window``.

    Args:
        returns: (T,) one number per episode.
        title: what the figure shows.
        ylabel: the number and its unit.
        window: episodes in the mean.
        xlabel: what is counted along x.
        goal: draw a dashed line here.
        band: curves of other seeds to put behind, as for ``plot_band``.
        axes: draw here instead of in a new figure.

    Returns:
        The matplotlib figure.
    """
    if axes is None:
        _, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    axes.clear()
    if band:
        plot_band(axes, band, f"range of {len(band)} seeds")
    episodes = np.arange(1, len(returns) + 1)
    axes.plot(episodes, returns, color="#9db8d6", linewidth=0.8, label="one episode")
    axes.plot(
        episodes, moving_mean(returns, window), color="#1f4e8c", label=f"mean of the last {window}"
    )
    if goal is not None:
        axes.axhline(goal, color="#e8743b", linestyle="--", linewidth=1, label=f"goal: {goal:g}")
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.legend(loc="best", fontsize=8)
    return axes.figure


def is_mine_normal(mine, recorded, *, title, xlabel, ylabel, window=1):
    """Draw a curve over the range of recorded seeds, and say in words whether it is usual.

    Args:
        mine: (x, y) of your training, (T,) each.
        recorded: ``{seed: (x, y)}`` of at least three seeds, as ``load_curves`` returns.
        title: what the figure shows.
        xlabel: what is counted along x.
        ylabel: the number and its unit.
        window: values in a moving mean, taken of all curves; an episode alone says little.

    Returns:
        (figure, verdict): the matplotlib figure and one sentence.

    Raises:
        ValueError: if there are fewer than three recorded seeds, or mine has no point.
    """
    if len(recorded) < 3 or not len(mine[0]):
        raise ValueError(
            f"expected at least 3 recorded seeds and a point of yours, got {len(recorded)} "
            f"seed(s) and {len(mine[0])} point(s)"
        )
    smooth = {seed: (x, moving_mean(y, window)) for seed, (x, y) in recorded.items()}
    x, y = np.asarray(mine[0], float), moving_mean(mine[1], window)
    others = np.array([np.interp(x, *curve) for curve in smooth.values()])
    low, high = others.min(axis=0), others.max(axis=0)
    slack = 0.02 * (max(v.max() for _, v in smooth.values()) - low.min())
    below, above = y < low - slack, y > high + slack
    inside = np.mean(~below & ~above)
    seeds = f"the {len(recorded)} recorded seeds"
    shortest = min(v[-1] for v, _ in smooth.values())
    if x[-1] < 0.2 * shortest:
        verdict = f"too early to say: train on, to {0.2 * shortest:,.0f} {xlabel} at least"
    elif below[-1]:
        since = x[len(x) - np.argmin(below[::-1])] if not below.all() else x[0]
        verdict = (
            f"not normal: below all of {seeds} since {since:,.0f} {xlabel}. Look at the usual "
            "failures in this notebook"
        )
    elif inside >= 0.8:
        verdict = f"normal: {inside:.0%} of it lies within the range of {seeds}"
    elif above.mean() > below.mean():
        verdict = f"better than usual: {above.mean():.0%} of it lies above all of {seeds}"
    else:
        verdict = f"normal by now: {below.mean():.0%} of it lay below all of {seeds}, its end not"
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    plot_band(axes, smooth, f"range of {seeds}")
    axes.plot(x, y, color="#1f4e8c", label="mine")
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.legend(loc="best", fontsize=8)
    return figure, verdict


class LiveCurve:
    """A learning curve that redraws itself while the training runs.

    In a notebook one figure is updated in place, at most every ``every`` seconds. In a
    terminal a line is printed instead, five times as rarely. ``close`` draws the last state.

    Args:
        name: file name of the figure in a script.
        every: seconds between two drawings at least.
        **how: arguments of ``plot_learning_curve``.
    """

    def __init__(self, name, every=2.0, **how):
        self.name = name
        self.every = every if in_notebook() else 5 * every
        self.how = how
        self._last = time.monotonic()
        self._handle = None

    def update(self, returns, progress=""):
        """Redraw with the returns so far, unless that was done a moment ago.

        Args:
            returns: (T,) one number per finished episode.
            progress: how far the training is, one line; stands below the figure.
        """
        now = time.monotonic()
        if now - self._last < self.every or not len(returns):
            return
        self._last = now
        if in_notebook():
            self._draw(returns, progress)
        else:
            recent = np.mean(returns[-self.how.get("window", 100) :])
            print(f"episode {len(returns)}: recent mean {recent:.1f}  {progress}", flush=True)

    def close(self, returns, progress=""):
        """Draw the final curve."""
        if in_notebook():
            self._draw(returns, progress)
        else:
            show(plot_learning_curve(returns, **self.how), self.name)

    def _draw(self, returns, progress):
        from IPython.display import display

        figure = plot_learning_curve(returns, **self.how)
        figure.supxlabel(progress, fontsize=8, color="0.4")
        if self._handle is None:
            self._handle = display(figure, display_id=True, metadata=_alt(figure))
        else:
            self._handle.update(figure, metadata=_alt(figure))
        plt.close(figure)
