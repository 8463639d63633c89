"""The door to training: `python -m anydoor_lab.train`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from anydoor_lab.configs import door, output_folder, plain
from anydoor_lab.files import write_whole
from anydoor_lab.images import read_image
from anydoor_lab.runs import BEFORE, GRID, read_facts

if TYPE_CHECKING:
    from anydoor_lab.checkpoint import Checkpoint
    from anydoor_lab.pipeline import AnyDoorPipeline
    from anydoor_lab.runs import Run
    from anydoor_lab.scoring import Bench
    from anydoor_lab.stream import PairStream
    from anydoor_lab.tracking import Tracker
    from anydoor_lab.training import FitSettings, Progress, TrainingState


@door("train")
def main(cfg: DictConfig) -> None:
    """Train, score before and after on held-out pairs, and say where everything is."""
    from anydoor_lab.runs import Run

    run = Run(output_folder(), plain(cfg))
    if run.finished and cfg.train.resume == "auto":
        run.claim(fresh=False, overwrite=False)
        show_finished(run)
        return
    train(cfg, run)


def train(cfg: DictConfig, run: Run) -> None:
    """A run from its first or next step to its scores."""
    from accelerate.utils import set_seed

    from anydoor_lab import assemble, loading
    from anydoor_lab.training import start

    set_seed(cfg.seed)
    accelerator = assemble.build_accelerator(cfg)
    settings = assemble.build_fit_settings(cfg)
    checkpoint = find_checkpoint(cfg, run)
    pipeline = loading.build_pipeline(cfg)
    stream = assemble.build_stream(cfg, pipeline)
    objective = assemble.build_objective(cfg, pipeline).to(accelerator.device)
    if checkpoint:
        loading.check_frozen(pipeline.model, checkpoint)
    accelerator.print(assemble.memory_plan(cfg, pipeline, accelerator))
    state = start(objective, settings, accelerator)
    Session(cfg, run, pipeline, state, settings).run_through(stream, checkpoint)


class Session:
    """One process's share of a run: the loop's consumer. Only the first process scores and writes
    anything but its share of the gradient."""

    def __init__(
        self,
        cfg: DictConfig,
        run: Run,
        pipeline: AnyDoorPipeline,
        state: TrainingState,
        settings: FitSettings,
    ) -> None:
        self.cfg, self.run, self.pipeline = cfg, run, pipeline
        self.state, self.settings = state, settings
        self.leading = state.accelerator.is_main_process

    def run_through(self, stream: PairStream, checkpoint: Checkpoint | None) -> None:
        """Score, train, score again, report."""
        from anydoor_lab import loading
        from anydoor_lab.scoring import Bench
        from anydoor_lab.training import fit

        bench = Bench(self.cfg) if self.leading else None
        if bench:
            self.claim(stream)
        before = self.score_before(bench) if bench else {}
        if checkpoint:
            self.state.restore(checkpoint)
            self.state.accelerator.print(f"resuming {checkpoint.path} at step {checkpoint.step}")
        tracker = make_tracker(self.cfg, self.run, self.state.step) if self.leading else None
        facts = {"frozen": loading.frozen_fingerprint(self.pipeline.model)}
        steps = fit(self.state, stream, self.settings, self.run.checkpoints, facts)
        self.follow(steps, bench, tracker)
        if bench and tracker:
            self.conclude(before, bench, tracker)

    def claim(self, stream: PairStream) -> None:
        """Take the folder, now that everything has been built, and say what the data are."""
        from hydra.core.hydra_config import HydraConfig

        fresh = self.cfg.train.resume != "auto"
        self.run.claim(fresh=fresh, overwrite=self.cfg.overwrite)
        note = getattr(stream.source, "note", "")
        data = f"{stream.source.counts}; {note}" if note else str(stream.source.counts)
        processes = self.state.accelerator.num_processes
        overrides = list(HydraConfig.get().overrides.task)
        self.run.note(overrides=overrides, seed=self.cfg.seed, data=data, processes=processes)
        print(f"data     {data}")

    def score_before(self, bench: Bench) -> dict[str, Any]:
        """The row of the weights the run began with, scored once and kept in its folder."""
        path = self.run.folder / BEFORE
        if path.is_file():
            return json.loads(path.read_text())
        row = bench.score(self.pipeline, "before training")[0]
        write_whole(path, json.dumps(row))
        return row

    def conclude(self, before: dict[str, Any], bench: Bench, tracker: Tracker) -> None:
        """Score the averaged weights, write what there is to look at, and say where it is."""
        with self.state.averaged():
            after, results = bench.score(self.pipeline, "after training")
        scores = bench.report([before, after, *bench.anchors()], results, self.run.folder)
        caption = f"{bench.scale}, after training, held-out pairs, seed {bench.settings.seed}"
        tracker.show(self.state.step, "final", read_image(self.run.folder / GRID), caption)
        draw_loss(self.run, scores)
        if self.state.rejected:
            self.run.note(**read_facts(self.run.folder), passed_over=dict(self.state.rejected))
            print(f"passed over while training: {dict(self.state.rejected)}")
        tracker.finish({f"final/{k}": v for k, v in after.items() if isinstance(v, float)})
        print(f"weights  {self.run.checkpoints}\nrun      {self.run.folder}")

    def follow(self, steps: Iterable[Progress], bench: Any | None, tracker: Tracker | None) -> None:
        """Take the steps of the loop: progress bar, numbers, samples at fixed seeds."""
        from tqdm import tqdm

        batch = self.settings.batch_size
        bar = tqdm(
            total=self.settings.steps * batch, initial=self.state.step * batch,
            desc="training", unit="sample", disable=not self.leading,
        )  # fmt: skip
        for progress in steps:
            bar.update(batch)
            if tracker is None or bench is None:
                continue
            if progress.metrics:
                bar.set_postfix(loss=f"{progress.metrics['loss']:.4f}")
                tracker.log(progress.step, {"samples": progress.samples, **progress.metrics})
            if progress.step % self.cfg.train.sample_every == 0:
                self.show_samples(progress.step, bench, tracker)
        bar.close()

    def show_samples(self, step: int, bench: Bench, tracker: Tracker) -> None:
        """A sheet of the same held-out pairs and seeds at every call."""
        from anydoor_lab.evaluation import generate_results
        from anydoor_lab.report.scores import HEADERS, result_row
        from anydoor_lab.report.sheets import sheet

        with self.state.averaged():
            results = next(generate_results(self.pipeline, bench.pairs[:4], bench.settings))
        image = sheet([result_row(result) for result in results], side_px=128)
        caption = f"{bench.scale}, step {step}: {' | '.join(HEADERS)}"
        tracker.show(step, "held_out", image, caption)


def find_checkpoint(cfg: DictConfig, run: Run) -> Checkpoint | None:
    """What to go on from: `train.resume` is auto, never, or the path of a checkpoint.

    Raises:
        ValueError: the path holds no valid checkpoint.
    """
    from anydoor_lab.checkpoint import load_checkpoint, newest_checkpoint

    if cfg.train.resume == "never":
        return None
    if cfg.train.resume == "auto":
        return newest_checkpoint(run.checkpoints)
    return load_checkpoint(Path(cfg.train.resume))


def make_tracker(cfg: DictConfig, run: Run, first_step: int) -> Tracker:
    """The chosen tracker, told how to file this run."""
    from hydra.core.hydra_config import HydraConfig

    from anydoor_lab import assemble
    from anydoor_lab.tracking import RunFacts

    job = HydraConfig.get()
    sweep = Path(job.sweep.dir).name if job.mode and job.mode.name == "MULTIRUN" else ""
    facts = RunFacts(
        folder=run.folder,
        name=run.folder.name,
        group=str(job.runtime.choices.get("experiment") or "") or sweep or "train",
        tags=[text[:64] for text in job.overrides.task],
        config={**run.config, **read_facts(run.folder)},
        first_step=first_step,
    )
    return assemble.build_tracker(cfg, facts)


def draw_loss(run: Run, scores: dict[str, Any]) -> None:
    """The loss curves of the run, beside its scores; nothing where no numbers were kept."""
    from anydoor_lab.report.figures import loss_curves, save
    from anydoor_lab.report.scores import caption_of
    from anydoor_lab.tracking import read_metrics

    records = read_metrics(run.folder)
    if records:
        caption = caption_of(scores, "Training loss")
        print(f"loss     {save(loss_curves(records, caption), run.folder / 'loss.png')}")


def show_finished(run: Run) -> None:
    """Say what a finished run found, and where."""
    from anydoor_lab.report.scores import score_table
    from anydoor_lab.runs import read_scores

    print(score_table(read_scores(run.folder)).terminal())
    print(f"{run.folder} is finished; train it again with train.resume=never overwrite=true")


if __name__ == "__main__":
    main()
