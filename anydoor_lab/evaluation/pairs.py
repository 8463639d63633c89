"""What is scored: the held-out pairs, and the regions of them that judges see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from anydoor_lab.data.source import MAX_TRIES, PairSource, pair_of, reasons
from anydoor_lab.evaluation.settings import EvalSettings
from anydoor_lab.metrics.protocol import ScoreProtocol
from anydoor_lab.metrics.retrieval import Gallery
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.images import on_white, padded_square
from anydoor_lab.structures.pair import Pair
from anydoor_lab.structures.rng import rng_for


def held_out_pairs(
    source: PairSource, settings: EvalSettings, rejected: Counter[str] | None = None
) -> list[Pair]:
    """Up to `num_pairs` usable pairs; true second views where the source has any, else stills.

    Args:
        source: of the split "held_out".
        settings: how many pairs, and their seed.
        rejected: is told how many entries were passed over for which reason.

    Raises:
        ValueError: none of the first `MAX_TRIES` pairs is usable; with the reasons.
    """
    rejected = Counter() if rejected is None else rejected
    moving: list[Pair] = []
    stills: list[Pair] = []
    looked_at = 4 * settings.num_pairs
    for index in range(max(looked_at, len(source))):
        enough = len(moving) == settings.num_pairs or (index >= looked_at and (moving or stills))
        if enough or (not moving and index >= len(source)):
            break
        try:
            pair = pair_of(source, index % len(source), rng_for(settings.seed, index, "held out"))
        except UnusablePair as error:
            rejected[error.reason] += 1
            if not moving and not stills and index + 1 >= MAX_TRIES:
                break
            continue
        (stills if pair.variation == "still" else moving).append(pair)
    pairs = moving or stills[: settings.num_pairs]
    if not pairs:
        seen = f"none of {rejected.total()} held-out pairs is usable ({reasons(rejected)})"
        raise InputError(f"{seen}; check the pictures and masks")
    return pairs


def region_of(scene: np.ndarray, pair: Pair, protocol: ScoreProtocol) -> np.ndarray:
    """The part of a scene that is scored: a square about the true object's box."""
    box = Box.around(pair.scene_mask).squared(*pair.scene_mask.shape)
    return protocol.region(scene, box, pair.scene_mask)


def references_of(pair: Pair, protocol: ScoreProtocol) -> np.ndarray | list[np.ndarray]:
    """What a result is compared with: its reference as it is scored, or under `reference="all"`
    every photo of the object that the pair knows, the true scene's own included."""
    given = reference_region(pair, protocol)
    if protocol.reference == "single":
        return given
    still = pair.variation == "still"  # its scene shows the reference itself
    return [given] if still else [given, reference_region(pair.as_still(), protocol)]


def gallery_of(pairs: Sequence[Pair], protocol: ScoreProtocol) -> Gallery:
    """The references of all pairs, each once: what a result is searched among."""
    regions: dict[tuple[str, bytes], np.ndarray] = {}
    for number, pair in enumerate(pairs):
        own = references_of(pair, protocol)
        for region in [own] if isinstance(own, np.ndarray) else own:
            regions.setdefault((object_name(pair, number), region.tobytes()), region)
    return Gallery(list(regions.values()), [name for name, _ in regions])


def object_name(pair: Pair, number: int) -> str:
    """What tells a pair's object from others: its subject, else where the pair came from, else its
    number."""
    return pair.subject or pair.origin or f"pair {number}"


def reference_region(pair: Pair, protocol: ScoreProtocol) -> np.ndarray:
    """The target object as it is scored: its box, cut out on white (on black for box+mask); of one
    photo that the scene prints otherwise, as the scene prints it."""
    box = Box.around(pair.reference_mask).slices
    seen = pair.scene if pair.is_one_photo else pair.reference
    image, mask = seen[box], pair.reference_mask[box]
    if protocol.crop == "box+mask":
        return padded_square(np.where(mask[..., None], image, np.uint8(0)), 0)
    return padded_square(on_white(image, mask), 255)
