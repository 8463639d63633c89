"""Importing checkpoints: what is no AnyDoor is named, what is spoilt refused, nothing lost."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file, save_file

from anydoor_lab.convert import to_folder, to_official
from anydoor_lab.models.official.checkpoint import components
from anydoor_lab.models.official.names import blocks_of, slot
from anydoor_lab.models.official.sizes import Heads
from anydoor_lab.models.official.source import Source, opened
from anydoor_lab.structures.errors import InputError
from test_doors import ROOT, command, refused
from test_official import SIZES, ldm_pipeline

Tensors = dict[str, torch.Tensor]
UNET = "model.diffusion_model."
FIRST = f"{UNET}input_blocks.0.0.weight"


def settings(**changed: Any) -> DictConfig:
    """The command's settings for the small networks."""
    small = dict(pair.split("=") for pair in SIZES)
    plain: dict[str, Any] = {name: int(value) for name, value in small.items()}
    plain |= {"num_inference_steps": 50, "guidance_scale": 5.0, "check_prediction": False}
    return OmegaConf.create(plain | changed)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a saved pipeline of small random networks."""
    folder = tmp_path_factory.mktemp("importer") / "saved"
    ldm_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def released(saved: Path) -> Path:
    """The same in the released layout."""
    out = saved.with_name("released.safetensors")
    to_official(saved, out)
    return out


def imported(tensors: Tensors, folder: Path, **changed: Any) -> Path:
    """The folder that a file of these tensors becomes."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "file.ckpt")
    to_folder(folder / "file.ckpt", folder / "out", settings(**changed))
    return folder / "out"


def old_generation(**changed: Any) -> Tensors:
    """The UNet of a small Stable Diffusion 1.5: 8 heads at every level, projections of 1x1."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        block_out_channels=(64, 128, 256, 256),
        layers_per_block=1,
        attention_head_dim=8,
        cross_attention_dim=768,
        **changed,
    )
    blocks = blocks_of(unet.config)
    return {slot("unet", name, blocks).key: value for name, value in unet.state_dict().items()}


def only(*beginnings: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {n: t for n, t in tensors.items() if n.startswith(beginnings)}


def beside(**more: torch.Size) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {n.replace("__", "."): torch.zeros(s) for n, s in more.items()}


def channels(number: int) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {FIRST: torch.zeros(32, number, 3, 3)}


def averaged(tensors: Tensors) -> Tensors:
    """As LDM's moving average has the names, without their points."""
    own = {n: t.clone() for n, t in tensors.items() if n.startswith(UNET)}
    return {f"model_ema.{n.removeprefix('model.').replace('.', '')}": t for n, t in own.items()}


OTHERS: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "sd15": (lambda tensors: tensors | old_generation(), "Stable Diffusion 1.x"),
    "sd15 base": (lambda _: old_generation(), "Stable Diffusion 1.x"),
    "inpainting": (channels(9), "inpainting model"),
    "inpainting sd15": (lambda _: old_generation(in_channels=9), "inpainting model"),
    "five channels": (channels(5), "depth-guided"),
    "seven channels": (channels(7), "takes 7 channels"),
    "sdxl": (beside(conditioner__embedders__0__logit_scale=torch.Size([1])), "Diffusion XL"),
    "sdxl unet": (beside(model__diffusion_model__label_emb__0=torch.Size([1])), "Diffusion XL"),
    "ema": (averaged, "moving average (EMA) alone"),
    "controlnet": (only("control_model."), "a ControlNet alone"),
    "lora": (beside(lora_unet_down=torch.Size([1])), "lora_unet_down"),
    "hint of three": (
        lambda tensors: (
            tensors | {"control_model.input_hint_block.0.weight": torch.zeros(8, 3, 3, 3)}
        ),
        "hint of 3 channels",
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_networks_are_refused_by_their_names(
    released: Path, tmp_path: Path, kind: str
) -> None:
    change, words = OTHERS[kind]
    with pytest.raises(ValueError) as error:
        imported(change(load_file(released)), tmp_path)
    assert words in str(error.value)
    assert not (tmp_path / "out").exists()


def test_heads_that_do_not_divide_the_channels_are_refused(released: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="32 channels are no whole number of heads of 24"):
        imported(load_file(released), tmp_path, unet_head_channels=24)


def same_weights(one: Path, other: Path) -> bool:
    files = sorted(path.relative_to(one) for path in one.rglob("*.safetensors"))
    assert len(files) == 4
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in files)


