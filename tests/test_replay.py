"""Replay memories against slow references made of plain lists."""

import inspect
from collections import deque, namedtuple

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import replay
from helpers.replay import FrameReplayMemory, ReplayMemory, Transition
from tests.faults import planted
from tools.definitions import define

H, W = 2, 3  # of the pictures in these tests
JUNK = 999.0  # reward of the autoreset steps of these tests; it must never come back


def rng(seed=0):
    return np.random.default_rng(seed)


def transition(i):
    return Transition(np.array([i]), i % 2, float(i), np.array([i + 1]), i % 5 == 0)


# --- ReplayMemory ---------------------------------------------------------------------------


@given(capacity=st.integers(1, 20), pushes=st.integers(0, 60))
def test_ring_keeps_the_newest_and_drops_the_oldest_first(capacity, pushes):
    memory, reference = ReplayMemory(capacity, rng()), deque(maxlen=capacity)
    for i in range(pushes):
        memory.push(*transition(i))
        reference.append(float(i))
        assert len(memory) == len(reference)
        assert sorted(t.reward for t in memory._ring) == list(reference)


@given(pushes=st.integers(1, 30))
def test_what_is_pushed_comes_back_whole(pushes):
    memory = ReplayMemory(10, rng())
    for i in range(pushes):
        memory.push(*transition(i))
    for got in memory.sample(min(5, len(memory))):
        assert isinstance(got, Transition)
        expected = transition(int(got.reward))
        np.testing.assert_array_equal(got.obs, expected.obs)
        np.testing.assert_array_equal(got.next_obs, expected.next_obs)
        assert (got.action, got.terminated) == (expected.action, expected.terminated)


def test_sampling_is_seeded_and_uniform():
    memories = [ReplayMemory(50, rng(seed)) for seed in (1, 1, 2)]
    for memory in memories:
        for i in range(80):
            memory.push(*transition(i))
    draws = [[t.reward for _ in range(200) for t in memory.sample(50)] for memory in memories]
    assert draws[0] == draws[1] != draws[2]
    counts = np.bincount(np.array(draws[0], int), minlength=80)[30:]
    chi_square = ((counts - 200) ** 2 / 200).sum()
    assert chi_square < 86  # 49 degrees of freedom: 0.1 % lie above


@pytest.mark.parametrize("capacity", [0, -1, 2.5, True, "10", None])
def test_capacity_must_be_a_count(capacity):
    with pytest.raises(ValueError, match="expected capacity to be a whole number >= 1, got"):
        ReplayMemory(capacity, rng())


@pytest.mark.parametrize("generator", [42, None, np.random, np.random.RandomState(0)])
def test_the_generator_must_be_one(generator):
    with pytest.raises(ValueError, match=r"np.random.default_rng\(seed\), got \w+"):
        ReplayMemory(10, generator)


def test_what_is_refused_is_named_and_not_stored():
    memory = ReplayMemory(10, rng())
    memory.push(*transition(0))
    with pytest.raises(ValueError, match="expected batch_size <= 1 stored transitions, got 2"):
        memory.sample(2)
    with pytest.raises(ValueError, match="expected batch_size to be a whole number >= 1, got 0"):
        memory.sample(0)
    with pytest.raises(ValueError, match=r"next_obs of shape \(4,\), got \(3,\)"):
        memory.push(np.zeros(4), 0, 0.0, np.zeros(3), False)
    for reward in (np.nan, np.inf, -np.inf, 1e39):
        with pytest.raises(ValueError, match=r"expected a finite reward \(in float32\), got"):
            memory.push(np.zeros(4), 0, reward, np.zeros(4), False)
    for reward in (None, "1", 1j, [1.0], np.ones(2), np.array(1.0)):
        with pytest.raises(ValueError, match="expected the reward to be one real number, got"):
            memory.push(np.zeros(4), 0, reward, np.zeros(4), False)
    for terminated in (None, np.nan, "False", 0, 1.0, [True]):
        with pytest.raises(ValueError, match="expected terminated to be True or False, got"):
            memory.push(np.zeros(4), 0, 0.0, np.zeros(4), terminated)
    for obs, next_obs in ((np.nan, 0), (0, np.nan), (np.inf, 0)):
        with pytest.raises(ValueError, match="expected finite observations"):
            memory.push(np.full(4, obs), 0, 0.0, np.full(4, next_obs), False)
    assert len(memory) == 1


