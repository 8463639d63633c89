"""The networks of Figure 2: judged by diffusers' and transformers' own forward passes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel
from safetensors.torch import save_file
from transformers import CLIPVisionModel, Dinov2Model

from anydoor_lab.models.anydoor import AnyDoor
from anydoor_lab.models.embedded import locate
from anydoor_lab.models.idx.clip import ClipExtractor
from anydoor_lab.models.idx.dinov2 import Dinov2Extractor
from anydoor_lab.models.idx.tokens import (
    CLIP_MEAN,
    CLIP_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    normalise,
)
from anydoor_lab.models.idx.vgg import Vgg16, VggExtractor, load_vgg16
from anydoor_lab.models.unet import decode_noise, encode_noisy
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.training.checkpoint import hash_tensors
from small import batch_of, small_objective, small_pipeline

EXTRACTORS = {"vgg": VggExtractor, "clip": ClipExtractor, "dinov2": Dinov2Extractor}
PATCHES, WIDTH = {"vgg": 16, "clip": 16, "dinov2": 16}, {"vgg": 16, "clip": 32, "dinov2": 32}


@pytest.fixture(scope="module")
def inputs() -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    return {
        "latents": torch.randn(2, 4, 16, 16),
        "t": torch.tensor([30, 900]),
        "tokens": torch.randn(2, 17, 32),
        "hint": torch.randn(2, 4, 64, 64),
        "id_image": torch.rand(2, 3, 64, 64),
    }


def pictures(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"collage": inputs["hint"][:, :3], "shape_mask": inputs["hint"][:, 3:]}


@pytest.fixture(scope="module")
def details(pipeline: AnyDoorPipeline, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    extractor = pipeline.detail_extractor
    with torch.no_grad():
        return extractor(extractor.embed_hint(inputs["hint"]), inputs["t"], inputs["tokens"])


@torch.no_grad()
def test_the_two_halves_of_the_unet_are_the_unet(
    pipeline: AnyDoorPipeline, inputs: dict[str, torch.Tensor]
) -> None:
    unet, (x, t, tokens) = pipeline.unet, (inputs[k] for k in ("latents", "t", "tokens"))
    ours = decode_noise(unet, encode_noisy(unet, x, t, tokens), tokens)
    assert torch.equal(ours, unet(x, t, encoder_hidden_states=tokens).sample)


@torch.no_grad()
def test_odd_latent_sizes_pass_through_both_halves(
    pipeline: AnyDoorPipeline, inputs: dict[str, torch.Tensor]
) -> None:
    unet, (x, t, tokens) = pipeline.unet, (inputs[k] for k in ("latents", "t", "tokens"))
    x = x[..., :13, :15]
    ours = decode_noise(unet, encode_noisy(unet, x, t, tokens), tokens)
    assert torch.equal(ours, unet(x, t, encoder_hidden_states=tokens).sample)


@torch.no_grad()
def test_details_enter_the_decoder_as_a_controlnets_residuals_do(
    pipeline: AnyDoorPipeline,
    inputs: dict[str, torch.Tensor],
    details: tuple[torch.Tensor, ...],
) -> None:
    x, t, tokens = (inputs[k] for k in ("latents", "t", "tokens"))
    ours = pipeline.model(x, t, tokens, details)
    theirs = pipeline.unet(
        x,
        t,
        encoder_hidden_states=tokens,
        down_block_additional_residuals=details[:-1],
        mid_block_additional_residual=details[-1],
    ).sample
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(ours, pipeline.model(x, t, tokens, None), atol=1e-3)


@torch.no_grad()
def test_the_detail_extractor_is_a_controlnet_blind_to_the_noisy_latent(
    pipeline: AnyDoorPipeline,
    inputs: dict[str, torch.Tensor],
    details: tuple[torch.Tensor, ...],
) -> None:
    for latents in (inputs["latents"], 3 * inputs["latents"] + 1):
        down, middle = ControlNetModel.forward(
            pipeline.detail_extractor,
            latents,
            inputs["t"],
            encoder_hidden_states=inputs["tokens"],
            controlnet_cond=inputs["hint"],
            return_dict=False,
        )
        for ours, theirs in zip(details, (*down, middle), strict=True):
            assert ours.abs().max() > 0.01
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_details_start_at_zero_and_leave_the_base_network_as_it_was(
    networks: Path, inputs: dict[str, torch.Tensor]
) -> None:
    model = small_pipeline(networks).model
    x, t, tokens = (inputs[k] for k in ("latents", "t", "tokens"))
    hints = model.hints(pictures(inputs))
    maps = model.details(hints, t, tokens)
    assert all(not one.any() for one in maps)
    assert torch.equal(model(x, t, tokens, maps), model(x, t, tokens, None))


def test_the_detail_extractor_starts_as_a_copy_of_the_unets_encoder(networks: Path) -> None:
    model = small_pipeline(networks).model
    for part in ("time_embedding", "down_blocks", "mid_block"):
        copied, own = (getattr(n, part).state_dict() for n in (model.detail_extractor, model.unet))
        assert hash_tensors(copied) == hash_tensors(own)
    pointers = {p.data_ptr() for p in model.unet.parameters()}
    assert pointers.isdisjoint(p.data_ptr() for p in model.detail_extractor.parameters())


def is_trained(name: str) -> bool:
    """Figure 2's flames, by parameter name."""
    if name.startswith("detail_extractor."):
        return not name.startswith("detail_extractor.conv_in.")
    trained = ("unet.up_blocks.", "unet.conv_norm_out.", "unet.conv_out.", "id_extractor.projector")
    return name.startswith(trained)


