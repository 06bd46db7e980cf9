"""Notebook 05: targets and streams against numbers worked out by hand, probes, planted faults."""

from dataclasses import asdict, replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium.wrappers import TimeLimit

from helpers.ablation import holm
from helpers.replay import Transition
from tests.faults import planted
from tests.notebooks.test_beyond_dqn import Count
from tests.test_probes import PROBES, ActionDependent, Delayed
from tools.definitions import TWINS, define

TWIN = TWINS / "05_double_dueling.py"
NAMES = [
    "Agent",
    "Environment",
    "greedy_episodes",
    "actual_return",
    "share_of_left",
    "largest_estimate",
    "corrected_p_values",
    "learned_value",
    "Study",
    "MeasuringBrain",
]


@pytest.fixture(scope="module")
def source():
    return TWIN.read_text(encoding="utf-8")


@pytest.fixture
def nb(source):
    return define(source, NAMES)


def slow_target(batch, q_net, target_net, gamma, double):
    """Targets, one transition after another, in plain Python."""
    targets = []
    for reward, next_obs, terminated in zip(
        batch.reward.tolist(), batch.next_obs, batch.terminated.tolist(), strict=True
    ):
        q, target_q = q_net(next_obs[None])[0].tolist(), target_net(next_obs[None])[0].tolist()
        chosen = q.index(max(q)) if double else target_q.index(max(target_q))
        targets.append(reward if terminated else reward + gamma * target_q[chosen])
    return targets


@pytest.mark.parametrize("rule, double", [("td_target", False), ("double_target", True)])
def test_targets_equal_a_slow_reference(nb, rule, double):
    torch.manual_seed(0)
    networks = [nb["QNetwork"](nb["Config"](num_actions=3), hidden=16) for _ in range(2)]
    batch = Transition(
        None, None, torch.randn(64), torch.randn(64, 4), (torch.rand(64) < 0.3).float()
    )
    found = nb[rule](batch, *networks, 0.9)
    expected = slow_target(batch, *networks, 0.9, double)
    assert found.tolist() == pytest.approx(expected, abs=1e-5)
    assert not found.requires_grad


def test_advantages_are_centred(nb):
    torch.manual_seed(0)
    value, advantage = torch.randn(8, 1), torch.randn(8, 5)
    q = nb["combine"](value, advantage)
    torch.testing.assert_close(q.mean(dim=1), value[:, 0])  # V is the mean of the Q-values
    torch.testing.assert_close(q, nb["combine"](value, advantage + 7.0))  # a shift of A is nothing


def test_plain_network_is_two_hidden_layers_on_scaled_observations(nb):
    torch.manual_seed(0)
    net, obs = nb["QNetwork"](nb["Config"]()), torch.randn(32, 4)
    x = obs / torch.tensor([2.4, 2.0, 0.21, 2.0])
    layers = [(p.weight, p.bias) for p in net.modules() if isinstance(p, torch.nn.Linear)]
    assert [tuple(weight.shape) for weight, _ in layers] == [(128, 4), (128, 128), (2, 128)]
    for i, (weight, bias) in enumerate(layers):
        x = (x.relu() if i else x) @ weight.T + bias
    torch.testing.assert_close(net(obs), x)


class Pushed:
    """100 games that end after 1, 2, 3, … steps, the even ones by the clock."""

    def reset(self, seed):
        self.steps = 0
        return np.zeros((100, 4), np.float32), {}

    def step(self, action):
        self.steps += 1
        over, even = self.steps == np.arange(1, 101), np.arange(1, 101) % 2 == 0
        return np.zeros((100, 4), np.float32), None, over & ~even, over & even, {}


def test_predictions_and_lengths_of_known_games(source):
    nb = define(source, NAMES)
    nb["ARENA"] = Pushed()
    brain = nb["Brain"](nb["Config"](), np.random.default_rng(0))
    for p in brain.q_net.parameters():
        torch.nn.init.zeros_(p)
    torch.nn.init.constant_(list(brain.q_net.parameters())[-1], 3.5)
    predicted, length, fell = nb["greedy_episodes"](brain, seed=0)
    assert predicted.tolist() == [3.5] * 100 and length.tolist() == list(range(1, 101))
    assert fell.tolist() == [True, False] * 50


