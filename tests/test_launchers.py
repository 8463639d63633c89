"""Sweeps through Hydra's launchers: processes of this machine, and a cluster that only looks so."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from commands import ROOT
from networks import model_overrides
from test_ledger import QUICK

CLUSTER = {
    # runs the tasks of the array one after the other, as a busy cluster does
    "sbatch": """
script="${@: -1}"
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$script")
id=$$
echo "$last" > "$CLUSTER/$id"
for task in $(seq 0 "$last"); do
    SLURM_JOB_ID=$id SLURM_ARRAY_JOB_ID=$id SLURM_ARRAY_TASK_ID=$task SLURM_JOB_NODELIST=here \\
    SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1 SLURM_NODEID=0 SLURM_PROCID=0 SLURM_LOCALID=0 \\
    bash "$script"
done > "$CLUSTER/log" 2>&1 &
echo "Submitted batch job $id"
""",
    "srun": """
while [[ "$1" == --* ]]; do
    case "$1" in --output|--error) shift 2;; *) shift;; esac
done
exec "$@"
""",
    "sacct": """
echo "JobID|State|NodeList"
for file in "$CLUSTER"/[0-9]*; do
    for task in $(seq 0 "$(cat "$file")"); do echo "$(basename "$file")_$task|RUNNING|here"; done
done
""",
}


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, str]:
    """An environment in which the commands of SLURM are there."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    for name, text in CLUSTER.items():
        path = folder / name
        path.write_text(f"#!/bin/bash\n{text}")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    search = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    own = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return os.environ | own | {"PATH": path, "CLUSTER": str(folder), "PYTHONPATH": search}


@pytest.mark.parametrize(
    "launcher", [("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"), ("hydra/launcher=slurm",)]
)
def test_a_launchers_jobs_share_the_ledger_and_a_failed_one_hides_no_other(
    launcher: tuple[str, ...], networks: Path, cluster: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "sweep"
    wrong = f"model.encoders.vgg={tmp_path / 'nowhere'}"
    settings = [*QUICK, *model_overrides(networks), wrong, f"hydra.sweep.dir={folder}"]
    call = [sys.executable, "-m", "anydoor_lab.train", "-m", "idx=vgg,dinov2", *settings, *launcher]
    ended = subprocess.run(
        call, cwd=tmp_path, env=cluster, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 2, ended.stderr[-3000:]
    assert "nowhere" in ended.stderr.splitlines()[-1] and "Traceback" not in ended.stderr
    ledger = pd.read_csv(folder / "ledger.csv", keep_default_na=False)
    assert sorted(ledger["state"]) == ["failed", "finished"]
    assert "nowhere" in ledger.set_index("state").loc["failed", "reason"]
    assert "Comparison of 1 runs" in ended.stdout
