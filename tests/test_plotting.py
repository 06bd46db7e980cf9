"""Figures of a training."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import plotting, runtime
from helpers.plotting import (
    LiveCurve,
    is_mine_normal,
    load_curves,
    moving_mean,
    plot_band,
    plot_learning_curve,
    save_curves,
    show,
)


@given(st.lists(st.floats(-100, 100), max_size=60), st.integers(1, 70))
def test_moving_mean_is_the_mean_of_the_last(values, window):
    expected = [np.mean(values[max(0, i + 1 - window) : i + 1]) for i in range(len(values))]
    np.testing.assert_allclose(moving_mean(values, window), expected, atol=1e-9)


def test_curves_come_back_by_seed(tmp_path):
    path = tmp_path / "sub" / "a.csv"
    save_curves(path, ("seed", "x", "y"), [(0, 1, 2.5), (1, 1, 3), (0, 2, 4)])
    curves = load_curves(path, "x", "y")
    assert [v.tolist() for v in curves[0]] == [[1, 2], [2.5, 4]]
    assert [v.tolist() for v in curves[1]] == [[1], [3]]
    with pytest.raises(ValueError, match="expected columns seed, x, z and rows in"):
        load_curves(path, "x", "z")
    with pytest.raises(FileNotFoundError):
        load_curves(tmp_path / "b.csv", "x", "y")


def test_a_file_without_rows_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(ValueError, match="expected columns seed, x, y and rows in"):
        load_curves(tmp_path / "a.csv", "x", "y")


@pytest.mark.parametrize(
    "text, message",
    [
        ("seed,x,y\n0,1,nan\n", "3 finite numbers in .*a.csv, line 2"),
        ("seed,x,y\n0,1,2\n0,inf,2\n", "3 finite numbers in .*a.csv, line 3"),
        ("seed,x,y,z\n0,1,2,3\n0,2,2\n", "4 finite numbers in .*line 3"),
        ("seed,x,y\n0,1,2\n0,2", r"expected numbers for .* line 3, got \['0', '2'\]"),
        ("seed,x,y\n0,1,\n", "expected numbers for .* line 2"),
        ("seed,x,x\n0,1,2\n", "expected columns seed, x, y"),
        ("seed,x,y,y\n0,1,2,3\n", r"expected columns seed, x, y and rows in .*got \['seed'"),
        ("seed,x,y\n0,1,2\n0,3,2\n0,2,2\n", "x of seed 0 to increase, got 2 in .*line 4"),
        ("seed,x,y\n0,1,2\n0,2,2\n1,1,2\n0,1,2\n", "x of seed 0 .*got 1 in .*line 5"),
        ("seed,x,y\n", "and rows in"),
    ],
)
def test_a_damaged_file_is_named_by_its_line(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_curves(tmp_path / "a.csv", "x", "y")


def test_all_recorded_curves_can_be_read():
    read = 0
    for path in (runtime.ROOT / "results").glob("*.csv"):
        columns = path.read_text(encoding="utf-8").split("\n", 1)[0].split(",")
        if {"seed", "agent_steps", "greedy_mean"} <= set(columns):
            load_curves(path, "agent_steps", "greedy_mean")
            read += 1
    assert read > 30


def test_one_odd_value_does_not_spoil_the_means_after_it():
    for odd in (np.nan, 1e300):
        means = moving_mean([1.0, odd, 2.0, 4.0, 6.0], 2)
        assert means[3:].tolist() == [3.0, 5.0]
    assert len(moving_mean([], 3)) == 0


def test_a_figure_stays_in_its_folder(build):
    figure, _ = plt.subplots()
    with pytest.raises(ValueError, match="expected a path inside"):
        show(figure, "../../a")
    plt.close(figure)


def test_learning_curve_draws_episodes_mean_goal_and_band():
    band = {0: (np.array([1, 2]), np.array([0, 1])), 1: (np.array([1, 2]), np.array([2, 3]))}
    figure = plot_learning_curve([1, 2, 3], title="t", ylabel="y", goal=2, band=band)
    axes = figure.axes[0]
    labels = axes.get_legend_handles_labels()[1]
    of_mine = ["one episode", "mean of the last 100", "goal: 2"]
    assert labels == ["range of 2 seeds", "their median", *of_mine]
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("t", "episode", "y")
    plt.close(figure)


def test_band_spans_the_seeds():
    figure, axes = plt.subplots()
    plot_band(axes, {0: ([1, 3], [0, 2]), 1: ([1, 2], [5, 5])}, "band")
    heights = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (0, 5)
    middle = axes.lines[0].get_xydata().tolist()
    assert middle == [[1, 2.5], [2, 3], [3, 3.5]]  # a seed that ended is held at its last value
    plt.close(figure)


def test_a_script_saves_its_figures(build, capsys):
    figure, _ = plt.subplots()
    show(figure, "name")
    assert (build / "figures" / "name.png").exists() and "name.png" in capsys.readouterr().out
    assert plt.get_fignums() == []


def test_live_curve_keeps_its_rate(monkeypatch, capsys, build):
    now = [0.0]
    monkeypatch.setattr(plotting.time, "monotonic", lambda: now[0])
    live = LiveCurve("name", every=2.0, title="t", ylabel="y")
    for _ in range(100):
        now[0] += 0.5
        live.update([1.0, 2.0], "half way")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and lines[0] == "episode 2: recent mean 1.5  half way"  # every 10 s
    live.close([1.0, 2.0])
    assert (build / "figures" / "name.png").exists()


def test_live_curve_updates_one_figure_in_a_notebook(monkeypatch):
    shown = []

    class Handle:
        def update(self, figure, metadata):
            shown.append(("update", metadata["image/png"]["alt"]))

    def display(figure, display_id, metadata):
        shown.append(("display", metadata["image/png"]["alt"]))
        return Handle()

    monkeypatch.setattr(plotting, "in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", display)
    live = LiveCurve("name", every=0.0, title="t", ylabel="y")
    live.update([])  # nothing to draw yet
    live.update([1.0])
    live.update([1.0, 2.0])
    live.close([1.0, 2.0])
    assert shown == [(kind, "figure: t") for kind in ("display", "update", "update")]
    assert plt.get_fignums() == []


X = np.arange(1.0, 101.0)
SEEDS = {seed: (X, X + 5 * seed) for seed in range(4)}  # from X to X + 15
HOW = dict(title="t", xlabel="episodes", ylabel="y")
FELL = {**{seed: (X, np.minimum(3 * X, 190 + seed)) for seed in range(9)}, 9: (X, 0 * X + 9)}


def verdict_on(x, y, recorded=SEEDS):
    figure, verdict = is_mine_normal((x, y), recorded, **HOW)
    plt.close(figure)
    return verdict


@pytest.mark.parametrize(
    "y, said",
    [
        (X + 7, "normal: 100% of it lies within the range of the 4 recorded seeds"),
        (X - 20, "not normal: below all of the 4 recorded seeds since 1 episodes"),
        (np.where(X < 61, X + 5, 40.0), "below all of the 4 recorded seeds since 61 episodes"),
        (np.where(X < 61, 500.0, 0.0), "not normal"),
        (X + 40, "better than usual: 100%"),
        (np.where(X < 61, X - 20, X + 5), "normal by now: 60%"),
        (np.where(X == 100, 0.0, X + 7), "normal: 99%"),  # one bad point says little
        (np.where(X == 50, 0.0, X + 7), "normal: 99%"),
    ],
)
def test_a_curve_is_judged_by_the_recorded_seeds(y, said):
    assert said in verdict_on(X, y)


def test_the_figure_names_what_it_shows():
    figure, _ = is_mine_normal((X, X), SEEDS, **HOW)
    assert figure.axes[0].get_legend_handles_labels()[1] == [
        "range of the 4 recorded seeds",
        "their median",
        "mine",
    ]
    plt.close(figure)


@pytest.mark.parametrize("y", [0 * X + 9, np.where(X < 70, np.minimum(3 * X, 195), 9.0)])
def test_one_failed_seed_does_not_make_failing_normal(y):
    assert "rare: at its end as low as 1 of the 10 recorded seeds" in verdict_on(X, y, FELL)
    assert "normal: 100%" in verdict_on(X, FELL[3][1], FELL)


def test_a_short_training_is_not_judged():
    said = "too early to say: train on, to 20 episodes at least"
    assert verdict_on(X[:10], 0 * X[:10]) == said
    early = {seed: (X[:5] * 100, X[:5]) for seed in range(4)}
    assert "too early to say: below all" in verdict_on(np.array([200.0]), np.array([-9.0]), early)


def test_recorded_seeds_may_all_be_equal():
    same = {seed: (X, 0 * X + 200) for seed in range(3)}
    assert "normal: 100%" in verdict_on(X, 0 * X + 199.99, same)


def test_nothing_to_judge_by():
    with pytest.raises(ValueError, match=r"expected at least 3 recorded seeds .* got 1 seed"):
        verdict_on(X, X, {0: (X, X)})
    with pytest.raises(ValueError, match=r"0 x and 0 y"):
        verdict_on([], [])
    with pytest.raises(ValueError, match=r"100 x and 99 y"):
        verdict_on(X, X[1:])
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match=r"expected finite numbers, got .*50"):
            verdict_on(X, np.where(X == 50, bad, X))
