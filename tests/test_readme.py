"""README.md: its lines run in the order in which they stand, in one folder with own pictures."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import inside
from anydoor_lab.structures import names
from anydoor_lab.structures.images import read_image, read_rgba, write_image
from released import videos
from test_official import ldm_pipeline

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
QUICK = re.compile(r"<!-- tests run these lines .*?quick settings:\n(.*?)-->", re.DOTALL)
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)
SETTING_UP = ("python3 -m venv", ".venv/bin/pip", "source ", "pip install")
"""What the tests' own environment stands for."""
ELSEWHERE = (".venv/bin/python -m pytest", "python -m anydoor_lab.demo", "jupyter lab")
"""The tests themselves, and servers that stay until Ctrl-C: test_demo.py starts one."""


def lines(block: str) -> Iterator[str]:
    """The commands of a bash block, one after the other, comments left out."""
    for line in block.splitlines():
        words = shlex.split(line, comments=True)
        chained = shlex.join(words).replace("'&&'", "&&").split(" && ")
        yield from (part for part in chained if part)


def use_quick_settings(conf: Path) -> None:
    """Change the values in a copy of conf/ that README's comment names."""
    found = QUICK.search(README)
    assert found
    for text in found[1].split():
        place, _, setting = text.partition(".")
        key, _, value = setting.partition("=")
        path = conf / f"{place}.yaml"
        changed, number = re.subn(
            rf"^( *){key}: +[^ #]+", rf"\g<1>{key}: {value}", path.read_text(), flags=re.MULTILINE
        )
        assert number == 1, f"{path.name} has no {key}"
        assert changed != path.read_text(), f"{text} changes nothing"
        path.write_text(changed)


@pytest.fixture
def folder(tmp_path: Path, cutouts: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the pictures that README speaks of, and quick settings."""
    conf, here = tmp_path / "conf", tmp_path / "here"
    shutil.copytree(ROOT / "conf", conf)
    use_quick_settings(conf)
    monkeypatch.setattr(names, "conf_beside", lambda package: conf)
    shutil.copytree(cutouts, here / "my_photos")
    videos.mose(here / "mose")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # where indexes are kept
    cut = read_rgba(sorted(cutouts.glob("*.png"))[3])
    rng = np.random.default_rng(0)
    for name, picture in {
        "cup.png": cut,
        "cup.jpg": cut[..., :3],
        "cup_mask.png": cut[..., 3],
        "street.jpg": rng.integers(0, 255, (400, 420, 3), dtype=np.uint8),
        "where.png": np.pad(np.full((150, 120), 255, np.uint8), ((120, 130), (90, 210))),
    }.items():
        write_image(here / "written.png", picture)
        (here / "written.png").rename(here / name)  # a reader goes by what is in a file
    (here / "my_scenes").mkdir()
    shutil.copy(here / "street.jpg", here / "my_scenes")
    ldm_pipeline().save_pretrained(tmp_path / "ldm")
    call = ["layout=official", f"source={tmp_path / 'ldm'}", "out=anydoor.ckpt"]
    assert inside.run("convert", *call, cwd=here).code == 0
    return here


def test_the_lines_run_in_the_order_in_which_they_stand(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    ran: list[str] = []
    for kind, block in BLOCK.findall(README):
        if kind == "python":
            exec(compile(block, "README.md", "exec"), {})  # noqa: S102  README's own lines
            continue
        for line in lines(block):
            if line.startswith((*SETTING_UP, *ELSEWHERE)):
                continue
            interpreter, flag, module, *arguments = shlex.split(line)
            assert interpreter.endswith("python") and flag == "-m", line
            ended = inside.run(module.removeprefix("anydoor_lab."), *arguments, cwd=folder)
            assert ended.code == 0, f"{line}\n{ended.err[-2000:]}"
            assert ended.out.strip(), f"{line} says nothing"
            ran.append(line)
    assert len(ran) >= 19
    for picture in ("placed", "there", "clip", "tuned", "fast"):
        assert read_image(folder / f"{picture}.png").shape == (400, 420, 3)
    assert (folder / "runs" / "sweeps" / "idx-clip+dinov2" / "comparison.csv").is_file()
    for sweep in ("table3_id_extractors", "table4_collages"):
        assert (folder / "runs" / sweep / "rows.csv").is_file()
    assert {path.name for path in (folder / "runs" / "sweeps" / "idx-clip+dinov2").iterdir()} >= {
        "idx-clip", "idx-dinov2",
    }  # fmt: skip


def test_a_line_of_a_chain_is_a_line_and_a_comment_is_none() -> None:
    assert list(lines("a b && c 'd e'  # f\n# g\n\nh")) == ["a b", "c 'd e'", "h"]
