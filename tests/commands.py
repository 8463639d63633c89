"""Commands as a user runs them, each in a process of its own, without importing torch every time.

A server process imports the heavy libraries once; every command is a fork of it with its own
folder, environment, output and exit code. What a command imports, and when, is tested elsewhere.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEAVY = [
    "anydoor_lab.config.assemble", "anydoor_lab.config.door", "anydoor_lab.config.pipelines",
    "anydoor_lab.methods.anydoor", "anydoor_lab.models.lora", "anydoor_lab.report.bench",
    "anydoor_lab.training.fit", "anydoor_lab.evaluation.score", "peft", "wandb",
]  # fmt: skip
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(HEAVY)


def command(
    door: str,
    *arguments: object,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    timeout: float = 180,
) -> subprocess.CompletedProcess[str]:
    """`python -m anydoor_lab.<door> <arguments>` in the folder `cwd`: exit code and output."""
    call = [f"anydoor_lab.{door}", *map(str, arguments)]
    return module(call, cwd, environment or {}, timeout)


def begun(door: str, *arguments: object, cwd: Path) -> multiprocessing.process.BaseProcess:
    """The same as `command`, on its way; what it says is left in `cwd`, in `out` and `err`."""
    call = [f"anydoor_lab.{door}", *map(str, arguments)]
    outputs = [cwd / "out", cwd / "err"]
    process = _server.Process(target=_run, args=(call, cwd, {"OMP_NUM_THREADS": "1"}, outputs))
    process.start()
    return process


def module(
    call: list[str], cwd: Path, environment: Mapping[str, str], timeout: float = 180
) -> subprocess.CompletedProcess[str]:
    """`python -m <call>`."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder) / name for name in ("out", "err")]
        own = {"OMP_NUM_THREADS": "1", **environment}
        process = _server.Process(target=_run, args=(call, cwd, own, outputs))
        process.start()
        process.join(timeout)
        late = process.is_alive()
        if late:
            process.kill()
            process.join()
        printed, errors = (path.read_text("utf-8", "replace") for path in outputs)
    if late:
        raise subprocess.TimeoutExpired(call, timeout, printed, errors)
    return subprocess.CompletedProcess(call, process.exitcode or 0, printed, errors)


def _run(call: list[str], cwd: Path, environment: Mapping[str, str], outputs: list[Path]) -> None:
    """In the fork: become the command."""
    for number, path in enumerate(outputs, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(cwd)
    os.environ.update(environment)
    own = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = ["", *filter(None, own), str(ROOT)]
    sys.argv = call
    runpy.run_module(call[0], run_name="__main__", alter_sys=True)
