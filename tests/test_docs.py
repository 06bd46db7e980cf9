"""The commands that README, CONTRIBUTING and the book print: they exist, and the cheap ones run."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as bench
from benchmarks import ablate
from helpers.runtime import ROOT
from tools import execute as tool

PAGES = ["README.md", "CONTRIBUTING.md", "results/README.md", "benchmarks/README.md"]
PAGES += sorted(str(p.relative_to(ROOT)) for p in (ROOT / "book").glob("*.md"))
STARTS = ("make", ".venv/bin/", "python", "pip ", "git ", "conda ", "DQN_")
CHEAP = ("make help",)
PARSERS = {
    "benchmarks": bench.command_line,
    "benchmarks.ablate": ablate.command_line,
    "tools.execute": tool.command_line,
}


def commands(page):
    """Commands of a page: lines of its code blocks, and code within its sentences."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    rest = re.sub(r"^```\w*\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines += [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", rest)]
    parts = [part.split("#")[0].strip() for line in lines for part in line.split("&&")]
    return [part for part in parts if part.startswith(STARTS) and part != "make"]


ALL = sorted({(page, command) for page in PAGES for command in commands(page)})


def split(command):
    """Words of a command, and the settings before it (``DQN_PROFILE=quick``)."""
    words = shlex.split(command)
    settings = [w for w in words if re.match(r"^[A-Z_]+=", w)]
    return [w for w in words if w not in settings or words[0] == "make"], settings


def test_the_pages_have_commands():
    assert len(ALL) > 20
    assert {"make run", "make test"} <= {command for page, command in ALL if page == "README.md"}


@pytest.mark.parametrize("page, command", ALL, ids=lambda text: text)
def test_a_command_can_be_typed_as_it_stands(page, command):
    words, _ = split(command)
    if not words:
        return  # a setting alone, "DQN_PROFILE=quick"
    program, *arguments = words
    if program == "make":
        done = subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    elif program == ".venv/bin/python":
        name = arguments[1] if arguments[0] == "-m" else arguments[0]
        if name in PARSERS:
            rest = arguments[2:] if arguments[0] == "-m" else arguments[1:]
            PARSERS[name]().parse_args([word for word in rest if word != "--help"])
        elif "NAME" not in name:
            assert (ROOT / name).is_file() or arguments[0] == "-m", f"no {name}"
    elif program.startswith(".venv/bin/"):
        assert (Path(sys.executable).parent / Path(program).name).exists()
    elif program == "python3":
        assert arguments[:2] == ["-m", "venv"]
    else:
        assert program in ("git", "conda", "pip"), f"{command}: whose {program} is that?"


@pytest.mark.parametrize("command", CHEAP)
def test_a_cheap_command_runs(command):
    subprocess.run(split(command)[0], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("page", PAGES)
def test_links_to_files_of_the_repository_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    links = [link for link in links if link and "://" not in link]
    missing = [link for link in links if not ((ROOT / page).parent / link).exists()]
    assert page.startswith("book/") or not missing, missing


def test_every_recorded_file_is_described():
    described = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    patterns = re.findall(r"`([\w*./-]+\.(?:csv|json))`", described)
    results = ROOT / "results"
    files = {path for path in results.rglob("*.*") if path.suffix in (".csv", ".json")}
    known = {path for pattern in patterns for path in results.glob(pattern)}
    assert files <= known, sorted(files - known)
    assert all(list((ROOT / "results").glob(pattern)) for pattern in patterns)