def test_actual_return_equals_a_sum_over_the_rewards(nb):
    for length in (1, 2, 30):
        for fell in (True, False):
            for fall_only in (True, False):
                rewards = [0.0] * length if fall_only else [1.0] * length
                if fall_only and fell:
                    rewards[-1] = -1.0
                expected = sum(r * 0.9**t for t, r in enumerate(rewards))
                found = nb["actual_return"](np.array([length]), np.array([fell]), 0.9, fall_only)
                assert found[0] == pytest.approx(expected)


def slow_share_of_left(double, seed, episodes, alpha=0.1):
    """One run after another, one table entry at a time (Sutton & Barto 2018, section 6.7)."""
    rng, shares = np.random.default_rng(seed), np.zeros(episodes)
    runs = 1_000
    for _ in range(runs):
        a, b = np.zeros((2, 2)), np.zeros((2, 10))

        def choose(q, epsilon=0.1):
            if rng.random() < epsilon:
                return rng.integers(len(q))
            return rng.choice(np.flatnonzero(q == q.max()))

        for episode in range(episodes):
            if choose(a.sum(0)) == 1:
                continue
            shares[episode] += 1 / runs
            i = rng.integers(2) if double else 0
            j = 1 - i if double else 0
            a[i, 0] += alpha * (b[j, choose(b[i], 0.0)] - a[i, 0])
            action, i = choose(b.sum(0)), rng.integers(2) if double else 0
            b[i, action] += alpha * (rng.normal(-0.1, 1) - b[i, action])
    return shares


@pytest.mark.parametrize("double", [False, True])
def test_tabular_learning_equals_a_slow_reference(nb, double):
    fast = nb["share_of_left"](double, np.random.default_rng(0), runs=4_000, episodes=60)
    slow = slow_share_of_left(double, 1, 60)
    assert fast.shape == (60,) and fast == pytest.approx(slow, abs=0.07)  # 4 standard errors
    assert fast.mean() == pytest.approx(slow.mean(), abs=0.02)
    assert (fast.max() > 0.9) != double


def test_ties_are_broken_at_random_and_epsilon_explores(nb):
    rng = np.random.default_rng(0)
    q = np.tile([0.0, 1.0, 1.0], (30_000, 1))
    share = np.bincount(nb["epsilon_greedy"](q, rng, 0.3), minlength=3) / 30_000
    assert share == pytest.approx([0.1, 0.45, 0.45], abs=0.01)


def test_largest_estimate_equals_counting(nb):
    for n in range(1, 8):
        counted = np.mean([max(case) for case in product((-1, 1), repeat=n)])
        assert nb["largest_estimate"](n) == pytest.approx(counted)


def test_holm_equals_the_helper(nb):
    rng = np.random.default_rng(0)
    for size in (1, 2, 5, 12):
        p = rng.random(size) ** 3
        assert nb["corrected_p_values"](p) == pytest.approx(holm(p))


