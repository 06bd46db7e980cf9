"""Run unit tests and quick notebooks with the lowest, the pinned and the newest libraries.

    make test-versions                        # every row; 10 to 20 minutes and 7 GB of disk each
    make test-versions ONLY="3.13-newest"     # one row

Each row gets an environment of its own, which is deleted afterwards. "lowest" takes the floors in
the requirements files, "pinned" the versions in constraints.txt, "newest" what the index offers.
Rows go to results/versions.csv, one after the other; what the tests print goes to build/versions/.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import tempfile
import time
import xml.etree.ElementTree as ET
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER, TABLE = ROOT / "build" / "versions", ROOT / "results" / "versions.csv"
OPTIONS = {
    "lowest": ["--resolution", "lowest-direct"],
    "pinned": ["--constraints", "constraints.txt"],
    "newest": [],
}
ROWS = ["3.11-pinned", "3.10-lowest", "3.12-newest", "3.13-newest"]
LIBRARIES = ("torch", "gymnasium", "ale-py", "numpy", "scipy", "matplotlib", "jupyterlab", "pytest")
TESTS = {
    "unit": [],
    "cells": ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=300",
              *sorted(map(str, ROOT.glob("notebooks/**/[0-9][0-9]_*.ipynb")))],
}  # fmt: skip


def find_python(version):
    """Path of an interpreter: on the PATH, or one of pyenv's; None if there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for path in [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"))]:
        if path and not subprocess.run([path, "--version"], capture_output=True).returncode:
            return str(path)
    return None


def install(python, options, venv):
    """Create an environment; return {library: version} of what is in it."""
    # uv does not read pip's settings: a folder with wheels counts for both
    env = os.environ | {"UV_FIND_LINKS": os.environ.get("PIP_FIND_LINKS", "")}
    subprocess.run(
        ["uv", "venv", "--quiet", "--seed", "--python", python, venv], check=True, env=env
    )
    command = ["uv", "pip", "install", "--quiet", "--no-cache", "--python", f"{venv}/bin/python"]
    subprocess.run(
        [*command, *options, "-r", "requirements-dev.txt"], check=True, env=env, cwd=ROOT
    )
    listed = subprocess.check_output(
        ["uv", "pip", "list", "--format", "json", "--python", f"{venv}/bin/python"], env=env
    )
    return {package["name"].lower(): package["version"] for package in json.loads(listed)}


def test(venv, kind, row):
    """Run the unit tests or the notebooks; return the numbers (passed, failed, skipped)."""
    report = FOLDER / f"{row}-{kind}.xml"
    report.unlink(missing_ok=True)
    env = os.environ | {"DQN_PROFILE": "quick", "DQN_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [f"{venv}/bin/python", "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile"]
    command += ["-p", "no:cacheprovider", "--junit-xml", str(report), *TESTS[kind]]
    with open(FOLDER / f"{row}-{kind}.log", "w", encoding="utf-8") as log:
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=env, cwd=ROOT)
    if not report.is_file():
        return 0, 1, 0
    [suite] = ET.parse(report).getroot().iter("testsuite")
    total, skipped = int(suite.get("tests")), int(suite.get("skipped"))
    failed = int(suite.get("failures")) + int(suite.get("errors"))
    return total - failed - skipped, failed, skipped


def main():
    """Go through the rows and record each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("only", nargs="*", default=[], help=f"some of {', '.join(ROWS)}")
    only = parser.parse_args().only
    if unknown := set(only) - set(ROWS):
        parser.error(f"expected some of {', '.join(ROWS)}, got {', '.join(sorted(unknown))}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    rows, columns = {}, ["row", *LIBRARIES]
    columns += [f"{kind}_{what}" for kind in TESTS for what in ("passed", "failed", "skipped")]
    columns.append("minutes")
    if TABLE.is_file():
        with TABLE.open(newline="", encoding="utf-8") as file:
            rows = {row["row"]: row for row in csv.DictReader(file)}
    bad = []
    for name in only or ROWS:
        version, which = name.split("-")
        python, began = find_python(version), time.monotonic()
        if python is None:
            print(f"{name}: no Python {version} on this machine")
            continue
        with tempfile.TemporaryDirectory(prefix="versions-") as venv:
            found = install(python, OPTIONS[which], venv)
            row = {"row": name} | {library: found.get(library, "") for library in LIBRARIES}
            for kind in TESTS:
                numbers = test(venv, kind, name)
                passed, failed, skipped = numbers
                print(f"{name} {kind}: {passed} passed, {failed} failed, {skipped} skipped")
                for what, number in zip(("passed", "failed", "skipped"), numbers, strict=True):
                    row[f"{kind}_{what}"] = number
                bad += [f"{name} {kind}"] * (failed > 0)
        row["minutes"] = f"{(time.monotonic() - began) / 60:.0f}"
        rows[name] = row
        with TABLE.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows[name] for name in ROWS if name in rows)
    if bad:
        raise SystemExit(f"failed: {', '.join(bad)}; see {FOLDER.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
