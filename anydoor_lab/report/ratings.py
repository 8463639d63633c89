"""Table 2 of a user study's ratings."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from anydoor_lab.metrics.ratings import aggregate, agreement, criteria_of
from anydoor_lab.report.caption import Caption
from anydoor_lab.report.tables import Column, Table


def rating_table(ratings: pd.DataFrame, key: Mapping[str, str] | None = None) -> Table:
    """Table 2 of these ratings, the raters' agreement in its caption."""
    columns = [Column(name, digits=2, better="higher") for name in criteria_of(ratings)]
    alphas = ", ".join(f"{name} {value:.2f}" for name, value in agreement(ratings).items())
    caption = Caption(
        "User study, 1 (worst) to 4 (best)",
        n=int(ratings["item"].nunique()),
        note=f"{ratings['rater'].nunique()} raters; Krippendorff's alpha (ordinal): {alphas}",
    )
    return Table(aggregate(ratings, key), [Column("method"), *columns], caption)
