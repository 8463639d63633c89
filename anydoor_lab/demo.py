"""The door to trying it out: `python -m anydoor_lab.demo` opens a Teleporter in the browser."""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import webbrowser
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO

TELEPORTER = Path(__file__).resolve().parent / "widgets" / "teleporter"
NOTEBOOK = TELEPORTER / "demo.ipynb"
RESULTS = "anydoor_results"
"""The folder of the working directory that saved pictures go to."""
ONLY_HERE = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob: ws:"
"""What pages may load: Voila's own template asks other hosts for fonts, which is thus refused."""
PATIENCE_S = 60


def command(port: int, notebook: Path = NOTEBOOK) -> list[str]:
    """Voila on the demo notebook, on this machine only, for who has the token."""
    settings = {"headers": {"Content-Security-Policy": ONLY_HERE}}
    return [
        sys.executable, "-m", "voila", str(notebook), "--Voila.ip=127.0.0.1", f"--port={port}",
        "--Voila.port_retries=0", "--Voila.auto_token=True", "--no-browser", "--template=anydoor",
        "--Voila.log_level=ERROR", f"--Voila.tornado_settings={settings}",
    ]  # fmt: skip


def environment(token: str, results: Path) -> dict[str, str]:
    """What `command` finds its token, its page's template and the folder of results by."""
    paths = [str(TELEPORTER / "jupyter"), *os.environ.get("JUPYTER_PATH", "").split(os.pathsep)]
    own = {"JUPYTER_TOKEN": token, "JUPYTER_PATH": os.pathsep.join(filter(None, paths))}
    return {**os.environ, **own, "ANYDOOR_RESULTS": str(results), "PYTHONWARNINGS": "ignore"}


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port: int) -> bool:
    """Whether something of this machine listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Start the demo and stay until Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m anydoor_lab.demo",
        description="Cut out an object, mark a place, press Generate: in your browser, with the "
        "tiny networks of the package. The page is served to this machine only (127.0.0.1), and "
        "to who has the address with its token.",
    )
    parser.add_argument("--port", type=int, default=0, help="port; default: a free one")
    parser.add_argument("--no-browser", action="store_true", help="print the address only")
    chosen = parser.parse_args(arguments)
    if find_spec("voila") is None:
        parser.error(
            "voila is not installed; install the extra: pip install 'anydoor-lab[notebook]'"
        )
    port = chosen.port or free_port()
    if listens(port):
        parser.error(f"port {port} is taken; choose another one, or leave --port out")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
    with tempfile.TemporaryFile() as log:
        sys.exit(_serve(port, log, browser=not chosen.no_browser))


def _serve(port: int, log: IO[bytes], browser: bool) -> int:
    """The exit code of Voila, which runs until it ends or is interrupted."""
    token, results = secrets.token_urlsafe(16), Path.cwd() / RESULTS
    started = subprocess.Popen(
        command(port),
        env=environment(token, results),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        if not _ready(started, port):
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace")[-2000:])
            sys.stderr.write("the demo could not be started: Voila ended, or did not answer\n")
            return 1
        address = f"http://127.0.0.1:{port}/?token={token}"
        print(f"demo     {address}  (Ctrl-C ends it)", flush=True)
        print(f"saves    {results}", flush=True)
        if browser:
            webbrowser.open(address)
        return started.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        started.terminate()
        started.wait()


def _ready(started: subprocess.Popen[bytes], port: int) -> bool:
    """Whether the page is served now; False where Voila has ended or takes too long."""
    end = time.monotonic() + PATIENCE_S
    while started.poll() is None and time.monotonic() < end:
        if listens(port):
            return True
        time.sleep(0.05)
    return False


if __name__ == "__main__":
    main()
