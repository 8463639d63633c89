"""An index as it is used: all parts in one file, mapped into memory and shared by all workers."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anydoor_lab.data.cache import cache_folder
from anydoor_lab.data.index.schema import NAMES, VERSION, check_installed, schema
from anydoor_lab.data.readers.places import composed
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import flush, writing

if TYPE_CHECKING:
    import pyarrow as pa

FILE = "index.arrow"
VIEW = (
    *("group", "object", "frame", "image", "shard", "offset", "size"),
    *("height", "width", "y1", "y2", "x1", "x2", "rle"),
)
"""What is needed to read a view."""
LEFT_S = 86_400
"""A temporary file older than this belongs to nobody."""
_ORDER = ("split", "group", "object", "frame")


def index_folder(name: str, root: str | Path, splits: Sequence[str]) -> Path:
    """Where the index of splits of a set is kept unless the user says otherwise."""
    place = "\0".join([os.path.realpath(root), *splits])
    digest = hashlib.sha256(os.fsencode(place)).hexdigest()[:12]
    return cache_folder() / "indexes" / f"{name}-{digest}"


class Index:
    """The rows of an index; usable views come first, sorted by split, group, object and frame.

    Args:
        folder: as `write_index` left it.

    Attributes:
        usable: how many rows are usable.
        rejected: how many of the others were refused for which reason.
        facts: what was written with it.

    Raises:
        ValueError: there is none, or it is damaged or of another version.
    """

    def __init__(self, folder: str | Path) -> None:
        check_installed()
        import pyarrow as pa

        self.folder = Path(folder)
        path = self.folder / FILE
        if not path.is_file():
            raise InputError(f"{self.folder} holds no index yet; make it")
        try:
            self.table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            told = json.loads((self.table.schema.metadata or {})[b"facts"])
        except (pa.ArrowInvalid, OSError, KeyError, ValueError) as error:
            raise InputError(f"{path} is damaged ({error}); make the index again") from error
        if told["version"] != VERSION:
            raise InputError(f"{path} is of an older version; make the index again")
        self.usable, self.facts = int(told["usable"]), dict(told)
        self.rejected: Counter[str] = Counter(told["rejected"])

    def __reduce__(self) -> tuple[type[Index], tuple[Path]]:
        return Index, (self.folder,)  # workers map the file again: nothing is copied

    def __len__(self) -> int:
        return len(self.table)

    def numbers(self, name: str) -> np.ndarray:
        """A column of numbers of the usable rows; of words, their codes. Nothing is copied."""
        import pyarrow as pa

        kind = self.table.schema.field(name).type
        if not self.usable:
            words = pa.types.is_dictionary(kind)
            return np.zeros(0, np.int32 if words else kind.to_pandas_dtype())
        chunk = self._columns[name].slice(0, self.usable)
        if isinstance(chunk, pa.DictionaryArray):
            chunk = chunk.indices
        values: np.ndarray = chunk.to_numpy(zero_copy_only=chunk.null_count == 0)
        return values

    def roles(self) -> np.ndarray:
        """The roles of the usable rows, (N,) str."""
        return np.array([*self.words("role"), ""])[self.numbers("role")]

    def words(self, name: str) -> list[str]:
        """The words of a column, in the order of their codes."""
        return list(self._columns[name].dictionary.to_pylist()) if len(self) else []

    def row(self, place: int, names: Sequence[str] = VIEW) -> dict[str, Any]:
        """What is known of a row, by the names of its columns."""
        return {name: self._columns[name][place].as_py() for name in names}

    @cached_property
    def _columns(self) -> dict[str, Any]:
        tables = {name: self.table.column(name) for name in self.table.column_names}
        return {name: own.chunk(0) if own.num_chunks else own for name, own in tables.items()}

    @cached_property
    def refused(self) -> pa.Table:
        """The rows that cannot be used."""
        return self.table.slice(self.usable)


def write_index(folder: Path, parts: Sequence[Path]) -> Path:
    """Join the files of parts into one that `Index` maps; its path. Nothing is done where it is
    already made of the same files.

    Raises:
        ValueError: a part is missing or damaged.
        FileError: the file cannot be written; what stood there before stays.
    """
    parts = sorted(parts)  # they come in the order in which they were ready
    path, seal = folder / FILE, _seal_of(parts)
    if _seal_in(path) == seal:
        return path
    table = _sorted(_read(parts))
    _write(path, lambda: table.replace_schema_metadata({"facts": json.dumps(_facts(table, seal))}))
    return path


def drop_others(folder: Path, parts: Sequence[Path]) -> None:
    """Remove the files of parts that the set no longer has, and what killed processes left."""
    kept = set(parts)
    for path in (folder / "parts").glob("*.parquet"):
        if path not in kept:
            path.unlink(missing_ok=True)
    for path in (*folder.glob(".*.part"), *(folder / "parts").glob(".*.part")):
        if time.time() - path.stat().st_mtime > LEFT_S:
            path.unlink(missing_ok=True)


def _read(parts: Sequence[Path]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [schema().empty_table()]
    for path in parts:
        try:
            tables.append(pq.read_table(path, schema=schema()))
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"{path} is damaged ({error}); make the index again") from error
    return pa.concat_tables([table.replace_schema_metadata(None) for table in tables])


def _sorted(table: pa.Table) -> pa.Table:
    """Usable rows first and in order, words as codes, the group's number beside its name."""
    import pyarrow as pa
    import pyarrow.compute as pc

    refused = pc.is_valid(table["reason"])
    table = table.append_column("refused", refused)
    keys = [(name, "ascending") for name in ("refused", *_ORDER)]
    table = table.take(pc.sort_indices(table, sort_keys=keys)).drop_columns(["refused"])
    table = table.set_column(
        table.schema.get_field_index("rle"), "rle", table["rle"].cast(pa.large_binary())
    )
    for name in NAMES:
        encoded = table[name].combine_chunks().dictionary_encode()
        table = table.set_column(table.schema.get_field_index(name), name, encoded)
    groups = table["group"].combine_chunks()
    groups = groups.chunk(0) if isinstance(groups, pa.ChunkedArray) else groups
    keys_of_groups = np.array([_key(name) for name in groups.dictionary.to_pylist()], np.uint64)
    codes = groups.indices.to_numpy(zero_copy_only=False)
    own = keys_of_groups[codes] if len(codes) else keys_of_groups
    return table.append_column("key", pa.array(own, pa.uint64())).combine_chunks()


