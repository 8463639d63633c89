"""Where pretrained networks come from: inside the package, a local folder, or the hub."""

from __future__ import annotations

from pathlib import Path

from anydoor_lab.structures.errors import InputError

PREFIX = "embedded:"
CARD = "card.json"
"""A pretrained part's facts, written into its folder last."""


def embedded_folder(part: str) -> Path:
    """The folder of one of the tiny networks that ship inside the package.

    Raises:
        ValueError: the package has no such part.
    """
    folder = Path(__file__).resolve().parent.parent / "embedded" / part
    if not folder.is_dir():
        raise InputError(
            f"the embedded network {part!r} is not in {folder.parent}; install the package again, "
            "or give a folder of your own (python -m anydoor_lab.pretrain --help makes them)"
        )
    return folder


def is_part(folder: Path) -> bool:
    """Whether a folder holds a part whose pretraining is finished."""
    return (folder / CARD).is_file()


def converted_folder(name: str) -> Path:
    """Where `convert` keeps what it makes of a hub name: in the user's cache folder."""
    from anydoor_lab.data.cache import cache_folder

    return cache_folder() / "converted" / name.replace("/", "--")


def locate(source: str | Path) -> str:
    """`embedded:<part>` as its folder, a hub name as the folder that `convert` made of it; else,
    and where there is such a local folder, as it stands."""
    text = str(source)
    if text.startswith(PREFIX):
        return str(embedded_folder(text.removeprefix(PREFIX)))
    if "/" in text and not Path(text).exists() and (folder := converted_folder(text)).is_dir():
        return str(folder)
    return text
