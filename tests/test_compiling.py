"""Blocks compiled one by one: the same losses, compiled anew for other sizes, never in secret."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn
from torch._dynamo.testing import CompileCounter

from anydoor_lab.training.compiling import compile_blocks, compiled_so_far, eager

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


def gradient(unet: nn.Module, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(batch)
    x = torch.randn(batch, 4, 8, 8, generator=generator)
    tokens = torch.randn(batch, 3, 8, generator=generator)
    unet.zero_grad()
    loss = (unet(x, torch.full((batch,), 5), tokens).sample ** 2).mean()
    loss.backward()
    parts = [p.grad.flatten() for p in unet.parameters() if p.grad is not None]
    return loss.detach(), torch.cat(parts)


@has_compiler
def test_compiled_blocks_give_the_same_loss_and_gradient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    unet = small_unet()
    expected, pieces = gradient(unet, 2), compiled_so_far()[0]
    names = list(unet.state_dict())
    assert compile_blocks(unet) == 6
    for wanted, found in zip(expected, gradient(unet, 2), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    made, seconds = compiled_so_far()
    assert made > pieces and seconds > 0
    assert list(unet.state_dict()) == names, "checkpoints do not see it"
    assert list(tmp_path.iterdir()), "kept for the next run"


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
