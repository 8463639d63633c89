"""The door to the page of a sweep: `python -m anydoor_lab.dashboard experiment=<id>`."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from anydoor_lab.config.door import door
from anydoor_lab.structures.errors import InputError


@door("dashboard")
def main(cfg: DictConfig) -> None:
    """Write the page of a sweep's runs; where W&B has a key, its workspace as well."""
    if (cfg.id is None) == (cfg.runs is None):
        raise InputError("give either experiment=<id> or runs=<a sweep's folder>, one of them")
    folder = Path(cfg.runs or f"runs/{cfg.id}")
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder; train it, or give runs=<a sweep's folder>")

    from anydoor_lab.report.dashboard import write_dashboard

    print(f"page     {write_dashboard(folder, cfg.id or '')}")
    if cfg.workspace:
        from anydoor_lab.report.wandb_workspace import save_workspace

        print(f"W&B      {save_workspace(folder, cfg.id or folder.name, cfg.project)}")


if __name__ == "__main__":
    main()
