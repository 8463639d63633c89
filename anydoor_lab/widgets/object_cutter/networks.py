"""Networks that cut, from a file or folder of the user's: SAM, SAM 2, any ONNX remover."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from anydoor_lab.conditioning.prompt import Click, Window
from anydoor_lab.models.idx.tokens import IMAGENET_MEAN, IMAGENET_STD
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.errors import InputError
from anydoor_lab.widgets.object_cutter.seeded import SeededGrabCut, seeded_cut
from anydoor_lab.widgets.object_cutter.segmenters import Segmenter, main_parts

SAM_KINDS = {"sam": "Sam", "sam2": "Sam2", "sam2_video": "Sam2"}
"""How a configuration names its network: what transformers' classes begin with."""


def segmenter_at(path: str | Path) -> Segmenter:
    """What cuts with the weights at a path: an ONNX file, or a folder of SAM, SAM 2 or an
    `ObjectSegmenter`.

    Raises:
        InputError: there is nothing that cuts, or its package is not installed.
    """
    path = Path(path)
    if path.suffix == ".onnx":
        return OnnxRemover(path)
    kind = _kind_of(path)
    if kind in SAM_KINDS:
        return Sam(path)
    if kind == "ObjectSegmenter":
        return SeededGrabCut(path)
    raise InputError(
        f"{path} holds {kind or 'no network'}; expected an ONNX file, or a folder with SAM, SAM 2 "
        "or an ObjectSegmenter"
    )


def _kind_of(folder: Path) -> str:
    """The kind of network that a folder's configuration names; empty for none."""
    try:
        facts = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return ""
    known = facts if isinstance(facts, dict) else {}
    return str(known.get("model_type") or known.get("_class_name", ""))


class Sam:
    """Segment Anything (Kirillov et al., 2023) or SAM 2 (Ravi et al., 2024), through transformers.

    Args:
        folder: a `SamModel` or `Sam2Model` with its processor in transformers' layout.

    Raises:
        InputError: the folder holds no such weights.
    """

    def __init__(self, folder: str | Path) -> None:
        import transformers

        name = SAM_KINDS.get(_kind_of(Path(folder)), "Sam")
        if name == "Sam2" and find_spec("torchvision") is None:
            raise InputError(
                "SAM 2 needs a package that is missing; pip install torchvision, in the "
                "build that your torch has"
            )
        model, processor = (getattr(transformers, name + part) for part in ("Model", "Processor"))
        try:
            self._processor = processor.from_pretrained(folder, local_files_only=True)
            self._model = model.from_pretrained(folder, local_files_only=True).eval()
        except (OSError, ValueError) as error:
            raise InputError(
                f"no SAM weights in {folder}; expected a model and its processor as transformers "
                "saves them"
            ) from error

    def __call__(self, image: np.ndarray, box: Box | None, clicks: Sequence[Click]) -> np.ndarray:
        """(H, W) bool, the most certain of its masks."""
        import torch

        asked: dict[str, Any] = {}
        if box:
            asked["input_boxes"] = [[[box.x1, box.y1, box.x2, box.y2]]]
        if clicks:
            asked["input_points"] = [[[[x, y] for y, x, _ in clicks]]]
            asked["input_labels"] = [[[int(on) for _, _, on in clicks]]]
        inputs = self._processor(images=image, return_tensors="pt", **asked)
        with torch.no_grad():
            answer = self._model(**inputs)
        sizes = [inputs[name] for name in ("original_sizes", "reshaped_input_sizes")
                 if name in inputs]  # fmt: skip
        masks = self._processor.post_process_masks(answer.pred_masks, *sizes)
        best = int(answer.iou_scores[0, 0].argmax())
        return masks[0][0, best].numpy().astype(np.bool_)


class OnnxRemover:
    """A `Segmenter` of any background remover in ONNX: U2-Net, ISNet, BiRefNet, RMBG ...

    It is shown the window about the box. Clicks, which such networks do not know, win over it
    by GrabCut, as in `SeededGrabCut`.

    Args:
        path: a network from a picture (1, 3, S, S) to a map (1, 1, S, S), of shares in [0, 1] or
            of logits; the first of several outputs counts.
        mean, std: of the colours (R, G, B) in [0, 1] that it was trained with, default ImageNet's;
            ISNet and RMBG-1.4 take 0.5 and 1.
        size_px: S, where the network takes any.

    Raises:
        InputError: onnxruntime (extra `cutter`) is missing, or the file is no such network.
    """

    def __init__(
        self,
        path: str | Path,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        size_px: int = 320,
    ) -> None:
        if find_spec("onnxruntime") is None:
            raise InputError(
                "onnxruntime is not installed; pip install 'anydoor-lab[cutter]', it runs ONNX "
                "networks"
            )
        if not Path(path).is_file():
            raise InputError(f"{path} does not exist; give an ONNX file's path")
        self._session = _session(path)
        first = self._session.get_inputs()[0]
        if len(first.shape) != 4 or first.shape[1] not in (3, None):
            raise InputError(
                f"{path} takes {first.shape}; expected a picture (1, 3, S, S), as background "
                "removers do"
            )
        self._name, sides = first.name, first.shape[2:]
        height, width = (side if isinstance(side, int) else size_px for side in sides)
        if height != width:
            raise InputError(f"{path} takes {width}x{height} pixels; expected a square")
        self._side = height
        self._kind = np.float16 if "float16" in first.type else np.float32
        self._mean, self._std = (np.asarray(v, np.float32).reshape(-1, 1, 1) for v in (mean, std))
        self._path = path

    def certainty(self, image: np.ndarray, box: Box | None, clicks: Sequence[Click]) -> np.ndarray:
        """(H, W) float32, how certainly each pixel is the object, by the network alone."""
        del clicks
        height, width = image.shape[:2]
        window = Window.about(box, height, width)
        seen = window.of(image, self._side).transpose(2, 0, 1).astype(np.float32) / 255
        shown = (seen - self._mean) / self._std
        found = self._run(shown[None].astype(self._kind))
        return window.back(found, height, width)

    def _run(self, shown: np.ndarray) -> np.ndarray:
        """(S, S) float32 in [0, 1]."""
        answer = np.asarray(self._session.run(None, {self._name: shown})[0], np.float32)
        if answer.ndim < 2 or answer.shape[-2:] != shown.shape[-2:]:
            raise InputError(
                f"{self._path} answers with {answer.shape}; expected a map (1, 1, "
                f"{shown.shape[-2]}, {shown.shape[-1]})"
            )
        found = answer.reshape(-1, *answer.shape[-2:])[0]
        logits = found.min() < 0 or found.max() > 1
        return 1 / (1 + np.exp(-found.clip(-50, 50))) if logits else found

    def __call__(self, image: np.ndarray, box: Box | None, clicks: Sequence[Click]) -> np.ndarray:
        """(H, W) bool, the object in the box, or in the picture."""
        if clicks:
            return seeded_cut(self.certainty, image, box, clicks)
        found = self.certainty(image, box, ()) > 0.5
        return main_parts(found & box.mask(*found.shape) if box else found, [])


def _session(path: str | Path) -> Any:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    damages = (errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.InvalidProtobuf,
               errors.NotImplemented, errors.RuntimeException)  # fmt: skip
    try:
        return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except damages as error:
        raise InputError(f"{path} is no ONNX network that can run here ({error})") from error
