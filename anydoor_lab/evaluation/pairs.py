"""What is scored: the held-out pairs, and the regions of them that judges see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import overload

import numpy as np

from anydoor_lab.data.source import MAX_TRIES, PairSource, pair_of, reasons
from anydoor_lab.evaluation.judges import Judges
from anydoor_lab.evaluation.settings import EvalSettings
from anydoor_lab.metrics.protocol import ScoreProtocol
from anydoor_lab.metrics.retrieval import Gallery
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.images import on_white, padded_square
from anydoor_lab.structures.pair import Pair
from anydoor_lab.structures.rng import rng_for

KEPT_BYTES = 2**30
"""Of decoded pairs that are held in memory: 8,000 of 128 px, 500 of 512 px."""


def held_out_pairs(
    source: PairSource, settings: EvalSettings, rejected: Counter[str] | None = None
) -> HeldOut:
    """Up to `num_pairs` usable pairs; true second views where the source has any, else stills.

    Args:
        source: of the split "held_out".
        settings: how many pairs, and their seed.
        rejected: is told how many entries were passed over for which reason.

    Raises:
        ValueError: none of the first `MAX_TRIES` pairs is usable; with the reasons.
    """
    rejected = Counter() if rejected is None else rejected
    moving, stills = HeldOut(source, settings.seed), HeldOut(source, settings.seed)
    looked_at = 4 * settings.num_pairs
    for index in range(max(looked_at, len(source))):
        enough = len(moving) == settings.num_pairs or (index >= looked_at and (moving or stills))
        if enough or (not moving and index >= len(source)):
            break
        try:
            pair = held_out_pair(source, settings.seed, index)
        except UnusablePair as error:
            rejected[error.reason] += 1
            if not moving and not stills and index + 1 >= MAX_TRIES:
                break
            continue
        chosen = stills if pair.variation == "still" else moving
        if len(chosen) < settings.num_pairs:
            chosen.append(index, pair)
    pairs = moving or stills
    if not pairs:
        seen = f"none of {rejected.total()} held-out pairs is usable ({reasons(rejected)})"
        raise InputError(f"{seen}; check the pictures and masks")
    return pairs


class HeldOut(Sequence[Pair]):
    """Chosen pairs of a source: kept decoded while they fit `KEPT_BYTES`, the others read again
    each time that they are asked for.

    Args:
        source: where they are from.
        seed: of their draws.
    """

    def __init__(self, source: PairSource, seed: int) -> None:
        self.source, self.seed = source, seed
        self._indices: list[int] = []
        self._kept: list[Pair] = []
        self._room = KEPT_BYTES

    def append(self, index: int, pair: Pair) -> None:
        """Add the pair of an index, which is `held_out_pair`'s."""
        self._indices.append(index)
        pictures = (pair.reference, pair.reference_mask, pair.scene, pair.scene_mask)
        self._room -= sum(picture.nbytes for picture in pictures)
        if self._room >= 0:
            self._kept.append(pair)

    def __len__(self) -> int:
        """How many were chosen."""
        return len(self._indices)

    @overload
    def __getitem__(self, number: int) -> Pair: ...

    @overload
    def __getitem__(self, number: slice) -> list[Pair]: ...

    def __getitem__(self, number: int | slice) -> Pair | list[Pair]:
        """The pair of this number, or those of a slice, decoded."""
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        number = range(len(self))[number]
        if number < len(self._kept):
            return self._kept[number]
        return held_out_pair(self.source, self.seed, self._indices[number])


def held_out_pair(source: PairSource, seed: int, index: int) -> Pair:
    """The pair of a source that scoring shows at an index, whoever asks and whenever.

    Raises:
        UnusablePair: as `pair_of`.
    """
    return pair_of(source, index % len(source), rng_for(seed, index, "held out"))


def region_of(scene: np.ndarray, pair: Pair, protocol: ScoreProtocol) -> np.ndarray:
    """The part of a scene that is scored: a square about the true object's box."""
    box = Box.around(pair.scene_mask).squared(*pair.scene_mask.shape)
    return protocol.region(scene, box, pair.scene_mask)


def references_of(pair: Pair, judges: Judges) -> np.ndarray | list[np.ndarray]:
    """What a result is compared with: its reference as it is scored, or under `reference="all"`
    every photo of the object: those that its source has, else the pair's own, the true scene's
    included."""
    protocol = judges.protocol
    if protocol.reference == "single":
        return reference_region(pair, protocol)
    shown = judges.photos_of(pair) if judges.photos_of else [pair]
    if len(shown) == 1 and judges.truth and pair.variation != "still":
        shown = [pair, pair.as_still()]  # the scene of a still shows the reference itself
    return [reference_region(one, protocol) for one in shown]


def gallery_of(pairs: Sequence[Pair], judges: Judges) -> Gallery:
    """The references of all pairs, each once: what a result is searched among."""
    regions: dict[tuple[str, bytes], np.ndarray] = {}
    for number, pair in enumerate(pairs):
        own = references_of(pair, judges)
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
