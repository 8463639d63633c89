"""Pretrained networks by name or by folder: every one becomes a complete local folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from anydoor_lab.models import hub
from anydoor_lab.models.embedded import locate
from anydoor_lab.structures.errors import AnyDoorError, InputError, NotRunError
from anydoor_lab.structures.files import read_sealed

WEIGHTS = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "diffusion_pytorch_model.bin",
)
"""Files that can hold a network's weights; the index of several files counts for all of them."""
SAFE, PICKLED = WEIGHTS[:-2], WEIGHTS[-2:]
"""The last are those of old repositories."""
INDEX = "model_index.json"
"""What names the parts of a pipeline."""
READ_WITH_PARTS = ("*.json", "*.txt", "*.model", "*.jinja")
"""What else parts of a pipeline are read from, tokenizers above all."""
WITHOUT_WEIGHTS = ("scheduler", "tokenizer", "processor", "feature_extractor")
"""How parts of a pipeline begin that have no weights."""
SHARDS = ("diffusion_pytorch_model-*-of-*.safetensors", "model-*-of-*.safetensors")
CONFIGS = ("config.json", "scheduler_config.json")
POINTER = b"version https://git-lfs.github.com/spec/"
"""How a file begins that git-lfs has not fetched yet."""
Fetch = Callable[[str, bool], Path]
"""The folder of a hub repository, from the cache or, where that is allowed, over the network."""


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

    def fetch(name: str, online: bool) -> Path:
        return _fetched(name, parts, online)

    return _first_of(source, fetch, lambda folder: lacking(folder, parts), setting, download)


def obtain_pipeline(
    source: str | Path | Sequence[str], setting: str = "the source", download: bool = True
) -> Path:
    """The local folder of a pretrained pipeline in diffusers' layout, whole; as `obtain`.

    Raises:
        MissingError: none of the sources is complete; one sentence for all of them.
    """

    def fetch(name: str, online: bool) -> Path:
        from huggingface_hub import hf_hub_download

        index = Path(hf_hub_download(name, INDEX, local_files_only=not online))
        return _fetched(name, ("", *parts_of(index)), online, READ_WITH_PARTS)

    return _first_of(source, fetch, lacking_of_pipeline, setting, download)


def obtain_file(
    source: str | Path | Sequence[str],
    file: str,
    setting: str = "the source",
    download: bool = True,
) -> Path:
    """The local path of one file of a folder or of a hub repository; as `obtain`.

    Raises:
        MissingError: it is in none of the sources, or damaged; one sentence for all of them.
    """

    def fetch(name: str, online: bool) -> Path:
        from huggingface_hub import hf_hub_download

        path = Path(hf_hub_download(name, file, local_files_only=not online))
        return path.parents[len(Path(file).parts) - 1]

    def lacks(folder: Path) -> str:
        if not (folder / file).is_file():
            return f"no {file}"
        fault = damage(folder / file) if file.endswith(".safetensors") else ""
        return f"{file} {fault}" if fault else ""

    return _first_of(source, fetch, lacks, setting, download) / file


def _first_of(
    source: str | Path | Sequence[str],
    fetch: Fetch,
    lacks: Callable[[Path], str],
    setting: str,
    download: bool,
) -> Path:
    sources = [str(source)] if isinstance(source, str | Path) else [str(one) for one in source]
    faults = []
    for one in sources:
        folder = Path(locate(one)).expanduser()
        fault = "" if folder.is_dir() else _not_a_hub_name(one)
        if not fault and not folder.is_dir():
            folder, fault = _from_hub(one, fetch, download)
        fault = fault or lacks(folder)
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
        NotRunError: a package that reading it takes is missing.
        ValueError: `what` cannot be read.
    """
    import torch

    try:
        yield
    except (AnyDoorError, torch.OutOfMemoryError):
        raise
    except ImportError as error:
        said = " ".join(str(error).split())
        raise NotRunError(f"{what} cannot be read without another package ({said})") from error
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


def lacking_of_pipeline(folder: Path) -> str:
    """What a pipeline's folder lacks of the parts that its `model_index.json` names; as
    `lacking`."""
    if not (folder / INDEX).is_file():
        return f"no {INDEX}"
    for part in parts_of(folder / INDEX):
        if not (folder / part).is_dir():
            return f"no {part}/"
        if not part.startswith(WITHOUT_WEIGHTS) and (fault := lacking(folder, (part,))):
            return fault
    return ""


def parts_of(index: Path) -> list[str]:
    """The parts that a pipeline's `model_index.json` names; none but the safety checker, which is
    not read, may be left out.

    Raises:
        ValueError: it is damaged.
    """
    return [
        part
        for part, kind in read_sealed(index).items()
        if isinstance(kind, list) and kind[0] and part != "safety_checker"
    ]


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


def _not_a_hub_name(source: str) -> str:
    name = hub.parsed(source)
    return "" if name and name.kind == "model" and not name.file else "no such folder"


def wanted(files: Sequence[str], parts: Sequence[str], besides: Sequence[str] = ()) -> list[str]:
    """The files, or patterns of them, that networks in these subfolders are read from.

    Old repositories have pickled weights only; they are taken where nothing else is there.

    Args:
        files: what the repository has.
        parts: the subfolders; "" is the repository itself.
        besides: more patterns, below each.
    """
    old = [part for part in parts if not set(_below([part], SAFE)) & set(files)]
    return [*_below(parts, (*SAFE, *SHARDS, *CONFIGS, *besides)), *_below(old, PICKLED)]


def _below(parts: Sequence[str], names: Sequence[str]) -> list[str]:
    return [f"{part}/{name}".removeprefix("/") for part in parts for name in names]


def _fetched(name: str, parts: Sequence[str], download: bool, besides: Sequence[str] = ()) -> Path:
    """The cached or downloaded folder of a hub repository's parts."""
    from huggingface_hub import snapshot_download

    if download:
        there = hub.repository(hub.HubName(name))
        paths = [file.path for file in there.files]
        return there.fetch_folder(there.matching(wanted(paths, parts, besides)))
    for names in ((*SAFE, *SHARDS, *CONFIGS, *besides), PICKLED):
        asked = _below(parts, names)
        fetched = Path(snapshot_download(name, allow_patterns=asked, local_files_only=True))
        if not (lacking_of_pipeline(fetched) if besides else lacking(fetched, parts)):
            break
    return fetched


def _from_hub(name: str, fetch: Fetch, download: bool) -> tuple[Path, str]:
    """What `fetch` finds of a hub repository, or why there is none."""
    online = download and hub.answers()
    try:
        return fetch(name, online), ""
    except hub.errors() as error:
        unreached = ", and the hub cannot be reached" if download and not online else ""
        return Path(name), hub.fault(error) + unreached
