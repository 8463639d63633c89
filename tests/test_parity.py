"""What the released code computes, this code computes: read from ../shared/parity, where it is."""

from __future__ import annotations

import hashlib
import json
import tarfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from anydoor_lab.conditioning.official import OfficialConditioner, crop_back, reference_square
from anydoor_lab.diffusion.guidance import Prepared, bound_denoiser
from anydoor_lab.diffusion.loss import DiffusionLoss
from anydoor_lab.diffusion.sampler import sample_ddim
from anydoor_lab.diffusion.schedule import Schedule
from anydoor_lab.diffusion.timesteps import adaptive_timesteps
from anydoor_lab.models.official.names import blocks_of, slot
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.structures.pair import Pair
from commands import command

ROOT = Path(__file__).resolve().parents[1]
SETS = sorted(path.parent for path in (ROOT.parent / "shared/parity").glob("*/manifest.json"))
REASON = "../shared/parity is not there: inputs and outputs of the released code"
pytestmark = pytest.mark.skipif(not SETS, reason=REASON)
NOISE = {"uncond_tokens": "id_tokens", "eps_uncond": "eps", "eps_guess_mode_scales": "eps"}
NOISE |= {"ddim_x_after_step": "ddim_sample", "ddim_pred_x0": "ddim_sample"}
NOISE |= {"ddim_sample_no_guidance": "ddim_sample"}


@dataclass(frozen=True)
class Parity:
    """One set: its folder, its facts, its arrays, and the pipeline imported from its weights."""

    folder: Path
    manifest: dict[str, Any]
    arrays: dict[str, torch.Tensor]
    pipeline: AnyDoorPipeline
    unpacked: Path
    imported: Path

    def near(self, name: str, result: torch.Tensor) -> None:
        """Fail where `result` is further from the stored output than 10 times its noise."""
        noise = self.manifest["facts"]["backend_noise"][NOISE.get(name, name)]
        furthest = float((result - self.arrays[name]).abs().max())
        assert furthest <= 10 * noise, f"{name}: {furthest:.1e}, noise {noise:.1e}"


def sizes_of(manifest: dict[str, Any]) -> list[str]:
    """The sizes that no tensor tells, as overrides of `convert`."""
    unet, dino = manifest["config"]["unet_config"]["params"], manifest["dino"]
    return [
        f"unet_head_channels={unet['num_head_channels']}",
        f"dino_head_channels={dino['embed_dim'] // dino['num_heads']}",
        f"id_size={dino['input_size']}",
        f"resolution={manifest['image_hw'][0]}",
    ]


