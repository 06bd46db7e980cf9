"""Every exercise of every notebook: right answers pass, usual mistakes are told apart."""

import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

from exercises import WrongAnswer, call, compare, exercise
from exercises.cartpole import check_columns
from exercises.pong import check_transitions
from exercises.target_network import check_greedy, check_soft_update, check_td_loss
from tests.exercises import (
    answers_apex,
    answers_cartpole,
    answers_double_dueling,
    answers_faster,
    answers_pong,
    answers_prioritized_nstep,
    answers_q_table,
    answers_rainbow,
    answers_target_network,
)
from tests.exercises.kinds import KINDS, changed
from tests.exercises.stubborn import BATCHES, EXEMPT, FEWEST, FRACTIONS, STUBBORN
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
    answers_apex,
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


FORMS = {
    "numpy, 32 bits": lambda x: np.asarray(x, np.float32),
    "numpy, 64 bits": lambda x: np.asarray(x, np.float64),
    "torch, 32 bits": lambda x: torch.tensor(x, dtype=torch.float32),
    "torch, 64 bits": lambda x: torch.tensor(x, dtype=torch.float64),
    "Python": lambda x: x.tolist(),
}
ONE_FORM = (check_td_loss, check_greedy, check_transitions)  # a gradient, actions, a mask
ANY_FORM = [c for c in CHECKS if c in FRACTIONS + BATCHES and c not in ONE_FORM]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("check, right", [(c, f) for c, fs in RIGHT for f in fs if c in ANY_FORM])
def test_right_answers_pass_in_any_form(check, right, form, capsys):
    assert check(changed(right, FORMS[form])) is True, capsys.readouterr().out


@pytest.mark.parametrize("check, kind, what, answer", STUBBORN)
def test_stubborn_answers_are_refused(check, kind, what, answer, capsys):
    assert check(answer) is False, capsys.readouterr().out
    assert torch.is_grad_enabled()


def test_every_kind_of_stubborn_answer_is_tried_on_every_check_it_applies_to():
    tried = {kind: {check for check, k, *_ in STUBBORN if k == kind} for kind in KINDS}
    for kind, exempt in EXEMPT.items():
        assert set(CHECKS) - tried[kind] == exempt, kind
    for kind, fewest in FEWEST.items():
        assert len(tried[kind]) >= fewest, kind
    assert set(EXEMPT) | set(FEWEST) == set(KINDS)


@pytest.mark.parametrize("check", CHECKS)
def test_a_check_is_quick_and_gives_the_same_answer_again(check, capsys):
    right = dict(RIGHT)[check][0]
    said = []
    for _ in range(2):
        started = time.perf_counter()
        check(right)
        seconds = time.perf_counter() - started
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] and seconds < 0.6  # 0.3 on a machine with nothing else to do


@pytest.mark.parametrize("check", CHECKS)
def test_an_unsolved_exercise_is_open_and_stops_nothing(check, capsys):
    assert check(lambda *arguments: ...) is None
    assert check(lambda *arguments: None) is None
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
    def begun(*arguments):
        raise NotImplementedError

    assert check(begun) is None
    assert "still open" in capsys.readouterr().out


def test_what_torch_has_not_implemented_is_an_error(capsys):
    def subtracted(*arguments):
        raise NotImplementedError("Subtraction with a bool tensor is not supported.")

    assert check_columns(subtracted) is False
    assert "raised NotImplementedError: Subtraction with a bool" in capsys.readouterr().out


def test_a_change_in_place_without_a_return_is_named(capsys):
    def clipped(values):
        values[:] = np.clip(values, -1, 1)

    @exercise
    def check_clip(function):
        call(function, np.array([-3.0, 0.5]))

    assert check_clip(clipped) is False
    assert "is a `return` missing?" in capsys.readouterr().out


def test_the_random_numbers_of_the_learner_go_on_as_before():
    def draws(*arguments):
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
