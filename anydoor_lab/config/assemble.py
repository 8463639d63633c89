"""How the parts chosen in conf/ become a training and its scoring: ordinary Python.

The only file between the settings and the library; commands call it, nothing below knows it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from anydoor_lab.config.compose import leaf, plain, settings
from anydoor_lab.config.judges import build_judges
from anydoor_lab.runs.provenance import available_memory
from anydoor_lab.structures.checks import check_choice
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.names import named

if TYPE_CHECKING:
    from accelerate import Accelerator

    from anydoor_lab.data.source import PairSource, Split
    from anydoor_lab.diffusion.loss import DiffusionLoss
    from anydoor_lab.evaluation.generate import Generate
    from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
    from anydoor_lab.report.bench import Bench
    from anydoor_lab.runs.tracking import RunFacts, Tracker
    from anydoor_lab.training.batches import FitSettings
    from anydoor_lab.training.samples import PairStream

PATIENCE = timedelta(minutes=60)
"""A process that waits longer than this for another one ends with a sentence."""
PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """All that a training is made of.

    Args:
        pipeline: the networks.
        samples: what they are trained on.
        objective: what is made small, on the accelerator's device.
        settings: how the loop goes.
        accelerator: devices, processes, precision.
        bench: makes what it is scored by.
        track: makes what takes its numbers and pictures, told what the run is.
        sample_every: steps between pictures.
    """

    pipeline: AnyDoorPipeline
    samples: PairStream
    objective: DiffusionLoss
    settings: FitSettings
    accelerator: Accelerator
    bench: Callable[[], Bench]
    track: Callable[[RunFacts], Tracker]
    sample_every: int


def build_training(cfg: DictConfig) -> Training:
    """The training that a config describes; says how much memory it will need."""
    from accelerate.utils import set_seed

    from anydoor_lab.config.pipelines import build_pipeline

    set_seed(cfg.seed)
    accelerator = build_accelerator(cfg.train.precision)
    settings = build_fit_settings(cfg)
    pipeline = build_pipeline(cfg)
    samples = build_samples(cfg, pipeline)
    objective = build_objective(cfg, pipeline).to(accelerator.device)
    training = Training(
        pipeline,
        samples,
        objective,
        settings,
        accelerator,
        bench=partial(build_bench, cfg),
        track=leaf(cfg.logger),
        sample_every=cfg.train.sample_every,
    )
    accelerator.print(memory_plan(training, cfg.train.precision != "fp32", cfg.model.resolution))
    return training


def build_source(cfg: DictConfig, split: Split) -> PairSource:
    """The pairs of `data` for training or for scoring; for training from a pool if one is asked."""
    source: PairSource = make_source(cfg.data, split, cfg.data_seed)
    return filled_pool(cfg, source) if split == "train" and cfg.get("pool") else source


def make_source(node: DictConfig, split: Split, seed: int) -> PairSource:
    """The source that a node `data` names.

    Raises:
        ValueError: what it names is no source of pairs.
    """
    from anydoor_lab.data.source import Counts

    lacking = [name for name in ("split", "seed") if name not in settings(named(node._target_))]
    if lacking:
        raise InputError(
            f"{node._target_} takes no {' and no '.join(lacking)}; a source takes both"
        )
    source: PairSource = leaf(node)(split=split, seed=seed)
    if not isinstance(getattr(source, "counts", None), Counts):
        raise InputError(f"{node._target_} has no `counts`; set it to a data.source.Counts")
    return source


def filled_pool(cfg: DictConfig, source: PairSource) -> PairSource:
    """`pool` pairs of the source, drawn once into the user's cache folder.

    Raises:
        ValueError: the source's pictures are not of one size, or the pool's file is damaged.
        RuntimeError: the disk has no room for the pool.
    """
    from accelerate import PartialState
    from tqdm import tqdm

    from anydoor_lab.data.cache import PairPool, cache_folder
    from anydoor_lab.data.rows import FORMAT
    from anydoor_lab.runs.provenance import config_hash

    if not hasattr(source, "size_px"):
        raise InputError("pool needs pictures of one size (data=world); use pool=0 with this data")
    version = getattr(source, "VERSION", 1)
    name = f"{config_hash(plain(cfg.data))}_v{version}.{FORMAT}_seed{cfg.data_seed}_{cfg.pool}.pool"
    pool = PairPool(source, cfg.pool, cache_folder() / "pools" / name, cfg.data_seed)
    with PartialState().main_process_first():
        for _ in tqdm(pool.fill(), total=cfg.pool, desc="drawing pairs", unit="pair"):
            pass
    return pool


def build_samples(cfg: DictConfig, pipeline: AnyDoorPipeline) -> PairStream:
    """The training samples.

    Raises:
        ValueError: a setting of `conditioning` is out of range.
    """
    from anydoor_lab.conditioning.conditioner import Conditioner
    from anydoor_lab.training.samples import PairStream

    source = build_source(cfg, "train")
    conditioner = pipeline.conditioner()
    if isinstance(conditioner, Conditioner):
        conditioner = replace(conditioner, **plain(cfg.conditioning))
    return PairStream(source, conditioner, cfg.seed, cfg.train.still_share)


def build_objective(cfg: DictConfig, pipeline: AnyDoorPipeline) -> DiffusionLoss:
    """What is trained: the pipeline's networks under the diffusion loss."""
    from anydoor_lab.diffusion.loss import DiffusionLoss
    from anydoor_lab.diffusion.schedule import Schedule
    from anydoor_lab.training.precision import recompute_activations, store_frozen

    model = pipeline.model.freeze(cfg.train.trained, cfg.train.lora_rank)
    store_frozen(model, cfg.train.frozen_precision)
    if cfg.train.recompute:
        recompute_activations(model)
    return DiffusionLoss(
        model,
        Schedule.of(pipeline.scheduler),
        leaf(cfg.ats),
        seed=cfg.seed,
        cond_drop_prob=cfg.train.cond_drop_prob,
        region_weight=cfg.train.region_weight,
        sample_posterior=cfg.train.sample_posterior,
    )


