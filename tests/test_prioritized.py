"""Prioritized replay: the tree against slow sums, frequencies by χ², keys that outlive the ring."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import prioritized
from helpers.prioritized import PrioritizedFrameReplayMemory, PrioritizedReplayMemory, SumTree
from tests.faults import planted
from tests.test_replay import H, W, play
from tools.definitions import define


def rng(seed=0):
    return np.random.default_rng(seed)


def chi_square(counts, expected):
    """χ² of observed against expected counts, over the cells that should not be empty."""
    assert counts[expected == 0].sum() == 0
    there = expected > 0
    return float(((counts - expected)[there] ** 2 / expected[there]).sum()), int(there.sum()) - 1


def assert_frequencies(counts, shares):
    """No worse than 5 standard deviations of χ² (its variance is twice the degrees of freedom)."""
    value, freedom = chi_square(counts, counts.sum() * shares)
    assert value <= freedom + 5 * np.sqrt(2 * freedom), f"χ² = {value:.0f} at {freedom}"


# --- SumTree ----------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(
    capacity=st.integers(1, 40),
    writes=st.lists(
        st.lists(st.tuples(st.integers(0, 39), st.integers(0, 1000)), max_size=8), max_size=10
    ),
    data=st.data(),
)
def test_tree_holds_the_sums_and_finds_as_a_slow_search_does(capacity, writes, data):
    tree, plain = SumTree(capacity), np.zeros(capacity)
    for write in writes:
        index = np.array([i % capacity for i, _ in write], np.int64)
        priority = np.array([p for _, p in write], float)
        tree[index] = priority
        for i, p in zip(index, priority, strict=True):  # of a repeated index the last one counts
            plain[i] = p
    np.testing.assert_array_equal(tree[np.arange(capacity)], plain)
    assert tree.total == plain.sum()
    if plain.sum() > 0:
        mass = data.draw(st.integers(0, int(plain.sum()) - 1)) + 0.5
        assert tree.find([mass])[0] == np.searchsorted(np.cumsum(plain), mass, side="right")


@pytest.mark.parametrize("capacity", [1, 5, 64, 1_000])
def test_indices_come_as_often_as_their_priority_says(capacity):
    priority = rng(1).random(capacity) ** 3
    priority[:: max(capacity // 7, 2)] = 0.0  # these must never come
    if capacity == 1:
        priority[:] = 2.0
    tree = SumTree(capacity)
    tree[np.arange(capacity)] = priority
    drawn = np.concatenate([tree.draw(32, rng(seed)) for seed in range(3_000)])
    assert_frequencies(np.bincount(drawn, minlength=capacity), priority / priority.sum())


def test_a_draw_takes_one_from_each_share():
    tree = SumTree(8)
    tree[np.arange(8)] = np.ones(8)
    for seed in range(50):
        np.testing.assert_array_equal(np.sort(tree.draw(8, rng(seed))), np.arange(8))


def test_rounding_does_not_lead_to_a_priority_of_zero():
    tree = SumTree(3)  # a fourth leaf exists and is always 0
    tree[np.arange(3)] = [0.1, 0.2, 0.3]
    assert tree.find([tree.total, tree.total * (1 + 1e-9), 0.0]).tolist() == [2, 2, 0]
    tree[0] = 0.0
    assert tree.find([0.0])[0] == 1


@pytest.mark.parametrize("capacity, leaves", [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (64, 64)])
def test_a_tree_is_no_larger_than_it_needs_to_be(capacity, leaves):
    tree = SumTree(capacity)
    assert (tree._first_leaf, tree._node.size) == (leaves, 2 * leaves)


def test_a_tree_of_tiny_priorities_can_be_drawn_from():
    tree = SumTree(4)
    tree[2] = 1e-300
    assert tree.draw(3, rng()).tolist() == [2, 2, 2]


def test_the_largest_priorities_that_are_allowed_have_a_finite_sum():
    tree, largest = SumTree(4), np.finfo(float).max / 4
    tree[np.arange(4)] = np.full(4, largest)
    assert np.isfinite(tree.total) and tree[3] == largest


def test_sums_do_not_drift():
    tree, numbers = SumTree(1_000), rng(0)
    for _ in range(2_000):
        tree[numbers.integers(0, 1_000, 64)] = 10.0 ** numbers.uniform(-9, 9, 64)
    tree[np.arange(1_000)] = np.ones(1_000)
    assert tree.total == 1_000.0


@pytest.mark.parametrize("priority", [np.nan, np.inf, -1.0, 1e308])
def test_bad_priorities_are_refused_and_change_nothing(priority):
    tree = SumTree(4)
    tree[2] = 1.0
    with pytest.raises(ValueError, match=r"priorities in \[0, 4e\+307\], got"):
        tree[[0, 1]] = [1.0, priority]
    assert tree.total == 1.0


@pytest.mark.parametrize(
    "index, message",
    [
        (4, r"indices in 0\.\.3"), (-1, r"indices in 0\.\.3"), ([0, -4], r"indices in 0\.\.3"),
        ([True, False, True, False], "whole numbers as indices, got bool"),
        (1.0, "whole numbers as indices, got float64"),
    ],
)  # fmt: skip
def test_bad_indices_are_refused_for_reading_and_writing(index, message):
    tree = SumTree(4)
    tree[2] = 1.0
    with pytest.raises(ValueError, match=message):
        tree[index] = 7.0
    with pytest.raises(ValueError, match=message):
        tree[index]
    assert tree.total == 1.0


@pytest.mark.parametrize("mass", [np.nan, -0.1, 1.1, np.inf])
def test_numbers_beyond_the_total_are_not_found(mass):
    tree = SumTree(4)
    tree[2] = 1.0
    with pytest.raises(ValueError, match=r"numbers in \[0, 1\], got"):
        tree.find([0.5, mass])


def test_a_tree_of_zeros_cannot_be_drawn_from():
    with pytest.raises(ValueError, match="above 0"):
        SumTree(4).draw(1, rng())


# --- PrioritizedReplayMemory ------------------------------------------------------------------


def filled(count=10, capacity=10, **how):
    memory = PrioritizedReplayMemory(capacity, rng(), **how)
    for i in range(count):
        memory.push(np.array([i]), i % 2, float(i), np.array([i + 1]), False)
    return memory


def test_shares_and_weights_by_hand():
    """|errors| 1 and 4, alpha 0.5: priorities 1 and 2, shares 1/3 and 2/3."""
    memory = filled(2, 2, alpha=0.5, epsilon=1e-12)
    memory.update_priorities([[0, 1], [1, 1]], [-1.0, 4.0])
    drawn = [memory.sample(2, beta=1.0) for _ in range(3_000)]
    slots = np.concatenate([sample.keys[:, 0] for sample in drawn])
    assert slots.mean() == pytest.approx(2 / 3, abs=0.02)
    # (N P)^-1: 1 / (2/3) = 1.5 and 1 / (4/3) = 0.75; divided by the larger: 1 and 0.5
    both = next(sample for sample in drawn if set(sample.keys[:, 0]) == {0, 1})
    assert dict(zip(both.keys[:, 0], both.weight, strict=True)) == pytest.approx({0: 1.0, 1: 0.5})
    half = memory.priorities.weights(np.array([0, 1]), len(memory), 0.5)
    assert half == pytest.approx([1.0, 0.5**0.5])
    assert memory.priorities.weights(np.array([0, 1]), len(memory), 0.0).tolist() == [1.0, 1.0]
    assert half.dtype == np.float32


def test_alpha_zero_draws_uniformly():
    memory = filled(alpha=0.0)
    memory.update_priorities(memory.sample(10, 1.0).keys, rng().random(10) * 100)
    slots = np.concatenate([memory.sample(10, 1.0).keys[:, 0] for _ in range(500)])
    assert_frequencies(np.bincount(slots, minlength=10), np.full(10, 0.1))
    assert (memory.sample(10, 1.0).weight == 1.0).all()


def test_weights_undo_the_bias():
    """With beta 1 the weighted mean over draws is the mean over the memory."""
    memory, errors = filled(), np.arange(10) ** 2 + 1.0
    memory.update_priorities(np.stack([np.arange(10), np.ones(10, int)], 1), errors)
    total = weights = 0.0
    for _ in range(5_000):
        slots = memory.priorities.tree.draw(10, memory.rng)
        weight = 1 / memory.priorities.tree[slots]
        total, weights = total + (weight * slots).sum(), weights + weight.sum()
    assert total / weights == pytest.approx(4.5, abs=0.15)
    sample = memory.sample(10, 1.0)
    exact = 1 / memory.priorities.tree[sample.keys[:, 0]]
    assert sample.weight == pytest.approx(exact / exact.max(), rel=1e-5)


def test_new_transitions_get_the_highest_priority_so_far():
    memory = filled(3, 10, alpha=1.0, epsilon=0.5)
    memory.update_priorities(memory.sample(3, 1.0).keys, [2.0, 7.0, 1.0])
    memory.push(np.array([3]), 0, 0.0, np.array([4]), False)
    assert memory.priorities.tree[3] == 7.5
    memory.update_priorities([[3, 1]], [0.0])
    assert memory.priorities.tree[3] == 0.5  # an error of 0 does not make it unreachable
    memory.push(np.array([4]), 0, 0.0, np.array([5]), False)
    assert memory.priorities.tree[4] == 7.5  # the largest of the whole past, not of the last batch


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_the_first_transitions_have_priority_one(alpha):
    memory = filled(2, 10, alpha=alpha)
    assert memory.priorities.tree[[0, 1]].tolist() == [1, 1]
    memory.update_priorities([[0, 1], [1, 1]], [0.25, 0.5])
    memory.push(np.array([2]), 0, 0.0, np.array([3]), False)
    assert memory.priorities.tree[2] == 1.0  # no error was larger


@pytest.mark.parametrize(
    "kind, arguments",
    [
        (PrioritizedReplayMemory, dict(capacity=10)),
        (PrioritizedFrameReplayMemory, dict(capacity=10, num_envs=1)),
    ],
)
def test_settings_go_by_name_and_have_these_values_by_themselves(kind, arguments):
    memory = kind(**arguments, rng=rng())
    memory.priorities.enter(np.arange(2))
    memory.update_priorities([[0, 1], [1, 1]], [0.0, 3.0])
    assert memory.priorities.tree[[0, 1]] == pytest.approx([0.001**0.6, 3.001**0.6])
    with pytest.raises(TypeError, match="positional"):
        kind(*arguments.values(), rng(), 0.6)


def test_a_priority_that_comes_too_late_is_dropped():
    memory = filled(10, 10, alpha=1.0)
    keys = memory.sample(10, 1.0).keys
    memory.push(np.array([99]), 0, 0.0, np.array([100]), False)  # overwrites slot 0
    before = memory.priorities.tree[0]
    memory.update_priorities(keys, np.full(10, 50.0))
    assert (
        memory.priorities.tree[0] == before
        and (memory.priorities.tree[keys[keys[:, 0] > 0, 0]] > 50).all()
    )


@settings(max_examples=50, deadline=None)
@given(capacity=st.integers(1, 12), pushes=st.integers(1, 40), seed=st.integers(0, 99))
def test_draws_are_the_newest_transitions_and_their_keys_fit(capacity, pushes, seed):
    memory = PrioritizedReplayMemory(capacity, rng(seed))
    for i in range(pushes):
        memory.push(np.array([i]), 0, float(i), np.array([i]), False)
        sample = memory.sample(1, 0.5)
        memory.update_priorities(sample.keys, rng(i).normal(size=1))
    sample = memory.sample(min(capacity, pushes), 0.5)
    rewards = np.array([t.reward for t in sample.batch])
    assert (rewards > pushes - 1 - capacity).all()
    np.testing.assert_array_equal(sample.keys[:, 0], rewards % capacity)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda m: m.update_priorities(m.sample(2, 1.0).keys, [1.0, np.nan]), "diverges"),
        (lambda m: m.update_priorities(m.sample(2, 1.0).keys, [1.0]), r"shape \(2,\)"),
        (lambda m: m.sample(2, 1.5), "beta in"),
        (lambda m: m.sample(2, -0.5), "beta in"),
        (lambda m: m.sample(11, 1.0), "batch_size <= 10"),
        (lambda m: PrioritizedReplayMemory(5, rng(), alpha=2), "alpha in"),
        (lambda m: PrioritizedReplayMemory(5, rng(), alpha=1.1), "alpha in"),
        (lambda m: PrioritizedReplayMemory(5, rng(), alpha=-0.1), "alpha in"),
        (lambda m: PrioritizedReplayMemory(5, rng(), epsilon=0), "epsilon > 0"),
    ],
)
def test_what_is_refused_is_named(change, message):
    memory = filled()
    before = memory.priorities.tree[np.arange(10)].copy()
    with pytest.raises(ValueError, match=message):
        change(memory)
    np.testing.assert_array_equal(memory.priorities.tree[np.arange(10)], before)


# --- PrioritizedFrameReplayMemory -------------------------------------------------------------

GAMES = [[(5, "terminated"), (7, "truncated")], [(4, "truncated"), (9, "terminated")]]


def frames(pushes=60, capacity=60, **how):
    memory = PrioritizedFrameReplayMemory(
        capacity, 2, rng(), frame_shape=(H, W), n_step=3, gamma=0.5, **how
    )
    return memory, play(memory, GAMES, pushes)


def go_on(memory, pushes):
    """Continue both games, without an end."""
    for _ in range(pushes):
        stacks = np.concatenate([memory._seen[:, 1:], np.ones((2, 1, H, W), np.uint8)], 1)
        memory.push(stacks, np.zeros(2, int), np.zeros(2), *np.zeros((2, 2), bool))


def test_new_frames_get_the_highest_priority_so_far():
    memory, _ = frames(pushes=20, capacity=200, alpha=0.5, epsilon=0.5)
    memory.update_priorities(memory.sample(4, 1.0).keys, np.full(4, 8.5))
    go_on(memory, 2)
    newest = np.arange(2) * memory._slots + (memory._head - 1) % memory._slots
    assert memory.priorities.tree[newest] == pytest.approx(9.0**0.5)


def names(obs):
    """What the newest picture says: which game, which moment."""
    return (obs[:, -1, 0].astype(int) * [10_000, 250, 1]).sum(1)


def test_frames_are_rebuilt_and_drawn_by_priority():
    memory, references = frames(alpha=1.0, epsilon=1e-9)
    allowed = {names(row.obs[None])[0]: row for r in references for row in r.rows(3, 0.5)}
    wanted = {name: 1.0 + name % 7 for name in allowed}
    for _ in range(200):  # every transition gets its own priority
        sample = memory.sample(16, 0.5)
        drawn = names(sample.batch.obs)
        assert set(drawn) <= set(allowed), "drawn, but no transition of the games"
        memory.update_priorities(sample.keys, [wanted[name] for name in drawn])
    counts = dict.fromkeys(allowed, 0)
    for _ in range(3_000):
        sample = memory.sample(16, 0.5)
        for name in names(sample.batch.obs):
            assert name in allowed, "drawn, but no transition of the games"
            counts[name] += 1
    for k, name in enumerate(names(sample.batch.obs)):
        row = allowed[name]
        assert sample.batch.action[k] == row.action
        assert sample.batch.reward[k] == pytest.approx(row.reward)
        assert sample.batch.discount[k] == pytest.approx(row.discount)
    shares = np.array([wanted[name] for name in counts])
    assert_frequencies(np.array(list(counts.values())), shares / shares.sum())


def test_a_ring_that_is_not_full_is_drawn_from_as_well():
    """Before and after the first ends; every row is one of the games, and all of them come."""
    for pushes in (5, 12, 25):
        memory, references = frames(pushes=pushes, capacity=200)
        rows = {names(row.obs[None])[0]: row for r in references for row in r.rows(3, 0.5)}
        drawn = set()
        for _ in range(60):
            sample = memory.sample(4, 0.5)
            env, slot = np.divmod(sample.keys[:, 0], memory._slots)
            np.testing.assert_array_equal(memory._frame[env, slot], sample.batch.obs[:, -1])
            for name, action, reward in zip(
                names(sample.batch.obs), sample.batch.action, sample.batch.reward, strict=True
            ):
                assert name in rows, "drawn, but no transition of the games"
                assert (action, reward) == (rows[name].action, rows[name].reward)
                drawn.add(name)
        assert drawn == set(rows)


def test_frame_after_a_truncation_has_no_priority():
    memory, _ = frames()
    env, slot = np.nonzero(memory._is_last_frame)
    assert len(env) and (memory.priorities.tree[env * memory._slots + slot] == 0).all()


def test_priorities_are_those_of_transitions_after_every_push():
    """Above 0 where a slot holds a transition, else 0, from the first push on."""
    last_frames = []
    for pushes in range(1, 26):
        memory, _ = frames(pushes=pushes)
        used = np.arange(memory._slots) < memory._count[:, None]  # the ring is not full yet
        has_priority = memory.priorities.tree[np.arange(2 * memory._slots)] > 0
        np.testing.assert_array_equal(
            has_priority.reshape(2, -1), used & ~memory._is_last_frame, f"after {pushes} pushes"
        )
        last_frames.append(memory._is_last_frame.sum(1).tolist())
    assert last_frames[0] == [0, 0] and min(last_frames[-1]) >= 1


def test_late_priorities_of_frames_are_dropped():
    memory, _ = frames(pushes=200)  # the ring has gone round
    keys = memory.sample(32, 1.0).keys
    go_on(memory, 60)
    tree = memory.priorities.tree
    before = tree[np.arange(tree.capacity)].copy()
    memory.update_priorities(keys, np.full(32, 1e6))
    np.testing.assert_array_equal(tree[np.arange(tree.capacity)], before)


def test_nothing_complete_is_named():
    memory, _ = frames(pushes=2)
    with pytest.raises(ValueError, match="not complete: push more"):
        memory.sample(1, 0.5)


# --- faults that are often made, planted ------------------------------------------------------

FAULTS = {  # (text, broken text, the test that must notice)
    "weights not normalised": ("weight / weight.max()", "weight", test_shares_and_weights_by_hand),
    "priority written after the ring has moved on": (
        "here = self.written[slots] == written",
        "here = slots >= 0",
        test_a_priority_that_comes_too_late_is_dropped,
    ),
    "new transitions come last": (
        "self.largest**self.alpha",
        "0.001",
        test_new_transitions_get_the_highest_priority_so_far,
    ),
    "new transitions come after the last batch": (
        "max(self.largest, priority.max())",
        "priority.max()",
        test_new_transitions_get_the_highest_priority_so_far,
    ),
    "alpha forgotten": (
        "self.tree[slots] = priority**self.alpha",
        "self.tree[slots] = priority",
        test_shares_and_weights_by_hand,
    ),
    "sign of the error kept": ("np.abs(np.asarray(errors, float))", "np.asarray(errors, float)",
                               test_shares_and_weights_by_hand),
    "frames: priority entered for the wrong game": (
        "self.priorities.enter(env * self._slots + slot)",
        "self.priorities.enter(0 * env + slot)",
        test_frames_are_rebuilt_and_drawn_by_priority,
    ),
    "frames: transitions drawn that are not complete": (
        "np.flatnonzero(~self._is_complete(env, offset))",
        "np.empty(0, int)",
        test_frames_are_rebuilt_and_drawn_by_priority,
    ),
    "frames: the picture after a truncation taken for a transition": (
        "newest[env]] = np.zeros(len(env))", "newest[env]] += 0.0",
        test_frame_after_a_truncation_has_no_priority,
    ),
    "frames: priority written after the ring has moved on": (
        "here = self.written[slots] == written",
        "here = slots >= 0",
        test_late_priorities_of_frames_are_dropped,
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:invalid value")  # a fault takes the root of a negative error
@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_noticed(monkeypatch, fault):
    text, broken, notice = FAULTS[fault]
    source = inspect.getsource(prioritized)
    wrong = define(planted(source, text, broken), ["Priorities", "SumTree", "Sample",
                   "PrioritizedReplayMemory", "PrioritizedFrameReplayMemory"])  # fmt: skip
    for memory in ("PrioritizedReplayMemory", "PrioritizedFrameReplayMemory"):
        monkeypatch.setitem(globals(), memory, wrong[memory])
    with pytest.raises((AssertionError, ValueError)):
        notice()
