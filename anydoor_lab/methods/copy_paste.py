"""Copy and paste: the object's own pixels, scaled into the region."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anydoor_lab.conditioning.copy_paste import emptied, paste_copy
from anydoor_lab.pipeline.results import Result
from anydoor_lab.structures.pair import Pair


class CopyPaste:
    """The cut-out object set into the region of the emptied scene; all seeds give the same."""

    def __call__(
        self,
        pairs: Sequence[Pair],
        seeds: Sequence[Sequence[int]],
        rngs: Sequence[np.random.Generator],
    ) -> list[Result]:
        """As `methods.anydoor.Method`."""
        del rngs
        pasted = [(pair, paste_copy(emptied(pair), pair)) for pair in pairs]
        return [Result(pair, scene) for pair, scene in pasted for _ in seeds[0]]
