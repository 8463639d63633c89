"""The checkers behind test_architecture.py: source text in, sentences about what is wrong out."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

PACKAGE = "anydoor_lab"
LINE_MAX, FILE_MAX, FUNCTION_MEDIAN, FUNCTION_P95, FUNCTION_MAX = 100, 300, 10, 40, 60

# the rooms of each floor, each a folder named by a word of the field
FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"structures"}),
    frozenset({"data", "conditioning"}),
    frozenset({"models", "diffusion"}),
    frozenset({"pipeline", "training", "runs", "metrics"}),
    frozenset({"methods", "applications", "evaluation", "analysis", "pretraining"}),
    frozenset({"report", "widgets"}),
)
DOORS = len(FLOORS)  # the commands, and `config`, which they share
SHARED_BY_DOORS = "config"
COMMANDS = frozenset(
    {"train", "evaluate", "generate", "compare", "dashboard", "convert", "export", "pretrain"}
    | {"doctor", "demo", "index"}
)
"""The street: each .py at the top of the package is one of these, and nothing else is there."""

HEAVY = frozenset({"torch", "diffusers", "transformers"})
# library -> the places (folders, or beginnings of paths) that may import it at all
RESERVED: dict[str, tuple[str, ...]] = {
    "wandb": ("runs/tracking.py", "report/wandb"),
    "matplotlib": ("report/", "widgets/"),
    "anywidget": ("widgets/",),
    "ipywidgets": ("widgets/",),
}
FORBIDDEN_NAMES = ("utils", "util", "helper", "helpers", "manager", "base")
MACHINE_PATH = re.compile(r"(?<![\w./~-])/(work|home|root|Users)/")


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module, by its absolute name; `lazy` when it stands inside a function."""

    module: str
    lazy: bool


def room(path: str) -> str:
    """The room of a module given as a path below the package: "models" for models/unet.py."""
    return path.split("/")[0].removesuffix(".py")


def floor(name: str) -> int | None:
    """The floor of a room; None for the package's own __init__, which stands outside."""
    if name == "__init__":
        return None
    return next((number for number, rooms in enumerate(FLOORS) if name in rooms), DOORS)


def street_faults(paths: Iterable[str], folders: Iterable[str]) -> Iterator[str]:
    """Modules at the top of the package that are no command, and folders that are no room."""
    for path in paths:
        if "/" not in path and room(path) not in {"__init__", *COMMANDS}:
            yield f"{path} stands at the top of the package: only commands do, give it a room"
    for folder in folders:
        if folder not in {SHARED_BY_DOORS, *frozenset().union(*FLOORS)}:
            yield f"{folder}/ is on no floor: name its floor in tests/architecture.py"


def imports(source: str, path: str) -> Iterator[Import]:
    """All imports of a module, relative ones made absolute, typing-only ones left out."""
    for node, lazy in _statements(ast.parse(source), lazy=False):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            prefix = _absolute(node, path)
            yield from (Import(f"{prefix}.{alias.name}", lazy) for alias in node.names)


def _statements(node: ast.AST, lazy: bool) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            # a type's name does not load a library, but it does tie the rooms together
            for inner, _ in _statements(child, lazy=True):
                yield inner, True
            continue
        yield child, lazy
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _statements(child, lazy or inside)


def _absolute(node: ast.ImportFrom, path: str) -> str:
    if not node.level:
        return node.module or ""
    folders = [PACKAGE, *path.split("/")[:-1]]
    return ".".join([*folders[: len(folders) - node.level + 1], *filter(None, [node.module])])


def floor_faults(source: str, path: str) -> Iterator[str]:
    """Imports inside the package that do not go down."""
    here = floor(room(path))
    for item in imports(source, path) if here is not None else ():
        parts = item.module.split(".")
        if parts[0] != PACKAGE or len(parts) < 2:
            continue
        there = floor(parts[1])
        if parts[1] == room(path) or there is None or there < here:
            continue
        if here == there == DOORS and parts[1] == SHARED_BY_DOORS:
            continue
        if not _is_room(parts[1]):
            continue
        yield f"{path} (floor {here}) imports {'.'.join(parts[1:])} (floor {there})"


def _is_room(name: str) -> bool:
    # `from anydoor_lab import Pair` names a public thing of the package, not a module
    return name.islower()


