"""The door to scoring: `python -m anydoor_lab.evaluate [run=<folder>]`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from anydoor_lab.config.compose import leaf, output_folder, plain
from anydoor_lab.config.door import door
from anydoor_lab.config.resume import first_process
from anydoor_lab.config.sweeps import job_called, run_facts
from anydoor_lab.runs.folder import GRID, SCORES, Run, read_facts, read_scores
from anydoor_lab.runs.lock import held
from anydoor_lab.runs.settings import CONFIG, first_difference, read_config, relevant
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import check_writable

if TYPE_CHECKING:
    from anydoor_lab.evaluation.kept import KeptResults

RUNS_OWN = ("model", "data", "data_seed", "eval", "metrics")


@door("evaluate")
def main(cfg: DictConfig) -> None:
    """Score a run's weights, or the embedded network's, on held-out pairs of `data`; the same
    command goes on where it stopped."""
    from anydoor_lab.config.values import check_values

    chosen = as_the_run(cfg, list(HydraConfig.get().overrides.task))
    check_values(chosen, "evaluate")
    run = Run(output_folder(), plain(chosen))
    check_folder(run, cfg.overwrite)
    check_writable(run.folder / SCORES)
    with held(run.folder) if first_process() else nullcontext():
        score(cfg, chosen, run)


def score(cfg: DictConfig, chosen: DictConfig, run: Run) -> None:
    """What `main` does in a folder that may be written to."""
    from anydoor_lab.config import assemble, devices, pipelines
    from anydoor_lab.models.sources import MissingError
    from anydoor_lab.runs.ledger import note_absence
    from anydoor_lab.training.processes import told_of_the_lost

    pipelines.silence_libraries()
    leading = devices.start_processes()
    if leading and job_called() and not run.finished:
        note_settings(run)
    pipeline, weights = None, ""
    if assemble.needs_pipeline(cfg.method):
        source = cfg.run or pipelines.EMBEDDED
        if leading:
            print(f"weights  {source}", flush=True)
        pipeline = devices.place(pipelines.load_pipeline(source), cfg.device)
        pipeline.register_to_config(**pipelines.chosen_sampling(chosen.model))
        weights = pipelines.weights_fingerprint(pipeline.model)
    if not cfg.overwrite and scored_before(run, weights):
        print(f"scores   {run.folder / SCORES} are there already; overwrite=true scores again")
        return
    try:
        method = assemble.build_method(chosen.method, pipeline, cfg.device)
    except MissingError as error:
        if not job_called():
            raise
        note_absence(run.folder, str(error).partition("; download it")[0])
        print(f"not run  {row_name(cfg)}: {error}", flush=True)
        return
    bench = assemble.build_bench(chosen)
    with told_of_the_lost():
        kept = kept_results(run, weights, leading, cfg.overwrite)
        row, results = bench.score(method, row_name(cfg), kept)
    if leading:
        scores = bench.report([row, *bench.anchors()], results, run.folder)
        if chosen.get("logger"):
            log_scores(chosen, run, scores)


def log_scores(cfg: DictConfig, run: Run, scores: Mapping[str, Any]) -> None:
    """Hand the scores and the pictures to the logger that is chosen."""
    from anydoor_lab.report.pictures import picture_rows
    from anydoor_lab.report.scores import pairs_called
    from anydoor_lab.runs.tracking import RESULTS
    from anydoor_lab.structures.images import read_image

    tracker = leaf(cfg.logger)(run_facts(run, job_type="evaluate"))
    caption = f"{scores['scale']}, {pairs_called(scores)}, seed {scores['seed']}"
    tracker.show(0, "final", read_image(run.folder / GRID), caption)
    tracker.tabulate(RESULTS, picture_rows(run.folder, run.folder.name))
    row = scores["rows"][scores["model_row"]]
    tracker.finish({f"final/{key}": v for key, v in row.items() if isinstance(v, float)})


def check_folder(run: Run, overwrite: bool) -> None:
    """Refuse a folder that is a training's, or that holds results of other settings.

    Raises:
        ValueError: a training's; evaluating would replace its settings.
        FileExistsError: results of other settings, unless they may be replaced.
    """
    from anydoor_lab.evaluation.kept import GENERATED

    known = read_config(run.folder) if (run.folder / CONFIG).is_file() else {}
    if "train" in known or any(run.checkpoints.glob("step_*")):
        raise InputError(f"{run.folder} is a training's folder; choose another hydra.run.dir")
    if overwrite or not (run.finished or (run.folder / GENERATED).is_dir()):
        return
    difference = first_difference(relevant(known), run.settings) if known else ""
    if not known and (not run.finished or read_scores(run.folder).get("config") != run.hash):
        difference = "nothing says of which"
    if difference:
        raise FileExistsError(
            f"{run.folder} holds results of other settings ({difference}); choose another "
            "hydra.run.dir or replace them with overwrite=true"
        )


def scored_before(run: Run, weights: str) -> bool:
    """Whether the folder, which is of these settings, has the scores of these weights.

    Raises:
        FileExistsError: it has those of other weights.
    """
    if not run.finished:
        return False
    held_weights = read_facts(run.folder).get("weights", weights)
    if held_weights != weights:
        raise FileExistsError(
            f"{run.folder} holds scores of other weights (fingerprint {held_weights}, here "
            f"{weights}): the run was trained on; score again with overwrite=true"
        )
    return True


def kept_results(run: Run, weights: str, leading: bool, overwrite: bool) -> KeptResults:
    """Where the folder keeps results, emptied by the first process where they may be replaced; all
    processes must ask."""
    from anydoor_lab.evaluation.kept import GENERATED, KeptResults
    from anydoor_lab.training.processes import gathered

    kept = KeptResults(run.folder / GENERATED, {"config": run.hash, "weights": weights})
    if leading:
        if overwrite:
            (run.folder / SCORES).unlink(missing_ok=True)
            shutil.rmtree(kept.folder, ignore_errors=True)
        note_settings(run, weights=weights)
    gathered(None)
    return kept


def note_settings(run: Run, **facts: str) -> None:
    """Write down what is asked for, as `train` does for its runs."""
    run.write_config()
    run.note(overrides=list(HydraConfig.get().overrides.task), **facts)


def row_name(cfg: DictConfig) -> str:
    """What the row of a model is called: its run, the embedded network, or another method."""
    method = HydraConfig.get().runtime.choices.get("method")
    if method != "anydoor":
        return str(method)
    return Path(cfg.run).name if cfg.run else "embedded"


def as_the_run(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The config with the run's own scale, data and way of scoring, but for what the command
    overrides."""
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
