"""How `generate` places: by the pipeline or another method, one pair or folders of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from anydoor_lab.config.compose import plain
from anydoor_lab.runs.provenance import picture_facts
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import check_writable
from anydoor_lab.structures.images import checked_ending, read_image, write_image
from anydoor_lab.structures.pair import Pair

if TYPE_CHECKING:
    from anydoor_lab.evaluation.folders import Request
    from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
    from anydoor_lab.pipeline.results import Result

Placer = Callable[[Pair, str], list[np.ndarray]]
"""A pair and the shape it is told (`box` or `mask`) to its proposals, (H, W, 3) uint8 each."""
ONE_PICTURE = ("reference", "reference_mask", "scene", "mask")
FILES = (*ONE_PICTURE, "references", "scenes", "boxes", "run", "lora")
"""Settings that name files."""


def by_pipeline(cfg: DictConfig) -> bool:
    """Whether `method` is AnyDoor, to which all of the command's settings are handed."""
    return str(cfg.method._target_) == "anydoor_lab.AnyDoorMethod"


def loaded_pipeline(cfg: DictConfig) -> AnyDoorPipeline:
    """The trained pipeline with the command's extractor and adapters, on its device; says how."""
    from anydoor_lab.config import devices, pipelines
    from anydoor_lab.config.extractors import need_extractor

    source = cfg.run or pipelines.EMBEDDED
    pipeline = pipelines.load_pipeline(source)
    if cfg.get("idx"):
        need_extractor(pipeline, source, cfg.idx)
    if cfg.lora:
        pipeline.load_lora_weights(cfg.lora)
    return devices.place_as(pipeline, cfg, cfg.num_proposals)


def pipeline_placer(cfg: DictConfig, pipeline: AnyDoorPipeline) -> Placer:
    """Placing by the trained pipeline."""
    from anydoor_lab.config.collages import asked_collage

    names = ("num_proposals", "num_inference_steps", "guidance_scale", "seed", "blend", "preset")
    given: dict[str, Any] = {name: cfg[name] for name in names}
    given["collage"] = asked_collage(cfg, pipeline)

    def placed(pair: Pair, shape: Any) -> list[np.ndarray]:
        masks: Any = {"reference_mask": pair.reference_mask, "scene_mask": pair.scene_mask}
        asked = given | masks | {"shape": cfg.shape or shape}
        made: list[np.ndarray] = pipeline(
            pair.reference, pair.scene, **asked, output_type="np"
        ).images
        return made

    return placed


def method_placer(cfg: DictConfig) -> Placer:
    """Placing by another method; its networks are read now, not at the first picture.

    Raises:
        ValueError: something that it needs is missing.
    """
    from anydoor_lab.config.assemble import build_method, needs_pipeline
    from anydoor_lab.structures.rng import rng_for

    pipeline = loaded_pipeline(cfg) if needs_pipeline(cfg.method) else None
    method: Any = build_method(cfg.method, pipeline, cfg.device)
    _ = getattr(method, "pipeline", None)
    seeds = [cfg.seed + k for k in range(cfg.num_proposals)]

    def placed(pair: Pair, shape: str) -> list[np.ndarray]:
        del shape
        made: list[Result] = method([pair], [seeds], [rng_for(cfg.seed, 0, "method")])
        return [result.scene for result in made]

    return placed


