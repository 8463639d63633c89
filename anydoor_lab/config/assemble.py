"""How the parts chosen in conf/ become a training and its scoring: ordinary Python.

The only file between the settings and the library; commands call it, nothing below knows it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from anydoor_lab.config.caches import filled_pool, kept_frozen, kept_pairs, kept_pictures
from anydoor_lab.config.compose import leaf, plain, settings
from anydoor_lab.config.devices import build_accelerator, present_device
from anydoor_lab.config.judges import build_judges
from anydoor_lab.runs.provenance import available_memory
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.names import named

if TYPE_CHECKING:
    from accelerate import Accelerator

    from anydoor_lab.conditioning.conditioner import Conditioner
    from anydoor_lab.conditioning.official import OfficialConditioner
    from anydoor_lab.data.source import PairSource, Split
    from anydoor_lab.diffusion.loss import DiffusionLoss
    from anydoor_lab.evaluation.generate import Generate
    from anydoor_lab.models.anydoor import AnyDoor
    from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
    from anydoor_lab.report.bench import Bench
    from anydoor_lab.runs.tracking import RunFacts, Tracker
    from anydoor_lab.training.batches import FitSettings
    from anydoor_lab.training.samples import PairStream


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
        frozen: which weights are not trained, see `frozen_fingerprint`.
    """

    pipeline: AnyDoorPipeline
    samples: PairStream
    objective: DiffusionLoss
    settings: FitSettings
    accelerator: Accelerator
    bench: Callable[[], Bench]
    track: Callable[[RunFacts], Tracker]
    sample_every: int
    frozen: str


def build_training(cfg: DictConfig) -> Training:
    """The training that a config describes; says how much memory it will need."""
    from accelerate.utils import set_seed

    from anydoor_lab.config.pipelines import build_pipeline, frozen_fingerprint
    from anydoor_lab.training.kept import SHOWN

    set_seed(cfg.seed)
    accelerator = build_accelerator(cfg.train.precision)
    settings = build_fit_settings(cfg)
    pipeline = build_pipeline(cfg)
    samples = build_samples(cfg, pipeline)
    device = accelerator.device
    # a GPU computes whole batches of small pictures sooner than a disk reads them
    if cfg.share and device.type == "cpu":
        pipeline.model.kept = kept_frozen(cfg, pipeline.model, device, tuple(SHOWN))
    samples.frozen = kept_pictures(cfg, pipeline.model, device, samples.source)
    model = pipeline.model.freeze(cfg.train.trained, cfg.train.lora_rank)
    frozen = frozen_fingerprint(model)
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
        frozen=frozen,
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


def build_samples(cfg: DictConfig, pipeline: AnyDoorPipeline) -> PairStream:
    """The training samples.

    Raises:
        ValueError: a setting of `conditioning` is out of range.
    """
    from anydoor_lab.training.samples import PairStream

    source, conditioner = build_source(cfg, "train"), build_conditioner(cfg, pipeline)
    stream = PairStream(source, conditioner, cfg.seed, cfg.train.still_share)
    return replace(stream, kept=kept_pairs(cfg, stream)) if cfg.get("share") else stream


def build_conditioner(
    cfg: DictConfig, pipeline: AnyDoorPipeline
) -> Conditioner | OfficialConditioner:
    """How training shows pairs to the pipeline's networks.

    Raises:
        ValueError: a setting of `conditioning` is out of range.
    """
    from anydoor_lab.conditioning.conditioner import Conditioner

    conditioner = pipeline.conditioner()
    if isinstance(conditioner, Conditioner):
        return replace(conditioner, as_bytes=True, **plain(cfg.conditioning))
    return conditioner


def build_objective(cfg: DictConfig, pipeline: AnyDoorPipeline) -> DiffusionLoss:
    """What is trained: the pipeline's networks, frozen already, under the diffusion loss."""
    from anydoor_lab.diffusion.loss import DiffusionLoss
    from anydoor_lab.diffusion.schedule import Schedule
    from anydoor_lab.training.precision import recompute_activations

    model = in_precision(cfg, pipeline.model)
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


def in_precision(cfg: DictConfig, model: AnyDoor) -> AnyDoor:
    """The networks, frozen already, in the precision they compute in; returns them."""
    import torch

    from anydoor_lab.training.precision import store_frozen

    if cfg.train.precision == "bf16":
        model.to(torch.bfloat16)
    else:
        store_frozen(model, cfg.train.frozen_precision)
    return model


def build_fit_settings(cfg: DictConfig) -> FitSettings:
    """The part of `train` that the loop itself reads."""
    from anydoor_lab.training.batches import FitSettings

    names = {field.name for field in fields(FitSettings)} - {"seed"}
    return FitSettings(seed=cfg.seed, **{k: v for k, v in plain(cfg.train).items() if k in names})


def memory_plan(training: Training, half: bool, resolution: int) -> str:
    """What the training will need on this process's device, in one line."""
    import torch

    from anydoor_lab.training.footprint import measure_footprint

    settings, accelerator = training.settings, training.accelerator
    # gradient and average of 4 bytes each, and Adam's two moments; of 16-bit weights their copy
    # and one more gradient
    state = 8 + (2 if settings.optimizer == "adamw8bit" else 8)
    if training.pipeline.model.unet.dtype == torch.bfloat16:
        state += 6
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
    passed_over = Counter(source.counts.rejected)
    pairs = held_out_pairs(source, settings, passed_over)
    known: dict[str, Any] = {"data": data_name(cfg), "config": config_hash(relevant(plain(cfg)))}
    return Bench(cfg.model.name, settings, judges, pairs, note_of(source), passed_over, **known)


def build_method(
    node: DictConfig, pipeline: AnyDoorPipeline | None = None, device: str = "auto"
) -> Generate:
    """The method of a node `method`; with the pipeline and the device, where it asks for one.

    Raises:
        ValueError: something that it needs is missing.
    """
    known = settings(named(node._target_))
    given: dict[str, Any] = {"pipeline": pipeline} if "pipeline" in known else {}
    if "device" in known:
        given["device"] = present_device(device)
    built: Generate = leaf(node)(**given)
    return built


def needs_pipeline(node: DictConfig) -> bool:
    """Whether a node `method` names a method that places with a trained pipeline."""
    return "pipeline" in settings(named(node._target_))
