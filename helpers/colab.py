"""Colab: installs what is missing there, and nothing else."""

import importlib
import importlib.metadata
import re
import subprocess
import sys
import tempfile
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
KEEP = ("torch", "numpy")  # Colab's own are built for its GPUs: never replaced


def in_colab():
    """Whether this is a Colab kernel."""
    return "google.colab" in sys.modules


def missing_requirements(requirements):
    """Lines of a requirements file whose package is not installed at all.

    Args:
        requirements: path of the file.
    """
    lines = Path(requirements).read_text(encoding="utf-8").splitlines()
    missing = []
    for line in (line.split("#")[0].strip() for line in lines):
        name = re.match(r"[\w.-]*", line)[0]
        try:
            importlib.metadata.version(name) if name else None
        except importlib.metadata.PackageNotFoundError:
            missing.append(line)
    return missing


def install_missing(requirements=REQUIREMENTS):
    """In Colab: install what is missing, leaving torch and numpy as they are.

    Elsewhere, and when run again, nothing happens.

    Raises:
        RuntimeError: if pip fails; with the end of what it said.
    """
    missing = missing_requirements(requirements) if in_colab() else []
    if not missing:
        return
    print("installing", ", ".join(missing), "…", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        keep = Path(folder) / "keep.txt"
        there = [name for name in KEEP if name not in {re.match(r"[\w.-]*", m)[0] for m in missing}]
        pins = [f"{name}=={importlib.metadata.version(name)}\n" for name in there]
        keep.write_text("".join(pins))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "-c", str(keep), *missing]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"pip could not install {missing}:\n{done.stderr[-1_500:]}")
    importlib.invalidate_caches()
