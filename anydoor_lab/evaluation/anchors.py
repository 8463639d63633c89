"""What frames the scores: scenes that no network has a part in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from anydoor_lab.conditioning.copy_paste import emptied, paste_copy
from anydoor_lab.evaluation.pairs import object_name
from anydoor_lab.structures.pair import Pair


def anchor_scenes(pairs: Sequence[Pair], truth: bool = True) -> dict[str, Iterator[np.ndarray]]:
    """What frames the scores, without any network: for each anchor a scene per pair, one by one.

    `true second view` is the real scene (for stills, which show the reference itself, `ground
    truth`); `copy-paste` the reference set into it; `another object` the reference of the next pair
    that shows another one, where there is one; `empty` the region in its surroundings' colour.
    Without `truth` the scenes show other objects, and the first is left out.
    """
    still = truth and all(pair.variation == "still" for pair in pairs)
    seen = "ground truth" if still else "true second view"
    anchors = {seen: (pair.scene for pair in pairs)} if truth else {}
    anchors["copy-paste"] = (paste_copy(emptied(pair), pair) for pair in pairs)
    following = _others(pairs)
    if following:
        shown = zip(pairs, following, strict=True)
        anchors["another object"] = (paste_copy(emptied(p), p, pairs[i]) for p, i in shown)
    return {**anchors, "empty": (emptied(pair) for pair in pairs)}


def _others(pairs: Sequence[Pair]) -> list[int]:
    """For each pair the number of the next one that shows another object; empty where all show
    the same."""
    names = [object_name(pair, number) for number, pair in enumerate(pairs)]
    if len(set(names)) < 2:
        return []
    found = [0] * len(names)
    following = next(number for number, name in enumerate(names) if name != names[-1])
    for number in reversed(range(len(names))):
        after = (number + 1) % len(names)
        if names[after] != names[number]:
            following = after
        found[number] = following
    return found
