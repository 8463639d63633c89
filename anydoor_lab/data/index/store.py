"""An index as it is used: all parts in one file, mapped into memory and shared by all workers."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anydoor_lab.data.cache import cache_folder
from anydoor_lab.data.index.schema import VERSION, check_installed
from anydoor_lab.structures.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

FILE = "index.arrow"
VIEW = (
    *("group", "object", "frame", "image", "shard", "offset", "size"),
    *("height", "width", "y1", "y2", "x1", "x2", "rle"),
)
"""What is needed to read a view."""


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
        rejected: how many others were refused for which reason; `by_split` the same by split.
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
        self.by_split = {split: Counter(own) for split, own in told["rejected"].items()}
        self.rejected: Counter[str] = sum(self.by_split.values(), Counter())

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
        """Some of the rows that cannot be used."""
        return self.table.slice(self.usable)
