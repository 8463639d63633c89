"""Results kept in a folder, a PNG each: what was made the same way before is not made again."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anydoor_lab.conditioning.conditioner import Conditioning
from anydoor_lab.conditioning.placement import Placement
from anydoor_lab.evaluation.settings import EvalSettings
from anydoor_lab.pipeline.results import Result
from anydoor_lab.runs.provenance import picture_facts
from anydoor_lab.runs.settings import first_difference
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import write_whole
from anydoor_lab.structures.images import read_facts, read_image, write_image
from anydoor_lab.structures.pair import Pair

GENERATED = "generated"
"""Where a run's folder has the results it was scored by."""
_FIELDS = ("id_image", "collage", "shape_mask", "target")


def made_before(path: Path, recipe: Mapping[str, Any]) -> bool:
    """Whether a picture is there that carries this recipe, see `picture_facts`.

    Raises:
        FileExistsError: it was made otherwise.
        ValueError: it is damaged, or no picture that this has made.
    """
    if not path.exists():
        return False
    try:
        held = read_facts(path).get("recipe")
    except InputError as error:
        raise InputError(f"{error}; move {path.name} away to have it made again") from error
    if held != recipe:
        difference = first_difference(held, recipe) if isinstance(held, dict) else ""
        seen = f"{path} was made otherwise{f' ({difference})' if difference else ''}"
        raise FileExistsError(f"{seen}; choose another folder or add overwrite=true")
    return True


@dataclass(frozen=True, slots=True)
class KeptResults:
    """The results of one method under one config.

    Of pair 3 there is `00003.png`, the finished scene, and from several seeds `00003_0.png`,
    `00003_1.png` ...; of the first ones, which are shown, `00003.npz` has what the networks saw,
    and of every one whose crop was not pasted back whole the crop, by which it is scored.

    Args:
        folder: where they lie, or will.
        config: what they were made by beside the pair and its seed, as the PNGs carry it: the hash
            of the settings, the fingerprint of the weights.
    """

    folder: Path
    config: Mapping[str, str]

    def check(self, pairs: Sequence[Pair], settings: EvalSettings, num_diverse: int = 0) -> int:
        """How many of the results are there, of one seed and of several.

        Raises:
            FileExistsError: one of them was made by another config or of another pair.
        """
        single = [(i, path) for i in range(len(pairs)) for path in self._paths(i, 1)]
        several = [
            (i, path) for i in range(num_diverse) for path in self._paths(i, settings.num_seeds)
        ]
        there = [(i, path) for i, path in single + several if path.exists()]
        return sum(made_before(path, self._recipe(pairs[i])) for i, path in there)

    def read(
        self, pairs: Sequence[Pair], numbers: Sequence[int], num_seeds: int = 1
    ) -> list[Result] | None:
        """The results of the pairs of these numbers, as `results_of` orders them; None where one of
        them is missing.

        Raises:
            ValueError: a file is damaged.
        """
        asked = [(pairs[i], path) for i in numbers for path in self._paths(i, num_seeds)]
        if not all(path.exists() for _, path in asked):
            return None
        return [_read(pair, path) for pair, path in asked]

    def write(
        self,
        results: Sequence[Result],
        numbers: Sequence[int],
        settings: EvalSettings,
        num_seeds: int = 1,
    ) -> None:
        """Keep the results of a batch that are not there yet.

        Raises:
            FileError: they cannot be written.
        """
        paths = [path for i in numbers for path in self._paths(i, num_seeds)]
        seeds = [seed for i in numbers for seed in seeds_of(i, settings, num_seeds)]
        shown = [
            num_seeds == 1 and i < settings.num_shown for i in numbers for _ in range(num_seeds)
        ]
        made = picture_facts(settings.seed, {})  # asks git, once a batch
        for path, seed, is_shown, result in zip(paths, seeds, shown, results, strict=True):
            if path.exists():
                continue
            own: dict[str, Any] = {"seed": seed, "recipe": self._recipe(result.pair)}
            arrays = _arrays(result, is_shown) if num_seeds == 1 else {}
            if arrays:
                write_whole(path.with_suffix(".npz"), _packed(arrays))
            place = result.placement and asdict(result.placement)
            own |= {"placement": place, "blend": result.blend}
            write_image(path, result.scene, facts={**made, **own})

    def _paths(self, number: int, num_seeds: int) -> list[Path]:
        names = [f"_{k}" for k in range(num_seeds)] if num_seeds > 1 else [""]
        return [self.folder / f"{number:05d}{name}.png" for name in names]

    def _recipe(self, pair: Pair) -> dict[str, str]:
        return {**self.config, "pair": digest(pair)}


def seeds_of(number: int, settings: EvalSettings, num_seeds: int) -> list[int]:
    """The seeds of a pair's results."""
    return [settings.seed + number + 10_000 * k for k in range(num_seeds)]


def digest(pair: Pair) -> str:
    """16 hex digits of what a pair shows: equal for equal pictures and masks."""
    found = hashlib.blake2b(digest_size=8)
    for part in (pair.reference, pair.reference_mask, pair.scene, pair.scene_mask):
        found.update(repr(part.shape).encode())
        found.update(part.tobytes())
    return found.hexdigest()


def _read(pair: Pair, path: Path) -> Result:
    facts, scene, packed = read_facts(path), read_image(path), path.with_suffix(".npz")
    place, blend = _placement(facts.get("placement"), path), facts.get("blend", "crop")
    if place is None or not packed.is_file():
        return Result(pair, scene, placement=place, blend=blend)
    try:
        with np.load(packed, allow_pickle=False) as held:
            arrays = dict(held)
        crop = arrays.pop("crop", None)
        own = {name: arrays.pop(name) for name in _FIELDS} if arrays else {}
    except (ValueError, OSError, KeyError) as error:
        raise InputError(f"{packed} is damaged ({error}); delete it and {path.name}") from error
    shown = Conditioning(**own, placement=place, further=arrays) if own else None
    return Result(pair, scene, shown, crop, place, blend)


def _placement(held: Any, path: Path) -> Placement | None:
    if held is None:
        return None
    try:
        boxes = {name: Box(**held[name]) for name in ("crop", "region")}
        return Placement(**{**held, **boxes})
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(f"the facts in {path} are damaged ({error}); delete it") from error


def _arrays(result: Result, is_shown: bool) -> dict[str, np.ndarray]:
    """What is kept of a result beside its scene."""
    shown = result.shown if is_shown else None
    arrays = {} if shown is None else dict(shown.inputs)
    if result.crop is not None and (shown is not None or result.blend != "crop"):
        arrays["crop"] = result.crop
    return arrays


def _packed(arrays: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
