"""Guidance scale and number of steps, not in the paper. See README.md beside this file.

python experiments/guidance_steps/run.py [--fast] [--device cuda] [--data world]
"""

from __future__ import annotations

from anydoor_lab import guidance_and_steps, run_experiment

if __name__ == "__main__":
    run_experiment(__file__, guidance_and_steps)
