"""Runs all contestants in turns and writes bench_*.json: see benchmarks/README.md."""

import argparse
import datetime
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import pong, report
from benchmarks.contestants import NAMES, benchmark_module
from helpers.checkpoint import write_atomically
from helpers.runtime import ROOT, commit, pick_device

PEERS = ROOT / ".venv-bench" / "bin" / "python"
LOGS = ROOT / "build" / "bench"  # what the runs print


def hardware():
    """What this machine is."""
    import torch

    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), cpu)
    gpu = torch.cuda.get_device_name() if pick_device().type == "cuda" else "none"
    return {"cpu": cpu, "cores": os.cpu_count(), "gpu": gpu}


def plan(bench, options):
    """The runs in their order, (Contestant, round): every round lets all take part in turn."""
    seeds = options.seeds or (1 if options.quick else bench.SEEDS)
    rounds = min(options.rounds or (1 if options.quick else bench.ROUNDS), seeds)
    wanted = options.contestants or [c.name for c in bench.CONTESTANTS]
    chosen = [c for c in bench.CONTESTANTS if c.name in wanted]
    if options.set:
        chosen = [c for c in chosen if c.against is None]
    ends = [rounds if c.against else seeds for c in chosen]
    runs = range(seeds)
    return [(c, turn) for turn in runs for c, end in zip(chosen, ends, strict=True) if turn < end]


def other_work():
    """CPU seconds that other work has taken so far (Linux), finished runs left out.

    Of this machine, and of others on the same host if it is a virtual one ("steal").
    """
    if not Path("/proc/stat").exists():
        return 0.0
    fields = map(int, Path("/proc/stat").read_text().split()[1:9])
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    all_work = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return all_work - os.times().children_user - os.times().children_system


def name_of_row(contestant, options):
    """What the rows of a contestant are called: with ``--set``, after the settings as well."""
    return ", ".join([contestant.name, *options.set])


def measure_in_process(name, contestant, turn, options):
    """One run in a process of its own: (row, versions)."""
    python = str(PEERS) if contestant.peer else sys.executable
    command = [python, "-m", "benchmarks.worker", name, contestant.name, str(turn)]
    command += ["--minutes", str(options.minutes)] + ["--quick"] * options.quick
    command += ["--set", *options.set] if options.set else []
    started = datetime.datetime.now().isoformat(timespec="seconds")
    clock, others = time.perf_counter(), other_work()
    LOGS.mkdir(parents=True, exist_ok=True)
    row = {"contestant": name_of_row(contestant, options), "round": turn, "started": started}
    log = LOGS / f"{name}_{row['contestant']}_{turn}.log".replace(" ", "_")
    with log.open("w+", encoding="utf-8") as errors:
        environment = {**os.environ, "DQN_PROFILE": "full", "MPLBACKEND": "Agg"}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        errors.seek(0)
        last = (errors.read().strip().splitlines() or ["no message"])[-1]
    others = (other_work() - others) / (time.perf_counter() - clock)
    row["commit"] = commit()
    row["cores_busy_with_other_work"] = round(max(others, 0.0), 3)
    if done.returncode:
        return {**row, "error": f"exit {done.returncode}: {last}"}, None
    answer = json.loads(done.stdout.splitlines()[-1])
    return {**row, **answer["result"]}, answer["versions"]


def rows_that_stay(path, name, options):
    """The file's content to go on from: rows that stay, and where they come from."""
    here = hardware()
    keep = options.resume or options.set or options.contestants  # a part replaces only itself
    data = json.loads(path.read_text(encoding="utf-8")) if keep and path.exists() else None
    if data is None:
        data = {"benchmark": name, "hardware": here, "versions": {}, "rows": []}
    if data["hardware"] != here:
        raise SystemExit(
            f"expected {path} to come from this machine, {here}; it has {data['hardware']}. "
            "Choose another --folder"
        )
    return data


