"""Weights that cannot be used: one sentence that names the file, before anything is imported."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import inside
from anydoor_lab.config.pipelines import load_pipeline
from anydoor_lab.models.sources import lacking, obtain, reading
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.pipeline.saved import check_saved
from anydoor_lab.structures.images import write_image
from networks import model_overrides

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{0:064}\nsize 12345\n"


@pytest.fixture(scope="module")
def whole(pipeline: AnyDoorPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "whole"
    pipeline.save_pretrained(folder)
    return folder


def pointer(folder: Path) -> None:
    (folder / WEIGHTS).write_text(POINTER)


def truncated(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:20_000])


def no_vae(folder: Path) -> None:
    shutil.rmtree(folder / "vae")


def no_config(folder: Path) -> None:
    (folder / "id_extractor" / "config.json").unlink()


def other_sizes(folder: Path) -> None:
    path = folder / "unet" / "config.json"
    path.write_text(
        path.read_text().replace('"cross_attention_dim": 32', '"cross_attention_dim": 8')
    )


def config_is_no_json(folder: Path) -> None:
    (folder / "unet" / "config.json").write_text('{"sample_size": ')


def no_index(folder: Path) -> None:
    (folder / "model_index.json").write_text("{")


def other_pipeline(folder: Path) -> None:
    index = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.30.0"}
    (folder / "model_index.json").write_text(json.dumps(index))


FAULTS: dict[Callable[[Path], None], tuple[str, ...]] = {
    pointer: (WEIGHTS, "git-lfs pointer"),
    truncated: (WEIGHTS, "is damaged"),
    no_vae: ("no vae/",),
    no_config: ("no id_extractor/config.json",),
    other_sizes: ("cannot be read as a network",),
    config_is_no_json: ("cannot be read as a network", "config.json"),
    no_index: ("model_index.json is damaged",),
    other_pipeline: ("is of another pipeline, StableDiffusionPipeline",),
}


@pytest.mark.parametrize("spoil", FAULTS, ids=lambda fault: fault.__name__)
def test_a_spoilt_folder_is_one_sentence_that_names_the_file(
    spoil: Callable[[Path], None], whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "spoilt"
    shutil.copytree(whole, folder)
    spoil(folder)
    with pytest.raises(ValueError, match=r"spoilt") as raised:
        load_pipeline(folder)
    assert all(word in str(raised.value) for word in FAULTS[spoil])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("command", ["generate", "evaluate", "export", "train"])
def test_every_command_ends_with_the_sentence_and_exit_code_two(
    command: str, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "a, (b)=c"
    shutil.copytree(whole, folder)
    truncated(folder)
    write_image(
        tmp_path / "cup.png",
        np.dstack([np.full((40, 40, 3), 99), np.eye(40) * 255]).astype("uint8"),
    )
    write_image(tmp_path / "street.png", np.full((90, 120, 3), 99, np.uint8))
    arguments = {
        "generate": [f"run={folder}", "reference=cup.png", "scene=street.png", "box=[9,9,60,60]"],
        "evaluate": [f"run={folder}", "eval=fast"],
        "export": [f"run={folder}", "out=out"],
        "train": [f"init={folder}", "logger=silent"],
    }[command]
    inside.run(command, *arguments, cwd=tmp_path).refused(WEIGHTS, "is damaged")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("library", "kind"),
    [
        ("os", "system"),
        ("trap_of_the_test", "Trap"),
        ("anydoor_lab.config.door", "door"),
        ("diffusers.utils", "logging"),
        ("transformers", "a.b"),
        ("anydoor_lab", "no_public_name"),
        (None, None),
    ],
)
def test_a_folder_that_names_a_foreign_class_is_refused_before_it_is_imported(
    library: str | None, kind: str | None, whole: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "trap_of_the_test.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / "foreign"
    shutil.copytree(whole, folder)
    index = json.loads((folder / "model_index.json").read_text())
    index["vae"] = [library, kind]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"model_index.json names .* as its vae; only classes of"):
        load_pipeline(folder)
    assert "trap_of_the_test" not in sys.modules
    index["vae"] = ["diffusers", "AutoencoderKL"]
    index["safety_checker"] = ["trap_of_the_test", "Trap"]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="as its safety_checker"):
        load_pipeline(folder)


def test_a_whole_folder_is_loaded_also_by_the_former_names_of_its_classes(
    whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "former"
    shutil.copytree(whole, folder)
    index = json.loads((folder / "model_index.json").read_text())
    assert index["detail_extractor"] == ["anydoor_lab", "DetailExtractor"]
    index["detail_extractor"][0] = "anydoor_lab.models.detail"
    (folder / "model_index.json").write_text(json.dumps(index))
    check_saved(folder)
    assert isinstance(load_pipeline(folder), AnyDoorPipeline)


def test_damaged_networks_of_a_scale_are_named_with_their_setting(
    networks: Path, tmp_path: Path
) -> None:
    for setting, place in {
        "model.base": "base/unet/diffusion_pytorch_model.safetensors",
        "model.vae": "base/vae/diffusion_pytorch_model.safetensors",
        "idx.extractor.source": "dinov2/model.safetensors",
        "model.judges.clip": "judge_clip/model.safetensors",
        "model.judges.dino": "judge_dino/model.safetensors",
    }.items():
        folder = tmp_path / setting
        shutil.copytree(networks, folder)
        (folder / place).write_text(POINTER)
        settings = [*model_overrides(folder), "logger=silent", "eval=fast", "train.steps=1"]
        ended = inside.run("train", *settings, "train.workers=0", cwd=tmp_path / "here")
        ended.refused(f"{setting}: no ", "git-lfs pointer")


def test_a_file_is_judged_without_reading_it_whole(networks: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dino"
    shutil.copytree(networks / "dinov2", folder)
    assert lacking(folder) == ""
    (folder / "model.safetensors").write_bytes(b"")
    assert lacking(folder).startswith("model.safetensors is damaged")
    with pytest.raises(ValueError, match=r"my.place: no .* \(model.safetensors is damaged"):
        obtain(folder, setting="my.place")


def test_what_a_library_raises_about_files_is_one_sentence_and_faults_of_ours_stay() -> None:
    with (
        pytest.raises(ValueError, match=r"^here cannot be read as a network \(one\)"),
        reading("here"),
    ):
        raise OSError("one\ntwo")
    with pytest.raises(KeyboardInterrupt), reading("here"):
        raise KeyboardInterrupt


def test_adapters_that_are_no_adapters_are_refused(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "pytorch_lora_weights.safetensors").write_text(POINTER)
    with pytest.raises(ValueError, match="pytorch_lora_weights.safetensors holds no LoRA adapters"):
        load_pipeline(whole).load_lora_weights(tmp_path / "lora")
