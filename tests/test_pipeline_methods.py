"""Methods through diffusers' pipelines, on tiny random pipelines of the same classes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from omegaconf import OmegaConf
from transformers import CLIPVisionModelWithProjection

import small_pipelines as small
from anydoor_lab.conditioning.copy_paste import emptied
from anydoor_lab.conditioning.placement import paste_back
from anydoor_lab.config.assemble import build_method
from anydoor_lab.evaluation.judges import Judges
from anydoor_lab.evaluation.kept import KeptResults
from anydoor_lab.evaluation.score import background_of, evaluate
from anydoor_lab.evaluation.settings import EvalSettings
from anydoor_lab.methods.flow_matching import Flux2Klein, FluxFillRedux, FluxKontext, QwenImageEdit
from anydoor_lab.methods.inpainting import Inpainting
from anydoor_lab.methods.stable_diffusion import Graphit, IpAdapter, PaintByExample, SdInpaint
from anydoor_lab.metrics.background import BackgroundPsnr, background_psnr
from anydoor_lab.metrics.protocol import ScoreProtocol
from anydoor_lab.metrics.unchanged import Unchanged
from anydoor_lab.models.sources import MissingError
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.names import conf_dir
from anydoor_lab.structures.pair import Pair
from anydoor_lab.structures.rng import rng_for

BOX = Box(30, 60, 24, 50)
SMALL = {"resolution": 32, "num_inference_steps": 2, "prompt": "a cat"}


def make_graphit(folder: Path) -> Graphit:
    small.unet(9).save_pretrained(folder / "unet", safe_serialization=False)  # as it is released
    CLIPVisionModelWithProjection(small.clip_vision_config()).save_pretrained(folder / "clip")
    source = small.stable_diffusion(folder / "sd")
    return Graphit(source=source, unet=folder / "unet", encoder=folder / "clip", **SMALL)


def make_ip_adapter(folder: Path) -> IpAdapter:
    source = small.stable_diffusion(folder / "sd")
    adapter = small.ip_adapter(folder / "adapter", source)
    file = "models/adapter.safetensors"
    return IpAdapter(source=source, adapter=adapter, weights=file, **SMALL)


def make_redux(folder: Path) -> FluxFillRedux:
    source, redux = small.flux_fill(folder / "fill"), small.flux_redux(folder / "redux")
    return FluxFillRedux(source=source, redux=redux, **SMALL)


MAKE: dict[str, Callable[[Path], Any]] = {
    "sd_inpaint": lambda f: SdInpaint(source=small.stable_diffusion(f), **SMALL),
    "ip_adapter": make_ip_adapter,
    "paint_by_example": lambda f: PaintByExample(source=small.paint_by_example(f), **SMALL),
    "graphit": make_graphit,
    "flux_fill_redux": make_redux,
    "flux_kontext": lambda f: FluxKontext(source=small.flux_kontext(f), **SMALL),
    "flux2_klein": lambda f: Flux2Klein(source=small.flux2_klein(f), **SMALL),
    "qwen_image_edit": lambda f: QwenImageEdit(source=small.qwen_image_edit(f), **SMALL),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Inpainting]:
    known: dict[str, Inpainting] = {}

    def make(name: str) -> Inpainting:
        if name == "qwen_image_edit":
            pytest.importorskip("torchvision", reason="Qwen's processor is read with torchvision")
        if name not in known:
            known[name] = MAKE[name](tmp_path_factory.mktemp(name))
        return known[name]

    return make


@pytest.fixture(scope="module")
def pair() -> Pair:
    rng = rng_for(0, 0, "pictures of methods")
    reference = rng.integers(0, 256, (60, 50, 3), np.uint8)
    scene = rng.integers(0, 256, (96, 80, 3), np.uint8)
    mask = Box(10, 50, 10, 40).mask(60, 50)
    return Pair(reference, mask, scene, BOX.mask(96, 80))


def placed(method: Any, pair: Pair, *seeds: int) -> list[np.ndarray]:
    return [result.scene for result in method([pair], [seeds], [rng_for(0, 0, "")])]


@pytest.mark.parametrize("name", MAKE)
def test_a_result_follows_from_its_seed_and_changes_the_region_alone(
    name: str, made: Callable[[str], Inpainting], pair: Pair
) -> None:
    method = made(name)
    first, second = placed(method, pair, 0, 1)
    assert np.array_equal(second, placed(method, pair, 1)[0])
    assert not np.array_equal(first, second)
    around = BOX.grown(1.1, 96, 80).mask(96, 80)
    assert np.array_equal(first[~around], pair.scene[~around])
    middle = Box(40, 50, 32, 42).slices
    assert not np.array_equal(first[middle], emptied(pair)[middle])


@pytest.mark.parametrize("name", MAKE)
def test_the_rest_is_scored_unchanged_and_the_background_before_blending(
    name: str, made: Callable[[str], Inpainting], pair: Pair, tmp_path: Path
) -> None:
    method = made(name)
    judges = Judges({"unchanged": Unchanged(), "psnr": BackgroundPsnr()}, ScoreProtocol())
    settings = EvalSettings(num_pairs=1, num_diverse=0, num_shown=1)
    kept = KeptResults(tmp_path, {"config": name})
    row, (result,) = evaluate(method, [pair], judges, settings, kept=kept)
    assert row["unchanged"] == 100
    assert result.crop is not None and result.placement is not None
    whole = paste_back(result.crop, pair.scene, result.placement)
    expected = background_psnr(whole, pair.scene, background_of(result))
    assert row["psnr"] == pytest.approx(expected) and expected < 60
    again, _ = evaluate(method, [pair], judges, settings, kept=kept)  # as it was kept
    assert (again["psnr"], again["unchanged"]) == (row["psnr"], 100)
    (tmp_path / "00000.npz").unlink()
    assert "psnr" not in evaluate(method, [pair], judges, settings, kept=kept)[0]


@pytest.mark.parametrize("name", MAKE)
def test_what_stood_in_the_scene_is_not_seen_and_the_reference_is(
    name: str, made: Callable[[str], Inpainting], pair: Pair
) -> None:
    method = made(name)
    scene = pair.scene.copy()
    scene[BOX.slices] = 255 - scene[BOX.slices]
    other = 255 - pair.reference
    before, hidden, shown = (
        placed(method, one, 0)[0]
        for one in (pair, replace(pair, scene=scene), replace(pair, reference=other))
    )
    assert np.array_equal(before, hidden)
    assert np.array_equal(before, shown) == (name == "sd_inpaint")


@pytest.mark.parametrize("name", [name for name in MAKE if name != "qwen_image_edit"])
def test_the_saved_weights_are_what_paints(
    name: str, made: Callable[[str], Inpainting], pair: Pair
) -> None:
    method = made(name)
    again = replace(method)  # type: ignore[type-var]
    assert again is not method
    assert np.array_equal(placed(method, pair, 3)[0], placed(again, pair, 3)[0])


@pytest.mark.parametrize("name", MAKE)
def test_a_methods_file_names_its_settings_and_what_is_missing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    node = OmegaConf.load(conf_dir() / "method" / f"{name}.yaml")
    with pytest.raises(MissingError, match=r"not in the hub's cache|torchvision") as error:
        build_method(node, device="cpu")
    assert re.search(r"method\.source=/path/to/folder|pip install", str(error.value))


def test_graphits_channels_stand_where_the_pipeline_puts_them(
    made: Callable[[str], Inpainting],
) -> None:
    method: Any = made("graphit")
    own = UNet2DConditionModel.from_pretrained(method.unet)
    torch.manual_seed(0)
    noisy, image, mask = (torch.randn(1, channels, 16, 16) for channels in (4, 4, 1))
    tokens, t = torch.randn(1, 1, small.WIDTH), torch.tensor(7)
    with torch.no_grad():
        theirs = own(torch.cat([noisy, image, mask], 1), t, tokens).sample
        ours = method.pipeline.unet(torch.cat([noisy, mask, image], 1), t, tokens).sample
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_each_tells_weights_memory_and_licence() -> None:
    kinds = [SdInpaint, IpAdapter, PaintByExample, Graphit, FluxFillRedux, FluxKontext]
    for kind in (*kinds, QwenImageEdit, Flux2Klein):
        needs = kind.needs
        assert "/" in needs.weights and needs.memory_gb > 1 and needs.licence


def test_half_a_pipeline_is_named(tmp_path: Path) -> None:
    folder = small.stable_diffusion(tmp_path / "sd")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(MissingError, match=r"method.source: no .*no unet/diffusion_pytorch_model"):
        SdInpaint(source=folder)
    (folder / "model_index.json").unlink()
    with pytest.raises(MissingError, match=r"no model_index.json"):
        SdInpaint(source=folder)


def test_an_adapter_of_another_place_is_named(tmp_path: Path) -> None:
    source = small.stable_diffusion(tmp_path / "sd")
    small.ip_adapter(tmp_path / "adapter", source)
    with pytest.raises(MissingError, match=r"method.adapter: .*no models/ip-adapter-plus_sd15"):
        IpAdapter(source=source, adapter=tmp_path / "adapter")


def test_a_resolution_that_no_pipeline_takes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="resolution is 500; expected a multiple of 16"):
        SdInpaint(source=tmp_path, resolution=500)
