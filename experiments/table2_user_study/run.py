"""Table 2: a user study. See README.md beside this file.

    python experiments/table2_user_study/run.py [--fast] [--device cuda] [--data world]

Writes sheet.html for the raters. When their CSV files are in ratings/, the same command reads them.
"""

from __future__ import annotations

from functools import partial

from anydoor_lab import run_experiment, user_study

METHODS = ("anydoor", "copy_paste", "poisson", "harmonised_paste", "paint_by_example", "graphit")

if __name__ == "__main__":
    run_experiment(__file__, partial(user_study, methods=METHODS))
