"""The object segmenter learns from things over photographs, whose masks are exact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from anydoor_lab.conditioning.prompt import CLICK_SHARE, Window, prompt_maps
from anydoor_lab.data.things import Things
from anydoor_lab.models.segmenter import ObjectSegmenter
from anydoor_lab.pretraining.frames import channels_first, sheet
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.rng import rng_for


class SegmentationSamples:
    """An object in a box among others: {"image": (6, S, S), "mask": (1, S, S), "index"}.

    Args:
        source: the things; drawn anew for every sample, so there is no pool.
        seed: decides every draw.
        side_px: S.
        others: share of the samples with further things behind or beside the object.
        jitter: largest shift of each side of the box, share of the object's longer side.
        unboxed: share of the samples with a click in place of the box.
    """

    def __init__(
        self,
        source: Things,
        *,
        seed: int,
        side_px: int = 128,
        others: float = 0.5,
        jitter: float = 0.08,
        unboxed: float = 0.15,
    ) -> None:
        self.source, self.seed, self.side_px = source, seed, side_px
        self.others, self.jitter, self.unboxed = others, jitter, unboxed

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = rng_for(self.seed, index, "prompted object")
        image, mask = self._composed(rng)
        height, width = mask.shape
        box = _jittered(Box.around(mask), self.jitter, height, width, rng)
        window = Window.about(box, height, width)
        unboxed = rng.random() < self.unboxed
        clicks = [(*_inner(mask, rng), True)] if unboxed else []
        maps = prompt_maps(window, None if unboxed else box, clicks, self.side_px)
        seen = worn(window.of(image, self.side_px), rng)
        target = window.of(mask.astype(np.uint8) * 255, self.side_px, 0) / 255
        if rng.random() < 0.5:
            seen, maps, target = seen[:, ::-1], maps[..., ::-1], target[:, ::-1]
        prompted = np.concatenate([channels_first(seen, "symmetric"), maps])
        return {"image": prompted, "mask": target[None].astype(np.float32), "index": index}

    def _composed(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A thing before a place, at times with another one behind it or hiding a bit of it."""
        image, mask = self._thing(rng)
        if rng.random() >= self.others:
            return image, mask
        image = image.copy()
        for _ in range(int(rng.integers(1, 3))):
            other, there = self._thing(rng)
            before = rng.random() < 0.2
            if before and np.count_nonzero(mask & there) < 0.3 * np.count_nonzero(mask):
                mask = mask & ~there
            there = there & ~mask
            image[there] = other[there]
        return image, mask

    def _thing(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        while True:  # what an obstacle or the picture's edge left too little of is drawn again
            image, mask = self.source.view(int(rng.integers(len(self.source))), rng)
            if np.count_nonzero(mask) > 64:
                return image, mask


def _jittered(box: Box, jitter: float, height: int, width: int, rng: np.random.Generator) -> Box:
    """A box as a hand draws it: rather too large than too small."""
    reach = jitter * max(box.height, box.width)
    top, bottom, left, right = (round(move) for move in rng.uniform(-0.5, 1.0, 4) * reach)
    drawn = Box(box.y1 - top, box.y2 + bottom, box.x1 - left, box.x2 + right)
    return drawn.clipped(height, width)


def _inner(mask: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    """(y, x) of a pixel of the mask that is not at its rim."""
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    rows, columns = np.nonzero(depth >= 0.5 * depth.max())
    picked = int(rng.integers(len(rows)))
    return int(rows[picked]), int(columns[picked])


def worn(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The picture in other light, blurred, noisy and compressed, each of it at times."""
    values: np.ndarray = image.astype(np.float32)
    if rng.random() < 0.7:
        values = values * rng.uniform(0.6, 1.35) * rng.uniform(0.85, 1.15, 3).astype(np.float32)
        values = 255 * (values.clip(0, 255) / 255) ** rng.uniform(0.75, 1.35)
    if rng.random() < 0.5:
        grey = values.mean(axis=2, keepdims=True)
        values = grey + (values - grey) * rng.uniform(0, 1.2)
    if rng.random() < 0.4:
        values = cv2.GaussianBlur(values, (0, 0), rng.uniform(0.4, 1.6))
    if rng.random() < 0.4:
        values = values + rng.normal(0, rng.uniform(2, 12), values.shape)
    result = values.clip(0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        quality = int(rng.integers(30, 95))
        packed = cv2.imencode(".jpg", result, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        result = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR))
    return result


class Segmentation(nn.Module):
    """Cross-entropy and Dice of the mask from the box, and again after a click on the error.

    Args:
        network: gives logits (B, 1, S, S).
        clicked: share of each batch that is shown a second time, with a click.
    """

    def __init__(self, network: ObjectSegmenter, *, clicked: float = 0.25) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)  # twice as fast on a CPU
        self.clicked = clicked

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`loss`, and the IoU from the box and after a click."""
        image, mask = batch["image"], batch["mask"]
        logits = self.network(image)
        again = max(1, round(self.clicked * len(image)))
        corrected = click_on_error(image[:again], logits[:again].detach(), mask[:again])
        after = self.network(corrected)
        loss = (_loss(logits, mask) * len(image) + _loss(after, mask[:again]) * again) / (
            len(image) + again
        )
        with torch.no_grad():
            seen = {"iou": iou(logits, mask).mean(), "iou_click": iou(after, mask[:again]).mean()}
        return {"loss": loss, **seen}

    def finish(self, samples: SegmentationSamples, count: int) -> None:
        """Nothing is measured into the config."""

    @torch.no_grad()
    def scores(self, samples: SegmentationSamples, count: int) -> dict[str, float]:
        """Median IoU on `count` held-out pictures: from the prompt, after one click and two."""
        found: list[list[Tensor]] = [[], [], []]
        for start in range(0, count, 20):
            shown = [samples[place] for place in range(start, min(start + 20, count))]
            image, mask = (
                torch.from_numpy(np.stack([each[name] for each in shown]))
                for name in ("image", "mask")
            )
            for number, values in enumerate(found):
                logits = self.network(image)
                values.append(iou(logits, mask))
                if number < 2:
                    image = click_on_error(image, logits, mask)
        medians = [float(torch.cat(values).median()) for values in found]
        return {"pictures": float(count)} | {
            f"iou_{clicks}_clicks": value for clicks, value in enumerate(medians)
        }

    @torch.no_grad()
    def picture(self, samples: SegmentationSamples) -> np.ndarray:
        """Pictures with their box above the masks found in them, white, and the true ones."""
        rows: list[list[np.ndarray]] = [[], [], []]
        for place in range(12):
            sample = samples[place]
            image = torch.from_numpy(sample["image"])
            found = self.network(image[None])[0, 0] > 0
            seen = ((image[:3] + 1) * 127.5).byte().permute(1, 2, 0).numpy()
            seen = np.where(image[3, ..., None].numpy() < 0, seen // 2, seen)
            for row, shown in zip(rows, (found.numpy(), sample["mask"][0] > 0.5), strict=False):
                row.append(np.repeat((shown * np.uint8(255))[..., None], 3, axis=2))
            rows[2].append(seen)
        return sheet([rows[2], rows[0], rows[1]])

    def save(self, folder: Path) -> None:
        """Write the network in diffusers' format with its weights in fp16."""
        self.network.half().save_pretrained(folder)
        self.network.float()


def _loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy plus one minus the Dice coefficient (Milletari et al., 2016)."""
    found = logits.sigmoid()
    both = (found * mask).sum(dim=(1, 2, 3))
    dice = (2 * both + 1) / (found.sum(dim=(1, 2, 3)) + mask.sum(dim=(1, 2, 3)) + 1)
    return functional.binary_cross_entropy_with_logits(logits, mask) + (1 - dice).mean()


def iou(logits: Tensor, mask: Tensor) -> Tensor:
    """(B,) intersection over union of masks (B, 1, S, S)."""
    found, true = logits > 0, mask > 0.5
    return (found & true).sum(dim=(1, 2, 3)) / (found | true).sum(dim=(1, 2, 3)).clamp(min=1)


def click_on_error(image: Tensor, logits: Tensor, mask: Tensor) -> Tensor:
    """The prompted pictures (B, 6, S, S) with a click more, in the middle of the largest error.

    The disc goes into the map of what is on the object, or of what is not, as the truth says.
    """
    side = image.shape[-1]
    reach = side // 8
    missed, wrong = (mask - (logits > 0).float()).clamp(0), ((logits > 0).float() - mask).clamp(0)
    dense = functional.avg_pool2d(torch.cat([missed, wrong], dim=1), 2 * reach + 1, 1, reach)
    dense = dense * torch.cat([missed, wrong], dim=1).clamp(0, 1)
    place = dense.flatten(1).argmax(dim=1)
    kind, y, x = place // side**2, place % side**2 // side, place % side
    axis = torch.arange(side, device=image.device)
    distance = (axis[:, None] - y[:, None, None]) ** 2 + (axis - x[:, None, None]) ** 2
    disc = (distance <= round(CLICK_SHARE * side) ** 2).float()
    wanted = functional.one_hot(kind, 2).float()[..., None, None] * disc[:, None]
    wanted = wanted * (dense.flatten(1).amax(dim=1) > 0)[:, None, None, None]
    return torch.cat([image[:, :4], image[:, 4:].maximum(wanted)], dim=1)
