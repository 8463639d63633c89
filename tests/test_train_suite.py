"""`experiments/train_suite`: what a later call, here or elsewhere, goes on from."""

from __future__ import annotations

import io
import runpy
import tarfile
from pathlib import Path
from typing import Any

import pytest

RUN = Path(__file__).parent.parent / "experiments" / "train_suite" / "run.py"


@pytest.fixture(scope="module")
def suite() -> dict[str, Any]:
    return runpy.run_path(str(RUN))


def written(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_pieces_hold_finished_parts_and_the_last_checkpoint_of_begun_ones(
    suite: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = bytes(range(256)) * 4 * 2**14  # 16 MiB, so that there are two pieces
    written(tmp_path / "vae" / "card.json", b"{}")
    written(tmp_path / "vae.training" / "step_00000009" / "weights", b"finished")
    for step in (2, 4):
        written(tmp_path / "dino.training" / f"step_{step:08d}" / "weights", weights)
    written(tmp_path / "pool" / "frames", weights)
    written(tmp_path / "suite.07", b"of an earlier call")
    suite["pack"](tmp_path)
    pieces = sorted(tmp_path.glob("suite.*"))
    assert [piece.name for piece in pieces] == ["suite.00", "suite.01"]
    assert all(piece.stat().st_size <= 16 * 2**20 for piece in pieces)
    with tarfile.open(fileobj=io.BytesIO(b"".join(p.read_bytes() for p in pieces))) as tar:
        kept = tar.extractfile("dino.training/step_00000004/weights")
        assert kept and kept.read() == weights
        names = {name for name in tar.getnames() if not name.endswith(("training", "vae", "0004"))}
    assert names == {"vae/card.json", "dino.training/step_00000004/weights"}
    assert "2 files" in capsys.readouterr().out


def test_parts_are_trained_on_a_gpu_in_bf16_with_workers(suite: dict[str, Any]) -> None:
    from argparse import Namespace

    chosen = Namespace(device="cuda", out=Path("o"), settings=["num_scored=50"])
    words = suite["command"]("anydoor", chosen)
    assert {"part=anydoor", "device=cuda", "precision=bf16", "num_scored=50"} <= set(words)
    assert "device=cuda" not in suite["command"](
        "vae", Namespace(**{**vars(chosen), "device": "cpu"})
    )
