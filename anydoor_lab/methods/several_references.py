"""AnyDoor shown several photos of the object: an experiment, not in the paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from anydoor_lab.conditioning.conditioner import Conditioning
from anydoor_lab.diffusion.guidance import Prepared
from anydoor_lab.methods.anydoor import AnyDoorMethod
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.pair import Pair

View = Callable[[Pair, np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""One more photo of a pair's object, (H, W, 3) uint8 RGB, and its (H, W) bool mask."""


class SeveralReferences(AnyDoorMethod):
    """The ID tokens of further photos stand behind those of the pair's own reference, so that
    cross-attention chooses among them; the collage is of the own reference alone.

    Args:
        pipeline: trained networks.
        view: draws a further photo.
        number: how many photos in all, the pair's own among them; of 1 it is `AnyDoorMethod`.

    Raises:
        ValueError: `number` is less than 1.
    """

    def __init__(self, pipeline: AnyDoorPipeline, view: View, number: int) -> None:
        super().__init__(pipeline)
        if number < 1:
            raise InputError(f"number is {number}; expected how many photos, from 1")
        self.view, self.number = view, number

    def prepared(
        self,
        shown: Sequence[Conditioning],
        pairs: Sequence[Pair],
        rngs: Sequence[np.random.Generator],
    ) -> Prepared:
        """As of `AnyDoorMethod`, with (B, number * N, D) tokens."""
        own = super().prepared(shown, pairs, rngs)
        tokens = [own.tokens]
        for _ in range(self.number - 1):
            views = [self.view(pair, rng) for pair, rng in zip(pairs, rngs, strict=True)]
            others = [
                replace(pair, reference=image, reference_mask=mask, variation="multiview")
                for pair, (image, mask) in zip(pairs, views, strict=True)
            ]
            conditioner = self.pipeline.conditioner()
            seen = [
                conditioner.condition(pair, rng, self.shape)
                for pair, rng in zip(others, rngs, strict=True)
            ]
            found = self.pipeline.prepare(seen).tokens
            tokens.append(found.repeat_interleave(len(own.tokens) // len(found), dim=0))
        unconditional = own.unconditional.repeat(1, self.number, 1)
        return replace(own, tokens=torch.cat(tokens, dim=1), unconditional=unconditional)