def named_hashes(model: AnyDoor) -> dict[str, str]:
    return {name: hash_tensors({"": tensor}) for name, tensor in model.state_dict().items()}


def test_freezing_leaves_gradients_where_the_paper_trains(pipeline: AnyDoorPipeline) -> None:
    model = copy.deepcopy(pipeline.model).freeze("paper")
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == is_trained(name), name


def test_training_all_adds_the_rest_of_the_unet_only(pipeline: AnyDoorPipeline) -> None:
    model = copy.deepcopy(pipeline.model).freeze("all")
    for name, parameter in model.named_parameters():
        expected = is_trained(name) or name.startswith("unet.")
        assert parameter.requires_grad == expected, name


def test_an_unknown_choice_of_trained_parts_is_refused(pipeline: AnyDoorPipeline) -> None:
    with pytest.raises(ValueError, match="is 'decoder'; expected paper, official, all or lora"):
        pipeline.model.freeze("decoder")  # type: ignore[arg-type]


def test_three_steps_change_every_trained_parameter_and_no_other(networks: Path) -> None:
    objective = small_objective(small_pipeline(networks).model)
    before = named_hashes(objective.model)
    trained = [p for p in objective.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    for step in range(3):
        optimizer.zero_grad()
        objective(batch_of(range(4 * step, 4 * step + 4)))["loss"].backward()
        for name, parameter in objective.model.named_parameters():
            assert (parameter.grad is not None) == is_trained(name), name
        optimizer.step()
    after = named_hashes(objective.model)
    for name, _ in objective.model.named_parameters():
        assert (before[name] != after[name]) == is_trained(name), name


def gradient(part: torch.nn.Module) -> float:
    return max(float(p.grad.abs().max()) for p in part.parameters() if p.grad is not None)


def test_gradients_reach_the_projector_at_once_and_the_detail_encoder_from_step_two(
    networks: Path,
) -> None:
    objective = small_objective(small_pipeline(networks).model)
    model = objective.model
    detail = model.detail_extractor
    objective(batch_of(range(4)))["loss"].backward()
    assert gradient(model.id_extractor.projector) > 0  # through the decoder's cross-attention
    assert gradient(detail.controlnet_mid_block) > 0
    assert gradient(detail.down_blocks) == gradient(detail.controlnet_cond_embedding) == 0
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1).step()
    model.zero_grad()
    objective(batch_of(range(4)))["loss"].backward()
    assert gradient(detail.down_blocks) > 0 and gradient(detail.mid_block) > 0


def test_the_projector_also_learns_through_the_details(
    pipeline: AnyDoorPipeline, inputs: dict[str, torch.Tensor]
) -> None:
    model = copy.deepcopy(pipeline.model).freeze()
    tokens = model.tokens(inputs["id_image"])
    hints = model.hints(pictures(inputs))
    model.details(hints, inputs["t"], tokens)[-1].square().sum().backward()
    assert gradient(model.id_extractor.projector) > 0


# ID extractors


@pytest.mark.parametrize("tokens", ["global", "patch", "both"])
@pytest.mark.parametrize("name", list(EXTRACTORS))
def test_every_extractor_gives_the_tokens_asked_for_global_first(
    networks: Path, name: str, tokens: Any, inputs: dict[str, torch.Tensor]
) -> None:
    torch.manual_seed(0)
    both = EXTRACTORS[name].from_encoder(networks / name, 24, "both")
    chosen = EXTRACTORS[name].from_encoder(networks / name, 24, tokens)
    chosen.projector.load_state_dict(both.projector.state_dict())
    kept = {"global": slice(0, 1), "patch": slice(1, None), "both": slice(None)}[tokens]
    with torch.no_grad():
        everything, some = both(inputs["id_image"]), chosen(inputs["id_image"])
        features = both.features(inputs["id_image"])
    assert everything.shape == (2, 1 + PATCHES[name], 24)
    assert features.shape == (2, 1 + PATCHES[name], WIDTH[name])
    assert torch.equal(some, everything[:, kept]) or torch.allclose(some, everything[:, kept])


