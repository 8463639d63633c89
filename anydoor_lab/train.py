"""The door to training: `python -m anydoor_lab.train`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from anydoor_lab.config.compose import output_folder, plain
from anydoor_lab.config.door import door
from anydoor_lab.runs.folder import BEFORE, GRID, Run, read_facts, read_scores
from anydoor_lab.structures.files import write_whole
from anydoor_lab.structures.images import read_image

if TYPE_CHECKING:
    from anydoor_lab.config.assemble import Training
    from anydoor_lab.evaluation.generate import Generate
    from anydoor_lab.report.bench import Bench
    from anydoor_lab.runs.tracking import RunFacts, Tracker
    from anydoor_lab.training.checkpoint import Checkpoint
    from anydoor_lab.training.fit import Progress, TrainingState


@door("train")
def main(cfg: DictConfig) -> None:
    """Train, score before and after on held-out pairs, and say where everything is."""
    run = Run(output_folder(), plain(cfg))
    if run.finished and cfg.train.resume == "auto":
        run.claim(fresh=False, overwrite=False)
        show_finished(run)
        return
    train(cfg, run)


def train(cfg: DictConfig, run: Run) -> None:
    """A run from its first or next step to its scores."""
    from anydoor_lab.config import assemble
    from anydoor_lab.config.pipelines import check_frozen
    from anydoor_lab.methods.anydoor import AnyDoorMethod
    from anydoor_lab.training.processes import told_of_the_lost

    checkpoint = find_checkpoint(cfg.train.resume, run)
    training = assemble.build_training(cfg)
    if checkpoint:
        check_frozen(training.pipeline.model, checkpoint)
    bench = assemble.build_bench(cfg)
    method = AnyDoorMethod(training.pipeline, bench.settings.shape, bench.settings.preset)
    trainer = Trainer(run, training, bench, method, cfg.train.sample_every)
    if trainer.leading:
        run.claim(fresh=cfg.train.resume != "auto", overwrite=cfg.overwrite)
        trainer.note_data()
    tracker = assemble.build_tracker(cfg, run_facts(run, checkpoint)) if trainer.leading else None
    with told_of_the_lost():
        trainer.run_through(checkpoint, tracker)


@dataclass(frozen=True, slots=True, eq=False)
class Trainer:
    """One process's share of a run: the consumer of the loop's steps. All processes train and
    score their share; the first one writes."""

    run: Run
    training: Training
    bench: Bench
    method: Generate
    sample_every: int

    @property
    def leading(self) -> bool:
        """Whether this process writes the run's folder."""
        return self.training.accelerator.is_main_process

    def note_data(self) -> None:
        """Say in `run.json` and on the screen what the data are."""
        from hydra.core.hydra_config import HydraConfig

        source = self.training.samples.source
        note = getattr(source, "note", "")
        data = f"{source.counts}; {note}" if note else str(source.counts)
        processes = self.training.accelerator.num_processes
        overrides = list(HydraConfig.get().overrides.task)
        seed = self.training.settings.seed
        self.run.note(overrides=overrides, seed=seed, data=data, processes=processes)
        print(f"data     {data}")

    def run_through(self, checkpoint: Checkpoint | None, tracker: Tracker | None) -> None:
        """Score, train, score again, report."""
        from anydoor_lab.config.pipelines import frozen_fingerprint
        from anydoor_lab.training.fit import fit, start
        from anydoor_lab.training.processes import gathered

        training = self.training
        state = start(training.objective, training.settings, training.accelerator)
        before = self.score_before()
        if checkpoint:
            state.restore(checkpoint)
            training.accelerator.print(f"resuming {checkpoint.path} at step {checkpoint.step}")
        facts = {"frozen": frozen_fingerprint(training.pipeline.model)}
        steps = fit(state, training.samples, training.settings, self.run.checkpoints, facts)
        self.follow(steps, state, tracker)
        with state.averaged():
            after, results = self.bench.score(self.method, "after training")
        state.rejected = sum(gathered(state.rejected), Counter())
        if tracker:
            scores = self.bench.report(
                [before, after, *self.bench.anchors()], results, self.run.folder
            )
            self.conclude(scores, after, state, tracker)

    def score_before(self) -> dict[str, Any]:
        """The row of the weights the run began with, scored once and kept in its folder."""
        from anydoor_lab.training.processes import from_first

        path = self.run.folder / BEFORE
        known = json.loads(path.read_text()) if self.leading and path.is_file() else None
        row: dict[str, Any] | None = from_first(known)
        if row is None:
            row = self.bench.score(self.method, "before training")[0]
            if self.leading:
                write_whole(path, json.dumps(row))
        return row

    def follow(
        self, steps: Iterable[Progress], state: TrainingState, tracker: Tracker | None
    ) -> None:
        """Take the steps of the loop: progress bar, numbers, samples at fixed seeds."""
        from tqdm import tqdm

        settings = self.training.settings
        batch = settings.batch_size
        bar = tqdm(
            total=settings.steps * batch, initial=state.step * batch,
            desc="training", unit="sample", disable=not self.leading,
        )  # fmt: skip
        for progress in steps:
            bar.update(batch)
            if tracker is None:
                continue
            if progress.metrics:
                bar.set_postfix(loss=f"{progress.metrics['loss']:.4f}")
                tracker.log(progress.step, {"samples": progress.samples, **progress.metrics})
            if progress.step % self.sample_every == 0:
                self.show_samples(progress.step, state, tracker)
        bar.close()

    def show_samples(self, step: int, state: TrainingState, tracker: Tracker) -> None:
        """A sheet of the same held-out pairs and seeds at every call."""
        from anydoor_lab.evaluation.generate import results_of
        from anydoor_lab.report.scores import HEADERS, result_row
        from anydoor_lab.report.sheets import sheet

        first = range(min(4, len(self.bench.pairs)))
        with state.averaged():
            results = results_of(self.method, self.bench.pairs, first, self.bench.settings)
        image = sheet([result_row(result) for result in results], side_px=128)
        caption = f"{self.bench.scale}, step {step}: {' | '.join(HEADERS)}"
        tracker.show(step, "held_out", image, caption)

    def conclude(
        self, scores: dict[str, Any], row: dict[str, Any], state: TrainingState, tracker: Tracker
    ) -> None:
        """Hand the final scores on, draw the losses, and say where everything is."""
        seed = self.bench.settings.seed
        caption = f"{self.bench.scale}, after training, held-out pairs, seed {seed}"
        tracker.show(state.step, "final", read_image(self.run.folder / GRID), caption)
        draw_loss(self.run, scores)
        if state.rejected:
            self.run.note(**read_facts(self.run.folder), passed_over=dict(state.rejected))
            print(f"passed over while training: {dict(state.rejected)}")
        tracker.finish({f"final/{k}": v for k, v in row.items() if isinstance(v, float)})
        print(f"weights  {self.run.checkpoints}\nrun      {self.run.folder}")


