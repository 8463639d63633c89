"""The door: exit codes and sentences of every kind of end, and what the library gets from YAML."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from anydoor_lab.config.compose import compose_config, leaf, plain
from anydoor_lab.config.door import door
from anydoor_lab.structures.names import conf_beside

ROOT = Path(__file__).resolve().parents[1]

DOOR = """
import signal
import sys
import time
from pathlib import Path
from anydoor_lab.config import door, help, keys, compose
from anydoor_lab.structures.names import conf_beside

for module in (door, help, keys, compose):
    module.conf_dir = lambda: Path(__file__).parent / "conf"

@door.door("small")
def main(cfg):
    print("size", cfg.size, "out", cfg.out)
    if cfg.size == 1:
        conf_beside(Path("/nowhere"))  # a check of ours refuses
    if cfg.size == 2:
        int("two")  # a fault of the program
    if cfg.size == 3:
        raise KeyboardInterrupt
    if cfg.size == 4:
        Path("absent.png").read_bytes()
    if cfg.size == 5:
        print("↑ – ± 漢")
        from tqdm import tqdm
        for _ in tqdm(range(3), mininterval=0):
            pass
        print("after", file=sys.stderr)
    if cfg.size == 6:
        print(cfg.needed)
    if cfg.size == 8:
        class Dropped:
            def __del__(self):
                signal.raise_signal(signal.SIGINT)
        Dropped()
        time.sleep(20)

if __name__ == "__main__":
    main()
