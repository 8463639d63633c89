"""Shards: the pictures of an index in plain tars, of which any piece is read by its byte range."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anydoor_lab.data.index.merge import write_arrow
from anydoor_lab.data.index.store import FILE, Index
from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.errors import InputError, RunError
from anydoor_lab.structures.files import flush, read_sealed, write_sealed, writing
from anydoor_lab.structures.reduced import Member

if TYPE_CHECKING:
    import pyarrow as pa

URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
TRIES, WAIT_S = 3, 0.5
"""How often a read over a network is tried, and how long the second try waits."""
_HEADER = 512  # bytes of a member's header
_TOLD = ("group", "object", "frame", "category", "height", "width", "y1", "y2", "x1", "x2", "rle",
         "source_size", "source_mtime")  # fmt: skip


class Shards:
    """Where shards lie: a folder, or what fsspec opens (`s3://`, `http://`, `memory://` ...).

    Args:
        place: the folder or URL.
    """

    def __init__(self, place: str | Path) -> None:
        self.place = str(place).rstrip("/")
        self.is_local = not URL.match(self.place)
        self._opened: tuple[int, Any, str] | None = None

    def __reduce__(self) -> tuple[type[Shards], tuple[str]]:
        return Shards, (self.place,)

    def member(self, row: Mapping[str, Any]) -> Member:
        """The picture of a row of an index.

        Raises:
            UnusablePair: the shard is missing or ends before it.
            RuntimeError: the place cannot be reached, or gives more than what was asked for.
        """
        shard, offset, size = row["shard"], row["offset"], row["size"]
        name = f"{self.place}/{shard}: {row['image']}"
        try:
            content = self._read(shard, offset, size)
        except FileNotFoundError as error:
            raise UnusablePair("missing picture", f"{self.place}/{shard} is not there") from error
        if len(content) < size:
            raise UnusablePair("unreadable picture", f"{name} is cut short")
        if len(content) > size:
            raise RunError(
                f"{self.place} gave {len(content)} bytes of {shard} for {size}; it must know how "
                "to give a range of bytes (over HTTP: Range)"
            )
        return Member(content, name)

    def _read(self, shard: str, offset: int, size: int) -> bytes:
        if self.is_local:
            with Path(self.place, shard).open("rb") as file:
                file.seek(offset)
                return file.read(size)
        files, root = self._files()
        for attempt in range(TRIES):
            try:
                content: bytes = files.cat_file(f"{root}/{shard}", start=offset, end=offset + size)
                return content
            except FileNotFoundError:
                raise
            except Exception as error:  # noqa: BLE001  (each protocol has errors of its own)
                if attempt == TRIES - 1:
                    raise RunError(
                        f"{self.place}/{shard} cannot be read ({type(error).__name__}: {error}); "
                        "once it can be, the same command goes on"
                    ) from error
                time.sleep(WAIT_S * 2**attempt)
        raise AssertionError("the last try returns or raises")

    def _files(self) -> tuple[Any, str]:
        """The file system and the root in it, opened anew in every process."""
        if self._opened is None or self._opened[0] != os.getpid():
            import fsspec

            try:
                files, root = fsspec.core.url_to_fs(self.place)
            except (ValueError, ImportError) as error:
                raise InputError(f"data.shards={self.place} cannot be opened: {error}") from error
            self._opened = (os.getpid(), files, root.rstrip("/"))
        return self._opened[1:]


@dataclass(frozen=True, slots=True)
class ShardSpec:
    """One tar to write.

    Args:
        name: of its file.
        first: number of its first picture among all.
        images: its pictures, below the root, and the rows of the index that show each.
    """

    name: str
    first: int
    images: Mapping[str, Sequence[int]]


def shard_specs(name: str, index: Index, most_bytes: int) -> list[ShardSpec]:
    """How the pictures of an index's usable views are dealt out to tars, in the index's order.

    Args:
        name: the set's, with which the files' names begin.
        index: of files, not of shards.
        most_bytes: a tar that has so many is full.
    """
    table = index.table.slice(0, index.usable)
    if len(table) and table["shard"].null_count < len(table):
        raise InputError(f"{index.folder} is an index of shards; give the one of the files")
    pictures: dict[str, list[int]] = {}
    for row, image in enumerate(table["image"].to_pylist()):
        pictures.setdefault(image, []).append(row)
    sizes = index.numbers("source_size")
    groups: list[dict[str, Sequence[int]]] = []
    held = most_bytes
    for image, rows in pictures.items():
        if held >= most_bytes:
            groups.append({})
            held = 0
        groups[-1][image] = rows
        held += int(sizes[rows[0]])
    firsts = np.cumsum([0, *(len(group) for group in groups)])
    return [
        ShardSpec(f"{name}-{number:06d}.tar", int(firsts[number]), group)
        for number, group in enumerate(groups)
    ]


def write_shard(spec: ShardSpec, index: Index, root: Path, folder: Path) -> dict[str, Any]:
    """What is known of a tar, written now unless it stands there whole: `seal`, `bytes`, and by
    picture where it begins and how long it is.

    In WebDataset's naming: NUMBER.jpg is followed by NUMBER.json with the objects in it.

    Raises:
        ValueError: a picture is no longer what was indexed.
        FileError: the tar cannot be written.
    """
    views = _views(spec, index)
    seal = hashlib.sha256(json.dumps([spec.first, views]).encode()).hexdigest()
    path = folder / spec.name
    known = _known(path)
    if known and known["seal"] == seal:
        return known
    (folder / FILE).unlink(missing_ok=True)  # it may say where things are in what changes now
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                places = _write_members(spec.first, views, root, file)
            flush(temporary)
            note_of(path).unlink(missing_ok=True)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    facts = {"seal": seal, "bytes": path.stat().st_size, "places": places}
    write_sealed(note_of(path), facts)
    return facts


def _views(spec: ShardSpec, index: Index) -> dict[str, list[dict[str, Any]]]:
    """Of each picture what is known of the objects in it."""
    taken = {image: [index.row(row, _TOLD) for row in rows] for image, rows in spec.images.items()}
    for row in (row for rows in taken.values() for row in rows):
        row["rle"] = row["rle"].decode("latin-1")
    return taken


def note_of(path: Path) -> Path:
    """Where it stands what is known of a tar: written last, it says that the tar is whole."""
    return path.with_suffix(".json")


def _known(path: Path) -> dict[str, Any] | None:
    try:
        facts = read_sealed(note_of(path))
        return facts if path.stat().st_size == facts["bytes"] else None
    except (InputError, OSError, KeyError):
        return None


def _write_members(
    first: int, views: Mapping[str, list[dict[str, Any]]], root: Path, file: io.BufferedWriter
) -> dict[str, tuple[int, int]]:
    places = {}
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number, (image, own) in enumerate(views.items(), first):
            content = _indexed_bytes(root / image, own[0]["source_size"], own[0]["source_mtime"])
            said = json.dumps({"image": image, "views": own}).encode()
            places[image] = (tar.offset + _HEADER, len(content))
            for ending, part in ((Path(image).suffix.lower(), content), (".json", said)):
                member = tarfile.TarInfo(f"{number:09d}{ending}")
                member.size = len(part)
                tar.addfile(member, io.BytesIO(part))
    return places


def _indexed_bytes(path: Path, size: int, changed: int) -> bytes:
    """A picture's file, which must be what was indexed."""
    try:
        found = path.stat()
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); index the set again"
        ) from error
    if (found.st_size, found.st_mtime_ns) != (size, changed) or len(content) != size:
        raise InputError(f"{path} is no longer what was indexed; index the set again")
    return content


