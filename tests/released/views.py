"""MVImgNet, VITON-HD, FashionTryOn, DreamBooth, COCOEE."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from released.drawn import photo, save_palette, save_picture

NUMBER, VIEWS = 6, 9


def _white(mask: np.ndarray) -> np.ndarray:
    return mask.astype(np.uint8) * 255


def mvimgnet(root: Path) -> None:
    """Classes of numbers; one instance has no masks, and so is not in the subset."""
    for seed in range(NUMBER):
        category, instance = str(7 + seed % 2), f"1a00{seed:04}"
        for view in range(VIEWS):
            image, numbers = photo(seed, view, objects=1)
            name = f"{view + 1:03}.jpg"
            save_picture(root / "data" / category / instance / "images" / name, image)
            if seed:
                place = root / "masks" / category / instance / f"{name}.png"
                save_picture(place, _white(numbers > 0))
        sparse = root / "data" / category / instance / "sparse/0"
        sparse.mkdir(parents=True)
        (sparse / "images.bin").write_bytes(bytes(8))


def mvimgnet_of_the_released_code(root: Path) -> None:
    for seed in range(NUMBER):
        folder = root / "MVDir/7" / f"1a00{seed:04}" / "images"
        for view in range(VIEWS):
            image, numbers = photo(seed, view, objects=1)
            save_picture(folder / f"{view + 1:03}.jpg", image)
            save_picture(folder / f"{view + 1:03}_0.png", np.dstack([image, _white(numbers > 0)]))


def mvimgnet2(root: Path) -> None:
    for seed in range(NUMBER):
        folder = root / "data/7" / f"1a00{seed:04}"
        for view in range(VIEWS):
            image, numbers = photo(seed, view, objects=1)
            save_picture(folder / "images" / f"{view + 1:03}.jpg", image)
            save_picture(folder / "masks" / f"{view + 1:03}.jpg.png", _white(numbers > 0))


def viton_hd(root: Path) -> None:
    """Person 1 wears a dress (6), person 2 a coat (7), the others upper clothes (5)."""
    for split in ("train", "test"):
        folder, names = root / split, []
        for seed in range(NUMBER):
            name = f"{seed:05}_00"
            names.append(f"{name}.jpg")
            garment, numbers = photo(seed, objects=1, height=256, width=192)
            save_picture(folder / "cloth" / f"{name}.jpg", garment)
            save_picture(folder / "cloth-mask" / f"{name}.jpg", _white(numbers > 0))
            person, numbers = photo(seed, 2, objects=1, height=256, width=192)
            save_picture(folder / "image" / f"{name}.jpg", person)
            parse = np.where(numbers > 0, {1: 6, 2: 7}.get(seed, 5), 0)
            parse[:20] = 13  # the face
            save_palette(folder / "image-parse-v3" / f"{name}.png", parse)
        lines = [f"{name} {name}" for name in names]
        (root / f"{split}_pairs.txt").write_text("\n".join(lines) + "\n")


def fashion_tryon(root: Path) -> None:
    for seed in range(NUMBER):
        folder = root / "train" / f"{seed:04}"
        garment, numbers = photo(seed, objects=1, height=256, width=192)
        save_picture(folder / "target.jpg", garment)
        save_picture(folder / "mask.jpg", _white(numbers > 0))
        for pose in range(3):
            person, numbers = photo(seed, pose + 1, objects=1, height=256, width=192)
            save_picture(folder / f"pose_{pose}.jpg", person)
            segment = np.repeat(np.where(numbers > 0, 7, 1)[..., None], 3, axis=2)
            save_picture(folder / f"pose_{pose}" / "segment.png", segment.astype(np.uint8))


def dreambooth(root: Path) -> None:
    for seed in range(NUMBER):
        for view in range(5):
            image, _ = photo(seed, view, objects=1, height=200, width=200)
            save_picture(root / "dataset" / f"subject_{seed}" / f"{view:02}.jpg", image)
    (root / "dataset/prompts_and_classes.txt").write_text("subject_0,toy\n")


def references_of_the_released_code(root: Path) -> None:
    """RGBA cut-outs in a folder for each subject."""
    for seed in range(NUMBER):
        for view in range(5):
            image, numbers = photo(seed, view, objects=1, height=200, width=200)
            cut = np.dstack([image, _white(numbers > 0)])
            save_picture(root / f"subject_{seed}" / f"{view:02}.png", cut)


def cocoee(root: Path) -> None:
    for seed in range(NUMBER):
        image, numbers = photo(seed, height=512, width=512)
        rows, columns = np.flatnonzero((numbers == 1).any(1)), np.flatnonzero((numbers == 1).any(0))
        place = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        region = np.zeros_like(numbers)
        region[place] = 255
        save_picture(root / "GT_3500" / f"{seed:012}_GT.png", image)
        save_picture(root / "Mask_bbox_3500" / f"{seed:012}_mask.png", region)
        other, _ = photo(seed, 3, height=512, width=512)
        save_picture(root / "Ref_3500" / f"{seed:012}_ref.png", other[place])
