"""A browser, a JupyterLab on a copy of the course, and the book on a local server."""

import contextlib
import functools
import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

for name in ("MPLBACKEND", "SDL_VIDEODRIVER", "SDL_AUDIODRIVER"):  # set for the unit tests
    os.environ.pop(name, None)  # the kernels here choose their own, as a learner's do

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"
PARTS = ("notebooks", "helpers", "exercises", "tools", "results", "checkpoints", "pictures")


def free_port():
    """A port that nobody listens on."""
    with contextlib.closing(socket.socket()) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.exit("expected Chromium: apt-get install chromium", returncode=2)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Watch:
    """What a page asked for and complained about."""

    def __init__(self, page):
        self.foreign, self.failed, self.errors = [], [], []
        page.on("request", self._request)
        page.on("requestfailed", lambda request: self.failed.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._console)
        page.on("response", lambda r: r.status >= 400 and self.failed.append(f"{r.status} {r.url}"))

    def _request(self, request):
        if not request.url.startswith(("http://127.0.0.1", "file:", "data:", "blob:", "about:")):
            self.foreign.append(request.url)

    def _console(self, message):
        if message.type == "error":
            self.errors.append(f"{message.text} {message.location.get('url', '')}")


@pytest.fixture
def open_page(browser):
    """Open an address in a fresh page: (page, Watch)."""
    contexts = []

    def go(address, **how):
        contexts.append(browser.new_context(**how))
        page = contexts[-1].new_page()
        watch = Watch(page)
        page.goto(address, wait_until="load", timeout=60_000)
        return page, watch

    yield go
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """Address and folder of a JupyterLab that serves a copy of the course, in quick."""
    folder, port = tmp_path_factory.mktemp("course"), free_port()
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    command = [
        sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root",
        f"--ServerApp.port={port}", "--ServerApp.ip=127.0.0.1", "--IdentityProvider.token=",
        "--ServerApp.disable_check_xsrf=True",
        f"--ServerApp.root_dir={folder}", "--LabApp.news_url=", "--LabApp.check_for_updates_class="
        "jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    environment = {**os.environ, "DQN_PROFILE": "quick", "DQN_THREADS": "1"}
    for kind in ("JUPYTER_CONFIG", "JUPYTER_DATA", "JUPYTER_RUNTIME", "IPYTHON"):
        environment[f"{kind}_DIR" if kind != "IPYTHON" else "IPYTHONDIR"] = str(folder / kind)
    for kind in ("SETTINGS", "WORKSPACES"):
        environment[f"JUPYTERLAB_{kind}_DIR"] = str(folder / kind)
    settings = {
        "notebook-extension/tracker": '{"windowingMode": "none"}',  # all cells are in the page
        "apputils-extension/notification": '{"fetchNews": "false"}',
    }
    for name, text in settings.items():
        path = folder / "SETTINGS" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    with (folder / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
    address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(f"{address}/api", timeout=2)
            break
        except OSError:
            if time.monotonic() > deadline or server.poll() is not None:
                pytest.fail((folder / "lab.log").read_text()[-2_000:])
            time.sleep(0.5)
    yield address, folder
    server.terminate()
    server.wait(30)


@pytest.fixture(scope="session")
def book():
    """Address of the built book."""
    pages = ROOT / "build" / "book" / "html"
    if not (pages / "index.html").exists():
        pytest.exit("expected the book: make book", returncode=2)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            """Say nothing."""

    handler = functools.partial(Quiet, directory=pages)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
