"""How many bytes a training step keeps for its backward pass, counted on meta tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from anydoor_lab.models.anydoor import AnyDoor


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
        hint = model.hint_features(pictures, pictures[:, :1])
        latents = torch.empty(batch, *model.latent_shape(pictures), **place)
        output = model(latents, t, tokens, model.details(hint, t, tokens))
        (output.float() ** 2).mean()
    return sum(storage.nbytes() for storage in kept.values())
