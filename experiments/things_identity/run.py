"""How much of an object's identity arrives: through an autoencoder alone, and placed by a pipeline.

    python experiments/things_identity/run.py [--objects FOLDER] [--scenes FOLDER]
        [--vae FOLDER ...] [--run FOLDER ...] [--sheet PNG]

Cut-outs (held-out things without --objects) are pasted into photographs (the package's without
--scenes). `--vae`: the crop around each, as the method makes it (zoom 1.5), through an autoencoder
and back. `--run`: the object placed by a pipeline into the same box of the empty photograph, at the
photograph's own resolution. EfficientNet-Lite0 then looks for the object among all cut-outs on
white. Nothing of these folders is ever trained on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKL

from anydoor_lab import Box, Things, load_pipeline
from anydoor_lab.data.things import originals, sheets
from anydoor_lab.data.things.catalogue import packaged_index
from anydoor_lab.metrics.effnet import effnet_judge
from anydoor_lab.metrics.retrieval import lab_difference, retrieval
from anydoor_lab.report.sheets import outlined
from anydoor_lab.structures.images import (
    as_picture,
    padded_square,
    read_image,
    read_original,
    read_rgba,
    write_image,
)

SHARE, ZOOM = 0.4, 1.5  # longer side of the object over the scene's shorter; crop over the box
ENDINGS = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True, slots=True, eq=False)
class Composed:
    """An object, the photograph before it, the two pasted together, and where the object is."""

    name: str
    rgba: np.ndarray
    scene: np.ndarray
    pasted: np.ndarray
    mask: np.ndarray


Way = Callable[[Composed], np.ndarray]


def composed(name: str, rgba: np.ndarray, scene: np.ndarray) -> Composed:
    """The cut-out in the middle of the scene."""
    cut = rgba[Box.around(rgba[..., 3] > 12).slices]
    factor = SHARE * min(scene.shape[:2]) / max(cut.shape[:2])
    height, width = (max(1, round(length * factor)) for length in cut.shape[:2])
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    alpha = cut[..., 3:].astype(np.float32) / 255
    small = cv2.resize(np.dstack([cut[..., :3] * alpha, alpha]), (width, height), interpolation=how)
    picture, mask = scene.astype(np.float32), np.zeros(scene.shape[:2], np.bool_)
    y, x = (scene.shape[0] - height) // 2, (scene.shape[1] - width) // 2
    below = picture[y : y + height, x : x + width]
    below[:] = small[..., :3] + below * (1 - small[..., 3:])
    mask[y : y + height, x : x + width] = small[..., 3] > 0.5
    return Composed(name, rgba, scene, picture.clip(0, 255).astype(np.uint8), mask)


def on_white(rgba: np.ndarray) -> np.ndarray:
    """The cut-out's box on a white square."""
    cut = rgba[Box.around(rgba[..., 3] > 12).slices].astype(np.float32)
    alpha = cut[..., 3:] / 255
    shown = cut[..., :3] * alpha + 255 * (1 - alpha)
    return padded_square(shown.astype(np.uint8), 255)


