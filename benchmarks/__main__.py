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

from benchmarks import report
from benchmarks.worker import NAMES, module
from helpers.checkpoint import write_atomically
from helpers.runtime import ROOT, commit, pick_device

PEERS = ROOT / ".venv-bench" / "bin" / "python"


def is_peer(contestant):
    """Whether a contestant runs in the environment of the peers."""
    return "stable-baselines3" in contestant


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
    """The runs in their order, (contestant, round): every round lets all take part in turn."""
    seeds = options.seeds or (1 if options.quick else bench.SEEDS)
    rounds = min(options.rounds or (1 if options.quick else bench.ROUNDS), seeds)
    if options.set:
        return [(f"ours, {', '.join(options.set)}", turn) for turn in range(seeds)]
    chosen = [c for c in bench.CONTESTANTS if not options.contestants or c in options.contestants]
    turns = range(max(seeds, rounds))
    is_ours = {c: c.endswith("ours") for c in chosen}
    return [(c, turn) for turn in turns for c in chosen if turn < (seeds if is_ours[c] else rounds)]


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


def measure(name, contestant, turn, options):
    """One run in a process of its own: (row, versions)."""
    python = str(PEERS) if is_peer(contestant) else sys.executable
    command = [python, "-m", "benchmarks.worker", name, contestant, str(turn)]
    command += ["--minutes", str(options.minutes)] + ["--quick"] * options.quick
    command += ["--set", *options.set] if options.set else []
    started = datetime.datetime.now().isoformat(timespec="seconds")
    clock, others = time.perf_counter(), other_work()
    log = ROOT / "build" / "bench" / f"{name}_{contestant}_{turn}.log".replace(" ", "_")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w+", encoding="utf-8") as errors:
        environment = {**os.environ, "DQN_PROFILE": "full", "MPLBACKEND": "Agg"}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        errors.seek(0)
        last = (errors.read().strip().splitlines() or ["no message"])[-1]
    others = (other_work() - others) / (time.perf_counter() - clock)
    row = {"contestant": contestant, "round": turn, "started": started, "commit": commit()}
    row["cores_busy_with_other_work"] = round(max(others, 0.0), 3)
    if done.returncode:
        return {**row, "error": f"exit {done.returncode}: {last}"}, None
    answer = json.loads(done.stdout.splitlines()[-1])
    return {**row, **answer["result"]}, answer["versions"]


def start(path, name, options):
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


def run(name, options, measure=measure):
    """All runs of one benchmark; the file is written after each."""
    bench, path = module(name), options.folder / f"bench_{name}.json"
    data = start(path, name, options)
    data["date"] = datetime.date.today().isoformat()
    data["command"] = shlex.join([".venv/bin/python", "-m", "benchmarks", *sys.argv[1:]])
    data["threads"] = {c: bench.threads(c) for c in bench.CONTESTANTS}
    if len(set(data["threads"].values())) == 1:
        data["threads"] = bench.threads("ours")
    runs = plan(bench, options)
    done = {(r["contestant"], r["round"]) for r in data["rows"] if "error" not in r}
    for contestant, turn in runs:
        if options.resume and (contestant, turn) in done:
            continue
        print(f"{name}, round {turn}: {contestant} …", end=" ", flush=True)
        row, versions = measure(name, contestant, turn, options)
        same = [r for r in data["rows"] if (r["contestant"], r["round"]) == (contestant, turn)]
        data["rows"] = [r for r in data["rows"] if r not in same] + [row]
        side = "peers" if is_peer(contestant) else "ours"
        if versions and data["versions"].setdefault(side, versions) != versions:
            raise SystemExit(f"expected {path} to come from {versions}: {data['versions'][side]}")
        data["ratios"] = report.all_ratios(data)
        write_atomically(path, (json.dumps(data, indent=1) + "\n").encode())
        known = ("contestant", "round", "curve", "started", "commit")
        print(json.dumps({k: v for k, v in row.items() if k not in known}), flush=True)
    if name == "memory":
        bench.figure(data["rows"])


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
        "--record", action="store_true", help="write to results/, and the table of the README"
    )
    parser.add_argument("--table", action="store_true", help="write the recorded table and stop")
    return parser


def main():
    """Read the command line, measure, and write the table."""
    parser = command_line()
    options = parser.parse_args()
    if options.quick and options.record:
        parser.error("expected --quick or --record, got both: quick figures mean nothing")
    options.folder = options.folder or ROOT / ("results" if options.record else "build/bench")
    if options.set and list(options.only) != ["pong"]:
        parser.error("expected --only pong with --set")
    if not options.table:
        wanted = {c for name in options.only for c, _ in plan(module(name), options)}
        if any(map(is_peer, wanted)) and not PEERS.exists():
            raise SystemExit(f"expected {PEERS}, it is not there: `make bench` makes it")
        for name in options.only:
            run(name, options)
    if options.record or options.table:
        report.write_table(ROOT / "results")
        report.draw_chart(ROOT / "results")
    else:
        print(report.tables(options.folder))


if __name__ == "__main__":
    main()
