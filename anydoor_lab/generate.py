"""The door to placing: `python -m anydoor_lab.generate reference= scene= box= out=`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from anydoor_lab.config.door import door
from anydoor_lab.pipeline.inputs import checked_box
from anydoor_lab.runs.provenance import picture_facts
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.checks import UnusablePair, check_finite
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import check_writable
from anydoor_lab.structures.images import (
    check_quality,
    checked_ending,
    read_facts,
    read_image,
    read_mask,
    read_original,
    write_image,
)
from anydoor_lab.structures.originals import Original
from anydoor_lab.structures.pair import Pair

if TYPE_CHECKING:
    from anydoor_lab.evaluation.folders import Request


FOLDERS = ("references", "scenes", "boxes")


@door("generate")
def main(cfg: DictConfig) -> None:
    """Place an object into a scene and write the result, once per proposal; or a folder's objects
    into another one's scenes."""
    if cfg.references or cfg.scenes:
        place_folders(cfg)
        return
    for name in ("reference", "scene"):
        if cfg[name] is None:
            raise InputError(f"{name} is not given; add {name}=<picture> (or references=<folder> "
                             "scenes=<folder>)")  # fmt: skip
    outputs = output_paths(Path(cfg.out), cfg.num_proposals)
    if not cfg.overwrite:
        refuse_existing(outputs)
    check_writable(outputs[0])
    scene = read_original(cfg.scene)
    pair = read_pair(cfg, scene)
    check_output(cfg, outputs, scene)
    say_what_is_done(pair, cfg)

    from anydoor_lab.conditioning.edit import planned_edit
    from anydoor_lab.config import devices, pipelines
    from anydoor_lab.config.collages import asked_collage
    from anydoor_lab.config.extractors import need_extractor
    from anydoor_lab.diffusion.presets import PRESETS

    pipelines.silence_libraries()
    source = cfg.run or pipelines.EMBEDDED
    pipeline = pipelines.load_pipeline(source)
    if cfg.get("idx"):
        need_extractor(pipeline, source, cfg.idx)
    if cfg.lora:
        pipeline.load_lora_weights(cfg.lora)
    pipeline = devices.place_as(pipeline, cfg, cfg.num_proposals)
    edit = planned_edit(
        pair.scene_mask, pipeline.conditioner().placement(pair), cfg.blend, pair.reference_mask
    )
    print("\n".join([f"writes   {edit}", *(f"warning  {w}" for w in edit.warnings)]), flush=True)
    names = ("num_proposals", "num_inference_steps", "guidance_scale", "seed", "blend", "preset")
    placed = pipeline(
        pair.reference,
        pair.scene,
        reference_mask=pair.reference_mask,
        scene_mask=pair.scene_mask,
        shape=cfg.shape or ("mask" if cfg.mask else "box"),
        collage=asked_collage(cfg, pipeline),
        output_type="np",
        **{name: cfg[name] for name in names},
    )
    if cfg.preset != "exact":
        cost = pipelines.preset_cost(source, cfg.preset)
        print(f"preset   {cfg.preset}: {PRESETS[cfg.preset].says}; {cost}")
    asked = recipe(cfg)
    for k, (path, image) in enumerate(zip(outputs, placed.images, strict=True)):
        facts = picture_facts(cfg.seed + k, asked)
        write_image(path, scene.changed_to(image), quality=cfg.quality, facts=facts)
        print(f"picture  {path}")


def place_folders(cfg: DictConfig) -> None:
    """Place every object of a folder into every scene of another, or what a manifest asks for; the
    same command goes on where it stopped. Says where the pictures and their sheet are."""
    from collections import Counter

    from tqdm import tqdm

    from anydoor_lab.evaluation.folders import read_request, requests_of

    lacking = next((name for name in ("references", "scenes") if not cfg[name]), None)
    if lacking:
        raise InputError(f"{lacking} is not given; folders take references= and scenes=")
    box: Any = OmegaConf.to_object(cfg.box) if OmegaConf.is_list(cfg.box) else cfg.box
    manifest = cfg.boxes and Path(cfg.boxes)
    requests, passed_over = requests_of(Path(cfg.references), Path(cfg.scenes), manifest, box)
    out = Path(cfg.out) if Path(cfg.out).suffix == "" else Path("placed")
    asked = recipe(cfg)
    todo = [one for one in requests if not made_before(out / f"{one.name}.png", asked, cfg)]
    print(f"asked    {len(requests)} pictures, {len(requests) - len(todo)} are there already")
    place, failed = placer(cfg) if todo else None, Counter(passed_over)
    for one in tqdm(todo, "placing", unit="picture"):
        try:
            pair, scene = read_request(one)
            image = place(pair) if place else pair.scene
        except (InputError, UnusablePair) as error:
            failed[" ".join(str(error).split())] += 1
            continue
        write_image(out / f"{one.name}.png", scene.changed_to(image),
                    facts=picture_facts(cfg.seed, asked))  # fmt: skip
    for reason, number in failed.items():
        print(f"passed over {number}: {reason}")
    print(f"pictures {out}\nsheet    {draw_sheet(requests, out)}")


def made_before(path: Path, asked: dict[str, Any], cfg: DictConfig) -> bool:
    """Whether a picture is there, made as asked.

    Raises:
        FileExistsError: it was made otherwise.
    """
    if not path.exists() or cfg.overwrite:
        return False
    if read_facts(path).get("recipe") != asked:
        raise FileExistsError(f"{path} was made otherwise; choose another out= or overwrite=true")
    return True


