"""What the ID extractor's features tell apart, without any generator (Sec. 3.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch.nn import functional

from anydoor_lab.conditioning.id_crop import crop_object, make_id_image
from anydoor_lab.data.source import PairSource
from anydoor_lab.metrics.interval import Interval, wilson_interval
from anydoor_lab.models.idx.tokens import IdExtractor
from anydoor_lab.structures.checks import UnusablePair, check_choice
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.pair import Pair
from anydoor_lab.structures.rng import rng_for

Compared = Literal["global", "pooled", "tokens"]
"""How two objects are compared: by the global token (G), by it and the mean patch token, or by all
tokens, each with its best match in the other object (G+P)."""
BATCH = 64


def moving_pairs(source: PairSource, number: int, seed: int = 0) -> list[Pair]:
    """`number` pairs of different entries whose two photos are two frames of the object.

    Raises:
        ValueError: the source has too few entries with a second frame.
    """
    found: list[Pair] = []
    for index in range(len(source)):
        if len(found) == number:
            return found
        try:
            pair = source.pair(index, rng_for(seed, index, "frames"))
        except UnusablePair:
            continue
        if pair.variation != "still":
            found.append(pair)
    if len(found) < number:
        raise InputError(f"{len(found)} entries have a second frame; expected {number}, ask fewer")
    return found


def frames(
    pairs: Sequence[Pair], size: int, margin: float = 1.2, remove_background: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """The id_images of both frames of each pair, (N, 3, S, S) float32 in [0, 1] each.

    Args:
        pairs: from `moving_pairs`.
        size, margin, remove_background: as `Conditioner`'s `id_size`, `id_margin` and "Seg".
    """
    views = (
        [(p.reference, p.reference_mask) for p in pairs],
        [(p.scene, p.scene_mask) for p in pairs],
    )
    first, second = (
        np.stack([_id_image(*view, size, margin, remove_background) for view in side])
        for side in views
    )
    return first, second


@torch.no_grad()
def features(extractor: IdExtractor, id_images: np.ndarray) -> np.ndarray:
    """The frozen features (N, T, E) of `id_images` (N, 3, S, S), each token of length 1."""
    weight = extractor.projector.weight
    images = torch.from_numpy(id_images).to(device=weight.device, dtype=weight.dtype)
    tokens = torch.cat([extractor.features(part) for part in images.split(BATCH)])
    return functional.normalize(tokens.float(), dim=2).cpu().numpy()


def similarity(queries: np.ndarray, gallery: np.ndarray, compared: Compared) -> np.ndarray:
    """(N, M) similarities in [-1, 1] of (N, T, E) and (M, T, E) from `features`.

    The global token comes first; without patch tokens the three ways are the same.

    Raises:
        ValueError: `compared` is none of the three ways.
    """
    check_choice("compared", compared, get_args(Compared))
    first, second = torch.from_numpy(queries), torch.from_numpy(gallery)
    if compared == "tokens":
        return np.concatenate(list(_best_matches(first, second)))
    alike = first[:, 0] @ second[:, 0].T
    if compared == "pooled" and first.shape[1] > 1:
        means = [functional.normalize(side[:, 1:].mean(dim=1), dim=1) for side in (first, second)]
        alike = (alike + means[0] @ means[1].T) / 2
    return alike.numpy()


def found(similarities: np.ndarray) -> np.ndarray:
    """(N,) bool, whether each query (row) is most similar to its own column.

    Args:
        similarities: (N, N); query i and column i are two frames of one object.
    """
    right: np.ndarray = similarities.argmax(axis=1) == np.arange(len(similarities))
    return right


def retrieval(similarities: np.ndarray) -> Interval:
    """Percentage of queries most similar to their own column, with its 95 % interval (Wilson's).

    Args:
        similarities: (N, N), as for `found`.
    """
    return wilson_interval(found(similarities), 100.0)


def token_components(tokens: np.ndarray, components: int = 3) -> np.ndarray:
    """The patch tokens' first principal components, (N, h, w, components) in [0, 1].

    One basis for all N pictures, so that equal colours mean equal features.

    Args:
        tokens: (N, T, E) from `features`, the global token first.
        components: how many; three can be shown as RGB.
    """
    patches = tokens[:, 1:]
    side = round(patches.shape[1] ** 0.5)
    flat = patches.reshape(-1, patches.shape[2])
    centred = flat - flat.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    projected = centred @ axes[:components].T
    low, high = np.quantile(projected, [0.01, 0.99], axis=0)
    scaled = np.clip((projected - low) / np.maximum(high - low, 1e-9), 0, 1)
    return scaled.reshape(len(tokens), side, side, components)


def _id_image(
    image: np.ndarray, mask: np.ndarray, size: int, margin: float, remove_background: bool
) -> np.ndarray:
    crop, inside = crop_object(image, mask, size)
    shown = inside if remove_background else np.ones_like(inside)
    square = make_id_image(crop, shown, size, margin)
    return np.ascontiguousarray(square.transpose(2, 0, 1)).astype(np.float32) / 255


def _best_matches(queries: torch.Tensor, gallery: torch.Tensor) -> Iterator[np.ndarray]:
    """(n, M) similarities, a few queries at a time: the mean over a query's tokens of each one's
    best match in the other object."""
    number, tokens, width = gallery.shape
    flat = gallery.reshape(-1, width).T
    for part in queries.split(8):
        products = (part @ flat).reshape(len(part), -1, number, tokens)
        yield products.amax(dim=3).mean(dim=1).numpy()