@pytest.fixture(scope="module", params=SETS, ids=lambda path: path.name)
def parity(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Parity:
    folder = request.param
    unpacked = tmp_path_factory.mktemp(folder.name)
    with tarfile.open(folder / "weights.tar.xz", "r:xz") as archive:
        archive.extractall(unpacked, filter="data")
    manifest = json.loads((folder / "manifest.json").read_text())
    call = ["source=official_lightning.ckpt", "out=imported", *sizes_of(manifest)]
    assert command("convert", *call, cwd=unpacked).returncode == 0
    pipeline = AnyDoorPipeline.from_pretrained(unpacked / "imported")
    pipeline.set_progress_bar_config(disable=True)
    arrays = load_file(folder / "model_io.safetensors")
    return Parity(folder, manifest, arrays, pipeline, unpacked, unpacked / "imported")


def id_images(parity: Parity) -> torch.Tensor:
    pictures = (parity.arrays["ref_u8"].numpy() / 255).astype(np.float32)
    return torch.from_numpy(pictures).permute(0, 3, 1, 2)


def hints(parity: Parity, rows: slice = slice(None)) -> dict[str, torch.Tensor]:
    hint = parity.arrays["hint"].permute(0, 3, 1, 2)[rows]
    return parity.pipeline.model.hints({"collage": hint[:, :3], "shape_mask": hint[:, 3:]})


@torch.no_grad()
def test_tokens_are_those_of_the_released_encoder(parity: Parity) -> None:
    model, pictures = parity.pipeline.model, id_images(parity)
    parity.near("id_tokens", model.tokens(pictures))
    parity.near("uncond_tokens", model.tokens(torch.zeros_like(pictures[:1])))


@torch.no_grad()
def test_detail_maps_and_noise_are_the_released_ones(parity: Parity) -> None:
    model, arrays = parity.pipeline.model, parity.arrays
    seen, t, tokens = hints(parity), arrays["timesteps"], arrays["id_tokens"]
    details = model.details(seen, t, tokens)
    for number, detail in enumerate(details):
        parity.near(f"control_{number:02d}", detail)
    parity.near("eps", model(arrays["x_noisy"], t, tokens, details))
    parity.near("eps_no_control", model(arrays["x_noisy"], t, tokens, None))
    last = len(details) - 1
    weaker = tuple(d * 0.825 ** (last - n) for n, d in enumerate(details))
    parity.near("eps_guess_mode_scales", model(arrays["x_noisy"], t, tokens, weaker))
    zero = arrays["uncond_tokens"].expand_as(tokens)
    unconditional = model(arrays["x_noisy"], t, zero, model.details(seen, t, zero))
    parity.near("eps_uncond", unconditional)


@torch.no_grad()
def test_autoencoder_is_the_released_one(parity: Parity) -> None:
    pictures = parity.arrays["jpg"].permute(0, 3, 1, 2)
    posterior = parity.pipeline.vae.encode(pictures).latent_dist
    parity.near("vae_mean", posterior.mean)
    parity.near("vae_logvar", posterior.logvar)
    parity.near("decoded", parity.pipeline.model.images(parity.arrays["decode_latent"]))


@pytest.mark.parametrize("guided", [True, False])
def test_ddim_goes_the_released_way(parity: Parity, guided: bool) -> None:
    pipeline, arrays, facts = parity.pipeline, parity.arrays, parity.manifest["facts"]["ddim"]
    schedule, timesteps = Schedule.of(pipeline.scheduler), pipeline.timesteps(facts["steps"])
    with torch.no_grad():
        seen = hints(parity, slice(1))
    tokens, zero = arrays["id_tokens"][:1], arrays["uncond_tokens"]
    prepared = Prepared(tokens, zero, seen, pipeline.config.resolution)
    scale = facts["guidance_scale"] if guided else 1.0
    denoiser = bound_denoiser(pipeline.model, schedule, prepared, 1, scale, timesteps)
    last = float(schedule.alphas_cumprod[0])
    steps = list(sample_ddim(denoiser, arrays["ddim_x_T"], timesteps, schedule, last))
    parity.near("ddim_sample" if guided else "ddim_sample_no_guidance", steps[-1].x)
    if guided:
        parity.near("ddim_x_after_step", torch.stack([step.x for step in steps]))
        parity.near("ddim_pred_x0", torch.stack([step.x0 for step in steps]))
        with torch.no_grad():
            parity.near("ddim_decoded", pipeline.model.images(steps[-1].x))


def test_timesteps_follow_the_released_rule(parity: Parity) -> None:
    for steps, expected in parity.manifest["facts"]["ddim_timesteps_for"].items():
        assert parity.pipeline.timesteps(int(steps))[::-1] == expected


def released_step(parity: Parity, trained: str) -> tuple[DiffusionLoss, torch.Tensor]:
    """The loss of the stored training step, with its own draws, after its gradients."""
    stored = load_file(parity.folder / "training.safetensors")
    pipeline, hint = parity.pipeline, parity.arrays["hint"].permute(0, 3, 1, 2)
    model = pipeline.model.freeze(trained)
    schedule = Schedule.of(pipeline.scheduler)
    loss = DiffusionLoss(model, schedule, adaptive_timesteps, sample_posterior=True)
    draws = {"noise": stored["noise"], "posterior": stored["posterior_noise"]}
    loss._normal = lambda indices, purpose, shape: draws[purpose]  # type: ignore[method-assign]
    loss._draw_timesteps = lambda *_: stored["time_steps"].flatten()  # type: ignore[method-assign]
    model.zero_grad()
    batch = {"index": torch.arange(2), "variation": ["still", "still"]}
    batch |= {"id_image": id_images(parity), "target": parity.arrays["jpg"].permute(0, 3, 1, 2)}
    batch |= {"collage": hint[:, :3], "shape_mask": hint[:, 3:]}
    value = loss(batch)["loss"]
    value.backward()
    return loss, value


@pytest.mark.parametrize("trained", ["official", "paper"])
def test_training_step_has_the_released_loss_and_gradients(parity: Parity, trained: str) -> None:
    facts = json.loads((parity.folder / "training.json").read_text())
    stored = load_file(parity.folder / "training.safetensors")
    noise = parity.manifest["facts"]["backend_noise"]
    _, value = released_step(parity, trained)
    assert float(value.detach()) == pytest.approx(facts["loss"], abs=1e-5)
    gradients = official_gradients(parity)
    prefix = "variant_trainable_projector.grad." if trained == "paper" else "grad."
    names = [name for name in stored if name.startswith((prefix, "grad."))]
    assert names
    for name in names:
        key = name.split("grad.", 1)[1]
        expected = stored[name]
        furthest = float((gradients[key] - expected).abs().max() / expected.abs().max())
        assert furthest <= 10 * noise["stored_gradients_relative_to_their_largest_value"], key
    norms = {key: float(gradient.norm()) for key, gradient in gradients.items()}
    largest = max(norms.values())
    for key, fact in facts["parameters"].items():
        if fact["grad_norm"] is not None:
            allowed = 10 * noise["grad_norm_abs_over_largest"] * largest
            share = 10 * noise["grad_norm_relative_where_above_1e-4_of_largest"]
            assert norms[key] == pytest.approx(fact["grad_norm"], abs=allowed, rel=share), key


def test_official_freezing_leaves_what_the_released_code_leaves(parity: Parity) -> None:
    facts = json.loads((parity.folder / "training.json").read_text())
    released_step(parity, "official")
    known = {key for key, fact in facts["parameters"].items() if fact["grad_norm"] is not None}
    assert known == set(official_gradients(parity))


def official_gradients(parity: Parity) -> dict[str, torch.Tensor]:
    """The gradients there are by their official names."""
    pipeline, gradients = parity.pipeline, {}
    for component in ("unet", "detail_extractor", "id_extractor"):
        network = getattr(pipeline, component)
        blocks = blocks_of(network.config)
        for name, parameter in network.named_parameters():
            if parameter.grad is not None:
                gradients[slot(component, name, blocks).key] = parameter.grad
    return gradients


def test_convert_gives_the_file_back_bit_for_bit(parity: Parity) -> None:
    call = ["layout=official", "source=imported", "out=back.safetensors"]
    assert command("convert", *call, cwd=parity.unpacked).returncode == 0
    before = load_file(parity.unpacked / "official_state_dict.safetensors")
    after = load_file(parity.unpacked / "back.safetensors")
    assert set(before) == set(after)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_both_formats_give_the_same_folder(parity: Parity) -> None:
    call = ["source=official_state_dict.safetensors", "out=other", *sizes_of(parity.manifest)]
    assert command("convert", *call, cwd=parity.unpacked).returncode == 0
    files = sorted(p.relative_to(parity.imported) for p in parity.imported.rglob("*.*"))
    assert files
    for name in files:
        assert (parity.imported / name).read_bytes() == (
            parity.unpacked / "other" / name
        ).read_bytes()


def test_adaptive_timesteps_have_the_released_histogram(parity: Parity) -> None:
    facts = json.loads((parity.folder / "ats.json").read_text())
    uniform = np.random.default_rng(0).random(facts["draws_per_setting"])
    sample = partial(adaptive_timesteps, mass=0.85)
    for setting, variation in enumerate(("still", "video", "multiview")):
        drawn = sample(uniform, np.full(len(uniform), variation), 1000)
        counts = np.histogram(drawn, bins=20, range=(0, 1000))[0]
        expected = np.array(facts[f"dynamic_{setting}"]["histogram_20_bins_of_50"])
        assert np.abs(counts - expected).max() <= 6 * np.sqrt(expected.max())


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def stored_pair(folder: Path, number: str) -> Pair:
    def read(name: str) -> np.ndarray:
        return np.array(Image.open(folder / f"inputs/{number}_{name}.png").convert("RGB"))

    masks = (read(f"{name}_mask")[..., 0] > 128 for name in ("ref", "scene"))
    reference_mask, scene_mask = masks
    return Pair(read("ref"), reference_mask, read("scene"), scene_mask, "still")


def test_official_preprocessing_is_bit_exact(parity: Parity) -> None:
    folder = parity.folder / "preprocess"
    checked = 0
    for case in json.loads((folder / "cases.json").read_text())["cases"]:
        pair = stored_pair(folder, f"{case['index']:02d}")
        for fact in case["process_pairs"]:
            ratios = fact["ratios"]
            sizes = {"resolution": fact["jpg"]["shape"][0], "id_size": fact["ref"]["shape"][0]}
            conditioner = OfficialConditioner(
                **sizes,
                zoom=ratios["crop"],
                grow=ratios["target_box"],
                id_margin=ratios["reference"],
            )
            shown = conditioner.condition(pair, np.random.default_rng(0))
            reference, _ = reference_square(pair, conditioner.id_size, conditioner.id_margin)
            hint = np.concatenate([shown.collage, shown.shape_mask]).transpose(1, 2, 0)
            assert sha256(reference / 255) == fact["ref"]["sha256"]
            assert sha256(shown.target.transpose(1, 2, 0)) == fact["jpg"]["sha256"]
            assert sha256(hint) == fact["hint"]["sha256"]
            if "crop_back" in fact:
                back = crop_back(synthetic_prediction(), pair.scene, shown.placement)
                assert sha256(back) == fact["crop_back"]["sha256"]
            checked += 1
    assert checked


def synthetic_prediction() -> np.ndarray:
    """The stored cases' prediction; the released code drops its first row."""
    y, x, channel = np.mgrid[0:512, 0:512, 0:3]
    return (255 - np.abs((2 * y + 3 * x + 85 * channel) % 510 - 255)).astype(np.float32)[1:]
