"""LoRA: low-rank adapters of the decoder and the detail extractor, kept in diffusers' format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.lora_base import LORA_WEIGHT_NAME_SAFE, LoraBaseMixin
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from anydoor_lab.models.finite import check_tensors
from anydoor_lab.structures.errors import InputError, RunError

DECODER, BRANCH = "up_blocks", "(down_blocks|mid_block)"
"""What of the UNet and of each branch has adapters: what the paper trains, stem and output left
out."""
LAYERS = r"to_q|to_k|to_v|to_out\.0|ff\.net\.0\.proj|ff\.net\.2|proj_in|proj_out|conv1|conv2"


def adapted(model: Any) -> dict[str, str]:
    """Which networks of an `AnyDoor` have adapters, and in which of their parts."""
    return {"unet": DECODER} | dict.fromkeys(model.branches, BRANCH)


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
    for name, where in adapted(model).items():
        network = getattr(model, name)
        if not getattr(network, "peft_config", None):
            targets = rf"{where}\..*\.({LAYERS})"
            config = LoraConfig(r=rank, lora_alpha=rank, target_modules=targets)
            network.add_adapter(config)
    return [p for name, p in model.named_parameters() if ".lora_" in name]


def merge_adapters(model: Any) -> None:
    """Add the adapters of `model` to the weights of their layers and take them away."""
    for name in adapted(model):
        network = getattr(model, name)
        if getattr(network, "peft_config", None):
            network.fuse_lora()
            network.unload_lora()


class AdapterFiles(LoraBaseMixin):
    """A pipeline's methods for adapters: load and save here, the others (`fuse_lora`,
    `set_adapters`, `unload_lora_weights` ...) as in any diffusers pipeline, for the networks that
    `adapted` names."""

    model: Any
    _scalings: dict[Any, dict[str, float]] = {}

    @property
    def _lora_loadable_modules(self) -> list[str]:
        return list(adapted(self.model))

    def fuse_lora(
        self, components: list[str] | None = None, lora_scale: float = 1.0, **settings: Any
    ) -> None:
        """As diffusers': add the active adapters to the weights, of all networks by default.

        Raises:
            RuntimeError: some are fused already, and could not be taken out with another scale.
        """
        if lora_scale != 1.0:
            self._need_unfused("fuse_lora with another lora_scale")
        chosen = self._lora_loadable_modules if components is None else components
        now = {layer: dict(layer.scaling) for layer in self._layers(chosen)}
        self._scalings = now | self._scalings
        super().fuse_lora(chosen, lora_scale, **settings)

    def unfuse_lora(self, components: list[str] | None = None, **settings: Any) -> None:
        """As diffusers': take them out of the weights again, of all networks by default; they act
        as strongly as before `fuse_lora`."""
        chosen = self._lora_loadable_modules if components is None else components
        super().unfuse_lora(chosen, **settings)
        for layer in self._layers(chosen):
            layer.scaling.update(self._scalings.pop(layer, {}))

    def set_adapters(self, adapter_names: list[str] | str, adapter_weights: Any = None) -> None:
        """As diffusers': use these adapters, so strongly.

        Raises:
            ValueError: there is none of such a name.
            RuntimeError: some are fused, which would hide this.
        """
        self._need_unfused("set_adapters")
        super().set_adapters(adapter_names, adapter_weights)

    def delete_adapters(self, adapter_names: list[str] | str) -> None:
        """As diffusers': take these adapters away; with the last one the networks are plain again.

        Raises:
            ValueError: there is none of such a name.
        """
        names = [adapter_names] if isinstance(adapter_names, str) else adapter_names
        there = {name for several in self.get_list_adapters().values() for name in several}
        if unknown := [name for name in names if name not in there]:
            raise InputError(f"there is no adapter {unknown[0]!r}; there are {sorted(there)}")
        super().delete_adapters(names)
        for network in (getattr(self, name) for name in self._lora_loadable_modules):
            if not getattr(network, "peft_config", None):
                network.unload_lora()

    def _layers(self, components: list[str]) -> Iterator[Any]:
        """The layers of these networks that have adapters."""
        from peft.tuners.tuners_utils import BaseTunerLayer

        parts = (part for name in components for part in getattr(self, name, nn.Module()).modules())
        return (part for part in parts if isinstance(part, BaseTunerLayer))

    def _need_unfused(self, call: str) -> None:
        if any(layer.merged_adapters for layer in self._layers(self._lora_loadable_modules)):
            raise RunError(f"there are fused adapters; unfuse_lora() before {call}")

    def enable_lora_hotswap(self, **_: Any) -> None:
        """Refused with RuntimeError: adapters are not exchanged in place here."""
        raise RunError(
            "adapters are not exchanged in place here; unload_lora_weights(), then "
            "load_lora_weights() of the others"
        )

    def save_pretrained(self, save_directory: str | Path, *settings: Any, **named: Any) -> None:
        """As diffusers'.

        Raises:
            RuntimeError: there are adapters, whose layers `from_pretrained` would not find.
        """
        if any(self.get_list_adapters().values()):
            raise RunError(
                "there are LoRA adapters in the networks; save_lora_weights() writes them, or "
                "call fuse_lora() and unload_lora_weights() first to save the sum"
            )
        super().save_pretrained(save_directory, *settings, **named)

    @classmethod
    def lora_state_dict(cls, source: str | Path) -> dict[str, torch.Tensor]:
        """The tensors that `save_lora_weights` wrote, by their names.

        Args:
            source: their folder or file.

        Raises:
            ValueError: the file is missing, is none, or holds numbers that are not finite.
        """
        path = adapter_path(source)
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            sentence = f"{path} holds no LoRA adapters ({error}); give their folder"
            raise InputError(sentence) from error
        check_tensors(f"file {path}", tensors.items())
        return tensors

    def save_lora_weights(self, save_directory: str | Path, adapter_name: str = "default") -> None:
        """Write one adapter of all networks as `pytorch_lora_weights.safetensors`.

        Raises:
            ValueError: there is no adapter of that name.
        """
        from peft.utils import get_peft_model_state_dict

        layers, facts = {}, {}
        for name in self._lora_loadable_modules:
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
            ValueError: as `lora_state_dict`, or they belong to other networks.
        """
        path, tensors = adapter_path(source), self.lora_state_dict(source)
        for name in self._lora_loadable_modules:
            check_fits(getattr(self, name), name, tensors, path)
        for name in self._lora_loadable_modules:
            options = {"prefix": name, "adapter_name": adapter_name, "_pipeline": self}
            getattr(self, name).load_lora_adapter(str(path), use_safetensors=True, **options)


def adapter_path(source: str | Path) -> Path:
    """The file of adapters that is `source`, or lies in it."""
    path = Path(source)
    return path / LORA_WEIGHT_NAME_SAFE if path.is_dir() else path


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
        raise InputError(f"{path} has no adapters of the {name}; it is of other networks")
