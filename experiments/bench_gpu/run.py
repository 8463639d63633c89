"""Speed and memory of training and placing at full size on a GPU; elsewhere at the tiny scale.

Every row is printed and written as soon as it is measured, the most telling first.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler
from stock import stock_place, stock_step
from tabulate import tabulate

from anydoor_lab.config.devices import build_accelerator
from anydoor_lab.config.pipelines import EMBEDDED, load_pipeline, silence_libraries
from anydoor_lab.diffusion.captured import Repeated
from anydoor_lab.diffusion.guidance import Prepared
from anydoor_lab.diffusion.loss import DiffusionLoss
from anydoor_lab.diffusion.sampler import last
from anydoor_lab.diffusion.schedule import Schedule
from anydoor_lab.diffusion.timesteps import adaptive_timesteps
from anydoor_lab.models.full_size import full_size_networks
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.runs.provenance import commit, versions
from anydoor_lab.structures.files import write_whole
from anydoor_lab.training.batches import FitSettings
from anydoor_lab.training.compiling import compile_blocks
from anydoor_lab.training.fit import TrainingState, optimizer_step, start
from anydoor_lab.training.meter import Meter

TFLOP = {True: 2.80, False: 4.52}
"""Of a training step per image at full size, by whether latents and tokens are cached."""
COLUMNS = {
    "what": "what", "how": "how", "batch": "batch", "images_per_s": "img/s", "seconds": "s",
    "first_s": "first call, s", "peak_gb": "peak GB", "percent_of_peak": "% of peak",
    "note": "note",
}  # fmt: skip
MARKS = ("<!-- table -->", "<!-- end of table -->")
HERE = Path(__file__).parent


@dataclass(slots=True)
class Bench:
    """What is measured on which device until when, and the rows so far."""

    pipeline: AnyDoorPipeline
    full: bool
    ends: float
    out: Path
    peak: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def device(self) -> Any:
        """Where the networks are."""
        return self.pipeline.unet.device

    @property
    def on_gpu(self) -> bool:
        """Whether that is a GPU."""
        return self.device.type == "cuda"

    def wait(self) -> None:
        """Until the GPU has done all it was told."""
        if self.on_gpu:
            torch.cuda.synchronize()

    def seconds(self, call: Callable[[], Any], repeats: int) -> tuple[float, float]:
        """Seconds of one call after two others, and of the very first."""
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats()
        taken = []
        for _ in range(2 + repeats if self.on_gpu else 2):
            begun = time.perf_counter()
            call()
            self.wait()
            taken.append(time.perf_counter() - begun)
        later = taken[2:] or taken[1:]
        return sum(later) / len(later), taken[0]

    def measure(self, row: dict[str, Any], make: Callable[[], Callable[[], Any]]) -> None:
        """Measure one row, or say why not; print it and write all rows."""
        if time.monotonic() > self.ends:
            row["note"] = "not run: the minutes were over"
        else:
            gc.collect()  # what was captured before
            torch.cuda.empty_cache()
            try:
                took, first = self.seconds(make(), 6 if row["what"].startswith("train") else 3)
                row |= {"images_per_s": row["batch"] / took, "seconds": took, "first_s": first}
                if self.on_gpu:
                    row["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
                if self.full and self.peak and "cached" in row:
                    rate = row["images_per_s"] * TFLOP[row["cached"]]
                    row["percent_of_peak"] = 100 * rate / self.peak
            except torch.OutOfMemoryError:
                row["note"] = "does not fit"
        row.pop("cached", None)
        self.rows.append(row)
        print("  ".join(f"{name}={short(value)}" for name, value in row.items()), flush=True)
        self.write()

    def write(self) -> None:
        """JSON of all, and the table into the README, if there is one where it goes."""
        name = torch.cuda.get_device_name() if self.on_gpu else "CPU, 1 thread"
        facts = {
            "scale": "full size, random weights" if self.full else "tiny",
            "device": name, "date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": commit(),
            "versions": versions(), "matmul_peak_tflops": self.peak, "rows": self.rows,
        }  # fmt: skip
        write_whole(self.out / "bench.json", json.dumps(facts, indent=1) + "\n")
        readme = self.out / "README.md"
        if readme.exists():
            text, table = readme.read_text("utf-8"), self.table(facts)
            before, after = text.split(MARKS[0])[0], text.split(MARKS[1])[-1]
            write_whole(readme, f"{before}{MARKS[0]}\n{table}\n{MARKS[1]}{after}")

    def table(self, facts: dict[str, Any]) -> str:
        """What the README shows of the facts."""
        shown = [{COLUMNS[n]: short(row.get(n, "")) for n in COLUMNS} for row in self.rows]
        what = f"{facts['scale']}, {facts['device']}, {facts['date']}, commit {facts['commit'][:9]}"
        peak = f"; bf16 product {self.peak:.0f} TFLOP/s" if self.full and self.peak else ""
        return f"{what}{peak}\n\n{tabulate(shown, headers='keys', tablefmt='github')}"


def short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def matmul_peak(bench: Bench) -> float:
    """TFLOP/s of a square bf16 product."""
    side = 8192 if bench.on_gpu else 512
    left, right = torch.randn(2, side, side, device=bench.device, dtype=torch.bfloat16)
    return 2 * side**3 / bench.seconds(lambda: left @ right, 10)[0] / 1e12


def tokens_of(bench: Bench) -> int:
    """N of the ID tokens."""
    config = bench.pipeline.config
    place: dict[str, Any] = {"device": bench.device, "dtype": bench.pipeline.unet.dtype}
    with torch.no_grad():
        return bench.pipeline.model.tokens(
            torch.zeros(1, 3, config.id_size, config.id_size, **place)
        ).shape[1]


def place_call(bench: Bench, preset: str, images: int, captured: bool) -> Callable[[], Any]:
    """The denoising and decoding of one pair with so many seeds."""
    pipeline, unet = bench.pipeline, bench.pipeline.unet
    pipeline.captures.allowed = captured
    pipeline.captures.graph = None if bench.on_gpu else Repeated
    pipeline.captures.clear()
    place: dict[str, Any] = {"device": bench.device, "dtype": unet.dtype}
    side = pipeline.config.resolution
    sizes = {name: (1, n, side, side) for name, n in pipeline.model.inputs.items()}
    with torch.no_grad():
        hints = pipeline.model.hints({n: torch.rand(s, **place) for n, s in sizes.items()})
    tokens = torch.randn(2, tokens_of(bench), unet.config.cross_attention_dim, **place)
    prepared = Prepared(tokens[:1], tokens[1:], hints, side)

    def call() -> None:
        steps = pipeline.denoise(prepared, [list(range(images))], preset=preset)
        pipeline.decode(last(steps).x)

    return call


def state_of(bench: Bench, dtype: torch.dtype, batch: int) -> TrainingState:
    """A training state of the networks in `dtype`; fp32 trains under autocast."""
    model = bench.pipeline.model.to(dtype).freeze("paper")
    model.kept = None
    schedule = Schedule.of(bench.pipeline.scheduler)
    accelerator = build_accelerator("bf16_autocast" if dtype == torch.float32 else "bf16")
    objective = DiffusionLoss(model, schedule, adaptive_timesteps)
    return start(objective, FitSettings(steps=1, batch_size=batch), accelerator)


def train_call(
    bench: Bench, batch: int, cached: bool, dtype: torch.dtype, compiled: bool
) -> tuple[Callable[[], Any], TrainingState]:
    """One step of `training.fit` on random pictures that are on the device already."""
    bench.pipeline.captures.clear()
    state = state_of(bench, dtype, batch)
    if compiled:
        compile_blocks(state.objective)
    known: dict[str, torch.Tensor] = {}

    def kept(name: str, shown: torch.Tensor, compute: Any) -> torch.Tensor:
        if name not in known:
            known[name] = compute(shown)
        return known[name]

    state.objective.model.kept = kept if cached else None
    side, small = bench.pipeline.config.resolution, bench.pipeline.config.id_size
    draw = partial(torch.randint, 0, 256, device=bench.device, dtype=torch.uint8)
    pictures = {n: draw((batch, 3, side, side)) for n in ("target", "collage")}
    mask = torch.ones(batch, 1, side, side, device=bench.device, dtype=torch.int8)
    pictures |= {"id_image": draw((batch, 3, small, small)), "shape_mask": mask}
    facts = {"index": torch.arange(batch), "variation": ["still"] * batch}
    batches, settings, meter = repeat({**facts, **pictures}), FitSettings(1, batch), Meter()
    return (lambda: optimizer_step(state, batches, settings, meter)), state


def write_call(
    bench: Bench, batch: int, folder: Path, states: list[TrainingState]
) -> Callable[[], Any]:
    """A step beside which a checkpoint of all that is trained is being written."""
    step, state = train_call(bench, batch, True, torch.bfloat16, False)

    def call() -> None:
        if not states:
            states.append(state)
            state.save_beside(folder, {}, 1)
        step()

    return call


def rows(bench: Bench, batches: tuple[int, ...], compare: bool) -> Iterator[tuple[Any, Any]]:
    """What is measured, the most telling first: a row to fill in, and what makes its call."""
    half, full = torch.bfloat16, torch.float32

    def trained(*how: Any) -> Callable[[], Any]:
        return lambda: train_call(bench, *how)[0]

    replayed = "captured" if bench.on_gpu else "replayed without a graph"
    placed = [("exact", 1), ("exact", 4), ("fast", 1), ("fast", 4), ("draft", 1)]
    for preset, images in placed:
        row = {"what": f"place {preset}", "how": replayed, "batch": images}
        yield row, partial(place_call, bench, preset, images, True)
        if compare and preset == "exact":
            row = {"what": f"place {preset}", "how": "stock diffusers", "batch": images}
            yield row, partial(stock_place, bench.pipeline, tokens_of(bench), images)
    row = {"what": "place exact", "how": "eager", "batch": 1}
    yield row, partial(place_call, bench, "exact", 1, False)
    for cached in (True, False):
        for batch in batches:
            row = {"what": f"train {'cached' if cached else 'uncached'}", "batch": batch}
            row |= {"how": "bf16", "cached": cached}
            yield row, trained(batch, cached, half, False)
    if bench.on_gpu:
        for cached in (True, False):
            row = {"what": f"train {'cached' if cached else 'uncached'}", "batch": batches[0]}
            row |= {"how": "bf16, compiled", "cached": cached}
            yield row, trained(batches[0], cached, half, True)
    row = {"what": "train cached", "how": "fp32 under autocast", "batch": batches[0]}
    yield row | {"cached": True}, trained(batches[0], True, full, False)
    if compare:
        row = {"what": "train cached", "how": "stock diffusers, autocast", "batch": batches[0]}
        yield row, partial(stock_step, bench.pipeline, tokens_of(bench), batches[0])
    states: list[TrainingState] = []
    with tempfile.TemporaryDirectory() as folder:
        row = {"what": "train cached", "how": "bf16, while a checkpoint is written"}
        row |= {"batch": batches[0], "cached": True}
        yield row, partial(write_call, bench, batches[0], Path(folder), states)
        for state in states:
            state.writing.finish()


def networks(full: bool) -> AnyDoorPipeline:
    """The paper's networks with random weights on the GPU, or the embedded tiny ones here."""
    silence_libraries()
    if not full:
        return load_pipeline(EMBEDDED).to("cuda" if torch.cuda.is_available() else "cpu")
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False
    )
    with torch.device("cuda"):
        model = full_size_networks().to(torch.bfloat16)
    model.unet.to(memory_format=torch.channels_last)
    model.detail_extractor.to(memory_format=torch.channels_last)
    parts = (model.unet, model.vae, model.detail_extractor, model.id_extractor)
    return AnyDoorPipeline(*parts, scheduler)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=6, help="rows begun later are not run")
    parser.add_argument("--model", choices=["auto", "full", "tiny"], default="auto")
    parser.add_argument("--compare", action="store_true", help="stock diffusers beside it")
    parser.add_argument("--fast", action="store_true", help="few steps, batch 1")
    parser.add_argument("--out", type=Path, help="of bench.json; here, but runs/bench_gpu if tiny")
    chosen = parser.parse_args()
    full = torch.cuda.is_available() if chosen.model == "auto" else chosen.model == "full"
    if full and not torch.cuda.is_available():
        raise SystemExit("there is no GPU here for the full-size networks; use --model tiny")
    if not full:
        print("the embedded tiny networks: a check of the script, no measure of the paper's")
    pipeline = networks(full)
    pipeline.set_progress_bar_config(disable=True)
    if chosen.fast:
        pipeline.register_to_config(num_inference_steps=3)
    out = chosen.out or (HERE if full else Path("runs") / HERE.name)  # no table beside a card's
    out.mkdir(parents=True, exist_ok=True)
    bench = Bench(pipeline, full, time.monotonic() + 60 * chosen.minutes, out)
    bench.peak = matmul_peak(bench)
    for row, make in rows(bench, (1,) if chosen.fast else (32, 16), chosen.compare):
        bench.measure(row, make)
    print(f"written  {out / 'bench.json'}")


if __name__ == "__main__":
    main()
