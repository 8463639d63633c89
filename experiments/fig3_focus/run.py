"""Figure 3: what the two extractors focus on. See README.md beside this file.

python experiments/fig3_focus/run.py [--fast] [--device cuda] [--data world]
"""

from __future__ import annotations

from anydoor_lab import focus, run_experiment

if __name__ == "__main__":
    run_experiment(__file__, focus)
