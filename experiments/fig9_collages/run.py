"""Figure 9: pictures of Table 4's runs. See README.md beside this file.

python experiments/fig9_collages/run.py [--fast] [--device cuda] [--data world] [--seeds 0]
"""

from __future__ import annotations

from functools import partial

from anydoor_lab import run_experiment, sweep_results

if __name__ == "__main__":
    run_experiment(__file__, partial(sweep_results, kept=("pictures_*",)))
