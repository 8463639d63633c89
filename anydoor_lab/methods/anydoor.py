"""AnyDoor as a method among others, and what a method is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, get_args

import numpy as np

from anydoor_lab.conditioning.conditioner import Conditioning, Shape
from anydoor_lab.conditioning.official import paste_decoded
from anydoor_lab.diffusion.guidance import Prepared
from anydoor_lab.diffusion.presets import named_preset
from anydoor_lab.diffusion.sampler import last
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.pipeline.proposals import shown_by_seed
from anydoor_lab.pipeline.results import Result
from anydoor_lab.structures.checks import check_choice
from anydoor_lab.structures.images import as_picture
from anydoor_lab.structures.pair import Pair


class Method(Protocol):
    """Anything that puts the pairs' objects into their scenes.

    A new one is a class and one file in conf/method/. Where its signature has `pipeline`, it is
    called with the trained pipeline; its other arguments are the keys of its file. One that is
    tuned to a subject before it places it says `by_subject = True`: it is then scored subject by
    subject.
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
            rngs: for each pair where to draw what belongs to the pair and to none of its seeds; a
                result must follow from its own seed, whichever others are asked for with it.
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
        """As `Method`; the picture of a seed is the pipeline's own of that seed."""
        shown, own = shown_by_seed(self.pipeline.conditioner(), pairs, seeds, self.shape)
        prepared = self.prepared(shown, pairs, rngs)
        steps = self.pipeline.denoise(prepared, own, preset=self.preset)
        decoded = self.pipeline.model.decoded(last(steps).x)
        way = self.pipeline.config.preprocessing
        asked = [pair for pair in pairs for _ in seeds[0]]
        shown = [one for one, several in zip(shown, own, strict=True) for _ in several]
        many = list(zip(asked, shown, strict=True))
        return [
            Result(pair, paste_decoded(x, pair, one.placement, "crop", way), one, as_picture(x))
            for (pair, one), x in zip(many, decoded, strict=True)
        ]

    def prepared(
        self,
        shown: Sequence[Conditioning],
        pairs: Sequence[Pair],
        rngs: Sequence[np.random.Generator],
    ) -> Prepared:
        """What the steps need of what is shown: B pairs, or B * K where each seed has its own."""
        del pairs, rngs
        return self.pipeline.prepare(shown)