def test_numpy_numbers_and_flags_are_welcome():
    memory = ReplayMemory(10, rng())
    memory.push(np.zeros(4), 0, np.float32(0.5), np.zeros(4), np.bool_(True))
    memory.push(np.zeros(4), 0, np.int64(2), np.zeros(4), np.False_)
    memory.push(np.zeros(4), 0, 2, np.zeros(4), False)
    assert [(t.reward, t.terminated) for t in memory._ring] == [(0.5, True), (2, False), (2, False)]


def test_what_is_pushed_is_copied():
    memory, obs, next_obs = ReplayMemory(10, rng()), np.zeros(4), np.ones(4)
    memory.push(obs, 0, 0.0, next_obs, False)
    obs[:], next_obs[:] = 7, 8  # as an environment that reuses its arrays does
    (stored,) = memory.sample(1)
    assert stored.obs.tolist() == [0] * 4 and stored.next_obs.tolist() == [1] * 4


# --- FrameReplayMemory: games and a reference -------------------------------------------------


class Game:
    """Plays out given episodes, and shows their ends as Gymnasium's vector environments do.

    No two pictures are alike, so a stack tells which game and which moments it is from.
    """

    def __init__(self, episodes, stack, name):
        self.episodes, self.stack, self.name, self.clock = deque(episodes), stack, name, 0
        self.begin()

    def begin(self):
        self.length, self.end = self.episodes[0]
        self.episodes.rotate(-1)
        self.turns, self.over = 0, False
        self.obs = np.zeros((self.stack, H, W), np.uint8)
        self.show()

    def show(self):
        self.clock += 1
        picture = np.full((1, H, W), self.name + 1, np.uint8)
        picture[0, 0, 1:] = divmod(self.clock, 250)
        self.obs = np.concatenate([self.obs[1:], picture])

    def step(self):
        """Return terminated, truncated, and whether this was the autoreset step."""
        if self.over:
            self.begin()
            return False, False, True
        self.turns += 1
        self.show()
        self.over = self.turns == self.length
        return self.over and self.end != "truncated", self.over and self.end != "terminated", False


Step = namedtuple("Step", "obs action reward next_obs terminated truncated turn")
Row = namedtuple("Row", "obs action reward next_obs discount")


class Reference:
    """Everything one environment showed, in a list, and slow look-ups in it.

    Entries are steps, and None for the last frame of a truncated episode, which takes a place
    in the ring as well. ``slots`` entries fit.
    """

    def __init__(self, slots, stack):
        self.entries, self.slots, self.stack, self.turn = [], slots, stack, 0

    def add(self, obs, action, reward, next_obs, terminated, truncated, is_reset):
        if is_reset:
            self.turn = 0
            if self.entries[-1].truncated:
                self.entries.append(None)
            return
        truncated = truncated and not terminated
        step = Step(obs, action, reward, next_obs, terminated, truncated, self.turn)
        self.entries.append(step)
        self.turn += 1

    def kept(self):
        return range(max(0, len(self.entries) - self.slots), len(self.entries))

    def __len__(self):
        return sum(self.entries[i] is not None for i in self.kept())

    def rows(self, n_step, gamma):
        """Every transition that can be sampled now, oldest first."""
        rows = []
        for start in self.kept():
            first = self.entries[start]
            if first is None or start - min(first.turn, self.stack - 1) not in self.kept():
                continue  # no transition, or a part of its stack is overwritten
            total, at = 0.0, start
            for m in range(1, n_step + 1):
                step = self.entries[at]
                total += gamma ** (m - 1) * step.reward
                at += 1
                if step.terminated:
                    rows.append(Row(first.obs, first.action, total, None, 0.0))
                    break
                if at == len(self.entries):
                    break  # what follows has not been pushed
                if step.truncated or m == n_step:
                    rows.append(Row(first.obs, first.action, total, step.next_obs, gamma**m))
                    break
        return rows


