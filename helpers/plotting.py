"""Figures of a training: learning curves, live curves, bands of other seeds."""

import csv
import io
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from helpers.checkpoint import write_atomically
from helpers.checks import check_count
from helpers.runtime import build_dir, in_notebook, inside


def moving_mean(values, window=100):
    """Mean of the last ``window`` values at each point (of fewer at the start), (T,)."""
    window = check_count("window", window)
    padded = np.concatenate([np.zeros(window - 1), np.asarray(values, float)])
    if len(padded) < window:  # no value
        return np.zeros(0)
    sums = np.lib.stride_tricks.sliding_window_view(padded, window).sum(axis=1)
    return sums / np.minimum(np.arange(1, len(sums) + 1), window)


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
        path = inside(build_dir("figures"), f"{name}.png")
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
        ValueError: naming the line, if a column is missing or occurs twice, a line is cut off, a
            number is none or not finite, or the x of a seed decreases (as if it were there twice).
    """
    with Path(path).open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    if any(header.count(name) != 1 for name in ("seed", x, y)) or not rows:
        raise ValueError(f"expected columns seed, {x}, {y} and rows in {path}, got {header}")
    places, curves = [header.index(name) for name in ("seed", x, y)], {}
    for line, row in enumerate(rows, start=2):
        where = f"{path}, line {line}"
        try:
            seed, at, value = (float(row[place]) for place in places)
        except (ValueError, IndexError):
            raise ValueError(f"expected numbers for {header} in {where}, got {row}") from None
        if len(row) != len(header) or not np.isfinite([seed, at, value]).all():
            raise ValueError(f"expected {len(header)} finite numbers in {where}, got {row}")
        xs, ys = curves.setdefault(seed, ([], []))
        if xs and at < xs[-1]:
            raise ValueError(f"expected {x} of seed {seed:g} to increase, got {at:g} in {where}")
        xs.append(at)
        ys.append(value)
    return {int(seed): (np.array(xs), np.array(ys)) for seed, (xs, ys) in curves.items()}


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
    axes.plot(grid, np.median(values, axis=0), color="0.55", linewidth=1, label="their median")


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

    What counts first is where the curve ends: its last point, or the mean of its last fifth (three
    points at least), whichever speaks for it, against the same of every recorded seed.

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
        ValueError: if there are fewer than three recorded seeds, or mine has no point, x and y of
            different length, or a number that is not finite.
    """
    x, y = (np.asarray(part, float) for part in mine)
    if len(recorded) < 3 or not len(x) or x.shape != y.shape:
        raise ValueError(
            f"expected at least 3 recorded seeds and as many x as y of yours, got {len(recorded)} "
            f"seed(s), {len(x)} x and {len(y)} y"
        )
    if not np.isfinite([*x, *y]).all():
        at = x[~np.isfinite(y)]
        raise ValueError(
            f"expected finite numbers, got {y[~np.isfinite(y)][:1]} at {at[:1]} {xlabel}"
        )
    smooth = {seed: (at, moving_mean(values, window)) for seed, (at, values) in recorded.items()}
    y = moving_mean(y, window)
    verdict = _verdict(x, y, smooth, xlabel)
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    plot_band(axes, smooth, f"range of the {len(recorded)} recorded seeds")
    axes.plot(x, y, color="#1f4e8c", label="mine")
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.legend(loc="best", fontsize=8)
    return figure, verdict


def _verdict(x, y, recorded, xlabel):
    """One sentence on a curve, (T,) each, among ``{seed: (x, y)}``."""
    others = np.array([np.interp(x, *curve) for curve in recorded.values()])  # (seeds, T)
    scale = max(np.abs([v for _, values in recorded.values() for v in values]))
    low, high = others.min(axis=0) - 0.02 * scale, others.max(axis=0) + 0.02 * scale
    below, above = y < low, y > high
    late = y[-max(3, len(x) // 5) :].mean(), others[:, -max(3, len(x) // 5) :].mean(axis=1)
    ends = late, (y[-1], others[:, -1])  # a bad point at the end says little, a late rise much
    as_low = max(int((them <= me + 0.02 * scale).sum()) for me, them in ends)
    far_below = all(me < np.median(them) - 0.25 * np.ptp(others) for me, them in ends)
    seeds = f"the {len(recorded)} recorded seeds"
    usual = np.median([at[-1] for at, _ in recorded.values()])
    if x[-1] < 0.2 * usual:
        return f"too early to say: train on, to {0.2 * usual:,.0f} {xlabel} at least"
    if as_low == 0 and len(x) < 3:
        return f"too early to say: below all of {seeds}, but there are only {len(x)} point(s)"
    if as_low == 0:
        since = x[len(x) - np.argmin(below[::-1])] if below[-1] and not below.all() else x[0]
        since = f"since {since:,.0f} {xlabel}" if below[-1] else "on average over its end"
        return (
            f"not normal: below all of {seeds} {since}. Look at the usual failures in this notebook"
        )
    if as_low < len(recorded) / 4 and far_below:
        return (
            f"rare: at its end as low as {as_low} of {seeds}. Look at the usual failures in this "
            "notebook"
        )
    if np.mean(~below & ~above) >= 0.8:
        return f"normal: {np.mean(~below & ~above):.0%} of it lies within the range of {seeds}"
    if above.mean() > below.mean():
        return f"better than usual: {above.mean():.0%} of it lies above all of {seeds}"
    return f"normal by now: {below.mean():.0%} of it lay below all of {seeds}, its end not"


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
