"""What every command does with its command line and with errors.

A command is a function of one config, decorated with `@door("train")`. Nothing here imports torch,
so `--help` and wrong names answer at once.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException, HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from anydoor_lab.structures.errors import AnyDoorError
from anydoor_lab.structures.names import conf_dir

REFUSED = 2
INTERRUPTED = 130
_WRONG_INPUT = (
    AnyDoorError,
    HydraException,
    OmegaConfBaseException,
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)


class Refusal(CompactHydraException):
    """A wrong input inside a sweep's job; Hydra prints its sentence without a traceback."""


def door(config_name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[..., Any]]:
    """A decorator that makes a function of one config runnable as `python -m anydoor_lab.<name>`.

    On the command line a wrong input ends with one line `error: <sentence>` and exit code 2, also
    for Hydra's own complaints about groups and keys; Ctrl-C ends with 130; a fault of the program
    keeps its traceback and 1. In a sweep the other jobs still run. `HYDRA_FULL_ERROR=1` shows every
    traceback. Called with a config in Python, the function runs as it stands.

    Args:
        config_name: the YAML at the top of `conf/`, without its ending.
    """

    def decorate(task: Callable[[DictConfig], Any]) -> Callable[..., Any]:
        @functools.wraps(task)
        def main(cfg: DictConfig | None = None) -> Any:
            return _run_command(task, config_name) if cfg is None else task(cfg)

        return main

    return decorate


def _run_command(task: Callable[[DictConfig], Any], config_name: str) -> None:
    """Hand the command line to Hydra and translate how it ends into an exit code."""
    try:
        folder = str(conf_dir())
        hydra.main(version_base="1.3", config_path=folder, config_name=config_name)(_guard(task))()
    except KeyboardInterrupt:
        _end("interrupted", INTERRUPTED)
    except SystemExit as end:
        # Hydra ends every failure with 1; its context tells a wrong input from a fault
        if end.code == 1 and isinstance(end.__context__, (*_WRONG_INPUT, CompactHydraException)):
            sys.exit(REFUSED)
        raise
    except AnyDoorError as error:
        if _full_errors():
            raise
        _end(f"error: {_sentence(error)}", REFUSED)


def _guard(task: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """The task, with wrong inputs turned into one line: at once, or in a sweep through Hydra."""

    @functools.wraps(task)
    def guarded(cfg: DictConfig) -> Any:
        try:
            return task(cfg)
        except Exception as error:
            job = _job_of_a_sweep()
            if job:  # Hydra shows the first failure only
                print(f"error in job {job}: {_sentence(error)}", file=sys.stderr)
            if _full_errors() or not isinstance(error, _WRONG_INPUT):
                raise
            if job:
                raise Refusal(f"error: {_sentence(error)}") from error
            _end(f"error: {_sentence(error)}", REFUSED)

    return guarded


def _job_of_a_sweep() -> str:
    """The job as "3 (idx=clip)" inside a sweep, otherwise nothing."""
    hydra_node = HydraConfig.get()
    if hydra_node.mode != RunMode.MULTIRUN:
        return ""
    return f"{hydra_node.job.num} ({hydra_node.job.override_dirname})"


def _sentence(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _full_errors() -> bool:
    return os.environ.get("HYDRA_FULL_ERROR") == "1"


def _end(line: str, code: int) -> NoReturn:
    print(line, file=sys.stderr)
    sys.exit(code)