def all_rows(memory):
    """Every transition that the memory could draw, oldest first, by environment."""
    env, offset = np.nonzero(np.arange(memory._slots) < memory._count[:, None])
    ready = memory._is_complete(env, offset)
    return env[ready], memory._gather(env[ready], offset[ready])


def play(memory, envs, pushes, seed=0):
    """Play these episodes (length, end) of every environment; return the references."""
    numbers = rng(seed)
    games = [Game(episodes, memory.stack, i) for i, episodes in enumerate(envs)]
    references = [Reference(memory._slots, memory.stack) for _ in games]
    obs = np.stack([game.obs for game in games])
    for _ in range(pushes):
        action = numbers.integers(0, 256, len(games))
        terminated, truncated, is_reset = np.array([game.step() for game in games]).T
        reward = np.where(is_reset, JUNK, numbers.integers(-8, 9, len(games)))
        memory.push(obs, action, reward, terminated, truncated)
        next_obs = np.stack([game.obs for game in games])
        columns = (obs, action, reward, next_obs, terminated, truncated, is_reset)
        for reference, *column in zip(references, *columns, strict=True):
            reference.add(*column)
        obs = next_obs
    return references


def assert_same(env, batch, references, n_step, gamma):
    """Row for row: nothing too much, nothing missing, every number right."""
    for i, reference in enumerate(references):
        expected = reference.rows(n_step, gamma)
        mine = np.flatnonzero(env == i)
        assert len(mine) == len(expected)
        for k, row in zip(mine, expected, strict=True):
            np.testing.assert_array_equal(batch.obs[k], row.obs)
            assert batch.action[k] == row.action
            assert batch.reward[k] == pytest.approx(row.reward, rel=1e-6)
            assert batch.discount[k] == pytest.approx(row.discount, rel=1e-6)
            if row.discount:
                np.testing.assert_array_equal(batch.next_obs[k], row.next_obs)


def key(obs, action, reward, next_obs, discount):
    following = next_obs.tobytes() if discount else b""
    return obs.tobytes(), int(action), float(reward), following, float(discount)


# --- FrameReplayMemory: properties ------------------------------------------------------------

episode = st.tuples(st.integers(1, 9), st.sampled_from(["terminated", "truncated", "both"]))
an_env = st.lists(episode, min_size=1, max_size=4)


