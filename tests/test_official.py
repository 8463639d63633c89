"""Converting the released layout: every tensor accounted for, and nothing left after an error."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from anydoor_lab.models.detail import DetailExtractor
from anydoor_lab.models.idx.dinov2 import Dinov2Extractor
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from commands import command
from test_doors import refused

SIZES = ["unet_head_channels=16", "dino_head_channels=16", "resolution=64", "id_size=28"]


def ldm_pipeline() -> AnyDoorPipeline:
    """Small random networks of the kinds that Stable Diffusion's layout knows."""
    torch.manual_seed(3)
    unet = UNet2DConditionModel(
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=2,
        cross_attention_dim=24,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
    )
    vae = AutoencoderKL(
        block_out_channels=(32, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        scaling_factor=0.18215,
    )
    dino = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 14}
    extractor = Dinov2Extractor({**dino, "image_size": 70, "mlp_ratio": 2}, 24, "both", 0.1)
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    detail = DetailExtractor.copied_from(unet, (8, 16, 24))
    return AnyDoorPipeline(unet, vae, detail, extractor, scheduler, resolution=64, id_size=28)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `saved`, a pipeline, and `released.safetensors`, the same in LDM's layout."""
    folder = tmp_path_factory.mktemp("official")
    ldm_pipeline().save_pretrained(folder / "saved")
    call = ["layout=official", "source=saved", "out=released.safetensors"]
    assert command("convert", *call, cwd=folder).returncode == 0
    return folder


def test_round_trip_is_bit_identical(released: Path, tmp_path: Path) -> None:
    there = ["source=" + str(released / "released.safetensors"), "out=folder", *SIZES]
    assert command("convert", *there, cwd=tmp_path).returncode == 0
    for out in ("back.safetensors", "back.ckpt"):
        back = ["layout=official", "source=folder", f"out={out}"]
        assert command("convert", *back, cwd=tmp_path).returncode == 0
    first = load_file(released / "released.safetensors")
    second = load_file(tmp_path / "back.safetensors")
    third = torch.load(tmp_path / "back.ckpt", weights_only=True)["state_dict"]
    assert set(first) == set(second) == set(third)
    assert all(torch.equal(first[n], second[n]) and torch.equal(first[n], third[n]) for n in first)


def test_imported_pipeline_draws_the_same_latents(released: Path, tmp_path: Path) -> None:
    there = ["source=" + str(released / "released.safetensors"), "out=folder", *SIZES]
    assert command("convert", *there, cwd=tmp_path).returncode == 0
    before = AnyDoorPipeline.from_pretrained(released / "saved")
    after = AnyDoorPipeline.from_pretrained(tmp_path / "folder")
    assert after.config.preprocessing == "official"
    latents, t = torch.randn(1, 4, 8, 8), torch.tensor([500])
    tokens = torch.randn(1, 5, 24)
    with torch.no_grad():
        results = [pipeline.model(latents, t, tokens, None) for pipeline in (before, after)]
    assert torch.equal(*results)


def test_half_precision_stays_half(released: Path, tmp_path: Path) -> None:
    tensors = load_file(released / "released.safetensors")
    save_file({n: t.half() for n, t in tensors.items()}, tmp_path / "half.safetensors")
    assert (
        command("convert", "source=half.safetensors", "out=f", *SIZES, cwd=tmp_path).returncode == 0
    )
    back = ["layout=official", "source=f", "out=back.safetensors"]
    assert command("convert", *back, cwd=tmp_path).returncode == 0
    again = load_file(tmp_path / "back.safetensors")
    assert all(torch.equal(again[n], tensors[n].half()) for n in tensors)


def changed(released: Path, to: Path, change: Any) -> None:
    tensors = load_file(released / "released.safetensors")
    change(tensors)
    save_file(tensors, to)


def without(name: str) -> Any:
    return lambda tensors: tensors.pop(name)


def reshaped(name: str) -> Any:
    return lambda tensors: tensors.update({name: torch.zeros(3)})


