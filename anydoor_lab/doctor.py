"""The door to what is there: `python -m anydoor_lab.doctor`."""

from __future__ import annotations

import re
import shutil
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from tabulate import tabulate

from anydoor_lab.config.door import door
from anydoor_lab.config.fetching import NEEDED, PUBLISHED, RELEASED, listed, models, networks
from anydoor_lab.models.embedded import converted_folder
from anydoor_lab.runs.provenance import available_memory
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.names import conf_dir

OK, MISSING = "ok", "missing"
GET = "python -m anydoor_lab.convert source="
BLOCKED_BY_EXTRA = {
    "data": "released data sets; pip install 'anydoor-lab[data]'",
    "ray": "index.runner=ray; pip install 'anydoor-lab[ray]'",
    "judge": "retrieval scores by a real encoder; pip install 'anydoor-lab[judge]'",
    "gpu": "train.optimizer=adamw8bit; pip install 'anydoor-lab[gpu]'",
    "notebook": "notebooks and widgets; pip install 'anydoor-lab[notebook]'",
    "sweep": "hydra/launcher=joblib and submitit; pip install 'anydoor-lab[sweep]'",
}


@door("doctor")
def main(cfg: DictConfig) -> None:
    """Print libraries, device, weights and space; ends with 1 where the tiny scale cannot run."""
    libraries, weights, methods = list(library_rows()), list(weight_rows()), list(method_rows())
    print(tabulate(libraries, ("library", "installed", "asked for", "", "blocks")), end="\n\n")
    print(tabulate(machine_rows(), ("machine", "")), end="\n\n")
    print(tabulate(weights, ("network", "source", "found", "blocks")), end="\n\n")
    print(tabulate(methods, ("method", "weights", "GPU memory", "licence", "found")))
    commands = list(command_rows(weights, methods))
    if commands:
        heads = ("gets what is missing, where there is a network", "download", "on the disk", "for")
        print("\n" + tabulate(commands, heads))
    broken = [row[0] for row in libraries if row[3] != OK and row[4] == "everything"]
    broken += [f"{row[0]}: {row[2]}" for row in weights if blocks_all(row)]
    if broken:
        sys.exit(f"the {NEEDED} scale cannot run: {', '.join(broken)}")


def blocks_all(row: tuple[str, ...]) -> bool:
    """Whether a network of the scale that must run is missing."""
    return row[0].startswith(f"{NEEDED} ") and row[2].startswith(MISSING)


def library_rows() -> Iterator[tuple[str, str, str, str, str]]:
    """(name, installed version, bounds, `ok` or what is wrong, what it blocks) of what
    `pyproject.toml` names; the libraries of tests and development are left out."""
    from packaging.requirements import Requirement

    for text in requirements():
        need = Requirement(text)
        extra = re.search(r"extra == ['\"](\w+)['\"]", str(need.marker or ""))
        if extra and extra[1] in ("test", "dev"):
            continue
        try:
            found = version(need.name)
            state = OK if need.specifier.contains(found, prereleases=True) else "outside"
        except PackageNotFoundError:
            found, state = "-", MISSING
        blocked = BLOCKED_BY_EXTRA.get(extra[1], extra[1]) if extra else "everything"
        yield need.name, found, str(need.specifier), state, "" if state == OK else blocked


def requirements() -> list[str]:
    """What the package asks for, as its installation or, where it is only a checkout, its
    `pyproject.toml` says.

    Raises:
        ValueError: it is neither.
    """
    try:
        return list(requires("anydoor-lab") or ())
    except PackageNotFoundError:
        path = Path(__file__).resolve().parent.parent / "pyproject.toml"
    if not path.is_file():
        raise InputError(f"anydoor-lab is not installed, and there is no {path}; install it")
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].items()
    optional = [f"{need}{' and' if ';' in need else ';'} extra == '{extra}'"
                for extra, needs in extras for need in needs]  # fmt: skip
    return [*project["dependencies"], *optional]


