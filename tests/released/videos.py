"""YouTube-VOS, YouTube-VIS, UVO, MOSE, VIPSeg, BURST, DAVIS: six videos of ten frames or so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from released.drawn import (
    box,
    encoded,
    photo,
    runs,
    save_ids,
    save_json,
    save_palette,
    save_picture,
)

VIDEOS, FRAMES = 6, 10
CATEGORIES = [{"id": 1, "name": "person", "supercategory": "object"}, {"id": 25, "name": "dog"}]


def _palette_videos(images: Path, masks: Path, step: int) -> list[str]:
    names = [f"{seed:08x}" for seed in range(VIDEOS)]
    for seed, name in enumerate(names):
        for frame in range(FRAMES):
            image, numbers = photo(seed, frame)
            save_picture(images / name / f"{frame * step:05}.jpg", image)
            save_palette(masks / name / f"{frame * step:05}.png", numbers)
    return names


def youtube_vos(root: Path) -> None:
    names = _palette_videos(root / "train/JPEGImages", root / "train/Annotations", step=5)
    frames = [f"{5 * frame:05}" for frame in range(FRAMES)]
    objects = {
        "1": {"category": "person", "frames": frames},
        "2": {"category": "dog", "frames": frames},
    }
    save_json(root / "train/meta.json", {"videos": {name: {"objects": objects} for name in names}})


def mose(root: Path) -> None:
    _palette_videos(root / "train/JPEGImages", root / "train/Annotations", step=1)


def davis(root: Path) -> None:
    _palette_videos(root / "JPEGImages/480p", root / "Annotations/480p", step=1)


def ytvis_table(images: Path, name: str, hidden: int = 2) -> dict[str, Any]:
    """YouTube-VIS' JSON; frame `hidden` shows the first object nowhere, and spellings vary."""
    videos, tracks = [], []
    for seed in range(VIDEOS):
        shots = [photo(seed, frame) for frame in range(FRAMES)]
        files = [name.format(video=f"v{seed:03}", frame=frame) for frame in range(FRAMES)]
        for file, (image, _) in zip(files, shots, strict=True):
            save_picture(images / file, image)
        height, width = shots[0][1].shape
        sizes = {"height": height, "width": width, "length": FRAMES}
        videos.append({"id": seed + 1, "file_names": files, "license": 1, **sizes})
        for number in (1, 2):
            masks = [numbers == number for _, numbers in shots]
            spelt = [(encoded, runs)[frame % 2](mask) for frame, mask in enumerate(masks)]
            seen = [frame != hidden or number != 1 for frame in range(FRAMES)]
            tracks.append({
                "id": len(tracks) + 1, "video_id": seed + 1, "category_id": (1, 25)[number - 1],
                "iscrowd": 0, "height": height, "width": width, "length": 1,
                "segmentations": [s if see else None for s, see in zip(spelt, seen, strict=True)],
                "bboxes": [box(m) if see else None for m, see in zip(masks, seen, strict=True)],
                "areas": [int(m.sum()) * see or None for m, see in zip(masks, seen, strict=True)],
            })  # fmt: skip
    return {"info": {}, "licenses": [], "videos": videos, "annotations": tracks,
            "categories": CATEGORIES}  # fmt: skip


def youtube_vis(root: Path) -> None:
    table = ytvis_table(root / "train/JPEGImages", "{video}/{frame:05}.jpg")
    save_json(root / "ytvis_2019/train.json", table)


def uvo(root: Path) -> None:
    folder = root / "uvo_videos_sparse_frames"
    for split in ("train", "val"):
        table = ytvis_table(folder, f"{split}_" + "{video}/{frame}.png")
        name = f"UVO_sparse_{split}_video_with_interpolation.json"
        save_json(root / "VideoSparseSet" / name, table)


def vipseg(root: Path) -> None:
    """As released: 16-bit numbers, stuff below 125, things category * 100 + instance."""
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for seed in range(VIDEOS + 1):
        name = f"{seed}_abc"
        lists["test" if seed == VIDEOS else "val" if seed == 0 else "train"].append(name)
        for frame in range(FRAMES):
            image, numbers = photo(seed, frame)
            save_picture(root / "imgs" / name / f"{frame:08}.jpg", image)
            ids = np.choose(numbers, [12, 6100, 6101]).astype(np.uint16)
            ids[:10] = 0
            path = root / "panomasks" / name / f"{frame:08}.png"
            if seed < VIDEOS:
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(ids).save(path)
    for split, names in lists.items():
        (root / f"{split}.txt").write_text("\n".join(names) + "\n")


def vipseg_converted(root: Path) -> None:
    """As the owners' scripts convert it: colours are ids, and one JSON of videos."""
    videos, annotations = [], []
    for seed in range(VIDEOS):
        name, pictures, told = f"{seed}_abc", [], []
        for frame in range(FRAMES):
            image, numbers = photo(seed, frame)
            height, width = numbers.shape
            save_picture(root / "VIPSeg_720P/images" / name / f"{frame:08}.jpg", image)
            ids = np.choose(numbers, [70000, 8405120, 3000])
            save_ids(root / "VIPSeg_720P/panomasksRGB" / name / f"{frame:08}.png", ids)
            pictures.append({"id": f"{frame:08}", "width": width, "height": height,
                             "file_name": f"{frame:08}.jpg"})  # fmt: skip
            segments = [
                {
                    "id": int(own),
                    "category_id": category,
                    "iscrowd": 0,
                    "area": int((ids == own).sum()),
                }
                for own, category in ((70000, 0), (8405120, 60), (3000, 60))
            ]
            told.append({"image_id": f"{frame:08}", "file_name": f"{frame:08}.png",
                         "segments_info": segments})  # fmt: skip
        videos.append({"video_id": name, "images": pictures})
        annotations.append({"video_id": name, "annotations": told})
    categories = [
        {"id": 0, "name": "wall", "isthing": 0},
        {"id": 60, "name": "person", "isthing": 1},
    ]
    table = {"videos": videos, "annotations": annotations, "categories": categories}
    for split in ("train", "val"):
        save_json(root / f"VIPSeg_720P/panoptic_gt_VIPSeg_{split}.json", table)


def burst(root: Path) -> None:
    for split in ("train", "val"):
        sequences = []
        for seed in range(VIDEOS):
            name, dataset = f"seq_{seed}", ("LaSOT", "YFCC100M")[seed % 2]
            files = [f"frame{3 * frame:04}.jpg" for frame in range(FRAMES)]
            masks: list[dict[str, Any]] = []
            for frame, file in enumerate(files):
                image, numbers = photo(seed, frame)
                save_picture(root / "frames" / split / dataset / name / file, image)
                shown = (1, 2) if frame != 4 else (2,)  # a track may be missing
                masks.append({
                    str(n): {"rle": encoded(numbers == n)["counts"], "is_gt": frame % 2 == 0,
                             "score": 0.9} for n in shown
                })  # fmt: skip
            height, width = numbers.shape
            sequences.append({
                "id": seed, "seq_name": name, "dataset": dataset, "width": width,
                "height": height, "fps": 1, "all_image_paths": files,
                "annotated_image_paths": files, "neg_category_ids": [],
                "not_exhaustive_category_ids": [], "track_category_ids": {"1": 1, "2": 25},
                "segmentations": masks,
            })  # fmt: skip
        table = {"sequences": sequences, "categories": CATEGORIES, "split": split}
        save_json(root / split / "all_classes.json", table)
