"""The captured networks of a pipeline, kept by the sizes they were captured for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

from anydoor_lab.diffusion.captured import Captured, CudaGraph, Graph
from anydoor_lab.diffusion.guidance import GuidedNetworks, Prepared
from anydoor_lab.diffusion.schedule import Schedule

MOST = 4
"""Sizes whose networks are kept; the one that was not used for longest goes."""
PLAIN = (AttnProcessor, AttnProcessor2_0)
"""Attention that does the same at every step."""


class Captures:
    """Captured networks by what they were captured for, lent to one denoising at a time.

    Args:
        graph: makes an empty graph; None: a CUDA graph on a GPU, elsewhere nothing is captured.
    """

    def __init__(self, graph: Callable[[], Graph] | None = None) -> None:
        self.graph = graph
        self.allowed = True
        self._kept: dict[Any, GuidedNetworks] = {}

    def __deepcopy__(self, _: Any) -> Captures:
        """Fresh ones: a recorded graph cannot be copied."""
        return Captures(self.graph)

    def clear(self) -> None:
        """Give their memory back."""
        self._kept.clear()

    @contextmanager
    def networks(
        self, model: Any, schedule: Schedule, prepared: Prepared, num_seeds: int
    ) -> Iterator[GuidedNetworks]:
        """The networks bound to `prepared`; captured where that is possible, else, on a GPU, with
        a warning that says why not. What is lent is nobody else's until it comes back."""
        make = partial(GuidedNetworks, model, schedule, prepared, num_seeds)
        if not self._wanted(model, prepared.tokens.device):
            yield make()
            return
        key = (num_seeds, prepared.resolution, *map(_look, _tensors(prepared)), _state(model))
        lent = self._kept.pop(key, None)
        if lent is None:
            lent = make(capture=self._capture(prepared.tokens.device))
        else:
            lent.bind(prepared)
        try:
            yield lent  # not kept where the denoising fails
        except GeneratorExit:  # it was left before its end
            self._keep(key, lent)
            raise
        self._keep(key, lent)

    def _keep(self, key: Any, networks: GuidedNetworks) -> None:
        self._kept[key] = networks
        while len(self._kept) > MOST:
            self._kept.pop(next(iter(self._kept)), None)

    def _wanted(self, model: Any, device: torch.device) -> bool:
        if not self.allowed or (self.graph is None and device.type != "cuda"):
            return False
        found = obstacle(model)
        if found:
            warnings.warn(f"every step is launched piece by piece: {found}", stacklevel=4)
        return not found

    def _capture(self, device: torch.device) -> Callable[[Callable[..., Any]], Captured]:
        """What captures functions that never run beside each other."""
        graph = self.graph or partial(CudaGraph, torch.cuda.graph_pool_handle())
        return lambda function: Captured(function, graph(), device)


def obstacle(model: Any) -> str:
    """Why the denoising networks of an `AnyDoor` cannot be captured, a half sentence, or nothing.

    What Python does between their layers would not be repeated: hooks, adapters whose strength may
    change, attention of one's own.
    """
    for name, network in {"unet": model.unet, **model.branches}.items():
        parts = list(network.modules())
        if any(hasattr(part, "_hf_hook") for part in parts):
            return f"the {name} is offloaded, so its layers move between the steps"
        if getattr(network, "peft_config", None):
            return f"the {name} has LoRA adapters (fuse_lora() and unload_lora_weights() end that)"
        if any(part._forward_hooks or part._forward_pre_hooks for part in parts):
            return f"the {name} has hooks, which look at its layers"
        kinds = {type(part.processor) for part in parts if hasattr(part, "processor")}
        if own := [kind.__name__ for kind in kinds.difference(PLAIN)]:
            return f"the {name} has attention of another kind ({own[0]})"
    return ""


def _tensors(prepared: Prepared) -> list[torch.Tensor]:
    return [prepared.tokens, *prepared.hints.values()]


def _look(tensor: torch.Tensor) -> tuple[Any, ...]:
    return tuple(tensor.shape), tensor.dtype, tensor.device


def _state(model: Any) -> tuple[Any, ...]:
    """What a recorded graph knows of the networks: which they are, and where their weights are."""
    networks = [model.unet, *model.branches.values()]
    places = hash(tuple(p.data_ptr() for network in networks for p in network.parameters()))
    return places, *map(id, networks)
