"""Figure 5: methods that take a reference picture untuned. See README.md beside this file.

python experiments/fig5_reference_based/run.py [--fast] [--device cuda] [--data world]
"""

from __future__ import annotations

from functools import partial

from anydoor_lab import compare_methods, run_experiment

METHODS = (
    "sd_inpaint",
    "ip_adapter",
    "paint_by_example",
    "graphit",
    "anydoor",
    "copy_paste",
    "poisson",
    "harmonised_paste",
    "flux_fill_redux",
    "flux_kontext",
    "qwen_image_edit",
    "flux2_klein",
)

if __name__ == "__main__":
    run_experiment(__file__, partial(compare_methods, methods=METHODS))
