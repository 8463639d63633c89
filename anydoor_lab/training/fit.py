"""Training: a generator of steps over any objective, with averaged weights and exact resume.

Which samples a step sees is a pure function of its number, so the batch's distribution over
processes and micro-batches, the number of workers and a resume change nothing but rounding.
"""

from __future__ import annotations

import multiprocessing
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from diffusers.training_utils import EMAModel
from torch import nn
from torch.utils.data import DataLoader

from anydoor_lab.structures.errors import InputError, RunError
from anydoor_lab.training.batches import FitSettings, Plan, Samples, learning_rate, next_batch
from anydoor_lab.training.checkpoint import Checkpoint, load_named, save_checkpoint
from anydoor_lab.training.compiling import compile_blocks, eager
from anydoor_lab.training.kept import collated
from anydoor_lab.training.meter import Meter
from anydoor_lab.training.optimizer import optimizer_class
from anydoor_lab.training.precision import Masters
from anydoor_lab.training.stop import pass_over_signals
from anydoor_lab.training.writing import Writing, copied

MAX_SKIPPED_STEPS = 10
"""A run stops after this many steps in a row whose gradient is not finite."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One finished optimizer step; `metrics` is filled every `log_every` steps, else empty. Where
    `skipped`, its gradient was not finite and no weight changed."""

    step: int
    samples: int
    metrics: dict[str, float] = field(default_factory=dict)
    skipped: bool = False


