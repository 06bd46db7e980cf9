"""CartPole-v1: seconds of training until the greedy agent balances 475 steps of 500."""

import time
from dataclasses import replace

from benchmarks.contestants import Contestant
from helpers.evaluation import evaluate

SEEDS, ROUNDS = 20, 5  # runs of ours; rounds in which the others take part
GOAL, BUDGET, EVERY, EPISODES = 475, 50_000, 2_500, 100  # mean return; agent steps; agent steps
SELECTION_SEEDS, TEST_SEEDS = 1_000_000, 2_000_000  # no training uses these
NOTEBOOK_03 = ["OURS", "PLAIN", "HARD", "SOFT", "Brain", "RecipeBrain", "Agent", "Environment"]
SINGLE = dict(  # notebook 02: one network, ε = 0.5 / (episode + 1)
    hidden=(32, 32), lr=1e-4, capacity=10_000, batch=32, learn_start=32, train_every=1,
    updates_per_train=1, target_every=1, only_fall_counts=True,
)  # fmt: skip


class Judge:
    """Stops the clock now and then, plays greedy episodes, and says when a training is over.

    Args:
        greedy: function from observations (N, 4) to actions (N,).
        seed: of the training; evaluations use other seeds.
        budget: agent steps after which the training is over.
        every: agent steps between two evaluations.
        episodes: greedy episodes in one evaluation.
    """

    def __init__(self, greedy, seed, budget=BUDGET, every=EVERY, episodes=EPISODES):
        import gymnasium as gym

        self.greedy, self.seed, self.budget, self.every = greedy, seed, budget, every
        self.envs = gym.make_vec("CartPole-v1", num_envs=episodes)
        self.agent_steps, self.curve, self.solved = 0, [], False
        self.evaluating, self.started = 0.0, time.perf_counter()

    def over(self, agent_steps):
        """Evaluate after so many agent steps; True once solved or out of budget."""
        paused = time.perf_counter()
        self.agent_steps = agent_steps
        seed = SELECTION_SEEDS + 1_000 * self.seed + len(self.curve)
        self.curve.append([agent_steps, evaluate(self.greedy, self.envs, seed).mean])
        self.solved = self.curve[-1][1] >= GOAL
        self.evaluating += time.perf_counter() - paused
        return self.solved or agent_steps >= self.budget

    def result(self):
        """What a run reports; call it when the training has ended."""
        seconds = time.perf_counter() - self.started - self.evaluating
        test = evaluate(self.greedy, self.envs, TEST_SEEDS + 1_000 * self.seed)
        return {
            "solved": bool(self.solved),
            "seconds": seconds,
            "agent_steps": self.agent_steps,
            "test_mean": test.mean,
            "test_std": test.std,
            "curve": self.curve,
        }


def load_carts():
    """Definitions of notebook 08 for CartPole; as there, denormal numbers are set to 0."""
    import torch

    from tools.definitions import load_definitions

    torch.set_flush_denormal(True)
    return load_definitions("08_faster_training", ["Config", "Brain", "train_carts"])


def train_ours(seed, **limits):
    """Train as notebook 08 does."""
    from helpers.runtime import seed_everything

    nb = load_carts()
    config = replace(nb["Config"](), select_every=limits.get("every", EVERY))
    brain = nb["Brain"](config, seed_everything(seed))
    judge = Judge(brain.q_net.greedy, seed, **limits)
    for agent_steps in nb["train_carts"](brain, seed):
        if judge.over(agent_steps):
            break
    return judge.result()


def train_notebook_03(seed, recipe, **limits):
    """Train one recipe of notebook 03, with the notebook's own definitions."""
    from helpers.runtime import seed_everything
    from tools.definitions import load_definitions

    nb = load_definitions("03_target_network", NOTEBOOK_03)
    if recipe == "SINGLE":
        nb["SINGLE"] = replace(nb["PLAIN"], **SINGLE)
        nb["recipe_epsilon"] = lambda config, agent_steps, episode: 0.5 / (episode + 1)
    config = nb[recipe]
    brain = nb["Brain" if recipe == "OURS" else "RecipeBrain"](config, seed_everything(seed))
    judge = Judge(brain.greedy, seed, **limits)
    environment = nb["Environment"](nb["Agent"](brain), config, seed)
    environment.run(lambda steps, lengths: steps % judge.every == 0 and judge.over(steps))
    return judge.result()


def train_stable_baselines3(seed, **limits):
    """Train stable-baselines3's DQN with RL Zoo's settings for CartPole-v1."""
    from stable_baselines3 import DQN
    from stable_baselines3.common.callbacks import BaseCallback

    model = DQN(
        "MlpPolicy", "CartPole-v1", learning_rate=2.3e-3, batch_size=64, buffer_size=100_000,
        learning_starts=1_000, gamma=0.99, train_freq=256, gradient_steps=128,
        target_update_interval=10, exploration_fraction=0.16, exploration_final_eps=0.04,
        policy_kwargs={"net_arch": [256, 256]}, seed=seed, device="cpu",
    )  # fmt: skip
    judge = Judge(lambda obs: model.predict(obs, deterministic=True)[0], seed, **limits)

    class Stop(BaseCallback):
        def _on_step(self):
            return self.n_calls % judge.every != 0 or not judge.over(self.n_calls)

    model.learn(BUDGET, callback=Stop())
    return judge.result()


CONTESTANTS = (
    Contestant("ours", train_ours),
    Contestant("notebook 03", train_notebook_03, {"recipe": "OURS"}, "ours"),
    Contestant("stable-baselines3", train_stable_baselines3, against="ours", peer=True),
    Contestant("single", train_notebook_03, {"recipe": "SINGLE"}, "ours"),
    Contestant("hard", train_notebook_03, {"recipe": "HARD"}, "ours"),
    Contestant("soft", train_notebook_03, {"recipe": "SOFT"}, "ours"),
)  # one torch thread each: these networks are so small that a second one only waits


def measure(contestant, seed, options):
    """One run of one contestant: a dictionary of figures."""
    limits = {"budget": 5_000} if options.quick else {}
    return contestant.code(seed, **contestant.settings, **limits)
