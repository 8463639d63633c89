"""Claims about what else can cut: SAM, SAM 2, background removers in ONNX, a matted rim."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from transformers import (
    Sam2Config,
    Sam2Model,
    SamConfig,
    SamImageProcessor,
    SamModel,
    SamProcessor,
)

from anydoor_lab.models.segmenter import ObjectSegmenter
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.errors import InputError
from anydoor_lab.widgets.object_cutter.networks import OnnxRemover, Sam, segmenter_at
from anydoor_lab.widgets.object_cutter.object_cutter import ObjectCutter
from anydoor_lab.widgets.object_cutter.rim import MattedRim, matted
from anydoor_lab.widgets.object_cutter.seeded import SeededGrabCut

runs_onnx = pytest.mark.skipif(
    find_spec("onnxruntime") is None or find_spec("onnx") is None,
    reason="onnxruntime (extra 'cutter') or onnx is not installed",
)
mattes = pytest.mark.skipif(
    find_spec("pymatting") is None, reason="pymatting (extra 'cutter') is not installed"
)
BOX = Box(20, 70, 30, 90)


def disc() -> tuple[np.ndarray, np.ndarray]:
    """A red disc in `BOX` on green grain, another one beside it, and where the first is."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 40, (100, 160, 3), dtype=np.uint8)
    image[..., 1] += 120
    mask = np.zeros((100, 160), np.uint8)
    cv2.circle(mask, (60, 45), 23, 1, -1)
    other = cv2.circle(np.zeros_like(mask), (130, 80), 10, 1, -1)
    image[(mask + other) > 0] = (200, 30, 30)
    return image, mask > 0


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


def sam(folder: Path) -> Path:
    vision = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
              "image_size": 64, "output_channels": 16, "mlp_dim": 16, "global_attn_indexes": [0],
              "window_size": 2, "num_pos_feats": 8}  # fmt: skip
    decoder = {"hidden_size": 16, "mlp_dim": 16, "num_hidden_layers": 1,
               "num_attention_heads": 2, "iou_head_hidden_dim": 16}  # fmt: skip
    prompt = {"hidden_size": 16, "image_size": 64}
    SamModel(
        SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    ).save_pretrained(folder)
    sizes = {"size": {"longest_edge": 64}, "pad_size": {"height": 64, "width": 64}}
    masks = {"mask_size": {"longest_edge": 16}, "mask_pad_size": {"height": 16, "width": 16}}
    SamProcessor(SamImageProcessor(**sizes, **masks)).save_pretrained(folder)
    return folder


def sam2(folder: Path) -> Path:
    backbone = {"hidden_size": 8, "image_size": [128, 128], "blocks_per_stage": [1, 1, 2, 1],
                "embed_dim_per_stage": [8, 16, 32, 64], "num_attention_heads_per_stage": [1] * 4,
                "window_size_per_stage": [8, 8, 8, 8], "global_attention_blocks": [3],
                "model_type": "sam2_hiera_det_model"}  # fmt: skip
    vision = {"backbone_config": backbone, "backbone_channel_list": [64, 32, 16, 8],
              "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
              "fpn_hidden_size": 32}  # fmt: skip
    decoder = {"hidden_size": 32, "mlp_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
               "iou_head_hidden_dim": 32}  # fmt: skip
    prompt = {"hidden_size": 32, "image_size": 128, "mask_input_channels": 16}
    Sam2Model(
        Sam2Config(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    ).save_pretrained(folder)
    if find_spec("torchvision") is None:
        pytest.skip("torchvision, which SAM 2's processor needs, is not installed")
    sizes = {"size": {"height": 128, "width": 128}, "mask_size": {"height": 32, "width": 32}}
    from transformers import Sam2ImageProcessor, Sam2Processor

    Sam2Processor(Sam2ImageProcessor(**sizes)).save_pretrained(folder)
    return folder


def onnx_remover(path: Path, logits: bool = False, side: int | str = 64) -> Path:
    """A remover that calls red what is brighter in red than in green; with ImageNet's colours."""
    from onnx import TensorProto, checker, helper, save

    picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, side, side])
    found = helper.make_tensor_value_info("map", TensorProto.FLOAT, [1, 1, side, side])
    weight = np.array([1, -1, 0], np.float32).reshape(1, 3, 1, 1) * 4
    values = helper.make_tensor("weight", TensorProto.FLOAT, weight.shape, weight.ravel())
    nodes = [helper.make_node("Conv", ["input", "weight"], ["map" if logits else "raw"])]
    if not logits:
        nodes.append(helper.make_node("Sigmoid", ["raw"], ["map"]))
    graph = helper.make_graph(nodes, "remover", [picture], [found], [values])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model)
    save(model, path)
    return path