def shards(name: str, index: Index, root: Path, folder: Path, most_bytes: int) -> Iterator[Path]:
    """Write the shards of an index and, when all are whole, their index; each file as it is ready.

    Tars of the set that are none of them are removed.

    Raises: as `write_shard`.
    """
    specs = shard_specs(name, index, most_bytes)
    places: dict[str, tuple[str, int, int]] = {}
    for spec in specs:
        known = write_shard(spec, index, root, folder)
        places |= {image: (spec.name, *place) for image, place in known["places"].items()}
        yield folder / spec.name
    kept = {spec.name for spec in specs}
    for path in folder.glob(f"{name}-??????.tar"):
        if path.name not in kept:
            note_of(path).unlink(missing_ok=True)
            path.unlink()
    write_arrow(folder / FILE, lambda: _with_places(index, places))
    yield folder / FILE


def _with_places(index: Index, places: Mapping[str, tuple[str, int, int]]) -> pa.Table:
    """The index's table, its usable rows with the places of their pictures."""
    import pyarrow as pa

    table, nowhere = index.table, (None, None, None)
    usable = table["image"].slice(0, index.usable).to_pylist()
    found = [*(places[image] for image in usable), *[nowhere] * (len(table) - index.usable)]
    for number, name in enumerate(("shard", "offset", "size")):
        at = table.schema.get_field_index(name)
        column = pa.array([one[number] for one in found], table.schema.field(at).type)
        table = table.set_column(at, name, column)
    return table