@pytest.fixture(scope="module")
def folder(released: Path) -> Path:
    """The released file imported."""
    to_folder(released, released.with_name("folder"), settings())
    return released.with_name("folder")


def test_wrapped_names_and_a_moving_average_are_understood(
    released: Path, folder: Path, tmp_path: Path
) -> None:
    tensors = load_file(released)
    both = tensors | averaged(tensors)
    wrapped = {f"module.{name}": tensor for name, tensor in both.items()}
    assert same_weights(folder, imported(wrapped, tmp_path))


def test_old_torch_files_are_refused_with_the_reason(released: Path, tmp_path: Path) -> None:
    content = {"state_dict": load_file(released)}
    torch.save(content, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match=r"before torch 1.6: it has no checksums.*write it anew"):
        to_folder(tmp_path / "old.ckpt", tmp_path / "out", settings())


def test_a_wrong_ending_is_no_damage(tmp_path: Path) -> None:
    torch.save({"state_dict": {"x": torch.ones(2)}}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=r"x.safetensors is a torch.save file; rename it to .ckpt"):
        to_folder(tmp_path / "x.safetensors", tmp_path / "out", settings())


@pytest.mark.parametrize("content", [{}, {"model": {"x": 1}}, [1, 2], {"state_dict": [1]}])
def test_files_without_tensors_say_what_they_are(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match="no tensors under state_dict: it is"):
        to_folder(tmp_path / "x.ckpt", tmp_path / "out", settings())


def read_as(path: Path) -> Tensors | str:
    """The tensors of a file, or why it is refused by this package itself."""
    try:
        with opened(path) as source:
            return {name: source.usable(name).clone() for name in source.shapes}
    except ValueError as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        assert trace is not None and "anydoor_lab" in trace.tb_frame.f_code.co_filename
        assert type(error) is InputError
        return str(error)


@pytest.mark.parametrize("old", [False, True])
def test_flipped_bytes_never_change_a_weight_unnoticed(tmp_path: Path, old: bool) -> None:
    torch.manual_seed(0)
    tensors = {f"model.block_{n}.weight": torch.randn(3, 4) for n in range(6)}
    content = {"epoch": 1, "state_dict": tensors, "optimizer_states": [{"rate": 0.1}]}
    path, rng, read = tmp_path / "x.ckpt", random.Random(7), 0
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    good = path.read_bytes()
    for _ in range(500):
        spoilt = bytearray(good)
        spoilt[rng.randrange(len(good))] ^= 1 << rng.randrange(8)
        path.write_bytes(spoilt)
        result = read_as(path)
        if isinstance(result, dict):
            read += 1
            assert set(result) == set(tensors)
            assert all(torch.equal(result[name], tensors[name]) for name in tensors)
    assert old or 0 < read < 500


def test_flipped_bytes_end_the_command_with_a_sentence(tmp_path: Path) -> None:
    torch.save({"state_dict": {"schlüssel.weight": torch.ones(3)}}, tmp_path / "x.ckpt")
    good = (tmp_path / "x.ckpt").read_bytes()
    (tmp_path / "x.ckpt").write_bytes(good.replace("ü".encode(), b"\xff\xff"))
    refused(command("convert", "source=x.ckpt", "out=folder", cwd=tmp_path), "x.ckpt", "again")