@pytest.mark.parametrize("name", list(EXTRACTORS))
def test_extractors_come_back_from_disk_bit_for_bit(
    networks: Path, tmp_path: Path, name: str, inputs: dict[str, torch.Tensor]
) -> None:
    extractor = EXTRACTORS[name].from_encoder(networks / name, 24, "patch").eval()
    extractor.save_pretrained(tmp_path)
    again = EXTRACTORS[name].from_pretrained(tmp_path)
    assert again.config.tokens == "patch"
    assert hash_tensors(again.state_dict()) == hash_tensors(extractor.state_dict())
    with torch.no_grad():
        assert torch.equal(again(inputs["id_image"]), extractor(inputs["id_image"]))


ENCODERS = {"vgg": Vgg16, "clip": CLIPVisionModel, "dinov2": Dinov2Model}


@pytest.mark.parametrize("name", list(EXTRACTORS))
def test_the_pretrained_encoder_is_kept_and_the_projector_is_fresh(
    networks: Path, name: str
) -> None:
    extractor = EXTRACTORS[name].from_encoder(networks / name, 24)
    encoder = ENCODERS[name].from_pretrained(networks / name)
    assert hash_tensors(extractor.encoder.state_dict()) == hash_tensors(encoder.state_dict())
    assert not any(p.is_meta for p in (*extractor.parameters(), *extractor.buffers()))
    assert extractor.projector.weight.shape == (24, WIDTH[name])


def test_an_unknown_choice_of_tokens_is_refused(
    networks: Path, inputs: dict[str, torch.Tensor]
) -> None:
    unknown: Any = "cls"
    extractor = Dinov2Extractor.from_encoder(networks / "dinov2", 24, unknown)
    with pytest.raises(ValueError, match="'cls'; expected global, patch or both"):
        extractor(inputs["id_image"])


@torch.no_grad()
def test_dinov2_and_clip_tokens_are_those_of_transformers(
    networks: Path, inputs: dict[str, torch.Tensor]
) -> None:
    image = inputs["id_image"]
    dino = Dinov2Model.from_pretrained(networks / "dinov2").eval()
    ours = Dinov2Extractor.from_encoder(networks / "dinov2", 24).eval().features(image)
    theirs = dino(normalise(image, IMAGENET_MEAN, IMAGENET_STD)).last_hidden_state
    assert torch.equal(ours, theirs)
    clip = CLIPVisionModel.from_pretrained(networks / "clip").eval()
    features = ClipExtractor.from_encoder(networks / "clip", 24).eval().features(image)
    pooled = clip(normalise(image, CLIP_MEAN, CLIP_STD)).pooler_output
    torch.testing.assert_close(features[:, 0], pooled)


def test_vgg16_has_torchvisions_names_and_vgg16s_number_of_weights() -> None:
    with torch.device("meta"):
        vgg = Vgg16()
    layers = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    names = [f"features.{n}.{kind}" for n in layers for kind in ("weight", "bias")]
    assert list(vgg.state_dict()) == names
    assert sum(p.numel() for p in vgg.parameters()) == 14_714_688


@torch.no_grad()
def test_vggs_global_token_is_the_mean_of_its_patches(
    networks: Path, inputs: dict[str, torch.Tensor]
) -> None:
    features = VggExtractor.from_encoder(networks / "vgg", 24).features(inputs["id_image"])
    torch.testing.assert_close(features[:, 0], features[:, 1:].mean(1))
    assert features.min() >= 0  # after the last ReLU


def test_a_missing_embedded_part_names_the_command_that_makes_it() -> None:
    with pytest.raises(ValueError, match="python -m anydoor_lab.pretrain --help"):
        locate("embedded:nothing")
    assert locate("somebody/a-model") == "somebody/a-model"


def test_vgg_reads_torchvisions_published_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Vgg16(widths=(4, 4, 8, 8, 8))
    published = dict(network.state_dict()) | {"head.fc.weight": torch.zeros(3, 3)}
    save_file(published, tmp_path / "model.safetensors")
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(load_vgg16(tmp_path)(image), network(image))
    save_file({"features.0.weight": torch.zeros(4, 3, 3, 3)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="13 convolutions"):
        load_vgg16(tmp_path)
