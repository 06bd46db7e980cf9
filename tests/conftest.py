"""Nothing in the tests needs a screen, a display of figures or more than one thread."""

import os

os.environ["MPLBACKEND"] = "Agg"
os.environ["SDL_VIDEODRIVER"] = "dummy"
os.environ["SDL_AUDIODRIVER"] = "dummy"

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Send everything that goes below ``build/`` to a folder of the test."""
    from helpers import runtime

    monkeypatch.setattr(runtime, "ROOT", tmp_path)
    return tmp_path / "build"
