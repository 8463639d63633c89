"""The experiment on encoders alone: held-out things found by another picture of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from anydoor_lab.report.caption import Caption
    from anydoor_lab.report.retrieval import Hits
    from anydoor_lab.structures.pair import Pair

PROTOCOL = "one frame of each object against the other frames of all; each encoder's own size"


def encoder_retrieval(number: int, parts: Path | None, out: Path) -> None:
    """Look for every object with every encoder in every way; print and write the tables.

    Args:
        number: of objects.
        parts: a folder with `dino`, `clip` or `vgg`; what it lacks is the embedded one.
        out: folder of rows.csv and the tables.

    Raises:
        ValueError: `number` is below 2, `parts` is no folder, or a package is missing.
    """
    from anydoor_lab.analysis.features import features, found, frames, similarity
    from anydoor_lab.config.pipelines import silence_libraries
    from anydoor_lab.report.caption import Caption
    from anydoor_lab.report.retrieval import WAYS, Look
    from anydoor_lab.runs.provenance import commit

    silence_libraries()
    pairs, rendered = held_out_pairs(number)
    filled = f"{(~rendered).sum()} outlines of them filled with photographs"
    says = f"{rendered.sum()} rendered objects, {filled}"
    caption = Caption("Retrieval of held-out things across frames", "tiny", PROTOCOL, 0, commit(),
                      len(pairs), f"{says}; {kinds(pairs)}")  # fmt: skip
    hits = {}
    for name, extractor, side_px in encoders(parts):
        for seg in (True, False):
            first, second = frames(pairs, side_px, remove_background=seg)
            one, other = features(extractor, first), features(extractor, second)
            for way in WAYS:
                hits[Look(name, way, seg)] = found(similarity(one, other, way))
            print(f"looked   {name}, {side_px} px{', Seg' * seg}", flush=True)
    _write(hits, rendered, caption, out)


def held_out_pairs(number: int) -> tuple[list[Pair], np.ndarray]:
    """Two frames of each of `number` held-out objects, as many as possible of them rendered ones,
    the others their outlines filled with photographs, and (N,) bool which are rendered; nothing
    stands before them.

    Raises:
        ValueError: `number` is below 2.
    """
    from anydoor_lab.analysis.features import moving_pairs
    from anydoor_lab.data.things import Things
    from anydoor_lab.structures.errors import InputError

    if number < 2:
        raise InputError(f"--objects is {number}; expected at least 2, so that one can be wrong")
    rendered = len(Things(split="held_out", filled=0, drawn=0))
    share = max(0.0, number / rendered - 1)
    halves = {"video": 0.5, "multiview": 0.5}
    source = Things(split="held_out", hidden=0, drawn=0, filled=share, variations=halves)
    pairs = moving_pairs(source, min(number, len(source)))
    return pairs, np.array([source.attributes_of(pair).group != "filled" for pair in pairs])


def kinds(pairs: list[Pair]) -> str:
    """How many of the pairs are of which variation, in words."""
    videos = sum(pair.variation == "video" for pair in pairs)
    return f"{videos} poor frames (of a clip where there is one), {len(pairs) - videos} other sides"


def encoders(parts: Path | None) -> Iterator[tuple[str, Any, int]]:
    """Name, extractor and side in pixels of each encoder, built when it is asked for.

    Raises:
        ValueError: `parts` is no folder, or EfficientNet-Lite0 is not installed.
    """
    from anydoor_lab import ClipExtractor, Dinov2Extractor, EffnetExtractor, VggExtractor
    from anydoor_lab.models.effnet import SIZE_PX
    from anydoor_lab.structures.errors import InputError

    if parts is not None and not parts.is_dir():
        raise InputError(f"--parts {parts} is no folder; give the out= of a pretraining")
    effnet = EffnetExtractor.from_encoder(None, 1).eval()  # what may be missing comes first
    kinds = {"dino": Dinov2Extractor, "clip": ClipExtractor, "vgg": VggExtractor}
    side_px = SIZE_PX
    for name, kind in kinds.items():
        own = parts is not None and (parts / name / "config.json").is_file()
        source = str(parts / name) if parts is not None and own else f"embedded:{name}"
        extractor: Any = kind.from_encoder(source, 1).eval()
        # a convolutional encoder has no size of its own: what its sisters are shown
        side_px = getattr(extractor.encoder.config, "image_size", side_px)
        print(f"encoder  {name}: {source}", flush=True)
        yield name, extractor, side_px
    yield "effnet", effnet, SIZE_PX


def _write(hits: Hits, rendered: np.ndarray, caption: Caption, out: Path) -> None:
    from anydoor_lab.report.retrieval import difference_table, retrieval_rows, retrieval_table
    from anydoor_lab.report.rows import rows_frame
    from anydoor_lab.structures.files import write_whole

    sets = [("things", caption, hits)]
    if not rendered.all():
        part = replace(caption, title="Queries that are rendered objects, among all",
                       n=int(rendered.sum()))  # fmt: skip
        these = {look: right[rendered] for look, right in hits.items()}
        sets.append(("things, rendered only", part, these))
    pairs = replace(caption, title="Differences over the same objects")
    tables = [*(retrieval_table(found, of) for _, of, found in sets), difference_table(hits, pairs)]
    print("\n".join(table.terminal() for table in tables))
    text = "\n".join(table.markdown() for table in tables)
    print(f"table    {write_whole(out / 'table.md', text)}")
    each = (retrieval_rows(found, of, data=data, config="") for data, of, found in sets)
    rows = rows_frame([row for rows in each for row in rows])
    text = rows.to_csv(index=False, lineterminator="\n")
    print(f"rows     {write_whole(out / 'rows.csv', text)}")
