"""Several references of one object, not in the paper. See README.md beside this file.

python experiments/several_references/run.py [--fast] [--device cuda] [--data world]
"""

from __future__ import annotations

from anydoor_lab import run_experiment, several_references

if __name__ == "__main__":
    run_experiment(__file__, several_references)
