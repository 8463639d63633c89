"""What every door does with scores: run the evaluation, write scores.json, table and picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from anydoor_lab import assemble
from anydoor_lab.files import write_whole
from anydoor_lab.provenance import commit
from anydoor_lab.runs import GRID, SCORES

if TYPE_CHECKING:
    from anydoor_lab.evaluation import EvalSettings, Judged, Result
    from anydoor_lab.pair import Pair
    from anydoor_lab.pipeline import AnyDoorPipeline


class Bench:
    """The held-out pairs, judges and settings of a config, loaded once for several models."""

    def __init__(self, cfg: DictConfig) -> None:
        from anydoor_lab.evaluation import held_out_pairs

        self.scale: str = cfg.model.name
        self.settings: EvalSettings = assemble.build_eval_settings(cfg)
        source = assemble.build_source(cfg, "held_out")
        self.judged: Judged = assemble.build_judged(cfg).reading(source)
        self.pairs: list[Pair] = held_out_pairs(source, self.settings)

    def score(self, pipeline: AnyDoorPipeline, name: str) -> tuple[dict[str, Any], list[Result]]:
        """One row of scores, and results to look at; shows its progress."""
        from tqdm import tqdm

        from anydoor_lab.evaluation import evaluate

        if self.settings.preset != "exact":
            name = f"{name}, preset {self.settings.preset}"
        pipeline.set_progress_bar_config(disable=True)
        with tqdm(total=len(self.pairs), desc=f"scoring {name}", unit="pair") as bar:
            row, results = evaluate(pipeline, self.pairs, self.judged, self.settings, bar.update)
        return {"run": name, "preset": self.settings.preset, **row}, results

    def anchors(self) -> list[dict[str, Any]]:
        """Rows of what frames the scores: no network has a part in them."""
        from anydoor_lab.evaluation import score_scenes
        from anydoor_lab.evaluation.anchors import anchor_scenes

        return [
            {"run": name, "anchor": True, **score_scenes(scenes, self.pairs, self.judged)}
            for name, scenes in anchor_scenes(self.pairs).items()
        ]

    def report(
        self, rows: Sequence[dict[str, Any]], results: Sequence[Result], folder: Path
    ) -> dict[str, Any]:
        """Write scores.json, the table and the picture; print the table and where they are.

        The last row that is no anchor is the model the run stands for.
        """
        from anydoor_lab.report.scores import caption_of, save_results, score_table

        origins = [{"origin": p.origin, "variation": p.variation} for p in self.pairs]
        models = [index for index, row in enumerate(rows) if not row.get("anchor")]
        scores = {
            "scale": self.scale,
            "protocol": str(self.judged.protocol),
            "seed": self.settings.seed,
            "commit": commit(),
            "n": len(self.pairs),
            "model_row": models[-1],
            "rows": list(rows),
            "pairs": origins,
        }
        table = score_table(scores)
        written = table.write(folder, "scores")
        picture = save_results(results, caption_of(scores, "Held-out results"), folder / GRID)
        write_whole(folder / SCORES, json.dumps(scores, indent=1))
        print(f"\n{table.terminal()}")
        print(f"table    {written['md']}\nscores   {folder / SCORES}\npicture  {picture}")
        return scores
