"""Bytes of a transition and transitions drawn a second, from 10,000 to 1,000,000 of them."""

import time
from itertools import count, islice

import numpy as np

from benchmarks.contestants import Contestant

SEEDS, ROUNDS = 3, 3
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)  # transitions
GAMES, BATCH = 8, 32
SHARE = 0.8  # of the free memory that a contestant may fill


def free_bytes():
    """Memory that programs may still take, in bytes (of Linux)."""
    with open("/proc/meminfo") as file:
        rows = dict(line.split(":") for line in file)
    return 1024 * int(rows["MemAvailable"].split()[0])


def random_steps():
    """Endless steps of random bytes: obs (8, 4, 84, 84), terminated (8,), all games together."""
    frames = np.random.default_rng(0).integers(0, 256, (16, GAMES, 84, 84), np.uint8)
    obs = np.zeros((GAMES, 4, 84, 84), np.uint8)
    for t in count():
        obs[:, :-1] = obs[:, 1:] if t % 1_000 else 0  # a game begins with black frames
        obs[:, -1] = frames[t % 16]
        yield obs, np.full(GAMES, t % 1_000 == 998)  # the step after an end is the reset


def fill_ours(size):
    """The frame memory, filled: (memory, draw)."""
    import torch

    from helpers.replay import FrameReplayMemory

    memory = FrameReplayMemory(size, GAMES, np.random.default_rng(0))
    action, reward, truncated = np.zeros(GAMES, np.uint8), np.zeros(GAMES), np.zeros(GAMES, bool)
    for obs, terminated in islice(random_steps(), size // GAMES):
        memory.push(obs, action, reward, terminated, truncated)
    return memory, lambda: [torch.from_numpy(column) for column in memory.sample(BATCH)]


def fill_stable_baselines3(size, optimized):
    """The replay buffer of stable-baselines3, filled: (buffer, draw)."""
    from gymnasium.spaces import Box, Discrete
    from stable_baselines3.common.buffers import ReplayBuffer

    buffer = ReplayBuffer(
        size,
        Box(0, 255, (4, 84, 84), np.uint8),
        Discrete(6),
        "cpu",
        GAMES,
        optimize_memory_usage=optimized,
        handle_timeout_termination=not optimized,
    )
    action, reward, infos = np.zeros((GAMES, 1)), np.zeros(GAMES), [{}] * GAMES
    for obs, terminated in islice(random_steps(), size // GAMES):
        buffer.add(obs, obs, action, reward, terminated, infos)
    return buffer, lambda: buffer.sample(BATCH)


def array_bytes(thing):
    """Bytes of all numpy arrays that an object holds."""
    return sum(a.nbytes for a in vars(thing).values() if isinstance(a, np.ndarray))


THEIRS = dict(code=fill_stable_baselines3, against="ours", peer=True)
CONTESTANTS = (
    Contestant("ours", fill_ours),
    Contestant("stable-baselines3", settings={"optimized": False}, **THEIRS),
    Contestant("stable-baselines3, optimized", settings={"optimized": True}, **THEIRS),
)


def measure(contestant, seed, options):
    """One run of one contestant: bytes a transition and transitions/s for each size."""
    result = {"bytes_per_transition": 0.0, "samples_per_s": {}, "too_large": {}}
    for size in SIZES[:2] if options.quick else SIZES:
        needed, free = size * result["bytes_per_transition"], free_bytes()
        if needed > SHARE * free:
            result["too_large"][str(size)] = (
                f"needs {needed / 1e9:.1f} GB, more than {SHARE:.0%} of {free / 1e9:.1f} GB free"
            )
            continue
        held, draw = contestant.code(size, **contestant.settings)
        if not result["bytes_per_transition"]:
            result["bytes_per_transition"] = array_bytes(held) / size
        batches = 100 if options.quick else 1_000
        for _ in range(batches // 10):
            draw()
        started = time.perf_counter()
        for _ in range(batches):
            draw()
        result["samples_per_s"][str(size)] = batches * BATCH / (time.perf_counter() - started)
        del held, draw  # before the next size asks for room
    return result


def draw_figure(rows):
    """Draw transitions drawn a second against the size of the memory, into build/figures."""
    from statistics import median

    import matplotlib.pyplot as plt

    from helpers.plotting import show

    picture, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
    for name in (contestant.name for contestant in CONTESTANTS):
        speeds = {}
        for row in (row for row in rows if row["contestant"] == name):
            for size, speed in row.get("samples_per_s", {}).items():  # none in a failed run
                speeds.setdefault(int(size), []).append(speed)
        sizes = sorted(speeds)
        axes.plot(sizes, [median(speeds[size]) for size in sizes], "o-", label=name)
    axes.set(xscale="log", xlabel="transitions stored", ylabel="transitions drawn a second")
    axes.set(title="How fast a replay memory of each size is read", ylim=(0, None))
    axes.legend(fontsize=8)
    show(picture, "bench_memory")
