"""What frames the scores: scenes that no network has a part in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from anydoor_lab.conditioning.copy_paste import emptied, paste_copy
from anydoor_lab.structures.pair import Pair


def anchor_scenes(pairs: Sequence[Pair], truth: bool = True) -> dict[str, Iterator[np.ndarray]]:
    """What frames the scores, without any network: for each anchor a scene per pair, one by one.

    `true second view` is the real scene (for stills, which show the reference itself, `ground
    truth`); `copy-paste` the reference set into it; `another object` the next pair's reference,
    where there is more than one; `empty` the region in its surroundings' colour. Without `truth`
    the scenes show other objects, and the first is left out.
    """
    still = truth and all(pair.variation == "still" for pair in pairs)
    seen = "ground truth" if still else "true second view"
    anchors = {seen: (pair.scene for pair in pairs)} if truth else {}
    anchors["copy-paste"] = (paste_copy(emptied(pair), pair) for pair in pairs)
    if len(pairs) > 1:
        following = zip(pairs, [*pairs[1:], pairs[0]], strict=True)
        anchors["another object"] = (paste_copy(emptied(p), p, other) for p, other in following)
    return {**anchors, "empty": (emptied(pair) for pair in pairs)}
