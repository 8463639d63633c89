"""Table 1: the data sets that are embedded. See README.md beside this file.

python experiments/table1_datasets/run.py [--fast] [--device cuda] [--data world]
"""

from __future__ import annotations

from anydoor_lab import dataset_page, run_experiment

if __name__ == "__main__":
    run_experiment(__file__, dataset_page)
