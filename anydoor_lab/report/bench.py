"""What every command does with scores: evaluate, write scores.json, table and picture."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from anydoor_lab.data.source import reasons
from anydoor_lab.evaluation.anchors import anchor_scenes
from anydoor_lab.evaluation.generate import Generate
from anydoor_lab.evaluation.judges import Judges
from anydoor_lab.evaluation.kept import KeptResults
from anydoor_lab.evaluation.score import bounds_of, evaluate, score_scenes
from anydoor_lab.evaluation.settings import EvalSettings
from anydoor_lab.pipeline.results import Result
from anydoor_lab.report.pictures import PICTURES, save_pictures
from anydoor_lab.report.rows import rows_of_scores, write_rows, write_singles
from anydoor_lab.report.scores import (
    caption_of,
    gain_row,
    pairs_called,
    save_results,
    score_table,
)
from anydoor_lab.runs.folder import GRID, SCORES
from anydoor_lab.runs.provenance import commit
from anydoor_lab.structures.files import write_sealed
from anydoor_lab.structures.pair import Pair
from anydoor_lab.training.processes import rank_and_size


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """The held-out pairs, judges and settings of a config, for several models.

    Args:
        scale: "tiny", "sd21": stands beside every number.
        settings: how to score.
        judges: by what.
        pairs: on what.
        note: why the pairs are not held out, as a sentence; empty where they are.
        passed_over: how many entries of the data were unusable for which reason.
        data: what the pairs are of, by one word.
        config: hash of the settings that matter.
    """

    scale: str
    settings: EvalSettings
    judges: Judges
    pairs: Sequence[Pair]
    note: str = ""
    passed_over: Counter[str] = field(default_factory=Counter)
    data: str = ""
    config: str = ""

    def score(
        self, method: Generate, name: str, kept: KeptResults | None = None
    ) -> tuple[dict[str, Any], list[Result]]:
        """One row of scores, and results to look at; shows its progress.

        All processes must ask; each scores its share. What is in `kept` is not made again.

        Raises:
            FileExistsError: what is there was made otherwise.
        """
        preset = getattr(method, "preset", "exact")
        if preset != "exact":
            name = f"{name}, preset {preset}"
        rank, size = rank_and_size()
        share, what = len(self.pairs), f"scoring {name}"
        with tqdm(total=share, desc=what, unit="pair", disable=rank > 0) as bar:

            def progress(done: int) -> None:
                bar.update(min(done * size, share - bar.n))

            row, results = evaluate(
                method, self.pairs, self.judges, self.settings, progress, self.scale, kept
            )
        return {"run": name, "preset": preset, **row}, results

    def anchors(self) -> list[dict[str, Any]]:
        """Rows of what frames the scores: no network has a part in them."""
        seed, scale = self.settings.seed, self.scale
        return [
            {
                "run": name,
                "anchor": True,
                **score_scenes(scenes, self.pairs, self.judges, seed=seed, scale=scale),
            }
            for name, scenes in anchor_scenes(self.pairs, self.judges.truth).items()
        ]

    def report(
        self,
        rows: Sequence[dict[str, Any]],
        results: Sequence[Result],
        folder: Path,
        seed: int | None = None,
        before: Sequence[np.ndarray] | None = None,
    ) -> dict[str, Any]:
        """Write scores.json, rows, the table and the picture; print the table and where they are.

        The last row that is no anchor is the model the run stands for; `seed` is its training's.
        With the crops made `before` it (none where they are not known) the table has its paired
        gain over the first row.
        """
        origins = [
            {"origin": p.origin, "variation": p.variation, "quality": p.quality} for p in self.pairs
        ]
        models = [index for index, row in enumerate(rows) if not row.get("anchor")]
        scores = {
            "scale": self.scale,
            "protocol": str(self.judges.protocol),
            "seed": self.settings.seed,
            "commit": commit(),
            "n": len(self.pairs),
            "note": self.note,
            "passed_over": dict(self.passed_over),
            "not_run": dict(self.judges.not_run),
            "data": self.data,
            "config": self.config,
            "bounds": self._bounds(rows),
            "model_row": models[-1],
            "rows": list(rows),
            "pairs": origins,
        }
        gain = None if before is None else gain_row(scores)
        after = models[-1] + 1
        shown = [*rows[:after], *([gain] if gain else []), *rows[after:]]
        table = score_table({**scores, "rows": shown})
        written = table.write(folder, "scores")
        title = f"Results on {pairs_called(scores)}"
        caption = caption_of(scores, title)
        picture = save_results(results, caption, folder / GRID, before or ())
        rows_at = write_rows(rows_of_scores(scores, seed=seed), folder)["csv"]
        write_singles(scores, folder)
        save_pictures(results, folder / PICTURES)
        write_sealed(folder / SCORES, scores)
        print(f"\n{table.terminal()}")
        if self.passed_over:
            print(f"passed over while scoring: {reasons(self.passed_over)}")
        print(f"table    {written['md']}\nrows     {rows_at}")
        print(f"scores   {folder / SCORES}\npicture  {picture}")
        return scores

    def _bounds(self, rows: Sequence[dict[str, Any]]) -> dict[str, list[float | None]]:
        """The ranges of the single scores by their keys in the rows; None at an open end."""
        keys = {key.removesuffix("_low") for row in rows for key in row if key.endswith("_low")}
        ranges = {key: bounds_of(key, self.judges) for key in sorted(keys)}
        return {
            key: [end if math.isfinite(end) else None for end in ends]
            for key, ends in ranges.items()
        }
