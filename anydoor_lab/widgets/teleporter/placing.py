"""One press as a generator: each step on the way, then what was placed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from anydoor_lab.conditioning.conditioner import Conditioning
from anydoor_lab.conditioning.edit import planned_edit
from anydoor_lab.conditioning.official import paste_decoded
from anydoor_lab.diffusion.guidance import Prepared
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.pipeline.proposals import Seeds, shown_by_seed
from anydoor_lab.structures.originals import Original
from anydoor_lab.structures.pair import Pair
from anydoor_lab.widgets.teleporter.placed import Placed
from anydoor_lab.widgets.teleporter.variants import Variants

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the sampler.

    Args:
        number: from 1.
        t: the timestep.
        previews: decodes what is to be seen so far, (R, R, 3) uint8 each.
    """

    number: int
    t: int
    previews: Callable[[], list[np.ndarray]]


class Placing:
    """Presses of a pipeline with each of its ID extractors; the encoding of the last is kept."""

    def __init__(self, pipeline: AnyDoorPipeline) -> None:
        self._variants = Variants(pipeline)
        self.names = self._variants.names
        self._prepared: tuple[Any, Prepared] | None = None

    def press(
        self, pair: Pair, original: Original, settings: dict[str, Any]
    ) -> Iterator[Step | Placed]:
        """Yield each step, then what was placed."""
        pipeline = self._variants.pipeline(settings["idx"])
        shown, prepared, seeds = self._prepare(pipeline, pair, settings)
        denoised = None
        steps, guidance = settings["steps"], settings["guidance"]
        for denoised in pipeline.denoise(prepared, seeds, steps, guidance):
            previews = partial(_decoded, pipeline, denoised.x0)
            yield Step(denoised.step + 1, denoised.t, previews)
        if denoised is None:
            return
        how = (pair, shown.placement, settings["blend"], pipeline.config.preprocessing)
        scenes = [paste_decoded(picture, *how) for picture in pipeline.model.decoded(denoised.x)]
        crop = shown.placement.crop
        pieces = tuple(scene[crop.slices].copy() for scene in scenes)
        edit = planned_edit(
            pair.scene_mask, shown.placement, settings["blend"], pair.reference_mask
        )
        weights = str(pipeline.name_or_path)
        yield Placed(pair, original, settings, weights, crop, pieces, edit.warnings)

    def _prepare(
        self, pipeline: AnyDoorPipeline, pair: Pair, settings: dict[str, Any]
    ) -> tuple[Conditioning, Prepared, Seeds]:
        """What is shown and the seeds of each; the costly encoding of it is kept for other seeds,
        steps, guidance and proposals."""
        seeds = [[settings["seed"] + k for k in range(settings["proposals"])]]
        conditioner = pipeline.conditioner(settings["collage"])
        shown, own = shown_by_seed(conditioner, [pair], seeds, settings["shape"])
        arrays = [array for one in shown for array in one.inputs.values()]
        key = (settings["idx"], *(hash(array.tobytes()) for array in arrays))
        if self._prepared is None or self._prepared[0] != key:
            self._prepared = (key, pipeline.prepare(shown))
        return shown[0], self._prepared[1], own


def _decoded(pipeline: AnyDoorPipeline, x: torch.Tensor) -> list[np.ndarray]:
    return list(pipeline.decode(x))