MISSING = "control_model.zero_convs.0.0.weight"
TELLING = "model.diffusion_model.middle_block.1.proj_in.weight"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without(MISSING), ["lacks 1 tensors", MISSING]),
        (without(TELLING), ["has no tensor", TELLING]),
        (lambda tensors: tensors.update(extra=torch.zeros(1)), ["has, beside", "1 tensors: extra"]),
        (reshaped(MISSING), [MISSING, "[3]", "expected [32, 32, 1, 1]"]),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    released: Path, tmp_path: Path, change: Any, words: list[str]
) -> None:
    changed(released, tmp_path / "bad.safetensors", change)
    refused(
        command("convert", "source=bad.safetensors", "out=folder", *SIZES, cwd=tmp_path), *words
    )
    assert [path.name for path in tmp_path.iterdir()] == ["bad.safetensors"]


@pytest.mark.parametrize("name", ["cut.safetensors", "cut.ckpt"])
def test_truncated_file_is_refused(released: Path, tmp_path: Path, name: str) -> None:
    tensors = load_file(released / "released.safetensors")
    whole = tmp_path / f"whole{Path(name).suffix}"
    if name.endswith("ckpt"):
        torch.save({"state_dict": tensors}, whole)
    else:
        save_file(tensors, whole)
    content = whole.read_bytes()
    whole.unlink()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    refused(command("convert", f"source={name}", "out=folder", *SIZES, cwd=tmp_path), name, "again")
    assert [path.name for path in tmp_path.iterdir()] == [name]


class Evil:
    """Creates a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("it_ran"),)


def test_pickle_with_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": {"x": torch.zeros(1)}, "evil": Evil()}, tmp_path / "zip.ckpt")
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps({"state_dict": Evil()}))
    for name in ("zip.ckpt", "plain.ckpt"):
        refused(command("convert", f"source={name}", "out=folder", *SIZES, cwd=tmp_path), name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plain.ckpt", "zip.ckpt"]


def test_pipelines_of_another_kind_have_no_place_there(networks: Path, tmp_path: Path) -> None:
    from small import small_pipeline

    small_pipeline(networks).save_pretrained(tmp_path / "saved")
    call = ["layout=official", "source=saved", "out=x.safetensors"]
    refused(command("convert", *call, cwd=tmp_path), "squaredcos_cap_v2", "scaled_linear")


def plain_base(released: Path, to: Path) -> None:
    """Stable Diffusion alone, with a text encoder."""
    tensors = load_file(released / "released.safetensors")
    kept = {n: t for n, t in tensors.items() if not n.startswith(("control_model.", "cond_stage_"))}
    save_file({**kept, "cond_stage_model.model.ln_final.weight": torch.zeros(4)}, to)


def test_plain_base_becomes_a_base_folder(released: Path, tmp_path: Path) -> None:
    plain_base(released, tmp_path / "sd.safetensors")
    call = ["source=sd.safetensors", "out=base", "check_prediction=false", *SIZES]
    assert command("convert", *call, cwd=tmp_path).returncode == 0
    assert sorted(p.name for p in (tmp_path / "base").iterdir()) == ["scheduler", "unet", "vae"]
    unet = UNet2DConditionModel.from_pretrained(tmp_path / "base", subfolder="unet")
    known = UNet2DConditionModel.from_pretrained(released / "saved", subfolder="unet")
    assert all(
        torch.equal(a, b) for a, b in zip(unet.parameters(), known.parameters(), strict=True)
    )


def test_base_that_does_not_predict_the_noise_is_refused(released: Path, tmp_path: Path) -> None:
    plain_base(released, tmp_path / "sd.safetensors")
    result = command("convert", "source=sd.safetensors", "out=base", *SIZES, cwd=tmp_path)
    refused(result, "correlates", "768")
    assert [path.name for path in tmp_path.iterdir()] == ["sd.safetensors"]