@settings(max_examples=100, deadline=None)
@given(
    envs=st.lists(an_env, min_size=1, max_size=3),
    pushes=st.integers(0, 70),
    spare=st.integers(0, 20),
    odd=st.integers(0, 2),
    stack=st.integers(1, 4),
    n_step=st.integers(1, 4),
    gamma=st.sampled_from([0.0, 0.5, 1.0]),  # all sums are exact in 32 bits
    seed=st.integers(0, 1000),
)
def test_memory_holds_what_the_reference_allows(
    envs, pushes, spare, odd, stack, n_step, gamma, seed
):
    slots, count = stack + n_step + spare, len(envs)
    memory = FrameReplayMemory(
        slots * count + min(odd, count - 1),  # a remainder is left unused
        count,
        rng(seed),
        frame_shape=(H, W),
        stack=stack,
        n_step=n_step,
        gamma=gamma,
    )
    references = play(memory, envs, pushes, seed)
    assert len(memory) == sum(map(len, references))
    env, batch = all_rows(memory)
    if gamma:
        assert_same(env, batch, references, n_step, gamma)
    allowed = {key(*row) for reference in references for row in reference.rows(n_step, gamma)}
    if not allowed:
        with pytest.raises(ValueError, match=r"no transition has its|batch_size <= 0 stored"):
            memory.sample(1)
        return
    for _ in range(5):
        batch = memory.sample(min(16, len(memory)))
        assert {key(*row) for row in zip(*batch, strict=True)} <= allowed


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), n_step=st.integers(1, 4))
def test_every_transition_the_reference_allows_is_drawn(seed, n_step):
    """And about equally often: neither the head, nor ends, nor short games are favoured."""
    numbers, kinds = rng(seed), ("terminated", "truncated")
    envs = [
        [(int(numbers.integers(1, 9)), kinds[numbers.integers(2)]) for _ in range(5)]
        for _ in range(2)
    ]
    memory = FrameReplayMemory(50, 2, rng(seed), frame_shape=(H, W), n_step=n_step, gamma=0.5)
    references = play(memory, envs, 60, seed)

    def names(obs):  # what the newest picture says: which game, which moment
        return (obs[:, -1, 0].astype(int) * [10_000, 250, 1]).sum(1)

    allowed = names(np.stack([row.obs for r in references for row in r.rows(n_step, 0.5)]))
    drawn = names(np.concatenate([memory.sample(30).obs for _ in range(200)]))
    found, counts = np.unique(drawn, return_counts=True)
    np.testing.assert_array_equal(found, np.unique(allowed))
    mean = len(drawn) / len(allowed)
    assert mean / 2 < counts.min() and counts.max() < 2 * mean


@pytest.mark.parametrize("n_step, drawn", [(1, 20), (3, 18)])
def test_newest_steps_wait_for_the_frame_that_follows(n_step, drawn):
    memory = FrameReplayMemory(100, 1, rng(), frame_shape=(H, W), n_step=n_step)
    references = play(memory, [[(1000, "terminated")]], 21)
    env, batch = all_rows(memory)
    assert (len(memory), len(env)) == (21, drawn)
    assert_same(env, batch, references, n_step, memory.gamma)


def test_the_few_complete_transitions_among_many_are_found():
    """Of 32 steps in windows of 30, two are complete; a blind draw rarely meets them."""
    memory = FrameReplayMemory(100, 1, rng(), frame_shape=(H, W), n_step=30)
    (reference,) = play(memory, [[(1000, "terminated")]], 32)
    expected = {row.obs.tobytes() for row in reference.rows(30, memory.gamma)}
    drawn = {obs.tobytes() for obs in memory.sample(32).obs}
    assert drawn == expected and len(expected) == 2


def test_a_draw_does_not_look_at_the_whole_ring():
    memory, asked = FrameReplayMemory(2_000, 1, rng(), frame_shape=(H, W)), []
    play(memory, [[(9, "terminated"), (7, "truncated")]], 500)
    is_complete = memory._is_complete
    memory._is_complete = lambda env, offset: asked.append(len(env)) or is_complete(env, offset)
    for _ in range(20):
        memory.sample(8)
    assert max(asked) == 8


def test_oldest_steps_go_with_their_stacks():
    """In a full ring of one endless game the oldest three have lost frames of their stacks."""
    for pushes in range(1, 60, 3):
        memory = FrameReplayMemory(20, 1, rng(), frame_shape=(H, W), stack=4)
        play(memory, [[(1000, "truncated")]], pushes)
        full = pushes - 1 if pushes <= 20 else 20 - 3 - 1
        assert len(all_rows(memory)[0]) == full


@pytest.mark.parametrize("end, slots", [("terminated", 3), ("both", 3), ("truncated", 4)])
def test_autoreset_step_is_not_stored(end, slots):
    memory = FrameReplayMemory(40, 1, rng(), frame_shape=(H, W), stack=2)
    play(memory, [[(2, end), (9, "terminated")]], 4)  # two steps, the autoreset, one step
    assert len(memory) == 3
    assert memory._count[0] == slots  # a truncated episode keeps its last frame
    assert JUNK not in all_rows(memory)[1].reward


