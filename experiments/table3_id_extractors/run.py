"""Table 3: which network extracts the identity. See README.md beside this file.

python experiments/table3_id_extractors/run.py [--fast] [--device cuda] [--data world] [--seeds 0]
"""

from __future__ import annotations

from anydoor_lab import run_experiment, sweep_results

if __name__ == "__main__":
    run_experiment(__file__, sweep_results)
