"""The door to the page of several runs: `python -m anydoor_lab.dashboard experiment=<id>`."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from anydoor_lab.config.door import door
from anydoor_lab.config.experiments import SWEEP_OF, WITHOUT_RUNS
from anydoor_lab.structures.errors import InputError


@door("dashboard")
def main(cfg: DictConfig) -> None:
    """Write the page of an experiment's or a sweep's runs; where W&B has a key, its workspace as
    well."""
    if (cfg.id is None) == (cfg.runs is None):
        raise InputError("give either experiment=<id> or runs=<a folder of runs>, one of them")
    experiment = SWEEP_OF.get(cfg.id, cfg.id) or ""
    folder = Path(cfg.runs or f"runs/{experiment}")
    if experiment in WITHOUT_RUNS:
        where = f"experiments/{experiment}/ has what it is"
        raise InputError(f"{experiment} scores no runs, so there is no page of them; {where}")
    if not folder.is_dir():
        begin = "run experiments/<id>/run.py first, or give runs=<a folder of runs>"
        raise FileNotFoundError(f"{folder} is no folder: nothing of it was run here; {begin}")

    from anydoor_lab.report.dashboard import write_dashboard

    print(f"page     {write_dashboard(folder, experiment)}")
    if cfg.workspace:
        from anydoor_lab.report.wandb_workspace import save_workspace

        print(f"W&B      {save_workspace(folder, experiment or folder.name, cfg.project)}")


if __name__ == "__main__":
    main()
