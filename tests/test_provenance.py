"""A commit stands for exactly the code and settings that a number was computed with."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from anydoor_lab.report.caption import Caption

ROOT = Path(__file__).resolve().parents[1]


def git(*arguments: str, at: Path) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    answer = subprocess.run(
        ["git", *who, *arguments], cwd=at, capture_output=True, text=True, check=True
    )
    return answer.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of two of the package's rooms, committed."""
    for room in ("structures", "runs"):
        source = ROOT / "anydoor_lab" / room
        without = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, tmp_path / "anydoor_lab" / room, ignore=without)
    shutil.copy(ROOT / "anydoor_lab" / "__init__.py", tmp_path / "anydoor_lab")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "train.yaml").write_text("seed: 0\n")
    (tmp_path / ".gitignore").write_text("__pycache__/\n/runs/\n")
    git("init", "-q", at=tmp_path)
    git("add", "-A", at=tmp_path)
    git("commit", "-qm", "all", at=tmp_path)
    return tmp_path


def commit_of(checkout: Path) -> str:
    code = "from anydoor_lab.runs.provenance import commit; print(commit())"
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True,
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", "PYTHONPATH": str(checkout)},
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    return told.stdout.strip()


def test_a_commit_is_clean_only_where_code_and_settings_are_its_own(checkout: Path) -> None:
    head = git("rev-parse", "--short=12", "HEAD", at=checkout)
    (checkout / "runs").mkdir()
    (checkout / "runs" / "a.txt").write_text("a run")
    (checkout / "placed.png").write_text("a picture beside the code")
    assert commit_of(checkout) == head
    for name in ("anydoor_lab/own.py", "conf/own.yaml"):
        (checkout / name).write_text("")
        assert commit_of(checkout) == f"{head}+changes"
        (checkout / name).unlink()
    (checkout / "conf" / "train.yaml").write_text("seed: 1\n")
    assert commit_of(checkout) == f"{head}+changes"


def test_the_commit_of_another_project_is_not_ours(checkout: Path) -> None:
    git("rm", "-rq", "--cached", "anydoor_lab", at=checkout)
    git("commit", "-qm", "without", at=checkout)
    assert commit_of(checkout) == ""


CHANGED = ("abcdef012345+changes", "abcdef0+changes")


@pytest.mark.parametrize(("commit", "said"), [("abcdef012345", "abcdef0"), ("", None), CHANGED])
def test_a_caption_says_that_the_code_was_changed(commit: str, said: str | None) -> None:
    assert Caption("Scores", commit=commit).facts.get("commit") == said
