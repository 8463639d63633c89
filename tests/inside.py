"""Commands run in this process, as `python -m anydoor_lab.<command>` runs them."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from anydoor_lab.config import door


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    def refused(self, *words: str) -> None:
        """One sentence with these words, exit code 2, no traceback."""
        assert self.code == door.REFUSED, self.err[-3000:]
        assert "Traceback" not in self.err
        (line,) = [line for line in self.err.splitlines() if line.startswith("error: ")]
        for word in words:
            assert word in line, line


def run(command: str, *arguments: object, cwd: Path) -> Ended:
    """Run a command in the folder `cwd`; a fault of the program raises."""
    with _place_of_its_own(command, [str(text) for text in arguments], cwd) as (out, err):
        code = 0
        try:
            import_module(f"anydoor_lab.{command}").main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
            if isinstance(end.code, str):
                err.write(end.code)
    return Ended(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _place_of_its_own(
    command: str, arguments: list[str], cwd: Path
) -> Iterator[tuple[io.StringIO, io.StringIO]]:
    out, err = io.StringIO(), io.StringIO()
    before, argv, config = Path.cwd(), sys.argv, HydraConfig.instance().cfg
    cwd.mkdir(parents=True, exist_ok=True)
    os.chdir(cwd)
    sys.argv = [f"anydoor_lab/{command}.py", *arguments]
    GlobalHydra.instance().clear()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            yield out, err
    finally:
        os.chdir(before)
        sys.argv = argv
        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = config