def placer(cfg: DictConfig) -> Callable[[Pair], np.ndarray]:
    """The scene (H, W, 3) with the object, by the command's method."""
    from hydra.core.hydra_config import HydraConfig

    from anydoor_lab.config import devices, pipelines
    from anydoor_lab.config.assemble import build_method, needs_pipeline
    from anydoor_lab.config.collages import asked_collage
    from anydoor_lab.structures.rng import rng_for

    pipelines.silence_libraries()
    pipeline = None
    if needs_pipeline(cfg.method):
        pipeline = pipelines.load_pipeline(cfg.run or pipelines.EMBEDDED)
        pipeline = devices.place_as(pipeline, cfg)
        pipeline.set_progress_bar_config(disable=True)
    if HydraConfig.get().runtime.choices.get("method") != "anydoor" or pipeline is None:
        method = build_method(cfg.method, pipeline)
        return lambda pair: method([pair], [[cfg.seed]], [rng_for(cfg.seed, 0, "method")])[0].scene
    names = ("num_inference_steps", "guidance_scale", "seed", "blend", "preset")
    given: dict[str, Any] = {name: cfg[name] for name in names} | {"shape": cfg.shape or "box"}

    def placed(pair: Pair) -> np.ndarray:
        masks: Any = {"reference_mask": pair.reference_mask, "scene_mask": pair.scene_mask}
        collage = asked_collage(cfg, pipeline)
        done = pipeline(
            pair.reference, pair.scene, **masks, **given, collage=collage, output_type="np"
        )
        image: np.ndarray = done.images[0]
        return image

    return placed


def draw_sheet(requests: Sequence[Request], out: Path, most: int = 24) -> Path:
    """Write `sheet.png`: objects, scenes with their places and results, evenly picked."""
    from anydoor_lab.evaluation.folders import read_request
    from anydoor_lab.report.sheets import Cell, sheet

    done = [one for one in requests if (out / f"{one.name}.png").exists()]
    if not done:
        raise InputError("nothing could be placed; see the reasons above")
    rows: list[list[np.ndarray | Cell]] = []
    for one in done[:: max(1, -(-len(done) // most))]:
        pair, _ = read_request(one)
        result = read_image(out / f"{one.name}.png")
        rows.append([pair.reference, Cell(pair.scene, pair.scene_mask), result])
    write_image(out / "sheet.png", sheet(rows))
    return out / "sheet.png"


def say_what_is_done(pair: Pair, cfg: DictConfig) -> None:
    """Print, before anything takes time, with which weights which part of the scene is edited."""
    region, (height, width) = Box.around(pair.scene_mask), pair.scene.shape[:2]
    tuned = f" with {cfg.lora}" if cfg.lora else ""
    print(f"weights  {cfg.run or 'the embedded tiny network'}{tuned}")
    print(
        f"edit     [{region.y1}, {region.x1}, {region.y2}, {region.x2}] "
        f"({region.height}x{region.width} of {height}x{width} pixels)",
        flush=True,
    )


def read_pair(cfg: DictConfig, original: Original) -> Pair:
    """The object and the place in the scene's original that the command names.

    Raises:
        ValueError: no mask for the reference, not exactly one of box and mask, or unreadable.
    """
    scene = original.rgb
    if (cfg.box is None) == (cfg.mask is None):
        raise InputError("give either box=[y1,x1,y2,x2] or mask=<picture>, exactly one of them")
    if cfg.box is not None:
        box: Any = OmegaConf.to_object(cfg.box) if OmegaConf.is_list(cfg.box) else cfg.box
        region = checked_box(box, *scene.shape[:2]).mask(*scene.shape[:2])
    else:
        region = read_mask(cfg.mask)
    reference = read_original(cfg.reference)
    if cfg.reference_mask is not None:
        object_mask = read_mask(cfg.reference_mask)
    elif reference.alpha is not None:
        object_mask = reference.alpha > 128
    else:
        raise InputError(f"{cfg.reference} has no alpha; give reference_mask=<picture> as well")
    original.check_visible(region)
    return Pair(reference.rgb, object_mask, scene, region, origin=str(cfg.reference))


def check_output(cfg: DictConfig, outputs: list[Path], scene: Original) -> None:
    """Find out before the work that the results can be written.

    Raises:
        ValueError: the folder cannot be written to, the format does not hold the scene's alpha,
            or a quality or guidance that is none.
    """
    check_quality(cfg.quality)
    if cfg.guidance_scale is not None:
        check_finite("guidance_scale", cfg.guidance_scale)
    if scene.alpha is not None and checked_ending(outputs[0]) in (".jpg", ".jpeg"):
        raise InputError(f"{cfg.scene} has alpha, which {outputs[0]} cannot hold; choose .png")
    for path in outputs:
        check_writable(path)


def recipe(cfg: DictConfig) -> dict[str, Any]:
    """What was asked for, as it stands in the PNG: settings, and files by name without folder."""
    asked: Any = OmegaConf.to_container(cfg)
    for name in ("reference", "reference_mask", "scene", "mask", "run", "lora", *FOLDERS):
        asked[name] = asked[name] and Path(asked[name]).name
    left_out = ("out", "overwrite", "device", "quality", "hydra")
    return {name: value for name, value in asked.items() if name not in left_out}


def output_paths(out: Path, number: int) -> list[Path]:
    """One file per proposal.

    Raises:
        ValueError: an ending of another format, or fewer than one proposal.
    """
    checked_ending(out)
    if number < 1:
        raise InputError(f"num_proposals is {number}; expected at least 1")
    if number == 1:
        return [out]
    return [out.with_name(f"{out.stem}_{k}{out.suffix}") for k in range(number)]


def refuse_existing(outputs: list[Path]) -> None:
    """Raise FileExistsError if one of the files is there already."""
    for path in outputs:
        if path.exists():
            raise FileExistsError(f"{path} exists; choose another out= or add overwrite=true")


if __name__ == "__main__":
    main()
