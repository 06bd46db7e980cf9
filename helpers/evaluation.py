"""How good is an agent? Whole episodes, greedy, in environments of their own."""

from collections import namedtuple

import numpy as np

from helpers.checks import check_count

Evaluation = namedtuple("Evaluation", "returns mean std agent_steps")
Evaluation.__doc__ = """What an evaluation found.

returns: (N,) float64, undiscounted return of each episode. mean, std: of those.
agent_steps: decisions taken in the counted episodes together.
"""


def evaluate(act, envs, seed, max_agent_steps=27_000):
    """Play one episode in each of N environments and report the returns.

    Exactly the first episode of each environment counts, so short episodes are
    not over-represented. The environments are not closed.

    Args:
        act: function from observations (N, …) to actions (N,), without exploration.
        envs: a Gymnasium vector environment with N environments.
        seed: environment i is reset with seed + i.
        max_agent_steps: give up after this many steps of the vector environment;
            what an unfinished episode earned until then counts.

    Returns:
        Evaluation.

    Raises:
        ValueError: if ``act`` returns anything but N actions, or a reward is not finite.
    """
    check_count("max_agent_steps", max_agent_steps)
    obs, _ = envs.reset(seed=seed)
    returns = np.zeros(envs.num_envs)
    lengths = np.zeros(envs.num_envs, np.int64)
    running = np.ones(envs.num_envs, bool)
    for _ in range(max_agent_steps):
        action = np.asarray(act(obs))
        if action.shape != (envs.num_envs,):
            raise ValueError(
                f"expected act to return actions of shape ({envs.num_envs},), got {action.shape}"
            )
        obs, reward, terminated, truncated, _ = envs.step(action)
        returns += np.where(running, reward, 0.0)
        lengths += running
        running &= ~(terminated | truncated)
        if not running.any():
            break
    if not np.isfinite(returns).all():
        raise ValueError(f"expected finite rewards, got returns {returns}: look at the environment")
    return Evaluation(returns, float(returns.mean()), float(returns.std()), int(lengths.sum()))
