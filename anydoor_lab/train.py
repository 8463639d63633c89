"""The door to training: `python -m anydoor_lab.train`."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from anydoor_lab.config.compose import output_folder, plain
from anydoor_lab.config.door import door
from anydoor_lab.config.resume import (
    find_checkpoint,
    first_process,
    readable,
    shown_finished,
    taken_over,
)
from anydoor_lab.config.sweeps import may_pass_over, sweeps_folder
from anydoor_lab.runs.folder import BEFORE, BEFORE_CROPS, GRID, SKIPPED, Run, read_facts
from anydoor_lab.runs.lock import held
from anydoor_lab.runs.records import append_record, keep_records
from anydoor_lab.runs.settings import SETTINGS, first_difference
from anydoor_lab.structures.files import write_sealed
from anydoor_lab.structures.images import read_image, write_image

if TYPE_CHECKING:
    import numpy as np

    from anydoor_lab.config.assemble import Training
    from anydoor_lab.evaluation.generate import Generate
    from anydoor_lab.report.bench import Bench
    from anydoor_lab.runs.tracking import Tracker
    from anydoor_lab.training.checkpoint import Checkpoint
    from anydoor_lab.training.fit import Progress, TrainingState
    from anydoor_lab.training.stop import Listening


@door("train")
def main(cfg: DictConfig) -> None:
    """Train, score before and after on held-out pairs, and say where everything is."""
    from anydoor_lab.config.assemble import build_training

    run = Run(output_folder(), plain(cfg))
    with held(run.folder) if first_process() else nullcontext():
        if run.config["train"]["resume"] == "auto" and shown_finished(run):
            run.claim(fresh=False, overwrite=False)
            return
        checkpoint = find_checkpoint(run.config["train"]["resume"], run)
        training = build_training(cfg)
        if cfg.share and not run.begun and may_pass_over():
            checkpoint = taken_over(run, sweeps_folder(), training.frozen)
        train(run, training, checkpoint)


def train(run: Run, training: Training, checkpoint: Checkpoint | None) -> None:
    """A run from its first or next step to its scores."""
    from anydoor_lab.config.pipelines import check_frozen
    from anydoor_lab.config.sweeps import run_facts
    from anydoor_lab.methods.anydoor import AnyDoorMethod
    from anydoor_lab.training.processes import told_of_the_lost

    if checkpoint:
        check_frozen(training.frozen, checkpoint)
    bench = training.bench()
    method = AnyDoorMethod(training.pipeline, bench.settings.shape, bench.settings.preset)
    trainer = Trainer(run, training, bench, method)
    tracker = None
    if trainer.leading:
        fresh = run.config["train"]["resume"] != "auto"
        run.claim(fresh=fresh, overwrite=run.config["overwrite"])
        trainer.note_data()
        tracker = training.track(run_facts(run, checkpoint.step if checkpoint else 0))
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

    @property
    def leading(self) -> bool:
        """Whether this process writes the run's folder."""
        return self.training.accelerator.is_main_process

    def note_data(self) -> None:
        """Say in `run.json` and on the screen what the data are."""
        from hydra.core.hydra_config import HydraConfig

        from anydoor_lab.data.source import note_of

        source = self.training.samples.source
        note = note_of(source)
        data = f"{source.counts}; {note}" if note else str(source.counts)
        processes = self.training.accelerator.num_processes
        overrides = list(HydraConfig.get().overrides.task)
        seed = self.training.settings.seed
        self.run.note(overrides=overrides, seed=seed, data=data, processes=processes)
        print(f"data     {data}")

    def run_through(self, checkpoint: Checkpoint | None, tracker: Tracker | None) -> None:
        """Score, train, score again, report."""
        from anydoor_lab.training.fit import fit, start
        from anydoor_lab.training.processes import gathered

        training = self.training
        state = start(training.objective, training.settings, training.accelerator)
        wanted = self.run.config["score_before"]
        before, crops = self.score_before() if wanted else (None, None)
        if checkpoint:
            self.restore(state, checkpoint)
        facts = {SETTINGS: self.run.settings, "frozen": training.frozen}
        steps = fit(state, training.samples, training.settings, self.run.checkpoints, facts)
        self.follow(steps, state, tracker, facts)
        with state.averaged():
            after, results = self.bench.score(self.method, "after training")
        state.rejected = sum(gathered(state.rejected), Counter())
        if tracker:
            rows = [*([before] if before else []), after, *self.bench.anchors()]
            seed = self.training.settings.seed
            scores = self.bench.report(rows, results, self.run.folder, seed, crops)
            self.conclude(scores, after, state, tracker)

    def restore(self, state: TrainingState, checkpoint: Checkpoint) -> None:
        """Go on from `checkpoint`; of other settings (another learning rate) it is a new try."""
        state.restore(checkpoint)
        known = checkpoint.facts.get(SETTINGS)
        if known is not None and first_difference(known, self.run.settings):
            state.skipped = (0, 0)
        self.training.accelerator.print(f"resuming {checkpoint.path} at step {checkpoint.step}")

    def score_before(self) -> tuple[dict[str, Any], list[np.ndarray]]:
        """The row of the weights the run began with, and the crops they make; scored once and kept
        in its folder. There are no crops in runs of older versions."""
        from anydoor_lab.training.processes import from_first

        path, crops = self.run.folder / BEFORE, self.run.folder / BEFORE_CROPS
        known = readable(path) if self.leading else None
        row: dict[str, Any] | None = from_first(known)
        if row is None:
            row, results = self.bench.score(self.method, "before training")
            self.training.pipeline.captures.clear()  # training needs their memory
            if self.leading:
                shutil.rmtree(crops, ignore_errors=True)
                made = [result.crop for result in results if result.crop is not None]
                for number, crop in enumerate(made):
                    write_image(crops / f"{number:02d}.png", crop)
                write_sealed(path, row)
        return row, [read_image(picture) for picture in sorted(crops.glob("*.png"))]

    def follow(
        self,
        steps: Iterable[Progress],
        state: TrainingState,
        tracker: Tracker | None,
        facts: dict[str, Any],
    ) -> None:
        """Take the steps of the loop: progress bar, numbers, samples at fixed seeds, signals."""
        from tqdm import tqdm

        from anydoor_lab.training.compiling import compiled_so_far
        from anydoor_lab.training.stop import Listening

        settings = self.training.settings
        batch = settings.batch_size
        if self.leading:
            keep_records(self.run.folder / SKIPPED, state.step)
        bar = tqdm(
            total=settings.steps * batch, initial=state.step * batch,
            desc="training", unit="sample", disable=not self.leading,
        )  # fmt: skip
        compiled = 0
        with bar, Listening() as listening:
            for progress in steps:
                bar.update(batch)
                if settings.compile and compiled_so_far()[0] != compiled:
                    compiled, seconds = compiled_so_far()
                    bar.write(f"compiled {compiled} pieces of the networks in {seconds:.0f} s")
                if tracker:
                    self.write_down(progress, state, tracker)
                if progress.metrics:
                    bar.set_postfix(loss=f"{progress.metrics['loss']:.4f}")
                if listening.asked(state.accelerator):
                    self.stop(listening, state, facts)

    def write_down(self, progress: Progress, state: TrainingState, tracker: Tracker) -> None:
        """One step's numbers, its samples where it was skipped, pictures where they are due."""
        if progress.metrics:
            tracker.log(progress.step, {"samples": progress.samples, **progress.metrics})
        if progress.skipped:
            batch = range(progress.samples - self.training.settings.batch_size, progress.samples)
            record = {"step": progress.step, "samples": list(batch)}
            append_record(self.run.folder / SKIPPED, record)
        if progress.step % self.training.sample_every == 0:
            self.show_samples(progress.step, state, tracker)

    def stop(self, listening: Listening, state: TrainingState, facts: dict[str, Any]) -> None:
        """Save after a signal, say where, and end as the signal asks."""
        saved = state.save(self.run.checkpoints, facts, self.training.settings.keep_checkpoints)
        if saved:
            print(
                f"\n{listening.name}: stopped after step {state.step}; the same command goes on "
                f"from {saved}",
                file=sys.stderr,
            )
        state.accelerator.wait_for_everyone()
        listening.leave()

    def show_samples(self, step: int, state: TrainingState, tracker: Tracker) -> None:
        """A sheet of the same scored pairs and seeds at every call."""
        from anydoor_lab.evaluation.generate import results_of
        from anydoor_lab.report.scores import HEADERS, result_row
        from anydoor_lab.report.sheets import sheet

        first = range(min(4, len(self.bench.pairs)))
        with state.averaged():
            results = results_of(self.method, self.bench.pairs, first, self.bench.settings)
        self.training.pipeline.captures.clear()  # training needs their memory
        image = sheet([result_row(result) for result in results], side_px=128)
        caption = f"{self.bench.scale}, step {step}: {' | '.join(HEADERS)}"
        note = self.bench.note
        name = "not_held_out" if note else "held_out"
        tracker.show(step, name, image, f"{caption}; {note}" if note else caption)

    def conclude(
        self, scores: dict[str, Any], row: dict[str, Any], state: TrainingState, tracker: Tracker
    ) -> None:
        """Hand the final scores on, draw the losses, and say where everything is."""
        from anydoor_lab.report.pictures import picture_rows
        from anydoor_lab.report.scores import pairs_called
        from anydoor_lab.runs.tracking import RESULTS

        seed = self.bench.settings.seed
        called = pairs_called(scores)
        caption = f"{self.bench.scale}, after training, {called}, seed {seed}"
        tracker.show(state.step, "final", read_image(self.run.folder / GRID), caption)
        draw_loss(self.run, scores)
        if state.skipped[0]:
            print(
                f"skipped  {state.skipped[0]} of {state.step} steps: their gradient was not "
                f"finite; their samples: {self.run.folder / SKIPPED}"
            )
        if state.rejected:
            self.run.note(**read_facts(self.run.folder), passed_over=dict(state.rejected))
            print(f"passed over while training: {dict(state.rejected)}")
        tracker.tabulate(RESULTS, picture_rows(self.run.folder, self.run.folder.name))
        tracker.finish({f"final/{k}": v for k, v in row.items() if isinstance(v, float)})
        print(f"weights  {self.run.checkpoints}\nrun      {self.run.folder}")


def draw_loss(run: Run, scores: dict[str, Any]) -> None:
    """The loss curves of the run, beside its scores; nothing where no numbers were kept."""
    from anydoor_lab.report.figures import loss_curves, save
    from anydoor_lab.report.scores import caption_of
    from anydoor_lab.runs.tracking import read_metrics

    records = read_metrics(run.folder)
    if records:
        caption = caption_of(scores, "Training loss")
        print(f"loss     {save(loss_curves(records, caption), run.folder / 'loss.png')}")


if __name__ == "__main__":
    main()
