"""The command line as it is typed and pasted: paths, unknown keys, values, help."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

import inside
from anydoor_lab.conditioning.conditioner import Shape
from anydoor_lab.conditioning.placement import BLENDS
from anydoor_lab.config import devices, values
from anydoor_lab.config.arguments import PATHS, as_pasted
from anydoor_lab.config.compose import run_name
from anydoor_lab.config.help import groups_of, help_text, purpose, settings_of
from anydoor_lab.diffusion.presets import PRESETS
from anydoor_lab.metrics.protocol import Crop
from anydoor_lab.models.anydoor import Trained
from anydoor_lab.structures.names import conf_dir

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = [path.stem for path in sorted(conf_dir().glob("*.yaml"))]
PASTED = [
    "runs/train/idx=clip,train.steps=20",
    "my cup (1).png",
    "Bücher/Tasse ß.png",
    "[2] #1 'x' \"y\".png",
    "a,b",
    "007",
    "1e3",
    "true",
    "{a}",
    "a:b=c",
    "C:\\Users\\me\\cup.png",
    "trailing\\",
    "$HOME",
    "50%.png",
    "~",
    "  two  blanks ",
]


def as_hydra_reads(argument: str) -> object:
    return OverridesParser.create().parse_override(argument).value()


@pytest.mark.parametrize("path", PASTED)
@pytest.mark.parametrize("key", ["reference", "runs", "data.root", "+hydra.run.dir"])
def test_a_pasted_path_arrives_letter_for_letter(key: str, path: str) -> None:
    (quoted,) = as_pasted([f"{key}={path}"])
    assert str(as_hydra_reads(quoted)) == path


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20))
def test_any_name_of_a_file_can_be_pasted(name: str) -> None:
    path = f"folder/{name}.png".replace("${", "")
    (quoted,) = as_pasted([f"scene={path}"])
    assert str(as_hydra_reads(quoted)) == path


def test_what_is_written_for_hydra_is_left_to_hydra() -> None:
    for argument in (
        "run=null", "run=", "run='a=b'", "out=${oc.env:HOME}/x=y", "box=[1,2,3,4]", "seed=1",
        "model.base=[a/b,c/d]", "--help", "idx=clip,vgg", "init=base",
    ):  # fmt: skip
        assert as_pasted([argument]) == [argument]
    sweep = ["-m", "init=base,runs/a"]
    assert as_pasted(sweep) == sweep


def test_a_home_folder_is_found_and_a_url_is_called_one() -> None:
    assert as_pasted(["lora=~/mine"]) == [f"lora={Path.home()}/mine"]
    with pytest.raises(ValueError, match="scene is a URL .*; download it first"):
        as_pasted(["scene=https://example.org/street.jpg"])


def test_all_keys_that_name_files_are_known_as_paths() -> None:
    said = {
        setting.name
        for command in COMMANDS
        for setting in settings_of(conf_dir() / f"{command}.yaml")
        if any(word in setting.said.split() for word in ("folder", "picture", "photo", "file"))
    }
    # of these the sentences speak of folders and files, but they are none
    none = {"num_proposals", "overwrite", "pool", "layout", "unet_head_channels", "shards"}
    assert said - none <= PATHS


def test_the_sign_of_a_sweep_may_stand_between_overrides() -> None:
    given = ["eval=things", "-m", "method=poisson,copy_paste"]
    assert as_pasted(given) == ["-m", "eval=things", "method=poisson,copy_paste"]


@pytest.mark.parametrize(
    "choices",
    [[], ["idx=clip"], ["idx=clip,dinov2_global", "seed=1"], ["data.root=/a b/ü=(1)"], ["+a=1"]],
)
def test_names_of_our_own_making_are_plain_and_can_be_typed_anywhere(choices: list[str]) -> None:
    name = run_name(choices)
    assert not set(name) & set("=,'\"()[]{}$ #&;*?|<>\\:~!")
    assert as_hydra_reads(f"run=runs/{name}") == f"runs/{name}"


def test_a_misspelt_key_is_named_with_the_nearest_known_one(tmp_path: Path) -> None:
    for argument, words in {
        "+train.leraning_rate=1": ("train.leraning_rate", "did you mean train.learning_rate?"),
        "+model.grow=1.4": ("train has no setting model.grow",),
        "++trian.steps=3": ("train has no setting trian.steps", "did you mean train.steps?"),
        "+idx.remove_backgruond=1": ("did you mean idx.remove_background?",),
        "trian.steps=3": ("did you mean train.steps?",),
        "+nothing=1": ("train has no setting nothing",),
    }.items():
        inside.run("train", argument, cwd=tmp_path).refused(*words)
    inside.run("evaluate", "+eval.num_pears=2", cwd=tmp_path).refused("eval.num_pairs")
    assert not list(tmp_path.rglob("checkpoints"))


def test_a_misspelt_key_in_a_file_of_the_users_is_found_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = tmp_path / "typo_lab" / "conf" / "experiment" / "mine.yaml"
    experiment.parent.mkdir(parents=True)
    (tmp_path / "typo_lab" / "__init__.py").touch()
    experiment.write_text("# @package _global_\n# Mine\ntrain: {leraning_rate: 0.1}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("ANYDOOR_PARTS", "typo_lab")
    inside.run("train", "experiment=mine", cwd=tmp_path / "here").refused("train.learning_rate")


def test_generate_says_what_to_do_in_the_place_of_a_scale(tmp_path: Path) -> None:
    for argument in ("model=sd21", "+model=sd21"):
        ended = inside.run("generate", argument, "reference=a", "scene=b", cwd=tmp_path)
        ended.refused("generate")
    ended = inside.run("generate", "model=sd21", cwd=tmp_path)
    ended.refused("generate takes no model=", "run=<folder>", "convert")
    inside.run("generate", "+data=world", cwd=tmp_path).refused("takes no data=")


@pytest.mark.parametrize(
    ("command", "argument", "words"),
    [
        ("generate", "device=foo", "device is 'foo'; expected auto, cpu"),
        ("generate", "num_inference_steps=abc", "num_inference_steps is 'abc'; expected a whole"),
        ("generate", "num_inference_steps=1001", "from 1 to 1000"),
        ("generate", "seed=99999999999999999999", "expected a whole number from 0 to 4294967295"),
        ("generate", "seed=-1", "seed is -1"),
        ("generate", "seed=1.5", "seed is 1.5"),
        ("generate", "guidance_scale=nan", "guidance_scale is nan; expected a number from 0"),
        ("generate", "guidance_scale=inf", "guidance_scale is inf"),
        ("generate", "guidance_scale=high", "guidance_scale is 'high'"),
        ("generate", "preset=quick", "expected one of exact, fast, draft"),
        ("generate", "lora=nowhere", "lora is nowhere, which does not exist"),
        ("generate", "run=nowhere", "run is nowhere, which does not exist"),
        ("generate", "out=file/placed.png", "file/placed.png cannot be written"),
        ("evaluate", "run=nowhere", "run is nowhere, which does not exist"),
        ("evaluate", "run=.", "no run's folder"),
        ("evaluate", "run=file", "is a file"),
        ("evaluate", "data=folder data.root=nowhere", "data.root is nowhere"),
        ("evaluate", "eval=dreambooth_coco data.references=gone", "data.references is gone, which"),
        ("export", "run=nowhere out=x", "run is nowhere"),
        ("export", "run=embedded:anydoor out=file/x", "file/x cannot be written"),
        ("convert", "source=nowhere out=x", "nowhere does not exist"),
        ("compare", "runs=nowhere", "runs is nowhere"),
        ("train", "train.steps=1e9", "train.steps is 1000000000.0; expected a whole number"),
        ("train", "train.steps=10000000000", "train.steps is 10000000000"),
        ("train", "seed=4294967296", "from 0 to 4294967295"),
        ("train", "train.learning_rate=nan", "train.learning_rate is nan"),
        ("train", "train.ema_decay=2", "train.ema_decay is 2; expected a number from 0 to 1"),
        ("train", "train.precision=fp8", "train.precision is 'fp8'"),
        ("train", "init=nowhere", "init is nowhere"),
    ],
)
def test_a_wrong_value_is_found_before_torch_is_needed(
    command: str, argument: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    # an import of torch would now fail with a sentence that is not looked for
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("torch.")]:
        monkeypatch.delitem(sys.modules, name)
    given_too = ["reference=a.png", "scene=b.png"] if command == "generate" else []
    inside.run(command, *given_too, *argument.split(), cwd=tmp_path).refused(words)


def test_a_gpu_that_is_not_there_is_asked_for_in_vain(tmp_path: Path) -> None:
    inside.run("evaluate", "device=cuda:99", cwd=tmp_path).refused("device is cuda:99")


def test_the_values_known_at_the_door_are_those_of_the_library() -> None:
    known, generate = values.CHOICES[""], values.CHOICES["generate"]
    assert known["eval.preset"] == generate["preset"] == tuple(PRESETS)
    assert known["train.precision"] == tuple(devices.PRECISIONS)
    assert known["train.trained"] == get_args(Trained)
    assert known["eval.crop"] == get_args(Crop)
    assert set(known["eval.shape"]) == set(generate["shape"]) == set(get_args(Shape))
    assert set(generate["blend"]) == set(BLENDS)
    for command in COMMANDS:
        cfg = OmegaConf.load(conf_dir() / f"{command}.yaml")
        keys = set(values.CHOICES.get(command, {}))
        assert keys <= set(cfg)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_one_sentence_for_each_key_and_only_the_commands_own_groups(command: str) -> None:
    path = conf_dir() / f"{command}.yaml"
    text = help_text(command)
    assert text.startswith(purpose(path)[:40])
    for setting in settings_of(path):
        assert len(setting.said) > 4, f"{command}.yaml explains nothing about {setting.name}"
        assert f"{setting.name}={setting.value}"[:30] in text
    mine = {name for name, _ in groups_of(path)}
    others = {folder.name for folder in conf_dir().iterdir() if folder.is_dir()} - mine
    assert not [name for name in others if f"\n  {name} " in text]


@pytest.mark.parametrize("group", ["model", "train", "eval"])
def test_help_explains_every_setting_of_the_large_groups(group: str) -> None:
    for path in (conf_dir() / group).glob("*.yaml"):
        assert all(len(setting.said) > 4 for setting in settings_of(path)), path


def test_help_shows_the_settings_of_the_chosen_file() -> None:
    assert "data.root=" in help_text("train", ["data=folder", "--help"])
    assert "data.root=" not in help_text("train", ["--help"])


@pytest.mark.parametrize("argument", ["--help", "idx=dinov9", "run=nowhere", "model=sd21"])
def test_help_and_wrong_names_are_answered_without_torch(argument: str, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        f"sys.argv = ['generate', 'reference=a', 'scene=b', {argument!r}]\n"
        "from anydoor_lab.generate import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "sys.exit(bool({'torch', 'diffusers', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
