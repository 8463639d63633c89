"""What fills a board: each cell placed by its own components, nothing computed twice."""

from __future__ import annotations

import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from anydoor_lab.conditioning.official import paste_decoded
from anydoor_lab.diffusion.guidance import Prepared
from anydoor_lab.evaluation.judges import Judges
from anydoor_lab.evaluation.score import Tally, row_of
from anydoor_lab.methods.anydoor import Method
from anydoor_lab.methods.choices import named_method
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.pipeline.proposals import shown_by_seed
from anydoor_lab.pipeline.results import Result
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.images import as_picture
from anydoor_lab.structures.names import named
from anydoor_lab.structures.pair import Pair
from anydoor_lab.structures.rng import rng_for
from anydoor_lab.widgets.board.grid import Grid, Settings
from anydoor_lab.widgets.board.pictures import Filled, Patch
from anydoor_lab.widgets.teleporter.variants import Variants
from anydoor_lab.widgets.view import BAD_INPUT

OWN, ANYDOOR = "own", "anydoor"
"""The board's own pipeline among the runs, or a run's own component; the paper's method."""
BATCH = 8
"""Pictures that are denoised at once."""
KEPT = 32
"""Encoded conditionings that are kept for other seeds, steps and guidance."""
Stopped = Callable[[], bool]


