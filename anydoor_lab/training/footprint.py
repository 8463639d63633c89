"""The memory a training needs; activations are counted on meta tensors."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from anydoor_lab.models.anydoor import AnyDoor
from anydoor_lab.models.lora import ADAPTED


class _Attention(torch.autograd.Function):
    """What fused attention keeps: its inputs, its output, and one number per query and head."""

    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any) -> Any:
        output = query.new_empty((*query.shape[:-1], value.shape[-1]))
        sums = query.new_empty(query.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, output, sums)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:  # pragma: no cover - only counted
        raise NotImplementedError


class _FusedAttention(TorchFunctionMode):
    """In place of attention's plain form, which meta tensors take and a GPU does not."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is functional.scaled_dot_product_attention:
            tensors = dict(zip(("query", "key", "value"), args, strict=False)) | (kwargs or {})
            return _Attention.apply(tensors["query"], tensors["key"], tensors["value"])
        return function(*args, **(kwargs or {}))


def saved_bytes(model: AnyDoor, resolution: int, num_tokens: int, batch: int = 1) -> int:
    """Bytes of activations that a step of `model` at `batch` keeps, weights not counted.

    Args:
        model: frozen as it will be trained, on meta tensors, in the precision of training.
        resolution: R, pixels.
        num_tokens: N of the ID tokens.
    """
    kept: dict[int, torch.UntypedStorage] = {}
    weights = {p.untyped_storage()._cdata for p in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage
        return tensor

    projector = model.id_extractor.projector
    place: dict[str, Any] = {"device": "meta", "dtype": model.unet.dtype}
    pictures = torch.empty(batch, 3, resolution, resolution, **place)
    features = torch.empty(batch, num_tokens, projector.in_features, **place)
    with _FusedAttention(), torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept):
        t = torch.zeros(batch, dtype=torch.long, device="meta")
        tokens = projector(features)
        sizes = {name: (batch, n, resolution, resolution) for name, n in model.inputs.items()}
        hints = model.hints({name: torch.empty(size, **place) for name, size in sizes.items()})
        latents = torch.empty(batch, *model.latent_shape(pictures), **place)
        output = model(latents, t, tokens, model.details(hints, t, tokens))
        (output.float() ** 2).mean()
    return sum(storage.nbytes() for storage in kept.values())


NUM_TOKENS = 257
"""ID tokens of the paper; the number changes the estimate little."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes that training needs on one device.

    Args:
        weights: of all networks.
        state: gradients, the optimizer's state and averaged weights of what is trained.
        per_image: activations, for each image of a micro-batch.
    """

    weights: int
    state: int
    per_image: int

    def total(self, images: int) -> int:
        """Of a step with `images` images at once."""
        return self.weights + self.state + images * self.per_image

    def plan(self, batch: int, micro_batches: int, free: int, device: str) -> str:
        """One line: what it needs, whether it fits, and what to do otherwise.

        Args:
            batch: images of a step in this process.
            micro_batches: parts the batch is computed in.
            free: bytes of the device that are free or taken by the weights already.
            device: its name.
        """
        images = batch // micro_batches
        need = self.total(images)
        line = (
            f"memory   weights {self.weights / 1e9:.2f} GB, gradients, optimizer and average "
            f"{self.state / 1e9:.2f} GB, activations about {self.per_image / 1e9:.2f} GB per image "
            f"at batch {images}: {need / 1e9:.2f} GB"
        )
        there = f"{device} ({free / 1e9:.1f} GB free)"
        if need <= free:
            return f"{line}; fits {there}"
        fitting = (
            n for n in range(1, batch + 1) if not batch % n and self.total(batch // n) <= free
        )
        number = next(fitting, None)
        settings = "train.frozen_precision=bf16 train.optimizer=adamw8bit train.recompute=true"
        return f"{line}; does not fit {there}; use " + (
            f"train.micro_batches={number}" if number else settings
        )


def measure_footprint(model: AnyDoor, resolution: int, sixteen_bit: bool, state: int) -> Footprint:
    """What training `model`, frozen as it will be, needs.

    Args:
        resolution: R, pixels.
        sixteen_bit: whether activations are of 16 bits (mixed precision) or of 32.
        state: bytes for each trained parameter beside itself.
    """
    weights = sum(p.nbytes for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    counted = _meta_copy(model).to(torch.bfloat16 if sixteen_bit else torch.float32)
    return Footprint(weights, trained * state, saved_bytes(counted, resolution, NUM_TOKENS))


def _meta_copy(model: AnyDoor) -> AnyDoor:
    """The same networks without memory, the encoder left out, trained in the same parts."""
    encoder: Any = nn.Module()
    with torch.device("meta"):
        encoder.projector = copy.deepcopy(model.id_extractor.projector).to("meta")
        whole = AnyDoor(
            type(model.unet).from_config(model.unet.config),
            type(model.vae).from_config(model.vae.config),
            {n: type(branch).from_config(branch.config) for n, branch in model.branches.items()},
            encoder,
        )
    for name in ADAPTED:
        for config in getattr(getattr(model, name), "peft_config", {}).values():
            getattr(whole, name).add_adapter(config)
    wanted = {name for name, p in model.named_parameters() if p.requires_grad}
    for name, parameter in whole.named_parameters():
        parameter.requires_grad_(name in wanted)
    return whole
