"""Training and inference speed of the full-size networks on a GPU; else of the tiny ones."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler
from tabulate import tabulate

from anydoor_lab.config.pipelines import load_pipeline
from anydoor_lab.diffusion.guidance import Prepared
from anydoor_lab.diffusion.presets import PRESETS
from anydoor_lab.diffusion.sampler import last
from anydoor_lab.models.anydoor import AnyDoor
from anydoor_lab.models.full_size import full_size_networks
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.runs.provenance import commit, versions

TFLOP = {True: 2.80, False: 4.52}
"""Of a training step per image at full size, by whether latents and tokens are cached."""


def seconds(call: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """The time of one call, after two to warm up."""
    for number in range(2 + repeats):
        if number == 2:
            wait(device)
            begun = time.perf_counter()
        call()
    wait(device)
    return (time.perf_counter() - begun) / repeats


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def matmul_peak(device: torch.device) -> float:
    """TFLOP/s of a square bf16 product."""
    side = 8192 if device.type == "cuda" else 1024
    left, right = torch.randn(2, side, side, device=device, dtype=torch.bfloat16)
    return 2 * side**3 / seconds(lambda: left @ right, device, 10) / 1e12


def training_step(model: AnyDoor, cached: bool, batch: int, sizes: tuple[int, int]) -> Any:
    """A function that makes one training step on random inputs of `sizes` (R, S)."""
    device = model.unet.device
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)
    resolution, side = sizes
    picture = torch.rand(batch, 3, resolution, resolution, device=device)
    id_image = torch.rand(batch, 3, side, side, device=device)
    t = torch.full((batch,), 500, device=device)
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
        latents, features = model.latents(picture), model.id_extractor.features(id_image)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            x = latents if cached else model.latents(picture)
            tokens = model.id_extractor.projector(features) if cached else model.tokens(id_image)
            hints = model.hints({"collage": picture, "shape_mask": picture[:, :1]})
            details = model.details(hints, t, tokens)
            loss = (model(x, t, tokens, details).float() ** 2).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def compile_blocks(model: AnyDoor) -> None:
    """Regional compilation: each attention and residual block by itself."""
    for network in (model.unet, model.detail_extractor):
        for module in network.modules():
            if type(module).__name__ in ("BasicTransformerBlock", "ResnetBlock2D"):
                module.compile()


def training_rows(
    model: AnyDoor, batches: list[int], sizes: tuple[int, int], peak: float | None
) -> Iterator[dict[str, Any]]:
    """A row for each way of training; one that does not fit says so."""
    device, on_gpu = model.unet.device, model.unet.device.type == "cuda"
    for compiled in (False, True) if on_gpu else (False,):
        if compiled:
            compile_blocks(model)
        for cached in (True, False):
            for batch in batches:
                row = {"what": f"train {'cached' if cached else 'uncached'}"}
                row |= {"mode": "regional compile" if compiled else "eager", "batch": batch}
                try:
                    if on_gpu:
                        torch.cuda.reset_peak_memory_stats()
                    call = training_step(model, cached, batch, sizes)
                    rate = batch / seconds(call, device, 10 if on_gpu else 2)
                    row["images_per_s"] = rate
                    if on_gpu:
                        row["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
                    if peak:
                        row["percent_of_peak"] = 100 * rate * TFLOP[cached] / peak
                except torch.OutOfMemoryError:
                    row["note"] = "does not fit"
                yield row


def inference_rows(
    pipeline: AnyDoorPipeline, batches: list[int], num_tokens: int
) -> Iterator[dict[str, Any]]:
    """A row for each preset and number of seeds: the denoising and the decoding of one pair."""
    device, unet = pipeline.unet.device, pipeline.unet
    place = {"device": device, "dtype": unet.dtype}
    resolution = pipeline.config.resolution
    sizes = {name: (1, n, resolution, resolution) for name, n in pipeline.model.inputs.items()}
    with torch.no_grad():
        hints = pipeline.model.hints({n: torch.rand(s, **place) for n, s in sizes.items()})
    tokens = torch.randn(2, num_tokens, unet.config.cross_attention_dim, **place)
    prepared = Prepared(tokens[:1], tokens[1:], hints, resolution)
    for preset in PRESETS:
        for batch in batches:

            def place_all(preset: str = preset, batch: int = batch) -> None:
                steps = pipeline.denoise(prepared, [list(range(batch))], preset=preset)
                pipeline.decode(last(steps).x)

            took = seconds(place_all, device, 2)
            row = {"what": f"place {preset}", "mode": "eager", "batch": batch}
            yield row | {"seconds": took, "images_per_s": batch / took}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fast", action="store_true", help="one batch size, the smallest")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("bench.json"))
    chosen = parser.parse_args()
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    if on_gpu:
        scheduler = DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False
        )
        with device:
            model = full_size_networks().freeze("paper")
        networks = (model.unet, model.vae, model.detail_extractor, model.id_extractor)
        pipeline = AnyDoorPipeline(*networks, scheduler)
    else:
        print("no GPU here: the embedded tiny networks on the processor instead")
        pipeline = load_pipeline("embedded:anydoor")
        model = pipeline.model.freeze("paper")
    name = torch.cuda.get_device_name() if on_gpu else f"cpu, {torch.get_num_threads()} threads"
    peak = matmul_peak(device)
    sizes = (pipeline.config.resolution, pipeline.config.id_size)
    batches = [1] if chosen.fast else [1, 8, 16, 32]
    rows = list(training_rows(model, batches, sizes, peak if on_gpu else None))
    model.requires_grad_(False)
    if on_gpu:
        pipeline.to(dtype=torch.bfloat16)
    pipeline.set_progress_bar_config(disable=True)
    rows += inference_rows(pipeline, batches[:1] if chosen.fast else [1, 4], 257 if on_gpu else 17)
    print(tabulate(rows, headers="keys", floatfmt=".3g"))
    facts = {
        "scale": "full size, random weights" if on_gpu else "tiny",
        "device": name,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": commit(),
        "versions": versions(),
        "matmul_peak_tflops": peak,
        "rows": rows,
    }
    chosen.out.write_text(json.dumps(facts, indent=1))
    print(f"written {chosen.out}")


if __name__ == "__main__":
    main()
