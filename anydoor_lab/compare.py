"""The door to comparisons: `python -m anydoor_lab.compare runs=<folder>`; sweeps end here too."""

from __future__ import annotations

import shutil
import sys
import traceback
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from anydoor_lab.config.door import door
from anydoor_lab.config.resume import first_process
from anydoor_lab.config.sweeps import at_the_end, make_start, planned
from anydoor_lab.runs.folder import ABSENCE, SCORES, read_facts, read_scores
from anydoor_lab.runs.ledger import (
    LEDGER,
    OVERRIDES,
    Job,
    counted,
    forget_failure,
    note_failure,
    plan_job,
    reason_of_absence,
    write_ledger,
)
from anydoor_lab.structures.errors import InputError, RunError

AS_THEY_ARE = "; finished ones stay as they are"


@door("compare")
def main(cfg: DictConfig) -> None:
    """Compare the scores of all finished runs below a folder."""
    folder = Path(cfg.runs)
    if not folder.is_dir():
        raise FileNotFoundError(f"runs is {folder}, which is no folder; give a sweep's folder")
    compare(folder)


def compare(folder: Path) -> None:
    """Print one table and write it, one figure and, of runs on the same pairs, one grid of their
    pictures into `folder`; what was not run stands in them with what it lacks.

    Raises:
        ValueError: fewer than one finished run is below the folder.
    """
    from anydoor_lab.report.figures import save
    from anydoor_lab.report.pictures import PICTURES, picture_grid
    from anydoor_lab.report.scored import natural
    from anydoor_lab.report.scores import write_comparison

    found = [path.parent for path in folder.glob(f"*/{SCORES}")]
    if not found:
        raise InputError(f"{folder} holds no finished run; give a sweep's folder")
    lacking = [path.parent for path in folder.glob(f"*/{ABSENCE}")]
    folders = [*found, *lacking]
    named = dict(zip(short_names(folders), folders, strict=True))
    named = {name: named[name] for name in sorted(named, key=natural)}
    places = {name: place for name, place in named.items() if place in found}
    runs = [(name, read_scores(place)) for name, place in places.items()]
    absent = {n: reason_of_absence(place) for n, place in named.items() if n not in places}
    protocols = {scores["protocol"] for _, scores in runs}
    if len(protocols) > 1:
        raise InputError(f"the runs in {folder} were scored by different protocols: {protocols}")
    title = f"Comparison of {len(runs)} runs"
    table, paths = write_comparison(runs, folder, title, absent)
    same_pairs = len({str(scores.get("pairs")) for _, scores in runs}) == 1
    if same_pairs and any((place / PICTURES).is_dir() for place in found):
        caption = replace(table.caption, title=f"{title}: results")
        figure = picture_grid(places, caption, absent)
        paths["picture"] = save(figure, folder / "results.png")
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
    """Hydra's callback that keeps a sweep's ledger, and reports its runs once all have ended."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Write down which runs there will be, have them reported, also where one fails, and train
        what they begin with."""
        del kwargs
        if not first_process():
            return
        try:
            runs = planned(config)
        except HydraException:  # the sweep itself ends with it
            return
        for folder, overrides in runs:
            plan_job(folder, overrides)
        sweep, names = Path(config.hydra.sweep.dir), {folder.name for folder, _ in runs}
        asked = [job for job in write_ledger(sweep) if job.run in names]
        print(f"sweep    {sweep}: {counted(asked)}{AS_THEY_ARE if any_finished(asked) else ''}")
        experiment = config.hydra.runtime.choices.get("experiment") or ""
        at_the_end(Ending(sweep, names, experiment))
        make_start(config)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Forget how the run ended the last time."""
        del kwargs
        if of_a_sweep(config) and first_process():
            forget_failure(Path(config.hydra.runtime.output_dir))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Write down why the run has failed, and how all runs stand now."""
        del kwargs
        if not of_a_sweep(config) or not first_process():
            return
        error = job_return._return_value
        if isinstance(error, Exception):
            reason = " ".join(f"{error}".split()) or type(error).__name__
            details = "".join(traceback.format_exception(error))
            note_failure(Path(config.hydra.runtime.output_dir), reason, details)
        write_ledger(Path(config.hydra.sweep.dir))


def of_a_sweep(config: DictConfig) -> bool:
    """Whether a job's config is one of several."""
    return bool(config.hydra.mode == RunMode.MULTIRUN)


def any_finished(jobs: Sequence[Job]) -> bool:
    """Whether one is finished."""
    return any(job.state == "finished" for job in jobs)


@dataclass(frozen=True, slots=True)
class Ending:
    """What is done when a sweep has ended.

    Args:
        sweep: its folder.
        names: of the folders of the runs it was asked for.
        experiment: the id of conf/experiment it is, or empty.
    """

    sweep: Path
    names: Set[str]
    experiment: str

    def __call__(self, well: bool, last: bool) -> bool:
        """Report what is finished and list what is not; true where a run that another worker had
        is free again, unfinished.

        Raises:
            RuntimeError: a run has failed elsewhere.
        """
        jobs = write_ledger(self.sweep)
        asked = [job for job in jobs if job.run in self.names]
        if well and not last and any(job.state in ("broken", "waiting") for job in asked):
            return True
        if not well and not self._begun():
            self._forget()
            return False
        self._report()
        print(f"ledger   {self.sweep / LEDGER}: {counted(jobs)}")
        for job in jobs:
            if job.state != "finished":
                where = f"{self.sweep / job.run}"
                print(f"not finished  {where}  {job.state}  {job.reason}".rstrip(), file=sys.stderr)
        failed = [job.run for job in asked if job.state == "failed"]
        if well and failed:
            raise RunError(f"{len(failed)} of {len(asked)} runs have failed: {', '.join(failed)}")
        return False

    def _report(self) -> None:
        from anydoor_lab.report.dashboard import write_dashboard
        from anydoor_lab.report.experiment import write_experiment

        try:
            if self.experiment:
                write_experiment(self.sweep, self.experiment)
            else:
                compare(self.sweep)
            print(f"page     {write_dashboard(self.sweep, self.experiment)}")
        except ValueError as error:
            print(f"no comparison: {error}", file=sys.stderr)

    def _begun(self) -> bool:
        """Whether any job was begun; none is where a choice is misspelled."""
        return any((self.sweep / name / ".hydra" / "config.yaml").exists() for name in self.names)

    def _forget(self) -> None:
        """Take the runs that cannot be out of the ledger."""
        for name in self.names:
            folder = self.sweep / name
            if sorted(folder.rglob("*")) == [folder / OVERRIDES.parent, folder / OVERRIDES]:
                shutil.rmtree(folder)
        (self.sweep / LEDGER).unlink(missing_ok=True)
        write_ledger(self.sweep)


if __name__ == "__main__":
    main()
