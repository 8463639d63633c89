"""What a sweep does beside its jobs: the ledger, and runs that other workers have."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from anydoor_lab.config.compose import run_name
from anydoor_lab.config.values import WITHOUT_WEIGHTS
from anydoor_lab.runs.folder import Run, read_facts
from anydoor_lab.runs.lock import held
from anydoor_lab.structures.errors import RunError

if TYPE_CHECKING:
    from anydoor_lab.runs.tracking import RunFacts

OWN_SUBDIR = "${run_name:${hydra.overrides.task}}"
"""How conf/train.yaml names a sweep's runs."""
LOOKS = 2
"""How often a sweep's command looks at runs that another worker has: as it comes by, and at the
end."""
Ending = Callable[[bool, bool], bool]
"""What a sweep does at its end; see `at_the_end`."""
_endings: list[Ending] = []


def planned(config: DictConfig) -> list[tuple[Path, list[str]]]:
    """The folder and the overrides of each run that a sweep's config asks for."""
    swept = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
    asked = OverridesParser.create().parse_overrides([*swept, *config.hydra.overrides.task])
    (jobs,) = BasicSweeper.split_arguments(asked, None)
    folder = Path(config.hydra.sweep.dir)
    return [(folder / _subdir(config, number, job), job) for number, job in enumerate(jobs)]


def _subdir(config: DictConfig, number: int, overrides: Sequence[str]) -> str:
    sweep: Any = OmegaConf.to_container(config.hydra.sweep, resolve=False)
    if sweep["subdir"] == OWN_SUBDIR:
        return run_name(overrides)
    # it may be made of any setting: compose the job, which takes a moment
    job = GlobalHydra.instance().config_loader().load_sweep_config(config, list(overrides))
    with read_write(job), open_dict(job):
        job.hydra.job.num, job.hydra.job.id = number, str(number)
    before = HydraConfig.instance().cfg
    try:
        HydraConfig.instance().set_config(job)  # what ${hydra:...} reads
        return str(job.hydra.sweep.subdir)
    finally:
        HydraConfig.instance().cfg = before


def make_start(config: DictConfig) -> None:
    """Train the part that a sweep's runs begin with, where `init` is the model's own `start`, a
    folder of conf/part, and is not finished yet.

    Raises:
        InUse: another process trains it.
        RuntimeError: it could not be trained.
    """
    from anydoor_lab.models.embedded import is_part

    start = config.model.get("start")
    if start in (*WITHOUT_WEIGHTS, None) or config.get("init") != start:  # evaluate has no init
        return
    folder = Path(start)
    if is_part(folder):
        _say_if_older(folder)
        return
    print(f"start    {folder} is trained first, once: what every run of the sweep begins with")
    call = [sys.executable, "-m", "anydoor_lab.pretrain", f"part={folder.name}"]
    with held(folder.parent / f"{folder.name}.training"):
        ended = subprocess.run([*call, f"out={folder.parent}"], check=False)  # noqa: S603
    if ended.returncode:
        raise RunError(f"{folder} was not trained; the same command goes on with it")


def _say_if_older(part: Path) -> None:
    """Of a part that began with other weights than the package's of today, say so."""
    from anydoor_lab.models.embedded import embedded_folder
    from anydoor_lab.pretraining.folders import read_card

    began = read_card(part).get("begun_from", {}).get("weights")
    if began not in (None, read_card(embedded_folder("anydoor"))["weights"]):
        print(
            f"older    {part} began with other weights than the package's of today; remove it, "
            "and the sweep's runs, to have them made anew",
            file=sys.stderr,
        )


def job_called() -> str:
    """The job as "3 (idx=clip)" inside a sweep, otherwise nothing."""
    node = HydraConfig.get()
    return f"{node.job.num} ({node.job.override_dirname})" if node.mode == RunMode.MULTIRUN else ""


def may_pass_over() -> bool:
    """Whether a job whose run another worker has may be left to that: in a sweep of jobs of one
    process each."""
    return HydraConfig.get().mode == RunMode.MULTIRUN and os.environ.get("WORLD_SIZE", "1") == "1"


def run_facts(run: Run, first_step: int = 0, job_type: str = "train") -> RunFacts:
    """What a tracker is told to file a command's run by; see `RunFacts`."""
    from anydoor_lab.runs.tracking import RunFacts

    job = HydraConfig.get()
    sweep = Path(job.sweep.dir).name if job.mode == RunMode.MULTIRUN else ""
    return RunFacts(
        folder=run.folder,
        name=run.folder.name,
        group=str(job.runtime.choices.get("experiment") or "") or sweep,
        tags=[text[:64] for text in job.overrides.task],
        config={**run.config, **read_facts(run.folder)},
        first_step=first_step,
        job_type=job_type,
    )


def sweeps_folder() -> Path:
    """Where the folders of this sweep and others stand."""
    return Path(HydraConfig.get().sweep.dir).parent


def at_the_end(ending: Ending) -> None:
    """Have something done when the sweep that begins now has ended, well or not.

    Hydra's `on_multirun_end` is only for sweeps in which every job succeeded.

    Args:
        ending: told whether the sweep's jobs ended well and whether this was the last look; true
            where the same command is to run once more.
    """
    _endings[:] = [ending]


def run_to_the_end(command: Callable[[], None]) -> None:
    """A command with what its sweep, if it is one, does at its end."""
    for look in range(LOOKS):
        _endings.clear()
        failure: Exception | None = None
        try:
            command()
        except Exception as error:
            failure = error
        again = [ending(failure is None, look == LOOKS - 1) for ending in _endings]
        if not any(again):
            break
    if failure is not None:
        raise failure
