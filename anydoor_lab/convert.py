"""The door to the released checkpoint: `python -m anydoor_lab.convert source= out=`."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from anydoor_lab.config.door import door
from anydoor_lab.models.embedded import converted_folder
from anydoor_lab.models.hub import HubName, parsed
from anydoor_lab.structures.checks import check_choice
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import check_writable

if TYPE_CHECKING:
    from anydoor_lab.models.official.checkpoint import Component

LAYOUTS = ("diffusers", "official")


@door("convert")
def main(cfg: DictConfig) -> None:
    """Convert a checkpoint and say what became of its tensors."""
    source = Path(cfg.source)
    check_choice("layout", cfg.layout, LAYOUTS)
    name = None if source.exists() else parsed(str(cfg.source))
    if name is not None and cfg.layout == "diffusers":
        from_hub(name, cfg)
        return
    if cfg.out is None:
        raise InputError("out is not given; add out=... (python -m anydoor_lab.convert --help)")
    out = free_place(cfg.out)
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist; give a checkpoint's file or a folder")
    if cfg.layout == "official":
        to_official(source, out)
    else:
        to_folder(source, out, cfg)


def free_place(path: str | Path) -> Path:
    """A path that something can be written to.

    Raises:
        FileExistsError: something is there.
        ValueError: it cannot be written.
    """
    if Path(path).exists():
        raise FileExistsError(f"{path} exists; choose another out=")
    check_writable(path)
    return Path(path)


def from_hub(name: HubName, cfg: DictConfig) -> None:
    """Fetch what a hub name stands for; a checkpoint in one file becomes a folder, in the user's
    cache if no `out` is given. What is there already is not made again."""
    from anydoor_lab.config import fetching
    from anydoor_lab.models.sources import INDEX
    from anydoor_lab.pipeline.saved import is_own

    kept = converted_folder(cfg.source)
    if cfg.out is None and kept.is_dir():
        print(f"networks {kept} are there already, where the commands find them by {cfg.source}")
        return
    out = free_place(cfg.out or kept)
    there = fetching.published(name, cfg.source)
    file = fetching.checkpoint(there, cfg.source)
    if file is not None:
        check_settings(cfg)
        source = fetching.get(there, [file], out) / file.path
        to_folder(source, out, cfg)
        spare = f"hf cache rm {name.kind}/{name.repo}"
        print(f"download {source} is no longer needed; {spare} frees {file.size / 1e9:.1f} GB")
        return
    if cfg.out is not None:
        raise InputError(f"{cfg.source} needs no conversion; leave out= away to fetch it")
    folder = fetching.get(there, fetching.network_files(there))
    print(f"networks {folder}, where the commands find them by {cfg.source}")
    if is_own(folder / INDEX):
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.unlink(missing_ok=True)  # of a cache that is gone
        kept.symlink_to(folder)


def to_folder(path: Path, out: Path, cfg: DictConfig) -> None:
    """Write a checkpoint file as a folder: a pipeline's, or of a plain base its UNet and VAE."""
    from diffusers import DDIMScheduler
    from tqdm import tqdm

    from anydoor_lab.models.official import checkpoint, schedule
    from anydoor_lab.models.official.sizes import Heads
    from anydoor_lab.models.official.source import opened

    if path.is_dir():
        raise InputError(f"{path} is a folder; to make one file of it add layout=official")
    check_settings(cfg)
    heads = Heads(cfg.unet_head_channels, cfg.dino_head_channels)
    with opened(path) as source, _published(out) as part:
        parts = checkpoint.components(source, heads)
        check_pixels({part.name: part.network.config for part in parts}, cfg)
        for component in tqdm(parts, desc="writing", unit="network"):
            checkpoint.write_component(component, source, part / component.name)
        betas = source.fetch("betas") if "betas" in source.shapes else schedule.stable_diffusion()
        scheduler = DDIMScheduler(**schedule.scheduler_config(betas))
        with checkpoint.writing(out):
            scheduler.save_pretrained(part / "scheduler")
            if not checkpoint.is_plain_base(source):
                _save_index(parts, scheduler, part, cfg)
        if checkpoint.is_plain_base(source) and cfg.check_prediction:
            checkpoint.check_prediction(part, scheduler)
        ignored = sorted(set(source.shapes) - {s.key for c in parts for s in c.slots.values()})
    named = ", ".join(ignored[:20]) + (" ..." if len(ignored) > 20 else "")
    taken = sum(len({s.key for s in c.slots.values()}) for c in parts)
    print(f"{taken} tensors taken, {len(ignored)} not needed: {named}\npipeline {out}")


