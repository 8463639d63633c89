"""The ledger of a sweep: in which state each of its runs is, as their folders and locks say.

Nothing else is kept, so any number of machines that share the folder see the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import pandas as pd
import yaml

from anydoor_lab.runs.folder import ABSENCE, FAILURE, SCORES, Run
from anydoor_lab.runs.lock import holder_of
from anydoor_lab.runs.settings import CONFIG, read_config
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import read_sealed, read_small, write_sealed, write_whole

LEDGER = "ledger.csv"
OVERRIDES = Path(".hydra") / "overrides.yaml"
"""What a run was asked for with; in a folder of a sweep it stands before the run begins."""
State = Literal["waiting", "running", "broken", "failed", "not run", "finished"]
"""Not begun; held by a process; begun and left; ended by an error; what it needs is not here;
scored."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a sweep.

    Args:
        run: its folder's name.
        state: see `State`.
        config_hash: of its settings that matter, as in its `run.json`; empty before it has begun.
        overrides: what it was asked for with.
        step: of its newest checkpoint; None where there is none.
        reason: why it failed or was not run, or who holds it.
    """

    run: str
    state: State
    config_hash: str
    overrides: str
    step: int | None
    reason: str


def plan_job(folder: Path, overrides: Sequence[str]) -> None:
    """Have a run that may begin later in the ledger.

    Raises:
        FileError: its folder cannot be made.
    """
    if not (folder / OVERRIDES).is_file():
        write_whole(folder / OVERRIDES, yaml.safe_dump(list(overrides)))


def note_failure(folder: Path, reason: str, details: str = "") -> None:
    """Say in a run's folder why it ended; `details` is for whoever mends the program."""
    write_sealed(folder / FAILURE, {"reason": reason, "details": details})


def note_absence(folder: Path, reason: str) -> None:
    """Say in a run's folder that it was not run, because something that it needs is not here."""
    write_sealed(folder / ABSENCE, {"reason": reason})


def reason_of_absence(folder: Path) -> str:
    """What `note_absence` wrote; empty where the run was run."""
    return _reason(folder / ABSENCE) if (folder / ABSENCE).is_file() else ""


def forget_failure(folder: Path) -> None:
    """A run is tried again."""
    for name in (FAILURE, ABSENCE):
        (folder / name).unlink(missing_ok=True)


def read_job(folder: Path) -> Job:
    """The state of one run, from what stands in its folder."""
    state, reason = _state(folder)
    steps = sorted((folder / "checkpoints").glob("step_*"))
    numbers = [int(digits) for path in steps if (digits := path.name[5:]).isdigit()]
    return Job(
        folder.name, state, _hash(folder), " ".join(_overrides(folder)),
        max(numbers, default=None), reason,
    )  # fmt: skip


def read_ledger(sweep: Path) -> list[Job]:
    """All runs of a sweep's folder, by name."""
    folders = {path.parent.parent for path in sweep.glob(f"*/{OVERRIDES}")}
    folders |= {path.parent for path in sweep.glob(f"*/{CONFIG}")}
    return [read_job(folder) for folder in sorted(folders)]


def write_ledger(sweep: Path) -> list[Job]:
    """The ledger as it is now, also written into the sweep's folder as `ledger.csv`.

    Raises:
        FileError: it cannot be written.
    """
    jobs = read_ledger(sweep)
    if jobs:
        table = pd.DataFrame([asdict(job) for job in jobs]).astype({"step": "Int64"})
        write_whole(sweep / LEDGER, table.to_csv(index=False, lineterminator="\n"))
    return jobs


def counted(jobs: Sequence[Job]) -> str:
    """How many runs are in which state: "6 runs: 3 finished, 3 waiting"."""
    states = Counter(job.state for job in jobs)
    parts = [f"{states[state]} {state}" for state in reversed(get_args(State)) if states[state]]
    plural = "" if len(jobs) == 1 else "s"
    return f"{len(jobs)} run{plural}: {', '.join(parts)}"


def _state(folder: Path) -> tuple[State, str]:
    holder = holder_of(folder)
    if holder:
        return "running", holder
    if (folder / SCORES).is_file():
        return "finished", ""
    if (folder / FAILURE).is_file():
        return "failed", _reason(folder / FAILURE)
    if (folder / ABSENCE).is_file():
        return "not run", _reason(folder / ABSENCE)
    return ("broken" if Run(folder, {}).begun else "waiting"), ""


def _reason(path: Path) -> str:
    try:
        return str(read_sealed(path).get("reason", ""))
    except InputError as error:
        return str(error)


def _hash(folder: Path) -> str:
    try:
        return Run(folder, read_config(folder)).hash
    except InputError:  # not begun, or damaged: the run itself says so
        return ""


def _overrides(folder: Path) -> list[str]:
    path = folder / OVERRIDES
    try:
        known = yaml.safe_load(read_small(path)) if path.is_file() else []
    except (InputError, yaml.YAMLError):
        return []
    return [str(text) for text in known] if isinstance(known, list) else []