def test_truncation_is_bootstrapped_and_termination_is_not():
    discounts = {}
    for end in ("terminated", "truncated", "both"):
        memory = FrameReplayMemory(40, 1, rng(), frame_shape=(H, W), n_step=3, gamma=0.5)
        play(memory, [[(2, end)]], 3)
        discounts[end] = all_rows(memory)[1].discount.tolist()
    assert discounts == {"terminated": [0, 0], "truncated": [0.25, 0.5], "both": [0, 0]}


def test_stacks_begin_black_and_hold_no_frame_of_the_game_before():
    memory = FrameReplayMemory(100, 1, rng(), frame_shape=(H, W), stack=4)
    play(memory, [[(3, "terminated"), (2, "truncated")]], 30)
    filled = (all_rows(memory)[1].obs != 0).any((2, 3)).sum(1)
    assert filled.tolist()[:8] == [1, 2, 3, 1, 2, 1, 2, 3]


def test_batch_has_the_promised_shapes_and_types():
    memory = FrameReplayMemory(100, 2, rng(), frame_shape=(H, W), n_step=2)
    play(memory, [[(5, "terminated")]] * 2, 9)
    batch = memory.sample(7)
    assert batch.obs.shape == batch.next_obs.shape == (7, 4, H, W)
    assert batch.action.shape == batch.reward.shape == batch.discount.shape == (7,)
    types = ("uint8", "int64", "float32", "uint8", "float32")
    assert tuple(str(column.dtype) for column in batch) == types


def test_by_itself_it_holds_four_pictures_of_84_by_84_and_one_reward():
    memory = FrameReplayMemory(10, 1, rng())
    stack = np.zeros((1, 4, 84, 84), np.uint8)
    for i, reward in enumerate((3.0, 5.0, 7.0), start=1):
        stack = np.roll(stack, -1, axis=1)
        stack[0, -1] = i
        memory.push(stack, [i], [reward], [False], [False])
    _, batch = all_rows(memory)
    assert batch.obs.shape == (2, 4, 84, 84) and batch.reward.tolist() == [3, 5]
    assert batch.discount.tolist() == pytest.approx([0.99, 0.99])


def test_frame_sampling_is_seeded():
    def draw(seed):
        memory = FrameReplayMemory(100, 1, rng(seed), frame_shape=(H, W))
        play(memory, [[(7, "terminated")]], 50, 5)
        return np.concatenate([memory.sample(32).obs for _ in range(3)])

    np.testing.assert_array_equal(draw(1), draw(1))
    assert not np.array_equal(draw(1), draw(2))


