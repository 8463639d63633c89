"""Figure 6: methods that are tuned on the subject's photographs. See README.md beside this file.

python experiments/fig6_multi_subject/run.py [--fast] [--device cuda] [--data world]
"""

from __future__ import annotations

from functools import partial

from anydoor_lab import compare_methods, run_experiment

METHODS = ("dreambooth", "custom_diffusion", "cones", "paint_by_example", "anydoor")

if __name__ == "__main__":
    run_experiment(__file__, partial(compare_methods, methods=METHODS))
