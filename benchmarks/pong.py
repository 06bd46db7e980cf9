"""Pong from pixels: minutes of training until the greedy agent wins by 18 points a game."""

import tempfile
import time
from dataclasses import fields, replace
from pathlib import Path

from benchmarks.contestants import Contestant
from helpers.atari import make_pong
from helpers.evaluation import evaluate
from helpers.runtime import pick_device

SEEDS, ROUNDS = 5, 3  # runs of ours; rounds in which the others take part
GOAL, EVERY, GAMES, TEST_SEED = 18.0, 10_000, 10, 20_000  # points; agent steps; games; seed
MAX_GAME = 6_000  # agent steps of an evaluated game, as in notebook 08


def play_greedily(greedy, seed, quick):
    """Greedy games of one policy, counted in points: an Evaluation."""
    envs = make_pong(2 if quick else GAMES, clip_rewards=False)
    result = evaluate(greedy, envs, seed, max_agent_steps=200 if quick else MAX_GAME)
    envs.close()
    return result


def load_notebook(folder, name="08_faster_training", wanted=("PongConfig", "PongTraining")):
    """Definitions of a notebook, writing their files below ``folder``; no denormal numbers."""
    import torch

    from tools.definitions import load_definitions

    def build_dir(*parts):
        path = Path(folder).joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return path

    torch.set_flush_denormal(True)
    nb = load_definitions(name, wanted)
    nb["build_dir"] = build_dir  # runs side by side must not share a checkpoint
    return nb


def with_settings(config, settings):
    """A Config with "field=value" settings put in, each of the field's own type.

    Raises:
        ValueError: if one names no number of Config, or its value does not fit the type.
    """
    types, values = {f.name: type(getattr(config, f.name)) for f in fields(config)}, {}
    for name, _, text in (setting.partition("=") for setting in settings):
        if types.get(name) not in (int, float, bool):
            raise ValueError(f"expected --set to name a number of Config, got {name!r}")
        try:
            number = float(text)  # of a bool: 0 or 1
            values[name] = types[name](number)
        except (ValueError, OverflowError):
            number = None
        if number is None or values[name] != number:
            kind = types[name].__name__
            raise ValueError(f"expected --set {name}=VALUE of type {kind}, got {text!r}")
    return replace(config, **values)


def check_settings(settings):
    """Raise ValueError unless the settings fit notebook 08's PongConfig."""
    from tools.definitions import load_definitions

    with_settings(load_definitions("08_faster_training", ["PongConfig"])["PongConfig"](), settings)


def figures_of(environment, greedy, quick):
    """What is recorded of a finished training of ours, with its test games."""
    test = play_greedily(greedy, TEST_SEED, quick)
    curve = environment.evaluations
    return {
        "solved": bool(curve) and curve[-1][2] >= GOAL,
        "seconds": environment.seconds,
        "agent_steps": environment.agent_steps,
        "updates": environment.agent.brain.updates,
        "test_mean": test.mean,
        "test_std": test.std,
        "curve": curve,
    }


def train_ours(seed, options):
    """Train as notebook 08 does."""
    with tempfile.TemporaryDirectory() as folder:
        nb = load_notebook(folder)
        config = with_settings(replace(nb["PongConfig"](), seed=seed), options.set)
        if options.quick:
            config = replace(
                config, agent_steps=1_600, learn_start=800, evaluate_every=1_600, games=2
            )
        environment = nb["PongTraining"](config, pick_device())
        environment.run()
    return figures_of(environment, environment.agent.brain.greedy, options.quick)


def train_notebook_04(seed, options):
    """Train as notebook 04 does, judged as the others are; its clock stops for evaluations."""

    class Clock:
        paused = 0.0  # seconds

        def monotonic(self):
            return time.monotonic() - self.paused

    with tempfile.TemporaryDirectory() as folder:
        nb = load_notebook(folder, "04_pong_dqn", ("Config", "Environment"))
        clock = nb["time"] = Clock()

        class Judged(nb["Environment"]):
            stop_at = GOAL

            def greedy(self, obs):
                return self.agent.brain.q_values(obs).argmax(1)

            def evaluate(self):
                started = time.monotonic()
                found = play_greedily(self.greedy, 10_000, options.quick)
                row = [self.agent_steps, self.seconds / 60, found.mean, found.std]
                self.evaluations.append(row)
                self.best = found.mean
                clock.paused += time.monotonic() - started

        config = replace(nb["Config"](), evaluate_every=EVERY)
        if options.quick:
            config = replace(config, agent_steps=1_600, learn_start=800, evaluate_every=1_600)
        environment = Judged(config, seed, pick_device())
        environment.run()
    return figures_of(environment, environment.greedy, options.quick)


