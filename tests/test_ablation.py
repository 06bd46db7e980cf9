"""Ablations: intervals that cover what they say, figures worked out by hand."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from benchmarks import ablate
from helpers.ablation import bootstrap_interval, draw_curves, figures_per_seed, print_table
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
        print_table({"one": CURVES, "two": {0: CURVES[0]}}, 5.0, np.random.default_rng(0))


def test_table_by_hand(capsys):
    better = {seed: (x, y + 3) for seed, (x, y) in CURVES.items()}  # both are solved at 20 and 10
    print_table({"one": CURVES, "two": better}, 5.0, np.random.default_rng(0))
    head, one, two, _, _, minus = capsys.readouterr().out.splitlines()
    assert one.split("  ")[0].startswith("one") and "1/2" in one and ">= 25 (20 to 30)" in one
    assert "2/2" in two and ">=" not in two and two.split()[-1] == "5"  # the worst last one
    assert minus.count("+3 (+3 to +3)") == 2  # area and last differ by 3 in every seed
    assert one.index(">= 25") > head.index("solved at") and len(minus) <= 100 >= len(one)


def test_table_with_decimals_has_whole_agent_steps(capsys):
    print_table({"one": CURVES, "two": CURVES}, 5.0, np.random.default_rng(0), digits=1)
    _, one, *_, minus = capsys.readouterr().out.splitlines()
    assert ">= 25 (20 to 30)" in one and "2.5 (2.0 to 3.0)" in one and one.split()[-1] == "2.0"
    assert "+0 (+0 to +0)" in minus and minus.count("+0.0 (+0.0 to +0.0)") == 2


def test_table_fits_on_a_page(capsys):
    far = {seed: (10_000 * STEPS, -10 - y) for seed, (_, y) in CURVES.items()}  # never solved
    print_table({"+ prioritized": far, "all": far}, 5.0, np.random.default_rng(0), digits=1)
    head, one, _, _, _, minus = capsys.readouterr().out.splitlines()
    assert ">= 300,000 (300,000 to 300,000)  -12.5 (" in one and len(one) <= 110
    for column in ("area", "last"):  # the means stand below each other
        at = head.index(column)
        assert one[at : at + 5] == "-12.5" and minus[at : at + 5] == " +0.0", column


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
        short = replace(config, agent_steps=config.learn_start + 100, select_every=10**6)
        run = nb["train"](short, 0)
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