def through(folder: Path | None, side: int) -> Way:
    """The crop around the object brought to `side`, through an autoencoder, if any, and back."""
    kind = {"torch_dtype": torch.float32}
    network = folder and AutoencoderKL.from_pretrained(folder, **kind).eval()

    @torch.no_grad()
    def change(one: Composed) -> np.ndarray:
        crop = Box.around(one.mask).grown(ZOOM, *one.mask.shape).squared(*one.mask.shape)
        seen = one.pasted[crop.slices]
        small = cv2.resize(seen, (side, side), interpolation=cv2.INTER_AREA)
        if network:
            given = torch.from_numpy(small).permute(2, 0, 1)[None].float() / 127.5 - 1
            small = as_picture(
                network.decode(network.encode(given).latent_dist.mode()).sample[0].numpy()
            )
        result = one.pasted.copy()
        result[crop.slices] = cv2.resize(small, seen.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        return result

    return change


def placed_by(run: str) -> Way:
    """The object placed by a pipeline into the box; the picture's seed is 0."""
    pipeline = load_pipeline(run)
    pipeline.set_progress_bar_config(disable=True)

    def place(one: Composed) -> np.ndarray:
        box = Box.around(one.mask)
        given = {"reference_mask": one.rgba[..., 3] > 128, "seed": 0, "output_type": "np"}
        sides = [box.y1, box.x1, box.y2, box.x2]
        image: np.ndarray = pipeline(one.rgba[..., :3], one.scene, box=sides, **given).images[0]
        return image

    return place


def pictures(folder: Path) -> Iterator[Path]:
    """Picture files of a folder, without masks."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
    yield from (path for path in found if not path.stem.endswith("_mask"))


def objects_of(folder: Path | None, number: int) -> list[tuple[str, np.ndarray]]:
    """Names and RGBA pictures: of a folder, or the first held-out things."""
    if folder:
        files = [path for path in pictures(folder) if read_original(path).alpha is not None]
        return [(path.stem, read_rgba(path)) for path in files[:number]]
    things = Things(split="held_out", filled=0.0, drawn=0.0)
    found = [things.attributes(index) for index in range(min(number, len(things)))]
    return [(f"{t.name} {t.code}", originals.sprite(t.still or t.frames[0])) for t in found]


def scenes_of(folder: Path | None) -> list[np.ndarray]:
    """The photographs of a folder, or those of the package that nothing was trained on."""
    if folder:
        return [read_image(path) for path in pictures(folder)]
    scenes = enumerate(packaged_index()["scenes"])
    return [sheets.scene(place) for place, entry in scenes if entry["split"] == "held_out"]


def judged(ways: dict[str, Way], all_of: Sequence[Composed]) -> dict[str, list[np.ndarray]]:
    """Print one line for each way: R@1, mean average precision, cosine, Lab difference."""
    network, prepare = effnet_judge()
    names = [one.name for one in all_of]
    with torch.no_grad():
        gallery = network(prepare.batch([on_white(one.rgba) for one in all_of]))
    results: dict[str, list[np.ndarray]] = {}
    for way, made in ways.items():
        results[way] = [made(one) for one in all_of]
        pairs = list(zip(results[way], all_of, strict=True))
        crops = [r[Box.around(one.mask).squared(*one.mask.shape).slices] for r, one in pairs]
        with torch.no_grad():
            found = retrieval(network(prepare.batch(crops)), names, gallery, names)
        colour = np.mean([lab_difference(result, one.pasted, one.mask) for result, one in pairs])
        identity = f"R@1 {found.recall_1:.3f}, mAP {found.mean_precision:.3f}"
        print(f"{way}: {identity}, cosine {found.cosine:.3f}, Lab {colour:.2f}", flush=True)
    return results


def drawn(
    all_of: Sequence[Composed],
    results: dict[str, list[np.ndarray]],
    number: int,
    side_px: int = 160,
) -> np.ndarray:
    """The first objects, unpicked: on white, the place, and what each way made of it."""
    rows = []
    for place, one in enumerate(all_of[:number]):
        box = Box.around(one.mask).mask(*one.mask.shape)
        row = [on_white(one.rgba), padded_square(outlined(one.scene, box), 255)]
        row += [padded_square(made[place], 255) for made in results.values()]
        whole = [cv2.resize(p, (side_px, side_px), interpolation=cv2.INTER_AREA) for p in row]
        rows.append(np.concatenate(whole, axis=1))
    columns = 2 if len(rows) > 12 else 1
    high = -(-len(rows) // columns)
    rows += [np.full_like(rows[0], 255)] * (high * columns - len(rows))
    stacked = [np.concatenate(rows[high * c : high * (c + 1)]) for c in range(columns)]
    return np.concatenate(stacked, axis=1)


def main() -> None:
    """Judge the ways that were asked for, beside what frames them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=Path, help="cut-outs with alpha; else held-out things")
    parser.add_argument("--scenes", type=Path, help="photographs; else the package's held-out ones")
    parser.add_argument("--number", type=int, default=200, help="of objects, at most")
    parser.add_argument("--vae", type=Path, nargs="*", default=[])
    parser.add_argument("--run", nargs="*", default=[], help="pipelines or runs; embedded:anydoor")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--sheet", type=Path, help="a PNG of the first 24 objects")
    chosen = parser.parse_args()
    scenes = scenes_of(chosen.scenes)
    found = objects_of(chosen.objects, chosen.number)
    all_of = [composed(name, cut, scenes[i % len(scenes)]) for i, (name, cut) in enumerate(found)]
    following = dict(zip((one.name for one in all_of), [*all_of[1:], all_of[0]], strict=True))
    ways: dict[str, Way] = {
        "copy-paste": lambda one: one.pasted,
        "another object": lambda one: composed("", following[one.name].rgba, one.scene).pasted,
        "empty": lambda one: one.scene,
    }
    if chosen.vae:
        ways |= {"resized": through(None, chosen.side)}
        ways |= {str(folder): through(folder, chosen.side) for folder in chosen.vae}
    ways |= {run: placed_by(run) for run in chosen.run}
    results = judged(ways, all_of)
    if chosen.sheet:
        shown = {
            way: made for way, made in results.items() if way not in ("another object", "empty")
        }
        print(f"sheet    {write_image(chosen.sheet, drawn(all_of, shown, 24)) or chosen.sheet}")


if __name__ == "__main__":
    main()
