"""Where the YAML stands, and what every door does with it and with errors.

A door is a function of one config, decorated with `@door("train")`. The library below floor 6 never
sees an OmegaConf type: `plain` hands over dictionaries, `leaf` a callable waiting for its run-time
arguments. Nothing here imports torch, so `--help` and wrong names answer at once.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException, HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

REFUSED = 2
INTERRUPTED = 130
MAX_NAME = 120
UNNAMED = ("train.resume", "overwrite", "experiment")
_PACKAGE = "anydoor_lab"
_ALWAYS_INPUT = (
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


def conf_dir() -> Path:
    """The absolute folder of the YAML files: the checkout's `conf/`, else the installed copy.

    Raises:
        ValueError: there is neither.
    """
    package = Path(__file__).resolve().parent
    return _conf_beside(package)


def _conf_beside(package: Path) -> Path:
    checkout, installed = package.parent / "conf", package / "conf"
    # a `conf` beside an installed package may be anybody's: only a checkout has a pyproject.toml
    if checkout.is_dir() and (package.parent / "pyproject.toml").is_file():
        return checkout
    if installed.is_dir():
        return installed
    raise ValueError(
        f"no conf folder: neither {checkout} (a checkout) nor {installed} (an installed wheel) "
        "exists; install the package again or run from a complete checkout"
    )


def compose_config(config_name: str, *choices: str) -> DictConfig:
    """What a door's command line would choose, for notebooks and scripts.

    Args:
        config_name: the door: train, evaluate, generate ...
        choices: as on the command line: `model=tiny`, `idx=clip`, `train.steps=20` ...
    """
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra.compose(config_name, overrides=list(choices))


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The config as nested dicts, lists and scalars, interpolations resolved.

    Raises:
        omegaconf.errors.OmegaConfBaseException: a `???` is unset or a reference leads nowhere.
    """
    values: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    return values


def leaf(cfg: DictConfig) -> Callable[..., Any]:
    """The node's `_target_` with its keys bound, to be called with the run-time objects.

    Nested nodes arrive as plain dicts and lists, never built and never as OmegaConf types.

    Raises:
        ValueError: the node has no `_target_`, or it names nothing that can be imported.
    """
    if "_target_" not in cfg:
        raise ValueError(f"expected a node with _target_, found the keys {sorted(map(str, cfg))}")
    try:
        built: Callable[..., Any] = hydra.utils.instantiate(
            cfg, _partial_=True, _recursive_=False, _convert_="all"
        )
    except InstantiationException as error:
        # Hydra's first line says "Error locating target"; the cause below it says why
        reason = error.__cause__ or error
        raise ValueError(f"cannot import _target_ {cfg['_target_']!r}: {reason}") from error
    return built


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
        if end.code == 1 and isinstance(end.__context__, (*_ALWAYS_INPUT, CompactHydraException)):
            sys.exit(REFUSED)
        raise
    except ValueError as error:
        if _full_errors() or not _is_wrong_input(error):
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
            if _full_errors() or not _is_wrong_input(error):
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


def _is_wrong_input(error: BaseException) -> bool:
    """Whether this is a check of ours refusing its input, and not a fault of the program.

    A ValueError, TypeError or RuntimeError counts only when a `raise` statement of this package
    raised it: the same kinds out of torch, or out of the interpreter, deserve their traceback.
    """
    if isinstance(error, _ALWAYS_INPUT):
        return True
    if not isinstance(error, ValueError | TypeError | RuntimeError):
        return False
    return error.__traceback__ is not None and _ends_in_our_raise(error.__traceback__)


def _ends_in_our_raise(trace: TracebackType) -> bool:
    while trace.tb_next is not None:
        trace = trace.tb_next
    package = trace.tb_frame.f_globals.get("__package__") or ""
    operation = trace.tb_frame.f_code.co_code[trace.tb_lasti]
    return package.split(".")[0] == _PACKAGE and operation == dis.opmap["RAISE_VARARGS"]


def _sentence(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _full_errors() -> bool:
    return os.environ.get("HYDRA_FULL_ERROR") == "1"


def _end(line: str, code: int) -> NoReturn:
    print(line, file=sys.stderr)
    sys.exit(code)


def output_folder() -> Path:
    """The folder Hydra made for this run (`hydra.run.dir`, in a sweep `hydra.sweep.dir`/...)."""
    return Path(HydraConfig.get().runtime.output_dir)


def run_name(overrides: Sequence[str]) -> str:
    """A folder's name for a command's overrides: readable, safe, at most 120 characters.

    The same choices always give the same name; none gives `default`. Overrides that do not change
    what is computed (`UNNAMED`) are left out.
    """
    text = ",".join(sorted(o for o in overrides if o.lstrip("+").split("=")[0] not in UNNAMED))
    safe = re.sub(r"[^\w.=,+-]+", "_", text).strip("_.") or "default"
    if len(safe) <= MAX_NAME and safe in (text, "default"):
        return safe
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{safe[: MAX_NAME - 9]}-{digest}"


def by_init(init: str, begun: float, tuned: float) -> float:
    """`begun` where training begins with a base or with nothing, `tuned` with trained weights."""
    return begun if init in ("base", "scratch") else tuned


OmegaConf.register_new_resolver("by_init", by_init, replace=True)
OmegaConf.register_new_resolver("run_name", run_name, replace=True)
# cached: a sweep's folder is named once, by the whole command, and stays the same in its jobs
OmegaConf.register_new_resolver("sweep_name", run_name, replace=True, use_cache=True)
