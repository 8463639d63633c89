"""From weights to a pipeline: a base, a run's folder, a saved pipeline, the embedded network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from anydoor_lab.config.collages import chosen_collage
from anydoor_lab.config.compose import plain, refuse_unknown
from anydoor_lab.config.extractors import fresh_extractor, take_extractor
from anydoor_lab.config.values import absence
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.names import conf_dir, conf_folders

if TYPE_CHECKING:
    from anydoor_lab.models.anydoor import AnyDoor
    from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
    from anydoor_lab.training.checkpoint import Checkpoint

EMBEDDED = "embedded:anydoor"
"""The trained network inside the package."""
KINDS = {
    ("prediction_type", "v_prediction"): " (the 768 px Stable Diffusion 2.1 predicts v)",
    ("cross_attention_dim", 768): " (768 is Stable Diffusion 1.x)",
    ("cross_attention_dim", 2048): " (2048 is SDXL)",
    ("addition_embed_type", "text_time"): " (text_time is SDXL)",
}
"""What a base is likely to be, by a value of its config."""


def build_pipeline(cfg: DictConfig) -> AnyDoorPipeline:
    """The networks of `model` and `idx`, starting from `init`.

    Raises:
        ValueError: a network is missing or another one than `model` expects, or `init` would
            leave fresh networks frozen.
    """
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

    from anydoor_lab.models.detail import DetailExtractor
    from anydoor_lab.models.sources import obtain, reading
    from anydoor_lab.pipeline.anydoor import AnyDoorPipeline

    silence_libraries()
    torch.manual_seed(cfg.seed)
    if cfg.init not in ("base", "scratch"):
        return adapted(load_pipeline(cfg.init), cfg)
    if cfg.train.trained == "lora":
        raise InputError(
            f"train.trained=lora tunes a trained network, and init={cfg.init} has a fresh detail "
            "extractor; give init= the folder of a run or a pipeline"
        )
    model = plain(cfg.model)
    base = obtain(model["base"], ("unet", "scheduler"), "model.base")
    vae = obtain(model["vae"], (model["vae_subfolder"] or "",), "model.vae")
    full = {"torch_dtype": torch.float32}
    with reading(f"model.base {base}"):
        check_base(base, model["expects"])
        unet = UNet2DConditionModel.from_pretrained(base, subfolder="unet", **full)
        scheduler = DDIMScheduler.from_pretrained(base, subfolder="scheduler")
    with reading(f"model.vae {vae}"):
        autoencoder = AutoencoderKL.from_pretrained(vae, subfolder=model["vae_subfolder"], **full)
    if cfg.init == "scratch":
        if cfg.train.trained != "all":
            raise InputError("init=scratch would freeze a random encoder; add train.trained=all")
        unet = UNet2DConditionModel.from_config(unet.config)
    return AnyDoorPipeline(
        unet=unet,
        vae=autoencoder,
        detail_extractor=DetailExtractor.copied_from(unet, cfg.model.stem_channels),
        id_extractor=fresh_extractor(cfg.idx, unet.config.cross_attention_dim),
        scheduler=scheduler,
        **shown_settings(cfg),
        num_inference_steps=cfg.model.num_inference_steps,
        guidance_scale=cfg.model.guidance_scale,
    )


def check_base(folder: Path, expects: Mapping[str, Any]) -> None:
    """Refuse a base of another kind than the scale's, judged by its configs alone.

    Args:
        folder: with `unet/` and `scheduler/`.
        expects: values by name, of the UNet's config or the scheduler's `prediction_type`.

    Raises:
        ValueError: the first value that differs.
    """
    found = json.loads((folder / "unet" / "config.json").read_text())
    scheduler = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    found["prediction_type"] = scheduler.get("prediction_type", "epsilon")
    for name, wanted in expects.items():
        if found.get(name) != wanted:
            raise InputError(
                f"model.base {folder} is another network: its {name} is {found.get(name)}, "
                f"expected {wanted}{KINDS.get((name, found.get(name)), '')}; give the base that "
                "this model is for"
            )


def adapted(pipeline: AnyDoorPipeline, cfg: DictConfig) -> AnyDoorPipeline:
    """A trained pipeline with the config's way of showing pairs and the config's ID extractor.

    Its projector stays where the encoder does; of a joint network it is the one trained with that
    encoder; else, also around an encoder from another `source`, it is fresh.
    """
    pipeline.register_to_config(**shown_settings(cfg), **chosen_sampling(cfg.model))
    if not take_extractor(pipeline, cfg.init, cfg.idx):
        width = pipeline.unet.config.cross_attention_dim
        pipeline.register_modules(id_extractor=fresh_extractor(cfg.idx, width))
    return pipeline


def silence_libraries() -> None:
    """Keep the libraries' loading bars and reports out of the doors' own output.

    A checkpoint that lacks weights still ends in an error of ours (`metrics.judge.load_frozen`).
    """
    import diffusers.utils.logging
    import huggingface_hub.utils.logging
    import transformers.utils.logging

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    huggingface_hub.utils.logging.set_verbosity_error()  # what is missing is said in one sentence


def shown_settings(cfg: DictConfig) -> dict[str, Any]:
    """What a pipeline keeps of how pairs are shown."""
    from anydoor_lab.structures.names import named

    model = cfg.model
    own = plain(cfg.collage)
    target = own.pop("_target_")
    refuse_unknown(target, named(target), own)
    shown = plain(cfg.conditioning) if "conditioning" in cfg else {}  # not in runs of version 0.1
    return {
        "resolution": model.resolution,
        "id_size": model.id_size,
        "zoom": model.zoom,
        **{key: shown[key] for key in ("grow", "id_margin") if key in shown},
        "remove_background": cfg.idx.remove_background,
        "collage": chosen_collage(cfg),
        "collage_settings": {"hf": _edges(model), chosen_collage(cfg): own},
    }


def _edges(model: DictConfig) -> dict[str, Any]:
    """How a scale takes the HF map; older runs name the side alone."""
    names = {"size_px": "edge_px", "erosion_px": "edge_erosion_px"}
    names |= {name: f"edge_{name}" for name in ("threshold", "power")}
    return {key: model[name] for key, name in names.items() if name in model}


def chosen_sampling(model: DictConfig) -> dict[str, Any]:
    """Steps and guidance, where a node `model` has others than its scale's file: trained weights
    keep their own otherwise."""
    files = [folder / "model" / f"{model.name}.yaml" for folder in (conf_dir(), *conf_folders())]
    scale = next((OmegaConf.load(path) for path in files if path.is_file()), model)
    names = ("num_inference_steps", "guidance_scale")
    return {name: model[name] for name in names if model[name] != OmegaConf.select(scale, name)}


def load_pipeline(source: str | Path) -> AnyDoorPipeline:
    """A trained pipeline from a run's folder (of its newest checkpoint), from the folder of one of
    its checkpoints or milestones, from a folder in diffusers' layout, or by the hub name that
    `convert` has fetched.

    Raises:
        ValueError: the folder is neither or not there, a file of it is missing or damaged, it names
            classes that may not be named, the run has no valid checkpoint, or the networks it left
            frozen are not those it was trained with.
    """
    from anydoor_lab.models.embedded import locate
    from anydoor_lab.models.joint import is_joint
    from anydoor_lab.models.sources import INDEX, reading
    from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
    from anydoor_lab.pipeline.saved import check_saved

    folder = Path(locate(source))
    if not folder.is_dir():
        raise InputError(f"{folder} {absence(folder)}")
    if is_joint(folder):
        return _joint_pipeline(folder)
    if (folder / INDEX).is_file():
        check_saved(folder)
        with reading(folder):
            return AnyDoorPipeline.from_pretrained(folder)
    return _run_pipeline(folder)


def _joint_pipeline(folder: Path) -> AnyDoorPipeline:
    import torch
    from diffusers import AutoencoderKL

    from anydoor_lab.models.joint import load_extractor, part_beside
    from anydoor_lab.models.sources import reading
    from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
    from anydoor_lab.pipeline.saved import check_saved

    check_saved(folder, given=("vae", "id_extractor"))
    frozen = part_beside(folder, "vae")
    with reading(frozen):
        vae = AutoencoderKL.from_pretrained(frozen, torch_dtype=torch.float32)
    extractor = load_extractor(folder, "dinov2")
    with reading(folder):
        return AnyDoorPipeline.from_pretrained(folder, vae=vae, id_extractor=extractor)


def _run_pipeline(folder: Path) -> AnyDoorPipeline:
    from anydoor_lab.models.finite import check_tensors
    from anydoor_lab.runs.folder import Run
    from anydoor_lab.runs.settings import check_config, read_config
    from anydoor_lab.training.checkpoint import (
        MANIFEST,
        load_checkpoint,
        load_named,
        newest_checkpoint,
    )
    from anydoor_lab.training.precision import round_frozen

    single = (folder / MANIFEST).is_file()
    home = folder.absolute().parents[1] if single else folder
    config = read_config(home)
    cfg, every = OmegaConf.create(config), Run(home, config).checkpoints
    read = partial(load_checkpoint, folder) if single else partial(newest_checkpoint, every)
    checkpoint = read(groups=("ema",))
    if checkpoint is None:
        raise InputError(f"{folder} has no checkpoint yet; train it to its first one")
    check_config(home, config, checkpoint.facts)
    pipeline = build_pipeline(cfg)
    model = pipeline.model.freeze(cfg.train.trained, cfg.train.get("lora_rank", 16))
    round_frozen(model, cfg.train.get("frozen_precision", "fp32"))
    check_frozen(frozen_fingerprint(model), checkpoint)
    trained = {f"model.{n}": p for n, p in model.named_parameters() if p.requires_grad}
    load_named(trained, checkpoint.tensors["ema"], str(checkpoint.path))
    check_tensors(f"checkpoint {checkpoint.path}", trained.items())
    # what it began with may have projectors of other extractors; these weights have not
    pipeline.register_to_config(_name_or_path=str(folder))
    return pipeline


def weights_fingerprint(model: AnyDoor) -> str:
    """What tells a model's weights, trained and frozen, from others."""
    from anydoor_lab.training.checkpoint import fingerprint

    return fingerprint(dict(model.named_parameters()))


