"""Who takes part in the benchmarks."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field

NAMES = ("cartpole", "pong", "throughput", "memory")


@dataclass(frozen=True)
class Contestant:
    """One of those that do the same work.

    Attributes:
        name: on the command line, in the recorded rows and in the tables.
        code: function that does the work; ``measure`` of its benchmark calls it.
        settings: keyword arguments of that function.
        against: name of ours that it is compared with; None if it is ours.
        peer: whether it runs in the environment of the peers.
        threads: torch threads of a run.
    """

    name: str
    code: Callable
    settings: dict = field(default_factory=dict)
    against: str | None = None
    peer: bool = False
    threads: int = 1


def benchmark_module(name):
    """The module of a benchmark: CONTESTANTS (ours first), SEEDS, ROUNDS and ``measure``."""
    return importlib.import_module(f"benchmarks.{name}")


def find_contestant(benchmark, name):
    """The contestant of that name.

    Raises:
        ValueError: if the benchmark has none.
    """
    known = {c.name: c for c in benchmark_module(benchmark).CONTESTANTS}
    if name not in known:
        raise ValueError(f"expected a contestant of {benchmark}, {list(known)}, got {name!r}")
    return known[name]
