"""Change the algorithm code in one place, again and again, and see whether a unit test notices.

    make test-mutants                      # a sample of every file, recorded in results/mutants.csv
    make test-mutants ONLY=04_pong_dqn     # one file, printed only

A mutant is the code with one operator, comparison, number or keyword changed. It is killed if a
test fails and survives if none does. A survivor shows a missing test, unless the change makes no
difference that matters: results/README.md explains each one.
"""

import argparse
import ast
import csv
import json
import multiprocessing
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

for name in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{name}_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"

import cosmic_ray.plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 300  # seconds; a test run that takes longer hangs in an endless loop
BEYOND = "tests/notebooks/test_beyond_dqn.py"
TARGETS = {  # file: the tests that must notice
    **{
        f"notebooks/py/{name}.py": [f"tests/notebooks/test_{name}.py", *more]
        for name, more in {
            "01_q_table": [],
            "02_cartpole_dqn": [],
            "03_target_network": ["tests/test_probes.py"],
            "04_pong_dqn": ["tests/test_interruption.py"],
            "05_double_dueling": [BEYOND],
            "06_prioritized_nstep": [BEYOND],
            "07_rainbow": [BEYOND],
            "08_faster_training": ["tests/test_interruption.py"],
        }.items()
    },
    **{
        f"helpers/{name}.py": [f"tests/test_{name}.py"]
        for name in ("replay", "prioritized", "checkpoint", "evaluation")
    },
}
SHOWING = {  # definitions that only draw, print or time: their figure shows what is wrong
    "print_comparison", "draw_dots", "streams_over_states", "line", "updates_per_second",
    "seconds_per_call", "take_turns", "Clock", "Bench", "warm_up", "cpu_seconds",
}  # fmt: skip
# left out: tests that look for the text of the code, which any change of that text would fail
UNFAIR = "not (is_noticed or same_in_both_notebooks or only_the_brain_changes or windows_are_those)"
SWAPS = {"Add": "Sub", "Sub": "Add", "Mul": "Div", "Div": "Mul", "FloorDiv": "Mul", "Mod": "Mul",
         "Pow": "Mul", "BitAnd": "BitOr", "BitOr": "BitAnd"}  # fmt: skip
COMPARE = {"Lt": ("LtE", "Gt"), "LtE": ("Lt", "GtE"), "Gt": ("GtE", "Lt"), "GtE": ("Gt", "LtE"),
           "Eq": ("NotEq",), "NotEq": ("Eq",), "Is": ("IsNot",), "IsNot": ("Is",)}  # fmt: skip
OPERATORS = [
    *(f"ReplaceBinaryOperator_{a}_{b}" for a, b in SWAPS.items()),
    *(f"ReplaceComparisonOperator_{a}_{b}" for a, many in COMPARE.items() for b in many),
    "ReplaceUnaryOperator_Delete_USub", "ReplaceUnaryOperator_Delete_Invert",
    "ReplaceUnaryOperator_Delete_Not", "AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue",
    "ReplaceAndWithOr", "ReplaceOrWithAnd", "ReplaceBreakWithContinue",
    "ReplaceContinueWithBreak", "NumberReplacer", "RemoveDecorator", "ZeroIterationForLoop",
]  # fmt: skip


@dataclass
class Mutant:
    """One change: where it is, and the whole file with it."""

    path: str  # of the file, from the root of the repository
    line: int
    operator: str
    before: str  # the first line that changes
    after: str
    source: str
    outcome: str = ""  # killed, survived
    seconds: float = 0.0


def algorithm_lines(path, source):
    """Numbers of the lines that count: all of a helper; of a twin, the algorithm's definitions.

    Those are the functions and classes in cells that are open, or that hold our version of an
    exercise, without those in SHOWING. Folded figures and dataclasses of settings do not count.
    """
    lines = source.splitlines()
    if path.startswith("helpers/"):
        return set(range(1, len(lines) + 1))
    marks = [i for i, line in enumerate(lines) if line.startswith("# %%")]
    counts = set()
    for begin, end in zip(marks, [*marks[1:], len(lines)], strict=True):
        title = lines[begin + 1] if begin + 1 < len(lines) else ""
        if "[markdown]" in lines[begin] or (
            title.startswith("# @title") and "Our version" not in title
        ):
            continue
        code = "\n".join(lines[begin:end])
        if re.search(r"^\s*[%!]", code, re.M):
            continue
        for node in ast.parse(code).body:
            if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                continue
            is_settings = any("dataclass" in ast.unparse(d) for d in node.decorator_list)
            if not is_settings and node.name not in SHOWING:
                first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                counts |= set(range(begin + first, begin + node.end_lineno + 1))
    return counts


def all_mutants(path):
    """Every (operator, occurrence, line) in the algorithm code of a file."""
    source = (ROOT / path).read_text(encoding="utf-8")
    counts, found = algorithm_lines(path, source), []
    nodes = list(ast_nodes(get_ast(source)))
    for name in OPERATORS:
        operator, occurrence = cosmic_ray.plugins.get_operator(f"core/{name}")(), 0
        for node in nodes:
            for (line, _), _ in operator.mutation_positions(node):
                if line in counts:
                    found.append((name, occurrence, line))
                occurrence += 1
    return source, found


def make_mutant(path, source, name, occurrence, line):
    """The file with one change."""
    operator = cosmic_ray.plugins.get_operator(f"core/{name}")()
    changed = mutate_code(source, operator, occurrence)
    old, new = source.splitlines(), changed.splitlines()
    at = next(i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b)
    after = new[at].strip() if len(old) == len(new) else "(removed)"
    return Mutant(path, line, name, old[at].strip(), after, changed)