def test_a_batch_is_a_copy():
    memory = FrameReplayMemory(100, 1, rng(), frame_shape=(H, W))
    play(memory, [[(7, "terminated")]], 50)
    before = all_rows(memory)[1]
    batch = memory.sample(20)
    for column in batch:
        column[...] = 0
    for a, b in zip(before, all_rows(memory)[1], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("num_envs, n_step", [(1, 1), (8, 3)])
def test_a_frame_is_stored_once(num_envs, n_step):
    memory = FrameReplayMemory(10_000, num_envs, rng(), n_step=n_step)
    held = [v for v in vars(memory).values() if isinstance(v, np.ndarray)]
    assert memory.nbytes == sum(array.nbytes for array in held)
    assert 84 * 84 < memory.nbytes / memory.capacity <= 1.02 * 84 * 84


def test_length_needs_no_look_at_the_ring():
    """It is asked for at every step of a training; with NumPy's sum it would cost its size."""
    memory = FrameReplayMemory(60, 2, rng(), frame_shape=(H, W))
    play(memory, [[(2, "truncated")]] * 2, 99)
    expected = int((memory._count - memory._is_last_frame.sum(1)).sum())
    memory._is_last_frame = memory._frame = None
    assert len(memory) == expected


# --- FrameReplayMemory: real vector environments ----------------------------------------------


class Counter(gym.Env):
    """Shows the number of the turn and of the episode; ends by itself at a random turn."""

    observation_space = gym.spaces.Box(0, 255, (H, W), np.uint8)
    action_space = gym.spaces.Discrete(3)
    episodes = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.turn, self.last = 0, self.np_random.integers(1, 12)
        self.episodes += 1
        return self.picture(), {}

    def picture(self):
        return np.full((H, W), 20 * (self.episodes % 12) + self.turn + 1, np.uint8)

    def step(self, action):
        self.turn += 1
        return self.picture(), float(self.turn), self.turn == self.last, False, {}


def watch(envs, memory, references, pushes, numbers):
    """Play at random; note what the environments really showed. Return how episodes ended."""
    obs, _ = envs.reset(seed=3)
    over, ends = np.zeros(envs.num_envs, bool), np.zeros(2, int)
    for _ in range(pushes):
        action = numbers.integers(0, 3, envs.num_envs)
        next_obs, reward, terminated, truncated, _ = envs.step(action)
        memory.push(obs, action, reward, terminated, truncated)
        columns = (obs, action, reward, next_obs, terminated, truncated, over)
        for reference, *column in zip(references, *columns, strict=True):
            reference.add(*column)
        over, obs = terminated | truncated, next_obs
        ends += terminated.sum(), truncated.sum()
    return ends


@pytest.mark.parametrize("n_step", [1, 3])
def test_stacks_are_those_that_gymnasium_showed(n_step):
    def make():
        env = gym.wrappers.TimeLimit(Counter(), 8)
        return gym.wrappers.FrameStackObservation(env, 4, padding_type="zero")

    envs = gym.vector.SyncVectorEnv([make] * 3)
    memory = FrameReplayMemory(120, 3, rng(), frame_shape=(H, W), n_step=n_step, gamma=0.5)
    references = [Reference(40, 4) for _ in range(3)]
    ends = watch(envs, memory, references, 150, rng())
    assert (ends > 5).all()  # terminated, truncated: both happened
    assert len(memory) == sum(map(len, references))
    assert_same(*all_rows(memory), references, n_step, 0.5)


@pytest.mark.parametrize("pushes", [70, 130])  # before and after the ring has filled
def test_stacks_are_those_that_ale_showed(pushes):
    from ale_py.vector_env import AtariVectorEnv

    envs = AtariVectorEnv(
        "breakout",
        num_envs=2,
        num_threads=1,
        img_height=42,
        img_width=42,
        noop_max=0,
        max_num_frames_per_episode=90,
    )
    memory = FrameReplayMemory(200, 2, rng(), frame_shape=(42, 42), n_step=3, gamma=0.5)
    references = [Reference(100, 4) for _ in range(2)]
    terminated, truncated = watch(envs, memory, references, pushes, rng())
    envs.close()
    assert truncated >= 4 > terminated
    assert_same(*all_rows(memory), references, 3, 0.5)


# --- FrameReplayMemory: stacks that do not continue -------------------------------------------


def vectorise(padding="zero", mode=gym.vector.AutoresetMode.NEXT_STEP, copy=True):
    def make():
        return gym.wrappers.FrameStackObservation(
            gym.wrappers.TimeLimit(Counter(), 8), 4, padding_type=padding
        )

    return gym.vector.SyncVectorEnv([make] * 2, copy=copy, autoreset_mode=mode)


def push_all(envs, turn=lambda obs: obs, left_out=(), reset_at=None):
    """Play 40 steps at random and push what the environment shows, turned as asked."""
    memory = FrameReplayMemory(200, 2, rng(), frame_shape=(H, W))
    obs, _ = envs.reset(seed=3)
    over = np.zeros(2, bool)
    for i in range(40):
        if i == reset_at:
            obs, _ = envs.reset(seed=4)
        if over.any() and envs.metadata["autoreset_mode"] == gym.vector.AutoresetMode.DISABLED:
            obs, _ = envs.reset(options={"reset_mask": over})
        next_obs, reward, terminated, truncated, _ = envs.step(np.zeros(2, int))
        if i not in left_out:
            memory.push(turn(obs), np.zeros(2, int), reward, terminated, truncated)
        obs, over = next_obs, terminated | truncated


MODES = gym.vector.AutoresetMode


@pytest.mark.parametrize(
    "envs, how, message",
    [
        (dict(mode=MODES.SAME_STEP), {}, "has ended.*AutoresetMode.NEXT_STEP"),
        (dict(mode=MODES.DISABLED), {}, "has ended.*AutoresetMode.NEXT_STEP"),
        (dict(padding="reset"), {}, 'repeated; .*padding_type="zero"'),
        (dict(copy=False), {}, r"from its middle.*\(copy=False\), push a copy"),
        ({}, dict(left_out=range(2)), "expected the first step of an episode"),
        ({}, dict(left_out=[3]), "does not continue: a step was left out, or"),
        ({}, dict(left_out=[1]), "does not continue: a step was left out, or"),
        ({}, dict(left_out=[3], reset_at=3), "does not continue: a step was left out, or"),
        ({}, dict(turn=lambda obs: obs[:, ::-1]), "newest frame last, got it first"),
        ({}, dict(reset_at=3), "a new episode began without an end"),
    ],
)
def test_a_stack_that_does_not_continue_is_refused_and_says_why(envs, how, message):
    with pytest.raises(ValueError, match=message):
        push_all(vectorise(**envs), **how)


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_the_environment_that_does_not_continue_is_named(wrong):
    """Its oldest picture is another one; the reason is that of its own stack."""
    memory = FrameReplayMemory(100, 3, rng(), frame_shape=(H, W))
    games = [Game([(1000, "terminated")], 4, i) for i in range(3)]

    def push(obs):
        memory.push(obs, np.zeros(3, int), np.zeros(3), *np.zeros((2, 3), bool))

    for _ in range(5):
        push(np.stack([game.obs for game in games]))
        for game in games:
            game.step()
    obs = np.stack([game.obs for game in games])
    obs[wrong, 0] += 1
    text = f"environment {wrong} does not continue: a step was left out"
    with pytest.raises(ValueError, match=text):
        push(obs)


def test_a_stack_that_is_refused_is_not_stored():
    memory = FrameReplayMemory(100, 1, rng(), frame_shape=(H, W))
    stack = np.zeros((1, 4, H, W), np.uint8)
    stack[0, -1] = 1
    memory.push(stack, [0], [0.0], [False], [False])
    with pytest.raises(ValueError, match="environment 0 does not continue"):
        memory.push(stack + 1, [0], [0.0], [False], [False])
    following = np.concatenate([stack[:, 1:], stack[:, -1:] + 1], 1)
    memory.push(following, [0], [0.0], [False], [False])
    assert len(memory) == 2


def test_steps_that_do_continue_are_stored():
    push_all(vectorise())


# --- FrameReplayMemory: bad input -------------------------------------------------------------


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(capacity=39, num_envs=8), "expected capacity >= .* = 40, got 39"),
        (dict(gamma=1.5), r"expected gamma in \[0, 1\], got 1.5"),
        (dict(gamma=-0.1), r"expected gamma in \[0, 1\], got -0.1"),
        (dict(gamma=float("nan")), r"expected gamma in \[0, 1\], got nan"),
        (dict(num_envs=0), "expected num_envs to be a whole number >= 1, got 0"),
        (dict(stack=2.0), "expected stack to be a whole number >= 1, got 2.0"),
        (dict(n_step=-1), "expected n_step to be a whole number >= 1, got -1"),
        (dict(rng=7), r"default_rng\(seed\), got int"),
    ],
)
def test_bad_settings_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        FrameReplayMemory(**{**dict(capacity=100, num_envs=1, rng=rng()), **change})


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(obs=np.zeros((2, 4, H, W), np.float32)), "expected obs of dtype uint8, got float32"),
        (dict(obs=np.zeros((2, 3, H, W), np.uint8)), r"\(2, 4, 2, 3\), got \(2, 3, 2, 3\)"),
        (dict(obs=None), r"expected obs of shape \(2, 4, 2, 3\), got \(\)"),
        (dict(action=np.zeros(3, int)), r"expected action of shape \(2,\), got \(3,\)"),
        (dict(action=np.array([0, 256])), r"whole numbers in 0..255, got \[  0 256\]"),
        (dict(action=np.array([0, -1])), r"whole numbers in 0..255"),
        (dict(action=np.array([0.5, 1])), r"whole numbers in 0..255"),
        (dict(reward=np.array([0.0, np.nan])), r"finite rewards \(in float32\), got .*nan"),
        (dict(reward=1.0), r"expected reward of shape \(2,\), got \(\)"),
        (dict(reward=[0.0, 1e39]), r"finite rewards \(in float32\), got .*1.e\+39"),
        (dict(reward=[None, 1.0]), "expected rewards to be real numbers"),
        (dict(terminated=False), r"expected terminated of shape \(2,\), got \(\)"),
        (dict(terminated=[None, True]), "expected terminated to hold True or False"),
        (dict(truncated=[0, 1]), "expected truncated to hold True or False"),
        (dict(truncated=np.zeros((2, 1), bool)), r"expected truncated of shape .*got \(2, 1\)"),
    ],
)
def test_a_bad_step_is_named_and_not_stored(change, message):
    memory = FrameReplayMemory(100, 2, rng(), frame_shape=(H, W))
    good = dict(
        obs=np.zeros((2, 4, H, W), np.uint8),
        action=[1, 2],
        reward=[0, 1],
        terminated=[False, True],
        truncated=[False, False],
    )
    with pytest.raises(ValueError, match=message):
        memory.push(**{**good, **change})
    assert len(memory) == 0
    memory.push(**good)  # lists are welcome
    assert len(memory) == 2