@dataclass(slots=True)
class TrainingState:
    """What changes during training, and the reasons for which this process passed over entries
    since it began. `skipped` counts the steps without a finite gradient, in all and in a row;
    weights of 16 bits have `masters`. Make one with `start`, hand it to `fit`."""

    objective: nn.Module
    wrapped: nn.Module
    optimizer: Any
    ema: EMAModel
    accelerator: Accelerator
    step: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    skipped: tuple[int, int] = (0, 0)
    masters: Masters | None = None
    writing: Writing = field(default_factory=Writing)

    @property
    def live(self) -> dict[str, torch.Tensor]:
        """The parameters that compute, by name, in the precision they compute in."""
        return {n: p for n, p in self.objective.named_parameters() if p.requires_grad}

    @property
    def trained(self) -> dict[str, torch.Tensor]:
        """The trained parameters by name, as they are kept: in fp32."""
        live = self.live
        return dict(zip(live, self.masters.weights, strict=True)) if self.masters else live

    @contextmanager
    def averaged(self) -> Iterator[nn.Module]:
        """Inside, the objective carries the averaged (EMA) weights and is in eval mode."""
        parameters = list(self.live.values())
        self.ema.store(parameters)
        self.ema.copy_to(parameters)
        self.objective.eval()
        try:
            with torch.no_grad(), eager():
                yield self.objective
        finally:
            self.ema.restore(parameters)
            self.objective.train()

    def averaged_tensors(self) -> dict[str, torch.Tensor]:
        """The averaged weights by name."""
        return dict(zip(self.trained, self.ema.shadow_params, strict=True))

    def save(self, folder: Path, facts: dict[str, Any], keep: int) -> Path | None:
        """Publish a checkpoint (main process only) and return its path."""
        self.writing.finish()
        if not self.accelerator.is_main_process:
            return None
        tensors, facts = self._kept(facts)
        return save_checkpoint(folder, self.step, tensors, facts, keep)

    def save_beside(
        self, folder: Path, facts: dict[str, Any], keep: int, lasting: bool = False
    ) -> None:
        """The same in the background, of the state as it is now; `lasting`: a milestone too.

        Raises:
            Exception: the checkpoint before could not be written.
        """
        if not self.accelerator.is_main_process:
            return
        self.writing.finish()  # before another copy is taken: one at a time
        tensors, facts = self._kept(facts)
        taken, step = copied(tensors), self.step
        self.writing.begin(lambda: save_checkpoint(folder, step, taken, facts, keep, lasting))

    def _kept(self, facts: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What a checkpoint holds: tensors by group and name, and facts."""
        optimizer = self.optimizer.state_dict()["state"]
        flat = {  # bitsandbytes counts its steps in a plain int
            f"{i}.{k}": torch.as_tensor(v)
            for i, entry in optimizer.items()
            for k, v in entry.items()
        }
        tensors = {"weights": self.trained, "ema": self.averaged_tensors(), "optimizer": flat}
        scaler = self.accelerator.scaler
        facts = {**facts, "scaler": scaler.state_dict() if scaler else None}
        facts["averaged_steps"] = self.ema.optimization_step  # skipped steps do not count
        facts["skipped"] = list(self.skipped)
        return tensors, facts

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from `checkpoint`: weights, averages, optimizer and step.

        Raises:
            ValueError: it is of another architecture (names the first difference).
        """
        what = str(checkpoint.path)
        if not {"weights", "ema", "optimizer"} <= set(checkpoint.tensors):
            raise InputError(
                f"{what} is a milestone, without the optimizer's state; start with init={what}"
            )
        load_named(self.trained, checkpoint.tensors["weights"], what)
        if self.masters:
            self.masters.hand_down()
        load_named(self.averaged_tensors(), checkpoint.tensors["ema"], what)
        state: dict[int, dict[str, Any]] = defaultdict(dict)
        for name, tensor in checkpoint.tensors["optimizer"].items():
            index, key = name.split(".", 1)
            counted = key == "step" and not tensor.is_floating_point()
            state[int(index)][key] = tensor.item() if counted else tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": dict(state), "param_groups": groups})
        if self.accelerator.scaler and checkpoint.facts.get("scaler"):
            self.accelerator.scaler.load_state_dict(checkpoint.facts["scaler"])
        self.ema.optimization_step = checkpoint.facts.get("averaged_steps", checkpoint.step)
        self.step = checkpoint.step
        in_all, in_a_row = checkpoint.facts.get("skipped", (0, 0))
        self.skipped = (in_all, in_a_row)

    def count(self, finite: bool) -> None:
        """Take one more step, whose gradient was finite or not."""
        in_all, in_a_row = self.skipped
        self.step += 1
        self.skipped = (in_all, 0) if finite else (in_all + 1, in_a_row + 1)

    def check_finite(self) -> None:
        """Raise RuntimeError where too many steps in a row had a gradient that is not finite."""
        if self.skipped[1] >= MAX_SKIPPED_STEPS:
            raise RunError(
                f"the gradient was not finite in {self.skipped[1]} steps in a row up to step "
                f"{self.step}; lower train.learning_rate or use train.precision=fp32"
            )


def start(objective: nn.Module, settings: FitSettings, accelerator: Accelerator) -> TrainingState:
    """A fresh training state for the parameters of `objective` that require a gradient.

    Raises:
        ValueError: nothing is to be trained, or the batch cannot be split evenly.
    """
    parameters = [p for p in objective.parameters() if p.requires_grad]
    if not parameters:
        raise InputError("no parameter requires a gradient; leave some part of the model trained")
    shares = accelerator.num_processes * settings.micro_batches
    if settings.batch_size % shares:
        raise InputError(
            f"batch_size {settings.batch_size} cannot be split over {accelerator.num_processes} "
            f"processes x {settings.micro_batches} micro-batches; choose a multiple of {shares}"
        )
    half = [p.dtype for p in parameters if p.dtype != torch.float32]
    masters = Masters(parameters) if half else None
    optimizer = optimizer_class(settings.optimizer, parameters[0].device)(
        masters.weights if masters else parameters,
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
    )
    wrapped, prepared = accelerator.prepare(objective, optimizer)
    parameters = [p for p in objective.parameters() if p.requires_grad]
    kept = masters.weights if masters else parameters
    ema = EMAModel(kept, decay=settings.ema_decay, foreach=True)
    return TrainingState(objective, wrapped, prepared, ema, accelerator, masters=masters)


def fit(
    state: TrainingState,
    samples: Samples,
    settings: FitSettings,
    folder: Path | None = None,
    facts: dict[str, Any] | None = None,
) -> Iterator[Progress]:
    """Train from `state.step` to `settings.steps`, yielding after every optimizer step.

    The objective's forward takes a batch (dict) and returns a dict: `loss` (scalar),
    and, to be averaged in the logs, `per_sample` (B,) with `groups` {name: (B,) bool}.
    Checkpoints go to `folder` every `checkpoint_every` steps and at the end, after the step was
    yielded: what its consumer writes down of it is there before it can be gone on from. They are
    written in the background, one at a time; the generator ends when the last one is whole.

    Raises:
        RuntimeError: `MAX_SKIPPED_STEPS` steps in a row had a gradient that is not finite.
        FileError: a checkpoint could not be written; told at the next step.
    """
    accelerator = state.accelerator
    plan = Plan(settings, state.step, accelerator.process_index, accelerator.num_processes)
    # named, because inside a launcher's own processes the default is another
    starting = multiprocessing.get_context("fork") if settings.workers else None
    loader: DataLoader[Any] = DataLoader(
        samples,  # type: ignore[arg-type]
        batch_sampler=plan,
        num_workers=settings.workers,
        multiprocessing_context=starting,
        generator=torch.Generator(),
        pin_memory=accelerator.device.type == "cuda",
        collate_fn=collated,
        worker_init_fn=pass_over_signals,
    )
    batches = iter(loader)
    meter = Meter()
    state.check_finite()
    if settings.compile:
        compile_blocks(state.objective)
    try:
        while state.step < settings.steps:
            finite = optimizer_step(state, batches, settings, meter)
            state.count(finite)
            last = state.step == settings.steps
            logging = last or state.step % settings.log_every == 0
            metrics = meter.flush(settings.batch_size) if logging else {}
            yield Progress(state.step, state.step * settings.batch_size, metrics, not finite)
            state.check_finite()
            state.writing.check()
            if folder and (last or state.step % settings.checkpoint_every == 0):
                kept = (settings.keep_checkpoints, settings.lasts(state.step))
                state.save_beside(folder, facts or {}, *kept)
    finally:
        state.writing.finish()


def optimizer_step(
    state: TrainingState, batches: Iterator[Any], settings: FitSettings, meter: Meter
) -> bool:
    """One update of the weights; False, and no change, where the gradient is not finite."""
    accelerator = state.accelerator
    rate = learning_rate(state.step, settings)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    for micro in range(settings.micro_batches):
        batch = send_to_device(next_batch(batches), accelerator.device, non_blocking=True)
        texts = (text for text in batch.get("rejected", ()) if text)
        state.rejected.update(reason for text in texts for reason in text.split("; "))
        last = micro == settings.micro_batches - 1
        with nullcontext() if last else accelerator.no_sync(state.wrapped):
            outputs = state.wrapped(batch)
            accelerator.backward(outputs["loss"] / settings.micro_batches)
        if state.masters:
            state.masters.gather()
        meter.add(outputs)
    moved = state.masters.weights if state.masters else state.wrapped.parameters()
    norm = accelerator.clip_grad_norm_(moved, settings.gradient_clip)
    finite = bool(torch.isfinite(norm))
    if finite or accelerator.scaler:
        state.optimizer.step()
    if finite and state.masters:
        state.masters.hand_down()
    if finite:
        state.ema.step(list(state.trained.values()))
    state.optimizer.zero_grad(set_to_none=True)
    meter.note(finite, gradient_norm=float(norm), learning_rate=rate)
    return finite