class FastestFirst:
    """A plugin of pytest: run the tests in the order of the seconds they take, and time them."""

    def __init__(self, known):
        self.known, self.seconds = known, {}

    def pytest_collection_modifyitems(self, items):
        """Sort the tests; one of unknown duration comes first."""
        items.sort(key=lambda item: self.known.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report):
        """Add up set-up, call and tear-down."""
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration


def run_tests(copy, tests, known):
    """In a process of its own: run tests in a copy of the repository; exit with pytest's code.

    Leaves the seconds of each test in the copy's ``seconds.json``.
    """
    os.chdir(copy)
    for name in list(sys.modules):  # a copy has its own
        if name.split(".")[0] in ("tests", "tools", "helpers", "benchmarks", "exercises"):
            del sys.modules[name]
    sys.path[:] = [str(copy), *(p for p in sys.path if p and Path(p).resolve() != ROOT)]
    sys.dont_write_bytecode = True
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    import pytest

    plugin = FastestFirst(known)
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", UNFAIR]
    code = pytest.main([*options, *tests], plugins=[plugin])
    (copy / "seconds.json").write_text(json.dumps(plugin.seconds))
    os._exit(int(code))


def outcomes(mutants, copies, known):
    """Run the tests of each mutant, one in each copy of the repository at a time.

    ``known`` holds the seconds of every test; those of a run that passes are added to it.
    """
    fork, todo, running, free = multiprocessing.get_context("fork"), mutants[::-1], [], list(copies)
    while todo or running:
        while todo and free:
            mutant, copy = todo.pop(), free.pop()
            (copy / mutant.path).write_text(mutant.source, encoding="utf-8")
            what = (copy, TARGETS[mutant.path], known)
            process = fork.Process(target=run_tests, args=what)
            process.start()
            running.append((process, mutant, copy, time.monotonic()))
        time.sleep(0.05)
        for entry in list(running):
            process, mutant, copy, began = entry
            mutant.seconds = time.monotonic() - began
            if process.is_alive() and mutant.seconds < LIMIT:
                continue
            code = process.exitcode
            process.kill()
            process.join()
            if code not in (None, 0, 1, 2) and code > 0:  # 3 to 5: pytest itself failed
                raise RuntimeError(f"expected pytest to run {TARGETS[mutant.path]}, got {code}")
            mutant.outcome = "survived" if code == 0 else "killed"
            if code == 0:
                known.update(json.loads((copy / "seconds.json").read_text()))
            shutil.copy(ROOT / mutant.path, copy / mutant.path)
            running.remove(entry)
            free.append(copy)
            yield mutant


def main():
    """Sample, run, print, record."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("only", nargs="*", help="stems of files, such as 04_pong_dqn or replay")
    parser.add_argument("--sample", type=int, default=40, help="mutants of each file (0: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--jobs", type=int, default=2, help="test runs side by side")
    args = parser.parse_args()
    paths = [path for path in TARGETS if not args.only or Path(path).stem in args.only]
    if not paths:
        parser.error(f"expected some of {[Path(path).stem for path in TARGETS]}, got {args.only}")
    mutants, as_it_is, totals = [], [], {}
    for path in paths:
        source, found = all_mutants(path)
        totals[path] = len(found)
        random.Random(args.seed).shuffle(found)
        chosen = found[: args.sample or None]
        mutants += [make_mutant(path, source, *what) for what in sorted(chosen, key=lambda w: w[2])]
        as_it_is.append(Mutant(path, 0, "none", "", "", source))
    random.Random(0).shuffle(mutants)
    import cv2  # noqa: F401 (loaded once, before the tests' processes split off)
    import gymnasium  # noqa: F401
    import hypothesis  # noqa: F401
    import matplotlib.pyplot as plt  # noqa: F401
    import torch  # noqa: F401

    files = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT)
    with tempfile.TemporaryDirectory() as folder:
        copies = [Path(folder) / str(i) for i in range(args.jobs)]
        for copy in copies:
            for name in files.decode().splitlines():
                if (ROOT / name).is_file():
                    (copy / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / name, copy / name)
        known = {}
        for mutant in outcomes(as_it_is, copies, known):
            print(f"{mutant.path}: tests take {mutant.seconds:.0f} s", flush=True)
            if mutant.outcome == "killed":
                raise SystemExit(f"{' '.join(TARGETS[mutant.path])}: fails with the code as it is")
        for done, mutant in enumerate(outcomes(mutants, copies, known), 1):
            if mutant.outcome == "survived":
                change = f"{mutant.before}  →  {mutant.after}"
                print(f"survived {mutant.path}:{mutant.line}: {change}", flush=True)
            if done % 20 == 0:
                print(f"{done} of {len(mutants)}", flush=True)
    for path in paths:
        own = [mutant for mutant in mutants if mutant.path == path]
        killed = sum(mutant.outcome == "killed" for mutant in own)
        print(f"{path:<42}{killed:>4} of {len(own)} killed ({totals[path]} possible)")
    killed = sum(mutant.outcome == "killed" for mutant in mutants)
    print(f"{killed} of {len(mutants)} killed: {killed / len(mutants):.1%}")
    if not args.only:
        record(mutants)


def record(mutants):
    """Write what became of each mutant to results/mutants.csv."""
    columns = ("path", "line", "operator", "before", "after", "outcome", "seconds")
    with open(ROOT / "results" / "mutants.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for m in sorted(mutants, key=lambda m: (m.path, m.line, m.operator, m.after)):
            row = [getattr(m, name) for name in columns[:-1]]
            writer.writerow([*row, f"{m.seconds:.1f}"])


if __name__ == "__main__":
    main()
