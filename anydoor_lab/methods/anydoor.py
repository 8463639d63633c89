"""AnyDoor as a method among others, and what a method is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, get_args

import numpy as np

from anydoor_lab.conditioning.conditioner import Shape
from anydoor_lab.conditioning.official import paste_decoded
from anydoor_lab.diffusion.presets import named_preset
from anydoor_lab.diffusion.sampler import last
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.pipeline.results import Result
from anydoor_lab.structures.checks import check_choice
from anydoor_lab.structures.images import as_picture
from anydoor_lab.structures.pair import Pair


class Method(Protocol):
    """Anything that puts the pairs' objects into their scenes.

    A new one is a class and one file in conf/method/. Where its signature has `pipeline`, it is
    called with the trained pipeline; its other arguments are the keys of its file.
    """

    def __call__(
        self,
        pairs: Sequence[Pair],
        seeds: Sequence[Sequence[int]],
        rngs: Sequence[np.random.Generator],
    ) -> list[Result]:
        """For each pair a result for each of its seeds, pair by pair.

        Args:
            pairs: B pairs; the object in a pair's scene must not be looked at.
            seeds: for each of them the same number of seeds.
            rngs: for each pair where to draw what its seeds share (a collage's noise).
        """


class AnyDoorMethod:
    """The paper's method: the whole generated crop is written back.

    Args:
        pipeline: trained networks.
        shape: whether the networks are told the region's box or its outline.
        preset: `exact`, or an approximate one.
    """

    def __init__(
        self, pipeline: AnyDoorPipeline, shape: Shape = "box", preset: str = "exact"
    ) -> None:
        check_choice("method.shape", shape, get_args(Shape))
        named_preset(preset)
        self.pipeline, self.shape, self.preset = pipeline, shape, preset

    def __call__(
        self,
        pairs: Sequence[Pair],
        seeds: Sequence[Sequence[int]],
        rngs: Sequence[np.random.Generator],
    ) -> list[Result]:
        """As `Method`."""
        conditioner = self.pipeline.conditioner()
        shown = [
            conditioner.condition(pair, rng, self.shape)
            for pair, rng in zip(pairs, rngs, strict=True)
        ]
        steps = self.pipeline.denoise(self.pipeline.prepare(shown), seeds, preset=self.preset)
        decoded = self.pipeline.model.decoded(last(steps).x)
        way = self.pipeline.config.preprocessing
        many = [one for one in zip(pairs, shown, strict=True) for _ in seeds[0]]
        return [
            Result(pair, paste_decoded(x, pair, one.placement, "crop", way), one, as_picture(x))
            for (pair, one), x in zip(many, decoded, strict=True)
        ]