def check_settings(cfg: DictConfig) -> None:
    """Raise ValueError unless the settings are numbers a pipeline can have."""
    from anydoor_lab.models.official.sizes import positive

    for name in ("resolution", "id_size", "num_inference_steps"):
        positive(name, cfg[name])
    guidance = cfg.guidance_scale
    if not isinstance(guidance, int | float) or not math.isfinite(guidance) or guidance < 0:
        raise InputError(f"guidance_scale is {guidance!r}; expected a number of at least 0")
    if not isinstance(cfg.check_prediction, bool):
        raise InputError(f"check_prediction is {cfg.check_prediction!r}; expected true or false")


def check_pixels(configs: Mapping[str, Any], cfg: DictConfig) -> None:
    """Raise ValueError unless the networks divide the pictures evenly.

    Args:
        configs: of the networks, by component.
        cfg: the command's.
    """
    halvings = sum(len(configs[name]["block_out_channels"]) - 1 for name in ("vae", "unet"))
    steps = {"resolution": 2**halvings}
    if "id_extractor" in configs:
        steps["id_size"] = configs["id_extractor"]["encoder_config"]["patch_size"]
    for name, step in steps.items():
        if cfg[name] % step:
            raise InputError(f"{name} is {cfg[name]}; these networks need a multiple of {step}")


def _save_index(parts: list[Component], scheduler: Any, folder: Path, cfg: DictConfig) -> None:
    """The pipeline's own config, with the released way of showing pairs."""
    from anydoor_lab.pipeline.anydoor import AnyDoorPipeline

    AnyDoorPipeline(
        **{component.name: component.network for component in parts},
        scheduler=scheduler,
        resolution=cfg.resolution,
        id_size=cfg.id_size,
        num_inference_steps=cfg.num_inference_steps,
        guidance_scale=cfg.guidance_scale,
        preprocessing="official",
    ).save_config(folder)


def to_official(folder: Path, out: Path) -> None:
    """Write a saved pipeline as one file in the released layout, or refuse what it would lose."""
    from tqdm import tqdm

    from anydoor_lab.models.official import checkpoint, released

    tensors: dict[str, Any] = {}
    for name in tqdm(checkpoint.PARTS, desc="reading", unit="network"):
        tensors |= released.official_tensors(folder, name)
    precision = next(iter(tensors.values())).dtype
    tensors |= released.official_buffers(folder, precision)
    unsaid = ", ".join(released.unsaid(folder, released.check_kept(folder, tensors)))
    with _published(out) as part, checkpoint.writing(out):
        released.write_official(tensors, part)
    print(f"{len(tensors)} tensors\nnot in the file: {unsaid}\ncheckpoint {out}")


@contextmanager
def _published(out: Path) -> Iterator[Path]:
    """A place beside `out` that becomes `out` at the end, and nothing at all after an error."""
    part = out.with_name(f".part.{out.name}")  # the suffix stays: it says which format
    made = [folder for folder in out.parents if not folder.exists()]
    out.parent.mkdir(parents=True, exist_ok=True)
    _remove(part)
    try:
        yield part
        part.rename(out)
    except BaseException:
        _remove(part)
        with suppress(OSError):  # somebody else uses it by now
            for folder in made:
                folder.rmdir()
        raise


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
