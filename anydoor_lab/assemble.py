"""How the parts chosen in conf/ become a model, data, an objective: ordinary Python.

The only file between the settings and the library; doors call it, nothing below knows it.
"""

from __future__ import annotations

import os
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from anydoor_lab.configs import leaf, plain
from anydoor_lab.pair import check_choice

if TYPE_CHECKING:
    from accelerate import Accelerator

    from anydoor_lab.checkpoint import Checkpoint
    from anydoor_lab.diffusion.loss import DiffusionLoss
    from anydoor_lab.evaluation import EvalSettings, Judged
    from anydoor_lab.models.anydoor import AnyDoor
    from anydoor_lab.pair import PairSource, Split
    from anydoor_lab.pipeline import AnyDoorPipeline
    from anydoor_lab.stream import PairStream
    from anydoor_lab.tracking import RunFacts, Tracker
    from anydoor_lab.training import FitSettings

EMBEDDED = "embedded:anydoor"
"""The trained network inside the package."""
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


def build_pipeline(cfg: DictConfig) -> AnyDoorPipeline:
    """The networks of `model` and `idx`, starting from `init`.

    Raises:
        ValueError: an embedded network or a folder is missing, or `init=scratch` would leave a
            random encoder frozen.
    """
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

    from anydoor_lab.models.detail import DetailExtractor
    from anydoor_lab.models.embedded import locate
    from anydoor_lab.pipeline import AnyDoorPipeline

    silence_libraries()
    torch.manual_seed(cfg.seed)
    if cfg.init not in ("base", "scratch"):
        return adapted(load_pipeline(cfg.init), cfg)
    base, vae = locate(cfg.model.base), locate(cfg.model.vae)
    unet = UNet2DConditionModel.from_pretrained(base, subfolder="unet", torch_dtype=torch.float32)
    if cfg.init == "scratch":
        if cfg.train.trained != "all":
            raise ValueError("init=scratch would freeze a random encoder; add train.trained=all")
        unet = UNet2DConditionModel.from_config(unet.config)
    extractor = leaf(cfg.idx.extractor)
    return AnyDoorPipeline(
        unet=unet,
        vae=AutoencoderKL.from_pretrained(
            vae, subfolder=cfg.model.vae_subfolder, torch_dtype=torch.float32
        ),
        detail_extractor=DetailExtractor.copied_from(unet, cfg.model.stem_channels),
        id_extractor=extractor(cross_attention_dim=unet.config.cross_attention_dim),
        scheduler=DDIMScheduler.from_pretrained(base, subfolder="scheduler"),
        **shown_settings(cfg),
        num_inference_steps=cfg.model.num_inference_steps,
        guidance_scale=cfg.model.guidance_scale,
    )


def adapted(pipeline: AnyDoorPipeline, cfg: DictConfig) -> AnyDoorPipeline:
    """A trained pipeline with the config's way of showing pairs and, where it has another one,
    the config's ID extractor with a fresh projector."""
    pipeline.register_to_config(**shown_settings(cfg))
    own, chosen = pipeline.id_extractor, cfg.idx.extractor
    kind = f"{type(own).__module__}.{type(own).__qualname__}"
    if not chosen._target_.startswith(f"{kind}.") or own.config.tokens != chosen.tokens:
        width = pipeline.unet.config.cross_attention_dim
        pipeline.register_modules(id_extractor=leaf(chosen)(cross_attention_dim=width))
    return pipeline


def silence_libraries() -> None:
    """Keep the libraries' loading bars and reports out of the doors' own output.

    A checkpoint that lacks weights still ends in an error of ours (`metrics.judge.load_frozen`).
    """
    import diffusers.utils.logging
    import transformers.utils.logging

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


def shown_settings(cfg: DictConfig) -> dict[str, Any]:
    """What a pipeline keeps of how pairs are shown."""
    model = cfg.model
    own = {key: value for key, value in plain(cfg.collage).items() if key != "_target_"}
    return {
        "resolution": model.resolution,
        "id_size": model.id_size,
        "zoom": model.zoom,
        "remove_background": cfg.idx.remove_background,
        "collage": collage_name(cfg),
        "collage_settings": {"hf": {"size_px": model.edge_px}, collage_name(cfg): own},
    }