def library_faults(source: str, path: str) -> Iterator[str]:
    """Libraries imported where they are not allowed, or too early."""
    here = floor(room(path))
    for item in imports(source, path):
        library = item.module.split(".")[0]
        if library in {"hydra", "omegaconf"} and here != DOORS:
            yield f"{path} imports {library}, which only the doors (floor {DOORS}) know"
        if library in RESERVED and not path.startswith(RESERVED[library]):
            places = " and ".join(RESERVED[library])
            yield f"{path} imports {library}, which only {places} may"
        if library in HEAVY and not item.lazy and here in (None, 0, 1, DOORS):
            yield f"{path} imports {library} at module level: do it inside the function"


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines from a function's first statement after its docstring to its last one.

    Blank lines and comments between count; decorators, signature and docstring do not.
    """
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def functions(source: str) -> list[tuple[str, int]]:
    """Name and length of each function of a module, methods and inner functions included."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return [(n.name, body_lines(n)) for n in ast.walk(ast.parse(source)) if isinstance(n, kinds)]


def size_faults(source: str, path: str) -> Iterator[str]:
    """Functions, files and lines that are too long."""
    lines = source.splitlines()
    if len(lines) > FILE_MAX:
        yield f"{path} has {len(lines)} lines; at most {FILE_MAX}"
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_MAX:
            yield f"{path}:{number} has {len(line)} characters; at most {LINE_MAX}"
    for name, length in functions(source):
        if length > FUNCTION_MAX:
            yield f"{path}: {name} has {length} lines; at most {FUNCTION_MAX}"


def length_faults(lengths: list[int]) -> Iterator[str]:
    """The package's median and 95th percentile of function lengths, where they are too large."""
    middle, high = median(lengths), quantiles(lengths, n=20, method="inclusive")[-1]
    if middle > FUNCTION_MEDIAN:
        yield f"the median function has {middle} lines; at most {FUNCTION_MEDIAN}"
    if high > FUNCTION_P95:
        yield f"the 95th percentile of functions has {high} lines; at most {FUNCTION_P95}"


def habit_faults(source: str, path: str) -> Iterator[str]:
    """Missing `annotations` import, bare excepts, unsafe loads, empty names."""
    code = ast.parse(source).body
    only_words = all(isinstance(node, ast.Expr) for node in code)
    if not only_words and "from __future__ import annotations" not in source:
        yield f"{path} lacks `from __future__ import annotations`"
    for part in path.removesuffix(".py").split("/"):
        if part in FORBIDDEN_NAMES:
            yield f"{path}: {part!r} says nothing; name the module after what it holds"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"{path}:{node.lineno} has a bare except; name the errors"
        if isinstance(node, ast.Call) and _is_unsafe_load(node):
            yield f"{path}:{node.lineno} calls torch.load without weights_only=True"


def _is_unsafe_load(call: ast.Call) -> bool:
    if ast.unparse(call.func) != "torch.load":
        return False
    safe = [k for k in call.keywords if k.arg == "weights_only" and ast.unparse(k.value) == "True"]
    return not safe


def docstring_faults(source: str, path: str) -> Iterator[str]:
    """Public functions, classes and methods at the top of a module that say nothing."""
    yield from _undocumented(ast.parse(source).body, path, "")


def _undocumented(body: list[ast.stmt], path: str, owner: str) -> Iterator[str]:
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if node.name.startswith("_") or _is_told_elsewhere(node):
            continue
        if ast.get_docstring(node) is None:
            yield f"{path}: {owner}{node.name} has no docstring"
        if isinstance(node, ast.ClassDef):
            yield from _undocumented(node.body, path, f"{node.name}.")


def _is_told_elsewhere(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    """Setters and overloads share the docstring of their first definition."""
    marks = [ast.unparse(mark) for mark in node.decorator_list]
    return any(mark.endswith((".setter", "overload", "override")) for mark in marks)


def machine_path_faults(text: str, path: str) -> Iterator[str]:
    """Absolute paths that hold on one machine only."""
    for number, line in enumerate(text.splitlines(), 1):
        found = MACHINE_PATH.search(line)
        if found:
            yield f"{path}:{number} names a path of one machine ({found.group()}...)"


def modules(package: Path) -> dict[str, str]:
    """Each module's path below the package, and its source."""
    files = sorted(package.rglob("*.py"))
    return {file.relative_to(package).as_posix(): file.read_text("utf-8") for file in files}
