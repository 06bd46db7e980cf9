"""Notebooks 05 to 07: what their loops store, when they learn and what they keep; faults."""

from dataclasses import replace
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.wrappers import TimeLimit

from benchmarks import ablate
from helpers.replay import Transition
from tests.faults import planted
from tools.definitions import TWINS, define

SOURCES = {which: TWINS / f"{twin}.py" for which, (twin, _) in ablate.NOTEBOOKS.items()}
SMALL = dict(hidden=(16, 16), batch=8, learn_start=10, capacity=100)


def definitions(which, text="", broken=""):
    """A notebook's definitions, with one fault if asked for; "07-core" has no switches."""
    if which == "07-core":
        nb = definitions("07", text, broken)
        del nb["switched_brain"]
        nb["DQN"] = nb["Config"]()
        return nb
    source = SOURCES[which].read_text(encoding="utf-8")
    if text:
        source = planted(source, text, broken)
    more = ["DQN", "switched_brain"] if which.startswith("07") else ["DQN"]
    nb = define(source, [*ablate.NOTEBOOKS[which][1], *more])
    if "draw" in nb:  # notebook 07 puts its Brain together in pieces
        nb["Brain"].draw, nb["Brain"].update = nb["draw"], nb["update"]
    return nb


def small(nb, **changes):
    torch.manual_seed(0)
    settings = {**SMALL, **changes}
    for name in ("hidden", "capacity"):  # 06 has no capacity: its memory keeps everything
        if not hasattr(nb["DQN"], name):
            del settings[name]
    return replace(nb["DQN"], **settings)


def make_brain(nb, config):
    make = nb.get("switched_brain", nb.get("cart_brain", nb["Brain"]))
    return make(config, np.random.default_rng(0))


@pytest.mark.parametrize("which", ["05", "06"])
def test_exploration_falls_in_a_straight_line_and_stays(which):
    nb = definitions(which)
    config = nb["Config"](epsilon_end=0.1, epsilon_decay=100)
    found = [nb["epsilon"](config, t) for t in (0, 50, 100, 200)]
    assert found == pytest.approx([1, 0.55, 0.1, 0.1])


@pytest.mark.parametrize("which", ["05", "06"])
def test_a_step_goes_down_the_gradient_of_now_cut_to_its_longest(which):
    """Plain gradient descent on one weight; after the end of the training nothing moves."""
    nb = definitions(which)
    weight = torch.nn.Parameter(torch.tensor(0.0))
    optimizer = torch.optim.SGD([weight], lr=99.0)
    config, at = nb["Config"](lr=0.1, clip_norm=10.0, agent_steps=100), []
    for slope, agent_steps in ((3.0, 0), (3.0, 75), (100.0, 50), (3.0, 100), (3.0, 150)):
        nb["descend"](slope * weight, optimizer, config, agent_steps)
        at.append(weight.item())
    assert at == pytest.approx([-0.3, -0.375, -0.875, -0.875, -0.875], rel=1e-5)


@pytest.mark.parametrize("which", ["05", "06"])
def test_a_batch_holds_every_field_of_every_transition(which):
    nb = definitions(which)
    rows = [
        Transition(np.full(4, i, np.float32), i, -i, np.full(4, i + 9, np.float32), i == 2)
        for i in (1, 2, 3)
    ]
    batch = nb["make_batch"](rows)
    assert batch.obs.tolist() == [[i] * 4 for i in (1, 2, 3)]
    assert batch.next_obs.tolist() == [[i + 9] * 4 for i in (1, 2, 3)]
    assert (batch.action.tolist(), batch.action.dtype) == ([1, 2, 3], torch.int64)
    assert (batch.reward.tolist(), batch.reward.dtype) == ([-1, -2, -3], torch.float32)
    assert (batch.terminated.tolist(), batch.terminated.dtype) == ([0, 1, 0], torch.float32)
    with pytest.raises(ValueError, match="shorter"):
        nb["make_batch"]([rows[0], rows[1][:4]])


