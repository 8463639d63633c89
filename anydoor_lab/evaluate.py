"""The door to scoring: `python -m anydoor_lab.evaluate [run=<folder>]`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from anydoor_lab.config.compose import output_folder
from anydoor_lab.config.door import door
from anydoor_lab.structures.files import check_writable, write_sealed

RUNS_OWN = ("model", "data", "data_seed", "eval", "metrics")


@door("evaluate")
def main(cfg: DictConfig) -> None:
    """Score a run's weights, or the embedded network's, on held-out pairs of `data`."""
    from anydoor_lab.config import assemble, devices, pipelines
    from anydoor_lab.config.devices import start_processes
    from anydoor_lab.config.values import check_values
    from anydoor_lab.runs.folder import FACTS, SCORES
    from anydoor_lab.training.processes import told_of_the_lost

    folder = output_folder()
    job = HydraConfig.get()
    if (folder / SCORES).exists() and not cfg.overwrite:
        if job.mode == RunMode.MULTIRUN:  # the same sweep again
            print(f"scores   {folder / SCORES} are there already")
            return
        raise FileExistsError(f"{folder} holds scores already; add overwrite=true")
    check_writable(folder / SCORES)
    overrides = list(job.overrides.task)
    chosen = as_the_run(cfg, overrides)
    check_values(chosen, "evaluate")
    pipelines.silence_libraries()
    leading = start_processes()
    pipeline = None
    if assemble.needs_pipeline(cfg.method):
        source = cfg.run or pipelines.EMBEDDED
        if leading:
            print(f"weights  {source}", flush=True)
        pipeline = devices.place(pipelines.load_pipeline(source), cfg.device)
        pipeline.register_to_config(**pipelines.chosen_sampling(chosen.model))
    bench = assemble.build_bench(chosen)
    with told_of_the_lost():
        row, results = bench.score(assemble.build_method(chosen.method, pipeline), row_name(cfg))
    if leading:
        write_sealed(folder / FACTS, {"overrides": overrides})
        bench.report([row, *bench.anchors()], results, folder)


def row_name(cfg: DictConfig) -> str:
    """What the row of a model is called: its run, the embedded network, or another method."""
    method = HydraConfig.get().runtime.choices.get("method")
    if method != "anydoor":
        return str(method)
    return Path(cfg.run).name if cfg.run else "embedded"


def as_the_run(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The config with the run's own scale, data and way of scoring, but for what the command
    overrides."""
    from anydoor_lab.runs.settings import CONFIG, read_config

    if not cfg.run or not (Path(cfg.run) / CONFIG).is_file():
        return cfg
    held = read_config(Path(cfg.run))
    asked = [text.lstrip("+~").split("=")[0] for text in overrides]
    values = {key: held[key] for key in RUNS_OWN if key in held and key not in asked}
    chosen = OmegaConf.create({**OmegaConf.to_container(cfg), **values})  # type: ignore[dict-item]
    for key in asked:
        if key.split(".")[0] in values:
            OmegaConf.update(chosen, key, OmegaConf.select(cfg, key), merge=False)
    return chosen


if __name__ == "__main__":
    main()
