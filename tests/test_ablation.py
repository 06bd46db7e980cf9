"""Ablations: intervals that cover what they say, figures worked out by hand."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import stats

from benchmarks import ablate
from helpers.ablation import (
    bootstrap_interval,
    draw_curves,
    figures_per_seed,
    holm,
    interquartile_mean,
    paired_p_value,
    show_differences,
    show_levels,
)
from helpers.runtime import ROOT


def test_bootstrap_interval_has_the_width_of_the_standard_error():
    values = np.random.default_rng(0).normal(5.0, 2.0, 100)
    low, high = bootstrap_interval(values, np.random.default_rng(1))
    error = values.std() / 10
    assert low < values.mean() < high
    assert (high - low) / error == pytest.approx(2 * 1.96, rel=0.05)
    assert bootstrap_interval([3.0, 3.0], np.random.default_rng(0)) == (3.0, 3.0)


def test_bootstrap_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        low, high = bootstrap_interval(rng.normal(size=20), rng, level=0.8, draws=400)
        hits += low < 0 < high
    assert 0.70 < hits / 300 < 0.86  # a little below 0.8 for 20 values


@pytest.mark.parametrize("values", [[1.0], [1.0, np.nan], [[1.0, 2.0]]])
def test_bootstrap_interval_refuses(values):
    with pytest.raises(ValueError, match="finite values"):
        bootstrap_interval(values, np.random.default_rng(0))
    with pytest.raises(ValueError, match="level"):
        bootstrap_interval([1.0, 2.0], np.random.default_rng(0), level=95)


STEPS = np.array([10.0, 20.0, 30.0])
CURVES = {0: (STEPS, np.array([1.0, 5.0, 3.0])), 1: (STEPS, np.array([2.0, 2.0, 2.0]))}


def test_figures_by_hand():
    found = figures_per_seed(CURVES, 5.0)
    assert found["solved"].tolist() == [True, False]
    assert found["solved_at"].tolist() == [20.0, 30.0]  # never: the whole budget
    assert found["area"].tolist() == [3.0, 2.0] and found["last"].tolist() == [3.0, 2.0]


def test_seeds_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="same agent steps"):
        figures_per_seed({**CURVES, 2: (STEPS + 1, STEPS)}, 5.0)
    with pytest.raises(ValueError, match="same seeds"):
        show_differences({"one": CURVES, "two": {0: CURVES[0]}}, 5.0, np.random.default_rng(0))


def test_levels_by_hand(capsys):
    show_levels({"one": CURVES}, 5.0, np.random.default_rng(0), digits=1)
    head, one = capsys.readouterr().out.splitlines()
    assert "1/2" in one and "2.5 (2.0 to 3.0)" in one and "≥ 25 (20 to 30)" in one
    assert "IQM" in head and one.startswith("one")


def test_differences_by_hand(capsys):
    better = {seed: (x, y + 3) for seed, (x, y) in CURVES.items()}  # both are solved at 20 and 10
    corrected = show_differences({"one": CURVES, "two": better}, 5.0, np.random.default_rng(0))
    head, two = capsys.readouterr().out.splitlines()
    assert head.startswith("minus one") and two.count("+3 (+3 to +3)") == 2
    assert "≤ -10 (-20 to +0)" in two  # the first was never solved on one seed: a bound
    assert set(corrected) == {("two", c) for c in ("area", "last", "solved_at")}
    assert "*" not in two  # two seeds prove nothing


def test_a_large_difference_on_many_seeds_has_a_star(capsys):
    rng = np.random.default_rng(0)
    x = np.arange(1.0, 4.0)
    one = {seed: (x, rng.normal(size=3)) for seed in range(20)}
    two = {seed: (x, y + 3 + rng.normal(size=3)) for seed, (_, y) in one.items()}
    same = {seed: (x, y + rng.normal(size=3)) for seed, (_, y) in one.items()}
    variants = {"one": one, "two": two, "same": same}
    corrected = show_differences(variants, 100.0, rng, digits=1)
    _, starred, plain = capsys.readouterr().out.splitlines()
    assert starred.count("*") == 2 and "*" not in plain and "≈ +0 (+0 to +0)" in plain
    assert corrected["two", "area"] < 0.01 and corrected["same", "area"] > 0.05


def test_holm_by_hand():
    corrected = holm([0.01, 0.04, 0.03, 0.5])
    assert corrected == pytest.approx([0.04, 0.09, 0.09, 0.5])  # 4·0.01, 3·0.03 twice, 1·0.5
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]


def test_the_paired_test_by_hand():
    assert paired_p_value([1.0, 2.0, 3.0]) == 2 / 8  # 2 of the 8 sign patterns
    assert paired_p_value([3.0, -1.0]) == 1.0  # 2, 4, 4 and 2 in size: none is below 2
    assert paired_p_value([0.0, 0.0]) == 1.0
    assert paired_p_value(np.arange(1.0, 21.0)) == 2 / 2**20
    values = np.random.default_rng(3).normal(0.5, 1, 11)
    expected = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=2**11, vectorized=True
    )
    assert paired_p_value(values) == pytest.approx(expected.pvalue)
    for bad in (np.ones(25), [1.0, np.nan]):
        with pytest.raises(ValueError, match="expected at most 24 finite differences"):
            paired_p_value(bad)


def test_interquartile_mean_by_hand():
    assert interquartile_mean(np.array([0.0, 1.0, 3.0, 1000.0])) == 2.0
    low, high = bootstrap_interval(
        [0.0] * 10 + [1000.0], np.random.default_rng(0), statistic=interquartile_mean
    )
    assert low == 0.0 and high < 1000


def test_figure_shows_every_variant():
    figure = draw_curves({"one": CURVES, "two": CURVES}, 5.0, "points")
    assert [axes.get_title() for axes in figure.axes] == ["one", "two"]
    plt.close(figure)
    seven = draw_curves({str(i): CURVES for i in range(7)}, 5.0, "points")
    assert [axes.get_title() for axes in seven.axes if axes.get_visible()] == list("0123456")
    assert len({axes.get_position().y0 for axes in seven.axes}) == 2  # in two rows
    plt.close(seven)


@pytest.mark.parametrize("which", ["05", "06", "07"])
def test_every_variant_trains(which):
    nb = ablate.load(which)
    for name, config in ablate.variants_of(which, nb).items():
        short = replace(config, agent_steps=config.learn_start + 100)  # before any evaluation
        run = nb.get("train_variant", nb["train"])(short, 0)
        assert run.brain.updates > 0, name


@pytest.mark.parametrize("which", sorted(ablate.NOTEBOOKS))
def test_recorded_curves_have_the_settings_of_the_notebook(which):
    now, recorded, path = ablate.settings(which, ROOT / "results")
    start = path.name.removesuffix("settings.json")
    assert recorded == {n: now[n] for n in now if path.with_name(f"{start}{n}.csv").exists()}


def test_curves_of_other_settings_are_not_continued(tmp_path, monkeypatch, capsys):
    _, _, path = ablate.settings("05", tmp_path)
    path.write_text('{"dqn": {"gamma": 0.5}}')
    monkeypatch.setattr("sys.argv", ["ablate", "05", "--resume", "--folder", str(tmp_path)])
    with pytest.raises(SystemExit):
        ablate.main()
    assert "other settings" in capsys.readouterr().err


def test_recorded_curves_are_written_on_request_only(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(ablate, "ROOT", tmp_path)
    monkeypatch.setattr(ablate, "ProcessPoolExecutor", ThreadPoolExecutor)
    monkeypatch.setattr(ablate, "train", lambda *run: [(0, 2_500, 9.0, 1.0, 1.0)])
    monkeypatch.setattr(ablate, "save_curves", lambda path, *rest: saved.append(path))
    for extra in ([], ["--record"]):
        monkeypatch.setattr(
            "sys.argv", ["ablate", *["05", "--variants", "dqn", "--seeds", "1"], *extra]
        )
        ablate.main()
    folders = [tmp_path / "build" / "results", tmp_path / "results"]
    assert saved == [folder / "05_dqn.csv" for folder in folders]


def ablate_in_threads(monkeypatch, folder, train):
    """Run the command for one seed of DQN, with a stand-in for the training."""
    monkeypatch.setattr(ablate, "ProcessPoolExecutor", ThreadPoolExecutor)
    monkeypatch.setattr(ablate, "train", train)
    command = "ablate 05 --variants dqn --seeds 1 --folder"
    monkeypatch.setattr("sys.argv", [*command.split(), str(folder)])
    ablate.main()


def test_settings_are_recorded_with_the_curves_and_not_before(tmp_path, monkeypatch):
    now, _, path = ablate.settings("05", tmp_path)
    path.write_text('{"dqn": {"gamma": 0.5}}')

    def stopped(*run):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ablate_in_threads(monkeypatch, tmp_path, stopped)
    assert ablate.settings("05", tmp_path)[1] == {"dqn": {"gamma": 0.5}}  # as the old curves
    ablate_in_threads(monkeypatch, tmp_path, lambda *run: [(0, 2_500, 9.0, 1.0, 1.0)])
    assert ablate.settings("05", tmp_path)[1] == {"dqn": now["dqn"]}
    assert list(ablate.finished(tmp_path / "05_dqn.csv")) == [0]
