"""LoRA: low-rank adapters of the decoder and the detail extractor, kept in diffusers' format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.lora_base import LORA_WEIGHT_NAME_SAFE, LoraBaseMixin
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from anydoor_lab.structures.errors import InputError

ADAPTED = {"unet": "up_blocks", "detail_extractor": "(down_blocks|mid_block)"}
"""Which parts of which networks have adapters: what the paper trains, stem and output left out."""
LAYERS = r"to_q|to_k|to_v|to_out\.0|ff\.net\.0\.proj|ff\.net\.2|proj_in|proj_out|conv1|conv2"


def add_adapters(model: Any, rank: int) -> list[nn.Parameter]:
    """The parameters of `model`'s adapters, which are added first where there are none.

    An adapter adds B A x to its layer, with B zero at first (Hu et al. 2021, Eq. 3).

    Args:
        model: an `AnyDoor`.
        rank: r of every adapter.

    Raises:
        ValueError: `rank` is no positive whole number.
    """
    from peft import LoraConfig

    if not isinstance(rank, int) or rank < 1:
        raise InputError(f"train.lora_rank is {rank!r}; expected a whole number from 1")
    for name, where in ADAPTED.items():
        network = getattr(model, name)
        if not getattr(network, "peft_config", None):
            targets = rf"{where}\..*\.({LAYERS})"
            config = LoraConfig(r=rank, lora_alpha=rank, target_modules=targets)
            network.add_adapter(config)
    return [p for name, p in model.named_parameters() if ".lora_" in name]


def merge_adapters(model: Any) -> None:
    """Add the adapters of `model` to the weights of their layers and take them away."""
    for name in ADAPTED:
        network = getattr(model, name)
        if getattr(network, "peft_config", None):
            network.fuse_lora()
            network.unload_lora()


class AdapterFiles(LoraBaseMixin):
    """A pipeline's methods for adapters: load and save here, the others (`fuse_lora`,
    `set_adapters`, `unload_lora_weights` ...) as in any diffusers pipeline."""

    _lora_loadable_modules = list(ADAPTED)

    def save_lora_weights(self, save_directory: str | Path, adapter_name: str = "default") -> None:
        """Write one adapter of all networks as `pytorch_lora_weights.safetensors`.

        Raises:
            ValueError: there is no adapter of that name.
        """
        from peft.utils import get_peft_model_state_dict

        layers, facts = {}, {}
        for name in ADAPTED:
            network = getattr(self, name)
            if adapter_name not in getattr(network, "peft_config", {}):
                raise InputError(f"the {name} has no adapter {adapter_name!r}")
            layers[name] = get_peft_model_state_dict(network, adapter_name=adapter_name)
            facts[name] = network.peft_config[adapter_name].to_dict()
        self._save_lora_weights(str(save_directory), layers, facts)

    def load_lora_weights(self, source: str | Path, adapter_name: str | None = None) -> None:
        """Add and switch on the adapters that `save_lora_weights` wrote.

        Args:
            source: their folder or file.
            adapter_name: what they are called from now on.

        Raises:
            ValueError: the file is missing, is none, or belongs to networks of other sizes.
        """
        path = Path(source)
        path = path / LORA_WEIGHT_NAME_SAFE if path.is_dir() else path
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            sentence = f"{path} holds no LoRA adapters ({error}); give their folder"
            raise InputError(sentence) from error
        for name in ADAPTED:
            check_fits(getattr(self, name), name, tensors, path)
        for name in ADAPTED:
            options = {"prefix": name, "adapter_name": adapter_name, "_pipeline": self}
            getattr(self, name).load_lora_adapter(str(path), use_safetensors=True, **options)


def check_fits(network: nn.Module, name: str, tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Raise ValueError unless the `tensors` called `name` belong to `network`'s layers."""
    layers = dict(network.named_modules())
    sides = {"lora_A": 1, "lora_B": 0}  # the side of the layer's weight that each has too
    own = [key for key in tensors if key.startswith(f"{name}.")]
    for key in own:
        layer, _, part = key.removeprefix(f"{name}.").removesuffix(".weight").rpartition(".")
        weight = getattr(layers.get(layer), "weight", None)
        side = sides.get(part)
        if weight is None or side is None or weight.shape[side] != tensors[key].shape[side]:
            raise InputError(
                f"{path} is of other networks: {key} {tuple(tensors[key].shape)} does not fit the "
                f"{name} here; use it with the weights it was trained from"
            )
    if not own:
        raise InputError(f"{path} has no adapters of the {name}; expected those of {list(ADAPTED)}")
