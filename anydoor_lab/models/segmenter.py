"""The object segmenter: a small encoder-decoder that a box and clicks point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional

PROMPTED_CHANNELS = 6
"""RGB in [-1, 1], and the three maps of `prompt_maps`."""
_STRIDE = 4


class ObjectSegmenter(ModelMixin, ConfigMixin):
    """A U-Net (Ronneberger et al., 2015) of ConvNeXt blocks (Liu et al., 2022), under 1 M weights.

    Args:
        widths: channels at a quarter, an eighth, a sixteenth ... of the input's side.
        depth: blocks of each step down.
        size_px: side of the pictures it was trained on.
    """

    @register_to_config
    def __init__(
        self, widths: Sequence[int] = (32, 64, 128, 160), depth: int = 2, size_px: int = 128
    ) -> None:
        super().__init__()
        steps: list[nn.Module] = [
            nn.Conv2d(PROMPTED_CHANNELS, widths[0], 7, stride=_STRIDE, padding=3)
        ]
        for before, width in zip(widths, widths[1:], strict=False):
            steps.append(nn.Sequential(_norm(before), nn.Conv2d(before, width, 2, stride=2)))
        self.down = nn.ModuleList(
            nn.Sequential(step, *(_Block(width) for _ in range(depth)))
            for step, width in zip(steps, widths, strict=True)
        )
        self.whole = nn.Linear(widths[-1], widths[-1])
        self.up = nn.ModuleList(
            nn.ModuleList([nn.Conv2d(below + width, width, 1), _Block(width)])
            for below, width in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(widths[0], _STRIDE**2, 1)

    def forward(self, prompted: Tensor) -> Tensor:
        """(B, 1, S, S) logits of the object's mask; S is a multiple of the deepest step's stride.

        Args:
            prompted: (B, 6, S, S), the picture and the maps that say what is meant.
        """
        maps = [prompted]
        for step in self.down:
            maps.append(step(maps[-1]))
        hidden = maps.pop()
        hidden = hidden + self.whole(hidden.mean(dim=(2, 3)))[..., None, None]
        part: Any
        for part in self.up:
            merge, block = part
            larger = functional.interpolate(hidden, scale_factor=2.0, mode="nearest")
            hidden = block(merge(torch.cat([larger, maps.pop()], dim=1)))
        logits: Tensor = functional.pixel_shuffle(self.head(hidden), _STRIDE)
        return logits


class _Block(nn.Module):
    """Depthwise 5 x 5, then two pointwise layers, beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 5, padding=2, groups=width),
            _norm(width),
            nn.Conv2d(width, 2 * width, 1),
            nn.GELU(),
            nn.Conv2d(2 * width, width, 1),
        )

    def forward(self, hidden: Tensor) -> Tensor:
        added: Tensor = self.layers(hidden)
        return hidden + added


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(4, width)
