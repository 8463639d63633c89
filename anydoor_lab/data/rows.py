"""Arrays of one shape in one file: filled block by block, resumed, checked when opened."""

from __future__ import annotations

import errno
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from anydoor_lab.structures.errors import InputError, RunError

BLOCK = 100
"""An interrupted filling goes on behind the last whole block of this many rows."""
FORMAT = 2
"""Of the file; stands in its first bytes and in the names of those who keep pools."""
_MAGIC = f"anydoor_lab rows {FORMAT}\n".encode().ljust(32, b"\0")
_DONE = 1
_CHUNK = 1 << 24
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class RowFile:
    """`number` arrays of one shape and kind in a memory-mapped file.

    The file holds 32 bytes that say what it is, for each block of `BLOCK` rows whether it is
    written and its CRC-32, and then the rows. Its whole room on the disk is taken when it is made,
    so that a full disk is an error then and not a bus error later. Several processes may write the
    same rows at once.

    Args:
        path: the file.
        number: how many rows.
        shape, dtype: of one row.
    """

    def __init__(
        self, path: Path, number: int, shape: tuple[int, ...], dtype: type[np.generic]
    ) -> None:
        self.path, self.number, self.shape, self.dtype = path, number, shape, np.dtype(dtype)
        self._rows: np.ndarray | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_rows": None}  # a map is not sent to other processes, but made

    @property
    def blocks(self) -> list[range]:
        """The rows of each block."""
        starts = range(0, self.number, BLOCK)
        return [range(first, min(first + BLOCK, self.number)) for first in starts]

    def missing(self) -> Iterator[range]:
        """Blocks that are not written yet; a caller writes each before it asks for the next.

        Raises:
            ValueError: the file is another one, cut short or damaged.
            RuntimeError: the disk has no room for it.
        """
        if not self.path.is_file() or self.path.stat().st_size != self._size:
            self._make()
        if self.rows() is not None:
            return
        marks, rows = self._mapped("r+")
        self._check(marks, rows)
        yield from [b for b, mark in zip(self.blocks, marks, strict=True) if mark[0] != _DONE]

    def write(self, block: range, rows: np.ndarray) -> None:
        """Write the rows of a block; only when they are on the disk are they said to be there."""
        marks, mapped = self._mapped("r+")
        rows = np.ascontiguousarray(rows, self.dtype)
        mapped[block.start : block.stop] = rows
        mapped.flush()
        marks[block.start // BLOCK] = (_DONE, zlib.crc32(rows.data))
        marks.flush()

    def rows(self) -> np.ndarray | None:
        """All rows (number, *shape), to be read only; None where not all are written.

        Every block is compared with its checksum once, when the file is opened.

        Raises:
            ValueError: as `missing`.
        """
        if self._rows is None and self.path.is_file() and self.path.stat().st_size > 0:
            marks, rows = self._mapped("r")
            if (marks[:, 0] == _DONE).all():
                self._check(marks, rows)
                self._rows = rows
        return self._rows

    @property
    def _size(self) -> int:
        row = int(np.prod(self.shape)) * self.dtype.itemsize
        return len(_MAGIC) + 8 * len(self.blocks) + self.number * row

    def _mapped(self, mode: Literal["r", "r+"]) -> tuple[np.memmap, np.memmap]:
        """The marks (blocks, 2) uint32 and the rows."""
        found = self.path.stat().st_size
        with self.path.open("rb") as file:
            known = file.read(len(_MAGIC)) == _MAGIC
        if found != self._size or not known:
            seen = f"{self.path} has {found:,} bytes, expected {self._size:,} that begin as a pool"
            raise InputError(f"{seen} does; remove that file or choose another")
        marks_shape = (len(self.blocks), 2)
        marks = np.memmap(self.path, np.uint32, mode, len(_MAGIC), marks_shape)
        first = len(_MAGIC) + 8 * len(self.blocks)
        return marks, np.memmap(self.path, self.dtype, mode, first, (self.number, *self.shape))

    def _check(self, marks: np.ndarray, rows: np.ndarray) -> None:
        for block, (done, checksum) in zip(self.blocks, marks.tolist(), strict=True):
            if done == _DONE and zlib.crc32(rows[block.start : block.stop].data) != checksum:
                raise InputError(
                    f"{self.path} is damaged: rows {block.start} to {block.stop - 1} are not what "
                    "was written (CRC-32); remove that file and it will be made again"
                )

    def _make(self) -> None:
        """Take the file's room on the disk, unless another process did; nothing is left behind
        where there is none."""
        from fcntl import LOCK_EX, flock

        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            flock(descriptor, LOCK_EX)  # until closed: other makers wait for the whole file
            if os.fstat(descriptor).st_size == 0:
                self._allocate(descriptor)
        finally:
            os.close(descriptor)

    def _allocate(self, descriptor: int) -> None:
        try:
            os.pwrite(descriptor, _MAGIC, 0)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, self._size)
                return
            for first in range(len(_MAGIC), self._size, _CHUNK):
                os.pwrite(descriptor, bytes(min(_CHUNK, self._size - first)), first)
        except OSError as error:
            os.ftruncate(descriptor, 0)
            self.path.unlink(missing_ok=True)
            if error.errno not in _FULL:
                raise
            free = shutil.disk_usage(self.path.parent).free
            raise RunError(
                f"{self.path} needs {self._size / 1e9:.3f} GB and its disk has {free / 1e9:.3f} GB "
                f"left ({error.strerror}); make room, choose another folder or ask for less"
            ) from error
