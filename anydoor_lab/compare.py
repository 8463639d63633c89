"""The door to comparisons: `python -m anydoor_lab.compare runs=<folder>`; sweeps end here too."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from anydoor_lab.config.door import after_failed_sweep, door
from anydoor_lab.runs.folder import SCORES, read_facts, read_scores
from anydoor_lab.structures.errors import InputError


@door("compare")
def main(cfg: DictConfig) -> None:
    """Compare the scores of all finished runs below a folder."""
    folder = Path(cfg.runs)
    if not folder.is_dir():
        raise FileNotFoundError(f"runs is {folder}, which is no folder; give a sweep's folder")
    compare(folder)


def compare(folder: Path) -> None:
    """Print one table and write it and one figure into `folder`.

    Raises:
        ValueError: fewer than one finished run is below the folder.
    """
    from anydoor_lab.report.scores import write_comparison

    found = [path.parent for path in sorted(folder.glob(f"*/{SCORES}"))]
    if not found:
        raise InputError(f"{folder} holds no finished run; give a sweep's folder")
    runs = list(zip(short_names(found), map(read_scores, found), strict=True))
    protocols = {scores["protocol"] for _, scores in runs}
    if len(protocols) > 1:
        raise InputError(f"the runs in {folder} were scored by different protocols: {protocols}")
    table, paths = write_comparison(runs, folder, f"Comparison of {len(runs)} runs")
    print(f"\n{table.terminal()}")
    print("\n".join(f"{kind:8s} {path}" for kind, path in paths.items()))


def short_names(folders: Sequence[Path]) -> list[str]:
    """What tells each run from the others: its command's overrides that not all of them share."""
    commands = [read_facts(folder).get("overrides", []) for folder in folders]
    shared = set.intersection(*map(set, commands))
    names = [" ".join(o for o in command if o not in shared) for command in commands]
    distinct = all(names) and len(set(names)) == len(names)
    return names if distinct else [folder.name for folder in folders]


class AfterSweep(Callback):
    """Hydra's callback that compares the runs of a sweep once all have ended, well or not."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Have what finished compared also where a job fails."""
        del kwargs
        after_failed_sweep(partial(self.on_multirun_end, config))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Compare what is finished and name what is not; a sweep in which nothing finished says
        so."""
        del kwargs
        if os.environ.get("RANK", "0") != "0":
            return
        folder = Path(config.hydra.sweep.dir)
        try:
            compare(folder)
        except ValueError as error:
            print(f"no comparison: {error}", file=sys.stderr)
        for path in unfinished(folder):
            print(f"not finished  {path}", file=sys.stderr)


def unfinished(folder: Path) -> list[Path]:
    """The folders of a sweep's jobs that have no scores."""
    jobs = [path.parent for path in sorted(folder.glob("*/.hydra"))]
    return [job for job in jobs if not (job / SCORES).is_file()]


if __name__ == "__main__":
    main()