def as_vec_env(envs, seed):
    """One game of ``make_pong`` in the shape stable-baselines3 wants.

    Ours resets on the step after an end, theirs within the step that ends; so after an end
    one more step is made here, and the last picture handed on as "terminal_observation".
    """
    from stable_baselines3.common.vec_env import VecEnv

    class OneGame(VecEnv):
        def reset(self):
            return envs.reset(seed=seed)[0].copy()

        def step_async(self, actions):
            self.actions = actions

        def step_wait(self):
            obs, reward, terminated, truncated, _ = envs.step(self.actions)
            done, info = terminated | truncated, {}
            if done[0]:
                cut = bool(truncated[0] and not terminated[0])
                info = {"terminal_observation": obs[0].copy(), "TimeLimit.truncated": cut}
                obs = envs.step(self.actions)[0]  # resets; the action is ignored
            return obs.copy(), reward.astype("float32"), done, [info]

        def close(self):
            envs.close()

        def get_attr(self, name, indices=None):
            return [None]  # no render mode, nothing else is asked for

        def set_attr(self, name, value, indices=None):
            raise AttributeError(f"expected no attribute to be set on the game, got {name!r}")

        def env_method(self, name, *args, indices=None, **kwargs):
            raise AttributeError(f"expected no method of the game to be called, got {name!r}")

        def env_is_wrapped(self, wrapper_class, indices=None):
            return [False]

    if envs.num_envs != 1:
        raise ValueError(f"expected one game, got {envs.num_envs}: the others would step too")
    return OneGame(1, envs.single_observation_space, envs.single_action_space)


def atari_games(num_envs, seed):
    """stable-baselines3's own Pong: its wrappers, four frames stacked."""
    from stable_baselines3.common.env_util import make_atari_env
    from stable_baselines3.common.vec_env import VecFrameStack

    return VecFrameStack(make_atari_env("PongNoFrameskip-v4", num_envs, seed=seed), n_stack=4)


def train_stable_baselines3(seed, options, own_wrappers):
    """Train stable-baselines3's DQN with RL Zoo's Atari settings, on its wrappers or on ours."""
    from stable_baselines3 import DQN
    from stable_baselines3.common.callbacks import BaseCallback

    games = atari_games(1, seed) if own_wrappers else as_vec_env(make_pong(1), seed)
    minutes = 0.3 if options.quick else options.minutes
    model = DQN(
        "CnnPolicy", games, learning_rate=1e-4, batch_size=32, buffer_size=100_000,
        learning_starts=200 if options.quick else 10_000, train_freq=4, gradient_steps=1,
        target_update_interval=1_000, exploration_fraction=0.1, exploration_final_eps=0.01,
        seed=seed, device=pick_device(),
    )  # fmt: skip

    def greedy(obs):
        return model.predict(obs, deterministic=True)[0]

    class Clock(BaseCallback):
        evaluating, curve, solved = 0.0, [], False

        def _on_training_start(self):
            self.started = time.perf_counter()

        def judge(self):
            self.paused = time.perf_counter()
            self.seconds = self.paused - self.started - self.evaluating
            result = play_greedily(greedy, 10_000, options.quick)
            point = [self.num_timesteps, self.seconds / 60, result.mean, result.std]
            self.curve = [*self.curve, point]
            self.solved = result.mean >= GOAL
            self.evaluating += time.perf_counter() - self.paused
            print(*point, flush=True)

        def _on_step(self):
            seconds = time.perf_counter() - self.started - self.evaluating
            over = seconds >= 60 * minutes
            if over or self.num_timesteps % EVERY == 0:
                self.judge()
            return not (over or self.solved)

    clock = Clock()
    model.learn(1_000_000, callback=clock)  # ε falls over the first tenth of these
    games.close()
    test = play_greedily(greedy, TEST_SEED, options.quick)
    return {
        "solved": bool(clock.solved),
        "seconds": clock.seconds,
        "agent_steps": model.num_timesteps,
        "updates": model._n_updates,
        "test_mean": test.mean,
        "test_std": test.std,
        "curve": clock.curve,
    }


THEIRS = dict(code=train_stable_baselines3, against="ours", peer=True, threads=2)
CONTESTANTS = (
    Contestant("ours", train_ours, threads=2),
    Contestant("notebook 04", train_notebook_04, against="ours", threads=2),
    Contestant("stable-baselines3", settings={"own_wrappers": True}, **THEIRS),
    Contestant("stable-baselines3, our wrappers", settings={"own_wrappers": False}, **THEIRS),
)


def measure(contestant, seed, options):
    """One run of one contestant: a dictionary of figures."""
    return contestant.code(seed, options, **contestant.settings)