class Placing:
    """Fills cells with results and their scores.

    Args:
        pipeline: of the run `own`.
        pairs: what is placed.
        grid: the cells.
        runs: pipelines, or folders of runs, by the name in the grid; another name is a folder.
        methods: by the name in the grid; another name is one of conf/method.
        judges: score the results.
    """

    def __init__(
        self,
        pipeline: AnyDoorPipeline,
        pairs: Sequence[Pair],
        grid: Grid,
        judges: Judges,
        runs: Mapping[str, AnyDoorPipeline | str | Path] | None = None,
        methods: Mapping[str, Method] | None = None,
    ) -> None:
        self.pairs, self.grid, self._judges = pairs, grid, judges
        self._runs = {**(runs or {}), OWN: pipeline}
        self._methods = methods or {}
        self._loaded: tuple[str, AnyDoorPipeline, Variants] | None = None
        self._prepared: OrderedDict[Any, Prepared] = OrderedDict()

    def fill(self, numbers: Sequence[int], stopped: Stopped) -> Iterator[Filled]:
        """Yield these cells as they are finished; a cell that cannot be says why.

        Cells of the same conditions are denoised together, whatever their seeds.
        """
        jobs: dict[Any, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        for number in numbers:
            settings = self.grid.settings(number)
            jobs[self._conditions(settings)][settings["seed"]].append(number)
        for cells in jobs.values():
            several = max(1, BATCH // self._num_pairs())
            seeds = list(cells)
            for first in range(0, len(seeds), several):
                chosen = {seed: cells[seed] for seed in seeds[first : first + several]}
                yield from self._job(chosen, stopped)
                if stopped():
                    return

    def seconds_for(self, cells: int) -> float:
        """How long so many cells would take, from two short trials of the first one."""
        settings, took = self.grid.settings(0), []
        for steps in (1, 1, 3):  # the first one warms up
            began = time.perf_counter()
            self.placed({**settings, "steps": steps}, self._shown(settings)[:1], [0])
            took.append(time.perf_counter() - began)
        each = took[1] + (settings["steps"] - 1) * max(0.0, took[2] - took[1]) / 2
        return each * cells * self._num_pairs()

    def _num_pairs(self) -> int:
        return 1 if "pair" in self.grid.varied else len(self.pairs)

    def _shown(self, settings: Settings) -> list[int]:
        """The pairs of a cell, by number."""
        return [settings["pair"]] if "pair" in self.grid.varied else list(range(len(self.pairs)))

    def _conditions(self, settings: Settings) -> tuple[Any, ...]:
        """Equal for cells that differ in nothing but the seed; other methods know no components."""
        ours = settings["method"] == ANYDOOR
        names = ("run", "idx", "collage", "guidance", "steps", "preset") if ours else ()
        return settings["method"], *(settings[name] for name in (*names, "pair"))

    def _job(self, cells: Mapping[int, list[int]], stopped: Stopped) -> Iterator[Filled]:
        """The cells by their seeds, which have all other conditions in common."""
        began = time.perf_counter()
        settings = self.grid.settings(next(iter(cells.values()))[0])
        try:
            results = self.placed(settings, self._shown(settings), list(cells), stopped)
            if results is None:
                return
            scores = [self._scores(one) for one in results]
        except BAD_INPUT as error:
            several = [number for numbers in cells.values() for number in numbers]
            yield from (Filled(number, error=str(error)) for number in several)
            return
        each = (time.perf_counter() - began) / len(cells)
        for numbers, made, row in zip(cells.values(), results, scores, strict=True):
            patches = [Patch.of(one.pair.scene, one.scene) for one in made]
            yield from (Filled(number, patches, row, each) for number in numbers)

    def placed(
        self,
        settings: Settings,
        numbers: Sequence[int],
        seeds: Sequence[int],
        stopped: Stopped = lambda: False,
    ) -> list[list[Result]] | None:
        """For each seed the results of these pairs; None where it was stopped.

        The first pair has the seed itself, each further one the next number, as in scoring.
        """
        results: list[list[Result]] = [[] for _ in seeds]
        size = max(1, BATCH // len(seeds))
        for first in range(0, len(numbers), size):
            few = numbers[first : first + size]
            asked = [[seed + number for seed in seeds] for number in few]
            place = self._by_anydoor if settings["method"] == ANYDOOR else self._by_method
            found = place(settings, few, asked, stopped)
            if found is None:
                return None
            for k, result in enumerate(found):
                results[k % len(seeds)].append(result)
        return results

    def _by_method(
        self, settings: Settings, few: Sequence[int], asked: list[list[int]], stopped: Stopped
    ) -> list[Result] | None:
        name = settings["method"]
        method = self._methods[name] if name in self._methods else named_method(name)
        rngs = [rng_for(0, number, "method") for number in few]
        found = method([self.pairs[number] for number in few], asked, rngs)
        return None if stopped() else found

    def _by_anydoor(
        self, settings: Settings, few: Sequence[int], asked: list[list[int]], stopped: Stopped
    ) -> list[Result] | None:
        pipeline = self.pipeline(settings)
        pairs = [self.pairs[number] for number in few]
        collage = settings["collage"]
        conditioner = pipeline.conditioner(None if collage == OWN else collage)
        shown, own = shown_by_seed(conditioner, pairs, asked, settings["shape"])
        arrays = [array for one in shown for array in one.inputs.values()]
        key = (settings["run"], settings["idx"], *(hash(array.tobytes()) for array in arrays))
        if key not in self._prepared:
            self._prepared[key] = pipeline.prepare(shown)
        self._prepared.move_to_end(key)
        while len(self._prepared) > KEPT:
            self._prepared.popitem(last=False)
        how = (settings["steps"], settings["guidance"], settings["preset"])
        denoised = None
        for denoised in pipeline.denoise(self._prepared[key], own, *how):  # noqa: B007
            if stopped():
                return None
        assert denoised is not None
        many = [(pairs[k // len(asked[0])], shown[k // len(own[0])])
                for k in range(len(denoised.x))]  # fmt: skip
        blend, preprocessing = settings["blend"], pipeline.config.preprocessing
        return [
            Result(
                pair,
                paste_decoded(x, pair, one.placement, blend, preprocessing),
                one,
                as_picture(x),
                blend=blend,
            )
            for (pair, one), x in zip(many, pipeline.model.decoded(denoised.x), strict=True)
        ]

    def source(self, settings: Settings) -> AnyDoorPipeline:
        """The networks of a cell's run, as they were loaded; only the last one is kept."""
        name = str(settings["run"])
        if self._loaded is None or self._loaded[0] != name:
            found = self._runs.get(name, name)
            if not isinstance(found, AnyDoorPipeline):
                # by its public name, as a config would: loading belongs to the floor above
                found = named("anydoor_lab.load_pipeline")(found)
            self._loaded = (name, found, Variants(found))
        return self._loaded[1]

    def pipeline(self, settings: Settings) -> AnyDoorPipeline:
        """The same with the cell's ID extractor.

        Raises:
            InputError: the run was not trained with it.
        """
        self.source(settings)
        assert self._loaded is not None
        variants, idx = self._loaded[2], settings["idx"]
        idx = variants.names[0] if idx == OWN else idx
        if idx not in variants.names:
            raise InputError(
                f"the run {settings['run']} was not trained with {idx}; it has "
                f"{', '.join(variants.names)}"
            )
        return variants.pipeline(idx)

    def asked(self, settings: Settings, pair: int) -> Settings:
        """What a Teleporter is told to make a cell's picture of this pair."""
        source, names = self.source(settings), ("steps", "guidance", "shape", "blend")
        assert self._loaded is not None
        idx = self._loaded[2].names[0] if settings["idx"] == OWN else settings["idx"]
        collage = source.config.collage if settings["collage"] == OWN else settings["collage"]
        own = {name: settings[name] for name in names}
        return {**own, "idx": idx, "collage": collage, "seed": settings["seed"] + pair}

    def _scores(self, results: Sequence[Result]) -> dict[str, Any]:
        tally = Tally(self._judges, [result.pair for result in results])
        tally.add(range(len(results)), results)
        row = row_of(tally.singles, self._judges, len(results))
        return {key: value for key, value in row.items() if not key.endswith("_each")}


def offered_by(pipeline: AnyDoorPipeline) -> tuple[str, ...]:
    """The names on offer for `idx`."""
    return Variants(pipeline).names


def tiny_judges() -> Judges:
    """CLIP and DINO score by the embedded judges: tiny numbers, of any picture."""
    from anydoor_lab.metrics.clip_score import clip_score
    from anydoor_lab.metrics.dino_score import dino_score
    from anydoor_lab.metrics.protocol import ScoreProtocol
    from anydoor_lab.models.embedded import locate

    sources = {name: locate(f"embedded:judge_{name}") for name in ("clip", "dino")}
    metrics = {"clip": clip_score(sources["clip"]), "dino": dino_score(sources["dino"])}
    return Judges(metrics, ScoreProtocol(clip=sources["clip"], dino=sources["dino"]))
