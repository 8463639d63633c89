"""The experiment on identity: objects placed into photographs, and a judge from outside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anydoor_lab.structures.errors import InputError

if TYPE_CHECKING:
    from anydoor_lab.evaluation.identity import Composed, Way

SKIMAGE = "skimage"
"""Stands for the photographs of scikit-image with a stated licence."""
ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
PROTOCOL = "longer side 0.4 of the scene's shorter; result's box against all cut-outs on white"


def object_identity(
    name: str,
    all_of: Sequence[Composed],
    ways: dict[str, Way],
    measure: str,
    out: Path,
    num_shown: int = 24,
) -> None:
    """Have EfficientNet-Lite0 judge the ways; print and write table, rows and sheet.

    Args:
        name: of the objects; the files' too.
        all_of: the objects, each before its photograph.
        ways: what puts them there.
        measure: the way that the others are compared with; empty for none.
        out: folder of `<name>.md`, `<name>.csv` and `<name>.png`.
        num_shown: objects on the sheet.
    """
    from anydoor_lab.evaluation.identity import IdentityJudge, anchors
    from anydoor_lab.metrics.effnet import effnet_judge
    from anydoor_lab.report.caption import Caption
    from anydoor_lab.report.identity import identity_rows, identity_sheet, identity_table
    from anydoor_lab.report.rows import rows_frame
    from anydoor_lab.runs.provenance import commit
    from anydoor_lab.structures.files import write_whole
    from anydoor_lab.structures.images import write_image

    judge, results, found = IdentityJudge(all_of, *effnet_judge()), {}, {}
    for way, make in (anchors(all_of) | ways).items():
        results[way] = [make(one) for one in all_of]
        found[way] = judge(results[way])
        print(f"judged   {way}", flush=True)
    sizes = sorted({f"{one.scene.shape[0]}x{one.scene.shape[1]}" for one in all_of})
    caption = Caption(f"Identity of {name}", "tiny", PROTOCOL, 0, commit(), len(all_of),
                      f"scenes of {', '.join(sizes)} px")  # fmt: skip
    table = identity_table(found, caption)
    rows = identity_rows(found, measure, caption, data=name, config="")
    print(table.terminal())
    print(f"table    {write_whole(out / f'{name}.md', table.markdown())}")
    text = rows_frame(rows).to_csv(index=False, lineterminator="\n")
    print(f"rows     {write_whole(out / f'{name}.csv', text)}")
    shown = {way: made for way, made in results.items() if way == "copy-paste" or way in ways}
    sheet = out / f"{name}.png"
    write_image(sheet, identity_sheet(all_of, shown, num_shown))
    print(f"sheet    {sheet}: on white, place, {', '.join(shown)}")


def before_scenes(
    objects: Sequence[tuple[str, np.ndarray]], scenes: Sequence[np.ndarray]
) -> list[Composed]:
    """Each object (name and RGBA) in the middle of a scene, the scenes taking turns."""
    from anydoor_lab.evaluation.identity import composed

    return [composed(name, cut, scenes[i % len(scenes)]) for i, (name, cut) in enumerate(objects)]


def held_out_things(number: int) -> list[tuple[str, np.ndarray]]:
    """Names and RGBA pictures of at most `number` held-out rendered things."""
    from anydoor_lab import Things
    from anydoor_lab.data.things import originals

    things = Things(split="held_out", filled=0.0, drawn=0.0)
    found = [things.attributes(index) for index in range(min(number, len(things)))]
    return [(f"{t.name} {t.code}", originals.sprite(t.still or t.frames[0])) for t in found]


def cut_outs(folder: Path, number: int) -> list[tuple[str, np.ndarray]]:
    """Names and RGBA pictures of at most `number` files of a folder that have alpha.

    Raises:
        ValueError: no folder, none has alpha, or one is wholly transparent.
    """
    from anydoor_lab.evaluation.identity import SOLID
    from anydoor_lab.structures.images import read_original, read_rgba

    files = [path for path in _pictures(folder) if read_original(path).alpha is not None]
    if not files:
        raise InputError(f"{folder} has no picture with alpha; give a folder of cut-outs")
    found = [(path.stem, read_rgba(path)) for path in files[:number]]
    for name, rgba in found:
        if not (rgba[..., 3] > SOLID).any():
            raise InputError(f"{name} of {folder} is wholly transparent; take it out")
    return found


def photographs(sources: Sequence[str]) -> list[np.ndarray]:
    """The pictures of folders, where `SKIMAGE` stands for those of scikit-image; without a source
    the package's own that nothing was trained on.

    Raises:
        ValueError: no such folder, or nothing in it.
    """
    from anydoor_lab.data.things import sheets
    from anydoor_lab.data.things.catalogue import packaged_index
    from anydoor_lab.structures.images import read_image

    if not sources:
        scenes = enumerate(packaged_index()["scenes"])
        return [sheets.scene(place) for place, entry in scenes if entry["split"] == "held_out"]
    found: list[np.ndarray] = []
    for source in sources:
        own = list(_skimage() if source == SKIMAGE else map(read_image, _pictures(Path(source))))
        if not own:
            raise InputError(f"{source} has no photograph ({', '.join(ENDINGS)}); give another")
        found += own
    return found


def _skimage() -> Iterator[np.ndarray]:
    from anydoor_lab.data.readers.photos import Photos
    from anydoor_lab.structures.rng import rng_for

    photos = Photos(held_out=0)
    pairs = [photos.pair(index, rng_for(0, index, "photo")) for index in range(len(photos))]
    yield from {pair.origin.split(":")[0]: pair.scene for pair in pairs}.values()


def _pictures(folder: Path) -> Iterator[Path]:
    """Picture files of a folder, without masks."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give one of pictures")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
    yield from (path for path in found if not path.stem.endswith("_mask"))


def placing(runs: Sequence[str], fast: bool = False) -> dict[str, Way]:
    """The ways of pipelines or runs, by name; `fast` takes two steps.

    Raises:
        ValueError: one of them cannot be read.
    """
    from anydoor_lab.config.pipelines import load_pipeline, silence_libraries
    from anydoor_lab.evaluation.identity import placed_by

    silence_libraries()
    ways = {}
    for run in runs:
        pipeline = load_pipeline(run)
        pipeline.set_progress_bar_config(disable=True)
        if fast:
            pipeline.register_to_config(num_inference_steps=2)
        ways[run] = placed_by(pipeline)
    return ways


def autoencoding(folders: Sequence[Path], side_px: int) -> dict[str, Way]:
    """The ways through autoencoders, by folder, and before them through nothing but `side_px`.

    Raises:
        ValueError: one of them cannot be read.
    """
    import torch
    from diffusers import AutoencoderKL

    from anydoor_lab.evaluation.identity import through
    from anydoor_lab.models.sources import reading

    ways = {"resized": through(None, side_px)} if folders else {}
    for folder in folders:
        with reading(folder):
            network = AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32).eval()
        ways[str(folder)] = through(network, side_px)
    return ways
