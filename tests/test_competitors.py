"""Methods beside each other: what is missing is not run, what fails fails, the rest is scored."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest

from anydoor_lab import compare_methods, run_experiment, user_study
from anydoor_lab.config.competitors import Attempts
from anydoor_lab.models.sources import MissingError, reading
from anydoor_lab.structures.errors import InputError, NotRunError

PARTS = """
from anydoor_lab import Poisson
from anydoor_lab.models.sources import MissingError


class Dropping(Poisson):
    def __call__(self, *asked):
        return super().__call__(*asked)[:-1]


class Broken(Poisson):
    def __call__(self, *asked):
        raise KeyError("lost")


class LateWeights(Poisson):
    def __call__(self, *asked):
        raise MissingError("method.source: no weights")


class Importing(Poisson):
    def __init__(self):
        import a_package_that_is_not_there


class ImportingLate(Poisson):
    def __call__(self, *asked):
        import a_package_that_is_not_there
"""
NAMES = ("Dropping", "Broken", "LateWeights", "Importing", "ImportingLate")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in, with methods of its own that fail in one way each."""
    folder = tmp_path / "failing_lab" / "conf" / "method"
    folder.mkdir(parents=True)
    (tmp_path / "failing_lab" / "__init__.py").write_text(PARTS)
    for name in NAMES:
        (folder / f"{name.lower()}.yaml").write_text(f"_target_: failing_lab.{name}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ANYDOOR_PARTS", "failing_lab")
    monkeypatch.delitem(sys.modules, "failing_lab", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def compared(here: Path, *methods: str) -> str:
    """Run a comparison; the text of its table."""
    call = ["--fast", "--device", "auto", "--out", str(here / "out")]
    run_experiment(str(here / "beside" / "run.py"), partial(compare_methods, methods=methods), call)
    return (here / "out" / "table_world.md").read_text()


@pytest.mark.parametrize(
    ("method", "why"),
    [
        ("dropping", "gave 1 Result for 2 pairs"),
        ("broken", "'lost'"),
        ("importinglate", "No module named 'a_package_that_is_not_there'"),
    ],
)
def test_a_method_that_fails_ends_with_2_and_the_others_results_are_written(
    here: Path, capsys: pytest.CaptureFixture[str], method: str, why: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        compared(here, method, "copy_paste")
    assert ended.value.code == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith(f"error: 1 failed: {method} on world (") and why in told
    rows = (here / "out" / "table_world.md").read_text()
    (own,) = [row for row in rows.splitlines() if row.startswith(f"| {method}")]
    assert "failed:" in own and why in own and "not run" not in rows
    assert any(row.startswith("| copy_paste") for row in rows.splitlines())


def test_what_is_missing_is_not_run_and_no_failure(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = compared(here, "importing", "lateweights", "nameless", "copy_paste")
    said = capsys.readouterr().out
    for name, why in (
        ("importing", "No module named"),
        ("lateweights", "method.source: no weights"),
        ("nameless", "conf/method has no nameless"),
    ):
        (own,) = [row for row in rows.splitlines() if row.startswith(f"| {name}")]
        assert f"not run: {why}" in own
        assert f"not run  {name} on world: {why}" in said
    with pytest.raises(SystemExit) as ended:
        compared(here, "importing")
    assert ended.value.code == 2
    assert "none of the methods can run here" in capsys.readouterr().err


def test_each_data_set_has_its_own_reason() -> None:
    attempts = Attempts()
    with attempts.attempt("one", "things"):
        raise MissingError("no weights")
    with attempts.attempt("one", "world"):
        raise InputError("an odd pair")
    assert attempts.lacking == {
        "things": {"one": "not run: no weights"}, "world": {"one": "failed: an odd pair"}
    }  # fmt: skip
    with pytest.raises(RuntimeError, match="1 failed: one on world .an odd pair.; what the others"):
        attempts.check()


def test_a_network_that_needs_another_package_is_not_run() -> None:
    with (
        pytest.raises(NotRunError, match="here cannot be read without another package .no piece"),
        reading("here"),
    ):
        raise ImportError("no piece")


def test_a_study_in_which_a_method_fails_has_no_sheet_yet(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = partial(user_study, methods=("copy_paste", "dropping", "poisson"))
    call = ["--fast", "--device", "auto", "--out", str(here / "out")]
    with pytest.raises(SystemExit) as ended:
        run_experiment(str(here / "table2" / "run.py"), study, call)
    assert ended.value.code == 2
    assert "error: 1 failed: dropping on world" in capsys.readouterr().err
    assert not (here / "out" / "sheet.html").exists()
