"""From a part of a data set to its file of the index: `index_part`, which any machine can run."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from anydoor_lab.data.index.schema import VERSION, table_of
from anydoor_lab.data.index.views import Reader, Spec, View
from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import write_whole
from anydoor_lab.structures.opening import header_of, opened
from anydoor_lab.structures.originals import TooLargeError
from anydoor_lab.structures.reduced import check_whole

SEAL = "sources"
"""The key in a part's file that holds the fingerprint of what it was made from."""
_Facts = Mapping[str, Any]


def reader_of(name: str) -> Reader:
    """The reader of a kind of storage.

    Raises:
        ValueError: there is none of that name.
    """
    from anydoor_lab.data.readers import KINDS

    if name not in KINDS:
        raise InputError(f"reader is {name!r}; expected one of {', '.join(KINDS)}")
    module: Any = import_module(f"anydoor_lab.data.readers.{name}")
    reader: Reader = module
    return reader


def index_part(spec: Spec) -> Path:
    """The Parquet file of a part, made again only where its sources have changed.

    Raises:
        ValueError: the file cannot be written.
    """
    import pyarrow.parquet as pq

    path, seal = part_file(spec), fingerprint(spec)
    if seal_in(path) == seal:
        return path
    rows = list(rows_of(spec))
    buffer = io.BytesIO()
    pq.write_table(table_of(rows, {SEAL: seal}), buffer, compression="zstd")
    return write_whole(path, buffer.getvalue())


def part_file(spec: Spec) -> Path:
    """Where a part's rows are kept."""
    digest = hashlib.sha256(f"{spec.split}/{spec.part.name}".encode()).hexdigest()[:12]
    readable = re.sub(r"[^\w.-]+", "_", f"{spec.split}-{spec.part.name}", flags=re.ASCII)[:60]
    return Path(spec.folder) / "parts" / f"{readable}-{digest}.parquet"


def fingerprint(spec: Spec) -> str:
    """A hash of all that a part's rows follow from: its files' sizes and times, and the layout."""
    digest = hashlib.sha256(f"{VERSION}/{spec.set}/{spec.reader}/{spec.licence}".encode())
    digest.update(json.dumps(dict(spec.options), sort_keys=True, default=str).encode())
    for name in spec.part.sources:
        digest.update(f"{name}:{_stamp(Path(spec.root) / name)}\n".encode())
    return digest.hexdigest()


def _stamp(path: Path) -> tuple[int, int] | None:
    if ".." in path.parts:  # an annotation's name: nothing outside the root is even looked at
        return None
    try:
        facts = path.stat()
    except (OSError, ValueError):  # missing, or a name that no file can have
        return None
    return facts.st_size, facts.st_mtime_ns


def seal_in(path: Path) -> str | None:
    """The fingerprint a part's file was made with; None without one that can be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        facts = pq.read_metadata(path).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return None
    return facts.get(SEAL.encode(), b"").decode()


def rows_of(spec: Spec) -> Iterator[dict[str, Any]]:
    """The rows of a part."""
    root, known = Path(spec.root), dict[str, tuple[_Facts, str, str]]()
    same = {"set": spec.set, "split": spec.split, "kind": spec.reader, "licence": spec.licence}
    for view in reader_of(spec.reader).views(root, spec.part):
        yield same | _row(root, view, known)


def _row(root: Path, view: View, known: dict[str, tuple[_Facts, str, str]]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "group": view.group, "object": view.object, "frame": view.frame, "frames": view.frames,
        "category": view.category or None, "image": view.image, "score": view.score,
        "role": view.role,
    }  # fmt: skip
    if view.reason:
        return row | {"reason": view.reason, "detail": view.detail or None}
    if view.image not in known:
        known[view.image] = _picture(root / view.image)
    facts, reason, detail = known[view.image]
    row |= facts
    if not reason:
        try:
            row |= _measured(view, facts)
        except UnusablePair as error:
            reason, detail = error.reason, error.detail
    return row | {"reason": reason or None, "detail": detail or None}


def _picture(path: Path) -> tuple[_Facts, str, str]:
    """Size and file of a picture, its pixels unread; or the reason why it cannot be used."""
    try:
        with opened(path) as picture:
            kind, header = picture.format, header_of(picture)
        check_whole(path, kind)
        stamp = path.stat()
    except FileNotFoundError as error:
        return {}, "missing picture", str(error)
    except TooLargeError as error:
        return {}, "gigantic picture", str(error)
    except (InputError, OSError) as error:
        return {}, "unreadable picture", str(error)
    facts = {"height": header.height, "width": header.width}
    return facts | {"source_size": stamp.st_size, "source_mtime": stamp.st_mtime_ns}, "", ""


def _measured(view: View, picture: _Facts) -> dict[str, Any]:
    """What the mask says.

    Raises:
        UnusablePair: it does not fit the picture, or marks nothing or everything of it.
    """
    mask = view.mask
    if mask is None:
        raise UnusablePair("no mask")
    height, width = picture["height"], picture["width"]
    if tuple(mask.shape) != (height, width):
        seen = f"the picture is {height}x{width}, the mask {mask.shape[0]}x{mask.shape[1]}"
        raise UnusablePair("mask of another size than its photo", f"{seen} (height x width)")
    area = int(mask.area())
    if not area:
        raise UnusablePair("empty mask")
    if area == height * width:
        raise UnusablePair("mask covering everything")
    x, y, across, down = (int(number) for number in mask.bbox())
    largest = int(mask.largest_connected_component(connectivity=8).area())
    return {
        "y1": y, "y2": y + down, "x1": x, "x2": x + across, "area": area / (height * width),
        "component": largest / area, "rle": bytes(mask.to_dict()["counts"]),
    }  # fmt: skip
