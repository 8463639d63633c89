"""A released checkpoint as the networks of a pipeline, every tensor accounted for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors import SafetensorError
from safetensors.torch import save_file

from anydoor_lab.models.detail import DetailExtractor
from anydoor_lab.models.idx.dinov2 import Dinov2Extractor
from anydoor_lab.models.official import sizes
from anydoor_lab.models.official.kinds import refuse_others
from anydoor_lab.models.official.names import Slot, blocks_of, slot
from anydoor_lab.models.official.schedule import BUFFERS
from anydoor_lab.models.official.sizes import Heads, shapes_of
from anydoor_lab.models.official.source import Source
from anydoor_lab.structures.errors import InputError, RunError

WEIGHTS = "diffusion_pytorch_model.safetensors"
IGNORED = {
    "anydoor": (*BUFFERS, "model_ema."),
    "base": (*BUFFERS, "model_ema.", "cond_stage_model."),
}
"""Of each layout: beginnings of the names of tensors that no network of ours needs. The schedule
follows from the betas; the released code never places with the moving average; a plain base has a
text encoder in the place of the ID extractor."""
BASE_PARTS = ("unet", "vae")
CLASSES = {
    "unet": UNet2DConditionModel,
    "vae": AutoencoderKL,
    "detail_extractor": DetailExtractor,
    "id_extractor": Dinov2Extractor,
}
PARTS = tuple(CLASSES)
LEAST_LIKENESS = 0.5
"""Correlation of pure noise with what a noise predictor makes of it (close to 1 where trained)."""
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Component:
    """One network of a pipeline: on the meta device, and where its tensors lie in the file."""

    name: str
    network: Any
    slots: dict[str, Slot]


def is_plain_base(source: Source) -> bool:
    """Whether the file holds Stable Diffusion alone."""
    return not any(name.startswith("control_model.") for name in source.shapes)


def components(source: Source, heads: Heads) -> list[Component]:
    """The networks of the checkpoint, after every tensor was accounted for.

    Raises:
        ValueError: it is a checkpoint of another network, or tensors are missing, left over or of
            another shape.
    """
    refuse_others(source)
    plain = is_plain_base(source)
    networks = _networks(source, heads, BASE_PARTS if plain else PARTS)
    built = [_component(name, network) for name, network in networks]
    needed = {place.key for component in built for place in component.slots.values()}
    _name_first("lacks", sorted(needed - set(source.shapes)), source)
    ignored = IGNORED["base" if plain else "anydoor"]
    left = sorted(n for n in set(source.shapes) - needed if not n.startswith(ignored))
    _name_first("has, beside AnyDoor's,", left, source)
    for component in built:
        _check_shapes(component, source)
    return built


def _networks(source: Source, heads: Heads, parts: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    configs = {name: _config(name, source, heads) for name in parts}
    sizes.check_together(configs)
    for name, config in configs.items():
        with torch.device("meta"):
            yield name, CLASSES[name](**config)


def _config(name: str, source: Source, heads: Heads) -> dict[str, Any]:
    shapes = shapes_of(source.shapes, name)
    if name == "vae":
        return sizes.vae_config(shapes)
    told = {
        "unet": sizes.unet_config,
        "detail_extractor": sizes.detail_config,
        "id_extractor": sizes.id_config,
    }
    return told[name](shapes, heads)


def _component(name: str, network: Any) -> Component:
    blocks = blocks_of(network.config)
    return Component(name, network, {n: slot(name, n, blocks) for n in network.state_dict()})


def _name_first(what: str, names: list[str], source: Source) -> None:
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        listed = ", ".join(names[:_SHOWN])
        raise InputError(f"{source.path} {what} {len(names)} tensors: {listed}{more}")


def _check_shapes(component: Component, source: Source) -> None:
    for name, tensor in component.network.state_dict().items():
        place = component.slots[name]
        expected = _official_shape(tensor.shape, place)
        if source.shapes[place.key] != expected:
            seen = f"{place.key} of {source.path} is {list(source.shapes[place.key])}"
            raise InputError(f"{seen}; expected {list(expected)}, by the sizes of its neighbours")


def _official_shape(shape: tuple[int, ...], place: Slot) -> tuple[int, ...]:
    rows = (shape[0] * place.parts, *shape[1:]) if place.parts > 1 else tuple(shape)
    return (*rows, 1, 1) if place.as_convolution else rows


def write_component(component: Component, source: Source, folder: Path) -> None:
    """Write one network's config and weights, in the file's own precision.

    Raises:
        ValueError: a tensor is not to be used.
        RuntimeError: there is no room.
    """
    tensors = {name: _taken(source, place) for name, place in component.slots.items()}
    with writing(folder):
        folder.mkdir(parents=True)
        component.network.save_config(folder)
        save_tensors(tensors, folder / WEIGHTS)


def save_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Write a `.safetensors` file with the rights the umask gives; the library's are 0600."""
    path.touch()
    mode = path.stat().st_mode
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(mode)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What is written inside fails with a sentence where there is no room for it.

    Raises:
        RuntimeError: the disk is full, or the file larger than allowed.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise RunError(
            f"{path} could not be written: {reason}. Make room or choose another out=; the source "
            "is whole, and nothing was left behind"
        ) from error


def _reason(error: BaseException | None) -> str | None:
    """What the operating system said: torch reports a failed write as one of its own errors."""
    while error is not None:
        if isinstance(error, OSError | SafetensorError):
            return str(getattr(error, "strerror", None) or error)
        error = error.__context__
    return None


def _taken(source: Source, place: Slot) -> torch.Tensor:
    tensor = source.usable(place.key)
    if place.as_convolution:
        tensor = tensor[..., 0, 0]
    return tensor.chunk(place.parts)[place.part].contiguous()


def check_prediction(folder: Path, scheduler: DDIMScheduler) -> None:
    """Refuse a base that does not predict the noise: on pure noise, at the last timestep, such a
    network gives its input back.

    Args:
        folder: of a written base.
        scheduler: its noise schedule.

    Raises:
        ValueError: what it predicts has little to do with the noise.
    """
    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet", dtype=torch.float32)
    config, generator = unet.config, torch.Generator().manual_seed(0)
    side = 8 * 2 ** (len(config.block_out_channels) - 1)
    noise = torch.randn((1, config.in_channels, side, side), generator=generator)
    tokens = torch.zeros(1, 1, config.cross_attention_dim)
    with torch.no_grad():
        predicted = unet(noise, len(scheduler) - 1, tokens).sample
    likeness = float(torch.corrcoef(torch.stack([noise.flatten(), predicted.flatten()]))[0, 1])
    if likeness < LEAST_LIKENESS:
        raise InputError(
            f"the base's prediction on pure noise correlates with it by {likeness:.2f}; expected "
            f"at least {LEAST_LIKENESS}. It is no noise predictor (the 768 px model predicts v): "
            "take Stable Diffusion 2.1-base, or add check_prediction=false"
        )
