"""MVImgNet: pictures around an object, with masks from a separate download, beside them, or as
the released code kept them.

`<class>/<instance>/images/001.jpg`; its mask is the first that is there of
`<masks>/<class>/<instance>/001.jpg.png` (also below `images/`, also `001.png`),
`<class>/<instance>/masks/...` and, cut out with alpha, `<class>/<instance>/images/001_*.png`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from anydoor_lab.data.index.views import Part, View
from anydoor_lab.data.readers.places import below, files, folders
from anydoor_lab.data.readers.side_by_side import mask_view

REQUIRED = ("images",)
_CUT = re.compile(r"(.+?)_.*")


def parts(root: Path, *, images: str = ".", masks: str = "masks") -> Iterator[Part]:
    """One part for each instance that has a mask; the others are no part of the subset.

    Args:
        root: the set's folder.
        images: the folder with the classes.
        masks: the folder of the separate download, where there is one.

    Raises:
        ValueError: a folder cannot be listed.
    """
    for category in folders(root / images):
        for instance in folders(category) if category != root / masks else ():
            if not (instance / "images").is_dir():
                continue
            pairs = _pairs(root, instance, root / masks / category.name / instance.name)
            if any(mask for _, mask in pairs):
                sources = [name for pair in pairs for name in pair if name]
                name = f"{category.name}/{instance.name}"
                content = {"category": category.name, "pairs": pairs}
                yield Part(name, tuple(sources), content)


def _pairs(root: Path, instance: Path, masks: Path) -> list[tuple[str, str]]:
    """Each picture of an instance, and its mask or "", in order."""
    shown = files(instance / "images")
    photos = [path for path in shown if path.suffix.lower() != ".png"]
    known: dict[str, Path] = {}
    for path in shown:
        cut = _CUT.fullmatch(path.stem) if path.suffix.lower() == ".png" else None
        if cut:
            known.setdefault(cut[1], path)
    for folder in (instance / "masks", masks / "images", masks):
        for path in files(folder, (".png",)) if folder.is_dir() else ():
            stem = path.stem  # 001.jpg of 001.jpg.png
            known[stem.rpartition(".")[0] or stem] = path
    pairs = []
    for photo in photos:
        mask = known.get(photo.stem)
        pairs.append((below(root, photo), below(root, mask) if mask else ""))
    return pairs


def views(root: Path, part: Part) -> Iterator[View]:
    """The object from every side that has a mask."""
    pairs = part.content["pairs"]
    for place, (image, mask) in enumerate(pairs):
        view = View(part.name, "object", image, place, len(pairs), None, part.content["category"])
        if mask:
            yield mask_view(view, root / mask)
