"""Ablations: every variant of a notebook on many seeds.

``python -m benchmarks.ablate 05 --seeds 20`` trains the variants of notebook 05 on CartPole and
writes their curves to ``build/results/``; ``07-pong --seeds 3`` trains on Pong, ``08 --first 100``
on seeds that chose no setting. ``--record`` writes to ``results/`` instead, where the notebooks
find them, and with ``--resume`` trains only what is missing there. No time is measured here, so
runs may share the machine; a run gives the same curve whatever runs beside it.
"""

import argparse
import csv
import json
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

from helpers.checkpoint import write_atomically
from helpers.plotting import save_curves
from helpers.runtime import ROOT

ROOTS = ["VARIANTS", "CURVE"]  # what is asked of a notebook; what these use comes along
NOTEBOOKS = {
    "05": ("05_double_dueling", [*ROOTS, "train_variant"]),
    "06": ("06_prioritized_nstep", [*ROOTS, "train_variant"]),
    "07": ("07_rainbow", [*ROOTS, "train_variant"]),
    "07-pong": ("07_rainbow", [*ROOTS, "PONG_VARIANTS", "train_pong"]),
    "08": ("08_faster_training", [*ROOTS, "train"]),
}


def load(which):
    """Definitions of a notebook."""
    from tools.definitions import load_definitions

    return load_definitions(*NOTEBOOKS[which])


def variants_of(which, nb):
    """The variants to compare, {name: Config}."""
    return nb["PONG_VARIANTS" if which == "07-pong" else "VARIANTS"]


def train(which, variant, seed):
    """Train one variant from one seed: the rows of its curve."""
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(which == "08")  # as in that notebook
    nb = load(which)
    config = variants_of(which, nb)[variant]
    if which == "07-pong":
        return nb["train_pong"](config, seed)[1]
    return nb.get("train_variant", nb["train"])(config, seed).curve


def finished(path):
    """Rows of the finished runs of a file, {seed: rows}."""
    runs = {}
    if path.exists():
        with path.open(newline="") as file:
            for row in list(csv.reader(file))[1:]:
                runs.setdefault(int(row[0]), []).append(row)
    return runs


def settings(which, folder):
    """Settings of the variants: as the notebook has them now, and those of the recorded curves.

    Both as {variant: {field: value}}; the second is kept in a file beside the curves.
    """
    nb = load(which)
    configs = {name: asdict(config) for name, config in variants_of(which, nb).items()}
    path = folder / f"{which.replace('-', '_')}_settings.json"
    recorded = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return json.loads(json.dumps(configs)), recorded, path


def command_line():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablate", description=__doc__)
    parser.add_argument("notebook", choices=sorted(NOTEBOOKS))
    parser.add_argument("--variants", nargs="+", help="only these")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--resume", action="store_true", help="repeat no finished run")
    parser.add_argument("--jobs", type=int, default=2, help="trainings side by side")
    parser.add_argument("--folder", type=Path, help="default: build/results")
    parser.add_argument("--record", action="store_true", help="write to results/")
    return parser


def main():
    """Read the command line and train what is missing, seed by seed."""
    parser = command_line()
    options = parser.parse_args()
    if options.record and options.folder is not None:
        parser.error("expected --record or --folder, got both")
    if options.folder is None:
        options.folder = ROOT / "results" if options.record else ROOT / "build" / "results"
    nb = load(options.notebook)
    known = list(variants_of(options.notebook, nb))
    variants = options.variants or known
    if set(variants) - set(known):
        parser.error(f"expected variants of {known}, got {sorted(set(variants) - set(known))}")
    now, recorded, path = settings(options.notebook, options.folder)
    changed = [name for name in variants if recorded.get(name, now[name]) != now[name]]
    if options.resume and changed:
        parser.error(f"{changed} were recorded with other settings: run them without --resume")
    start = options.notebook.replace("-", "_")
    paths = {name: options.folder / f"{start}_{name}.csv" for name in variants}
    runs = {name: finished(path) if options.resume else {} for name, path in paths.items()}
    seeds = range(options.first, options.first + options.seeds)
    missing = [(name, seed) for seed in seeds for name in variants]
    missing = [(name, seed) for name, seed in missing if seed not in runs[name]]
    with ProcessPoolExecutor(options.jobs) as pool:
        jobs = {pool.submit(train, options.notebook, *run): run for run in missing}
        for done, job in enumerate(as_completed(jobs), start=1):
            name, seed = jobs[job]
            runs[name][seed] = job.result()
            rows = [row for seed in sorted(runs[name]) for row in runs[name][seed]]
            save_curves(paths[name], nb["CURVE"], rows)
            recorded[name] = now[name]  # after the curves: until then the old ones are there
            write_atomically(path, json.dumps(recorded, indent=1).encode())
            print(f"{done} of {len(missing)}: {name}, seed {seed}", flush=True)


if __name__ == "__main__":
    main()
