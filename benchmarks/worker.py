"""One run of one contestant, in a process of its own; its result is one JSON line."""

import argparse
import contextlib
import importlib.metadata
import json
import platform
import sys

from benchmarks.contestants import NAMES, benchmark_module, find_contestant


def versions():
    """Versions of Python and of the libraries that are here."""
    rows = {"python": platform.python_version()}
    for name in ("torch", "numpy", "gymnasium", "ale-py", "stable-baselines3"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            rows[name] = importlib.metadata.version(name)
    return rows


def main():
    """Run what the command line names; all other output goes to stderr."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("contestant")
    parser.add_argument("round", type=int)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--set", nargs="*", default=[])
    options = parser.parse_args()
    with contextlib.redirect_stdout(sys.stderr):
        import torch

        contestant = find_contestant(options.name, options.contestant)
        torch.set_num_threads(contestant.threads)
        result = benchmark_module(options.name).measure(contestant, options.round, options)
    print(json.dumps({"result": result, "versions": versions()}))


if __name__ == "__main__":
    main()
