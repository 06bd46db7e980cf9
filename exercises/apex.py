"""Checks for notebook 09: exploration, first priorities, late ones, publishing, taking turns."""

import reprlib

import numpy as np
import torch

from exercises import (
    WrongAnswer,
    agree,
    as_array,
    call,
    call_all,
    call_each,
    compare,
    exercise,
)

DIVISOR = "What does your function divide by if n = 1?"


@exercise
def check_epsilon(function):
    """``function(i, n)``: ε of actor i = 0 … n − 1.

    The exponents go from 1 to 8. A lone actor (n = 1) gets the middle of them: 0.4 ** 4.5, about
    0.0162.
    """
    rng = np.random.default_rng(0)
    cases = [(i, 4) for i in range(4)] + [(0, 2), (1, 2), (17, 360), (359, 360)]
    cases += [(i, n) for n in (3, 5, 8, 16) for i in (0, 1, n - 1)]
    cases += [(int(rng.integers(n)), int(n)) for n in rng.integers(2, 500, 12)]
    i, n = np.array(cases).T
    gaps = n - 1
    share = i / gaps
    expected = 0.4 ** (1 + 7 * share)
    mistakes = [
        (
            "Actor 0 should explore most, the last one least; yours is in the reverse order.",
            0.4 ** (1 + 7 * (1 - share)),
        ),
        ("The last actor has i = n − 1, so its fraction i / n is not 1.", 0.4 ** (1 + 7 * i / n)),
        ("Actors count from 0, not from 1.", 0.4 ** (1 + 7 * (i + 1) / n)),
        ("Actors count from 0, not from 1.", 0.4 ** (1 + 7 * (i - 1) / gaps)),
        ("Actors count from 0, not from 1.", 0.4 ** (1 + 7 * (i + 1) / gaps)),
        ("The 1 in the exponent is missing.", 0.4 ** (7 * share)),
        ("Only 7 · i is divided, the 1 is not.", 0.4 ** ((1 + 7 * i) / gaps)),
        ("The exponent is not divided by anything yet.", 0.4 ** (1.0 + 7 * i)),
        ("The 1 belongs to the exponent: are brackets missing?", 0.4 + 7 * share),
        ("That multiplies by 0.4; it should be a power of 0.4.", 0.4 * (1 + 7 * share)),
        (
            "The exponents are evenly spaced, not the values of ε.",
            0.4 + (0.4**8 - 0.4) * share,
        ),
        ("The exponent need not be whole: use `/`, not `//`.", 0.4 ** (1.0 + 7 * i // gaps)),
        ("The exponent need not be whole: use `/`, not `//`.", 0.4 ** (1.0 + 7 * (i // gaps))),
        (
            "The number of actors is fixed in your function; it is an argument.",
            0.4 ** (1 + 7 / 3 * i),
        ),
    ]
    lone, middle = "actor 0 of 1", "A lone actor gets the middle, exponent 4.5."
    lone_mistakes = [
        (
            "That is the start of the schedule, as if i / (n − 1) were 0: the lone actor would "
            f"play almost half of its steps at random.\n  {middle}",
            [0.4],
        ),
        (
            "That is the end of the schedule, as if i / (n − 1) were 1: the lone actor would "
            f"hardly explore.\n  {middle}",
            [0.4**8],
        ),
        (
            "Take the middle of the exponents, 1 and 8, not of the values of ε.",
            [(0.4 + 0.4**8) / 2],
        ),
        ("The exponents begin with 1, not with 0: 4.5 is the middle of 1 and 8.", [0.4**3.5]),
        ("The exponent need not be whole: 4.5 is the middle of 1 and 8.", [0.4**4]),
        ("The exponent need not be whole: 4.5 is the middle of 1 and 8.", [0.4**5]),
        ("That is the exponent; ε is 0.4 to the power of it.", [4.5]),
        (f"Then the lone actor would never explore.\n  {middle}", [0.0]),
        (f"Then the lone actor would play all of its steps at random.\n  {middle}", [1.0]),
    ]
    asked = [f"actor {a} of {b}" for a, b in cases]
    try:
        function(0, 1)
    except ZeroDivisionError as error:
        raise WrongAnswer(f"{lone}: {error}.\n  {DIVISOR}") from error
    got = as_array(call_each(function, [*cases, (0, 1)], [*asked, lone]))
    compare(got[:-1], expected, "ε", mistakes, asked)  # however the lone actor is treated
    try:
        if np.isnan(got[-1]):
            raise WrongAnswer(f"expected ε: {0.4**4.5:.6g} for {lone}, got nan.\n  {DIVISOR}")
        compare(got[-1:], [0.4**4.5], "ε", lone_mistakes, [lone])
    except WrongAnswer as wrong:
        text = str(wrong).removesuffix(".")
        end = "" if text.endswith("?") else "."
        raise WrongAnswer(f"{text}{end}\n  With several actors your ε is right.") from None


@exercise
def check_initial_priorities(function):
    """``function(q, action, reward, discount, next_q)``: |TD error| of each transition, (B,).

    q and next_q (B, A), action (B,) int64, reward and discount (B,); the discount is 0 after an
    end. The function must leave these tensors as they are: the actor has yet to send them.
    """
    q = torch.tensor([[1.0, 2.0], [0.5, -1.0], [3.0, 2.5], [-2.0, -1.5]])
    next_q = torch.tensor([[2.0, 1.0], [4.0, 3.0], [1.5, 3.5], [-1.0, -3.0]])
    reward, discount = torch.tensor([1.0, 0.5, -1.0, 2.0]), torch.tensor([0.9, 0.0, 0.9, 0.5])
    _check_initial(function, q, torch.tensor([0, 1, 0, 1]), reward, discount, next_q)
    torch.manual_seed(0)
    for size, actions, shift, ended in (
        (4, 2, 0.0, 0.4),
        (4, 2, -4.0, 0.0),  # the best next value is negative, too
        (1, 2, 0.0, 0.0),
        (1, 3, -3.0, 1.0),
        (3, 3, -5.0, 0.3),
        (6, 4, 3.0, 0.3),
        (50, 6, 0.0, 0.2),
        (5, 1, 1.0, 0.3),
        (7, 18, 0.0, 1.0),
        (2, 3, 0.0, 0.0),
    ):
        q, next_q = torch.randn(size, actions) + shift / 2, torch.randn(size, actions) + shift
        reward, discount = 2 * torch.randn(size), 0.5 + 0.5 * torch.rand(size)
        discount *= torch.rand(size) >= ended
        action = torch.randint(actions, (size,))
        if size == 6:
            reward = reward.round()  # whole numbers, as in Pong
        if size == 7:
            q, next_q, reward = q.round(), next_q.round(), reward.round()
        if size == 2:
            discount = torch.ones(2)
        if size == 50:  # the same transition twice, and different ones with the same reward
            for column in (q, action, reward, discount, next_q):
                column[7] = column[3]
            reward[20:30] = 1.0
        _check_initial(function, q, action, reward, discount, next_q)


def _check_initial(function, *inputs):
    """``check_initial_priorities`` for one batch."""
    q, action, reward, discount, next_q = inputs
    rows = torch.arange(len(q))
    chosen, best = q[rows, action], next_q.amax(dim=1)
    error = reward + discount * best - chosen
    mistakes = [
        ("A priority has no sign: take the absolute value.", error),
        ("A priority has no sign: take the absolute value.", -error),
        ("The next value is not discounted.", (reward + best - chosen).abs()),
        (
            "The discount is 0 after an end, but it is also smaller than 1 elsewhere.",
            (reward + (discount > 0) * best - chosen).abs(),
        ),
        (
            "The reward is not discounted, only the next value.",
            (discount * (reward + best) - chosen).abs(),
        ),
        (
            "Subtract Q of the action that was played, not the largest.",
            (reward + discount * best - q.amax(dim=1)).abs(),
        ),
        (
            "The next value is that of the *best* next action, not of the action just played.",
            (reward + discount * next_q[rows, action] - chosen).abs(),
        ),
        (
            "The best next action is the one with the largest `next_q`; yours comes from `q`.",
            (reward + discount * next_q[rows, q.argmax(dim=1)] - chosen).abs(),
        ),
        (
            "The next value is the largest in its own row, not in the whole batch.",
            (reward + discount * next_q.max() - chosen).abs(),
        ),
        (
            "The next value is the largest one, not the mean.",
            (reward + discount * next_q.mean(dim=1) - chosen).abs(),
        ),
        (
            "The best next value can be negative; yours is never below 0.",
            (reward + discount * best.clamp(min=0) - chosen).abs(),
        ),
        ("The reward is missing.", (discount * best - chosen).abs()),
        (
            "That is the target; the error is its distance from Q of the action.",
            (reward + discount * best).abs(),
        ),
        (
            "That is the target; the error is its distance from Q of the action.",
            reward + discount * best,
        ),
        ("Take the absolute value of the error, not its square.", error**2),
        ("Take the absolute value of the error, not its square.", error**2 / 2),
        ("That is the mean; expected one priority for each transition.", error.abs().mean()),
    ]
    changed = []

    def watched(*copies):
        answer = function(*copies)
        names = "q", "action", "reward", "discount", "next_q"
        for name, before, after in zip(names, inputs, copies, strict=True):
            if not torch.equal(before, after):
                changed.append(name)
        return answer

    got = as_array(call(watched, *inputs))
    if got.shape == (len(q), len(q)) and len(q) > 1:
        raise WrongAnswer(
            f"expected priorities of shape ({len(q)},), got shape {got.shape}.\n  Each transition "
            "meets every other one: did a shape (B, 1) meet a shape (B,), or is it `q[:, action]`?"
        )
    compare(got, error.abs(), "priorities", mistakes)
    if changed:
        raise WrongAnswer(
            f"the priorities are right, but your function has changed `{changed[0]}`.\n  The actor "
            "sends these tensors to the replay memory; compute in new ones."
        )


@exercise
def check_late_priorities(function):
    """``function(priority, written, keys, new)``: priorities (S,) after some came back late.

    priority (S,) and written (S,): of the slots; keys (B, 2): slot, and how often it had been
    written when it was drawn; new (B,). A slot that was drawn twice has equal keys and equal new
    priorities, so their order does not matter. Changing ``priority`` in place is fine.
    """
    rng = np.random.default_rng(0)
    cases = [
        (
            np.array([0.5, 1.0, 0.2, 0.8, 0.4]),
            np.array([3, 1, 2, 2, 1]),  # slot 0 was written twice meanwhile, slot 2 once
            np.array([[3, 2], [0, 1], [4, 1], [2, 1]]),
            np.array([0.35, 0.9, 0.75, 0.6]),
        ),
        (np.array([0.7]), np.array([2]), np.array([[0, 2]]), np.array([0.15])),
        (np.array([0.7]), np.array([2]), np.array([[0, 1]]), np.array([0.15])),
        (
            np.array([2.0, 1, 4, 3, 0]),  # whole numbers; the last slot is still empty
            np.array([7, 7, 6, 6, 0]),
            np.array([[1, 7], [3, 6], [0, 3]]),
            np.array([2.5, 1.25, 0.5]),
        ),
        (  # one slot twice; equal new priorities of different slots
            np.ones(4),
            np.full(4, 5),
            np.array([[2, 5], [0, 5], [2, 5], [3, 5]]),
            np.array([0.0, 3, 0, 3]),
        ),
    ]
    for slots, size, late in (
        (8, 8, 0.5),
        (30, 12, 0.3),
        (3, 6, 0.5),
        (6, 4, 0.0),
        (6, 4, 1.0),
        (40, 1, 0.0),
        (200, 64, 0.6),
    ):
        written = rng.integers(2, 9, slots)
        missed = rng.integers(1, written) * (rng.random(slots) < late)
        drawn = rng.integers(slots, size=size)
        keys = np.stack([drawn, (written - missed)[drawn]], axis=1)
        cases.append((2 * rng.random(slots), written, keys, (2 * rng.random(slots))[drawn]))
    answers = [call(function, *inputs) for inputs in cases]
    mistakes = [_late_mistakes(*inputs) for inputs in cases]
    fits = [
        all(agree(as_array(got), as_array(m)) for got, (_, m) in zip(answers, same, strict=True))
        for same in zip(*mistakes, strict=True)
    ]
    first = np.argsort(np.logical_not(fits), kind="stable")  # those that explain all the answers
    for (priority, written, keys, new), got, hints in zip(cases, answers, mistakes, strict=True):
        valid = written[keys[:, 0]] == keys[:, 1]
        expected = _after(priority, keys[valid, 0], new[valid])
        compare(got, expected, "priorities", [hints[k] for k in first])


def _after(priority, slots, new):
    """Priorities with some of them replaced, in order."""
    found = priority.copy()
    for slot, value in zip(slots, new, strict=True):
        found[slot] = value
    return found


def _late_mistakes(priority, written, keys, new):
    """Usual mistakes of ``check_late_priorities`` for one batch."""
    slots, counts = keys.T
    missed = written[slots] - counts  # how often each slot was written since it was drawn
    valid = missed == 0
    expected = _after(priority, slots[valid], new[valid])
    raised = np.maximum(new, priority[slots])
    return [
        (
            "A slot that was written meanwhile holds another transition, and the late priority is "
            "not its own.",
            _after(priority, slots, new),
        ),
        (
            "The other way round: drop those whose slot *was* written meanwhile.",
            _after(priority, slots[~valid], new[~valid]),
        ),
        ("No new priority was stored, but some are still valid.", priority),
        (
            "One slot that was written meanwhile does not make the rest of the batch invalid.",
            _after(priority, [] if missed.any() else slots, [] if missed.any() else new),
        ),
        (
            "One valid key does not make the rest of the batch valid.",
            _after(priority, slots if valid.any() else [], new if valid.any() else []),
        ),
        (
            "Writing a slot once is enough to replace its transition.",
            _after(priority, slots[missed < 2], new[missed < 2]),
        ),
        (
            "Off by one: compare the two counts as they are.",
            _after(priority, slots[missed == 1], new[missed == 1]),
        ),
        (
            "Drop the new priority, but leave the one that the slot has now.",
            _after(priority, slots, np.where(valid, new, 0.0)),
        ),
        (
            "Drop the new priority, but leave the one that the slot has now.",
            _after(priority, slots, np.where(valid, new, priority.max())),
        ),
        (
            "After some keys are dropped, the others no longer match `new`: drop the same places "
            "there.",
            _after(priority, slots[valid], new[: valid.sum()]),
        ),
        (
            "A priority may also fall; yours only rise.",
            _after(priority, slots[valid], raised[valid]),
        ),
        (
            "The new priority replaces the old one; yours adds them.",
            _after(priority, slots[valid], (priority[slots] + new)[valid]),
        ),
        ("Return the priorities of all slots, not only of those in the batch.", expected[slots]),
        ("Return the priorities of all slots, not only the new ones.", new[valid]),
    ]


def _truth(answer, shape, asked):
    """Whatever an ``if`` accepts (bool, number, array or tensor without dimensions) as bools."""
    try:
        found = as_array(answer).astype(float)
    except WrongAnswer:
        found = np.array(np.nan)
    if found.shape != shape or np.isnan(found).any():
        wanted = "a pair, each of them True or False," if shape else "True or False"
        raise WrongAnswer(f"expected {wanted} for {asked}, got {reprlib.repr(answer)}")
    return found.astype(bool)


@exercise
def check_due(function):
    """``function(before, after, every)``: does a multiple of ``every`` lie in (before, after]?"""
    rng = np.random.default_rng(0)
    cases = [(0, 16, 20), (16, 32, 20), (32, 48, 20), (48, 64, 50), (16, 32, 40), (0, 16, 16)]
    cases += [(96, 112, 100), (100, 116, 100), (84, 100, 100), (99, 100, 100), (100, 101, 100)]
    cases += [(0, 16, 5), (16, 32, 4), (32, 48, 16), (3, 4, 1), (32, 32, 16), (33, 33, 16)]
    cases += [(31, 31, 16)]
    cases += [(18, 71, 50), (55, 108, 50), (0, 7, 16), (0, 300, 100), (5, 105, 100), (70, 80, 9)]
    cases += [(999_990, 1_000_006, 2_500), (1_000_006, 1_000_022, 2_500), (70_000, 70_016, 10_000)]
    for every in rng.integers(1, 60, 40).tolist():
        before = int(rng.integers(0, 500))
        cases.append((before, before + int(rng.integers(1, 40)), every))
    before, after, every = np.array(cases).T
    expected = after // every > before // every
    mistakes = [
        (
            "Several updates arrive at once, so the count may jump over a multiple.",
            after % every == 0,
        ),
        (
            "A multiple may lie between two counts that are closer together than `every`.",
            after - before >= every,
        ),
        (
            "A multiple at `before` was reached by the call before; one at `after` is reached now.",
            -(-after // every) > -(-before // every),
        ),
        (
            "A multiple at `before` was reached by the call before; it must not count twice.",
            (before % every == 0) | expected,
        ),
        (
            "A multiple that is reached exactly, at `after`, counts as well.",
            (after - 1) // every > before // every,
        ),
        (
            "The count may pass a multiple and still leave a larger remainder than before.",
            after % every < before % every,
        ),
        (
            "That is True for any progress: `/` leaves fractions, so the quotient always grows.",
            after > before,
        ),
        ("That stays True for good once `every` is reached.", after >= every),
        (
            "That notices only the first multiple; there are more, 2 · `every`, 3 · `every`, …",
            (before < every) & (every <= after),
        ),
        (
            "That becomes True half-way between two multiples: do not round the quotients.",
            np.round(after / every) > np.round(before / every),
        ),
        (
            "The number of updates that arrive at once may differ; yours is always 16.",
            after % every < 16,
        ),
        ("The other way round.", ~expected),
        ("That is always True.", np.full(len(cases), True)),
        ("That is always False.", np.full(len(cases), False)),
    ]
    asked = [f"before = {b}, after = {a}, every = {e}" for b, a, e in cases]
    answers = call_all(function, cases, asked)
    got = np.array([_truth(answer, (), what) for answer, what in zip(answers, asked, strict=True)])
    if (got == expected).all():
        return
    first = int((got != expected).argmax())
    message = f"expected {expected[first]} for {asked[first]}, got {got[first]}"
    hints = [f".\n  {hint}" for hint, mistaken in mistakes if (got == mistaken).all()]
    raise WrongAnswer(message + "".join(hints[:1]))


def _turn_cases():
    """(agent steps, updates, ratio, band): where a turn begins or ends, and elsewhere."""
    rng = np.random.default_rng(0)
    cases = [(1_000, updates, 0.25, 32) for updates in (218, 217, 219, 249, 250, 251, 0, 900)]
    cases += [(0, 0, 0.5, 8), (0, 1, 0.5, 8), (40, 0, 0.25, 10), (40, 0, 0.25, 9)]
    cases += [(1_001, updates, 0.25, 32) for updates in (250, 218, 219, 251)]  # 250.25 are due
    cases += [(1_003, updates, 0.25, 16) for updates in (250, 234, 235, 251)]
    cases += [(800, updates, 0.5, 0) for updates in (399, 400, 401)]
    cases += [(100, updates, 2.0, 4) for updates in (195, 196, 199, 200, 201)]
    cases += [(64, 64 + extra, 1.0, 8) for extra in (-9, -8, -1, 0, 8, 9)]
    cases += [(1_000_000, 250_000 + extra, 0.25, 1_000) for extra in (-1_001, -1_000, -1, 0)]
    for ratio in (0.125, 0.25, 0.5, 2.0):  # exact in binary, so that = can be met
        for _ in range(6):
            steps, band = 8 * int(rng.integers(100, 500)), int(rng.integers(1, 60))
            missing = int(rng.choice([band, band + 1, 0, 1, -1, rng.integers(-band, 2 * band)]))
            cases.append((steps, int(ratio * steps) - missing, ratio, band))
    for ratio in (0.1, 0.3, 0.7):  # not exact, so = is avoided
        for steps in (1_003, 2_009, 41):
            band = int(rng.integers(0, 20))
            due = int(ratio * steps)
            cases += [(steps, max(due - band + extra, 0), ratio, band) for extra in (-1, 0, 1)]
            cases += [(steps, due + extra, ratio, band) for extra in (0, 1)]
    return cases


@exercise
def check_turns(function):
    """``function(agent_steps, updates, ratio, band)``: (may the actors play, may it learn)."""
    cases = _turn_cases()
    steps, updates, ratio, band = np.array(cases).T
    due = ratio * steps
    missing = due - updates

    def turns(missing, band=band):
        return missing <= band, missing > 0

    plays, learns = turns(missing)
    both, first, second = slice(None), 0, 1
    mistakes = [  # (hint, part of the pair, that part)
        ("The actors come first in the pair, then the learner.", both, (learns, plays)),
        ("Both answers are the other way round.", both, (~plays, ~learns)),
        (
            "`ratio` is the number of updates per agent step: how many are due?",
            both,
            turns(steps / ratio - updates),
        ),
        ("The ratio is not used.", both, turns(steps - updates)),
        (
            "The ratio is fixed in your function; it is an argument.",
            both,
            turns(steps / 4 - updates),
        ),
        (
            "The updates due need not be a whole number; yours are cut off.",
            both,
            turns(np.floor(due) - updates),
        ),
        (
            "The updates due need not be a whole number; yours are rounded.",
            both,
            turns(np.round(due) - updates),
        ),
        (
            "If exactly `band` updates are missing, the actors may still play.",
            first,
            missing < band,
        ),
        (
            "The actors may play on while a few updates are missing: `band` is not used.",
            first,
            missing <= 0,
        ),
        (
            "The band is fixed in your function; it is an argument.",
            first,
            missing <= 32,
        ),
        (
            "The actors wait only while updates are missing, not when there are too many.",
            first,
            abs(missing) <= band,
        ),
        ("The band counts updates, not agent steps.", first, missing <= ratio * band),
        (
            "The band allows for missing updates, not for extra ones.",
            first,
            -missing >= band,
        ),
        ("That is when the actors have to wait.", first, ~plays),
        (
            "The actors may always play in yours: they would leave the learner behind.",
            first,
            plays | True,
        ),
        ("The actors may never play in yours.", first, plays & False),
        ("Once all the updates due are made, the learner waits.", second, missing >= 0),
        (
            "The learner may learn as soon as an update is due; actors and learner can work at the "
            "same time.",
            second,
            missing > band,
        ),
        (
            "The learner may learn as soon as an update is due; actors and learner can work at the "
            "same time.",
            second,
            missing >= band,
        ),
        (
            "The band is for the actors; the learner never makes more updates than are due.",
            second,
            missing > -band,
        ),
        (
            "The band is for the actors; the learner never makes more updates than are due.",
            second,
            missing >= -band,
        ),
        ("That is when the learner has to wait.", second, ~learns),
        (
            "The learner may always learn in yours, even without new transitions.",
            second,
            learns | True,
        ),
        ("The learner may never learn in yours.", second, learns & False),
    ]
    asked = [
        f"{s:,} agent steps, {u:,} updates, ratio {r:g} and band {b:,}" for s, u, r, b in cases
    ]
    answers = call_all(function, cases, asked)
    got = np.array([_truth(answer, (2,), a) for answer, a in zip(answers, asked, strict=True)])
    expected = np.stack([plays, learns], axis=1)
    wrong = got != expected
    if not wrong.any():
        return
    k, hint = int(wrong.any(axis=1).argmax()), ""
    for said, part, mistaken in mistakes:
        if wrong[:, part].any() and (got[:, part] == np.transpose(mistaken)).all():
            k, hint = int(wrong[:, part].reshape(len(cases), -1).any(axis=1).argmax()), said
            break
    pair, found = tuple(expected[k].tolist()), tuple(got[k].tolist())
    hint = hint or f"{due[k]:,g} updates are due then."
    raise WrongAnswer(f"expected {pair} for {asked[k]}, got {found}.\n  {hint}")