"""
SMALL = """
# What the small door is for
defaults: [{shape: round}, _self_]
size: 0  # how large
out: null  # where to
needed: ???
hydra: {run: {dir: run}, sweep: {dir: sweep}}
"""


@pytest.fixture(scope="module")
def small_door(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("door")
    (folder / "conf" / "shape").mkdir(parents=True)
    (folder / "conf" / "small.yaml").write_text(SMALL)
    (folder / "conf" / "shape" / "round.yaml").write_text("corners: 0\n")
    (folder / "small.py").write_text(DOOR, encoding="utf-8")
    return folder


def run(door: Path, *overrides: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k != "HYDRA_FULL_ERROR"}
    env |= {"PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "small.py", *overrides]
    return subprocess.run(command, cwd=door, env=env, capture_output=True, text=True, timeout=60)


def test_a_door_runs_its_function_and_exits_with_zero(small_door: Path) -> None:
    done = run(small_door, "size=7", "out=a=b, (c) [d] #e 'f' ü.png")
    said = "size 7 out a=b, (c) [d] #e 'f' ü.png\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")


@pytest.mark.parametrize(
    ("override", "begins"),
    [
        ("size=1", "error: no conf folder"),
        ("size=4", "error: [Errno 2]"),
        ("size=6", "error: needed is not given; add needed=..."),
        ("sise=1", "error: small has no setting sise; did you mean size?"),
        ("+shape.conrers=1", "error: small has no setting shape.conrers; did you mean shape.corn"),
        ("shape=square", "error: In 'small': Could not find 'shape/square' Available options in"),
        ("out=https://a.b/c.png", "error: out is a URL (https://a.b/c.png); download it first"),
        ("size=[", "error: "),
    ],
)
def test_a_wrong_input_is_one_line_and_exit_code_two(
    small_door: Path, override: str, begins: str
) -> None:
    done = run(small_door, override)
    assert done.returncode == 2
    assert done.stderr.startswith(begins)
    assert done.stderr.count("\n") == 1


def test_a_fault_of_the_program_keeps_its_traceback_and_exit_code_one(small_door: Path) -> None:
    done = run(small_door, "size=2")
    assert done.returncode == 1
    assert 'int("two")' in done.stderr


def test_hydra_full_error_shows_the_traceback_of_a_wrong_input(small_door: Path) -> None:
    done = run(small_door, "size=1", HYDRA_FULL_ERROR="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "conf_beside" in done.stderr


def test_ctrl_c_ends_with_130(small_door: Path) -> None:
    done = run(small_door, "size=3")
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_ctrl_c_that_falls_into_a_destructor_is_not_lost(small_door: Path) -> None:
    done = run(small_door, "size=8")
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_a_sweep_goes_on_after_a_wrong_input_and_ends_with_its_sentence(small_door: Path) -> None:
    done = run(small_door, "-m", "size=1,7,4")
    assert done.returncode == 2
    assert "size 7" in done.stdout
    assert "error in job 0 (size=1): no conf folder" in done.stderr
    assert "error in job 2 (size=4): [Errno 2]" in done.stderr
    assert "\nerror: no conf folder" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("ascii", "^ - +- ?"), ("cp1252", "^ – ± ?"), ("utf-8", "↑ – ± 漢")],
)
def test_signs_that_the_output_lacks_are_shown_plainer(
    small_door: Path, encoding: str, shown: str
) -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding}
    call = [sys.executable, "small.py", "size=5"]
    done = subprocess.run(call, cwd=small_door, env=env, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode(encoding).splitlines()[1] == shown


def test_a_bar_is_lines_where_there_is_no_terminal(small_door: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    call = [sys.executable, "small.py", "size=5"]
    done = subprocess.run(call, cwd=small_door, env=env, capture_output=True, timeout=60)
    assert b"\r" not in done.stderr
    lines = done.stderr.decode().splitlines()
    assert lines[0].startswith("0%|") and lines[-2].startswith("100%|")
    assert lines[-1] == "after" and "" not in lines


def test_help_says_what_the_door_is_for_and_explains_every_key(small_door: Path) -> None:
    done = run(small_door, "--help")
    assert done.returncode == 0
    assert "size=0" in done.stdout and "how large" in done.stdout
    assert "hydra.run.dir" in done.stdout and "logging" not in done.stdout


def test_a_door_called_with_a_config_raises_as_a_function_does() -> None:
    @door("small")
    def main(cfg: DictConfig) -> int:
        if cfg.size < 0:
            raise ValueError(f"size is {cfg.size}; expected 0 or more")
        return int(cfg.size)

    assert main(OmegaConf.create({"size": 3})) == 3
    with pytest.raises(ValueError, match="size is -1"):
        main(OmegaConf.create({"size": -1}))


def folder_with(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        (path if "." not in name else path.parent).mkdir(parents=True, exist_ok=True)
        if "." in name:
            path.touch()
    return root / "anydoor_lab"


def test_the_checkouts_conf_comes_before_the_installed_one(tmp_path: Path) -> None:
    package = folder_with(tmp_path, "conf", "pyproject.toml", "anydoor_lab/conf")
    assert conf_beside(package) == tmp_path / "conf"


def test_an_installed_package_ignores_a_strangers_conf_beside_it(tmp_path: Path) -> None:
    package = folder_with(tmp_path, "conf", "anydoor_lab/conf")
    assert conf_beside(package) == package / "conf"


def test_no_conf_at_all_names_both_places(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"neither .*conf .a checkout. nor .*anydoor_lab/conf"):
        conf_beside(tmp_path / "anydoor_lab")


def test_plain_holds_no_omegaconf_type_and_refuses_unset_values() -> None:
    cfg = OmegaConf.create({"a": {"b": [1, {"c": "${d}"}]}, "d": 2})
    values = plain(cfg)
    assert values == {"a": {"b": [1, {"c": 2}]}, "d": 2}
    assert type(values["a"]) is dict
    assert type(values["a"]["b"]) is list
    with pytest.raises(MissingMandatoryValue):
        plain(OmegaConf.create({"a": "???"}))


def test_a_leaf_waits_for_its_arguments_and_receives_plain_values() -> None:
    cfg = OmegaConf.create({"_target_": "anydoor_lab.World", "variations": {"video": 1}})
    built = leaf(cfg)
    assert type(built.keywords["variations"]) is dict  # type: ignore[attr-defined]
    assert not isinstance(built.keywords["variations"], ListConfig)  # type: ignore[attr-defined]
    assert built(split="train", size_px=32).size_px == 32


def test_a_leaf_names_the_nearest_setting_for_an_unknown_one() -> None:
    with pytest.raises(ValueError, match="with _target_, found the keys .'size'."):
        leaf(OmegaConf.create({"size": 1}))
    with pytest.raises(ValueError, match="'anydoor_lab.absent.Thing' is no part"):
        leaf(OmegaConf.create({"_target_": "anydoor_lab.absent.Thing"}))
    with pytest.raises(ValueError, match="no setting sise_px; did you mean size_px"):
        leaf(OmegaConf.create({"_target_": "anydoor_lab.World", "sise_px": 1}))


def test_composing_does_not_import_torch() -> None:
    code = "import sys, anydoor_lab.config.door; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0


def test_a_notebook_composes_what_the_command_line_would() -> None:
    cfg = compose_config("train", "model=tiny", "idx=clip")
    assert cfg.idx.extractor._target_ == "anydoor_lab.ClipExtractor"
    assert cfg.idx.extractor.source == "embedded:clip"
