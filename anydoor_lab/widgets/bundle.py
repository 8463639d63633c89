"""A widget's script and style as one text each: the file beside its `.py` and what it imports."""

from __future__ import annotations

import re
from pathlib import Path

from anydoor_lab.structures.errors import InputError

_IMPORT = re.compile(
    r'^(?:import \{\s*\w+(?:,\s*\w+)*,?\s*\} from|@import) "(\.{1,2}/[^"]+)";\n', re.MULTILINE
)
_OTHER_IMPORT = re.compile(r"^(?:import\b|@import\b|export .* from\b).*", re.MULTILINE)
_EXPORT = re.compile(r"^export (?!default\b)", re.MULTILINE)


def bundled(python_file: str | Path, ending: str) -> str:
    """The ES module (".js") or style sheet (".css") beside `python_file`, free of imports.

    A front end takes one text. So each imported file is put before the one that imports it, once,
    and all share one scope: names at the top of the files must differ.

    Raises:
        FileNotFoundError: it, or a file that it imports, is not there.
        ValueError: an import is of another form than `import { a, b } from "./file.js";` or
            `@import "./file.css";`.
    """
    parts: dict[Path, str] = {}
    _gather(Path(python_file).with_suffix(ending).resolve(), parts, set())
    return "\n".join(parts.values())


def _gather(file: Path, parts: dict[Path, str], begun: set[Path]) -> None:
    if file in begun:
        return
    begun.add(file)
    text = file.read_text("utf-8")
    for name in _IMPORT.findall(text):
        _gather((file.parent / name).resolve(), parts, begun)
    text = _IMPORT.sub("", text)
    other = _OTHER_IMPORT.search(text)
    if other:
        raise InputError(
            f"{file.name} has {other.group()!r}; expected names of a file beside it, "
            'as in import { a, b } from "./file.js"; or @import "./file.css";'
        )
    parts[file] = _EXPORT.sub("", text)
