"""Files that a browser sends in pieces, because Jupyter's servers refuse long messages."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anydoor_lab.structures.errors import InputError

MAX_BYTES = 200_000_000
"""Longer files are refused; `LARGEST_FILE` of elements.js says so before anything is sent."""


class Upload:
    """The pieces of one file, until it is whole."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def take(self, content: Mapping[str, Any], buffers: Sequence[Any]) -> bytes | None:
        """The whole file with its last piece; None before.

        Args:
            content: `piece` and `pieces`, a number and how many there are; neither for a file in
                one message.
            buffers: the piece.

        Raises:
            ValueError: a piece is missing, or the file is too long.
        """
        piece, pieces = content.get("piece", 0), content.get("pieces", 1)
        if piece == 0:
            self._pieces = []
        if piece != len(self._pieces):
            seen = f"{content.get('name')} came without its piece {len(self._pieces) + 1}"
            raise InputError(f"{seen}; open it again")
        self._pieces.append(bytes(buffers[0]))
        if sum(map(len, self._pieces)) > MAX_BYTES:
            self._pieces = []
            seen = f"{content.get('name')} has more than {MAX_BYTES // 10**6} MB"
            raise InputError(f"{seen}; give its path in the notebook instead")
        if len(self._pieces) < pieces:
            return None
        whole, self._pieces = b"".join(self._pieces), []
        return whole


@contextmanager
def uploaded(name: str, data: bytes) -> Iterator[Path]:
    """Inside, an uploaded file lies at this path."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / (Path(name).name or "picture")
        path.write_bytes(data)
        yield path


PIECE = 4_000_000
"""Bytes of one message to the browser, too."""


def pieces_of(name: str, data: bytes) -> Iterator[tuple[dict[str, Any], list[bytes]]]:
    """Messages that make the browser download `data` as a file of this name."""
    number = -(-len(data) // PIECE)
    for piece in range(number):
        content = {"download": name, "piece": piece, "pieces": number}
        yield content, [data[piece * PIECE : (piece + 1) * PIECE]]