def altered(shapes: dict[str, tuple[int, ...]], rng: random.Random) -> dict[str, tuple[int, ...]]:
    """One tensor missing, renumbered, of another size or of another number of dimensions."""
    changed = dict(shapes)
    name = rng.choice(sorted(shapes))
    shape = changed.pop(name)
    numbers = [place for place, letter in enumerate(name) if letter.isdigit()]
    what = rng.randrange(4)
    if what == 1 and numbers:
        place = rng.choice(numbers)
        changed[f"{name[:place]}{rng.choice((3, 57, 10**9))}{name[place + 1 :]}"] = shape
    elif what == 2 and shape:
        place = rng.randrange(len(shape))
        size = rng.choice((0, 1, 3, 7, 32, 4096))
        changed[name] = (*shape[:place], size, *shape[place + 1 :])
    elif what == 3:
        changed[name] = rng.choice((shape[:-1], (*shape, 1), ()))
    return changed


def test_names_and_sizes_that_do_not_fit_are_refused_whatever_they_are(released: Path) -> None:
    with opened(released) as source:
        shapes, rng = source.shapes, random.Random(3)
    unneeded = 0
    for _ in range(60):
        changed = altered(shapes, rng)
        spoilt = Source(released, changed, lambda _: torch.zeros(1))
        try:
            components(spoilt, Heads(16, 16))
        except ValueError as error:
            assert str(error)
        else:
            unneeded += 1
    assert unneeded < 6, "only the schedule's tables may differ"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(
    released: Path, saved: Path, tmp_path: Path, value: float
) -> None:
    tensors = load_file(released)
    tensors[f"{UNET}out.2.bias"][1] = value
    with pytest.raises(ValueError, match=r"diffusion_model\.out\.2\.bias.* 1 values.*NaN or inf"):
        imported(tensors, tmp_path)
    assert not (tmp_path / "out").exists()
    shutil.copytree(saved, tmp_path / "saved")
    weights = tmp_path / "saved/unet/diffusion_pytorch_model.safetensors"
    own = load_file(weights)
    own["conv_out.bias"][1] = value
    save_file(own, weights)
    with pytest.raises(ValueError, match=r"diffusion_model\.out\.2\.bias.*NaN or inf"):
        to_official(tmp_path / "saved", tmp_path / "back.safetensors")


def test_whole_numbers_are_no_weights(released: Path, tmp_path: Path) -> None:
    tensors = load_file(released)
    tensors[f"{UNET}out.2.bias"] = tensors[f"{UNET}out.2.bias"].to(torch.int8)
    with pytest.raises(ValueError, match=r"out\.2\.bias.*int8; expected plain 16 to 64 bit floats"):
        imported(tensors, tmp_path)


WRONG: dict[str, list[Any]] = {
    "unet_head_channels": [-16, 0, 16.5, "many", True],
    "dino_head_channels": [-16, 0],
    "resolution": [0, -64, 30, 64.0, None],
    "id_size": [0, -28, 30],
    "num_inference_steps": [0, -1, "all"],
    "guidance_scale": [float("nan"), float("inf"), -1, "strong"],
    "check_prediction": ["maybe", None],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in WRONG.items() for v in vs])
def test_settings_no_pipeline_can_have_are_refused(
    released: Path, tmp_path: Path, name: str, value: Any
) -> None:
    with pytest.raises(ValueError, match=name):
        to_folder(released, tmp_path / "out", settings(**{name: value}))
    assert list(tmp_path.iterdir()) == []


def test_a_negative_size_ends_the_command_with_a_sentence(released: Path, tmp_path: Path) -> None:
    call = [f"source={released}", "out=new/folder", *SIZES, "unet_head_channels=-16"]
    refused(command("convert", *call, cwd=tmp_path), "unet_head_channels is -16")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def narrow_umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_files_have_the_rights_of_the_umask(
    released: Path, saved: Path, tmp_path: Path, narrow_umask: None
) -> None:
    to_folder(released, tmp_path / "folder", settings())
    for name in ("back.safetensors", "back.ckpt"):
        to_official(saved, tmp_path / name)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 12
    assert {oct(path.stat().st_mode & 0o777) for path in files} == {"0o640"}


