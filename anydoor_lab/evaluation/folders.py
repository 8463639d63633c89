"""What a folder of objects and a folder of scenes ask for: one placed picture for each request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anydoor_lab.data.readers.crossed import manifest_rows
from anydoor_lab.data.readers.names import key_of, masks_by_picture
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.images import read_header, read_mask, read_original
from anydoor_lab.structures.originals import Original
from anydoor_lab.structures.pair import Pair

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
COLUMNS = ("reference", "scene", "y1", "x1", "y2", "x2")
"""Of a manifest: file names in the two folders, and the box in pixels of the scene."""
CENTRE = "centre"
_CENTRE_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class Request:
    """One object for one place.

    Args:
        name: of the result, without an ending.
        reference, reference_mask: the object's photo; None where its alpha marks the object.
        scene, region: the photo to place into and the mask of the place; None where there is a
            box.
        box: the place, scene pixels; None with neither a mask nor a box is the scene's middle.
    """

    name: str
    reference: Path
    reference_mask: Path | None
    scene: Path
    region: Path | None = None
    box: Box | None = None


def requests_of(
    references: Path,
    scenes: Path,
    manifest: Path | None = None,
    box: Sequence[int] | str | None = None,
) -> tuple[list[Request], Counter[str]]:
    """Every object in every scene, or what a manifest lists; and what was passed over and why.

    An object is a picture with alpha or with a mask beside it (`cup.jpg`, `cup_mask.png`). A place
    is the manifest's box, or the mask beside the scene, or `box` for all of them: four numbers, or
    "centre".

    Raises:
        ValueError: a folder without usable pictures, a scene without a place, a manifest that
            names an unknown picture or a box outside its scene, results of equal names.
    """
    objects, passed_over = _objects(references)
    places, strangers = _pictures(scenes)
    passed_over.update(strangers)
    if not objects or not places:
        empty, wanted = (references, "objects") if not objects else (scenes, "scenes")
        reasons = ", ".join(f"{n} {why}" for why, n in passed_over.items())
        raise InputError(f"{empty} has no {wanted}{f' ({reasons})' if reasons else ''}")
    if manifest:
        found = _listed(manifest, objects, places)
    else:
        made = [_asked(o, m, s, r, box) for o, m in objects.items() for s, r in places.items()]
        found = sorted(made, key=lambda request: request.name)
    repeated = [name for name, n in Counter(one.name for one in found).items() if n > 1]
    if repeated:
        raise InputError(f"several results would be called {repeated[0]}; rename the pictures")
    return found, passed_over


def read_request(request: Request) -> tuple[Pair, Original]:
    """The object and its place, and the scene's original.

    Raises:
        ValueError: a picture cannot be read, or a box is not in its scene.
    """
    scene, reference = read_original(request.scene), read_original(request.reference)
    height, width = scene.rgb.shape[:2]
    if request.region:
        region = read_mask(request.region)
    else:
        box = request.box or _middle(height, width)
        _check_inside(box, height, width, request.scene)
        region = box.mask(height, width)
    if request.reference_mask:
        mask = read_mask(request.reference_mask)
    elif reference.alpha is not None:
        mask = reference.alpha > 128
    else:
        raise InputError(f"{request.reference} has no alpha any more")
    return Pair(reference.rgb, mask, scene.rgb, region, origin=str(request.reference)), scene


def _objects(folder: Path) -> tuple[dict[Path, Path | None], Counter[str]]:
    """Pictures whose object is marked, each with its mask; None where alpha marks it."""
    with_masks, passed_over = _pictures(folder)
    found: dict[Path, Path | None] = {}
    for path, mask in with_masks.items():
        if mask or read_header(path).alpha:
            found[path] = mask
        else:
            passed_over["without alpha and without a mask"] += 1
    return found, passed_over


def _pictures(folder: Path) -> tuple[dict[Path, Path | None], Counter[str]]:
    """The pictures of a folder with the mask beside each; what else lies there, counted."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give a folder of pictures")
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name[0] != "."]
    known = [path for path in files if path.suffix.lower() in ENDINGS]
    passed_over = Counter({"no picture": len(files) - len(known)} if known != files else {})
    keys = {path: key_of(path.relative_to(folder)) for path in known}
    masks = {path: key for path, (is_mask, key) in keys.items() if is_mask}
    own = {path: key for path, (is_mask, key) in keys.items() if not is_mask}
    beside = masks_by_picture(own, masks)
    return {path: next(iter(beside[path]), None) for path in own}, passed_over


def _asked(
    reference: Path,
    mask: Path | None,
    scene: Path,
    region: Path | None,
    box: Sequence[int] | str | None,
) -> Request:
    name = f"{reference.stem}__{scene.stem}"
    if box is None and region is None:
        raise InputError(
            f"{scene} has no place: put {scene.stem}_mask.png beside it, give a manifest, "
            "box=[y1,x1,y2,x2] or box=centre"
        )
    if box is None:
        return Request(name, reference, mask, scene, region)
    if box == CENTRE:
        return Request(name, reference, mask, scene)
    return Request(name, reference, mask, scene, box=_box(box, "box"))


def _box(sides: object, what: str) -> Box:
    whole = isinstance(sides, Sequence) and all(isinstance(side, int) for side in sides)
    if isinstance(sides, str) or not whole or len(sides) != 4:  # type: ignore[arg-type]
        raise InputError(f"{what} is {sides!r}; expected [y1, x1, y2, x2] in whole pixels")
    return _from_corners(*sides)  # type: ignore[misc]


def _from_corners(y1: int, x1: int, y2: int, x2: int) -> Box:
    return Box(y1=y1, y2=y2, x1=x1, x2=x2)


def _listed(
    manifest: Path, objects: dict[Path, Path | None], places: Iterable[Path]
) -> list[Request]:
    """The requests of a manifest, a CSV with `COLUMNS`; every box is checked against its scene."""
    by_name = {path.name: path for path in objects}, {path.name: path for path in places}
    found = []
    for number, row in enumerate(manifest_rows(manifest, COLUMNS), 2):
        paths = [known.get(str(row[kind])) for known, kind in zip(by_name, COLUMNS, strict=False)]
        for path, kind in zip(paths, COLUMNS, strict=False):
            if path is None:
                raise InputError(f"{manifest} line {number}: there is no {kind} {row[kind]}")
        reference, scene = paths
        assert reference is not None and scene is not None
        try:
            box = _from_corners(*(int(row[side]) for side in COLUMNS[2:]))
        except ValueError as error:
            raise InputError(f"{manifest} line {number}: {error}") from error
        header = read_header(scene)
        _check_inside(box, header.height, header.width, f"{manifest} line {number}")
        sides = "_".join(str(side) for side in (box.y1, box.x1, box.y2, box.x2))
        name = f"{reference.stem}__{scene.stem}__{sides}"
        found.append(Request(name, reference, objects[reference], scene, box=box))
    return found


def _check_inside(box: Box, height: int, width: int, where: object) -> None:
    if not (0 <= box.y1 < box.y2 <= height and 0 <= box.x1 < box.x2 <= width):
        sides = [box.y1, box.x1, box.y2, box.x2]
        raise InputError(f"{where}: the box {sides} is not inside the scene of {height}x{width}")


def _middle(height: int, width: int) -> Box:
    side = max(1, round(_CENTRE_SHARE * min(height, width)))
    y1, x1 = (height - side) // 2, (width - side) // 2
    return _from_corners(y1, x1, y1 + side, x1 + side)
