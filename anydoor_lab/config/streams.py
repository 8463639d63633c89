"""What a command says, on outputs of every kind: terminals, files, old encodings."""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import Any, TextIO

PLAINER = {"↑": "^", "↓": "v", "–": "-", "±": "+-", "×": "x", "…": "...", "“": '"', "”": '"'}
"""What stands for a sign that an encoding lacks; for all others a question mark."""
SECONDS_BETWEEN_LINES = 10


def _plainer(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(PLAINER.get(sign, "?") for sign in lost), error.end


codecs.register_error("anydoor_plainer", _plainer)


def prepare_streams() -> None:
    """Make standard output and standard error take any text, and progress bars fit for a log.

    A sign that the output's encoding lacks becomes a plainer one. Where standard error is no
    terminal, bars are drawn every ten seconds (`TQDM_MININTERVAL` says otherwise), each time as a
    line.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="anydoor_plainer")
    if not sys.stderr.isatty() and not isinstance(sys.stderr, Lines):
        # tqdm reads it when it is imported
        os.environ.setdefault("TQDM_MININTERVAL", str(SECONDS_BETWEEN_LINES))
        sys.stderr = Lines(sys.stderr)


class Lines:
    """A stream on which each new state of a progress bar is a line of its own.

    Bars begin a state with a carriage return, and end with a line feed or with blanks.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._after_bar = False

    def write(self, text: str) -> int:
        """Write text; of a bar's state the carriage return becomes the end of its line."""
        if text.startswith("\r"):
            shown = text.strip()
            self._after_bar = True
            if shown:
                self.stream.write(f"{shown}\n")
        elif not (self._after_bar and text == "\n"):
            self._after_bar = self._after_bar and not text
            self.stream.write(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
