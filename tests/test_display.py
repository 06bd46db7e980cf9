"""The virtual display: starts once, stops once, and says why it does nothing."""

import os
import sys
import types

import pytest

from helpers import display
from helpers.display import VirtualDisplay


@pytest.fixture
def bare(monkeypatch):
    """A Linux machine without a screen, with a fake Xvfb whose starts are counted."""
    calls = []

    class Display:
        def __init__(self, visible, size):
            self.size = size

        def start(self):
            calls.append("start")
            monkeypatch.setenv("DISPLAY", ":7")
            return self

        def stop(self):
            calls.append("stop")
            monkeypatch.delenv("DISPLAY")

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr(display.shutil, "which", lambda name: "/usr/bin/Xvfb")
    monkeypatch.setitem(sys.modules, "pyvirtualdisplay", types.SimpleNamespace(Display=Display))
    return calls


def test_not_needed(bare, monkeypatch, capsys):
    monkeypatch.delenv("SDL_VIDEODRIVER")
    VirtualDisplay().start()
    assert "none needed" in capsys.readouterr().out and bare == []
    assert os.environ["SDL_VIDEODRIVER"] == "dummy"


def test_starts_and_stops_once(bare):
    screen = VirtualDisplay(needs_screen=True, verbose=False)
    assert screen.start() is screen.start()
    assert "virtual screen :7 of 1024×768 started" in screen.why
    assert "SDL_VIDEODRIVER" not in os.environ
    screen.stop()
    screen.stop()
    assert bare == ["start", "stop"]


def test_can_be_started_again(bare):
    screen = VirtualDisplay(needs_screen=True, verbose=False)
    for _ in range(2):
        with screen:
            assert os.environ["DISPLAY"] == ":7"
        assert screen.why == "stopped"
    assert bare == ["start", "stop"] * 2


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_have_a_screen(bare, monkeypatch, platform):
    monkeypatch.setattr(sys, "platform", platform)
    with VirtualDisplay(needs_screen=True, verbose=False) as screen:
        assert "has a screen" in screen.why
    assert bare == []


def test_a_real_picture_is_drawn_without_a_screen(bare, monkeypatch):
    import gymnasium as gym

    monkeypatch.delenv("SDL_VIDEODRIVER")
    with VirtualDisplay(verbose=False):
        env = gym.make("CartPole-v1", render_mode="rgb_array")
        env.reset(seed=0)
        assert env.render().std() > 0
        env.close()


def test_stops_after_an_error_too(bare):
    with pytest.raises(KeyError), VirtualDisplay(needs_screen=True, verbose=False):
        raise KeyError
    assert bare == ["start", "stop"]


def test_uses_the_screen_that_is_there(bare, monkeypatch, capsys):
    monkeypatch.setenv("DISPLAY", ":0")
    VirtualDisplay(needs_screen=True).start()
    assert "has a screen" in capsys.readouterr().out and bare == []


def test_without_xvfb_it_says_what_to_do(bare, monkeypatch, capsys):
    monkeypatch.setattr(display.shutil, "which", lambda name: None)
    with VirtualDisplay(needs_screen=True):
        pass
    out = capsys.readouterr().out
    assert "apt-get install xvfb" in out and "rgb_array" in out and len(out.splitlines()) == 1


def test_without_pyvirtualdisplay_it_says_what_to_do(bare, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyvirtualdisplay", None)
    VirtualDisplay(needs_screen=True).start()
    assert "pip install pyvirtualdisplay" in capsys.readouterr().out
