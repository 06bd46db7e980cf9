"""Agent steps and updates a second, at equal network, batch and updates per agent step."""

import tempfile
import time
from dataclasses import replace

from benchmarks import cartpole, pong
from benchmarks.contestants import Contestant
from helpers.runtime import pick_device, seed_everything

SEEDS, ROUNDS = 5, 5
CARTPOLE = {False: (2_560, 12_800), True: (2_560, 5_120)}  # quick: agent steps from, to
PONG = {False: (1_600, 5_600), True: (1_600, 1_920)}


class Meter:
    """Reads the clock at two numbers of agent steps, with the learner in the same phase."""

    def __init__(self, start, stop):
        self.start, self.stop, self.marks = start, stop, {}

    def read(self, agent_steps, updates):
        """Note the time if one of the two is reached; True while the run must go on."""
        if agent_steps in (self.start, self.stop):
            self.marks[agent_steps] = time.perf_counter(), updates
        return agent_steps < self.stop

    def result(self):
        """Agent steps and updates per second between the two."""
        (start, before), (stop, after) = self.marks[self.start], self.marks[self.stop]
        seconds = stop - start
        return {
            "agent_steps_per_s": (self.stop - self.start) / seconds,
            "updates_per_s": (after - before) / seconds,
            "agent_steps": self.stop - self.start,
            "updates": after - before,
            "seconds": seconds,
        }


def cartpole_ours(seed, quick):
    """The loop of notebook 08 with 2 × 256 units and 128 updates every 256 agent steps."""
    meter = Meter(*CARTPOLE[quick])
    nb = cartpole.load_carts()
    config = nb["Config"](
        agent_steps=meter.stop, hidden=(256, 256), n_step=1, batch=64, learn_start=1_000,
        train_every=256, updates_per_train=128, lr=2.3e-3, target_every=128,
        epsilon_end=0.04, epsilon_steps=1, select_every=256,
    )  # fmt: skip
    brain = nb["Brain"](config, seed_everything(seed))
    for agent_steps in nb["train_carts"](brain, seed):
        meter.read(agent_steps, brain.updates)
    return meter.result()


def pong_ours(seed, quick):
    """The loop of notebook 08 with the network of the paper and one-step returns."""
    meter = Meter(*PONG[quick])
    with tempfile.TemporaryDirectory() as folder:
        nb = pong.load_notebook(folder)

        nb["PongBrain"].follow = lambda brain: None  # copied below

        class Metered(nb["PongTraining"]):
            def record(self, *step):
                meter.read(self.agent_steps, self.agent.brain.updates)  # before this step
                super().record(*step)
                if self.agent_steps % 1_000 == 0:  # as stable-baselines3
                    self.agent.brain.copy_to_target()

        config = replace(
            nb["PongConfig"](), seed=seed, channels=(32, 64, 64), hidden=512, layer_norm=False,
            batch=32, train_every=4, n_step=1, capacity=10_000, learn_start=1_000,
            epsilon_end=0.01, epsilon_steps=1, agent_steps=meter.stop + 8, evaluate_every=10**9,
        )  # fmt: skip
        Metered(config, pick_device()).run()
    return meter.result()


def measure_stable_baselines3(meter, policy, env, epsilon, device, **how):
    """The loop of stable-baselines3's DQN, constant ε."""
    from stable_baselines3 import DQN
    from stable_baselines3.common.callbacks import BaseCallback

    model = DQN(
        policy, env, learning_starts=1_000, exploration_initial_eps=epsilon,
        exploration_final_eps=epsilon, device=device, **how,
    )  # fmt: skip

    class Read(BaseCallback):
        def _on_step(self):
            return meter.read(self.num_timesteps, model._n_updates)

    model.learn(10**9, callback=Read())
    return meter.result()


def cartpole_theirs(seed, quick):
    """The settings of RL Zoo, as ``cartpole_ours`` has them."""
    return measure_stable_baselines3(
        Meter(*CARTPOLE[quick]), "MlpPolicy", "CartPole-v1", 0.04, "cpu", learning_rate=2.3e-3,
        batch_size=64, buffer_size=100_000, train_freq=256, gradient_steps=128,
        target_update_interval=10, policy_kwargs={"net_arch": [256, 256]}, seed=seed,
    )  # fmt: skip


def pong_theirs(seed, quick, num_envs):
    """The settings of ``pong_ours``, in one or several games at once."""
    return measure_stable_baselines3(
        Meter(*PONG[quick]), "CnnPolicy", pong.atari_games(num_envs, seed), 0.01, pick_device(),
        learning_rate=1e-4, batch_size=32, buffer_size=10_000, train_freq=4,
        gradient_steps=num_envs, target_update_interval=1_000, seed=seed,
    )  # fmt: skip


PONG_THEIRS = dict(code=pong_theirs, against="Pong: ours", peer=True, threads=2)
CONTESTANTS = (  # threads: as in the two races
    Contestant("CartPole: ours", cartpole_ours),
    Contestant("CartPole: stable-baselines3", cartpole_theirs, {}, "CartPole: ours", peer=True),
    Contestant("Pong: ours", pong_ours, threads=2),
    Contestant("Pong: stable-baselines3, 1 environment", settings={"num_envs": 1}, **PONG_THEIRS),
    Contestant("Pong: stable-baselines3, 8 environments", settings={"num_envs": 8}, **PONG_THEIRS),
)


def measure(contestant, seed, options):
    """One run of one contestant: a dictionary of figures."""
    return contestant.code(seed, options.quick, **contestant.settings)
