"""A screen for machines that have none, started only where something needs one."""

import os
import shutil
import sys


class VirtualDisplay:
    """Context manager that makes rendering work on a machine without a screen.

    ``render_mode="rgb_array"`` draws into memory and needs no screen at all; for that
    this only tells SDL so. With ``needs_screen=True`` (windows, ``render_mode="human"``)
    it starts Xvfb through pyvirtualdisplay, if the machine has no screen of its own and
    Xvfb is installed. In every other case it does nothing; ``why`` says so in one line.

    Starting or stopping it twice is harmless.

    Args:
        needs_screen: True if a window will be opened.
        size: (width, height) of the virtual screen in pixels.
        verbose: print ``why`` at the start.
    """

    def __init__(self, needs_screen=False, size=(1024, 768), verbose=True):
        self.needs_screen = needs_screen
        self.size = size
        self.verbose = verbose
        self.why = "not started"
        self._screen = None

    def start(self):
        """Start what is needed, and return self."""
        if self._screen is None:
            self.why = self._start()
            if self.verbose:
                print(f"display: {self.why}")
        return self

    def stop(self):
        """Stop the virtual screen if this object started one."""
        if self._screen is not None:
            self._screen.stop()
            self._screen = None
            self.why = "stopped"

    __enter__ = start

    def __exit__(self, *_):
        """Stop at the end of the ``with`` block, after an error too."""
        self.stop()

    def _start(self):
        if os.environ.get("DISPLAY") or sys.platform != "linux":
            return "this machine has a screen, nothing to start"
        if not self.needs_screen:
            os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
            os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
            return "no screen here, and none needed: pictures are drawn in memory"
        if shutil.which("Xvfb") is None:
            return 'no screen and no Xvfb (apt-get install xvfb): use render_mode="rgb_array"'
        try:
            from pyvirtualdisplay import Display
        except ImportError:
            return "Xvfb is here but its Python side is not: pip install pyvirtualdisplay"
        if os.environ.get("SDL_VIDEODRIVER") == "dummy":
            del os.environ["SDL_VIDEODRIVER"]  # the window shall go to the virtual screen
        self._screen = Display(visible=False, size=self.size).start()
        return f"virtual screen {os.environ['DISPLAY']} of {self.size[0]}×{self.size[1]} started"
