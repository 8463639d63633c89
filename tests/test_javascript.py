"""The widgets' scripts: their logic in Node, what each widget ships, sizes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from anydoor_lab.widgets import LiveRun, ObjectCutter, Rater, RegionPicker
from anydoor_lab.widgets.board.cells import Cells
from anydoor_lab.widgets.bundle import bundled
from anydoor_lab.widgets.teleporter.panel import Panel
from architecture import FILE_MAX, FUNCTION_MAX, LINE_MAX

ROOT = Path(__file__).resolve().parents[1]
WIDGETS = ROOT / "anydoor_lab" / "widgets"
TESTS = sorted((ROOT / "tests" / "js").glob("*.test.mjs"))
SCRIPTS = [*sorted(WIDGETS.rglob("*.js")), *sorted(WIDGETS.rglob("*.css")), *TESTS]
SHIPPING = (Cells, LiveRun, ObjectCutter, Panel, Rater, RegionPicker)


@pytest.fixture(scope="module")
def node() -> str:
    found = shutil.which("node") or shutil.which("nodejs")
    if found is None and not os.environ.get("CI"):
        pytest.skip("no Node.js on this machine")
    assert found is not None, "no Node.js on this machine, but CI is set: install nodejs"
    return found


def test_the_logic_of_the_widgets_holds_in_node(node: str) -> None:
    assert TESTS
    told = subprocess.run(
        [node, "--test", *map(str, TESTS)], capture_output=True, text=True, timeout=120
    )
    assert told.returncode == 0, f"{told.stdout}{told.stderr}"


@pytest.mark.parametrize("widget", SHIPPING)
def test_each_widget_ships_one_module_that_renders(
    widget: type[LiveRun], node: str, tmp_path: Path
) -> None:
    shipped = tmp_path / "shipped.mjs"
    shipped.write_text(str(widget._esm), "utf-8")
    code = f"import('{shipped.as_uri()}').then((m) => console.log(typeof m.default.render))"
    told = subprocess.run([node, "-e", code], capture_output=True, text=True, timeout=60)
    assert told.stdout == "function\n", told.stderr


@pytest.mark.parametrize("widget", SHIPPING)
def test_each_widget_ships_its_own_files_and_what_they_import_only(widget: type[LiveRun]) -> None:
    script, style = str(widget._esm), str(widget._css)
    paints = widget in (ObjectCutter, RegionPicker)
    assert ("class Painter" in script, ".ad-stage" in style) == (paints, paints)
    assert ("polyline" in script and "samples seen" in script) == (widget is LiveRun)
    assert (".ad-plots" in style) == (widget is LiveRun)
    assert ("Proposals" in script, ".ad-gallery" in style) == (widget is Panel,) * 2
    assert (".ad-board" in style, ".ad-scale" in style) == (widget is Cells, widget is Rater)
    assert (script.count("function element("), style.count(".ad { ")) == (1, 1)


def written(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.js").write_text(text, "utf-8")
    return folder / "widget.py"


def test_a_file_that_two_import_is_bundled_once_and_before_both(tmp_path: Path) -> None:
    widget = written(
        tmp_path,
        widget='import { b } from "./b.js";\n'
        'import {\n  a,\n} from "./a.js";\nexport default a + b;',
        a="export const a = 1;\n",
        b='import { a } from "./a.js";\nexport function b() { return a; }\n',
    )
    assert bundled(widget, ".js").split("\n") == [
        "const a = 1;", "", "function b() { return a; }", "", "export default a + b;",
    ]  # fmt: skip


def test_files_that_import_each_other_are_bundled(tmp_path: Path) -> None:
    both = {"widget": 'import { a } from "./a.js";\n', "a": 'import { w } from "./widget.js";\n'}
    assert bundled(written(tmp_path, **both), ".js") == "\n"


@pytest.mark.parametrize(
    "line",
    [
        'import { a as b } from "./a.js";',
        'import a from "./a.js";',
        'import * as a from "./a.js";',
        'import { a } from "somewhere";',
        'export { a } from "./a.js";',
    ],
)
def test_an_import_that_cannot_be_bundled_is_a_sentence(line: str, tmp_path: Path) -> None:
    widget = written(tmp_path, widget=f"{line}\n", a="export const a = 1;\n")
    with pytest.raises(ValueError, match=r"widget\.js has .*; expected names of a file beside it"):
        bundled(widget, ".js")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.js"):
        bundled(written(tmp_path, widget='import { a } from "./gone.js";\n'), ".js")


def long_parts(text: str, name: str) -> Iterator[str]:
    """Files, lines and blocks (functions; classes may be longer) that are too long."""
    lines = text.splitlines()
    if len(lines) > FILE_MAX:
        yield f"{name} has {len(lines)} lines; at most {FILE_MAX}"
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_MAX:
            yield f"{name}:{number} has {len(line)} characters; at most {LINE_MAX}"
        if line.endswith(("{", "(", "[")) and not re.match(r"(export )?class ", line):
            indent = line[: len(line) - len(line.lstrip())]
            block = re.compile(rf"{indent}[}})\]]")
            length = next((k for k, later in enumerate(lines[number:]) if block.match(later)), 0)
            if length > FUNCTION_MAX:
                yield f"{name}:{number} begins a block of {length} lines; at most {FUNCTION_MAX}"


def test_scripts_and_styles_are_short() -> None:
    texts = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in SCRIPTS}
    assert [fault for name, text in texts.items() for fault in long_parts(text, name)] == []


def test_a_long_script_is_found() -> None:
    inside = "  a();\n" * 61
    (fault,) = long_parts(f"function f() {{\n{inside}}}\n", "x.js")
    assert fault == "x.js:1 begins a block of 61 lines; at most 60"
    assert list(long_parts(f"class A {{\n{inside}}}\n", "x.js")) == []
    (fault,) = long_parts("a\n" * 301, "x.js")
    assert fault == "x.js has 301 lines; at most 300"
    (fault,) = long_parts("a" * 101, "x.js")
    assert fault == "x.js:1 has 101 characters; at most 100"
