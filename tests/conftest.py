"""Nothing in the tests needs a screen, a display of figures or more than one thread."""

import os

os.environ["MPLBACKEND"] = "Agg"
os.environ["SDL_VIDEODRIVER"] = "dummy"
os.environ["SDL_AUDIODRIVER"] = "dummy"
for library in ("OMP", "OPENBLAS", "MKL"):  # threads that wait for each other cost more than one
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

import cv2
import pytest
import torch
from hypothesis import settings

settings.register_profile("course", deadline=None)  # a busy machine is no failure
settings.load_profile("course")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


@pytest.fixture(autouse=True)
def denormal_numbers():
    """Leave the processor as it was: a benchmark or notebook 08 lets it round denormals to 0."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Send everything that goes below ``build/`` to a folder of the test."""
    from helpers import runtime

    monkeypatch.setattr(runtime, "ROOT", tmp_path)
    return tmp_path / "build"
