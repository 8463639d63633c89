"""Blocks compiled one by one: the same losses, compiled anew for other sizes, never in secret."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from diffusers import UNet2DConditionModel
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch.utils.data import default_collate

from anydoor_lab.structures.rng import rng_for
from anydoor_lab.training.batches import FitSettings
from anydoor_lab.training.compiling import compile_blocks, compiled_so_far, eager
from anydoor_lab.training.fit import fit, start

has_compiler = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")),
    reason="torch.compile needs a C++ compiler",
)


def small_unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        mid_block_type=None,
        layers_per_block=1,
        block_out_channels=(8,),
        norm_num_groups=4,
        cross_attention_dim=8,
        attention_head_dim=4,
    )


def gradient(unet: nn.Module, batch: int) -> None:
    x, tokens = torch.ones(batch, 4, 8, 8), torch.ones(batch, 3, 8)
    (unet(x, torch.full((batch,), 5), tokens).sample ** 2).mean().backward()


class Denoise(nn.Module):
    """The small UNet asked to give back zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = small_unet()

    def forward(self, batch: dict[str, Any]) -> dict[str, Any]:
        output = self.unet(batch["x"], batch["t"], batch["tokens"]).sample
        per_sample = output.square().mean(dim=(1, 2, 3))
        return {"loss": per_sample.mean(), "per_sample": per_sample, "groups": {}}


class Noises:
    """Noisy latents; sample i is a pure function of i."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = rng_for(0, index, "sample")
        x, tokens = (rng.standard_normal(size, np.float32) for size in ((4, 8, 8), (3, 8)))
        return {"index": index, "x": x, "tokens": tokens, "t": index}


@has_compiler
def test_training_compiled_blocks_gives_the_same_losses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    settings = FitSettings(steps=3, batch_size=2, learning_rate=1e-2, log_every=1)
    losses, names = {}, []
    for compiled in (False, True):
        pieces = compiled_so_far()[0]
        state = start(Denoise(), settings, Accelerator(cpu=True))
        steps = fit(state, Noises(), replace(settings, compile=compiled))
        losses[compiled] = [progress.metrics["loss"] for progress in steps]
        names.append(list(state.objective.state_dict()))
        made, seconds = compiled_so_far()
        assert (made > pieces) == compiled
    assert seconds > 0 and any(tmp_path.iterdir()), "kept for the next run"
    assert losses[True] == pytest.approx(losses[False], rel=1e-4)
    assert names[0] == names[1], "checkpoints do not see it"
    with state.averaged() as objective:
        objective(default_collate([Noises()[index] for index in range(5)]))
    assert compiled_so_far()[0] == made, "scoring is not compiled for"


def compiled_without_kernels(unet: nn.Module, counter: CompileCounter) -> None:
    """As `compile_blocks`, its graphs counted and run as they are."""
    compile_blocks(unet)
    for block in unet.modules():
        if block._compiled_call_impl is not None:
            block.compile(dynamic=False, backend=counter)


@has_compiler
def test_new_batch_sizes_are_compiled_anew_beyond_torchs_own_limit() -> None:
    torch._dynamo.reset()
    unet, counter = small_unet(), CompileCounter()
    compiled_without_kernels(unet, counter)
    gradient(unet, 1)
    first = counter.frame_count
    assert first
    for batch in range(2, 11):  # ten sizes of three kinds of residual blocks: more than 8
        gradient(unet, batch)
    assert counter.frame_count == 10 * first
    gradient(unet, 3)
    assert counter.frame_count == 10 * first, "a size that is known is not compiled again"


@has_compiler
def test_too_many_sizes_are_an_error_and_not_a_silent_fallback() -> None:
    torch._dynamo.reset()
    unet, counter = small_unet(), CompileCounter()
    compiled_without_kernels(unet, counter)
    with torch._dynamo.config.patch(recompile_limit=2), pytest.raises(Exception, match="limit"):
        for batch in range(1, 5):
            gradient(unet, batch)


@has_compiler
def test_scoring_compiles_nothing() -> None:
    torch._dynamo.reset()
    unet, counter = small_unet(), CompileCounter()
    compiled_without_kernels(unet, counter)
    with torch.no_grad(), eager():
        unet(torch.zeros(3, 4, 8, 8), 5, torch.zeros(3, 3, 8))
    assert counter.frame_count == 0


def test_without_a_compiler_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match=r"no-such-compiler is not there; .*train.compile=false"):
        compile_blocks(small_unet())
