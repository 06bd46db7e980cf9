"""Every exercise of every notebook: right answers pass, usual mistakes are told apart."""

from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

from exercises import WrongAnswer, call, compare, exercise
from exercises.cartpole import check_columns
from exercises.target_network import check_soft_update
from tests.exercises import (
    answers_cartpole,
    answers_double_dueling,
    answers_faster,
    answers_pong,
    answers_prioritized_nstep,
    answers_q_table,
    answers_rainbow,
    answers_target_network,
)
from tools import execute as tool

ROOT = Path(__file__).resolve().parent.parent.parent

ANSWERS = (
    answers_q_table,
    answers_cartpole,
    answers_target_network,
    answers_pong,
    answers_double_dueling,
    answers_prioritized_nstep,
    answers_rainbow,
    answers_faster,
)
RIGHT = [case for module in ANSWERS for case in module.RIGHT]
WRONG = [case for module in ANSWERS for case in module.WRONG]
CHECKS = [check for check, _ in RIGHT]


def test_every_exercise_has_enough_answers():
    assert [check for check, _ in WRONG] == CHECKS
    assert all(len(functions) >= 3 for _, functions in RIGHT)
    assert all(len(functions) >= 4 for _, functions in WRONG)


@pytest.mark.parametrize("check, function", [(c, f) for c, fs in RIGHT for f in fs])
def test_right_answers_pass(check, function, capsys):
    solved, said = check(function), capsys.readouterr().out
    assert solved is True and "✓" in said, said


@pytest.mark.parametrize(
    "check, hint, function", [(c, h, f) for c, fs in WRONG for h, f in fs.items()]
)
def test_usual_mistakes_are_told_apart(check, hint, function, capsys):
    solved, said = check(function), capsys.readouterr().out
    assert solved is False and "✗" in said and hint in said, said


@pytest.mark.parametrize("check", CHECKS)
def test_an_unsolved_exercise_is_open_and_stops_nothing(check, capsys):
    assert check(lambda *given: ...) is None
    assert check(lambda *given: None) is None
    assert "still open" in capsys.readouterr().out


def test_an_assignment_to_the_loop_variable_is_named(capsys):
    def rebound(target_net, q_net, tau):
        for p, q in zip(target_net.parameters(), q_net.parameters(), strict=True):
            p = (1 - tau) * p + tau * q

    assert check_soft_update(rebound) is None
    assert "loop variable" in capsys.readouterr().out


def test_the_line_shown_is_the_learners(capsys):
    def my_rows(transitions):
        return np.stack([np.zeros(2), np.zeros(3)])  # numpy raises, deep inside

    assert check_columns(my_rows) is False
    said = capsys.readouterr().out
    assert "at: return np.stack" in said


def test_an_error_that_cannot_be_shown_stops_nothing(capsys):
    class Odd(Exception):
        def __str__(self):
            raise RuntimeError

    def my_rows(transitions):
        raise Odd

    assert check_columns(my_rows) is False
    assert "raised Odd: (its message cannot be shown)" in capsys.readouterr().out


@pytest.mark.parametrize("check", CHECKS)
def test_not_implemented_is_open(check, capsys):
    def begun(*given):
        raise NotImplementedError

    assert check(begun) is None
    assert "still open" in capsys.readouterr().out


def test_a_change_in_place_without_a_return_is_told(capsys):
    def clipped(values):
        values[:] = np.clip(values, -1, 1)

    @exercise
    def check_clip(function):
        call(function, np.array([-3.0, 0.5]))

    assert check_clip(clipped) is False
    assert "is a `return` missing?" in capsys.readouterr().out


def test_the_random_numbers_of_the_learner_go_on_as_before():
    def draws(*given):
        torch.rand(5)

    torch.manual_seed(0)
    check_soft_update(draws)
    after = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(after, torch.rand(3))


@pytest.mark.parametrize(
    "how, message",
    [
        ({}, "with 8 in place 8, got 7 there"),
        ({"asked": [f"value {n}" for n in range(10)]}, "8 for value 8, got 7"),
    ],
)
def test_the_first_place_that_differs_is_shown(how, message):
    got = np.arange(10.0)
    got[8] = 7
    with pytest.raises(WrongAnswer, match=message):
        compare(got, np.arange(10.0), "numbers", **how)


@pytest.mark.parametrize("name", tool.names())
def test_unsolved_cells_say_what_the_notebook_shows(name, capsys):
    """The cells of the exercises as they stand, against their recorded outputs."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    space = {check.__name__: check for check in CHECKS} | {"np": np, "torch": torch}
    cells = [c for c in notebook.cells if any(f"\n{n}(" in c.source for n in space)]
    assert len(cells) >= 3
    for cell in cells:
        exec(cell.source, space)
        said = capsys.readouterr().out
        assert "still open" in said
        assert said == "".join(output.text for output in cell.outputs)
