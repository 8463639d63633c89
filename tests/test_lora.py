"""LoRA: adapters train, are saved and loaded as in diffusers, and nothing else changes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from anydoor_lab.models.lora import add_adapters, merge_adapters
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.training.batches import FitSettings
from anydoor_lab.training.fit import fit, start
from small import RandomSamples, move_zero_convolutions, small_objective, small_pipeline

FILE = "pytorch_lora_weights.safetensors"


@pytest.fixture
def pipeline(networks: Path) -> AnyDoorPipeline:
    made = small_pipeline(networks)
    move_zero_convolutions(made.detail_extractor)
    return made


def trained(pipeline: AnyDoorPipeline) -> AnyDoorPipeline:
    """Its adapters filled with random numbers."""
    torch.manual_seed(3)
    for parameter in add_adapters(pipeline.model, 4):
        torch.nn.init.normal_(parameter, std=0.1)
    return pipeline


def placed(pipeline: AnyDoorPipeline) -> np.ndarray:
    rng = np.random.default_rng(0)
    reference, scene = (rng.integers(0, 255, (48, 48, 3)).astype(np.uint8) for _ in range(2))
    mask = np.zeros((48, 48), bool)
    mask[8:40, 10:38] = True
    pipeline.set_progress_bar_config(disable=True)
    shown: Any = pipeline(reference, scene, mask, box=[8, 8, 40, 40], output_type="np")
    return shown.crops[0].astype(int)


def test_adapters_stand_in_decoder_and_detail_extractor_and_alone_are_trained(
    pipeline: AnyDoorPipeline,
) -> None:
    model = pipeline.model.freeze("lora", 4)
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    assert names and all(".lora_" in name for name in names)
    assert {name.split(".")[1] for name in names} == {"up_blocks", "down_blocks", "mid_block"}
    assert not any(name.startswith(("unet.down", "unet.mid")) for name in names)
    layers = {name.split(".lora_")[0].split(".")[-1] for name in names}
    assert layers >= {"to_q", "to_k", "to_v", "conv1", "conv2", "proj_in", "proj_out"}
    assert {p.shape[0] for n, p in model.named_parameters() if ".lora_A." in n} == {4}


def test_fresh_adapters_change_nothing(pipeline: AnyDoorPipeline) -> None:
    before = placed(pipeline)
    add_adapters(pipeline.model, 4)
    np.testing.assert_array_equal(placed(pipeline), before)


def test_training_moves_the_adapters_and_no_other_number(pipeline: AnyDoorPipeline) -> None:
    from accelerate import Accelerator

    objective = small_objective(pipeline.model)
    objective.model.freeze("lora", 4)
    before = copy.deepcopy(dict(objective.model.state_dict()))
    settings = FitSettings(steps=2, batch_size=4, learning_rate=1e-2)
    state = start(objective, settings, Accelerator(cpu=True))
    assert len(list(fit(state, RandomSamples(), settings))) == 2
    moved = {n for n, v in objective.model.state_dict().items() if not torch.equal(v, before[n])}
    assert moved and all(".lora_" in name for name in moved)
    assert all(name in moved for name in before if ".lora_B." in name)


def test_saved_adapters_give_the_same_picture_bit_for_bit(
    pipeline: AnyDoorPipeline, networks: Path, tmp_path: Path
) -> None:
    without = placed(pipeline)
    wanted = placed(trained(pipeline))
    assert np.abs(wanted - without).max() > 3
    pipeline.save_lora_weights(tmp_path)
    assert {key.split(".")[0] for key in load_file(tmp_path / FILE)} == {"unet", "detail_extractor"}
    other = small_pipeline(networks)
    move_zero_convolutions(other.detail_extractor)
    other.load_lora_weights(tmp_path, "mine")
    assert other.get_list_adapters() == {"unet": ["mine"], "detail_extractor": ["mine"]}
    np.testing.assert_array_equal(placed(other), wanted)
    other.set_adapters("mine", 0.0)
    np.testing.assert_array_equal(placed(other), without)
    other.unload_lora_weights()
    np.testing.assert_array_equal(placed(other), without)


def test_merged_adapters_place_the_same_and_leave_an_ordinary_pipeline(
    pipeline: AnyDoorPipeline, tmp_path: Path
) -> None:
    wanted = placed(trained(pipeline))
    merge_adapters(pipeline.model)
    assert np.abs(placed(pipeline) - wanted).max() <= 1
    pipeline.save_pretrained(tmp_path)
    again = AnyDoorPipeline.from_pretrained(tmp_path)
    np.testing.assert_array_equal(placed(again), placed(pipeline))


def test_adapters_of_other_networks_and_other_files_are_refused(
    pipeline: AnyDoorPipeline, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="holds no LoRA adapters"):
        pipeline.load_lora_weights(tmp_path)
    trained(pipeline).save_lora_weights(tmp_path)
    pipeline.unload_lora_weights()
    tensors = load_file(tmp_path / FILE)
    key = next(name for name in tensors if name.endswith("to_q.lora_A.weight"))
    save_file({**tensors, key: torch.zeros(4, 7)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="of other networks.*to_q.lora_A"):
        pipeline.load_lora_weights(tmp_path / "other.safetensors")
    only = {name: value for name, value in tensors.items() if name.startswith("unet.")}
    save_file(only, tmp_path / "unet.safetensors")
    with pytest.raises(ValueError, match="no adapters of the detail_extractor"):
        pipeline.load_lora_weights(tmp_path / "unet.safetensors")
    (tmp_path / "torn.safetensors").write_bytes((tmp_path / FILE).read_bytes()[:1000])
    with pytest.raises(ValueError, match="holds no LoRA adapters"):
        pipeline.load_lora_weights(tmp_path / "torn.safetensors")
    assert not getattr(pipeline.unet, "peft_config", None)
    with pytest.raises(ValueError, match="no adapter 'default'"):
        pipeline.save_lora_weights(tmp_path)


@pytest.mark.parametrize("rank", [0, -1, 1.5, "4"])
def test_a_rank_that_is_none_is_refused(pipeline: AnyDoorPipeline, rank: Any) -> None:
    with pytest.raises(ValueError, match=r"train\.lora_rank is .*expected a whole number from 1"):
        pipeline.model.freeze("lora", rank)
