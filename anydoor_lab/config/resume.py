"""What a command finds in its run's folder: a checkpoint to go on from, or a finished run."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anydoor_lab.runs.folder import SCORES, Run, read_facts, read_scores
from anydoor_lab.runs.provenance import commit, versions
from anydoor_lab.runs.tracking import METRICS
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import ASIDE, read_sealed, writing

if TYPE_CHECKING:
    from anydoor_lab.training.checkpoint import Checkpoint


def find_checkpoint(resume: str, run: Run) -> Checkpoint | None:
    """What to go on from: `train.resume` is auto, never, or the path of a checkpoint.

    Raises:
        ValueError: the path holds no valid checkpoint.
    """
    from anydoor_lab.training.checkpoint import load_checkpoint, newest_checkpoint

    if resume == "never":
        return None
    if resume != "auto":
        return load_checkpoint(Path(resume))
    for groups in ((), None):  # what it says is read before what it weighs
        checkpoint = newest_checkpoint(run.checkpoints, groups)
        run.check(checkpoint.facts if checkpoint else None)
    return checkpoint


def taken_over(run: Run, sweeps: Path, frozen: str) -> Checkpoint | None:
    """What a finished run of another sweep trained, where nothing sets it apart from this one.

    Its last checkpoint, numbers and samples are copied into this run's folder. The same settings,
    commit, libraries and frozen networks are asked for; of several such runs the first is taken.

    Args:
        run: not begun.
        sweeps: the folder of the sweeps' folders.
        frozen: fingerprint of the networks that are not trained.
    """
    from anydoor_lab.training.checkpoint import newest_checkpoint

    alike = {"config_hash": run.hash, "commit": commit(), "versions": versions()}
    for twin in sorted(path.parent for path in sweeps.glob(f"*/*/{SCORES}")):
        try:
            if not alike.items() <= read_facts(twin).items():
                continue
            found = newest_checkpoint(twin / run.checkpoints.name)
        except InputError as error:  # it is damaged: train instead
            print(f"not taken: {error}", file=sys.stderr)
            continue
        if found is None or found.facts.get("frozen") != frozen:
            continue
        run.check(found.facts)
        _copy_training(twin, found.path, run)
        print(f"taken    {twin} has the same settings and weights: trained already")
        return replace(found, path=run.checkpoints / found.path.name)
    return None


def _copy_training(twin: Path, checkpoint: Path, run: Run) -> None:
    """The checkpoint comes last: with it the run is begun."""
    with writing(run.folder):
        for name in (METRICS, "samples"):
            if (twin / name).is_dir():
                shutil.copytree(twin / name, run.folder / name, dirs_exist_ok=True)
            elif (twin / name).is_file():
                shutil.copy(twin / name, run.folder / name)
        aside = run.folder / f".{checkpoint.name}{ASIDE}"
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(checkpoint, aside)
        run.checkpoints.mkdir(exist_ok=True)
        aside.rename(run.checkpoints / checkpoint.name)


def shown_finished(run: Run) -> bool:
    """Say what a finished run of these settings found, and where; False where it is not finished.

    Raises:
        ValueError: the run is of other settings.
    """
    from anydoor_lab.report.scores import score_table
    from anydoor_lab.training.checkpoint import newest_checkpoint

    scores = readable(run.folder / SCORES, lambda path: read_scores(path.parent))
    if scores is None:
        return False
    checkpoint = newest_checkpoint(run.checkpoints, groups=())
    run.check(checkpoint.facts if checkpoint else None)
    if first_process():
        print(score_table(scores).terminal())
        print(f"{run.folder} is finished; train it again with train.resume=never overwrite=true")
    return True


def readable(
    path: Path, read: Callable[[Path], dict[str, Any]] = read_sealed
) -> dict[str, Any] | None:
    """What `read` finds in a file that can be made again; None, loudly, where it is damaged."""
    if not path.is_file():
        return None
    try:
        return read(path)
    except InputError as error:
        print(f"made again: {error}", file=sys.stderr)
        return None


def first_process() -> bool:
    """Whether this is the only or the first process of a run, before they know each other."""
    return os.environ.get("RANK", "0") == "0"
