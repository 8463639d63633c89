"""How the parts chosen in conf/ become a model, data, an objective: ordinary Python.

The only file between the settings and the library; doors call it, nothing below knows it.
"""

from __future__ import annotations

import os
from dataclasses import fields
from datetime import timedelta
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from anydoor_lab.configs import leaf, plain
from anydoor_lab.pair import check_choice
from anydoor_lab.provenance import available_memory

if TYPE_CHECKING:
    from accelerate import Accelerator

    from anydoor_lab.diffusion.loss import DiffusionLoss
    from anydoor_lab.evaluation import EvalSettings, Judged
    from anydoor_lab.pair import PairSource, Split
    from anydoor_lab.pipeline import AnyDoorPipeline
    from anydoor_lab.stream import PairStream
    from anydoor_lab.tracking import RunFacts, Tracker
    from anydoor_lab.training import FitSettings

PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def build_source(cfg: DictConfig, split: Split) -> PairSource:
    """The pairs of `data` for training or for scoring; for training from a pool if one is asked."""
    source: PairSource = leaf(cfg.data)(split=split, seed=cfg.data_seed)
    return filled_pool(cfg, source) if split == "train" and cfg.get("pool") else source


def filled_pool(cfg: DictConfig, source: PairSource) -> PairSource:
    """`pool` pairs of the source, drawn once into the user's cache folder.

    Raises:
        ValueError: the source's pictures are not of one size.
    """
    from accelerate import PartialState
    from tqdm import tqdm

    from anydoor_lab.data.pool import PairPool, cache_folder
    from anydoor_lab.provenance import config_hash

    if not hasattr(source, "size_px"):
        raise ValueError("pool needs pictures of one size (data=world); use pool=0 with this data")
    version = getattr(source, "VERSION", 1)
    name = f"{config_hash(plain(cfg.data))}_v{version}_seed{cfg.data_seed}_{cfg.pool}.pool"
    pool = PairPool(source, cfg.pool, cache_folder() / "pools" / name, cfg.data_seed)
    with PartialState().main_process_first():
        for _ in tqdm(pool.fill(), total=cfg.pool, desc="drawing pairs", unit="pair"):
            pass
    return pool


def build_stream(cfg: DictConfig, pipeline: AnyDoorPipeline) -> PairStream:
    """The training samples."""
    from anydoor_lab.stream import PairStream

    source = build_source(cfg, "train")
    return PairStream(source, pipeline.conditioner(), cfg.seed, cfg.train.still_share)


def build_objective(cfg: DictConfig, pipeline: AnyDoorPipeline) -> DiffusionLoss:
    """What is trained: the pipeline's networks under the diffusion loss."""
    from anydoor_lab.diffusion.loss import DiffusionLoss
    from anydoor_lab.diffusion.schedule import Schedule
    from anydoor_lab.models.precision import recompute_activations, store_frozen

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
    from anydoor_lab.training import FitSettings

    names = {field.name for field in fields(FitSettings)} - {"seed"}
    return FitSettings(seed=cfg.seed, **{k: v for k, v in plain(cfg.train).items() if k in names})


def build_eval_settings(cfg: DictConfig) -> EvalSettings:
    """How runs are scored."""
    from anydoor_lab.evaluation import EvalSettings

    return EvalSettings(**plain(cfg.eval))


def build_judged(cfg: DictConfig) -> Judged:
    """The judges of this scale."""
    from anydoor_lab.evaluation import Judged
    from anydoor_lab.models.sources import obtain

    judges = {
        name: str(obtain(source, setting=f"model.judges.{name}"))
        for name, source in plain(cfg.model.judges).items()
        if source
    }
    return Judged.load(**judges, crop=cfg.eval.crop)


def build_accelerator(cfg: DictConfig) -> Accelerator:
    """Devices, processes and precision.

    Raises:
        ValueError: an unknown precision, or fp16 where there is no GPU.
    """
    import torch
    from accelerate import Accelerator, InitProcessGroupKwargs
    from accelerate.state import AcceleratorState

    precision = cfg.train.precision
    check_choice("train.precision", precision, tuple(PRECISIONS))
    if precision == "fp16" and not torch.cuda.is_available():
        raise ValueError("train.precision=fp16 needs a GPU; use fp32 or bf16 on this machine")
    AcceleratorState._reset_state()  # a sweep's jobs may differ in precision
    # the others wait for the first process while it scores
    patience = InitProcessGroupKwargs(timeout=timedelta(hours=6))
    # several processes without a GPU find each other only when told that they are on CPUs
    on_cpus = "RANK" in os.environ and not torch.cuda.is_available()
    return Accelerator(
        cpu=on_cpus, mixed_precision=PRECISIONS[precision], kwargs_handlers=[patience]
    )


def memory_plan(cfg: DictConfig, pipeline: AnyDoorPipeline, accelerator: Accelerator) -> str:
    """What the training will need on this process's device, in one line."""
    import torch

    from anydoor_lab.models.footprint import measure_footprint

    # gradient and average of 4 bytes each, and Adam's two moments
    state = 8 + (2 if cfg.train.optimizer == "adamw8bit" else 8)
    half, size = cfg.train.precision != "fp32", cfg.model.resolution
    needed = measure_footprint(pipeline.model, size, half, state)
    device = accelerator.device
    on_gpu = device.type == "cuda"
    free = torch.cuda.mem_get_info(device)[0] if on_gpu else available_memory()
    batch = max(1, cfg.train.batch_size // accelerator.num_processes)
    return needed.plan(batch, cfg.train.micro_batches, free + needed.weights, str(device))


def build_tracker(cfg: DictConfig, facts: RunFacts) -> Tracker:
    """Where numbers and pictures go."""
    tracker: Tracker = leaf(cfg.logger)(facts)
    return tracker
