"""Checkpoints: whole or not there, and never worse off than before."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anydoor_lab.structures.errors import FileError
from anydoor_lab.training.checkpoint import (
    hash_tensors,
    load_checkpoint,
    load_named,
    newest_checkpoint,
    save_checkpoint,
)

ROOT = Path(__file__).resolve().parents[1]
FILES = ("weights.safetensors", "ema.safetensors", "facts.json", "manifest.json")


def tensors_at(step: int) -> dict[str, dict[str, torch.Tensor]]:
    weights = {"a": torch.full((3, 2), float(step)), "b": torch.tensor(step)}
    return {"weights": weights, "ema": {"a": torch.full((4,), step / 2, dtype=torch.bfloat16)}}


def write(folder: Path, *steps: int, keep: int = 9) -> list[Path]:
    return [save_checkpoint(folder, s, tensors_at(s), {"seed": 3}, keep) for s in steps]


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    (path,) = write(tmp_path, 7)
    loaded = load_checkpoint(path)
    assert (loaded.step, loaded.facts["seed"], loaded.path) == (7, 3, path)
    for group, named in tensors_at(7).items():
        assert hash_tensors(loaded.tensors[group]) == hash_tensors(named)


def test_an_empty_group_of_tensors_survives(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 1, {"optimizer": {}}, {})
    assert load_checkpoint(path).tensors == {"optimizer": {}}


def test_no_checkpoint_is_none_rather_than_an_error(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    assert newest_checkpoint(tmp_path / "absent") is None


def delete(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [delete, truncate, flip])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(
    tmp_path: Path, name: str, damage: object
) -> None:
    _, newest = write(tmp_path, 10, 20)
    damage(newest / name)  # type: ignore[operator]
    with pytest.warns(UserWarning, match="step_00000020"):
        found = newest_checkpoint(tmp_path)
    assert found is not None and found.step == 10


def test_a_flipped_byte_is_named_with_its_file(tmp_path: Path) -> None:
    (path,) = write(tmp_path, 10)
    flip(path / "weights.safetensors")
    with pytest.raises(ValueError, match=r"weights\.safetensors is damaged"):
        load_checkpoint(path)


@pytest.mark.filterwarnings("ignore:passing over")
def test_only_damaged_checkpoints_are_an_error_not_a_fresh_start(tmp_path: Path) -> None:
    for path in write(tmp_path, 10, 20):
        truncate(path / "weights.safetensors")
    with pytest.raises(ValueError, match="no valid checkpoint"):
        newest_checkpoint(tmp_path)


def steps_in(folder: Path) -> list[int]:
    return sorted(int(path.name.split("_")[1]) for path in folder.glob("step_*"))


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_are_kept(tmp_path: Path, keep: int) -> None:
    write(tmp_path, 5, 10, 15, 20, keep=keep)
    assert steps_in(tmp_path) == [5, 10, 15, 20][-keep:]


def test_pruning_never_prefers_a_damaged_later_one_to_what_was_just_written(
    tmp_path: Path,
) -> None:
    _, damaged = write(tmp_path, 10, 20)
    truncate(damaged / "weights.safetensors")
    write(tmp_path, 15, keep=1)
    with pytest.warns(UserWarning, match="step_00000020"):
        found = newest_checkpoint(tmp_path)
    assert found is not None and found.step == 15


def test_keeping_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keep is 0"):
        write(tmp_path, 1, keep=0)


def test_writing_a_step_again_replaces_it(tmp_path: Path) -> None:
    write(tmp_path, 10)
    save_checkpoint(tmp_path, 10, tensors_at(11), {})
    found = newest_checkpoint(tmp_path)
    assert found is not None and float(found.tensors["weights"]["a"][0, 0]) == 11


def test_what_a_killed_process_left_behind_is_ignored_and_later_cleared(tmp_path: Path) -> None:
    write(tmp_path, 10)
    part = tmp_path / ".step_00000020.part"
    part.mkdir()
    (part / "weights.safetensors").write_bytes(b"half")
    found = newest_checkpoint(tmp_path)
    assert found is not None and found.step == 10
    write(tmp_path, 20)
    assert not part.exists() and steps_in(tmp_path) == [10, 20]


FULL_DISK = """
import resource, signal, sys, torch
from pathlib import Path
from anydoor_lab.training.checkpoint import save_checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
save_checkpoint(Path(sys.argv[1]), 20, {"small": {"a": torch.ones(9)},
                                        "weights": {"a": torch.ones(90_000)}}, {}, 1)
