"""Draw what the stored folders place: `python draw.py <new folder> [<name> ...]`.

Only public names stand here, so that the same file draws before and after modules move. A name is
a folder below the working folder, or a choice of the embedded network; without names it draws all.
Beside one PNG per name it writes `pictures.json`: the SHA-256 of each one's pixels, and on what
they were drawn. `PORTABLE` asks the libraries for instructions that every x86-64 processor has.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
PORTABLE = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OMP_NUM_THREADS": "1",
}
FOLDERS = ("run", "run_lora", "pipeline/vgg", "pipeline/clip", "pipeline/dinov2", "converted")
EXTRACTORS = ("vgg", "clip", "dinov2", "dinov2_global", "dinov2_patch_noseg")
COLLAGES = ("none", "original", "noise", "shuffle", "hf")
EMBEDDED = (
    *(f"embedded/idx={name}" for name in EXTRACTORS),
    *(f"embedded/collage={name}" for name in COLLAGES),
)
SEED = 3


def draw(name: str) -> np.ndarray:
    """The picture of a name, (64, 64, 3) uint8."""
    from anydoor_lab import build_pipeline, compose_config, load_pipeline

    choice = name.removeprefix("embedded/")
    if choice == name:
        # a converted pipeline's whole crop is written back by another rule since (the released one)
        return place(load_pipeline(name), blend="box" if name == "converted" else "crop")
    group, value = choice.split("=")
    if group == "idx":
        return place(build_pipeline(compose_config("train", choice)))
    return place(load_pipeline("embedded:anydoor"), collage=value)


def place(pipeline: Any, **choices: Any) -> np.ndarray:
    """The stored pair's scene with the generated crop in it, (64, 64, 3) uint8."""
    from anydoor_lab import read_image, read_mask

    pipeline.set_progress_bar_config(disable=True)
    pair = [read_image(HERE / "pair" / f"{name}.png") for name in ("reference", "scene")]
    masks = [read_mask(HERE / "pair" / f"{name}_mask.png") for name in ("reference", "scene")]
    placed = pipeline(*pair, *masks, seed=SEED, output_type="np", **{"blend": "crop", **choices})
    picture: np.ndarray = placed.images[0]
    return picture


def pixels_hash(picture: np.ndarray) -> str:
    """SHA-256 of a picture's bytes."""
    return hashlib.sha256(picture.tobytes()).hexdigest()


def ground() -> dict[str, str]:
    """What equal bits depend on: libraries, instructions, architecture."""
    import torch

    names = ("torch", "diffusers", "transformers", "numpy", "opencv-python-headless")
    libraries = {name: version(name) for name in names}
    chosen = torch.backends.cpu.get_cpu_capability()
    return {**libraries, "cpu_capability": chosen, "machine": platform.machine()}


def main(out: Path, names: Sequence[str]) -> None:
    """Write the pictures and their hashes into `out`."""
    hashes = {}
    for name in names:
        picture = draw(name)
        path = out / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
        hashes[name] = pixels_hash(picture)
    facts = {"ground": ground(), "sha256": hashes}
    (out / "pictures.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or (*FOLDERS, *EMBEDDED))
