"""Pretrained networks by name or by folder: every one becomes a complete local folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from anydoor_lab.models.embedded import PREFIX, locate
from anydoor_lab.structures.errors import AnyDoorError, InputError

WEIGHTS = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
)
"""Files that can hold a network's weights; the index of several files counts for all of them."""
SHARDS = ("diffusion_pytorch_model-*-of-*.safetensors", "model-*-of-*.safetensors")
CONFIGS = ("config.json", "scheduler_config.json")
POINTER = b"version https://git-lfs.github.com/spec/"
"""How a file begins that git-lfs has not fetched yet."""
HUB_NAME = re.compile(r"\w[\w.-]*/[\w.-]+")


class MissingError(InputError):
    """No source of a network is there; the message says which, why, and what to do."""


def obtain(
    source: str | Path | Sequence[str],
    parts: Sequence[str] = ("",),
    setting: str = "the source",
    download: bool = True,
) -> Path:
    """The local folder of a pretrained network: embedded, a folder, or from the hub's cache.

    Args:
        source: `embedded:<part>`, a folder, a hub name `owner/name`, or several of them, which
            are tried in this order.
        parts: the subfolders that must be complete; "" is the folder itself. A scheduler needs its
            config only.
        setting: where the user says otherwise, for the message.
        download: ask the hub for what its cache lacks.

    Raises:
        MissingError: none of the sources is complete; one sentence for all of them.
    """
    sources = [str(source)] if isinstance(source, str | Path) else [str(one) for one in source]
    faults = []
    for one in sources:
        fault = _not_a_folder(one)
        folder = Path(locate(one)).expanduser()
        if not fault and not folder.is_dir():
            folder, fault = _from_hub(one, parts, download)
        fault = fault or lacking(folder, parts)
        if not fault:
            return folder
        faults.append(f"{one} ({fault})")
    found = f"found neither {' nor '.join(faults)}" if len(faults) > 1 else f"no {faults[0]}"
    raise MissingError(
        f"{setting}: {found}; download it where there is a network, then give its folder: "
        f"{setting}=/path/to/folder"
    )


@contextmanager
def reading(what: str | Path) -> Iterator[None]:
    """Inside, what a library raises about the files of a network becomes one sentence.

    Raises:
        ValueError: `what` cannot be read.
    """
    import torch

    try:
        yield
    except (AnyDoorError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # each library has kinds of its own, some of them plain ones
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{what} cannot be read as a network ({said}); replace it, or give another folder"
        ) from error


def lacking(folder: Path, parts: Sequence[str] = ("",)) -> str:
    """What a network's folder lacks, as "no unet/config.json", or which of its files is damaged;
    empty where it is complete."""
    for part in parts:
        place, named = folder / part, f"{part}/" if part else ""
        if part == "scheduler":
            if not (place / CONFIGS[1]).is_file():
                return f"no {named}{CONFIGS[1]}"
            continue
        if not any((place / name).is_file() for name in WEIGHTS):
            return f"no {named}{WEIGHTS[0] if part else WEIGHTS[2]}"
        # torchvision's VGG-16 comes without a config of ours
        if part and not (place / CONFIGS[0]).is_file():
            return f"no {named}{CONFIGS[0]}"
        for path in sorted(place.glob("*.safetensors")):
            if fault := damage(path):
                return f"{named}{path.name} {fault}"
    return ""


def damage(path: Path) -> str:
    """What is wrong with a file of weights, judged by its first bytes; empty where nothing is."""
    from safetensors import SafetensorError, safe_open

    with path.open("rb") as file:
        if file.read(len(POINTER)) == POINTER:
            return "is a git-lfs pointer, not the weights: run `git lfs pull` there"
    try:
        with safe_open(path, "pt"):
            return ""
    except SafetensorError as error:
        return f"is damaged ({error})"


def _not_a_folder(source: str) -> str:
    """Why a source can be neither a folder nor a hub name; empty where it can."""
    known = source.startswith(PREFIX) or Path(source).expanduser().is_dir()
    return "" if known or HUB_NAME.fullmatch(source) else "no such folder"


def _from_hub(name: str, parts: Sequence[str], download: bool) -> tuple[Path, str]:
    """The cached or downloaded folder of a hub repository, or why there is none.

    Old repositories have their weights as pytorch_model.bin only; it is fetched where nothing
    else is there.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    def wanted(names: Sequence[str]) -> list[str]:
        return [f"{part}/{one}".removeprefix("/") for part in parts for one in names]

    fetched = Path(name)
    try:
        for names in ((*WEIGHTS[:-1], *SHARDS, *CONFIGS), (WEIGHTS[-1],)):
            fetched = Path(
                snapshot_download(name, allow_patterns=wanted(names), local_files_only=not download)
            )
            if not lacking(fetched, parts):
                break
    except GatedRepoError:
        return fetched, "gated: accept its licence on its page and log in with `hf auth login`"
    except RepositoryNotFoundError:
        return fetched, "no such hub repository"
    except LocalEntryNotFoundError:
        unreached = ", and the hub cannot be reached" if download else ""
        return fetched, f"not in the hub's cache{unreached}"
    except (HfHubHTTPError, OSError) as error:
        return fetched, f"the hub answered: {str(error).splitlines()[0]}"
    return fetched, ""