class Count(gym.Env):
    """obs = (game, turn, 0, 0); reward grows with both; every second game ends at turn 4."""

    action_space = gym.spaces.Discrete(2)
    observation_space = gym.spaces.Box(0, 100, (4,), np.float32)

    def __init__(self):
        self.game, self.steps = -1, []

    def obs(self):
        return np.array([self.game, self.turn, 0, 0], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.game, self.turn = self.game + 1, 0
        return self.obs(), {}

    def step(self, action):
        before, self.turn = (self.game, self.turn), self.turn + 1
        reward, ended = self.game + 0.1 * self.turn, self.game % 2 == 1 and self.turn == 4
        self.steps.append((*before, action, reward, ended))
        return self.obs(), reward, ended, False, {}


def play(nb, config, brain):
    """The notebook's loop on games of 4 turns (an end) and of 6 (the clock), in turns."""
    env = Count()
    nb["Environment"](nb["Agent"](brain), config, seed=0, env=TimeLimit(env, 6)).run()
    return env


def what_is_stored(nb):
    """Windows of 3 steps: no game's rewards in another's, an end is one, the clock is none."""
    n = 3 if hasattr(nb["DQN"], "n_step") else 1
    changes = dict(n_step=n) if n > 1 else {}
    config = small(nb, agent_steps=47, learn_start=10**6, gamma=0.5, **changes)
    brain, stored = make_brain(nb, config), []
    brain.memory.push = lambda *row: stored.append(row)
    steps = play(nb, config, brain).steps
    expected = []
    for i, (game, turn, action, _, _) in enumerate(steps):
        rest = [step for step in steps[i : i + n] if step[0] == game]
        ended = rest[-1][4]
        if len(rest) == n or ended:
            total = sum(0.5**k * step[3] for k, step in enumerate(rest))
            expected.append((game, turn, action, total, rest[-1][1] + 1, ended))
    assert len(stored) == len(expected) > 20 and sum(row[5] for row in expected) >= 4
    for (obs, action, reward, next_obs, terminated), row in zip(stored, expected, strict=True):
        assert (*obs[:2], action) == row[:3] and (*next_obs[:2],) == (row[0], row[4])
        assert reward == pytest.approx(row[3]) and terminated == row[5]


def when_it_learns(nb):
    """Updates, copies, the learning rate and the length of the gradient, as the config says."""
    config = small(nb, agent_steps=40, train_every=8, updates_per_train=3, target_every=4)
    if hasattr(config, "clip_norm"):
        config = replace(config, clip_norm=1e-4)
    else:
        nb["CLIP_NORM"] = 1e-4
    if hasattr(config, "lr_end"):
        config = replace(config, lr_end=config.lr / 2)
    brain, seen, update = make_brain(nb, config), [], type(make_brain(nb, config)).update

    def same():
        pairs = zip(brain.q_net.parameters(), brain.target_net.parameters(), strict=True)
        return all(torch.equal(a, b) for a, b in pairs)

    def watched():
        update(brain)
        lengths = [p.grad.norm() for p in brain.q_net.parameters()]
        seen.append((brain.agent_steps, same(), brain.optimizer.param_groups[0]["lr"]))
        assert torch.stack(lengths).norm().item() == pytest.approx(1e-4, rel=0.02)

    brain.update = watched
    assert same()  # the target network begins as a copy
    play(nb, config, brain)
    assert [step for step, _, _ in seen] == [16] * 3 + [24] * 3 + [32] * 3 + [40] * 3
    assert [i for i, (_, copied, _) in enumerate(seen, 1) if copied] == [4, 8, 12]
    assert (brain.agent_steps, brain.updates, brain.copies) == (40, 12, 3)
    end = getattr(config, "lr_end", 0.0)
    for step, _, lr in seen:
        assert lr == pytest.approx(config.lr + (end - config.lr) * step / 40)


def what_training_keeps(nb, which):
    """The weights of the best of four evaluations; the test is the last agent's."""
    config, seed, how = small(nb, agent_steps=40, train_every=1), 3, {}
    if hasattr(config, "select_every"):
        config = replace(config, select_every=10)
    else:
        how = dict(select_every=10)
    brains, asked, script = [], [], []

    def weights():
        return {name: w.clone() for name, w in brains[-1].q_net.state_dict().items()}

    def remember(*given, **how):
        brains.append(make(*given, **how))
        return brains[-1]

    def evaluate(policy, arena, seeds):
        asked.append((policy, seeds, weights()))
        return SimpleNamespace(mean=script.pop(0))

    name = "cart_brain" if "cart_brain" in nb else "Brain"
    make = nb[name]

    def episodes(brain, seeds):  # 05 plays its own: predictions, lengths, falls
        mean = evaluate(brain.greedy, None, seeds).mean
        return np.zeros(2), np.full(2, mean, float), np.zeros(2, bool)

    nb.update({name: remember, "evaluate": evaluate, "greedy_episodes": episodes})
    if which == "05":
        how["brain_class"] = remember

    script[:] = [10, 50, 30, 20, 7]
    run = nb["train"](config, seed, **how)
    policies, seeds, snapshots = zip(*asked, strict=True)
    assert [row[:3] for row in run.curve] == [(3, 10, 10), (3, 20, 50), (3, 30, 30), (3, 40, 20)]
    assert all(torch.equal(w, snapshots[1][k]) for k, w in run.best.items())
    assert not all(torch.equal(w, snapshots[4][k]) for k, w in run.best.items())
    assert all(torch.equal(w, snapshots[4][k]) for k, w in weights().items())
    assert run.test.mean == 7 and run.brain is brains[-1]
    assert list(seeds) == [nb["SELECTION_SEEDS"] + 3_000 + i for i in range(4)] + [
        nb["TEST_SEEDS"] + 3_000
    ]
    greedy = policies[:4] if which == "05" else policies  # 05 tests with the actions folded to two
    assert all(policy == run.brain.greedy for policy in greedy)
    if which == "07-core":
        script[:] = [10, 50, 7, 0, 0]  # the test comes third
        assert [row[2] for row in nb["train"](config, seed, stop_at=50, **how).curve] == [10, 50]


def double_asks_the_right_networks(nb):
    """The rule gets the network that learns first, the target network second."""
    brain, given = make_brain(nb, small(nb, double=True, learn_start=8)), []
    rule = brain.target_rule
    brain.target_rule = lambda *args: given.append(args) or rule(*args)
    for i in range(8):
        brain.memory.push(np.full(4, i, np.float32), 0, 0.0, np.zeros(4, np.float32), False)
    brain.update()
    assert rule is nb["double_target"]
    assert given[0][1] is brain.q_net and given[0][2] is brain.target_net


def what_a_fall_costs(nb, which):
    """The default environment pays -1 at the fall; 05 can also pay 1 a step, and judges by both."""
    config = small(nb)
    kinds = [(nb["Environment"](None, config, seed=0).env, 0.0, -1.0)]  # of a step, of the last
    if which == "05":
        kinds += [(nb["make_cart"](), 0.0, -1.0), (nb["make_cart"](2, False), 1.0, 1.0)]
    for env, step, last in kinds:
        rewards, ended = [], False
        env.reset(seed=0)
        while not ended:
            _, reward, ended, _, _ = env.step(0)
            rewards.append(float(reward))
        assert set(rewards[:-1]) == {step} and rewards[-1] == last
        if which == "05":  # which computes the return from the length alone
            found = nb["actual_return"](np.array([len(rewards)]), np.array([True]), 0.9, step == 0)
            assert found == pytest.approx(sum(r * 0.9**t for t, r in enumerate(rewards)))


def observations_are_scaled(nb):
    """The network divides by its scales: undone beforehand, they make no difference."""
    for dueling in (False, True):
        net, obs = make_brain(nb, small(nb, dueling=dueling)).q_net, torch.randn(5, 4)
        holder = net if hasattr(net, "obs_scale") else net.body
        scale = holder.obs_scale.clone()
        scaled = net(obs * scale)
        holder.obs_scale.fill_(1.0)
        torch.testing.assert_close(scaled, net(obs))
        assert len(set(scale.tolist())) == 3


# --- Pong -------------------------------------------------------------------------------------


class Games:
    """Stand-in for eight games of Pong: reward 1 a step, over after six; frames are numbered."""

    def __init__(self):
        self.time, self.closed = 0, False

    def obs(self):
        times = self.time + np.arange(-3, 1)
        times[times < self.time - self.time % 7] = 0  # of the game before: black
        return np.broadcast_to(times.astype(np.uint8)[:, None, None], (8, 4, 84, 84)).copy()

    def reset(self, seed=None):
        return self.obs(), {}

    def step(self, actions):
        self.time += 1
        turn = self.time % 7  # 0: the step that resets, no transition
        reward = np.full(8, float(turn != 0))
        return self.obs(), reward, np.full(8, turn == 6), np.zeros(8, bool), {}

    def close(self):
        self.closed = True


def how_pong_trains(nb):
    """Scores of whole games, obs and action of one moment, one look at the background."""
    made, pushed, asked, calibrated, brains = [], [], [], [], []

    def make_pong(number, **how):
        made.append((number, how, Games()))
        return made[-1][2]

    def make(config, rng):
        brains.append(original(config, rng))
        push = brains[0].memory.push
        brains[0].memory.push = lambda *row: pushed.append(row) or push(*row)
        return brains[0]

    def evaluate(policy, arena, seeds, max_agent_steps):
        asked.append((policy, arena, max_agent_steps))
        return SimpleNamespace(mean=float(len(asked)))

    original, calibrate = nb["pong_brain"], nb["calibrate"]
    nb.update(make_pong=make_pong, evaluate=evaluate, pong_brain=make)
    nb["calibrate"] = lambda brain: calibrated.append(brain.updates) or calibrate(brain)
    config = replace(
        nb["PONG_VARIANTS"]["n_step"],
        agent_steps=160, learn_start=64, capacity=800, batch=4,
        updates_per_train=1, hidden=(1568, 16),
    )  # fmt: skip
    brain, curve, games = nb["train_pong"](config, seed=5, select_every=80)
    (eight, how, envs), (ten, scores, arena) = made
    assert (eight, ten) == (8, 10)
    assert how.get("clip_rewards", True) and scores == {"clip_rewards": False}
    assert games == [6.0] * 24  # three games of six points in each of eight
    assert [row[0][0, -1, 0, 0] for row in pushed] == list(range(20))  # before the step, not after
    assert [row[2][0] for row in pushed] == [float(t % 7 != 0) for t in range(1, 21)]
    assert brain.agent_steps == 160 and calibrated == [0] and brain.updates > 0
    assert [row[:3] for row in curve] == [(5, 80, 1.0), (5, 160, 2.0)]
    assert all(p == brain.greedy and a is arena and most == 4_000 for p, a, most in asked)
    assert envs.closed and arena.closed
    memory = brains[0].memory
    assert (memory.n_step, memory.gamma, memory.capacity) == (3, config.gamma, 800)
    for network in (brain.q_net, brain.target_net):
        assert 0 < network.body.mean_frame.mean() < 20


def memories_have_the_settings(nb):
    """Prioritized ones, of CartPole and of Pong."""
    config = replace(nb["PONG_VARIANTS"]["prioritized"], capacity=800, alpha=0.3, n_step=2)
    memory = nb["pong_brain"](config, np.random.default_rng(0)).memory
    assert (memory.priorities.alpha, memory.n_step, memory.gamma) == (0.3, 2, config.gamma)
    memory = make_brain(nb, small(nb, prioritized=True, alpha=0.3)).memory
    assert (memory.priorities.alpha, memory.capacity) == (0.3, 100)


# --- checks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["05", "06", "07", "07-core"])
@pytest.mark.parametrize("check", [what_is_stored, when_it_learns])
def test_the_loop(check, which):
    check(definitions(which))


@pytest.mark.parametrize("which", ["05", "06", "07-core"])
def test_what_training_keeps(which):
    what_training_keeps(definitions(which), which)


@pytest.mark.parametrize("which", ["05", "06", "07"])
def test_what_a_fall_costs(which):
    what_a_fall_costs(definitions(which), which)


@pytest.mark.parametrize("which", ["05", "07"])
def test_observations_are_scaled(which):
    observations_are_scaled(definitions(which))


def test_double_asks_the_right_networks():
    double_asks_the_right_networks(definitions("05"))


@pytest.mark.parametrize("check", [how_pong_trains, memories_have_the_settings])
def test_pong(check):
    check(definitions("07-pong"))


COPY = "        self.target_net.load_state_dict(self.q_net.state_dict())\n        self.optimizer"
FAULTS = {
    "06: the clock unknown to the windows": (
        what_is_stored, "06", "learn(transition, truncated)  # CH", "learn(transition, False)  # CH"
    ),
    "07: the clock unknown to the windows": (
        what_is_stored, "07", "window.add(transition, truncated)", "window.add(transition, False)"
    ),
    "07: the clock taken for an end": (
        what_is_stored, "07", "reward, next_obs, terminated)\n            self.agent",
        "reward, next_obs, terminated or truncated)\n            self.agent",
    ),
    "07: windows of one step": (what_is_stored, "07", "NStep(brain.config.n_step", "NStep(1"),
    "07: windows with another gamma": (
        what_is_stored, "07", "n_step, brain.config.gamma)", "n_step, 0.99)"
    ),
    "05: learns at every step": (
        when_it_learns, "05", "self.agent_steps % config.train_every == 0 and", "True and"
    ),
    "06: one update instead of three": (
        when_it_learns, "06", "for _ in range(config.updates_per_train)", "for _ in range(1)"
    ),
    "07: learning rate kept": (
        when_it_learns, "07", "lr + (lr_end - lr) * self.progress()", "lr"
    ),
    "07: learning rate of Rainbow kept": (
        when_it_learns, "07-core", "self.config.lr * (1 - self.progress())", "self.config.lr"
    ),
    "07: copied after every update": (
        when_it_learns, "07", "if self.updates % self.config.target_every == 0:", "if True:"
    ),
    "07: no copy at first": (when_it_learns, "07", COPY, "        self.optimizer"),
    "07: gradient not cut": (
        when_it_learns, "07", "nn.utils.clip_grad_norm_(self.q_net.parameters(), CLIP_NORM)", "pass"
    ),
    "05: best weights not cloned": (what_training_keeps, "05", "w.clone() for", "w for"),
    "06: best taken from the last": (
        what_training_keeps, "06", "if mean > max((point[2] for point in curve), default=0):",
        "if True:",
    ),
    "07: chosen on the seeds of the test": (
        what_training_keeps, "07-core", "seeds = SELECTION_SEEDS", "seeds = TEST_SEEDS"
    ),
    "07: judged with noise": (
        what_training_keeps, "07-core", "evaluate(brain.greedy, ARENA, seeds)",
        "evaluate(brain.decide_actions, ARENA, seeds)",
    ),
    "07: stop_at ignored": (what_training_keeps, "07-core", "        return mean >= stop_at\n", ""),
    "05: the reward turned round": (
        what_a_fall_costs, "05", "reward=fall_only", "reward=not fall_only"
    ),
    "05: the return of the other reward": (
        what_a_fall_costs, "05", "    if fall_only:\n", "    if not fall_only:\n"
    ),
    "05: a fall discounted once too often": (
        what_a_fall_costs, "05", "gamma ** (length - 1)", "gamma**length"
    ),
    "07: 1 a step": (
        what_a_fall_costs, "07", "dict(sutton_barto_reward=True)", "dict()"
    ),
    "05: dueling sees raw observations": (
        observations_are_scaled, "05", "self.body(obs / self.obs_scale)", "self.body(obs)"
    ),
    "07: observations multiplied": (
        observations_are_scaled, "07", "obs / self.obs_scale", "obs * self.obs_scale"
    ),
    "05: networks swapped": (
        double_asks_the_right_networks, "05", "networks = self.q_net, self.target_net",
        "networks = self.target_net, self.q_net",
    ),
    "Pong: background of one network only": (
        how_pong_trains, "07-pong", "for network in (brain.q_net, brain.target_net):\n",
        "for network in (brain.q_net,):\n",
    ),
    "Pong: games score on and on": (how_pong_trains, "07-pong", "        score[ended] = 0.0\n", ""),
    "Pong: scores of clipped games": (
        how_pong_trains, "07-pong", "make_pong(10, clip_rewards=False), np.zeros",
        "make_pong(10), np.zeros",
    ),
    "Pong: the picture after the action": (
        how_pong_trains, "07-pong", "memory.push(obs, actions", "memory.push(next_obs, actions"
    ),
    "Pong: eight steps counted as one": (
        how_pong_trains, "07-pong", "self.agent_steps += steps", "self.agent_steps += 1"
    ),
    "Pong: memory with another gamma": (
        memories_have_the_settings, "07-pong", "n_step=config.n_step, gamma=config.gamma)",
        "n_step=config.n_step, gamma=0.5)",
    ),
    "Pong: memory with another alpha": (
        memories_have_the_settings, "07-pong", 'how["alpha"] = config.alpha', 'how["alpha"] = 0.5'
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_noticed(fault):
    check, which, text, broken = FAULTS[fault]
    given = (which,) if check in (what_training_keeps, what_a_fall_costs) else ()
    with pytest.raises((AssertionError, ValueError)):
        check(definitions(which, text, broken), *given)
