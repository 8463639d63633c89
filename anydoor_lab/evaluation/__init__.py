"""Scoring a pipeline on held-out pairs: results, anchors and the pictures to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, get_args

import numpy as np

from anydoor_lab.boxes import Box
from anydoor_lab.conditioning.conditioner import Conditioning, Shape
from anydoor_lab.conditioning.official import paste_decoded
from anydoor_lab.data.world import Attributes
from anydoor_lab.diffusion.presets import named_preset
from anydoor_lab.draws import generator
from anydoor_lab.images import as_picture, on_white, padded_square
from anydoor_lab.metrics.attributes import AttributeReader, AttributesKept, readable
from anydoor_lab.metrics.background import BackgroundPsnr, BackgroundSsim, background_mask
from anydoor_lab.metrics.clip_score import ClipScore, clip_judge
from anydoor_lab.metrics.dino_score import DinoScore, dino_judge
from anydoor_lab.metrics.diversity import Diversity
from anydoor_lab.metrics.interval import Interval, student_interval
from anydoor_lab.metrics.protocol import Crop, ScoreProtocol
from anydoor_lab.pair import Pair, PairSource, UnusablePair, check_choice
from anydoor_lab.pipeline import AnyDoorPipeline


@dataclass(frozen=True, slots=True)
class EvalSettings:
    """How to score.

    Args:
        num_pairs: held-out pairs; fewer where the source has fewer stills.
        num_diverse: of them, how many are generated with `num_seeds` seeds for diversity.
        num_seeds: seeds per pair for diversity.
        num_shown: rows of the picture.
        batch_size: pairs generated at a time.
        seed: of the pairs and of the starting noise.
        crop: what of a result is scored, see `ScoreProtocol`.
        shape: whether the model is told the region's box or its outline.
        preset: of the pipeline: `exact`, `fast` or `draft`.
    """

    num_pairs: int = 64
    num_diverse: int = 16
    num_seeds: int = 4
    num_shown: int = 8
    batch_size: int = 16
    seed: int = 1000
    crop: Crop = "box"
    shape: Shape = "box"
    preset: str = "exact"

    def __post_init__(self) -> None:
        least = {"num_pairs": 1, "num_diverse": 0, "num_seeds": 1, "num_shown": 1, "batch_size": 1}
        for name, smallest in {**least, "seed": 0}.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < smallest:
                seen = f"eval.{name} is {value!r}"
                raise ValueError(f"{seen}; expected a whole number from {smallest}")
        for name, known in (("crop", get_args(Crop)), ("shape", get_args(Shape))):
            check_choice(f"eval.{name}", getattr(self, name), known)
        named_preset(self.preset)


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The judges and the protocol they score by; `reader` only where objects are drawn ones."""

    clip: ClipScore
    dino: DinoScore
    diversity: Diversity
    protocol: ScoreProtocol
    reader: AttributesKept | None = None
    truth: Callable[[Pair], Attributes] | None = None

    def reading(self, source: Any) -> Judged:
        """The same, reading the attributes of the pairs of `source` where they are known and the
        reader knows all their names."""
        names = getattr(source, "names", None)
        if self.reader is None or names is None:
            return replace(self, reader=None)
        labels = self.reader.reader.config.labels
        known = all(set(values) <= set(labels.get(name, ())) for name, values in names.items())
        return replace(self, truth=source.attributes_of) if known else replace(self, reader=None)

    @classmethod
    def load(cls, clip: str, dino: str, crop: Crop, reader: str | None = None) -> Judged:
        """From the folders or hub names of the two judges, and the attribute reader's folder."""
        protocol = ScoreProtocol(crop=crop, clip=clip, dino=dino)
        dino_network = dino_judge(dino)
        return cls(
            ClipScore(*clip_judge(clip), protocol),
            DinoScore(*dino_network, protocol),
            Diversity(*dino_network),
            protocol,
            AttributesKept(AttributeReader.from_pretrained(reader)) if reader else None,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """One generated scene: (H, W, 3) uint8 with the whole crop written back, and what led to it."""

    pair: Pair
    shown: Conditioning
    scene: np.ndarray
    crop: np.ndarray


def held_out_pairs(source: PairSource, settings: EvalSettings) -> list[Pair]:
    """Up to `num_pairs` usable pairs; true second views where the source has any, else stills.

    Raises:
        ValueError: not one pair is usable.
    """
    moving: list[Pair] = []
    stills: list[Pair] = []
    looked_at = 4 * settings.num_pairs
    for index in range(max(looked_at, len(source))):
        enough = len(moving) == settings.num_pairs or (index >= looked_at and (moving or stills))
        if enough or (not moving and index >= len(source)):
            break
        try:
            pair = source.pair(index % len(source), generator(settings.seed, index, "held out"))
        except UnusablePair:
            continue
        (stills if pair.variation == "still" else moving).append(pair)
    pairs = moving or stills[: settings.num_pairs]
    if not pairs:
        raise ValueError(f"no held-out pair is usable ({source.counts}); check the pictures")
    return pairs


def generate_results(
    pipeline: AnyDoorPipeline, pairs: Sequence[Pair], settings: EvalSettings, num_seeds: int = 1
) -> Iterator[list[Result]]:
    """Yield, batch by batch, every pair's results (`num_seeds` beside each other)."""
    size = max(1, settings.batch_size // num_seeds)
    conditioner = pipeline.conditioner()
    for first in range(0, len(pairs), size):
        chosen = pairs[first : first + size]
        indices = range(first, first + len(chosen))
        rngs = [generator(settings.seed, i, "collage") for i in indices]
        shown = [
            conditioner.condition(p, rng, settings.shape)
            for p, rng in zip(chosen, rngs, strict=True)
        ]
        seeds = [[settings.seed + i + 10_000 * k for k in range(num_seeds)] for i in indices]
        for denoised in pipeline.denoise(pipeline.prepare(shown), seeds, preset=settings.preset):
            latents = denoised.x
        decoded, way = pipeline.model.decoded(latents), pipeline.config.preprocessing
        many = [(p, s) for p, s in zip(chosen, shown, strict=True) for _ in range(num_seeds)]
        yield [
            Result(p, s, paste_decoded(picture, p, s.placement, "crop", way), as_picture(picture))
            for (p, s), picture in zip(many, decoded, strict=True)
        ]


def evaluate(
    pipeline: AnyDoorPipeline,
    pairs: Sequence[Pair],
    judged: Judged,
    settings: EvalSettings,
    progress: Callable[[int], Any] | None = None,
) -> tuple[dict[str, Any], list[Result]]:
    """Scores of the pipeline as one row, and the first `num_shown` results.

    Args:
        pipeline: to be scored.
        pairs: from `held_out_pairs`.
        judged: judges and protocol.
        settings: how to score.
        progress: called with the number of pairs done since the last call.
    """
    shown: list[Result] = []
    background = Background()

    def scenes() -> Iterator[np.ndarray]:
        for batch in generate_results(pipeline, pairs, settings):
            for result in batch:
                background.update(result)
                yield result.scene
            shown.extend(batch[: settings.num_shown - len(shown)])
            if progress:
                progress(len(batch))

    row = score_scenes(scenes(), pairs, judged, settings.batch_size) | background.row()
    if settings.num_seeds > 1 and settings.num_diverse:
        row |= score_diversity(pipeline, pairs[: settings.num_diverse], judged, settings)
    return row, shown


def score_scenes(
    scenes: Iterable[np.ndarray], pairs: Sequence[Pair], judged: Judged, batch_size: int = 16
) -> dict[str, Any]:
    """CLIP and DINO score of one scene per pair against the pair's reference.

    Each has its 95 % interval (`clip_low`, `clip_high`) and single scores (`clip_each`). Where the
    objects' attributes are known, `kept` and `kept_<attribute>` are the percentages read in the
    regions.
    """
    read = judged.reader if judged.truth else None
    if read:
        read.reset()
    singles: dict[str, list[float]] = {"clip": [], "dino": []}
    scored = zip(scenes, pairs, strict=True)
    while batch := list(islice(scored, batch_size)):
        regions = [region_of(scene, pair, judged.protocol) for scene, pair in batch]
        references = [reference_region(pair, judged.protocol) for _, pair in batch]
        for name, score in (("clip", judged.clip), ("dino", judged.dino)):
            singles[name] += score.scores(regions, references).tolist()
        if read and judged.truth:
            read.update(readable(regions), [judged.truth(pair) for _, pair in batch])
    row: dict[str, Any] = {"n": len(pairs)}
    if read:
        shares = {name: 100 * float(share) for name, share in read.compute().items()}
        row |= {"kept": shares.pop("all")} | {f"kept_{n}": share for n, share in shares.items()}
    for name, values in singles.items():
        row |= with_interval(name, student_interval(np.array(values)))
        row[f"{name}_each"] = [round(value, 3) for value in values]
    return row


def region_of(scene: np.ndarray, pair: Pair, protocol: ScoreProtocol) -> np.ndarray:
    """The part of a scene that is scored: a square about the true object's box."""
    box = Box.around(pair.scene_mask).squared(*pair.scene_mask.shape)
    return protocol.region(scene, box, pair.scene_mask)


def reference_region(pair: Pair, protocol: ScoreProtocol) -> np.ndarray:
    """The target object as it is scored: its box, cut out on white (on black for box+mask)."""
    box = Box.around(pair.reference_mask).slices
    image, mask = pair.reference[box], pair.reference_mask[box]
    if protocol.crop == "box+mask":
        return padded_square(np.where(mask[..., None], image, np.uint8(0)), 0)
    return padded_square(on_white(image, mask), 255)


class Background:
    """PSNR and SSIM inside the regenerated crop but outside the region, before blending."""

    def __init__(self) -> None:
        self.psnr, self.ssim = BackgroundPsnr(), BackgroundSsim()

    def update(self, result: Result) -> None:
        """Take one result; one whose region fills the crop has nothing to compare."""
        place = result.shown.placement
        region = place.region.mask(place.scene_height, place.scene_width)
        background = background_mask(place.writable, region)
        try:
            self.ssim.update(result.scene, result.pair.scene, background)
            self.psnr.update(result.scene, result.pair.scene, background)
        except UnusablePair:
            return

    def row(self) -> dict[str, Any]:
        """`background_psnr` (dB) and `background_ssim` with intervals; None where nothing came."""
        row: dict[str, Any] = {}
        for name, score in (("background_psnr", self.psnr), ("background_ssim", self.ssim)):
            known = int(score.count) > 0
            row |= (
                with_interval(name, score.interval(all_processes=False)) if known else {name: None}
            )
        return row


def score_diversity(
    pipeline: AnyDoorPipeline, pairs: Sequence[Pair], judged: Judged, settings: EvalSettings
) -> dict[str, Any]:
    """How different the results of one pair are over `num_seeds` seeds."""
    judged.diversity.reset()
    number = settings.num_seeds
    for batch in generate_results(pipeline, pairs, settings, number):
        regions = [region_of(r.scene, r.pair, judged.protocol) for r in batch]
        for first in range(0, len(regions), number):
            judged.diversity.update(regions[first : first + number])
    return with_interval("diversity", judged.diversity.interval(all_processes=False))


def with_interval(name: str, interval: Interval) -> dict[str, float]:
    """`name`, `name_low` and `name_high`: a mean and its 95 % interval."""
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
