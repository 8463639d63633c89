"""What a command finds in its run's folder: a checkpoint to go on from, or a finished run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anydoor_lab.runs.folder import SCORES, Run, read_scores
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import read_sealed

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
