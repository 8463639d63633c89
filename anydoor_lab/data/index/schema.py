"""The columns of an index: one row for each view of an object, usable or refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from anydoor_lab.structures.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 1
"""Goes up when the columns, or what they mean, change; older parts are then made again."""
NAMES = ("set", "split", "kind", "group", "object", "category", "licence", "role", "reason")
"""Columns of words of which there are few different ones: kept as numbers into a list."""
COLUMNS: Mapping[str, str] = {
    "set": "string",
    "split": "string",
    "kind": "string",  # the reader
    "group": "string",
    "object": "string",
    "frame": "int32",  # place among the group's `frames`
    "frames": "int32",
    "category": "string",
    "image": "string",  # below the root; or, of packed sets, in
    "shard": "string",  # this file,
    "offset": "int64",  # from this byte,
    "size": "int64",  # so many bytes
    "height": "int32",
    "width": "int32",
    "y1": "int32",  # the box, half-open
    "y2": "int32",
    "x1": "int32",
    "x2": "int32",
    "area": "double",  # the mask's, as a share of the picture's
    "component": "double",  # the largest connected part's, as a share of the mask's
    "rle": "binary",  # the mask as COCO's string
    "score": "double",
    "role": "string",  # both, reference or scene
    "licence": "string",
    "source_size": "int64",  # bytes of the picture's file
    "source_mtime": "int64",  # ns
    "reason": "string",  # why it cannot be used; null where it can
    "detail": "string",
}


def check_installed() -> None:
    """Raise ValueError unless the libraries that sets need are there."""
    missing = [name for name in ("pyarrow", "rlemasklib", "pycocotools") if not find_spec(name)]
    if missing:
        raise InputError(
            f"data sets need {', '.join(missing)}, not installed; install the extra: "
            "pip install 'anydoor-lab[data]'"
        )


@cache
def schema() -> pa.Schema:
    """The columns as pyarrow knows them."""
    import pyarrow as pa

    return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in COLUMNS.items()])


def table_of(rows: Iterable[Mapping[str, Any]], facts: Mapping[str, str]) -> pa.Table:
    """Rows as a table; what a row does not say is null. `facts` go with it."""
    import pyarrow as pa

    return pa.Table.from_pylist(list(rows), schema().with_metadata(dict(facts)))
