"""Figure 7: each core component left out or changed. See README.md beside this file.

python experiments/fig7_core_components/run.py [--fast] [--device cuda] [--data world] [--seeds 0]
"""

from __future__ import annotations

from anydoor_lab import run_experiment, sweep_results

if __name__ == "__main__":
    run_experiment(__file__, sweep_results)