def probe(nb, kind, **changes):
    """Train the notebook's Brain on a probe; fail if a Q-value is off."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    settings = dict(
        agent_steps=1_250, gamma=0.9, epsilon_end=1.0, batch=32, learn_start=60, train_every=1,
        updates_per_train=1, lr=0.01, target_every=10,
    )  # fmt: skip
    config = nb["Config"](**{**settings, **changes})
    nb["OBS_SCALE"] = (1.0,)
    brain = nb["Brain"](config, np.random.default_rng(0), obs_size=1)
    nb["Environment"](nb["Agent"](brain), config, seed=0, env=TimeLimit(kind(), 5)).run()
    for obs, expected in kind.expected.items():
        learned = brain.q_values(np.array([[obs]], np.float32))[0].tolist()
        tolerance = getattr(kind, "tolerance", 0.1)
        assert learned == pytest.approx(expected, abs=tolerance), f"{kind.__name__}, obs {obs}"


METHODS = {
    "dqn": {}, "double": {"double": True}, "dueling": {"dueling": True},
    "both": {"double": True, "dueling": True},
}  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", PROBES, ids=lambda kind: kind.__name__)
def test_known_values_are_learned(nb, kind, method):
    probe(nb, kind, **METHODS[method])


FAULTS = {  # (text, broken text, the probe that must notice)
    "judged action is not the chosen one": (
        "gather(1, best[:, None])", "gather(1, 1 - best[:, None])", Delayed,
    ),
    "worst action chosen": ("(batch.next_obs).argmax", "(batch.next_obs).argmin", Delayed),
    "mask of the end dropped": ("(1 - batch.terminated) * next_q", "next_q", ActionDependent),
    "value stream forgotten": (
        "return value + advantage - adv", "return 0 * value + advantage - adv", Delayed
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_noticed(source, fault):
    text, broken, kind = FAULTS[fault]
    assert text in source
    with pytest.raises(AssertionError):
        probe(define(planted(source, text, broken), NAMES), kind, double=True, dueling=True)


@pytest.mark.parametrize(
    "text, broken",
    [
        ("best = q_net(batch.next_obs)", "best = target_net(batch.next_obs)"),
        ("best = q_net(batch.next_obs)", "best = q_net(-batch.next_obs)"),
        ("target_q = target_net(batch.next_obs)", "target_q = q_net(batch.next_obs)"),
    ],
)
def test_the_wrong_network_is_noticed(source, text, broken):
    """In a probe both networks agree in the end, so this fault needs the slow reference."""
    assert text in source
    with pytest.raises(AssertionError):
        test_targets_equal_a_slow_reference(
            define(planted(source, text, broken), NAMES), "double_target", True
        )


def test_advantage_that_is_not_centred_is_noticed(source):
    text = " - advantage.mean(dim=1, keepdim=True)"
    with pytest.raises(AssertionError):
        test_advantages_are_centred(define(planted(source, text, ""), NAMES))


def test_only_the_switches_differ_between_variants(nb):
    plain = nb["Config"]()
    for double, rule in ((False, "td_target"), (True, "double_target")):
        brain = nb["Brain"](replace(plain, double=double), np.random.default_rng(0))
        assert brain.target_rule is nb[rule]


def test_many_actions_push_left_and_right_in_turns(nb):
    env = nb["make_cart"](16)
    assert env.action_space.n == 16
    for action in range(16):
        env.reset(seed=0)
        obs, *_ = env.step(action)
        assert (obs[1] > 0) == (action % 2 == 1)  # the cart's speed
    for dueling in (False, True):
        config = nb["Config"](num_actions=16, dueling=dueling)
        brain = nb["Brain"](config, np.random.default_rng(0))
        assert brain.q_values(np.zeros((3, 4), "f")).shape == (3, 16)
        explored = {brain.decide_action(np.zeros(4, "f")) for _ in range(400)}
        assert explored == set(range(16))
        assert nb["Environment"](None, config, seed=0).env.action_space.n == 16


def test_without_the_mean_the_streams_are_only_added(nb):
    torch.manual_seed(0)
    obs, config = torch.randn(5, 4), nb["Config"](dueling=True, num_actions=3)
    for kind, centred in ((nb["QNetwork"], True), (nb["UncentredNetwork"], False)):
        net = kind(config)
        features = net.body(obs / net.obs_scale)
        value, advantage = net.value(features), net.advantage(features)
        mean = advantage.mean(dim=1, keepdim=True) if centred else 0
        torch.testing.assert_close(net(obs), value + advantage - mean)


def test_variants_are_trained_as_their_switches_say(source):
    nb = define(source, [*NAMES, "Run", "train_variant"])
    asked, noted = [], [(5, 1.0), (10, 2.0), (11, 3.0), (20, 5.0), (21, 9.0)]
    brain = SimpleNamespace(corrections=noted)

    def train(config, seed, **how):
        asked.append((seed, how))
        return nb["Run"](brain, [], [(7, 10, 1.0), (7, 20, 2.0)], {}, None)

    nb["train"] = train
    for fall_only in (True, False):
        run = nb["train_variant"](nb["Study"](fall_only=fall_only), 7)
        how = dict(brain_class=nb["MeasuringBrain"], fall_only=fall_only)
        assert asked.pop() == (7, how)
        assert run.curve == [(7, 10, 1.0, 1.5), (7, 20, 2.0, 4.0)]
    for centred in (True, False):
        config = nb["Study"](dueling=True, centred=centred)
        brain = nb["MeasuringBrain"](config, np.random.default_rng(0))
        kind = nb["QNetwork"] if centred else nb["UncentredNetwork"]
        assert type(brain.q_net) is type(brain.target_net) is kind


def test_variants_differ_by_their_switches_only(source):
    nb = define(source, ["Config", "Study", "VARIANTS"])
    switches = {
        "dqn": {}, "double": {"double": True}, "dueling": {"dueling": True},
        "both": {"double": True, "dueling": True},
        "uncentred": {"dueling": True, "centred": False},
        "dqn_16": {"num_actions": 16}, "double_16": {"double": True, "num_actions": 16},
    }  # fmt: skip
    for name in ("dqn", "double", "dqn_16", "double_16"):
        switches[f"plain_{name}"] = {**switches[name], "fall_only": False}
    plain = asdict(nb["Study"]())
    found = {
        name: {key: value for key, value in asdict(config).items() if value != plain[key]}
        for name, config in nb["VARIANTS"].items()
    }
    assert found == switches


@pytest.mark.parametrize("rule, other", [("td_target", 5.5), ("double_target", 4.6)])
def test_measuring_changes_no_target_and_notes_the_mean_correction(nb, rule, other):
    """The batch of the text: the targets are 5.5 and 4.6 in one row, equal in the others."""
    q, target_q = torch.tensor([[2.0, 3], [3, 1], [2, 3]]), torch.tensor([[5.0, 4], [2, 1], [5, 4]])
    batch = Transition(
        None, None, torch.tensor([1.0, 0, 1]), torch.zeros(3, 4), torch.tensor([0.0, 0, 1])
    )
    config = nb["Study"](double=rule == "double_target")
    brain = nb["MeasuringBrain"](config, np.random.default_rng(0))
    for networks in ((lambda o: q, lambda o: target_q), (lambda o: target_q,) * 2):
        brain.agent_steps += 1
        found = brain.target_rule(batch, *networks, 0.9)
        torch.testing.assert_close(found, nb[rule](batch, *networks, 0.9))
    assert [step for step, _ in brain.corrections] == [1, 2]
    assert [c for _, c in brain.corrections] == pytest.approx([0.9 / 3, 0])
    assert nb[rule](batch, lambda o: q, lambda o: target_q, 0.9)[0] == pytest.approx(other)


def test_measuring_changes_no_training(nb):
    weights = []
    for kind in ("Brain", "MeasuringBrain"):
        torch.manual_seed(0)
        config = nb["Study"](agent_steps=128, learn_start=64, batch=32)
        brain = nb[kind](config, np.random.default_rng(0))
        nb["Environment"](nb["Agent"](brain), config, seed=0).run()
        assert brain.updates == 32
        weights.append([p.detach() for p in brain.q_net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


# --- the small worlds of the text, step by step -------------------------------------------------


def scripted_table(nb, double, episodes, coins, prizes, choices):
    """share_of_left with chance written down: the shares, and what each choice was made from."""
    runs, seen = len(prizes[0]), []
    coins, prizes, choices = iter(coins), iter(prizes), iter(choices)

    def choose(q, rng, epsilon):
        seen.append((q.tolist(), epsilon))
        return np.array(next(choices))

    def toss(sides, size):
        assert (sides, size) == (2, runs)
        return np.array(next(coins))

    def prize(mean, deviation, size):
        assert (mean, deviation, size) == (-0.1, 1, runs)
        return np.array(next(prizes), float)

    nb["epsilon_greedy"] = choose
    rng = SimpleNamespace(integers=toss, normal=prize)
    shares = nb["share_of_left"](double, rng, runs=runs, episodes=episodes, alpha=0.5)
    assert not [*coins, *prizes, *choices]
    assert [epsilon for _, epsilon in seen] == [0.1, 0, 0.1] * episodes
    q = [table for table, _ in seen]
    return shares.tolist(), q[::3], q[1::3], q[2::3]


def row(**values):
    """Ten numbers, all 0 except those named (_4=1.5: the one of action 4)."""
    return [values.get(f"_{i}", 0.0) for i in range(10)]


def test_one_of_two_tables_learns_and_the_other_judges(nb):
    """Three runs, worked out by hand with a step size of a half."""
    four, none = [4, 4, 4], [0.0, 0.0]
    shares, first, selects, both = scripted_table(
        nb, True, 4,
        coins=[[0, 1, 0], [0, 1, 1], [1, 0, 0], [1, 0, 1], [1, 0, 1], [0, 0, 0], [0] * 3, [0] * 3],
        prizes=[[2, 4, 8], [3, 1, 6], [0, 9, 1], [0, 0, 0]],
        choices=[[0, 0, 1], [0] * 3, four, [0] * 3, four, [4, 5, 4], [0, 1, 0], *[four] * 2,
                 [1, 1, 1], *[four] * 2],
    )  # fmt: skip
    assert shares == pytest.approx([2 / 3, 1, 2 / 3, 0])
    assert first == [[none] * 3] * 2 + [[[0.5, 0], [1, 0], none], [[0.75, 0], [1, 0], none]]
    assert selects[:2] == [[row()] * 3] * 2
    assert selects[2] == [row(_4=1.5), row(_5=0.5), row(_4=3.0)]
    assert both[1] == [row(_4=1.0), row(_4=2.0), row()]
    assert both[2] == [row(_4=2.5), row(_4=2.0, _5=0.5), row(_4=3.0)]
    assert both[3] == [row(_4=2.0), row(_4=2.0, _5=0.5), row(_4=3.5)]


def test_a_single_table_selects_and_judges(nb):
    shares, first, selects, both = scripted_table(
        nb, False, 3, coins=[], prizes=[[2], [3], [0]],
        choices=[[0], [0], [4], [0], [4], [4], [1], [4], [4]],
    )  # fmt: skip
    assert shares == [1, 1, 0] and first[2] == [[0.5, 0]]
    assert selects == both == [[row()], [row(_4=1.0)], [row(_4=2.0)]]


def test_as_many_runs_and_episodes_as_the_text_says(nb):
    assert len(nb["share_of_left"](True, np.random.default_rng(0), runs=5)) == 300
    (share,) = nb["share_of_left"](True, np.random.default_rng(0), episodes=1)
    assert share * 4_000 == pytest.approx(round(share * 4_000), abs=1e-6)
    assert 0.45 < share < 0.55


def test_breaking_ties_changes_no_other_choice(nb):
    """Not even with the smallest and largest random numbers; a draw of ε itself is no exploring."""
    close = [1.0, 1.0 + 1e-6]
    q = np.array([[0.0, 1.0], close, close, [1.0, 0.0], [1.0, 0.0]])
    ties = np.array([[1e-12, 0.5], [0.999, 0], [0, 0.999], [0, 0.999], [0, 0]])
    draws = iter([ties, np.array([0.9, 0.9, 0.9, 0.2, 0.1])])
    rng = SimpleNamespace(
        random=lambda shape: next(draws), integers=lambda n, size: np.full(size, n - 1)
    )
    assert nb["epsilon_greedy"](q, rng, 0.2).tolist() == [1, 1, 1, 0, 1]


@pytest.mark.parametrize("start", [-10, 0, 10])
def test_only_the_mean_makes_v_independent_of_its_start(nb, start):
    """Without it V - A(1) - A(2) never changes, so V = (start + 4) / 3; with it the mean of Q."""
    for subtract_mean, expected in ((False, (start + 4) / 3), (True, 2.0)):
        value, loss = nb["learned_value"](start, subtract_mean)
        assert value == pytest.approx(expected, abs=1e-9) and loss == pytest.approx(0, abs=1e-12)


def test_a_start_too_far_away_leaves_a_loss(nb):
    """Each of the 500 steps leaves 80 % of the distance; the loss is from before the last one."""
    value, loss = nb["learned_value"](1e50, True)
    assert value - 2 == pytest.approx(1e50 * 0.8**500, rel=1e-3)
    assert loss == pytest.approx(2 * (1e50 * 0.8**499) ** 2, rel=1e-3)


# --- the Brain, piece by piece ------------------------------------------------------------------


def test_dueling_network_has_two_streams_of_half_the_width(nb):
    net = nb["QNetwork"](nb["Config"](dueling=True))
    shapes = [tuple(p.shape) for p in net.parameters() if p.dim() == 2]
    assert shapes == [(128, 4), (64, 128), (1, 64), (64, 128), (2, 64)]


def test_the_best_action_unless_the_draw_is_below_epsilon(nb):
    config = nb["Config"](num_actions=3, epsilon_end=0.25, epsilon_decay=10)
    brain = nb["Brain"](config, np.random.default_rng(0))
    q = np.array([[0.0, 2, 1], [3, 2, 1], [0, 1, 2]])
    brain.q_values = lambda obs: q[: len(obs)]
    assert brain.greedy(np.zeros((3, 4))).tolist() == [1, 0, 2]
    draws = iter([0.24, 0.25, 0.9])
    brain.rng = SimpleNamespace(random=lambda: next(draws), integers=lambda n: n - 1)
    brain.agent_steps = 10
    assert [brain.decide_action(np.zeros(4)) for _ in range(3)] == [2, 1, 1]


def test_an_update_moves_the_values_of_the_actions_taken_to_the_targets(nb):
    """Values 3 and 5, targets 3.5 and 8: errors 0.5 and 3, losses 0.125 and 2.5."""
    brain, losses = nb["Brain"](nb["Config"](batch=2), np.random.default_rng(0)), []
    rows = [
        Transition(np.arange(first, first + 4, dtype=np.float32), action, 0.0, np.zeros(4), False)
        for first, action in ((1, 2), (5, 0))
    ]
    brain.memory.sample = lambda size: rows[:size]
    brain.q_net = torch.nn.Identity()  # the observation is taken for Q-values
    brain.target_rule = lambda *given: torch.tensor([3.5, 8.0])
    nb["descend"] = lambda loss, optimizer, config, agent_steps: losses.append(loss.item())
    brain.update()
    assert losses == [(0.125 + 2.5) / 2]


@pytest.mark.parametrize("learn_start, first", [(8, 8), (16, 16), (17, 24)])
def test_learning_starts_as_soon_as_enough_is_stored(nb, learn_start, first):
    config = nb["Config"](learn_start=learn_start, train_every=8, updates_per_train=3)
    brain, seen = nb["Brain"](config, np.random.default_rng(0)), []
    brain.update = lambda: seen.append(brain.agent_steps)
    for _ in range(32):
        brain.learn((np.zeros(4, "f"), 0, 0.0, np.zeros(4, "f"), False))
    assert seen == [step for step in (8, 16, 24, 32) if step >= first for _ in range(3)]


# --- loops --------------------------------------------------------------------------------------


def test_the_loop_returns_the_lengths_and_reports_them(nb):
    """Games of 6 turns (the clock) and 4 (an end); one look every 7 agent steps."""
    told, looked, learned = [], [], []
    agent = SimpleNamespace(get_action=lambda obs: 1, learn=learned.append)
    config = nb["Config"](agent_steps=24, select_every=7)
    env = TimeLimit(Count(), 6)
    lengths = nb["Environment"](agent, config, 0, env).run(
        lambda lengths: told.append([*lengths]), lambda lengths: looked.append([*lengths])
    )
    assert lengths == [6, 4, 6, 4] and told == [lengths[:i] for i in (1, 2, 3, 4)]
    assert looked == [[6], [6, 4], [6, 4, 6, 4]] and len(learned) == 24
    assert nb["Environment"](agent, config, 0, TimeLimit(Count(), 6)).run() == lengths


def test_a_cart_has_two_actions_and_pays_for_the_fall_unless_told_otherwise(nb):
    assert nb["make_cart"]().action_space.n == 2
    found = nb["actual_return"](np.array([3, 3]), np.array([True, False]), 0.5)
    assert found.tolist() == [-0.25, 0.0]


def test_an_episode_that_is_over_counts_no_more_and_actions_are_two(nb):
    """100 games: the even ones are stopped after 2 steps and would fall afterwards."""
    pushes, even = [], np.arange(100) % 2 == 0

    class Arena:
        def reset(self, seed):
            return np.zeros((100, 4), np.float32), {}

        def step(self, action):
            pushes.append(action)
            late = len(pushes) == 3
            stopped = even & (len(pushes) == 2)
            return np.zeros((100, 4), np.float32), None, np.full(100, late), stopped, {}

    nb["ARENA"] = Arena()
    chosen = np.arange(100) % 16
    brain = SimpleNamespace(
        q_values=lambda obs: np.eye(16, dtype=np.float32)[chosen], greedy=lambda obs: chosen
    )
    predicted, length, fell = nb["greedy_episodes"](brain, 0)
    assert predicted.tolist() == [1.0] * 100
    assert length.tolist() == [2.0, 3.0] * 50 and fell.tolist() == [False, True] * 50
    assert all(push.tolist() == [0, 1] * 50 for push in pushes) and len(pushes) == 3


def test_a_point_of_the_curve_is_three_rounded_means(source):
    nb = define(source, ["point_of_curve"])
    games = np.array([1.23456, 0.5, 1.0]), np.array([1, 3, 4]), np.array([True, False, True])
    nb["greedy_episodes"] = lambda brain, seed: games if seed == 5 else None
    brain = SimpleNamespace(config=SimpleNamespace(gamma=0.7))
    # lengths 8 / 3; predictions 2.73456 / 3; returns (-1 + 0 - 0.343) / 3, or 1, 2.19, 2.533
    assert nb["point_of_curve"](brain, 5, True) == [2.67, 0.912, -0.448]
    assert nb["point_of_curve"](brain, 5, False) == [2.67, 0.912, 1.908]


@pytest.fixture
def training(source):
    """train, with stand-ins for all that takes time: what happens in it is written to a list."""
    nb, happened, script = define(source, [*NAMES, "train"]), [], []

    class Brain:
        def __init__(self, config, rng):
            self.agent_steps, self.drawn = 0, rng.random()
            self.q_net = torch.nn.Linear(1, 1)

        def greedy(self, obs):
            return np.arange(16)

    class Environment:
        def __init__(self, agent, config, seed, env):
            self.brain = agent.brain
            happened.append(("environment", seed, env))

        def run(self, progress, select):
            for games in range(1, len(script) + 1):
                self.brain.agent_steps += 10
                torch.nn.init.constant_(self.brain.q_net.weight, games)
                progress([9] * games)
                select([9] * games)
            return [9] * games

    def evaluate(policy, arena, seed):
        happened.append(("test", policy(None).tolist(), seed))
        return "the test"

    nb.update(
        Environment=Environment,
        evaluate=evaluate,
        make_cart=lambda *how: how,
        point_of_curve=lambda brain, seed, fall_only: [script[seed % 1_000], fall_only, seed],
    )

    def start(means, **how):
        script[:] = means
        del happened[:]
        config = nb["Config"](num_actions=16)
        return nb["train"](config, 3, brain_class=Brain, **how), list(happened)

    return start


def test_of_equally_good_weights_the_earliest_are_kept(training):
    for means, best in (([50, 70, 70, 20], 2), ([1, 0.5], 1), ([5, 4, 5], 1)):
        run, _ = training(means)
        assert run.best["weight"].item() == best
        assert [row[:3] for row in run.curve] == [(3, 10 * i, m) for i, m in enumerate(means, 1)]
        assert [row[4] for row in run.curve] == [1_003_000 + i for i in range(len(means))]


def test_the_last_agent_is_tested_with_the_actions_of_two_carts(training):
    run, happened = training([1, 2])
    assert happened[-1] == ("test", [0, 1] * 8, 2_003_000) and run.test == "the test"
    assert run.lengths == [9, 9] and run.brain.agent_steps == 20
    assert run.brain.drawn == np.random.default_rng(3).random()


def test_the_reward_is_that_of_the_fall_unless_told_otherwise(training):
    for how, fall_only in (({}, True), ({"fall_only": False}, False)):
        run, happened = training([1], **how)
        assert happened[0] == ("environment", 3, (16, fall_only))
        assert run.curve[0][3] is fall_only  # the actual return is computed for the same reward


def test_the_live_curve_is_told_of_every_episode_and_closed(training):
    told, closed = [], []
    live = SimpleNamespace(
        update=lambda lengths, text: told.append(len(lengths)),
        close=lambda lengths, text: closed.append(lengths),
    )
    training([1, 2, 3], live=live)
    assert told == [1, 2, 3] and closed == [[9, 9, 9]]


def test_the_first_correction_counts_and_means_have_six_digits(source):
    nb = define(source, [*NAMES, "Run", "train_variant"])
    brain = SimpleNamespace(corrections=[(1, 1.0), (2, 1.0), (3, 0.0)])
    nb["train"] = lambda *given, **how: nb["Run"](brain, [], [(7, 3, 1.0)], {}, None)
    assert nb["train_variant"](nb["Study"](), 7).curve == [(7, 3, 1.0, 0.666667)]
