"""Figure 3: what the ID extractor looks at, and what the detail extractor is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from anydoor_lab.analysis.attention import attention_layers, class_attention
from anydoor_lab.analysis.details import DetailEnergy, detail_energy
from anydoor_lab.conditioning.conditioner import Conditioning
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.report.caption import Caption
from anydoor_lab.report.figures import timestep_curves
from anydoor_lab.report.maps import heat_over
from anydoor_lab.report.sheets import grid
from anydoor_lab.structures.images import as_picture, resized

WHITE = 0.999
"""An id_image is this bright where there is no object."""


def focus_maps(pipeline: AnyDoorPipeline, shown: Sequence[Conditioning]) -> np.ndarray:
    """The class token's attention over each id_image, the mean of the heads, (B, h, w)."""
    images = np.stack([one.id_image for one in shown])
    maps = class_attention(attention_layers(pipeline.id_extractor, images))
    mean: np.ndarray = maps.mean(axis=1)
    return mean


def focus_row(one: Conditioning, attention: np.ndarray) -> dict[str, float]:
    """How much of the attention is on the object, %, beside how much of the picture it covers.

    Args:
        one: of one pair.
        attention: (h, w) of its id_image.
    """
    height, width = attention.shape
    object_at = (one.id_image.min(axis=0) < WHITE).astype(np.float32)
    shares = resized((255 * object_at).astype(np.uint8), height, width) / 255
    on_object = float((attention * shares).sum() / attention.sum())
    return {"attention on object": 100 * on_object, "object's area": 100 * float(shares.mean())}


def focus_figure(
    shown: Sequence[Conditioning], maps: np.ndarray, caption: Caption, side_px: int = 160
) -> Figure:
    """A row for each pair: object, attention of the ID extractor, HF map with its surroundings."""
    rows = []
    for one, heat in zip(shown, maps, strict=True):
        picture = as_picture(one.id_image, 0)
        rows.append([picture, heat_over(picture, heat, side_px=side_px), as_picture(one.collage)])
    return grid(rows, ["object", "Attention", "HF-Map"], title=str(caption), side_px=side_px)


def detail_curves(
    pipeline: AnyDoorPipeline, shown: Sequence[Conditioning], caption: Caption
) -> tuple[Figure, list[dict[str, Any]]]:
    """The strength of the detail maps over the timesteps, inside and outside of the region, one
    panel for each resolution, and the numbers."""
    steps = np.linspace(980, 20, 13).round().astype(int)
    found = [
        detail_energy(pipeline, pipeline.prepare([one]), one.shape_mask[0] > 0, steps.tolist())
        for one in shown
    ]
    first = found[0]
    panels, rows = {}, []
    for column, side in enumerate(first.sides):
        lines = {where: _mean(found, where, column) for where in ("inside", "outside")}
        panels[f"{side} x {side}"] = lines
        for where, values in lines.items():
            rows += [
                {"variant": f"details {side}x{side} {where} t={t}", "value": float(value)}
                for t, value in zip(first.t, values, strict=True)
            ]
    return timestep_curves(first.t, panels, caption, "detail maps, root mean square"), rows


def _mean(found: Sequence[DetailEnergy], where: str, column: int) -> np.ndarray:
    mean: np.ndarray = np.nanmean([getattr(one, where)[:, column] for one in found], axis=0)
    return mean
