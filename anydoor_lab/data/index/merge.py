"""The parts of an index joined into the one file that training maps into memory."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anydoor_lab.data.index.build import seal_in
from anydoor_lab.data.index.schema import NAMES, VERSION, schema
from anydoor_lab.data.index.store import FILE, Index
from anydoor_lab.data.readers.places import composed
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import flush, writing

if TYPE_CHECKING:
    import pyarrow as pa

EXAMPLES = 20
"""Refused rows of each split and reason that are kept with the usable ones."""
LEFT_S = 86_400
"""A temporary file older than this belongs to nobody."""
_ORDER = ("split", "group", "object", "frame")


def write_index(folder: Path, parts: Sequence[Path]) -> Path:
    """Join the files of parts into one that `Index` maps; its path. Nothing is done where it is
    already made of the same files. Of refused rows `EXAMPLES` a reason go in, all are counted.

    Raises:
        ValueError: a part is missing or damaged.
        FileError: the file cannot be written; what stood there before stays.
    """
    parts = sorted(parts)  # they come in the order in which they were ready
    path, seal = folder / FILE, _seal_of(parts)
    if _seal_in(path) == seal:
        return path
    write_arrow(path, lambda: _joined(parts, seal))
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


def _read(parts: Sequence[Path]) -> tuple[pa.Table, dict[str, Counter[str]]]:
    """The usable rows of all parts and a few of the others; how many were refused, by split."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    tables, rejected = [schema().empty_table()], defaultdict[str, Counter[str]](Counter)
    for path in parts:
        try:
            table = pq.read_table(path, schema=schema())
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"{path} is damaged ({error}); make the index again") from error
        usable = pc.is_null(table["reason"])
        tables.append(table.filter(usable))
        tables += _examples(table.filter(pc.invert(usable)), rejected)
    return pa.concat_tables([one.replace_schema_metadata(None) for one in tables]), rejected


def _examples(refused: pa.Table, rejected: dict[str, Counter[str]]) -> Iterator[pa.Table]:
    """Count the refused rows of a part; of each reason of which there are few, some of them."""
    import pyarrow.compute as pc

    for split in pc.unique(refused["split"]).to_pylist():
        own = refused.filter(pc.equal(refused["split"], split))
        for one in pc.value_counts(own["reason"]).to_pylist():
            lacking = EXAMPLES - rejected[split][one["values"]]
            rejected[split][one["values"]] += one["counts"]
            if lacking > 0:
                yield own.filter(pc.equal(own["reason"], one["values"])).slice(0, lacking)


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


def _joined(parts: Sequence[Path], seal: str) -> pa.Table:
    """The table of an index, with its facts."""
    import pyarrow.compute as pc

    table, rejected = _read(parts)
    usable = pc.sum(pc.is_null(table["reason"])).as_py() or 0
    facts = {"version": VERSION, "usable": usable, "rejected": rejected, "parts": seal}
    return _sorted(table).replace_schema_metadata({"facts": json.dumps(facts)})


def write_arrow(path: Path, table: Callable[[], pa.Table]) -> None:
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
    digest = hashlib.sha256(f"{VERSION}".encode())
    for path in parts:
        digest.update(f"{path.name}:{seal_in(path)}\n".encode())
    return digest.hexdigest()


def _seal_in(path: Path) -> str | None:
    try:
        return str(Index(path.parent).facts.get("parts"))
    except InputError:
        return None