def _key(group: str) -> int:
    """A number that stands for a group on every machine."""
    digest = hashlib.sha256(os.fsencode(composed(group))).digest()
    return int.from_bytes(digest[:8], "little")


def _facts(table: pa.Table, seal: str) -> dict[str, Any]:
    reasons = Counter(name for name in table["reason"].to_pylist() if name is not None)
    usable = len(table) - reasons.total()
    return {"version": VERSION, "usable": usable, "rejected": dict(reasons), "parts": seal}


def _write(path: Path, table: Callable[[], pa.Table]) -> None:
    """Write through a temporary file: the table may be larger than a copy of it should be."""
    import pyarrow as pa

    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            content = table()
            file = pa.OSFile(str(temporary), "wb")
            with file, pa.ipc.new_file(file, content.schema) as writer:
                writer.write_table(content)
            flush(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _seal_of(parts: Sequence[Path]) -> str:
    """A hash of the names and contents that parts say they have."""
    from anydoor_lab.data.index.build import seal_in

    digest = hashlib.sha256(f"{VERSION}".encode())
    for path in parts:
        digest.update(f"{path.name}:{seal_in(path)}\n".encode())
    return digest.hexdigest()


def _seal_in(path: Path) -> str | None:
    try:
        return str(Index(path.parent).facts.get("parts"))
    except InputError:
        return None