def test_a_batch_must_fit():
    memory = FrameReplayMemory(100, 1, rng(), frame_shape=(H, W), n_step=3)
    with pytest.raises(ValueError, match="expected batch_size <= 0 stored transitions, got 4"):
        memory.sample(4)
    play(memory, [[(9, "terminated")]], 3)
    with pytest.raises(ValueError, match="no transition has its 3 next steps yet: push more"):
        memory.sample(1)
    with pytest.raises(ValueError, match=r"batch_size to be a whole number >= 1, got 2\.5"):
        memory.sample(2.5)


# --- faults that are often made, planted ------------------------------------------------------


def rows_equal_the_reference():
    """Three-step windows of games that end and games that the clock stops."""
    memory = FrameReplayMemory(200, 2, rng(), frame_shape=(H, W), n_step=3, gamma=0.5)
    games = [[(4, "terminated"), (5, "truncated")], [(2, "truncated"), (6, "both")]]
    references = play(memory, games, 40)
    assert_same(*all_rows(memory), references, 3, 0.5)


FAULTS = {  # text, broken text
    "γ instead of γⁿ": ("self.gamma ** (last + 1) * alive", "self.gamma * alive"),
    "a window crosses an end": ("(self._terminated[rows] | self._tru", "(self._tru"),
    "a window crosses a truncation": ("self._terminated[rows] | self._truncated[rows])",
                                      "self._terminated[rows])"),
    "a truncation ends the bootstrap": ("np.arange(self.n_step), ~self._terminated[env, last_slot]",
        "np.arange(self.n_step), ~(self._terminated | self._truncated)[env, last_slot]"),
    "a stack holds the game before": ("frames[back > self._depth",
                                      "frames[back > 99 + self._depth"),
}  # fmt: skip


def test_rows_equal_the_reference():
    rows_equal_the_reference()


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_noticed(monkeypatch, fault):
    text, broken = FAULTS[fault]
    source = inspect.getsource(replay)
    names = ["FrameReplayMemory", "FrameBatch", "check_batch", "_not_continued"]
    wrong = define(planted(source, text, broken), names)
    monkeypatch.setitem(globals(), "FrameReplayMemory", wrong["FrameReplayMemory"])
    with pytest.raises(AssertionError):
        rows_equal_the_reference()
