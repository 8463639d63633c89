"""Compiling for training: every transformer and residual block by itself."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from torch import nn

from anydoor_lab.data.cache import cache_folder
from anydoor_lab.structures.errors import InputError

MOST_SHAPES = 512
"""Shapes that one kind of block may be compiled for: blocks of a kind share their code, so that
torch's own limit of 8 is reached by the widths and sizes of one network."""


def compile_blocks(model: nn.Module) -> int:
    """Compile the blocks of all denoising networks and branches in `model`; how many they are.

    Each is compiled when it is first called, and again for every new batch size; more than
    `MOST_SHAPES` are an error, where torch would go on without compiling and not say so. What is
    compiled is kept in the user's cache, for the next run.

    Raises:
        ValueError: there is no C++ compiler.
    """
    from torch._dynamo import config

    check_compiler()
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "compiled"))
    config.recompile_limit = MOST_SHAPES
    config.accumulated_recompile_limit = 8 * MOST_SHAPES
    config.fail_on_recompile_limit_hit = True
    networks = [m for m in model.modules() if isinstance(m, UNet2DConditionModel | ControlNetModel)]
    blocks = [
        part
        for network in networks
        for part in network.modules()
        if isinstance(part, BasicTransformerBlock | ResnetBlock2D)
    ]
    for block in blocks:
        block.compile(dynamic=False)
    return len(blocks)


def check_compiler() -> None:
    """Raise ValueError unless there is a C++ compiler, which torch.compile calls."""
    named = os.environ.get("CXX")
    if not any(shutil.which(name) for name in ([named] if named else ["g++", "clang++"])):
        raise InputError(
            f"train.compile=true needs a C++ compiler, and {named or 'g++'} is not there; install "
            "g++, or use train.compile=false"
        )


def compiled_so_far() -> tuple[int, float]:
    """How much this process has compiled: pieces, and seconds."""
    from torch._dynamo.utils import calculate_time_spent, counters

    return counters["stats"]["unique_graphs"], calculate_time_spent()["total_wall_time"]


def eager() -> AbstractContextManager[Any]:
    """A context in which compiled blocks compute as they are written, whatever is asked of them:
    for scoring, whose sizes and hooks would be compiled for one use."""
    compiling = "torch._dynamo" in sys.modules  # costs seconds to load
    return torch.compiler.set_stance("force_eager") if compiling else nullcontext()
