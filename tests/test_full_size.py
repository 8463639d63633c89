"""The paper's model at its real size, counted on meta tensors (no weights, no memory)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from anydoor_lab.models.anydoor import AnyDoor
from anydoor_lab.models.full_size import full_size_networks
from anydoor_lab.models.unet import encode_noisy
from anydoor_lab.training.footprint import saved_bytes


@pytest.fixture(scope="module")
def model() -> AnyDoor:
    with torch.device("meta"):
        return full_size_networks().freeze("paper")


def meta(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, device="meta")


def test_880_million_parameters_are_trained(model: AnyDoor) -> None:
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert f"{trained / 1e6:.2f}" == "880.04"


def hint(model: AnyDoor) -> Any:
    return model.hints({name: meta(1, n, 512, 512) for name, n in model.inputs.items()})


def t() -> torch.Tensor:
    return torch.zeros(1, dtype=torch.long, device="meta")


PARTS: dict[str, tuple[float, Callable[[AnyDoor], Any]]] = {
    "unet": (822, lambda m: m(meta(1, 4, 64, 64), t(), meta(1, 257, 1024), None)),
    "encoder": (270, lambda m: encode_noisy(m.unet, meta(1, 4, 64, 64), t(), meta(1, 257, 1024))),
    "details": (291, lambda m: m.details(hint(m), t(), meta(1, 257, 1024))),
    "hint stem": (14.8, hint),
    "dinov2": (599, lambda m: m.id_extractor.features(meta(1, 3, 224, 224))),
    "vae encode": (1117, lambda m: m.latents(meta(1, 3, 512, 512))),
    "vae decode": (2515, lambda m: m.images(meta(1, 4, 64, 64))),
}


@pytest.mark.parametrize("part", PARTS)
@torch.no_grad()
def test_forward_flops(model: AnyDoor, part: str) -> None:
    expected, call = PARTS[part]
    with FlopCounterMode(display=False) as counter:
        call(model)
    assert counter.get_total_flops() / 1e9 == pytest.approx(expected, rel=0.01)


def test_a_step_keeps_at_most_1_1_gigabytes_per_image(model: AnyDoor) -> None:
    kept = saved_bytes(model.to(torch.bfloat16), 512, 257)
    model.float()
    assert 0.5e9 < kept <= 1.1e9
