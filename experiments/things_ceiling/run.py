"""How much of a photographed object's identity an autoencoder leaves: the ceiling of all above it.

    python experiments/things_ceiling/run.py --objects FOLDER --scenes FOLDER [--vae FOLDER ...]

Cut-outs are pasted into photographs; the crop around each, as the method makes it (zoom 1.5), is
brought to `--side` pixels, through the autoencoder, and back. EfficientNet-Lite0 then looks for
the object among all cut-outs on white. Nothing of these folders is ever trained on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKL

from anydoor_lab.metrics.effnet import effnet_judge
from anydoor_lab.metrics.lab_difference import lab_difference
from anydoor_lab.metrics.retrieval import retrieval
from anydoor_lab.structures.boxes import Box
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
Change = Callable[[np.ndarray], np.ndarray]


def pasted(rgba: np.ndarray, scene: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cut-out in the middle of the scene, and where it is."""
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
    return picture.clip(0, 255).astype(np.uint8), mask


def on_white_square(rgba: np.ndarray) -> np.ndarray:
    """The cut-out's box on a white square."""
    cut = rgba[Box.around(rgba[..., 3] > 12).slices].astype(np.float32)
    alpha = cut[..., 3:] / 255
    shown = cut[..., :3] * alpha + 255 * (1 - alpha)
    return padded_square(shown.astype(np.uint8), 255)


def changed(picture: np.ndarray, mask: np.ndarray, side: int, change: Change) -> np.ndarray:
    """The picture with the crop around the mask brought to `side`, changed, and back."""
    box = Box.around(mask)
    crop = box.grown(ZOOM, *mask.shape).squared(*mask.shape)
    seen = picture[crop.slices]
    small = cv2.resize(seen, (side, side), interpolation=cv2.INTER_AREA)
    back = cv2.resize(change(small), seen.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    result = picture.copy()
    result[crop.slices] = back
    return result


def through(folder: Path) -> Change:
    """The autoencoder of a folder as a change of (S, S, 3) uint8 pictures."""
    network = AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32).eval()

    @torch.no_grad()
    def change(image: np.ndarray) -> np.ndarray:
        given = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
        restored = network.decode(network.encode(given).latent_dist.mode()).sample
        return as_picture(restored[0].numpy())

    return change


def pictures(folder: Path) -> Iterator[Path]:
    """Picture files of a folder, without masks."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
    yield from (path for path in found if not path.stem.endswith("_mask"))


def main() -> None:
    """Print one line for each way: R@1, mean average precision, cosine, Lab difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=Path, required=True)
    parser.add_argument("--scenes", type=Path, required=True)
    parser.add_argument("--vae", type=Path, nargs="*", default=[])
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--sheet", type=Path, help="a PNG of what the judge saw")
    chosen = parser.parse_args()
    files = [path for path in pictures(chosen.objects) if read_original(path).alpha is not None]
    scenes = [read_image(path) for path in pictures(chosen.scenes)]
    cut_outs = [read_rgba(path) for path in files]
    composed = [pasted(cut, scenes[i % len(scenes)]) for i, cut in enumerate(cut_outs)]
    network, prepare = effnet_judge()
    names = [path.stem for path in files]
    with torch.no_grad():
        gallery = network(prepare.batch([on_white_square(cut) for cut in cut_outs]))
    ways: dict[str, Change | None] = {"copy-paste": None, "resized": lambda image: image}
    ways |= {str(folder): through(folder) for folder in chosen.vae}
    rows = []
    for way, change in ways.items():
        results = [p if change is None else changed(p, m, chosen.side, change) for p, m in composed]
        seen = list(zip(results, composed, strict=True))
        crops = [result[Box.around(m).squared(*m.shape).slices] for result, (_, m) in seen]
        with torch.no_grad():
            found = retrieval(network(prepare.batch(crops)), names, gallery, names)
        colour = np.mean([lab_difference(result, p, m) for result, (p, m) in seen])
        identity = f"R@1 {found.recall_1:.3f}, mAP {found.mean_precision:.3f}"
        print(f"{way}: {identity}, cosine {found.cosine:.3f}, Lab {colour:.2f}")
        rows.append([cv2.resize(crop, (128, 128), interpolation=cv2.INTER_AREA) for crop in crops])
    if chosen.sheet:
        parts = [np.concatenate(row[:16], axis=1) for row in rows]
        write_image(chosen.sheet, np.concatenate(parts))


if __name__ == "__main__":
    main()
