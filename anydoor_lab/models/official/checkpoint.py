"""A released checkpoint as the networks of a pipeline, every tensor accounted for; and back."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from anydoor_lab.models.detail import DetailExtractor
from anydoor_lab.models.idx.dinov2 import Dinov2Extractor
from anydoor_lab.models.official import sizes
from anydoor_lab.models.official.names import Blocks, Slot, slot
from anydoor_lab.models.official.schedule import BUFFERS, schedule_buffers
from anydoor_lab.models.official.sizes import Heads, shapes_of
from anydoor_lab.structures.errors import InputError

WEIGHTS = "diffusion_pytorch_model.safetensors"
IGNORED = {"anydoor": BUFFERS, "base": (*BUFFERS, "cond_stage_model.", "model_ema.")}
"""Of each layout: beginnings of the names of tensors that no network of ours needs. The schedule
follows from the betas; a plain base has a text encoder in the place of the ID extractor."""
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
class Source:
    """The tensors of a checkpoint file, read from disk one by one."""

    path: Path
    shapes: dict[str, tuple[int, ...]]
    fetch: Callable[[str], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Component:
    """One network of a pipeline: on the meta device, and where its tensors lie in the file."""

    name: str
    network: Any
    slots: dict[str, Slot]


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """The tensors of a `.safetensors` or Lightning `.ckpt` file, memory-mapped.

    Raises:
        ValueError: the file is missing, damaged, no checkpoint, or holds more than tensors.
    """
    if not path.is_file():
        raise InputError(f"{path} is not there; give the path of a .ckpt or .safetensors file")
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, "pt") as file:
                names = file.keys()
                shapes = {n: tuple(file.get_slice(n).get_shape()) for n in names}
                yield Source(path, shapes, file.get_tensor)
        except SafetensorError as error:
            raise InputError(f"{path} is damaged ({error}); download it again") from error
        return
    named = _pickled(path)
    yield Source(path, {n: tuple(t.shape) for n, t in named.items()}, named.__getitem__)


def _pickled(path: Path) -> dict[str, torch.Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} holds more than tensors and plain values, and loading it could run foreign "
            "code: refused; convert it to .safetensors where you trust it"
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        what = str(error).splitlines()[0]
        raise InputError(f"{path} is no whole checkpoint ({what}); download it again") from error
    named = content.get("state_dict", content) if isinstance(content, dict) else {}
    tensors = {name: tensor for name, tensor in named.items() if isinstance(tensor, torch.Tensor)}
    if not tensors:
        raise InputError(f"{path} has no tensors under state_dict; it is no checkpoint of AnyDoor")
    return tensors


def is_plain_base(source: Source) -> bool:
    """Whether the file holds Stable Diffusion alone."""
    return not any(name.startswith("control_model.") for name in source.shapes)


def components(source: Source, heads: Heads) -> list[Component]:
    """The networks of the checkpoint, after every tensor was accounted for.

    Raises:
        ValueError: tensors are missing, left over or of another shape.
    """
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
    of = {name: shapes_of(source.shapes, name) for name in parts}
    with torch.device("meta"):
        yield "unet", UNet2DConditionModel(**sizes.unet_config(of["unet"], heads))
        yield "vae", AutoencoderKL(**sizes.vae_config(of["vae"]))
        if "detail_extractor" in of:
            config = sizes.detail_config(of["detail_extractor"], heads)
            yield "detail_extractor", DetailExtractor(**config)
        if "id_extractor" in of:
            yield "id_extractor", Dinov2Extractor(**sizes.id_config(of["id_extractor"], heads))


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
    """Write one network's config and weights, in the file's own precision."""
    folder.mkdir(parents=True)
    tensors = {name: _taken(source, place) for name, place in component.slots.items()}
    component.network.save_config(folder)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def _taken(source: Source, place: Slot) -> torch.Tensor:
    tensor = source.fetch(place.key)
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


def official_tensors(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """The tensors of one of a saved pipeline's networks under their official names.

    Args:
        folder: the network's own folder.
        name: the component's.

    Raises:
        ValueError: the folder has no config or no single file of weights, or is another network.
    """
    for path in (folder / "config.json", folder / WEIGHTS):
        if not path.is_file():
            raise InputError(
                f"{path} is not there; expected the folder of a saved AnyDoorPipeline with one "
                "file of weights per network"
            )
    config = json.loads((folder / "config.json").read_text())
    if config["_class_name"] != CLASSES[name].__name__:
        raise InputError(
            f"{folder} holds a {config['_class_name']}; the official layout has a place for a "
            f"{CLASSES[name].__name__} only"
        )
    blocks = blocks_of(config)
    gathered: dict[str, dict[int, torch.Tensor]] = {}
    with safe_open(folder / WEIGHTS, "pt") as file:
        for own in file.keys():  # noqa: SIM118
            place, tensor = slot(name, own, blocks), file.get_tensor(own)
            shaped = tensor[..., None, None] if place.as_convolution else tensor
            gathered.setdefault(place.key, {})[place.part] = shaped
    return {key: _joined(parts) for key, parts in gathered.items()}


def _joined(parts: Mapping[int, torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat([parts[n] for n in sorted(parts)])


def blocks_of(config: Mapping[str, Any]) -> Blocks:
    """How the network of such a config is built; the ID extractor has no blocks."""
    kinds = config.get("down_block_types", ())
    widths = config.get("conditioning_embedding_out_channels", ())
    attends = tuple("CrossAttn" in kind for kind in kinds)
    return Blocks(config.get("layers_per_block", 0), attends, max(0, 2 * len(widths) - 2))


def official_buffers(folder: Path, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The schedule buffers that belong to a saved pipeline, in its weights' precision.

    Raises:
        ValueError: its noise schedule is not Stable Diffusion's.
    """
    path = folder / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text())
    seen = (config["beta_schedule"], config["prediction_type"])
    if seen != ("scaled_linear", "epsilon"):
        raise InputError(
            f"{path} has {seen[0]} betas and predicts {seen[1]}; the official layout means "
            "scaled_linear betas and epsilon"
        )
    total = config["num_train_timesteps"]
    buffers = schedule_buffers(config["beta_start"], config["beta_end"], total)
    precision = next(iter(tensors.values())).dtype
    return {name: tensor.to(precision) for name, tensor in buffers.items()}


def write_official(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Write a state dict as `.safetensors`, or as a Lightning-like `.ckpt` for any other suffix."""
    if path.suffix == ".safetensors":
        save_file({n: t.contiguous() for n, t in tensors.items()}, path)
    else:
        torch.save({"state_dict": tensors}, path)
