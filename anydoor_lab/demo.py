"""The door to trying it out: `python -m anydoor_lab.demo` opens a Teleporter in the browser."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

NOTEBOOK = Path(__file__).resolve().parent / "widgets" / "teleporter" / "demo.ipynb"
MAX_MESSAGE = 100_000_000
"""Bytes of one message from the browser: an uploaded picture."""
ONLY_HERE = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob: ws:"
"""What pages may load: Voila's own template asks other hosts for fonts, which is thus refused."""


def command(port: int, browser: bool, notebook: Path = NOTEBOOK) -> list[str]:
    """Voila on the demo notebook, on this machine only."""
    headers = {"Content-Security-Policy": ONLY_HERE}
    settings = {"websocket_max_message_size": MAX_MESSAGE, "headers": headers}
    return [
        sys.executable, "-m", "voila", str(notebook), "--Voila.ip=127.0.0.1", f"--port={port}",
        f"--Voila.tornado_settings={settings}",
        *([] if browser else ["--no-browser"]),
    ]  # fmt: skip


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Start the demo and stay until Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m anydoor_lab.demo",
        description="Cut out an object, mark a place, press Generate: in your browser, with the "
        "tiny networks of the package. The page is served to this machine only (127.0.0.1).",
    )
    parser.add_argument("--port", type=int, default=0, help="port; default: a free one")
    parser.add_argument("--no-browser", action="store_true", help="print the address only")
    chosen = parser.parse_args(arguments)
    if find_spec("voila") is None:
        parser.error(
            "voila is not installed; install the extra: pip install 'anydoor-lab[notebook]'"
        )
    port = chosen.port or free_port()
    print(f"demo     http://127.0.0.1:{port}/  (Ctrl-C ends it)", flush=True)
    started = command(port, browser=not chosen.no_browser)
    os.execv(started[0], started)


if __name__ == "__main__":
    main()
