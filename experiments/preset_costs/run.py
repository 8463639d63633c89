"""What each preset costs, not in the paper. See README.md beside this file.

python experiments/preset_costs/run.py [--fast] [--device cuda] [--data world]
"""

from __future__ import annotations

from anydoor_lab import preset_costs, run_experiment

if __name__ == "__main__":
    run_experiment(__file__, preset_costs)
