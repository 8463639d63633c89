"""Doors: what the command line answers, and what the library receives from YAML."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from anydoor_lab.config import compose
from anydoor_lab.config.door import door
from anydoor_lab.structures import names

ROOT = Path(__file__).resolve().parents[1]

DOOR = """
from pathlib import Path
from anydoor_lab.config import door
from anydoor_lab.structures.names import conf_beside

door.conf_dir = lambda: Path(__file__).parent / "conf"

@door.door("small")
def main(cfg):
    print("size", cfg.size)
    if cfg.size == 1:
        conf_beside(Path("/nowhere"))  # a check of ours refuses
    if cfg.size == 2:
        int("two")  # a fault of the program
    if cfg.size == 3:
        raise KeyboardInterrupt
    if cfg.size == 4:
        Path("absent.png").read_bytes()

if __name__ == "__main__":
    main()
"""
SMALL = """
defaults: [{shape: round}, _self_]
size: 0
hydra: {run: {dir: run}, sweep: {dir: sweep}}
"""


@pytest.fixture(scope="module")
def small_door(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("door")
    (folder / "conf" / "shape").mkdir(parents=True)
    (folder / "conf" / "small.yaml").write_text(SMALL)
    (folder / "conf" / "shape" / "round.yaml").write_text("corners: 0\n")
    (folder / "small.py").write_text(DOOR)
    return folder


def run(door: Path, *overrides: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k != "HYDRA_FULL_ERROR"}
    env |= {"PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "small.py", *overrides]
    return subprocess.run(command, cwd=door, env=env, capture_output=True, text=True, timeout=60)


def test_a_door_runs_its_function_and_exits_with_zero(small_door: Path) -> None:
    done = run(small_door, "size=7")
    assert (done.returncode, done.stdout, done.stderr) == (0, "size 7\n", "")


@pytest.mark.parametrize(
    ("size", "begins"), [(1, "error: no conf folder"), (4, "error: [Errno 2]")]
)
def test_a_wrong_input_is_one_line_and_exit_code_two(
    small_door: Path, size: int, begins: str
) -> None:
    done = run(small_door, f"size={size}")
    assert done.returncode == 2
    assert done.stderr.startswith(begins)
    assert done.stderr.count("\n") == 1


def test_a_fault_of_the_program_keeps_its_traceback_and_exit_code_one(small_door: Path) -> None:
    done = run(small_door, "size=2")
    assert done.returncode == 1
    assert 'int("two")' in done.stderr


def test_hydra_full_error_shows_the_traceback_of_a_wrong_input(small_door: Path) -> None:
    done = run(small_door, "size=1", HYDRA_FULL_ERROR="1")
    assert done.returncode != 0
    assert "Traceback" in done.stderr
    assert "conf_beside" in done.stderr


def test_ctrl_c_ends_with_130(small_door: Path) -> None:
    done = run(small_door, "size=3")
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize(
    ("override", "says"),
    [("shape=square", "Could not find 'shape/square'"), ("sise=1", "Key 'sise' is not in struct")],
)
def test_a_wrong_group_or_key_is_hydras_message_and_exit_code_two(
    small_door: Path, override: str, says: str
) -> None:
    done = run(small_door, override)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_sweep_goes_on_after_a_wrong_input_and_ends_with_its_sentence(small_door: Path) -> None:
    done = run(small_door, "-m", "size=1,7,4")
    assert done.returncode == 2
    assert "size 7" in done.stdout
    assert "error in job 0 (size=1): no conf folder" in done.stderr
    assert "error in job 2 (size=4): [Errno 2]" in done.stderr
    assert "error: no conf folder" in done.stderr
    assert "Traceback" not in done.stderr


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
    assert names.conf_beside(package) == tmp_path / "conf"


def test_an_installed_package_ignores_a_strangers_conf_beside_it(tmp_path: Path) -> None:
    package = folder_with(tmp_path, "conf", "anydoor_lab/conf")
    assert names.conf_beside(package) == package / "conf"


def test_no_conf_at_all_names_both_places(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"neither .*conf .a checkout. nor .*anydoor_lab/conf"):
        names.conf_beside(tmp_path / "anydoor_lab")


def test_plain_holds_no_omegaconf_type_and_refuses_unset_values() -> None:
    cfg = OmegaConf.create({"a": {"b": [1, {"c": "${d}"}]}, "d": 2})
    values = compose.plain(cfg)
    assert values == {"a": {"b": [1, {"c": 2}]}, "d": 2}
    assert type(values["a"]) is dict
    assert type(values["a"]["b"]) is list
    with pytest.raises(MissingMandatoryValue):
        compose.plain(OmegaConf.create({"a": "???"}))


def test_a_leaf_waits_for_its_arguments_and_receives_plain_values() -> None:
    cfg = OmegaConf.create({"_target_": "anydoor_lab.World", "letters": ["A"], "size_px": 48})
    built = compose.leaf(cfg)
    assert built.keywords == {"letters": ["A"], "size_px": 48}
    assert not isinstance(built.keywords["letters"], ListConfig)
    assert built(split="held_out").split == "held_out"


def test_a_leaf_without_a_public_target_or_with_unknown_settings_is_refused() -> None:
    with pytest.raises(ValueError, match="with _target_, found the keys .'size'."):
        compose.leaf(OmegaConf.create({"size": 1}))
    with pytest.raises(ValueError, match="'anydoor_lab.absent.Thing' is no part"):
        compose.leaf(OmegaConf.create({"_target_": "anydoor_lab.absent.Thing"}))
    with pytest.raises(ValueError, match="noise_collage has no setting levle; it has .*level"):
        compose.leaf(OmegaConf.create({"_target_": "anydoor_lab.noise_collage", "levle": 1}))


def test_configs_does_not_import_torch() -> None:
    code = "import sys, anydoor_lab.config.compose; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0


def test_a_notebook_composes_what_the_command_line_would() -> None:
    cfg = compose.compose_config("train", "model=tiny", "idx=clip")
    assert cfg.idx.extractor._target_.endswith("ClipExtractor")
    assert cfg.idx.extractor.source == "embedded:clip"
