"""Table 2: the user study, from pictures to the raters' sheet, from ratings to the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anydoor_lab.config.competitors import Attempts, method_called
from anydoor_lab.config.experiments import Asked, runs_of
from anydoor_lab.config.studies import bench_of, scored_by, settings_of
from anydoor_lab.structures.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from anydoor_lab.metrics.ratings import Questions
    from anydoor_lab.report.bench import Bench
    from anydoor_lab.report.scored import Scored


def user_study(asked: Asked, methods: Sequence[str], num_items: int = 30) -> None:
    """Table 2: the raters' sheet; where `<out>/ratings/` holds their CSV files, the table too.

    Args:
        asked: of its data sets the first is taken.
        methods: names of conf/method.
        num_items: groups of pictures.

    Raises:
        ValueError: the ratings are not those that the sheet asks for, or the sheet that is there
            shows other pictures.
        RuntimeError: a method failed; there is no sheet before all that can run have run.
    """
    from anydoor_lab.report.study import KEY, RATINGS, write_sheet

    sheets = sorted((asked.out / RATINGS).glob("*.csv"))
    ratings = rated(asked.out, sheets) if sheets else None
    runs = proposed(asked, methods, num_items)
    folders = {run.variant: run.folder for run in runs}
    if (asked.out / KEY).is_file():
        check_shown(folders, asked.out)
    else:
        written = write_sheet(folders, asked.out)
        print(f"sheet    {written[0]}, for the raters\nkey      {written[1]}, for nobody else")
    if ratings is None:
        print(f"ratings  none yet: put the raters' CSV files into {asked.out / RATINGS}")
        return
    compare_with_scores(ratings, runs, asked.out)


def proposed(asked: Asked, methods: Sequence[str], num_items: int) -> list[Scored]:
    """Every method that can run, scored on the items, its pictures for the raters beside that.

    Raises:
        RuntimeError: a method failed.
    """
    from anydoor_lab.evaluation.kept import digest

    few = "2" if asked.fast else str(num_items)
    more = (f"eval.num_pairs={few}", f"eval.num_shown={few}", "eval.num_diverse=0")
    data, attempts, runs = asked.data[0], Attempts(), []
    bench = bench_of(settings_of(asked, data, *more))
    place = runs_of(asked.experiment, asked.fast) / ("methods" if asked.fast else "")
    shown = [digest(pair) for pair in bench.pairs]
    for name in methods:
        with attempts.attempt(name, data):
            method, settings = method_called(asked, data, name, *more)
            own = {**settings, "pairs": shown}
            run = scored_by(bench, method, name, data, place / data / name, own)
            propose(bench, method, run)
            runs.append(run)
    attempts.check()
    return runs


def propose(bench: Bench, method: Any, run: Scored, proposals: int = 4) -> None:
    """Further proposals of each pair beside the first, for the raters' diversity; those that the
    run keeps are not made again.

    Raises:
        FileExistsError: one of them was made otherwise.
    """
    from anydoor_lab.evaluation.generate import generate_results
    from anydoor_lab.evaluation.kept import GENERATED, KeptResults
    from anydoor_lab.report.pictures import PICTURES, cut_out
    from anydoor_lab.structures.images import write_image

    kept = KeptResults(run.folder / GENERATED, {"config": run.config})
    settings = replace(bench.settings, num_seeds=proposals)
    kept.check(bench.pairs, settings, len(bench.pairs))
    for numbers, results in generate_results(method, bench.pairs, settings, proposals, kept):
        for place, result in enumerate(results):
            k = place % proposals
            if k:
                name = f"{numbers[place // proposals]:02d}_result_{k}.png"
                write_image(run.folder / PICTURES / name, cut_out(result.scene, result.pair))


def check_shown(folders: Mapping[str, Path], out: Path) -> None:
    """Say which methods the sheet in `out` was made without.

    Args:
        folders: of the methods' pictures, by name.
        out: where the sheet is.

    Raises:
        ValueError: the sheet shows other pictures than the folders have.
    """
    from anydoor_lab.report.study import SHEET, pictures_hash

    known = questions_of(out).pictures
    changed = [n for n, f in folders.items() if n in known and pictures_hash(f) != known[n]]
    if changed:
        raise InputError(
            f"{out / SHEET} shows other pictures of {', '.join(changed)} than were made now; it "
            "stays with its key and its ratings: choose another --out for a study of the new "
            "ones, or ask for the same data, settings and weights"
        )
    for name in (name for name in folders if name not in known):
        print(f"left out {name}: {out / SHEET} was made without it; another --out takes it in")


def questions_of(out: Path) -> Questions:
    """What the study in `out` asks.

    Raises:
        ValueError: nothing there says it.
    """
    from anydoor_lab.metrics.ratings import Questions
    from anydoor_lab.report.study import KEY, QUESTIONS

    if not (out / QUESTIONS).is_file():
        raise InputError(
            f"{out} has a {KEY} but no {QUESTIONS}, by which pictures and ratings are checked; "
            "put it back, or choose another --out for a study of its own"
        )
    return Questions.read(out / QUESTIONS)


def rated(out: Path, sheets: Sequence[Path]) -> pd.DataFrame:
    """The ratings of the raters' sheets, after Table 2 of them is written.

    Raises:
        ValueError: they are not those that the sheet in `out` asks for.
    """
    from anydoor_lab.metrics.ratings import read_key, read_ratings
    from anydoor_lab.report.ratings import rating_table
    from anydoor_lab.report.study import KEY

    key = read_key(out / KEY)
    ratings = read_ratings(sheets, key, questions=questions_of(out))
    table = rating_table(ratings, key)
    table.write(out, "table")
    print(f"{table.terminal()}\ntable    {out / 'table.md'}")
    return ratings


def compare_with_scores(ratings: pd.DataFrame, runs: Sequence[Scored], out: Path) -> None:
    """How each score orders the methods as the raters do."""
    import pandas as pd

    from anydoor_lab.metrics.ratings import read_key
    from anydoor_lab.report.study import KEY, people_and_scores
    from anydoor_lab.structures.files import write_whole

    rows = people_and_scores(ratings, read_key(out / KEY), runs)
    if rows:
        text = pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")
        write_whole(out / "scores_and_people.csv", text)
        print(pd.DataFrame(rows).to_string(index=False))