def place_folders(cfg: DictConfig) -> None:
    """Place every object of a folder into every scene of another, or what a manifest asks for; the
    same command goes on where it stopped. Says where the pictures and their sheet are.

    Raises:
        ValueError: a folder is missing or of no use, or nothing could be placed.
        FileExistsError: a picture is there that was made otherwise.
    """
    from tqdm import tqdm

    from anydoor_lab.config.pipelines import silence_libraries
    from anydoor_lab.evaluation.folders import read_request, requests_of
    from anydoor_lab.evaluation.kept import digest

    _check_folders_alone(cfg)
    box: Any = OmegaConf.to_object(cfg.box) if OmegaConf.is_list(cfg.box) else cfg.box
    manifest = cfg.boxes and Path(cfg.boxes)
    requests, passed_over = requests_of(Path(cfg.references), Path(cfg.scenes), manifest, box)
    out = Path(cfg.out) if Path(cfg.out).suffix == "" else Path("placed")
    asked, failed = recipe(cfg), Counter(passed_over)
    files = {one: output_paths(out / f"{one.name}.png", cfg.num_proposals) for one in requests}
    todo = [one for one in requests if cfg.overwrite or not placed_before(one, files[one], asked)]
    print(f"asked    {len(requests)} pictures, {len(requests) - len(todo)} are there already")
    if todo:
        silence_libraries()
        check_writable(files[todo[0]][0])
        place = pipeline_placer(cfg, quiet(loaded_pipeline(cfg))) if by_pipeline(cfg) else (
            method_placer(cfg)
        )  # fmt: skip
    for one in tqdm(todo, "placing", unit="picture"):
        try:
            pair, scene = read_request(one)
            images = place(pair, "mask" if one.region else "box")
        except InputError as error:
            failed[" ".join(str(error).split())] += 1
            continue
        own = {**asked, "pair": digest(pair)}
        for k, (path, image) in enumerate(zip(files[one], images, strict=True)):
            write_image(path, scene.changed_to(image), facts=picture_facts(cfg.seed + k, own))
    for reason, number in failed.items():
        print(f"passed over {number}: {reason}")
    first = {one: paths[0] for one, paths in files.items()}
    print(f"pictures {out}\nsheet    {draw_sheet(first, out)}")


def placed_before(request: Request, paths: Sequence[Path], asked: Mapping[str, Any]) -> bool:
    """Whether all of a request's pictures are there, made from what its files show now.

    Raises:
        FileExistsError: one is there that was made otherwise.
    """
    from anydoor_lab.evaluation.folders import read_request
    from anydoor_lab.evaluation.kept import digest, made_before

    if not any(path.exists() for path in paths):
        return False
    try:
        pair, _ = read_request(request)
    except InputError:
        return False  # placing says why
    own = {**asked, "pair": digest(pair)}
    return all([made_before(path, own) for path in paths])  # every one that is there is looked at


def quiet(pipeline: AnyDoorPipeline) -> AnyDoorPipeline:
    """The pipeline without a bar of its own."""
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _check_folders_alone(cfg: DictConfig) -> None:
    """Raise ValueError unless both folders are given, and nothing that goes with one picture."""
    lacking = next((name for name in ("references", "scenes") if not cfg[name]), None)
    if lacking:
        raise InputError(f"{lacking} is not given; folders take references= and scenes=")
    foreign = next((name for name in ONE_PICTURE if cfg[name] is not None), None)
    if foreign:
        raise InputError(f"{foreign}= goes with one picture; leave it away beside references=")


def draw_sheet(files: dict[Request, Path], out: Path, most: int = 24) -> Path:
    """Write `sheet.png`: objects, scenes with their places and results, evenly picked.

    Raises:
        ValueError: there is no result.
    """
    from anydoor_lab.evaluation.folders import read_request
    from anydoor_lab.report.sheets import Cell, sheet

    done = [one for one, path in files.items() if path.exists()]
    if not done:
        raise InputError("nothing could be placed; see the reasons above")
    rows: list[Sequence[np.ndarray | Cell]] = []
    for one in done[:: max(1, -(-len(done) // most))]:
        pair, _ = read_request(one)
        rows.append([pair.reference, Cell(pair.scene, pair.scene_mask), read_image(files[one])])
    write_image(out / "sheet.png", sheet(rows))
    return out / "sheet.png"


def recipe(cfg: DictConfig) -> dict[str, Any]:
    """What was asked for, as it stands in the PNG: settings, files by name without folder, and the
    fingerprint of the weights, which are not read for it.

    Raises:
        ValueError: the folder of the weights does not exist.
    """
    from anydoor_lab.config.assemble import needs_pipeline
    from anydoor_lab.config.fingerprints import files_of, fingerprint, folders_of, weights_of
    from anydoor_lab.config.pipelines import EMBEDDED

    asked: Any = OmegaConf.to_container(cfg)
    for name in FILES:
        asked[name] = asked[name] and Path(asked[name]).name
    method = plain(cfg.method)
    asked["method"] = {
        key: Path(value).name if isinstance(value, str) and Path(value).is_dir() else value
        for key, value in method.items()
    }
    weights = weights_of(cfg.run or EMBEDDED) if needs_pipeline(cfg.method) else []
    folders = [*folders_of(plain(cfg.method)), *([Path(cfg.lora)] if cfg.lora else [])]
    weights += [path for folder in folders for path in files_of(folder)]
    asked["weights"] = fingerprint(weights) if weights else ""
    left_out = ("out", "overwrite", "device", "quality", "hydra", "eval")
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