def machine_rows() -> list[tuple[str, str]]:
    """Device, memory and disk."""
    import torch

    rows = [("processor", f"{torch.get_num_threads()} threads")]
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        name = torch.cuda.get_device_name(number)
        rows.append((f"cuda:{number}", f"{name}, {gigabytes(free)} of {gigabytes(total)} free"))
    if not torch.cuda.is_available():
        rows.append(("GPU", "none; model=tiny runs without, model=sd21 trains on a GPU only"))
    rows.append(("memory free", gigabytes(available_memory())))
    rows.append(("disk free", f"{gigabytes(shutil.disk_usage(Path.cwd()).free)} in this folder"))
    return rows


def gigabytes(count: float) -> str:
    """A number of bytes in GB of 10^9."""
    return f"{count / 1e9:.1f} GB"


def weight_rows() -> Iterator[tuple[str, str, str, str]]:
    """(scale and network, source, where it was found, what is blocked without it) of conf/model,
    and of the ID extractors that bring their own network."""
    from anydoor_lab.models.idx.table import id_choices
    from anydoor_lab.models.sources import MissingError, obtain

    for scale, model in models():
        for name, source, parts, blocked in networks(model):
            shown = " or ".join(source) if isinstance(source, list) else source
            try:
                found = where(source, obtain(source, parts, download=False))
            except (MissingError, ValueError) as error:
                reason = re.search(r"\(([^()]*)\); download", str(error))
                found = f"{MISSING}: {reason[1] if reason else error}"
            missing = found.startswith(MISSING)
            yield f"{scale} {name}", shown, found, blocked if missing else ""
    for choice in id_choices().values():
        if not choice.encoder:
            yield f"idx {choice.name}", choice.target, "own part", ""


def command_rows(
    weights: Iterable[tuple[str, str, str, str]],
    methods: Iterable[tuple[str, str, str, str, str]] = (),
) -> Iterator[tuple[str, ...]]:
    """(command, GB to download, GB it leaves on the disk, what it is for) for the paper's weights
    and for what is missing of the networks and the methods, each once."""
    if not any(converted_folder(name).is_dir() for name in RELEASED):
        for name, (fetched, made) in RELEASED.items():
            sizes = f"{fetched:.1f} GB", f"{fetched + made:.1f} GB"
            yield f"{GET}{name}", *sizes, f"generate and evaluate run={name}"
    blocked: dict[str, list[str]] = {}
    for _, source, found, needs in weights:
        if found.startswith(MISSING):
            blocked.setdefault(source.split(" or ")[0], []).append(needs)
    for name, _, _, _, found in methods:
        if found.startswith(MISSING):
            node: Any = OmegaConf.load(conf_dir() / "method" / f"{name}.yaml")
            blocked.setdefault(listed(node.source)[0], []).append(f"method={name}")
    for name, every in blocked.items():
        size = f"{PUBLISHED[name]:.1f} GB" if name in PUBLISHED else "said first"
        yield f"{GET}{name}", size, size, ", ".join(dict.fromkeys(every))


def method_rows() -> Iterator[tuple[str, str, str, str, str]]:
    """(name, weights, GPU memory, licence, where they were found) of conf/method's methods that
    have networks of their own."""
    from anydoor_lab.models.sources import MissingError, obtain_pipeline
    from anydoor_lab.structures.names import named

    for path in sorted((conf_dir() / "method").glob("*.yaml")):
        node: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        needs = getattr(named(node["_target_"]), "needs", None)
        if needs is None:
            continue
        try:
            found = where("", obtain_pipeline(node["source"], download=False))
        except MissingError:
            found = f"{MISSING}: method={path.stem} method.source=<folder>"
        yield path.stem, needs.weights, f"{needs.memory_gb:g} GB", needs.licence, found


def where(source: Any, folder: Path) -> str:
    """`embedded`, `hub cache` or `folder`, and the folder."""
    from huggingface_hub.constants import HF_HUB_CACHE

    if str(source).startswith("embedded:"):
        return "embedded"
    return f"{'hub cache' if folder.is_relative_to(HF_HUB_CACHE) else 'folder'} {folder}"


if __name__ == "__main__":
    main()
