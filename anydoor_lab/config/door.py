"""What every command does with its command line and with errors.

A command is a function of one config, decorated with `@door("train")`. Nothing here imports torch,
so `--help` and wrong names answer at once.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import hydra
from hydra.errors import CompactHydraException, HydraException
from omegaconf import DictConfig
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

import anydoor_lab.config.compose  # noqa: F401  Hydra finds the user's own conf by it
from anydoor_lab.config.arguments import as_pasted
from anydoor_lab.config.help import asks_for_help, help_text
from anydoor_lab.config.keys import check_keys, override_sentence
from anydoor_lab.config.streams import prepare_streams
from anydoor_lab.config.sweeps import job_called, may_pass_over, run_to_the_end
from anydoor_lab.config.values import check_values
from anydoor_lab.runs.lock import InUse
from anydoor_lab.structures.errors import AnyDoorError
from anydoor_lab.structures.names import conf_dir

REFUSED = 2
INTERRUPTED = 130
READER_LEFT = 141
AGAIN_S = 0.05
"""Until an interrupt that was dropped comes again."""
FULL_ERRORS = "HYDRA_FULL_ERROR"
_WRONG_INPUT = (
    AnyDoorError,
    HydraException,
    CompactHydraException,
    OmegaConfBaseException,
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)


class Refusal(CompactHydraException):
    """A wrong input inside a sweep's job; its text is the whole sentence."""


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
    prepare_streams()
    full_errors = os.environ.get(FULL_ERRORS) == "1"
    try:
        if asks_for_help(sys.argv[1:]):
            print(help_text(config_name, sys.argv[1:]))
            return
        sys.argv[1:] = as_pasted(sys.argv[1:], config_name)
        with _raising(), _interrupts_kept():
            folder, guarded = str(conf_dir()), _guard(task, config_name, full_errors)
            command = hydra.main(version_base="1.3", config_path=folder, config_name=config_name)
            run_to_the_end(command(guarded))
        _leave_other_processes()
    except KeyboardInterrupt:
        _end("interrupted", INTERRUPTED)
    except BrokenPipeError:  # the reader of our output has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(READER_LEFT)
    except Exception as error:
        if full_errors or not _is_wrong_input(error):
            raise
        _end(f"error: {_sentence(error, config_name)}", REFUSED)


@contextmanager
def _interrupts_kept() -> Iterator[None]:
    """Inside, a Ctrl-C that falls into a destructor, where Python drops what is raised, comes
    again."""
    before, main = sys.unraisablehook, threading.main_thread().ident

    def told(dropped: sys.UnraisableHookArgs) -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            # a moment later: it would be dropped in here, too
            threading.Timer(AGAIN_S, signal.pthread_kill, (main, signal.SIGINT)).start()
        else:
            before(dropped)

    sys.unraisablehook = told
    try:
        yield
    finally:
        sys.unraisablehook = before


def _leave_other_processes() -> None:
    """End what connects the processes of one command: its threads abort a process that exits."""
    distributed = sys.modules.get("torch.distributed")
    if distributed and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


@contextmanager
def _raising() -> Iterator[None]:
    """Inside, Hydra hands errors on in the place of printing them and ending the process."""
    before = os.environ.get(FULL_ERRORS)
    os.environ[FULL_ERRORS] = "1"
    try:
        yield
    finally:
        del os.environ[FULL_ERRORS]
        if before is not None:
            os.environ[FULL_ERRORS] = before


def _guard(
    task: Callable[[DictConfig], Any], command: str, full_errors: bool
) -> Callable[[DictConfig], Any]:
    """The task behind the checks of its settings; a sweep's job says at once why it failed."""

    @functools.wraps(task)
    def guarded(cfg: DictConfig) -> Any:
        try:
            check_keys(cfg, command)
            check_values(cfg, command)
            return task(cfg)
        except Exception as error:
            job, sentence = job_called(), _sentence(error, command)
            if isinstance(error, InUse) and may_pass_over():
                print(f"passed over job {job}: {sentence}", file=sys.stderr)
                return None
            if job:
                print(f"error in job {job}: {sentence}", file=sys.stderr)
            if full_errors or not _is_wrong_input(error):
                raise
            if job:  # as text, so that it comes back whole from another process
                raise Refusal(sentence) from error
            _end(f"error: {sentence}", REFUSED)

    return guarded


def _is_wrong_input(error: BaseException) -> bool:
    """Whether an error is about what the user gave: also a file or folder that cannot be used."""
    files = isinstance(error, OSError) and error.filename is not None
    return files or isinstance(error, _WRONG_INPUT)


def _sentence(error: BaseException, command: str) -> str:
    """What the user is told, in one line."""
    text = override_sentence(error, command)
    if isinstance(error, MissingMandatoryValue) and error.full_key:
        key = error.full_key
        text = f"{key} is not given; add {key}=... (python -m anydoor_lab.{command} --help)"
    text = (text or str(error)).partition("Config search path:")[0]
    return " ".join(text.split()) or type(error).__name__


def _end(line: str, code: int) -> NoReturn:
    print(line, file=sys.stderr)
    sys.exit(code)
