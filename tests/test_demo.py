"""The demo's door: what it says, that it serves this machine only, and that its notebook runs."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import browser
from anydoor_lab import demo

ROOT = Path(__file__).resolve().parents[1]
EVERYWHERE, HERE = "00000000", "0100007F"


def listening(port: int) -> set[str]:
    """The addresses, as the kernel writes them, at which a port of this machine is served."""
    listen = "0A"
    rows = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    places = [row[1].split(":") for row in rows if row[3] == listen]
    return {address for address, number in places if int(number, 16) == port}


def test_help_explains_and_a_wrong_flag_ends_with_two() -> None:
    call = [sys.executable, "-m", "anydoor_lab.demo"]
    done = subprocess.run([*call, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "--no-browser" in done.stdout and "127.0.0.1" in done.stdout
    done = subprocess.run([*call, "--prot=1"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2


def test_without_voila_it_says_which_extra_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as ended:
        demo.main([])
    assert ended.value.code == 2
    assert "pip install 'anydoor-lab[notebook]'" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc/net/tcp").is_file(), reason="needs the kernel's list of ports")
def test_only_this_machine_is_served_and_nothing_is_loaded_from_others(tmp_path: Path) -> None:
    path, port = browser.notebook(tmp_path / "empty.ipynb", "1 + 1"), demo.free_port()
    started, given = demo.command(port, notebook=path), demo.environment("of-the-test", tmp_path)
    ready = "/voila/static/voila.js"
    with browser.server(started, port, tmp_path, ready, given) as address:
        assert listening(port) == {HERE}
        with urllib.request.urlopen(f"{address}/?token=of-the-test", timeout=60) as answer:
            allowed = answer.headers["Content-Security-Policy"]
        assert "default-src 'self'" in allowed and "http" not in allowed


def test_the_demo_listens_when_it_says_so_and_asks_for_its_token(tmp_path: Path) -> None:
    """From the call to its end: nothing but its own two lines in the terminal, nothing left."""
    call = [sys.executable, "-m", "anydoor_lab.demo", "--no-browser"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JUPYTER_RUNTIME_DIR": str(tmp_path)}
    started = subprocess.Popen(
        call, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        assert started.stdout is not None
        first, second = started.stdout.readline(), started.stdout.readline()
        address = first.split()[1]
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{16,}", address), first
        assert second.split() == ["saves", str(tmp_path / "anydoor_results")]
        with urllib.request.urlopen(address, timeout=60) as answer:
            page = answer.read().decode()
        assert "<title>AnyDoor: put an object into a scene</title>" in page
        assert "loading the tiny networks" in page
        bare = address.split("?")[0]
        with urllib.request.urlopen(bare, timeout=60) as answer:
            assert "/login" in answer.url
            assert "vnd.jupyter.widget" not in answer.read().decode()
    finally:
        started.terminate()
        output, errors = started.communicate(timeout=30)
    assert (output, errors, started.returncode) == ("", "", 0)
    assert not demo.listens(int(address.split(":")[2].split("/")[0]))


def test_a_taken_port_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SystemExit) as ended:
            demo.main([f"--port={taken.getsockname()[1]}", "--no-browser"])
    assert ended.value.code == 2
    assert "is taken; choose another one" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc/net/tcp").is_file(), reason="needs the kernel's list of ports")
def test_a_port_served_to_everyone_would_be_noticed() -> None:
    with socket.socket() as served:
        served.bind(("0.0.0.0", 0))
        served.listen()
        assert listening(served.getsockname()[1]) == {EVERYWHERE}


def test_a_free_port_can_be_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", demo.free_port()))


@pytest.mark.parametrize(
    "path", [demo.NOTEBOOK, ROOT / "notebooks" / "01_place_an_object.ipynb"], ids=lambda p: p.stem
)
def test_a_notebook_with_a_teleporter_shows_one(path: Path, tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    read = nbformat.read(path, as_version=4)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    client = NotebookClient(read, timeout=60, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=environment)
    outputs: list[Any] = [output for cell in read.cells for output in cell.get("outputs", ())]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert "application/vnd.jupyter.widget-view+json" in kinds
    assert not [output for output in outputs if output.get("name") == "stderr"]
