"""Keys and values of the ID tokens: the same at every denoising step, so computed once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import nn


class TokenProjections:
    """Inside `with`, cross-attention computes the keys and values of `tokens` only once.

    They are kept here and go with this object; the networks are left as they were found. Attention
    to any other tensor, and all of it where gradients are recorded, is computed as ever.

    Args:
        networks: whose cross-attention it is.
        tokens: (B, N, D), and no copy of it, is what the networks must be given.
    """

    def __init__(self, networks: Sequence[nn.Module], tokens: torch.Tensor) -> None:
        self.networks, self.tokens = networks, tokens
        self.kept: dict[tuple[int, str], torch.Tensor] = {}

    @cached_property
    def _layers(self) -> list[Any]:
        named = (pair for network in self.networks for pair in network.named_modules())
        return [layer for name, layer in named if name.endswith("attn2")]

    def __enter__(self) -> TokenProjections:
        for layer in self._layers:
            layer.set_processor(_Knowing(_own(layer.processor), self))
        return self

    def renew(self, tokens: torch.Tensor) -> None:
        """Take the values of other `tokens`, and compute again what is kept of them: all in the
        memory of the former ones."""
        self.tokens.copy_(tokens)
        layers = {id(layer): layer for layer in self._layers}
        for (number, name), kept in self.kept.items():
            kept.copy_(getattr(layers[number], name)(self.tokens))

    def __exit__(self, *_: object) -> None:
        for layer in self._layers:
            layer.set_processor(_own(layer.processor))


class _Knowing:
    """A layer's own processor, which finds the keys and values it asks for computed."""

    def __init__(self, own: Any, known: TokenProjections) -> None:
        self.own, self.known = own, known

    def __call__(
        self, layer: Any, hidden: torch.Tensor, encoder_hidden_states: Any = None, **named: Any
    ) -> torch.Tensor:
        if encoder_hidden_states is self.known.tokens and not torch.is_grad_enabled():
            layer = _Layer(layer, self.known.kept)
        return self.own(layer, hidden, encoder_hidden_states=encoder_hidden_states, **named)


class _Layer:
    """An attention layer as its processor sees it, with keys and values computed once."""

    def __init__(self, layer: Any, kept: dict[tuple[int, str], torch.Tensor]) -> None:
        self._layer, self._kept = layer, kept

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)

    def to_k(self, tokens: torch.Tensor) -> torch.Tensor:
        return self._once("to_k", tokens)

    def to_v(self, tokens: torch.Tensor) -> torch.Tensor:
        return self._once("to_v", tokens)

    def _once(self, name: str, tokens: torch.Tensor) -> torch.Tensor:
        key = (id(self._layer), name)
        if key not in self._kept:
            self._kept[key] = getattr(self._layer, name)(tokens)
        return self._kept[key]


def _own(processor: Any) -> Any:
    """What the layer had before; two threads may be inside, so that one finds the other's."""
    return processor.own if isinstance(processor, _Knowing) else processor
