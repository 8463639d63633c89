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
from anydoor_lab.data.readers.places import below, chunks, files, folders
from anydoor_lab.data.readers.side_by_side import mask_view

REQUIRED = ("images",)
INSTANCES = 50
"""Instances a part."""
_CUT = re.compile(r"(.+?)_.*")


def parts(root: Path, *, images: str = ".", masks: str = "masks") -> Iterator[Part]:
    """One part for every `INSTANCES` instances of a class; those without masks are left out, as
    they are no part of the subset.

    Args:
        root: the set's folder.
        images: the folder with the classes.
        masks: the folder of the separate download, where there is one.

    Raises:
        ValueError: a folder cannot be listed.
    """
    for category in folders(root / images):
        instances = folders(category) if category != root / masks else []
        for number, some in chunks(instances, INSTANCES):
            own = {
                f"{category.name}/{instance.name}": _pairs(
                    root, instance, root / masks / category.name / instance.name
                )
                for instance in some
                if (instance / "images").is_dir()
            }
            masked = {name: pairs for name, pairs in own.items() if any(mask for _, mask in pairs)}
            sources = [name for pairs in masked.values() for pair in pairs for name in pair if name]
            if masked:
                content = {"category": category.name, "instances": masked}
                yield Part(f"{category.name}.{number:05}", tuple(sources), content)


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
    for name, pairs in part.content["instances"].items():
        for place, (image, mask) in enumerate(pairs):
            view = View(name, "object", image, place, len(pairs), None, part.content["category"])
            if mask:
                yield mask_view(view, root / mask)