def build_fit_settings(cfg: DictConfig) -> FitSettings:
    """The part of `train` that the loop itself reads."""
    from anydoor_lab.training.batches import FitSettings

    names = {field.name for field in fields(FitSettings)} - {"seed"}
    return FitSettings(seed=cfg.seed, **{k: v for k, v in plain(cfg.train).items() if k in names})


def build_accelerator(precision: str) -> Accelerator:
    """Devices, processes and precision.

    Raises:
        ValueError: an unknown precision, or fp16 where there is no GPU.
    """
    import torch
    from accelerate import Accelerator, InitProcessGroupKwargs
    from accelerate.state import AcceleratorState

    check_choice("train.precision", precision, tuple(PRECISIONS))
    if precision == "fp16" and not torch.cuda.is_available():
        raise InputError("train.precision=fp16 needs a GPU; use fp32 or bf16 on this machine")
    AcceleratorState._reset_state()  # a sweep's jobs may differ in precision
    # processes wait for each other while one draws a pool or writes a checkpoint
    patience = InitProcessGroupKwargs(timeout=PATIENCE)
    return Accelerator(
        cpu=on_cpus(), mixed_precision=PRECISIONS[precision], kwargs_handlers=[patience]
    )


def on_cpus() -> bool:
    """Whether a launcher's processes have no GPU: then they find each other only when told so."""
    import torch

    return "RANK" in os.environ and not torch.cuda.is_available()


def start_processes() -> bool:
    """Join the processes that a launcher started; whether this is the first of them."""
    from accelerate import PartialState

    return PartialState(cpu=on_cpus(), timeout=PATIENCE).is_main_process


def memory_plan(training: Training, half: bool, resolution: int) -> str:
    """What the training will need on this process's device, in one line."""
    import torch

    from anydoor_lab.training.footprint import measure_footprint

    settings, accelerator = training.settings, training.accelerator
    # gradient and average of 4 bytes each, and Adam's two moments
    state = 8 + (2 if settings.optimizer == "adamw8bit" else 8)
    needed = measure_footprint(training.pipeline.model, resolution, half, state)
    device = accelerator.device
    on_gpu = device.type == "cuda"
    free = torch.cuda.mem_get_info(device)[0] if on_gpu else available_memory()
    batch = max(1, settings.batch_size // accelerator.num_processes)
    return needed.plan(batch, settings.micro_batches, free + needed.weights, str(device))


def build_bench(cfg: DictConfig) -> Bench:
    """The held-out pairs, judges and settings by which models are scored."""
    from anydoor_lab.data.source import note_of
    from anydoor_lab.evaluation.pairs import held_out_pairs
    from anydoor_lab.evaluation.settings import EvalSettings
    from anydoor_lab.report.bench import Bench
    from anydoor_lab.report.rows import data_name
    from anydoor_lab.runs.provenance import config_hash
    from anydoor_lab.runs.settings import relevant

    settings = EvalSettings(**plain(cfg.eval))
    source = build_source(cfg, "held_out")
    judges = build_judges(cfg).of(source)
    passed_over: Counter[str] = Counter()
    pairs = held_out_pairs(source, settings, passed_over)
    known = {"data": data_name(cfg), "config": config_hash(relevant(plain(cfg)))}
    return Bench(cfg.model.name, settings, judges, pairs, note_of(source), passed_over, **known)


def build_method(node: DictConfig, pipeline: AnyDoorPipeline | None = None) -> Generate:
    """The method of a node `method`; with the pipeline, where it asks for one."""
    method = leaf(node)
    built: Generate = method(pipeline=pipeline) if needs_pipeline(node) else method()
    return built


def needs_pipeline(node: DictConfig) -> bool:
    """Whether a node `method` names a method that places with a trained pipeline."""
    return "pipeline" in settings(named(node._target_))
