"""What exactly a score compares: the setting that is printed beside every number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.checks import check_image
from anydoor_lab.structures.errors import InputError

Crop = Literal["box", "box+mask"]
References = Literal["single", "all"]

CLIP_B32 = "openai/clip-vit-base-patch32"
DINO_S16 = "facebook/dino-vits16"


@dataclass(frozen=True, slots=True)
class ScoreProtocol:
    """How "the generated region" is compared with "the target object".

    The paper (Sec. 4.1) follows DreamBooth but states neither the crop, nor the use of a mask,
    nor the CLIP variant, so scores compare only between equal protocols.

    Args:
        crop: `box` cuts the box out; `box+mask` also sets what is outside the mask to black
            (box crop times mask), in the result and in the reference alike.
        reference: `single` compares a result with the photo it was made from; `all` with every
            photo of the object that its pair knows (mean over them, as DreamBooth does). A metric
            is given several under `all` and must be made for it, as `SimilarityScore` is with this
            protocol.
        clip: name of the CLIP judge.
        dino: name of the DINO judge.

    Raises:
        ValueError: an unknown `crop` or `reference`.
    """

    crop: Crop = "box"
    reference: References = "single"
    clip: str = CLIP_B32
    dino: str = DINO_S16

    def __post_init__(self) -> None:
        for name, value, known in (
            ("crop", self.crop, get_args(Crop)),
            ("reference", self.reference, get_args(References)),
        ):
            if value not in known:
                raise InputError(f"{name} is {value!r}; expected one of {', '.join(known)}")

    def __str__(self) -> str:
        clip, dino = (name.rstrip("/").rsplit("/", 1)[-1] for name in (self.clip, self.dino))
        return f"crop={self.crop}, reference={self.reference}, clip={clip}, dino={dino}"

    def region(self, image: np.ndarray, box: Box, mask: np.ndarray | None = None) -> np.ndarray:
        """The part of `image` (H, W, 3) uint8 that is judged, (h, w, 3) uint8.

        The judges shrink the shorter side and cut the centre out, so the ends of a long region
        are not seen; give `box.squared(...)` where they matter.

        Args:
            image: a result or a reference.
            box: where the object is; what lies outside the picture is left out.
            mask: (H, W) bool, needed by `crop="box+mask"` only.

        Raises:
            TypeError: `image` is no (H, W, 3) uint8.
            ValueError: the box is outside the picture, or the mask is missing or of another size.
        """
        check_image("image", image)
        inside = box.clipped(*image.shape[:2]).slices
        if self.crop == "box":
            return image[inside]
        if mask is None:
            raise InputError("crop is 'box+mask' but no mask was given; give the object's mask")
        if mask.shape != image.shape[:2]:
            seen = f"mask is {mask.shape}, image {image.shape[:2]} (height, width)"
            raise InputError(f"{seen}; expected the same size, resize the mask first")
        return np.where(mask[..., None], image, np.uint8(0))[inside]