@pytest.mark.parametrize("made", [sam, sam2])
def test_sam_and_sam_2_cut_where_their_weights_are(made: object, tmp_path: Path) -> None:
    torch.manual_seed(0)
    cutter = segmenter_at(made(tmp_path))  # type: ignore[operator]
    assert isinstance(cutter, Sam)
    image, _ = disc()
    for box, clicks in (
        (BOX, []),
        (None, [(45, 60, True), (5, 5, False)]),
        (BOX, [(45, 60, True)]),
    ):
        cut = cutter(image, box, clicks)
        assert cut.shape == image.shape[:2] and cut.dtype == np.bool_


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="torchvision is installed")
def test_sam_2_without_torchvision_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "sam2"}')
    with pytest.raises(InputError, match="pip install torchvision"):
        Sam(tmp_path)


def test_a_path_is_known_by_what_lies_there(tmp_path: Path) -> None:
    ObjectSegmenter(widths=(8, 8), depth=1, size_px=64).save_pretrained(tmp_path / "own")
    assert isinstance(segmenter_at(tmp_path / "own"), SeededGrabCut)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="holds bert; expected an ONNX file, or a folder"):
        segmenter_at(tmp_path)
    with pytest.raises(InputError, match="holds no network"):
        segmenter_at(tmp_path / "nowhere")


@runs_onnx
@pytest.mark.parametrize("logits", [False, True])
@pytest.mark.parametrize("side", [64, "side"])
def test_a_remover_in_onnx_cuts_the_object_in_the_box(
    logits: bool, side: int | str, tmp_path: Path
) -> None:
    image, mask = disc()
    cut = segmenter_at(onnx_remover(tmp_path / "net.onnx", logits, side))
    assert overlap(cut(image, BOX, []), mask) > 0.95
    everything = cut(image, None, [])
    assert everything[80, 130] and everything[45, 60]


@runs_onnx
def test_clicks_win_over_a_remover(tmp_path: Path) -> None:
    image, mask = disc()
    cut = OnnxRemover(onnx_remover(tmp_path / "net.onnx"))(image, None, [(45, 60, True)])
    assert overlap(cut, mask) > 0.95  # the other disc goes, it was not clicked


@runs_onnx
def test_files_that_no_remover_is_in_are_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "damaged.onnx").write_bytes(b"no network")
    with pytest.raises(InputError, match="no ONNX network that can run here"):
        OnnxRemover(tmp_path / "damaged.onnx")
    with pytest.raises(InputError, match="does not exist"):
        OnnxRemover(tmp_path / "missing.onnx")
    cutter = ObjectCutter(disc()[0], segmenter=tmp_path / "damaged.onnx")
    assert "GrabCut cuts instead" in cutter.message
    assert cutter.cut(BOX)


@mattes
def test_a_matted_rim_follows_fur_that_a_smooth_outline_cuts_off() -> None:
    y, x = np.mgrid[:200, :200]
    angle, radius = np.arctan2(y - 100, x - 100), np.hypot(y - 100, x - 100)
    mask = radius < 70 + 4 * np.sin(24 * angle)  # tufts
    rng = np.random.default_rng(0)
    image = np.where(mask[..., None], (190, 120, 60), (60, 90, 150))
    image = (image + rng.integers(-12, 12, image.shape)).clip(0, 255).astype(np.uint8)
    smooth = radius < 70
    better = matted(image, smooth)
    assert overlap(smooth, mask) < 0.94 < 0.97 < overlap(better, mask)
    cut = MattedRim(lambda *_: smooth)(image, None, [])
    assert np.array_equal(cut, better)
    nothing = np.zeros_like(smooth)
    assert not MattedRim(lambda *_: nothing)(image, None, []).any()


@mattes
def test_legs_thinner_than_the_band_stay() -> None:
    mask = np.zeros((160, 160), np.bool_)
    mask[30:90, 30:130] = True
    for left in (34, 60, 96, 121):
        mask[90:140, left : left + 4] = True
    rng = np.random.default_rng(0)
    image = np.where(mask[..., None], (200, 60, 50), (70, 130, 90))
    image = (image + rng.integers(-9, 9, image.shape)).clip(0, 255).astype(np.uint8)
    assert overlap(matted(image, mask), mask) > 0.98
