"""Table 2: the user study, from pictures to the raters' sheet, from ratings to the table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anydoor_lab.config.competitors import Attempts, method_called
from anydoor_lab.config.experiments import Asked
from anydoor_lab.config.studies import bench_of, scored_by, settings_of

if TYPE_CHECKING:
    from anydoor_lab.report.bench import Bench
    from anydoor_lab.report.experiment import Scored


def user_study(asked: Asked, methods: Sequence[str], num_items: int = 30) -> None:
    """Table 2: the raters' sheet; where `<out>/ratings/` holds their CSV files, the table too.

    Args:
        asked: of its data sets the first is taken.
        methods: names of conf/method.
        num_items: groups of pictures.
    """
    from anydoor_lab.report.study import KEY, RATINGS, write_sheet

    few = "2" if asked.fast else str(num_items)
    more = (f"eval.num_pairs={few}", f"eval.num_shown={few}", "eval.num_diverse=0")
    cfg = settings_of(asked, asked.data[0], *more)
    bench, runs, place = bench_of(cfg), [], Path("runs") / asked.experiment
    place = Path("runs") / "fast" / asked.experiment / "methods" if asked.fast else place
    attempts = Attempts()
    for name in methods:
        with attempts.attempt(name, asked.data[0]):
            method, settings = method_called(asked, asked.data[0], name)
            run = scored_by(bench, method, name, asked.data[0], place / name, settings)
            propose(bench, method, place / name)
            runs.append(run)
    attempts.check()
    if not (asked.out / KEY).is_file():
        written = write_sheet({run.variant: run.folder for run in runs}, asked.out)
        print(f"sheet    {written[0]}, for the raters\nkey      {written[1]}, for nobody else")
    sheets = sorted((asked.out / RATINGS).glob("*.csv"))
    if not sheets:
        print(f"ratings  none yet: put the raters' CSV files into {asked.out / RATINGS}")
        return
    rated(asked, sheets, runs)


def propose(bench: Bench, method: Any, folder: Path, proposals: int = 4) -> None:
    """Further proposals of each pair beside the first, for the raters' diversity."""
    from anydoor_lab.evaluation.generate import results_of
    from anydoor_lab.report.pictures import PICTURES, cut_out
    from anydoor_lab.structures.images import write_image

    for number in range(len(bench.pairs)):
        paths = [folder / PICTURES / f"{number:02d}_result_{k}.png" for k in range(1, proposals)]
        if all(path.is_file() for path in paths):
            continue
        results = results_of(method, bench.pairs, [number], bench.settings, proposals)
        for path, result in zip(paths, results[1:], strict=True):
            write_image(path, cut_out(result.scene, result.pair))


def rated(asked: Asked, sheets: Sequence[Path], runs: Sequence[Scored]) -> None:
    """Table 2 of the raters' sheets, and how each score orders the methods as they do."""
    import pandas as pd

    from anydoor_lab.metrics.ratings import Questions, read_key, read_ratings
    from anydoor_lab.report.ratings import rating_table
    from anydoor_lab.report.study import KEY, QUESTIONS, people_and_scores
    from anydoor_lab.structures.files import write_whole

    key = read_key(asked.out / KEY)
    ratings = read_ratings(sheets, key, questions=Questions.read(asked.out / QUESTIONS))
    table = rating_table(ratings, key)
    table.write(asked.out, "table")
    print(f"{table.terminal()}\ntable    {asked.out / 'table.md'}")
    rows = people_and_scores(ratings, key, runs)
    if rows:
        text = pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")
        write_whole(asked.out / "scores_and_people.csv", text)
        print(pd.DataFrame(rows).to_string(index=False))
