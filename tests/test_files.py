"""Files: whole or not there, and one sentence where they cannot be written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anydoor_lab.structures.errors import FileError
from anydoor_lab.structures.files import sealed, unsealed, whole_folder, write_whole

FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from anydoor_lab.runs.records import append_record
from anydoor_lab.structures.errors import FileError
from anydoor_lab.structures.files import whole_folder, write_whole
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
folder = Path(sys.argv[1])
def fill():
    with whole_folder(folder / "out", folder / ".out.part") as part:
        (part / "a").write_text("small")
        (part / "b").write_text("x" * 2000)
for write in (lambda: write_whole(folder / "old.txt", "x" * 2000), fill,
              lambda: append_record(folder / "records.jsonl", {"step": 1, "long": "x" * 2000})):
    try:
        write()
    except FileError as error:
        print(error)
"""


def test_a_full_disk_is_one_sentence_and_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_text("old")
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)],
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3 and all("cannot be written (File too large); make" in s for s in lines)
    assert (tmp_path / "old.txt").read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"old.txt", "records.jsonl"}


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_file_that_cannot_be_put_in_place_leaves_no_litter(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    write_whole(tmp_path / "a.txt", "old")
    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(FileError, match=r"a.txt cannot be written \(Operation not permitted\)"):
        write_whole(tmp_path / "a.txt", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_read_only_folder_is_one_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(FileError, match="cannot be written"):
        write_whole(tmp_path / "a" / "b.txt", "new")


def test_a_file_in_the_place_of_a_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file")
    with pytest.raises(FileError, match="b.txt cannot be written"):
        write_whole(tmp_path / "a" / "b.txt", "new")


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    def fill(text: str, fails: bool = False) -> None:
        with whole_folder(tmp_path / "out", tmp_path / ".part") as part:
            (part / text).write_text(text)
            if fails:
                raise ValueError(text)

    fill("one")
    with pytest.raises(ValueError, match="two"):
        fill("two", fails=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "one"]
    fill("three")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "three"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text().filter(lambda key: key != "sha256"), json_values, max_size=4))
def test_what_is_sealed_comes_back(values: dict[str, Any]) -> None:
    assert json.dumps(unsealed(json.dumps(sealed(values)), "here")) == json.dumps(values)


@given(st.data())
def test_no_flipped_bit_of_a_sealed_text_goes_unnoticed(data: st.DataObject) -> None:
    values = {"step": 20, "loss": 0.125, "name": "after", "each": [1, 2.5, None, True]}
    content = bytearray(json.dumps(sealed(values)).encode())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = unsealed(content.decode(errors="replace"), "here")
    except ValueError:
        return
    assert found == values
