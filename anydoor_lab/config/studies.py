"""The experiments that train nothing: data sets, focus, sampling settings; and how they score."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from anydoor_lab.config.compose import compose_config, plain
from anydoor_lab.config.experiments import Asked, runs_of
from anydoor_lab.config.pipelines import EMBEDDED

if TYPE_CHECKING:
    import numpy as np

    from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
    from anydoor_lab.report.bench import Bench
    from anydoor_lab.report.scored import Scored
    from anydoor_lab.structures.pair import Pair

QUICK = ("eval=fast", "eval.num_pairs=2", "eval.num_diverse=0", "eval.num_shown=2",
         "metrics=[clip,dino]")  # fmt: skip


def settings_of(asked: Asked, data: str, *overrides: str) -> DictConfig:
    """The settings of `evaluate` on one data set."""
    return compose_config("evaluate", f"data={data}", *(QUICK if asked.fast else ()), *overrides)


def bench_of(cfg: DictConfig) -> Bench:
    """The held-out pairs and judges of a config."""
    from anydoor_lab.config.assemble import build_bench
    from anydoor_lab.config.pipelines import silence_libraries

    silence_libraries()
    return build_bench(cfg)


def embedded_pipeline(asked: Asked) -> AnyDoorPipeline:
    """The embedded network on the device that is asked for; in two steps where it is to be fast."""
    from anydoor_lab.config.devices import place
    from anydoor_lab.config.pipelines import load_pipeline, silence_libraries

    silence_libraries()
    pipeline = place(load_pipeline(EMBEDDED), asked.device)
    pipeline.set_progress_bar_config(disable=True)
    if asked.fast:
        pipeline.register_to_config(num_inference_steps=2)
    return pipeline


def dataset_page(asked: Asked) -> None:
    """Table 1 for the embedded sets: counts, areas, shares of each variation."""
    from anydoor_lab.config.assemble import make_source
    from anydoor_lab.report.datasets import dataset_row, dataset_table
    from anydoor_lab.structures.files import write_whole

    number, rows = 20 if asked.fast else 2000, []
    for data in asked.data:
        cfg = settings_of(asked, data)
        sides = {side: make_source(cfg.data, side, cfg.data_seed) for side in ("train", "held_out")}
        rows.append(dataset_row(data, sides, number))
    table = dataset_table(rows)
    table.write(asked.out, "table")
    write_whole(asked.out / "rows.csv", table.csv())
    print(f"{table.terminal()}\ntable    {asked.out / 'table.md'}")


def scored_by(
    bench: Bench, method: Any, variant: str, data: str, folder: Path, settings: Mapping[str, Any]
) -> Scored:
    """A method's scores on a bench, kept in `folder`: what stands there of the same settings and
    the same weights is not made again, picture by picture."""
    from anydoor_lab.config.fingerprints import files_of, fingerprint, folders_of
    from anydoor_lab.evaluation.kept import GENERATED, KeptResults
    from anydoor_lab.models.embedded import CARD, locate
    from anydoor_lab.report.pictures import PICTURES
    from anydoor_lab.report.scored import Scored
    from anydoor_lab.runs.folder import FACTS, SCORES, read_facts, read_scores
    from anydoor_lab.runs.provenance import config_hash
    from anydoor_lab.structures.files import write_sealed

    weights = (Path(locate(EMBEDDED)) / CARD).read_text("utf-8")
    own = [path for one in folders_of(settings["method"]) for path in files_of(one)]
    weights += fingerprint(own) if own else ""
    known = config_hash({**settings, "variant": variant, "weights": weights})
    if not (folder / SCORES).is_file() or read_facts(folder).get("config_hash") != known:
        kept = KeptResults(folder / GENERATED, {"config": known})
        if read_facts(folder).get("config_hash") != known:
            (folder / SCORES).unlink(missing_ok=True)
            for one in (kept.folder, folder / PICTURES):
                shutil.rmtree(one, ignore_errors=True)
            write_sealed(folder / FACTS, {"config_hash": known})
        row, results = bench.score(method, variant, kept)
        bench.report([row, *bench.anchors()], results, folder)
    return Scored(folder, variant, data, bench.settings.seed, known, read_scores(folder))


def sampled(
    asked: Asked,
    variants: Mapping[str, Callable[[AnyDoorPipeline, DictConfig], Any]],
    seconds: dict[tuple[str, str], float] | None = None,
) -> list[Scored]:
    """The scores of the embedded network used in several ways, each made of the pipeline and the
    settings of the data; `seconds`, by data and way, are filled with what a picture takes."""
    runs: list[Scored] = []
    place = runs_of(asked.experiment, asked.fast)
    for data in asked.data:
        cfg = settings_of(asked, data)
        bench = bench_of(cfg)
        for name, make in variants.items():
            method = make(embedded_pipeline(asked), cfg)
            if seconds is not None:
                seconds[data, name] = seconds_each(method, bench)
            folder = place / data / name.replace(" ", "_")
            runs.append(scored_by(bench, method, name, data, folder, plain(cfg)))
    return runs


def seconds_each(method: Any, bench: Bench) -> float:
    """Seconds a picture takes, in a batch, after one that does not count."""
    from anydoor_lab.evaluation.generate import results_of

    numbers = range(min(len(bench.pairs), bench.settings.batch_size))
    results_of(method, bench.pairs, numbers, bench.settings)
    begun = time.perf_counter()
    results_of(method, bench.pairs, numbers, bench.settings)
    return (time.perf_counter() - begun) / len(numbers)


def guidance_and_steps(
    asked: Asked,
    guidance: Sequence[float] = (1.0, 1.5, 2.0, 3.0, 5.0),
    steps: Sequence[int] = (5, 10, 20, 40),
) -> None:
    """Scores of the embedded network over a grid of guidance scales and numbers of steps."""
    from anydoor_lab.methods.anydoor import AnyDoorMethod
    from anydoor_lab.report.experiment import write_results

    def at(scale: float, number: int) -> Callable[[AnyDoorPipeline, DictConfig], Any]:
        def make(pipeline: AnyDoorPipeline, _: DictConfig) -> AnyDoorMethod:
            pipeline.register_to_config(guidance_scale=scale, num_inference_steps=number)
            return AnyDoorMethod(pipeline)

        return make

    if asked.fast:
        guidance, steps = guidance[:2], (1,)
    grid = {f"guidance={g:g} steps={n}": at(g, n) for g in guidance for n in steps}
    write_results(sampled(asked, grid), asked.out, asked.experiment)


def several_references(asked: Asked, numbers: Sequence[int] = (1, 2, 4, 8)) -> None:
    """Scores of the embedded network shown several photos of the object."""
    from anydoor_lab.config.assemble import build_source
    from anydoor_lab.methods.several_references import SeveralReferences
    from anydoor_lab.report.experiment import write_results

    def of(number: int) -> Callable[[AnyDoorPipeline, DictConfig], Any]:
        def make(pipeline: AnyDoorPipeline, cfg: DictConfig) -> SeveralReferences:
            source: Any = build_source(cfg, "held_out")

            def view(pair: Pair, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
                found: tuple[np.ndarray, np.ndarray] = source.view(source.entry_of(pair), rng)
                return found

            return SeveralReferences(pipeline, view, number)

        return make

    ways = {f"references={number}": of(number) for number in numbers[: 2 if asked.fast else None]}
    write_results(sampled(asked, ways), asked.out, asked.experiment)


def preset_costs(asked: Asked) -> None:
    """What each preset costs in score and saves in time."""
    from anydoor_lab.methods.anydoor import AnyDoorMethod
    from anydoor_lab.report.costs import cost_table
    from anydoor_lab.report.experiment import write_results

    ways = {
        f"preset={name}": lambda pipeline, _, name=name: AnyDoorMethod(pipeline, preset=name)
        for name in ("exact", "fast", "draft")
    }
    seconds: dict[tuple[str, str], float] = {}
    runs = sampled(asked, ways, seconds)
    write_results(runs, asked.out, asked.experiment)
    for data in asked.data:
        table = cost_table([run for run in runs if run.data == data], seconds)
        table.write(asked.out, f"costs_{data}")
        print(f"\n{table.terminal()}\ncosts    {asked.out / f'costs_{data}.md'}")


def focus(asked: Asked) -> None:
    """Figure 3: attention of the ID extractor beside the HF map, and the details over time."""
    import numpy as np
    import pandas as pd

    from anydoor_lab.metrics.interval import student_interval
    from anydoor_lab.report.caption import Caption
    from anydoor_lab.report.figures import save
    from anydoor_lab.report.focus import detail_curves, focus_figure, focus_maps, focus_row
    from anydoor_lab.report.rows import COLUMNS, rows_frame
    from anydoor_lab.runs.provenance import commit, config_hash
    from anydoor_lab.structures.files import write_whole
    from anydoor_lab.structures.rng import rng_for

    pipeline, rows = embedded_pipeline(asked), []
    for data in asked.data:
        cfg = settings_of(asked, data)
        pairs = bench_of(cfg).pairs
        conditioner = pipeline.conditioner()
        shown = [
            conditioner.condition(pair, rng_for(0, number, "collage"))
            for number, pair in enumerate(pairs)
        ]
        maps = focus_maps(pipeline, shown)
        caption = Caption("Focus of the two extractors", cfg.model.name, seed=cfg.eval.seed,
                          commit=commit(), n=len(shown), note=f"data {data}")  # fmt: skip
        figure, curve = detail_curves(pipeline, shown[:8], caption)
        singles = pd.DataFrame(map(focus_row, shown, maps))
        for name in singles:
            found = student_interval(np.array(singles[name]), (0.0, 100.0))
            curve.insert(0, {"variant": name, "value": found.mean, "low": found.low,
                             "high": found.high})  # fmt: skip
            print(f"focus    {name} on {data}: {found} %")
        known = {"metric": "focus", "protocol": "", "n": len(shown), "seed": cfg.eval.seed,
                 "data": data, "scale": cfg.model.name, "commit": commit(),
                 "config": config_hash(plain(cfg))}  # fmt: skip
        rows += [{**known, **row} for row in curve]
        for ending in ("pdf", "png"):
            pictures = focus_figure(shown[:6], maps[:6], caption)
            print(f"figure   {save(pictures, asked.out / f'figure_{data}.{ending}')}")
            save(figure, asked.out / f"details_{data}.{ending}")
    table = rows_frame(pd.DataFrame(rows).reindex(columns=list(COLUMNS)))
    write_whole(asked.out / "rows.csv", table.to_csv(index=False, lineterminator="\n"))