def frozen_fingerprint(model: AnyDoor) -> str:
    """What tells the networks that training leaves alone from others."""
    from anydoor_lab.training.checkpoint import fingerprint

    frozen = {n: p for n, p in model.named_parameters() if not p.requires_grad}
    return fingerprint(frozen)


def check_frozen(found: str, checkpoint: Checkpoint) -> None:
    """Raise ValueError unless a model of this `frozen_fingerprint` is what the checkpoint was
    trained with."""
    known = checkpoint.facts.get("frozen")
    if known not in (None, found):
        raise InputError(
            f"{checkpoint.path} was trained with other frozen networks (fingerprint {known}, here "
            f"{found}); use the base, VAE and encoder it was trained with"
        )


def preset_cost(source: str | Path, preset: str) -> str:
    """What an approximate preset costs in score: measured when the weights of `source` were
    finished, or how to measure it."""
    from anydoor_lab.models.embedded import is_part, locate
    from anydoor_lab.pretraining.folders import read_card

    folder = Path(locate(source))
    bench = read_card(folder).get("bench", {}) if is_part(folder) else {}
    rows = [row for row in bench.get("rows", ()) if not row.get("anchor")]
    measured = next((row for row in rows if row.get("preset") == preset), None)
    if measured is None:
        return f"its cost in score is not measured: evaluate run={source} eval.preset={preset}"
    names = {"clip": "CLIP score", "dino": "DINO score", "attribute_accuracy": "attribute accuracy"}
    scores = [f"{said} {rows[-1][n]:.1f} -> {measured[n]:.1f}" for n, said in names.items()]
    return f"measured ({bench['scale']}, {bench['n']} pairs): {', '.join(scores)}"
