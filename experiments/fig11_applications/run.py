"""Figure 11: moving, swapping, reshaping and posing. See README.md beside this file.

python experiments/fig11_applications/run.py [--fast] [--device cuda] [--data world]
"""

from __future__ import annotations

from functools import partial

from anydoor_lab import not_run, run_experiment

WHY = "the applications (move, swap, reshape, pose) are not here yet"

if __name__ == "__main__":
    run_experiment(__file__, partial(not_run, why=WHY))
