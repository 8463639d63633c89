"""Named objects with alpha, moving clips and photographs that ship in the package: no download.

`catalogue` names them and splits them, `sheets` holds their pixels, `originals` reads folders,
`places` are the photographs behind them, `look` and `fills` the objects, `things` the pair source.
"""

from __future__ import annotations

from anydoor_lab.data.things.catalogue import Thing
from anydoor_lab.data.things.things import Things

__all__ = ["Thing", "Things"]
