"""Where and how a notebook runs: profile, seeds, device, versions, verdicts."""

import importlib.metadata
import importlib.util
import inspect
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from helpers.checkpoint import write_atomically

ROOT = Path(__file__).resolve().parent.parent
PROFILES = ("quick", "full")
RECORDED_SECONDS = 0.034  # what ``slowness`` measured on the machine of the recorded runs


def profile():
    """Read the environment variable ``DQN_PROFILE``: "full" (default) or "quick".

    "quick" runs every notebook in about a minute; "full" trains its agents in full.

    Raises:
        ValueError: if the variable holds anything else.
    """
    value = os.environ.get("DQN_PROFILE", "full")
    if value not in PROFILES:
        raise ValueError(f"expected DQN_PROFILE to be one of {PROFILES}, got {value!r}")
    return value


def in_notebook():
    """True inside a Jupyter or Colab kernel, False in a terminal or script."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return getattr(get_ipython(), "kernel", None) is not None


def inside(folder, *parts):
    """Return a path below ``folder``.

    Raises:
        ValueError: if the parts lead out of it, by ".." for example.
    """
    path = folder.joinpath(*parts)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"expected a path inside {folder}, got {path}")
    return path


def build_dir(*parts):
    """Return (and make) a folder below ``build/``, where everything a run writes goes."""
    folder = inside(ROOT / "build", *parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def study():
    """Whether to repeat the long studies behind the recorded curves: ``DQN_STUDY=1``.

    Without it a notebook trains its own agent only, and shows the recorded curves of the others.
    """
    return os.environ.get("DQN_STUDY", "") not in ("", "0")


def results_path(name):
    """Return where the learning curves of several seeds are.

    Recorded ones are in ``results/``; a study (see ``study``) writes its own to
    ``build/results/``.
    """
    return inside(build_dir("results") if study() else ROOT / "results", name)


def seed_everything(seed):
    """Seed torch, and return a numpy ``Generator`` of the same seed.

    Nothing in the series draws from the global generators of Python and numpy.

    Args:
        seed: whole number >= 0. Environments are seeded by ``env.reset(seed=seed)``.
    """
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"expected seed to be a whole number >= 0, got {seed!r}")
    torch.manual_seed(int(seed))
    return np.random.default_rng(int(seed))


def pick_device():
    """Return the GPU as a ``torch.device`` if torch can use one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def commit():
    """Return the short Git commit of this code, "+" if changed since, or "unknown"."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return described.stdout.strip()


def machine():
    """Return one line on this machine: versions, cores, and what is missing here."""
    parts = [f"Python {platform.python_version()}"]
    for name in ("torch", "gymnasium", "ale-py"):
        try:
            parts.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            parts.append(f"no {name} (pip install {name})")
    parts.append(f"{os.cpu_count()} CPU cores")
    try:
        parts.append(torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU")
    except RuntimeError as error:
        parts.append(f"a GPU that does not answer ({str(error).splitlines()[0]})")
    if importlib.util.find_spec("imageio_ffmpeg") is None:
        parts.append("no ffmpeg (no MP4; pip install imageio-ffmpeg)")
    return " · ".join(parts)


def slowness():
    """Return how many times as long as on the machine of the recorded runs a training takes here.

    Times 60 updates of a small network, three times, and takes the fastest.
    """
    net = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 64))
    optimizer, x = torch.optim.Adam(net.parameters()), torch.ones(64, 64)
    fastest = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        for _ in range(60):
            optimizer.zero_grad()
            net(x).square().mean().backward()
            optimizer.step()
        fastest = min(fastest, time.perf_counter() - began)
    return fastest / RECORDED_SECONDS


def start(name, trains, full, quick, threads=1):
    """Get a notebook's kernel ready, show the agent it ends with, and say what Run All will do.

    Args:
        name: of the notebook, "03_target_network"; its picture is ``pictures/NAME.png``.
        trains: what Run All trains: "one agent on CartPole-v1, until it is solved".
        full: minutes that Run All takes in the profile "full", as recorded on two CPU cores.
        quick: the same in the profile "quick".
        threads: torch threads on the CPU (more than 1 helps convolutions); DQN_THREADS overrides.

    Returns:
        True in the profile "quick", else False.
    """
    from helpers.colab import install_missing
    from helpers.display import VirtualDisplay

    install_missing()
    VirtualDisplay(verbose=False).start()
    torch.set_num_threads(1)
    short, factor = profile() == "quick", slowness()
    torch.set_num_threads(int(os.environ.get("DQN_THREADS", threads)))
    picture = ROOT / "pictures" / f"{name}.png"
    if in_notebook() and picture.exists():
        from IPython.display import Image, display

        alt = f"animation: the agent that {name} ends with"
        display(Image(data=picture.read_bytes(), format="png", metadata={"alt": alt}))
    minutes = factor * (quick if short else full)
    print(f"Run All trains {trains}: about {_minutes(minutes)} on this machine.")
    if not short and quick < full:
        print(
            f"In a hurry ({_minutes(factor * quick)})? Run %env DQN_PROFILE=quick in a new cell "
            "above, then this cell again."
        )
    print(machine())
    return short


def _minutes(minutes):
    """Words for a duration: "40 seconds", "3 minutes"."""
    if minutes < 1.5:
        return f"{max(10, round(6 * minutes) * 10)} seconds"
    return f"{minutes:.0f} minutes"


def show_source(*objects):
    """Show the real source of functions or classes, highlighted where a notebook can."""
    source = "\n\n".join(inspect.getsource(thing) for thing in objects)
    if not in_notebook():
        print(source)
        return
    from IPython.display import Markdown, display

    display(Markdown(f"```python\n{source}\n```"))


def check_values(loss, q, bound, agent_steps):
    """Stop a training whose numbers are no longer possible, and say what usually causes it.

    With rewards of at most r in size no return is larger than r + γr + γ²r + … = r / (1 - γ),
    so Q-values beyond that are wrong whatever the game is. Sums of n rewards do not change it.

    Args:
        loss: of the last update, scalar tensor or number.
        q: Q-values of any shape from the weights as they are now, tensor or array.
        bound: r / (1 - γ), above 0: 50 for rewards of -1…1 and γ = 0.98.
        agent_steps: how far the training is; part of the message.

    Raises:
        FloatingPointError: if the loss or a Q-value is not finite, or a |Q| exceeds the bound.
    """
    if not 0 < bound < float("inf"):
        raise ValueError(f"expected bound = largest reward / (1 - γ), above 0, got {bound}")
    loss, largest = float(loss), float(torch.as_tensor(q).abs().max())  # NaN if one is NaN
    if np.isfinite(loss) and largest <= bound:
        return
    raise FloatingPointError(
        f"the training diverges at agent step {agent_steps:,}: loss {loss:.4g}, largest |Q| "
        f"{largest:.4g}; expected a finite loss and |Q| <= {bound:g} (largest reward / (1 - γ)).\n"
        "Usual causes, the likeliest first, and what to change:\n"
        "- the learning rate is too high: divide it by 3 to 10;\n"
        "- the target network follows too closely, or is the network itself: copy it more rarely;\n"
        "- ends of games are bootstrapped through: the discount after an end must be 0;\n"
        "- rewards are not clipped or scaled as the bound assumes;\n"
        "- NaN in what the network gets: look at one batch.\n"
        "Nothing was saved: the last checkpoint is as it was."
    )


def read_verdicts(path):
    """Return the verdicts in a file, {name: {value, expected, passed}}; none if it is damaged."""
    try:
        verdicts = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return verdicts if isinstance(verdicts, dict) else {}


def check_learned(name, value, *, at_least=None, at_most=None):
    """Hold a measured figure against its expectation; print and file the verdict.

    The verdict goes to ``build/verdicts/NOTEBOOK.PROCESS.json``, where the summary after
    ``make run`` finds it.

    Args:
        name: what was measured, with its unit; one line.
        value: the measured figure.
        at_least: smallest figure that counts as learned (or None).
        at_most: largest figure that counts as learned (or None).

    Raises:
        AssertionError: if the figure misses its expectation.
    """
    if (at_least is None) == (at_most is None):
        raise ValueError("expected exactly one of at_least and at_most")
    passed = value >= at_least if at_most is None else value <= at_most
    wanted = f">= {at_least:g}" if at_most is None else f"<= {at_most:g}"
    print(f"{name}: {value:g} (expected {wanted})")
    notebook = os.environ.get("DQN_NOTEBOOK") or Path(sys.argv[0]).stem
    path = build_dir("verdicts") / f"{Path(notebook).name}.{os.getpid()}.json"
    verdicts = read_verdicts(path)
    verdicts[name] = {"value": float(value), "expected": wanted, "passed": bool(passed)}
    text = json.dumps(verdicts, indent=1, ensure_ascii=False) + "\n"
    write_atomically(path, text.encode())
    assert passed, f"{name}: expected {wanted}, got {value:g}"