def run_benchmark(name, options, measure=measure_in_process):
    """All runs of one benchmark; the file is written after each."""
    bench, path = benchmark_module(name), options.folder / f"bench_{name}.json"
    data = rows_that_stay(path, name, options)
    data["date"] = datetime.date.today().isoformat()
    data["command"] = shlex.join([".venv/bin/python", "-m", "benchmarks", *sys.argv[1:]])
    threads = {c.name: c.threads for c in bench.CONTESTANTS}
    equal = len(set(threads.values())) == 1
    data["threads"] = bench.CONTESTANTS[0].threads if equal else threads
    done = {(r["contestant"], r["round"]) for r in data["rows"] if "error" not in r}
    for contestant, turn in plan(bench, options):
        key = name_of_row(contestant, options), turn
        if options.resume and key in done:
            continue
        print(f"{name}, round {turn}: {key[0]} …", end=" ", flush=True)
        row, versions = measure(name, contestant, turn, options)
        others = [r for r in data["rows"] if (r["contestant"], r["round"]) != key]
        data["rows"] = [*others, row]
        side = "peers" if contestant.peer else "ours"
        if versions and data["versions"].setdefault(side, versions) != versions:
            known = data["versions"][side]
            raise SystemExit(f"expected {path} to come from {versions}, it comes from {known}")
        data["ratios"] = report.all_ratios(data)
        write_atomically(path, (json.dumps(data, indent=1) + "\n").encode())
        known = ("contestant", "round", "curve", "started", "commit")
        print(json.dumps({k: v for k, v in row.items() if k not in known}), flush=True)
    if name == "memory":
        bench.draw_figure(data["rows"])


def command_line():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a little of everything")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--contestants", nargs="+", help="only these")
    parser.add_argument("--seeds", type=int, help="runs of ours")
    parser.add_argument("--rounds", type=int, help="rounds in which the others take part")
    parser.add_argument("--resume", action="store_true", help="repeat no finished run")
    parser.add_argument("--minutes", type=float, default=20.0, help="of the peers' Pong trainings")
    parser.add_argument("--set", nargs="+", default=[], help="Pong, ours: field=value; rows added")
    parser.add_argument("--folder", type=Path, help="of the JSON files; default: build/bench")
    parser.add_argument(
        "--record",
        action="store_true",
        help="write to results/ (results/gpu/ on a GPU) and the README's tables",
    )
    parser.add_argument("--table", action="store_true", help="write the recorded table and stop")
    return parser


def check_options(options):
    """Raise ValueError if the options make no sense, or not together."""
    if options.quick and options.record:
        raise ValueError("expected --quick or --record, got both: quick figures mean nothing")
    if options.record and options.folder:
        raise ValueError("expected --record or --folder, got both")
    for name in ("seeds", "rounds", "minutes"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise ValueError(f"expected --{name} above 0, got {value}")
    known = {c.name for name in options.only for c in benchmark_module(name).CONTESTANTS}
    if unknown := set(options.contestants or []) - known:
        raise ValueError(f"expected --contestants of {sorted(known)}, got {sorted(unknown)}")
    if options.set:
        if list(options.only) != ["pong"] or options.contestants:
            raise ValueError("expected --set with --only pong, and without --contestants")
        pong.check_settings(options.set)


def main():
    """Read the command line, measure, and write the table."""
    parser = command_line()
    options = parser.parse_args()
    try:
        check_options(options)
    except ValueError as error:
        parser.error(str(error))
    on_gpu = pick_device().type == "cuda"
    recorded = ROOT / "results" / (report.GPU if on_gpu else "")
    options.folder = options.folder or (recorded if options.record else ROOT / "build/bench")
    if not options.table:
        runs = [run for name in options.only for run in plan(benchmark_module(name), options)]
        if any(contestant.peer for contestant, _ in runs) and not PEERS.exists():
            raise SystemExit(f"expected {PEERS}, it is not there: `make bench` makes it")
        for name in options.only:
            run_benchmark(name, options)
    if options.record or options.table:
        report.write_table(ROOT / "results")
        report.draw_chart(ROOT / "results")
    else:
        print(report.tables(options.folder))


if __name__ == "__main__":
    main()
