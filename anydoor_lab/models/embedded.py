"""Where pretrained networks come from: inside the package, a local folder, or the hub."""

from __future__ import annotations

from pathlib import Path

from anydoor_lab.structures.errors import InputError

PREFIX = "embedded:"


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


def locate(source: str | Path) -> str:
    """`embedded:<part>` as its folder; a local folder or a hub name as it stands."""
    text = str(source)
    return str(embedded_folder(text.removeprefix(PREFIX))) if text.startswith(PREFIX) else text
