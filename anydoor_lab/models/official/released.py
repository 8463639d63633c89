"""A saved pipeline's folder as one checkpoint in the released layout: the way back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler
from safetensors import SafetensorError, safe_open

from anydoor_lab.models.official.checkpoint import CLASSES, WEIGHTS, components, save_tensors
from anydoor_lab.models.official.names import blocks_of, slot
from anydoor_lab.models.official.schedule import schedule_buffers, scheduler_config
from anydoor_lab.models.official.sizes import Heads
from anydoor_lab.models.official.source import Source
from anydoor_lab.structures.errors import InputError

INDEX = "model_index.json"
SCHEDULER = "scheduler/scheduler_config.json"
PLAIN_SCHEDULE = {
    "trained_betas": None,
    "rescale_betas_zero_snr": False,
    "thresholding": False,
}
SAMPLING = ("timestep_spacing", "steps_offset", "set_alpha_to_one", "clip_sample")
"""Settings of the scheduler that another sampler would have otherwise; they are printed."""
HARMLESS = {"sample_size", "force_upcast", "upcast_attention"}
"""Settings of networks that change no result in full precision."""
ENCODER = (
    "model_type",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_channels",
    "patch_size",
    "image_size",
    "mlp_ratio",
    "use_swiglu_ffn",
    "hidden_act",
    "layer_norm_eps",
    "qkv_bias",
)
"""What of DINOv2's settings changes its tokens."""


