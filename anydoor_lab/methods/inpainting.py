"""What methods through diffusers' pipelines share: what is shown, what it takes, pasting back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import diffusers
import numpy as np
import torch
from PIL import Image

from anydoor_lab.conditioning.copy_paste import emptied
from anydoor_lab.conditioning.id_crop import crop_object, make_id_image
from anydoor_lab.conditioning.placement import Blend, Placement, crop_scene, paste, place
from anydoor_lab.models.sources import MissingError, obtain_pipeline, reading
from anydoor_lab.pipeline.results import Result
from anydoor_lab.structures.checks import is_whole
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.pair import Pair

GROW, ZOOM, MARGIN = 1.1, 2.0, 1.2
"""Region over the asked box, crop over region, reference's canvas over its object: as AnyDoor's."""
BLEND: Blend = "box"
"""The region alone is written back: what a pipeline does to the rest of the crop is left out."""
SPARE = 1.3
"""Free memory over weights from which a pipeline stands on a GPU whole."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a method asks for before it can place.

    Args:
        weights: hub repositories; empty for a method without networks.
        memory_gb: of a GPU, about, in GB of 10^9: 16-bit weights and what a picture takes.
        licence: of the weights.
    """

    weights: str = ""
    memory_gb: float = 0
    licence: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """What a pipeline is shown of a pair; nothing of it shows the object that stood in the scene.

    Args:
        pair: with the scene emptied.
        placement: how its crop is pasted back.
        crop: (R, R) RGB, the scene about the region.
        mask: (R, R) grey, white where the object goes.
        reference: (R, R) RGB, the object on white.
    """

    pair: Pair
    placement: Placement
    crop: Image.Image
    mask: Image.Image
    reference: Image.Image

    @staticmethod
    def of(pair: Pair, resolution: int) -> Canvas:
        """The canvas of a pair at R = `resolution`."""
        blank = replace(pair, scene=emptied(pair))
        placement = place(pair.scene_mask, resolution, GROW, ZOOM)
        region = placement.to_crop(placement.region).mask(resolution, resolution)
        shown = reference_picture(pair.reference, pair.reference_mask, resolution)
        crop = Image.fromarray(crop_scene(blank.scene, placement))
        return Canvas(blank, placement, crop, Image.fromarray(region), shown)

    def pasted(self, painted: Image.Image) -> tuple[np.ndarray, np.ndarray]:
        """The scene (H, W, 3) uint8 with a painted crop in its region, edges soft; and the crop."""
        side = self.placement.resolution
        crop = np.asarray(painted.convert("RGB").resize((side, side), Image.Resampling.LANCZOS))
        return paste(crop, self.pair, self.placement, BLEND), crop


def reference_picture(image: np.ndarray, mask: np.ndarray, side: int) -> Image.Image:
    """An object of a photo on white, centred, (side, side)."""
    return Image.fromarray(make_id_image(*crop_object(image, mask, side), side, MARGIN))


@dataclass(eq=False, kw_only=True)
class Inpainting:
    """A method that paints a crop of the scene by one of diffusers' pipelines.

    What all of them do; each of them says in `loaded` what its pipeline is and in `painted` how it
    is asked.

    Args:
        source: the pipeline's folder or hub name, or several that are tried in order.
        resolution: side of the crop the pipeline is shown, pixels.
        num_inference_steps, guidance_scale: of the pipeline.
        prompt: what it is told.
        device: "cpu" or a GPU's name.

    Raises:
        MissingError: the weights, or the pipeline's class in the installed diffusers, are missing.
        ValueError: the resolution is no multiple of 16.
    """

    needs: ClassVar[Needs]
    pipeline_name: ClassVar[str]
    source: str | Path | Sequence[str]
    resolution: int = 512
    num_inference_steps: int = 50
    guidance_scale: float = 7.5
    prompt: str = ""
    device: str = "cpu"

    def __post_init__(self) -> None:
        side = self.resolution
        if not is_whole(side) or side < 16 or side % 16:
            seen = f"method.resolution is {side}"
            raise InputError(f"{seen}; expected a multiple of 16, which diffusers' pipelines take")
        self.pipeline_class = pipeline_class(self.pipeline_name)
        self.folder = obtain_pipeline(self.source, "method.source")
        self._pipeline: Any = None

    @property
    def pipeline(self) -> Any:
        """The pipeline, read when it is first asked for."""
        if self._pipeline is None:
            with reading(self.folder):
                self._pipeline = brought(self.loaded(), self.device)
        return self._pipeline

    def loaded(self) -> Any:
        """The pipeline from its folder, on the CPU."""
        return read_pipeline(self.pipeline_class, self.folder, self.device)

    def painted(self, canvas: Canvas, generator: torch.Generator) -> Image.Image:
        """The crop as the pipeline paints it."""
        return self.picture(
            prompt=self.prompt,
            image=canvas.crop,
            mask_image=canvas.mask,
            generator=generator,
        )

    @property
    def size(self) -> dict[str, int]:
        """Of what is painted."""
        return {"height": self.resolution, "width": self.resolution}

    def picture(self, **asked: Any) -> Image.Image:
        """The first picture of one call of the pipeline."""
        asked = {
            "num_inference_steps": self.num_inference_steps,
            "guidance_scale": self.guidance_scale,
            **self.size,
        } | asked
        made: Image.Image = self.pipeline(**asked).images[0]
        return made

    def __call__(
        self,
        pairs: Sequence[Pair],
        seeds: Sequence[Sequence[int]],
        rngs: Sequence[np.random.Generator],
    ) -> list[Result]:
        """As `methods.anydoor.Method`; noise is drawn on the CPU, whatever the device."""
        del rngs
        results = []
        for pair, several in zip(pairs, seeds, strict=True):
            canvas = Canvas.of(pair, self.resolution)
            for seed in several:
                generator = torch.Generator("cpu").manual_seed(seed)
                scene, crop = canvas.pasted(self.painted(canvas, generator))
                place = canvas.placement
                results.append(Result(pair, scene, crop=crop, placement=place, blend=BLEND))
        return results


def pipeline_class(name: str) -> Any:
    """Diffusers' pipeline of this name.

    Raises:
        MissingError: the installed version has none.
    """
    if not hasattr(diffusers, name):
        seen = f"diffusers {diffusers.__version__} has no {name}"
        raise MissingError(f"{seen}; install a newer one: pip install -U diffusers")
    return getattr(diffusers, name)


def read_pipeline(kind: Any, folder: Path, device: str, **parts: Any) -> Any:
    """A pipeline of a folder: 32 bits on a CPU, bf16 on a GPU; `parts` replace its own."""
    precision = torch.float32 if device == "cpu" else torch.bfloat16
    if "safety_checker" in kind._get_signature_keys(kind)[0]:
        parts["safety_checker"] = None
    made = kind.from_pretrained(folder, torch_dtype=precision, **parts)
    made.set_progress_bar_config(disable=True)
    return made


def brought(pipeline: Any, device: str) -> Any:
    """The pipeline on a device; on a GPU that has no room for all of it one network at a time."""
    if device == "cpu":
        return pipeline.to(device)
    networks = [p for p in pipeline.components.values() if isinstance(p, torch.nn.Module)]
    weights = sum(p.numel() * p.element_size() for n in networks for p in n.parameters())
    if weights * SPARE > torch.cuda.mem_get_info(device)[0]:
        pipeline.enable_model_cpu_offload(device=device)
        return pipeline
    return pipeline.to(device)
