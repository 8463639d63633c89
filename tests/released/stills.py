"""MSRA-10K, DUTS, HFlickr, LVIS, SA-1B, COCO: eight pictures each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from released.drawn import box, encoded, photo, polygons, runs, save_ids, save_json, save_picture

PICTURES = 8
CATEGORIES = [{"id": 1, "name": "person", "isthing": 1}, {"id": 184, "name": "tree", "isthing": 0},
              {"id": 18, "name": "dog", "isthing": 1}]  # fmt: skip


def _white(mask: np.ndarray) -> np.ndarray:
    return mask.astype(np.uint8) * 255


def msra(root: Path) -> None:
    for seed in range(PICTURES):
        image, numbers = photo(seed, objects=1)
        save_picture(root / "MSRA10K_Imgs_GT/Imgs" / f"{100 + seed}.jpg", image)
        save_picture(root / "MSRA10K_Imgs_GT/Imgs" / f"{100 + seed}.png", _white(numbers > 0))


def duts(root: Path) -> None:
    for split in ("TR", "TE"):
        for seed in range(PICTURES):
            image, numbers = photo(seed, objects=1)
            name = f"ILSVRC2012_{split}_{seed:08}"
            save_picture(root / f"DUTS-{split}/DUTS-{split}-Image/{name}.jpg", image)
            save_picture(root / f"DUTS-{split}/DUTS-{split}-Mask/{name}.png", _white(numbers > 0))


def hflickr(root: Path) -> None:
    """Two masks for each picture, and for each mask two composites."""
    for seed in range(PICTURES):
        image, numbers = photo(seed)
        save_picture(root / f"HFlickr/real_images/f{800 + seed}.jpg", image)
        for number in (1, 2):
            mask = numbers == number
            save_picture(root / f"HFlickr/masks/f{800 + seed}_{number}.png", _white(mask))
            for again in (1, 2):
                composite = np.where(mask[..., None], image // 2, image)
                name = f"f{800 + seed}_{number}_{again}.jpg"
                save_picture(root / "HFlickr/composite_images" / name, composite)


def coco_table(folder: Path, lvis: str = "") -> dict[str, Any]:
    """COCO's JSON, or with a folder's name LVIS', which gives no `file_name`."""
    images, items = [], []
    for seed in range(PICTURES):
        image, numbers = photo(seed, height=240, width=320)
        name = f"{139 + seed:012}.jpg"
        save_picture(folder / name, image)
        facts = {"id": 139 + seed, "height": 240, "width": 320, "license": 2}
        url = f"http://images.cocodataset.org/{lvis or folder.name}/{name}"
        images.append({**facts, "coco_url": url, **({} if lvis else {"file_name": name})})
        for number in (1, 2):
            mask = numbers == number
            spelling = (polygons, runs, encoded)[(seed + number) % 3]
            items.append({
                "id": len(items) + 1, "image_id": 139 + seed, "category_id": (1, 18)[number - 1],
                "segmentation": spelling(mask), "area": float(mask.sum()), "bbox": box(mask),
                **({} if lvis else {"iscrowd": 0}),
            })  # fmt: skip
    return {"info": {}, "images": images, "annotations": items, "categories": CATEGORIES}


def lvis(root: Path) -> None:
    save_json(root / "lvis_v1_train.json", coco_table(root / "train2017", "train2017"))


def coco_val2017(root: Path) -> None:
    table = coco_table(root / "val2017")
    crowd = {"size": [240, 320], "counts": [0, 240 * 320 - 10, 10]}
    table["annotations"].append({
        "id": 900, "image_id": 139, "category_id": 1, "iscrowd": 1, "segmentation": crowd,
        "area": 76790, "bbox": [0, 0, 320, 240],
    })  # fmt: skip
    save_json(root / "annotations/instances_val2017.json", table)


def coco_panoptic(root: Path) -> None:
    images, annotations = [], []
    for seed in range(PICTURES):
        image, numbers = photo(seed)
        name = f"{139 + seed:012}"
        save_picture(root / "val2017" / f"{name}.jpg", image)
        ids = np.choose(numbers, [6577228, 3226956, 257])
        save_ids(root / "annotations/panoptic_val2017" / f"{name}.png", ids)
        height, width = ids.shape
        images.append({"id": 139 + seed, "file_name": f"{name}.jpg", "height": height,
                       "width": width})  # fmt: skip
        segments = [
            {"id": own, "category_id": category, "iscrowd": 0, "area": int((ids == own).sum()),
             "bbox": [int(v) for v in box(ids == own)]}
            for own, category in ((6577228, 184), (3226956, 1), (257, 18))
        ]  # fmt: skip
        annotations.append({"image_id": 139 + seed, "file_name": f"{name}.png",
                            "segments_info": segments})  # fmt: skip
    table = {"info": {}, "images": images, "annotations": annotations, "categories": CATEGORIES}
    save_json(root / "annotations/panoptic_val2017.json", table)


def sam(root: Path) -> None:
    for seed in range(PICTURES):
        image, numbers = photo(seed, height=800, width=1066)
        folder, name = root / f"sa_{seed % 2:06}", f"sa_{223750 + seed}"
        save_picture(folder / f"{name}.jpg", image)
        masks = [
            {"id": 10 * seed + number, "segmentation": encoded(numbers == number),
             "bbox": box(numbers == number), "area": int((numbers == number).sum()),
             "predicted_iou": 0.97, "stability_score": 0.98, "point_coords": [[1.0, 2.0]],
             "crop_box": [0, 0, 1066, 800]}
            for number in (1, 2)
        ]  # fmt: skip
        facts = {
            "image_id": 223750 + seed,
            "width": 1066,
            "height": 800,
            "file_name": f"{name}.jpg",
        }
        save_json(folder / f"{name}.json", {"image": facts, "annotations": masks})