def official_tensors(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """The tensors of one of a saved pipeline's networks under their official names.

    Args:
        folder: of the pipeline.
        name: the component's.

    Raises:
        ValueError: the folder has no config or no single file of weights, or is another network.
    """
    config = _saved(folder / name / "config.json")
    expected = CLASSES[name].__name__
    if config.get("_class_name") != expected:
        raise InputError(
            f"{folder / name} holds a {config.get('_class_name')}; the official layout has a "
            f"place for a {expected} only"
        )
    path, blocks = _needed(folder / name / WEIGHTS), blocks_of(config)
    gathered: dict[str, dict[int, torch.Tensor]] = {}
    try:
        with safe_open(path, "pt") as file:
            for own in file.keys():  # noqa: SIM118
                place, tensor = slot(name, own, blocks), file.get_tensor(own)
                shaped = tensor[..., None, None] if place.as_convolution else tensor
                gathered.setdefault(place.key, {})[place.part] = shaped
    except SafetensorError as error:
        raise InputError(f"{path} is damaged ({error}); take another copy") from error
    return {key: _joined(parts) for key, parts in gathered.items()}


def _joined(parts: Mapping[int, torch.Tensor]) -> torch.Tensor:
    return parts[0] if set(parts) == {0} else torch.cat([parts[n] for n in sorted(parts)])


def _needed(path: Path) -> Path:
    if not path.is_file():
        raise InputError(
            f"{path} is not there; expected the folder of a saved AnyDoorPipeline with one file "
            "of weights per network"
        )
    return path


def _saved(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_needed(path).read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged or not there ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged: expected the settings by their names")
    return content


def official_buffers(folder: Path, precision: torch.dtype) -> dict[str, torch.Tensor]:
    """The schedule buffers that belong to a saved pipeline.

    Raises:
        ValueError: its noise schedule is not Stable Diffusion's, or is lost in this precision.
    """
    path = folder / SCHEDULER
    saved = _saved(path)
    seen = (saved.get("beta_schedule"), saved.get("prediction_type"))
    if seen != ("scaled_linear", "epsilon"):
        raise InputError(
            f"{path} has {seen[0]} betas and predicts {seen[1]}; the official layout means "
            "scaled_linear betas and epsilon"
        )
    config = DDIMScheduler.from_config(saved).config
    total = config["num_train_timesteps"]
    buffers = schedule_buffers(config["beta_start"], config["beta_end"], total)
    buffers = {name: tensor.to(precision) for name, tensor in buffers.items()}
    read = {**PLAIN_SCHEDULE, **scheduler_config(buffers["betas"])}
    _refuse_lost(path, config, read, set(SAMPLING))
    return buffers


def check_kept(folder: Path, tensors: dict[str, torch.Tensor]) -> Heads:
    """Refuse what the file would lose: read back, it must give the saved networks.

    Args:
        folder: of the pipeline.
        tensors: all of them under their official names.

    Returns:
        What the file does not tell.

    Raises:
        ValueError: a tensor is missing, left over or not finite, or a setting has no place.
    """
    source = Source(folder, {n: tuple(t.shape) for n, t in tensors.items()}, tensors.__getitem__)
    networks = {name: _network(folder, name) for name in CLASSES}
    heads = _heads(networks)
    for name, network in networks.items():
        if name == "id_extractor":
            _check_family(folder / name, network)
    for component in components(source, heads):
        path = folder / component.name / "config.json"
        read, saved = component.network, networks[component.name]
        _refuse_lost(path, saved.config, read.config, {*HARMLESS, "encoder_config"})
        if component.name == "id_extractor":
            expected, seen = read.encoder.config.to_dict(), saved.encoder.config.to_dict()
            _refuse_lost(path, seen, {key: expected[key] for key in ENCODER})
    for name in tensors:
        source.usable(name)
    return heads


def _network(folder: Path, name: str) -> Any:
    """As its config says, on the meta device."""
    path = folder / name / "config.json"
    try:
        with torch.device("meta"):
            return CLASSES[name].from_config(_saved(path))
    except (TypeError, LookupError, ArithmeticError, RuntimeError, AttributeError) as error:
        raise InputError(f"{path} describes no network ({error}); take another copy") from error


def _check_family(folder: Path, network: Any) -> None:
    kind = network.encoder.config.model_type
    if kind != "dinov2":
        raise InputError(f"{folder} holds a {kind}; the official layout has a place for a dinov2")


def _heads(networks: Mapping[str, Any]) -> Heads:
    config, encoder = networks["unet"].config, networks["id_extractor"].encoder.config
    number, width = config["attention_head_dim"], config["block_out_channels"][0]
    first = number if isinstance(number, int) else number[0]
    return Heads(width // first, encoder.hidden_size // encoder.num_attention_heads)


def _refuse_lost(
    path: Path, saved: Mapping[str, Any], read: Mapping[str, Any], harmless: set[str] | None = None
) -> None:
    """Compare what is saved with what the importer reads, setting by setting."""
    for name, value in read.items():
        if name.startswith("_") or name in (harmless or ()):
            continue
        if _plain(saved.get(name)) != _plain(value):
            raise InputError(
                f"{path} has {name} {saved.get(name)}; the official layout has no place for it and "
                f"means {value}: refused, as the file would be another network"
            )


def _plain(value: Any) -> Any:
    """A list of one value throughout means the same as the value."""
    if not isinstance(value, list | tuple):
        return value
    return value[0] if value and all(one == value[0] for one in value) else list(value)


def unsaid(folder: Path, heads: Heads) -> Iterator[str]:
    """The settings of a saved pipeline that its file has no place for, as `name=value`."""
    for name, value in _saved(folder / INDEX).items():
        if not name.startswith("_") and not isinstance(value, list | dict):
            yield f"{name}={value}"
    scheduler = _saved(folder / SCHEDULER)
    yield from (f"{name}={scheduler[name]}" for name in SAMPLING if name in scheduler)
    yield f"unet_head_channels={heads.unet_channels}"
    yield f"dino_head_channels={heads.dino_channels}"


def write_official(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Write a state dict as `.safetensors`, or as a Lightning-like `.ckpt` for any other suffix."""
    if path.suffix == ".safetensors":
        save_tensors({n: t.contiguous() for n, t in tensors.items()}, path)
        return
    with path.open("wb") as file:  # of a path, torch does not tell why it cannot write
        torch.save({"state_dict": tensors}, file)
