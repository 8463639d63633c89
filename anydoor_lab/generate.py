"""The door to placing: `python -m anydoor_lab.generate reference= scene= box= out=`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from anydoor_lab.config.door import door
from anydoor_lab.pipeline.inputs import checked_box
from anydoor_lab.runs.provenance import picture_facts
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.checks import check_finite
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import check_writable
from anydoor_lab.structures.images import (
    check_quality,
    checked_ending,
    read_mask,
    read_original,
    write_image,
)
from anydoor_lab.structures.originals import Original
from anydoor_lab.structures.pair import Pair

if TYPE_CHECKING:
    from anydoor_lab.pipeline.anydoor import AnyDoorPipeline


@door("generate")
def main(cfg: DictConfig) -> None:
    """Place an object into a scene and write the result, once per proposal; or a folder's objects
    into another one's scenes."""
    if cfg.references or cfg.scenes:
        from anydoor_lab.config.placing import place_folders

        place_folders(cfg)
        return
    for name in ("reference", "scene"):
        if cfg[name] is None:
            raise InputError(f"{name} is not given; add {name}=<picture> (or references=<folder> "
                             "scenes=<folder>)")  # fmt: skip
    from anydoor_lab.config import pipelines, placing

    outputs = placing.output_paths(Path(cfg.out), cfg.num_proposals)
    if not cfg.overwrite:
        refuse_existing(outputs)
    check_writable(outputs[0])
    scene = read_original(cfg.scene)
    pair = read_pair(cfg, scene)
    check_output(cfg, outputs, scene)
    say_what_is_done(pair, cfg)

    pipelines.silence_libraries()
    shape = "mask" if cfg.mask else "box"
    if placing.by_pipeline(cfg):
        pipeline = placing.loaded_pipeline(cfg)
        say_what_is_written(pipeline, pair, cfg)
        images = placing.pipeline_placer(cfg, pipeline)(pair, shape)
        say_what_the_preset_costs(cfg)
    else:
        images = placing.method_placer(cfg)(pair, shape)
    asked = placing.recipe(cfg)
    for k, (path, image) in enumerate(zip(outputs, images, strict=True)):
        facts = picture_facts(cfg.seed + k, asked)
        write_image(path, scene.changed_to(image), quality=cfg.quality, facts=facts)
        print(f"picture  {path}")


def say_what_is_written(pipeline: AnyDoorPipeline, pair: Pair, cfg: DictConfig) -> None:
    """Print how much the networks write, and what another setting would do better."""
    from anydoor_lab.conditioning.edit import planned_edit

    edit = planned_edit(
        pair.scene_mask, pipeline.conditioner().placement(pair), cfg.blend, pair.reference_mask
    )
    print("\n".join([f"writes   {edit}", *(f"warning  {w}" for w in edit.warnings)]), flush=True)


def say_what_the_preset_costs(cfg: DictConfig) -> None:
    """Print what an approximate preset does and costs."""
    from anydoor_lab.config import pipelines
    from anydoor_lab.diffusion.presets import PRESETS

    if cfg.preset != "exact":
        cost = pipelines.preset_cost(cfg.run or pipelines.EMBEDDED, cfg.preset)
        print(f"preset   {cfg.preset}: {PRESETS[cfg.preset].says}; {cost}")


def say_what_is_done(pair: Pair, cfg: DictConfig) -> None:
    """Print, before anything takes time, with which weights which part of the scene is edited."""
    region, (height, width) = Box.around(pair.scene_mask), pair.scene.shape[:2]
    tuned = f" with {cfg.lora}" if cfg.lora else ""
    weights = f"{cfg.run or 'the embedded tiny network'}{tuned}"
    other = cfg.method._target_ != "anydoor_lab.AnyDoorMethod"
    print(f"method   {cfg.method._target_}" if other else f"weights  {weights}")
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


def refuse_existing(outputs: list[Path]) -> None:
    """Raise FileExistsError if one of the files is there already."""
    for path in outputs:
        if path.exists():
            raise FileExistsError(f"{path} exists; choose another out= or add overwrite=true")


if __name__ == "__main__":
    main()
