"""Several references of one object, not in the paper. See README.md beside this file.

python experiments/several_references/run.py [--fast] [--device cuda] [--data world]
"""

from __future__ import annotations

from functools import partial

from anydoor_lab import not_run, run_experiment

WHY = "a pair has one reference; no part of the method takes several yet"

if __name__ == "__main__":
    run_experiment(__file__, partial(not_run, why=WHY))
