"""Records of a run's steps: a file with one JSON object a line, each with a checksum."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import read_small, sealed, unsealed, write_whole, writing


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Add one line, of a `step` and more, and bring it to the disk; creates file and folder.

    Raises:
        FileError: it cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps(sealed(record)) + "\n")
            file.flush()
            os.fsync(file.fileno())


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records without their checksums; none where there is no file.

    The last line may be torn by a kill; other damaged lines are left out with a warning.

    Raises:
        ValueError: the file cannot be read at all.
    """
    if not path.exists():
        return []
    lines, records = read_small(path, errors="replace").split("\n"), []
    for number, line in enumerate(lines, 1):
        try:
            records.append(_record(line, f"{path}, line {number}"))
        except InputError as error:
            if number < len(lines):  # what follows the last line's end is empty, or torn
                warnings.warn(f"a record is left out: {error}", stacklevel=2)
    return records


def _record(line: str, where: str) -> dict[str, Any]:
    record = unsealed(line, where)
    if type(record.get("step")) is not int:
        raise InputError(f"{where} is damaged: it has no step")
    return record


def keep_records(path: Path, last_step: int) -> None:
    """Drop the records after `last_step`, which belong to an interrupted past, and damaged ones.

    Raises:
        ValueError, FileError: the file cannot be read or written.
    """
    kept = {r["step"]: r for r in read_records(path) if r["step"] <= last_step}
    lines = [json.dumps(sealed(kept[step])) + "\n" for step in sorted(kept)]
    if path.exists() or lines:
        write_whole(path, "".join(lines))
