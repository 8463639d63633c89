"""The door to placing: `python -m anydoor_lab.generate reference= scene= box= out=`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from anydoor_lab.config.door import door
from anydoor_lab.pipeline.inputs import checked_box
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import check_writable
from anydoor_lab.structures.images import has_alpha, read_image, read_mask, write_png
from anydoor_lab.structures.pair import Pair


@door("generate")
def main(cfg: DictConfig) -> None:
    """Place an object into a scene and write the result, once per proposal."""
    outputs = output_paths(Path(cfg.out), cfg.num_proposals)
    if not cfg.overwrite:
        refuse_existing(outputs)
    check_writable(outputs[0])
    refuse_unread(list(HydraConfig.get().overrides.task))
    pair = read_pair(cfg)
    say_what_is_done(pair, cfg)

    from anydoor_lab.config import pipelines
    from anydoor_lab.config.extractors import need_extractor
    from anydoor_lab.diffusion.presets import PRESETS

    pipelines.silence_libraries()
    source = cfg.run or pipelines.EMBEDDED
    pipeline = pipelines.load_pipeline(source)
    if cfg.get("idx"):
        need_extractor(pipeline, source, cfg.idx)
    if cfg.lora:
        pipeline.load_lora_weights(cfg.lora)
    pipeline = pipelines.place(pipeline, cfg.device)
    print(f"device   {pipeline.device.type}", flush=True)
    names = ("num_proposals", "num_inference_steps", "guidance_scale", "seed", "blend", "preset")
    placed = pipeline(
        pair.reference,
        pair.scene,
        reference_mask=pair.reference_mask,
        scene_mask=pair.scene_mask,
        shape=cfg.shape or ("mask" if cfg.mask else "box"),
        collage=pipelines.chosen_collage(cfg) if cfg.get("collage") else None,
        output_type="np",
        **{name: cfg[name] for name in names},
    )
    if cfg.preset != "exact":
        cost = pipelines.preset_cost(source, cfg.preset)
        print(f"preset   {cfg.preset}: {PRESETS[cfg.preset].says}; {cost}")
    for path, image in zip(outputs, placed.images, strict=True):
        write_png(path, image)
        print(f"picture  {path}")


def refuse_unread(overrides: Sequence[str]) -> None:
    """Refuse settings of the collage: it is shown as the weights were trained with it.

    Raises:
        ValueError: one is given.
    """
    for key in (text.lstrip("+").split("=")[0] for text in overrides):
        if key.startswith("collage."):
            raise InputError(
                f"{key} is a setting of training: generate shows a collage as its weights know it; "
                "leave it out, or train with it"
            )


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


def read_pair(cfg: DictConfig) -> Pair:
    """The object and the place that the command names.

    Raises:
        ValueError: no mask for the reference, not exactly one of box and mask, or unreadable.
    """
    scene = read_image(cfg.scene)
    if (cfg.box is None) == (cfg.mask is None):
        raise InputError("give either box=[y1,x1,y2,x2] or mask=<picture>, exactly one of them")
    if cfg.box is not None:
        box: Any = OmegaConf.to_object(cfg.box) if OmegaConf.is_list(cfg.box) else cfg.box
        region = checked_box(box, *scene.shape[:2]).mask(*scene.shape[:2])
    else:
        region = read_mask(cfg.mask)
    if cfg.reference_mask is None and not has_alpha(cfg.reference):
        raise InputError(f"{cfg.reference} has no alpha; give reference_mask=<picture> as well")
    object_mask = read_mask(cfg.reference_mask or cfg.reference)
    return Pair(read_image(cfg.reference), object_mask, scene, region, origin=str(cfg.reference))


def output_paths(out: Path, number: int) -> list[Path]:
    """One file per proposal.

    Raises:
        ValueError: not a .png, or fewer than one proposal.
    """
    if out.suffix.lower() != ".png":
        raise InputError(f"out is {out}; expected a file ending in .png")
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