def find_checkpoint(resume: str, run: Run) -> Checkpoint | None:
    """What to go on from: `train.resume` is auto, never, or the path of a checkpoint.

    Raises:
        ValueError: the path holds no valid checkpoint.
    """
    from anydoor_lab.training.checkpoint import load_checkpoint, newest_checkpoint

    if resume == "never":
        return None
    if resume == "auto":
        return newest_checkpoint(run.checkpoints)
    return load_checkpoint(Path(resume))


def run_facts(run: Run, checkpoint: Checkpoint | None) -> RunFacts:
    """What a tracker is told to file this run by."""
    from hydra.core.hydra_config import HydraConfig

    from anydoor_lab.runs.tracking import RunFacts

    job = HydraConfig.get()
    sweep = Path(job.sweep.dir).name if job.mode and job.mode.name == "MULTIRUN" else ""
    return RunFacts(
        folder=run.folder,
        name=run.folder.name,
        group=str(job.runtime.choices.get("experiment") or "") or sweep or "train",
        tags=[text[:64] for text in job.overrides.task],
        config={**run.config, **read_facts(run.folder)},
        first_step=checkpoint.step if checkpoint else 0,
    )


def draw_loss(run: Run, scores: dict[str, Any]) -> None:
    """The loss curves of the run, beside its scores; nothing where no numbers were kept."""
    from anydoor_lab.report.figures import loss_curves, save
    from anydoor_lab.report.scores import caption_of
    from anydoor_lab.runs.tracking import read_metrics

    records = read_metrics(run.folder)
    if records:
        caption = caption_of(scores, "Training loss")
        print(f"loss     {save(loss_curves(records, caption), run.folder / 'loss.png')}")


def show_finished(run: Run) -> None:
    """Say what a finished run found, and where."""
    from anydoor_lab.report.scores import score_table

    print(score_table(read_scores(run.folder)).terminal())
    print(f"{run.folder} is finished; train it again with train.resume=never overwrite=true")


if __name__ == "__main__":
    main()
