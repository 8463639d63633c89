"""Figure 10: virtual try-on. See README.md beside this file.

python experiments/fig10_try_on/run.py [--fast] [--device cuda] [--data world]
"""

from __future__ import annotations

from functools import partial

from anydoor_lab import not_run, run_experiment

WHY = "the try-on application and VITON-HD's test pictures are not here yet"

if __name__ == "__main__":
    run_experiment(__file__, partial(not_run, why=WHY))