def collage_name(cfg: DictConfig) -> str:
    """The name among the five of the function that `collage` points to.

    Raises:
        ValueError: it is none of them (a pipeline is saved with its collage's name).
    """
    from anydoor_lab.conditioning.collage import COLLAGES

    for name, function in COLLAGES.items():
        if cfg.collage._target_ == f"{function.__module__}.{getattr(function, '__name__', '')}":
            return name
    raise ValueError(f"collage {cfg.collage._target_} is none of {', '.join(COLLAGES)}")


def build_stream(cfg: DictConfig, pipeline: AnyDoorPipeline) -> PairStream:
    """The training samples."""
    from anydoor_lab.stream import PairStream

    source = build_source(cfg, "train")
    return PairStream(source, pipeline.conditioner(), cfg.seed)


def build_objective(cfg: DictConfig, pipeline: AnyDoorPipeline) -> DiffusionLoss:
    """What is trained: the pipeline's networks under the diffusion loss."""
    from anydoor_lab.diffusion.loss import DiffusionLoss
    from anydoor_lab.diffusion.schedule import Schedule

    return DiffusionLoss(
        pipeline.model.freeze(cfg.train.trained),
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
    from anydoor_lab.models.embedded import locate

    return Judged.load(locate(cfg.model.judges.clip), locate(cfg.model.judges.dino), cfg.eval.crop)


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


def build_tracker(cfg: DictConfig, facts: RunFacts) -> Tracker:
    """Where numbers and pictures go."""
    tracker: Tracker = leaf(cfg.logger)(facts)
    return tracker


def load_pipeline(source: str | Path) -> AnyDoorPipeline:
    """A trained pipeline from a run's folder or from a folder in diffusers' layout.

    Raises:
        ValueError: the folder is neither, the run has no valid checkpoint, or the networks it
            left frozen are not those it was trained with.
    """
    from anydoor_lab.checkpoint import load_named, newest_checkpoint
    from anydoor_lab.models.embedded import locate
    from anydoor_lab.pipeline import AnyDoorPipeline
    from anydoor_lab.runs import Run, read_config

    folder = Path(locate(source))
    if (folder / "model_index.json").is_file():
        return AnyDoorPipeline.from_pretrained(folder)
    config = read_config(folder)
    cfg = OmegaConf.create(config)
    checkpoint = newest_checkpoint(Run(folder, config).checkpoints, groups=("ema",))
    if checkpoint is None:
        raise ValueError(f"{folder} has no checkpoint yet; train it to its first one")
    pipeline = build_pipeline(cfg)
    model = pipeline.model.freeze(cfg.train.trained)
    check_frozen(model, checkpoint)
    trained = {f"model.{n}": p for n, p in model.named_parameters() if p.requires_grad}
    load_named(trained, checkpoint.tensors["ema"], str(checkpoint.path))
    return pipeline


def frozen_fingerprint(model: AnyDoor) -> str:
    """What tells the networks that training leaves alone from others."""
    from anydoor_lab.checkpoint import fingerprint

    return fingerprint({n: p for n, p in model.named_parameters() if not p.requires_grad})


def check_frozen(model: AnyDoor, checkpoint: Checkpoint) -> None:
    """Raise ValueError unless `model` has the frozen networks the checkpoint was trained with."""
    known, found = checkpoint.facts.get("frozen"), frozen_fingerprint(model)
    if known not in (None, found):
        raise ValueError(
            f"{checkpoint.path} was trained with other frozen networks (fingerprint {known}, here "
            f"{found}); use the base, VAE and encoder it was trained with"
        )


def place(pipeline: AnyDoorPipeline, device: str) -> AnyDoorPipeline:
    """The pipeline on `device`; `auto` is a GPU where there is one."""
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return pipeline.to(device)