"""


@pytest.mark.parametrize("limit", [20_000, 600, 100])
def test_a_full_disk_is_one_sentence_and_leaves_the_old_one_and_no_litter(
    tmp_path: Path, limit: int
) -> None:
    write(tmp_path, 10)
    command = [sys.executable, "-c", FULL_DISK.replace("20_000", str(limit)), str(tmp_path)]
    failed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert failed.returncode == 1, failed.stderr
    assert "step_00000020 cannot be written (" in failed.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000010"]
    found = newest_checkpoint(tmp_path)
    assert found is not None and found.step == 10


@pytest.mark.parametrize("step", [10, 20])
@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_whichever_call_of_the_system_fails_a_valid_checkpoint_is_there(
    tmp_path: Path, call: str, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = 0
    for nth in range(12):
        folder = tmp_path / str(nth)
        write(folder, 5, 10)
        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing(getattr(os, call), nth))
            with suppress(FileError), warnings.catch_warnings(record=True):
                save_checkpoint(folder, step, tensors_at(step), {}, keep=1)
                failures -= 1
            failures += 1
        found = newest_checkpoint(folder)
        assert found is not None and found.step in (10, step)
        assert hash_tensors(found.tensors["ema"]) == hash_tensors(tensors_at(found.step)["ema"])
        assert not list(folder.glob(".*"))
    assert failures >= 1


def failing(call: Any, nth: int) -> Any:
    """A call of the system that says at its n-th time that the disk is full."""
    count = iter(range(1_000))

    def called(*arguments: Any, **settings: Any) -> Any:
        if next(count) == nth:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return call(*arguments, **settings)

    return called


def test_a_step_saved_again_is_there_also_after_a_kill_between_its_two_renamings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (final,) = write(tmp_path, 10)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed_after(Path.rename))
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, 10)
    assert not final.exists()
    found = newest_checkpoint(tmp_path)
    assert found is not None and found.step == 10
    write(tmp_path, 10)
    assert [path.name for path in tmp_path.iterdir()] == [final.name]


def killed_after(call: Any) -> Any:
    def called(*arguments: Any) -> Any:
        call(*arguments)
        raise KeyboardInterrupt

    return called


def test_all_of_a_checkpoint_has_the_rights_new_files_have(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        (path,) = write(tmp_path, 1)
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in path.iterdir()} == {0o640}


@pytest.mark.parametrize("content", ["[]", "{}", "7", "[" * 20_000, '{"../facts.json": "0"}'])
@pytest.mark.parametrize("name", ["manifest.json", "facts.json"])
@pytest.mark.filterwarnings("ignore:passing over")
def test_a_manifest_that_lists_too_little_is_damaged(
    tmp_path: Path, name: str, content: str
) -> None:
    (path,) = write(tmp_path, 10)
    (path / name).write_text(content)
    for groups in (None, ("ema",), ()):
        with pytest.raises(ValueError, match="damaged|no complete checkpoint"):
            load_checkpoint(path, groups)


def test_a_manifest_that_calls_a_group_by_another_name_is_damaged(tmp_path: Path) -> None:
    (path,) = write(tmp_path, 10)
    manifest = path / "manifest.json"
    manifest.write_text(manifest.read_text().replace("ema.", "eba."))
    with pytest.raises(ValueError, match=r"does not list ema.safetensors"):
        load_checkpoint(path, ("ema",))


def test_a_checkpoint_under_another_steps_name_is_refused(tmp_path: Path) -> None:
    (path,) = write(tmp_path, 10)
    with pytest.raises(ValueError, match="is of step 10, which the folder's name is not"):
        load_checkpoint(path.rename(tmp_path / "step_00000030"))
    assert load_checkpoint((tmp_path / "step_00000030").rename(tmp_path / "mine")).step == 10


def test_facts_that_are_no_json_leave_no_litter(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        save_checkpoint(tmp_path, 1, tensors_at(1), {"when": object()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("saved", "sentence"),
    [
        ({"a": torch.ones(2)}, "b is missing from the checkpoint"),
        ({"a": torch.ones(2), "b": torch.ones(3), "c": torch.ones(1)}, "c is not part of the"),
        ({"a": torch.ones(2), "b": torch.ones(5)}, r"b is \[5\], the model has \[3\]"),
    ],
)
def test_another_architecture_is_refused_by_its_first_difference(
    saved: dict[str, torch.Tensor], sentence: str
) -> None:
    target = {"a": torch.zeros(2), "b": torch.zeros(3)}
    with pytest.raises(ValueError, match=f"another architecture: {sentence}"):
        load_named(target, saved, "the file")
    assert not target["a"].any(), "nothing is copied before everything is checked"


@given(st.integers(0, 5), st.floats(-1, 1, width=32))
def test_hashes_differ_where_a_single_value_differs(position: int, value: float) -> None:
    one = torch.zeros(6)
    other = one.clone()
    other[position] = value
    same = bool(torch.equal(one, other)) and str(value) != "-0.0"
    assert (hash_tensors({"a": one}) == hash_tensors({"a": other})) == same


def test_hashes_see_names_shapes_and_kinds_but_not_order() -> None:
    a, b = torch.zeros(4), torch.ones(())
    assert hash_tensors({"a": a, "b": b}) == hash_tensors({"b": b, "a": a})
    variants = [{"a": a}, {"b": a}, {"a": a.view(2, 2)}, {"a": a.int()}, {"a": a[:0]}, {}]
    assert len({hash_tensors(variant) for variant in variants}) == len(variants)


def test_the_manifest_lists_every_file(tmp_path: Path) -> None:
    (path,) = write(tmp_path, 1)
    listed = set(json.loads((path / "manifest.json").read_text())) | {"manifest.json"}
    assert listed == {file.name for file in path.iterdir()} == set(FILES)
