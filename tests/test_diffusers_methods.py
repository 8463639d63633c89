"""A pipeline is any diffusers pipeline: every public method is called and does as it says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from safetensors.torch import load_file, save_file

import anydoor_lab
from anydoor_lab.models.lora import add_adapters
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.structures.images import write_image
from small import move_zero_convolutions, small_pipeline
from test_branches import PosedPipeline, PoseExtractor, latents, shown

ADAPTERS = "pytorch_lora_weights.safetensors"


def fresh(networks: Path) -> AnyDoorPipeline:
    """A small random pipeline whose detail maps are not zero, without a bar."""
    made = small_pipeline(networks)
    move_zero_convolutions(made.detail_extractor)
    made.set_progress_bar_config(disable=True)
    return made


def fill(pipeline: AnyDoorPipeline) -> AnyDoorPipeline:
    """With adapters of random numbers."""
    torch.manual_seed(3)
    for parameter in add_adapters(pipeline.model, 4):
        torch.nn.init.normal_(parameter, std=0.1)
    return pipeline


def placed(pipeline: AnyDoorPipeline, **settings: Any) -> np.ndarray:
    """The crop of one call, int."""
    rng = np.random.default_rng(0)
    reference, scene = (rng.integers(0, 255, (48, 48, 3)).astype(np.uint8) for _ in range(2))
    mask = np.zeros((48, 48), bool)
    mask[8:40, 10:38] = True
    return pipeline(reference, scene, mask, box=[8, 8, 40, 40], **settings).crops[0].astype(int)


@dataclass
class Plain:
    """A fresh pipeline, what it places, and a folder of its own."""

    pipe: AnyDoorPipeline
    expected: np.ndarray
    folder: Path

    def unchanged(self, pipe: AnyDoorPipeline | None = None, levels: int = 1) -> None:
        """It (or another) places what it did, up to so many grey levels."""
        assert np.abs(placed(pipe or self.pipe) - self.expected).max() <= levels


@pytest.fixture(scope="module")
def crops(networks: Path) -> tuple[np.ndarray, np.ndarray]:
    """What the pipeline places without and with the adapters."""
    return placed(fresh(networks)), placed(fill(fresh(networks)))


@pytest.fixture
def plain(networks: Path, crops: Any, tmp_path: Path) -> Plain:
    return Plain(fresh(networks), crops[0], tmp_path)


@dataclass
class Adapted(Plain):
    """The same with adapters, and what it places without them."""

    without: np.ndarray

    def alone(self) -> None:
        """It places what it did without adapters."""
        assert np.abs(placed(self.pipe) - self.without).max() <= 1


@pytest.fixture
def adapted(networks: Path, crops: Any, tmp_path: Path) -> Adapted:
    return Adapted(fill(fresh(networks)), crops[1], tmp_path, crops[0])


# without adapters


def to(case: Plain) -> None:
    assert case.pipe.to("cpu") is case.pipe
    case.unchanged(levels=0)
    assert case.pipe.to(torch.float64).dtype == torch.float64
    case.unchanged()


def save_pretrained(case: Plain) -> None:
    for number, how in enumerate(({}, {"max_shard_size": "20KB"}, {"safe_serialization": False})):
        case.pipe.save_pretrained(case.folder / str(number), **how)
        case.unchanged(AnyDoorPipeline.from_pretrained(case.folder / str(number)), levels=0)
    case.pipe.save_pretrained(case.folder / "half", variant="fp16")
    case.unchanged(AnyDoorPipeline.from_pretrained(case.folder / "half", variant="fp16"), levels=0)


def from_pretrained(case: Plain) -> None:
    case.pipe.save_pretrained(case.folder)
    given = {"vae": case.pipe.vae, "zoom": 1.9}
    other = AnyDoorPipeline.from_pretrained(case.folder, torch_dtype=torch.bfloat16, **given)
    assert other.vae is case.pipe.vae and other.config.zoom == 1.9
    assert other.unet.dtype == torch.bfloat16
    assert other.name_or_path == case.folder


def from_pipe(case: Plain) -> None:
    other = AnyDoorPipeline.from_pipe(case.pipe)
    assert other.components == case.pipe.components
    other.set_progress_bar_config(disable=True)
    case.unchanged(other, levels=0)
    assert AnyDoorPipeline.from_pipe(case.pipe, zoom=1.9).config.zoom == 1.9
    swapped = AnyDoorPipeline.from_pipe(case.pipe, vae=(vae := fresh_vae(case.pipe)))
    assert swapped.vae is vae and swapped.unet is case.pipe.unet


def fresh_vae(pipe: AnyDoorPipeline) -> Any:
    return type(pipe.vae).from_config(pipe.vae.config)


def from_config(case: Plain) -> None:
    case.pipe.save_config(case.folder)
    read = AnyDoorPipeline.load_config(case.folder)
    assert read["zoom"] == 1.5 and read == AnyDoorPipeline.get_config_dict(case.folder)
    made = AnyDoorPipeline.from_config(read, **case.pipe.components)
    made.set_progress_bar_config(disable=True)
    case.unchanged(made, levels=0)
    assert AnyDoorPipeline.extract_init_dict(read)[0]["zoom"] == 1.5


def as_json(case: Plain) -> None:
    case.pipe.to_json_file(case.folder / "it.json")
    text = (case.folder / "it.json").read_text()
    assert text == case.pipe.to_json_string() and json.loads(text)["zoom"] == 1.5


def register_modules(case: Plain) -> None:
    case.pipe.register_modules(vae=(vae := fresh_vae(case.pipe)))
    assert case.pipe.vae is case.pipe.model.vae is vae
    case.pipe.register_to_config(guidance_scale=1.0)
    assert case.pipe.guidance() == 1.0
    assert case.pipe.config["detail_extractor"] == ("anydoor_lab", "DetailExtractor")


def attention(case: Plain) -> None:
    case.pipe.enable_attention_slicing("max")
    case.unchanged()
    case.pipe.set_attention_slice(2)
    case.unchanged()
    case.pipe.disable_attention_slicing()
    case.unchanged(levels=0)


def xformers(case: Plain) -> None:
    with pytest.raises((ModuleNotFoundError, ValueError), match="xformers|GPU"):
        case.pipe.enable_xformers_memory_efficient_attention()
    with pytest.raises((ModuleNotFoundError, ValueError), match="xformers|GPU"):
        case.pipe.set_use_memory_efficient_attention_xformers(True)
    case.pipe.disable_xformers_memory_efficient_attention()
    case.unchanged()


def offloading(case: Plain) -> None:
    if not torch.cuda.is_available():
        for name in ("enable_model_cpu_offload", "enable_sequential_cpu_offload"):
            with pytest.raises(RuntimeError, match="requires accelerator"):
                getattr(case.pipe, name)()
    case.pipe.enable_model_cpu_offload(device="cpu")
    case.unchanged(levels=0)
    case.pipe.maybe_free_model_hooks()
    case.unchanged(levels=0)
    case.pipe.remove_all_hooks()
    case.pipe.reset_device_map()
    case.unchanged(levels=0)


def group_offload(case: Plain) -> None:
    here = {"onload_device": torch.device("cpu"), "offload_type": "leaf_level"}
    case.pipe.enable_group_offload(**here)
    case.unchanged(levels=0)


def progress(case: Plain) -> None:
    case.pipe.set_progress_bar_config(disable=False, desc="placing")
    assert case.pipe.progress_bar(total=3).total == 3
    assert list(case.pipe.progress_bar([1, 2])) == [1, 2]


def facts(case: Plain) -> None:
    names = {"unet", "vae", "detail_extractor", "id_extractor", "scheduler"}
    assert set(case.pipe.components) == names
    assert {"zoom", "resolution", "collage"} <= set(case.pipe.parameters)
    assert case.pipe.device == torch.device("cpu") and case.pipe.dtype == torch.float32
    assert case.pipe.numpy_to_pil(np.zeros((1, 4, 4, 3)))[0].size == (4, 4)


METHODS: dict[Callable[[Any], None], str] = {
    to: "to",
    save_pretrained: "save_pretrained",
    from_pretrained: "from_pretrained",
    from_pipe: "from_pipe",
    from_config: "from_config save_config load_config get_config_dict extract_init_dict",
    as_json: "to_json_file to_json_string",
    register_modules: "register_modules register_to_config guidance",
    attention: "enable_attention_slicing disable_attention_slicing set_attention_slice",
    xformers: "enable_xformers_memory_efficient_attention "
    "disable_xformers_memory_efficient_attention set_use_memory_efficient_attention_xformers",
    offloading: "enable_model_cpu_offload enable_sequential_cpu_offload maybe_free_model_hooks "
    "remove_all_hooks reset_device_map",
    group_offload: "enable_group_offload",
    progress: "set_progress_bar_config progress_bar",
    facts: "numpy_to_pil",
}


@pytest.mark.parametrize("does_as_it_says", METHODS)
def test_a_method_does_as_in_diffusers(plain: Plain, does_as_it_says: Any) -> None:
    does_as_it_says(plain)


# with adapters


def fuse(case: Adapted) -> None:
    case.pipe.fuse_lora()
    case.unchanged()
    assert case.pipe.fused_loras == {"default"} and case.pipe.num_fused_loras == 1
    case.pipe.unfuse_lora()
    case.unchanged()
    assert case.pipe.num_fused_loras == 0
    case.pipe.fuse_lora(lora_scale=0.5)
    half = placed(case.pipe)
    with pytest.raises(RuntimeError, match=r"fused adapters; unfuse_lora\(\) before set_adapters"):
        case.pipe.set_adapters("default", 0.25)
    with pytest.raises(RuntimeError, match="before fuse_lora with another"):
        case.pipe.fuse_lora(lora_scale=0.25)
    case.pipe.fuse_lora()
    case.pipe.unfuse_lora()
    case.unchanged()
    case.pipe.set_adapters("default", 0.5)
    assert np.abs(placed(case.pipe) - half).max() <= 1


def fuse_some(case: Adapted) -> None:
    case.pipe.fuse_lora(["unet"], safe_fusing=True)
    case.unchanged()
    case.pipe.unfuse_lora(["unet"])
    case.unchanged()
    with pytest.raises(ValueError, match="cannot be an empty list"):
        case.pipe.fuse_lora([])
    with pytest.raises(ValueError, match="vae is not found in"):
        case.pipe.fuse_lora(["vae"])


def fuse_for_good(case: Adapted) -> None:
    case.pipe.fuse_lora()
    case.pipe.unload_lora_weights()
    case.unchanged()
    case.pipe.save_pretrained(case.folder)
    again = AnyDoorPipeline.from_pretrained(case.folder)
    again.set_progress_bar_config(disable=True)
    case.unchanged(again)


def save_with_adapters(case: Adapted) -> None:
    with pytest.raises(RuntimeError, match=r"LoRA adapters in the networks; save_lora_weights\(\)"):
        case.pipe.save_pretrained(case.folder)
    assert not list(case.folder.iterdir())


def switch(case: Adapted) -> None:
    case.pipe.disable_lora()
    case.alone()
    case.pipe.enable_lora()
    case.unchanged()
    case.pipe.set_adapters("default", {"unet": 0.0, "detail_extractor": 0.0})
    case.alone()
    case.pipe.set_adapters("default")
    case.pipe.set_lora_device(["default"], "cpu")
    case.unchanged()
    assert case.pipe.get_active_adapters() == ["default"] and case.pipe.lora_scale == 1.0
    with pytest.raises(ValueError, match="absent"):
        case.pipe.set_adapters("absent")


def several(case: Adapted) -> None:
    case.pipe.save_lora_weights(case.folder)
    tensors = AnyDoorPipeline.lora_state_dict(case.folder)
    assert set(tensors) == set(load_file(case.folder / ADAPTERS))
    case.pipe.load_lora_weights(case.folder / ADAPTERS, "other")
    both = ["default", "other"]
    assert case.pipe.get_list_adapters() == {"unet": both, "detail_extractor": both}
    case.pipe.set_adapters(both, [0.25, 0.75])
    case.unchanged()
    with pytest.raises(ValueError, match="already in use"):
        case.pipe.load_lora_weights(case.folder, "other")
    case.pipe.delete_adapters("default")
    case.pipe.set_adapters("other")
    case.unchanged()


def delete(case: Adapted) -> None:
    with pytest.raises(ValueError, match=r"no adapter 'absent'; there are \['default'\]"):
        case.pipe.delete_adapters(["default", "absent"])
    case.unchanged()
    case.pipe.delete_adapters("default")
    case.alone()
    case.pipe.save_pretrained(case.folder)
    again = AnyDoorPipeline.from_pretrained(case.folder)
    assert set(again.unet.state_dict()) == set(case.pipe.unet.state_dict())


def unload(case: Adapted) -> None:
    case.pipe.unload_lora_weights()
    case.alone()
    case.pipe.fuse_lora()
    case.pipe.unfuse_lora()
    case.alone()


def hotswap(case: Adapted) -> None:
    with pytest.raises(RuntimeError, match=r"not exchanged in place here; unload_lora_weights\(\)"):
        case.pipe.enable_lora_hotswap(target_rank=8)


def write(case: Adapted) -> None:
    packed = case.pipe.pack_weights({"a": torch.ones(2)}, "unet")
    case.pipe.write_lora_layers(packed, str(case.folder), True, "own.safetensors", None, True)
    assert set(load_file(case.folder / "own.safetensors")) == {"unet.a"}


ADAPTER_METHODS: dict[Callable[[Any], None], str] = {
    fuse: "fuse_lora unfuse_lora",
    fuse_some: "fuse_lora unfuse_lora",
    fuse_for_good: "fuse_lora",
    save_with_adapters: "save_pretrained",
    switch: "disable_lora enable_lora set_adapters set_lora_device get_active_adapters",
    several: "save_lora_weights lora_state_dict load_lora_weights get_list_adapters",
    delete: "delete_adapters",
    unload: "unload_lora_weights",
    hotswap: "enable_lora_hotswap",
    write: "pack_weights write_lora_layers",
}


@pytest.mark.parametrize("does_as_it_says", ADAPTER_METHODS)
def test_a_method_for_adapters_does_as_in_diffusers(adapted: Adapted, does_as_it_says: Any) -> None:
    does_as_it_says(adapted)


OWN = {"conditioner", "prepare", "denoise", "decode", "start_noise", "timesteps", "warm_up"}
"""Of this package alone, and tested where the numbers are."""
HUB = {"download", "push_to_hub", "register_for_auto_class"}
"""These talk to the hub."""


def test_no_public_method_is_left_uncalled() -> None:
    public = (name for name in dir(AnyDoorPipeline) if not name.startswith("_"))
    methods = {name for name in public if callable(getattr(AnyDoorPipeline, name))}
    called = {n for names in (METHODS | ADAPTER_METHODS).values() for n in names.split()}
    assert methods - called - OWN - HUB == set()


# adapters of further branches


@pytest.fixture
def posed(networks: Path) -> AnyDoorPipeline:
    """A small pipeline with a second branch and adapters."""
    base = fresh(networks)
    branch = PoseExtractor.copied_from(base.unet, (8, 8, 16))
    move_zero_convolutions(branch)
    settings = {"resolution": 64, "id_size": 64, "zoom": 1.5, "guidance_scale": 3.0}
    return fill(PosedPipeline(**base.components, pose_extractor=branch, **settings).to("cpu"))


def test_a_further_branch_has_adapters_too(posed: AnyDoorPipeline, tmp_path: Path) -> None:
    networks = {"unet", "detail_extractor", "pose_extractor"}
    assert set(posed.get_list_adapters()) == networks
    one = shown(posed)
    wanted = latents(posed, one)
    posed.fuse_lora()
    torch.testing.assert_close(latents(posed, one), wanted, rtol=1e-2, atol=1e-2)
    posed.unfuse_lora()
    posed.save_lora_weights(tmp_path)
    assert {key.split(".")[0] for key in load_file(tmp_path / ADAPTERS)} == networks
    posed.unload_lora_weights()
    assert not torch.allclose(latents(posed, one), wanted, rtol=1e-2, atol=1e-2)
    posed.load_lora_weights(tmp_path)
    torch.testing.assert_close(latents(posed, one), wanted, rtol=1e-2, atol=1e-2)


def test_adapters_of_fewer_branches_are_refused(
    posed: AnyDoorPipeline, adapted: Adapted, tmp_path: Path
) -> None:
    adapted.pipe.save_lora_weights(tmp_path)
    posed.unload_lora_weights()
    with pytest.raises(ValueError, match="no adapters of the pose_extractor"):
        posed.load_lora_weights(tmp_path)


# weights that are not numbers


@pytest.mark.parametrize("part", ["unet", "vae", "detail_extractor", "id_extractor"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(
    plain: Plain, part: str, value: float
) -> None:
    plain.pipe.save_pretrained(plain.folder)
    path = plain.folder / part / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    name = sorted(tensors)[len(tensors) // 2]
    tensors[name].view(-1)[-1] = value
    save_file(tensors, path, {"format": "pt"})
    sentence = rf"the {part} has weights that are not finite.* first in {name}"
    for kind in (AnyDoorPipeline, DiffusionPipeline):
        with pytest.raises(ValueError, match=sentence):
            kind.from_pretrained(plain.folder)


def test_adapters_that_are_not_finite_are_refused(adapted: Adapted) -> None:
    adapted.pipe.save_lora_weights(adapted.folder)
    adapted.pipe.unload_lora_weights()
    path = adapted.folder / ADAPTERS
    tensors = load_file(path)
    tensors[(name := min(tensors))][0, 0] = float("nan")
    save_file(tensors, path)
    with pytest.raises(ValueError, match=f"not finite.*{name}"):
        adapted.pipe.load_lora_weights(adapted.folder)
    adapted.alone()


def test_large_and_empty_and_whole_numbers_are_finite(plain: Plain) -> None:
    plain.pipe.vae.register_buffer("extremes", torch.tensor([3e38, -3e38]))
    plain.pipe.vae.register_buffer("empty", torch.zeros(0))
    plain.pipe.vae.register_buffer("whole", torch.tensor([7]))
    plain.pipe.register_modules(vae=plain.pipe.vae)


# precision


@pytest.mark.parametrize(("dtype", "levels"), [(torch.float16, 1), (torch.bfloat16, 4)])
def test_sixteen_bits_on_a_cpu_place_nearly_the_same(
    plain: Plain, dtype: torch.dtype, levels: int
) -> None:
    assert np.abs(placed(plain.pipe.to(dtype)) - plain.expected).mean() < levels


def test_only_the_vae_may_have_a_precision_of_its_own(plain: Plain) -> None:
    plain.pipe.vae.to(torch.float64)
    plain.unchanged()
    for part in ("id_extractor", "detail_extractor"):
        getattr(plain.pipe, part).to(torch.bfloat16)
        with pytest.raises(RuntimeError, match=f"several precisions .*{part} torch.bfloat16"):
            placed(plain.pipe)
        getattr(plain.pipe, part).to(torch.float32)


# by diffusers alone

BY_DIFFUSERS = """
import sys
import diffusers
import anydoor_lab
anydoor_lab.AnyDoorPipeline
pipeline = diffusers.DiffusionPipeline.from_pretrained(sys.argv[1])
placed = pipeline(*sys.argv[2:4], box=[8, 8, 40, 40])
placed[0][0].save(sys.argv[4])
"""


def test_diffusers_itself_loads_a_saved_folder(plain: Plain) -> None:
    rng = np.random.default_rng(0)
    reference, scene, out = (plain.folder / name for name in ("object.png", "scene.png", "out.png"))
    pixels = rng.integers(0, 255, (48, 48, 4)).astype(np.uint8)
    pixels[..., 3] = np.where(np.arange(48) < 30, 255, 0)
    write_image(reference, pixels)
    write_image(scene, rng.integers(0, 255, (48, 48, 3)).astype(np.uint8))
    plain.pipe.save_pretrained(plain.folder / "saved")
    call = [sys.executable, "-c", BY_DIFFUSERS, plain.folder / "saved", reference, scene, out]
    root = Path(anydoor_lab.__file__).parents[1]
    done = subprocess.run(call, cwd=root, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-2000:]
    here = plain.pipe(Image.open(reference), Image.open(scene), box=[8, 8, 40, 40]).images[0]
    assert np.array_equal(np.asarray(Image.open(out)), np.asarray(here))