def cramped(*call: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command where no file can be larger than 64 kB."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))

    return subprocess.run(
        [sys.executable, "-m", "anydoor_lab.convert", *map(str, call)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=180,
        preexec_fn=limit,
    )


@pytest.mark.parametrize("out", ["new/folder", "new/back.safetensors", "new/back.ckpt"])
def test_a_full_disk_is_told_and_leaves_nothing(
    released: Path, saved: Path, tmp_path: Path, out: str
) -> None:
    source = released if out.endswith("folder") else saved
    layout = "diffusers" if out.endswith("folder") else "official"
    result = cramped(f"source={source}", f"out={out}", f"layout={layout}", *SIZES, cwd=tmp_path)
    refused(result, "could not be written", "File too large", "source is whole")
    assert "damaged" not in result.stderr
    assert list(tmp_path.iterdir()) == []


LOST = [
    ("id_extractor", {"interpolate_offset": 0.0}, "interpolate_offset"),
    ("id_extractor", {"tokens": "patch"}, "tokens"),
    ("vae", {"scaling_factor": 0.13025}, "scaling_factor"),
    ("vae", {"shift_factor": 0.1}, "shift_factor"),
    ("unet", {"norm_eps": 1e-6}, "norm_eps"),
    ("unet", {"attention_head_dim": [2, 2]}, "attention_head_dim"),
    ("unet", {"act_fn": "gelu"}, "act_fn"),
    ("detail_extractor", {"attention_head_dim": [4, 4]}, "attention_head_dim"),
    ("scheduler", {"trained_betas": [0.1, 0.2]}, "trained_betas"),
    ("scheduler", {"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr"),
    ("scheduler", {"beta_end": 0.01200001234}, "beta_end"),
    ("scheduler", {"prediction_type": "v_prediction"}, "v_prediction"),
]


def changed_config(saved: Path, to: Path, component: str, change: dict[str, Any]) -> Path:
    shutil.copytree(saved, to)
    scheduler = component == "scheduler"
    path = to / component / ("scheduler_config.json" if scheduler else "config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    return to


@pytest.mark.parametrize(("component", "change", "words"), LOST)
def test_what_the_layout_has_no_place_for_is_refused(
    saved: Path, tmp_path: Path, component: str, change: dict[str, Any], words: str
) -> None:
    folder = changed_config(saved, tmp_path / "saved", component, change)
    with pytest.raises(ValueError, match=words):
        to_official(folder, tmp_path / "back.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_other_betas_are_kept(saved: Path, tmp_path: Path) -> None:
    folder = changed_config(saved, tmp_path / "saved", "scheduler", {"beta_end": 0.0121})
    to_official(folder, tmp_path / "back.safetensors")
    to_folder(tmp_path / "back.safetensors", tmp_path / "again", settings())
    read = DDIMScheduler.from_pretrained(tmp_path / "again", subfolder="scheduler").config
    assert (read["beta_start"], read["beta_end"]) == (0.00085, 0.0121)


def test_betas_in_half_precision_are_not_rounded_to_others(released: Path, tmp_path: Path) -> None:
    tensors = load_file(released)
    betas = torch.linspace(0.00085**0.5, 0.0121**0.5, 1000, dtype=torch.float64) ** 2
    half = {name: tensor.half() for name, tensor in (tensors | {"betas": betas}).items()}
    folder = imported(half, tmp_path)
    read = DDIMScheduler.from_pretrained(folder, subfolder="scheduler").config
    assert read["beta_end"] == pytest.approx(0.0121, rel=1e-3)


def test_what_the_file_does_not_say_is_printed(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to_official(saved, tmp_path / "back.ckpt")
    said = capsys.readouterr().out
    assert "unet_head_channels=16" in said and "preprocessing=default" in said
    assert "resolution=64" in said and "id_size=28" in said and "timestep_spacing=leading" in said


@pytest.mark.parametrize("name", ["model_index.json", "unet/config.json", "vae"])
def test_folders_that_are_no_pipeline_are_refused(saved: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(saved, tmp_path / "saved")
    path = tmp_path / "saved" / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.write_text("{broken")
    with pytest.raises(ValueError, match=name.split("/")[0]):
        to_official(tmp_path / "saved", tmp_path / "back.ckpt")
