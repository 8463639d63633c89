"""Precision and offloading are chosen by what is free, and the networks are brought so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from anydoor_lab.data.world import World
from anydoor_lab.diffusion.sampler import last
from anydoor_lab.models.full_size import full_size_networks
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.pipeline.memory import MemoryPlan, bring, bytes_needed, memory_plan
from anydoor_lab.structures.rng import rng_for
from inside import run
from small import small_pipeline


@pytest.fixture(scope="module")
def paper() -> AnyDoorPipeline:
    """The paper's networks without memory."""
    with torch.device("meta"):
        model = full_size_networks()
    parts = {"unet": model.unet, "vae": model.vae, "id_extractor": model.id_extractor}
    return AnyDoorPipeline(
        **parts, detail_extractor=model.detail_extractor, scheduler=DDIMScheduler(),
        resolution=512, id_size=224, zoom=2.0, num_inference_steps=50, guidance_scale=5.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("gigabytes", "offload", "tiling"),
    [(80, "none", False), (24, "none", False), (12, "none", False), (8, "none", False),
     (5, "model", False), (3.4, "model", True), (1.5, "sequential", False),
     (1.1, "sequential", True)],
)  # fmt: skip
def test_auto_offloads_no_more_than_it_must(
    paper: AnyDoorPipeline, gigabytes: float, offload: str, tiling: bool
) -> None:
    plan = memory_plan(paper, "cuda", int(gigabytes * 1e9), precision="bf16")
    assert (plan.offload, plan.vae_tiling) == (offload, tiling)
    assert plan.needed <= plan.free and "fits cuda" in str(plan)


def test_what_fits_nowhere_is_said(paper: AnyDoorPipeline) -> None:
    plan = memory_plan(paper, "cuda", 10**9, precision="fp32")
    assert plan.offload == "sequential" and plan.vae_tiling and "may not fit" in str(plan)


def test_a_choice_of_the_user_stands(paper: AnyDoorPipeline) -> None:
    plan = memory_plan(paper, "cuda", 80 * 10**9, "fp16", "sequential", True)
    assert (plan.precision, plan.offload, plan.vae_tiling) == ("fp16", "sequential", True)


def test_halves_need_half_and_several_pictures_more(paper: AnyDoorPipeline) -> None:
    full, half = (bytes_needed(paper, kind, "none", False) for kind in ("fp32", "bf16"))
    assert (full - 0.8e9) == pytest.approx(2 * (half - 0.8e9))
    assert bytes_needed(paper, "bf16", "none", False, 4) > half
    assert full == pytest.approx(14e9, rel=0.1)  # 2.45 G parameters of four bytes, and maps
    alone = bytes_needed(paper, "fp32", "none", False, ahead=0)
    assert alone == pytest.approx(11.4e9, rel=0.1)  # one timestep's detail maps at once


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_pictures_in_sixteen_bits_are_those_of_fp32_but_for_rounding(
    networks: Path, precision: str
) -> None:
    def picture(precision: str) -> np.ndarray:
        pipeline = small_pipeline(networks)
        plan = memory_plan(pipeline, "cpu", 10**10, precision)
        bring(pipeline, plan)
        shown = pipeline.conditioner().condition(
            World(split="held_out").pair(0, rng_for(0, 0, "pair")), rng_for(0, 0, "pair")
        )
        steps = pipeline.denoise(pipeline.prepare([shown]), [[0]])
        return pipeline.decode(last(steps).x)[0].astype(int)

    full, half = picture("fp32"), picture(precision)
    assert full.std() > 1
    assert np.abs(full - half).mean() < 3


def test_fp16_keeps_the_vae_in_fp32(networks: Path) -> None:
    pipeline = small_pipeline(networks)
    bring(pipeline, MemoryPlan("cpu", "fp16", "none", True, 0, 0))
    assert pipeline.unet.dtype == torch.float16 and pipeline.vae.dtype == torch.float32
    assert pipeline.vae.use_tiling


def test_offloading_on_a_cpu_and_unknown_choices_are_one_sentence(tmp_path: Path) -> None:
    given = ["reference=r.png", "scene=s.png", "box=[1,1,9,9]", "device=cpu"]
    run("generate", *given, "dtype=fp8", cwd=tmp_path).refused("dtype is 'fp8'")
    run("generate", *given, "offload=disk", cwd=tmp_path).refused("offload is 'disk'")
    with pytest.raises(ValueError, match="use none on a CPU"):
        memory_plan(object(), "cpu", 1, offload="model")  # type: ignore[arg-type]
