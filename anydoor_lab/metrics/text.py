"""Whether writing on the object can still be read, by optical character recognition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np
import torch
from torchmetrics.functional.text import edit_distance

from anydoor_lab.metrics.mean_score import MeanScore
from anydoor_lab.structures.checks import check_image
from anydoor_lab.structures.errors import NotRunError

PACKAGE = "rapidocr_onnxruntime"
"""The Python package whose wheel carries the recogniser and its models (Apache-2.0)."""
LEAST_PX = 192
"""Smaller regions are enlarged to this side: the recogniser was made for larger letters."""


class TextScore(MeanScore):
    """100 x (1 - edit distance / length of the longer text), the mean over pictures with text.

    Both texts are what the recogniser reads, in the reference and in the result, letters and
    digits alone: what it misreads alike in both costs nothing. Where it reads nothing in the
    reference, the picture has no score.
    """

    higher_is_better = True
    bounds = (0.0, 100.0)

    def __init__(self) -> None:
        super().__init__()
        if find_spec(PACKAGE) is None:
            wanted = "pip install 'anydoor-lab[ocr]'"
            raise NotRunError(f"{PACKAGE} is not installed; {wanted}, it reads the text")
        self._engine: Any = None

    def scores(
        self,
        generated: Sequence[np.ndarray],
        references: Sequence[np.ndarray] | Sequence[Sequence[np.ndarray]],
    ) -> torch.Tensor:
        """(B,) float64 of B regions (h, w, 3) uint8; of several references the first is read."""
        first = [one if isinstance(one, np.ndarray) else one[0] for one in references]
        values = [self._of_one(*shown) for shown in zip(generated, first, strict=True)]
        return torch.tensor(values, dtype=torch.float64)

    def _of_one(self, region: np.ndarray, reference: np.ndarray) -> float:
        expected = self.read(reference)
        return likeness(self.read(region), expected) if expected else math.nan

    def read(self, region: np.ndarray) -> str:
        """The letters and digits in a region (h, w, 3) uint8 RGB, in capitals, line by line."""
        check_image("region", region)
        if self._engine is None:
            from rapidocr_onnxruntime import RapidOCR  # its models are read here, a second

            self._engine = RapidOCR()
        scale = max(1.0, LEAST_PX / min(region.shape[:2]))
        large = cv2.resize(region, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        lines, _ = self._engine(large[..., ::-1])  # it takes BGR
        return "".join(
            sign for _, text, _ in lines or () for sign in text.upper() if sign.isalnum()
        )


def likeness(read: str, expected: str) -> float:
    """100 where the two texts are equal, 0 where no letter is right."""
    distance = float(edit_distance(read, expected, reduction="none"))
    return 100 * (1 - distance / max(len(read), len(expected)))
