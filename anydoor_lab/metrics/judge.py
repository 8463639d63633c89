"""What a judge is: pixels prepared for a frozen network, and the embedding it answers with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from anydoor_lab.models.sources import reading
from anydoor_lab.structures.checks import check_image
from anydoor_lab.structures.errors import InputError, RunError


class Judge(Protocol):
    """Anything that embeds pictures."""

    def __call__(self, images: Tensor) -> Tensor:
        """(B, D) embeddings of (B, 3, S, S) prepared images."""


@dataclass(frozen=True, slots=True)
class Preprocess:
    """The shorter side to `resize_px` (bicubic, antialiased), the centre `size_px`, normalised."""

    resize_px: int
    size_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if not 0 < self.size_px <= self.resize_px:
            seen = f"size_px is {self.size_px}, resize_px is {self.resize_px}"
            raise InputError(f"{seen}; expected 0 < size_px <= resize_px")

    def __call__(self, image: np.ndarray) -> Tensor:
        """(3, size_px, size_px) float32 from one (H, W, 3) uint8 RGB picture of any size.

        Raises:
            TypeError: `image` is no (H, W, 3) uint8.
        """
        check_image("image", image)
        height, width = image.shape[:2]
        shorter = min(height, width)
        new_h, new_w = (int(self.resize_px * side / shorter) for side in (height, width))
        picture = Image.fromarray(image).resize((new_w, new_h), Image.Resampling.BICUBIC)
        top, left = (new_h - self.size_px) // 2, (new_w - self.size_px) // 2
        centre = picture.crop((left, top, left + self.size_px, top + self.size_px))
        pixels = np.asarray(centre, np.float32) / 255.0
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        normalised = (pixels - mean) / std
        return torch.from_numpy(normalised).permute(2, 0, 1).contiguous()

    def batch(self, images: Sequence[np.ndarray]) -> Tensor:
        """(B, 3, size_px, size_px) float32 from B pictures of any sizes."""
        return torch.stack([self(image) for image in images])


def load_frozen(kind: Any, source: str, **options: Any) -> Any:
    """A transformers model of class `kind` from a folder or hub name: fp32, frozen, complete.

    Raises:
        RuntimeError: the checkpoint lacks weights, which transformers would fill with noise.
    """
    # transformers >= 5 keeps the checkpoint's precision unless told otherwise
    with reading(f"the judge {source}"):
        model, report = kind.from_pretrained(
            source, dtype=torch.float32, output_loading_info=True, **options
        )
    absent = sorted(report["missing_keys"])
    if absent:
        seen = f"{source} lacks {len(absent)} weights of {kind.__name__} (first: {absent[0]})"
        raise RunError(f"{seen}; scores from random weights mean nothing, use another folder")
    return model.eval().requires_grad_(False)
