"""The door to scoring: `python -m anydoor_lab.evaluate [run=<folder>]`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from anydoor_lab.config.compose import output_folder, plain
from anydoor_lab.config.door import door
from anydoor_lab.config.sweeps import job_called
from anydoor_lab.structures.files import check_writable

RUNS_OWN = ("model", "data", "data_seed", "eval", "metrics")


@door("evaluate")
def main(cfg: DictConfig) -> None:
    """Score a run's weights, or the embedded network's, on held-out pairs of `data`."""
    from anydoor_lab.config import assemble, devices, pipelines
    from anydoor_lab.config.devices import start_processes
    from anydoor_lab.config.values import check_values
    from anydoor_lab.models.sources import MissingError
    from anydoor_lab.runs.folder import SCORES
    from anydoor_lab.runs.ledger import note_absence
    from anydoor_lab.training.processes import told_of_the_lost

    folder = output_folder()
    chosen = as_the_run(cfg, list(HydraConfig.get().overrides.task))
    check_values(chosen, "evaluate")
    if (folder / SCORES).exists() and not cfg.overwrite:
        if scored_alike(folder, chosen):
            print(f"scores   {folder / SCORES} are there already; overwrite=true scores again")
            return
        raise FileExistsError(f"{folder} holds scores already; add overwrite=true")
    check_writable(folder / SCORES)
    pipelines.silence_libraries()
    leading = start_processes()
    if leading and job_called():
        begin(folder, chosen)
    pipeline = None
    if assemble.needs_pipeline(cfg.method):
        source = cfg.run or pipelines.EMBEDDED
        if leading:
            print(f"weights  {source}", flush=True)
        pipeline = devices.place(pipelines.load_pipeline(source), cfg.device)
        pipeline.register_to_config(**pipelines.chosen_sampling(chosen.model))
    try:
        method = assemble.build_method(chosen.method, pipeline, cfg.device)
    except MissingError as error:
        if not job_called():
            raise
        note_absence(folder, str(error).partition("; download it")[0])
        print(f"not run  {row_name(cfg)}: {error}", flush=True)
        return
    bench = assemble.build_bench(chosen)
    with told_of_the_lost():
        row, results = bench.score(method, row_name(cfg))
    if leading:
        bench.report([row, *bench.anchors()], results, folder)


def begin(folder: Path, cfg: DictConfig) -> None:
    """Write down what a job of a sweep is asked for, as `train` does for its runs."""
    from anydoor_lab.runs.folder import Run

    run = Run(folder, plain(cfg))
    run.write_config()
    run.note(overrides=list(HydraConfig.get().overrides.task))


def scored_alike(folder: Path, cfg: DictConfig) -> bool:
    """Whether the folder is a sweep's, and its scores are of the same settings."""
    from anydoor_lab.runs.folder import Run, read_facts

    return read_facts(folder).get("config_hash") == Run(folder, plain(cfg)).hash


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
