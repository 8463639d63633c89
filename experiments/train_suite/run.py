"""Train the embedded suite, or parts of it, for so many minutes; the same command goes on later.

    python experiments/train_suite/run.py --minutes 12 --device cuda [--part anydoor ...]

Every part is `python -m anydoor_lab.pretrain part=<part>`. When the time is over, the part
in work saves itself and stops. What is there then lies in at most eight files of at most 16 MiB
(`suite.00` ...); joined and unpacked elsewhere (`cat suite.* | tar x`) the training goes on there.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

PARTS = ("vae", "dino", "clip", "vgg", "base", "anydoor")
PIECE, MOST = 16 * 2**20, 8
GPU = ("device=cuda", "precision=bf16", "part.fit.workers=16", "part.fit.checkpoint_every=200")
ON_GPU = {  # batch size and steps
    "vae": (128, 6000), "dino": (256, 1500), "clip": (512, 1000), "vgg": (512, 800),
    "base": (256, 2500), "anydoor": (256, 2000),
}  # fmt: skip
ALSO_ON_GPU = {"anydoor": ("part.objective.noises=2",)}  # drawing pairs is slower than the network


def command(part: str, chosen: argparse.Namespace) -> list[str]:
    """The pretraining of one part; on a GPU with large batches and several times the samples."""
    words = [sys.executable, "-m", "anydoor_lab.pretrain", f"part={part}"]
    words += [f"out={chosen.out}", *(GPU if chosen.device == "cuda" else ())]
    if chosen.device == "cuda":
        size, steps = ON_GPU[part]
        words += [f"part.fit.batch_size={size}", f"part.fit.steps={steps}"]
        words += ALSO_ON_GPU.get(part, ())
    return [*words, *chosen.settings]


def train(part: str, chosen: argparse.Namespace, until: float) -> bool:
    """Train a part until it is finished or the time is over; whether it is finished."""
    if (chosen.out / part / "card.json").is_file():
        return True
    process = subprocess.Popen(command(part, chosen))
    try:
        return process.wait(timeout=max(1.0, until - time.monotonic())) == 0
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)  # it finishes its step and saves
        process.wait()
        return False


def newest(out: Path) -> list[Path]:
    """What another machine needs to go on: finished parts, and each begun one's last checkpoint."""
    begun = [
        f for f in sorted(out.glob("*.training")) if not (out / f.stem / "card.json").is_file()
    ]
    last = [sorted(folder.glob("step_*"))[-1:] for folder in begun]
    return [*sorted(p.parent for p in out.glob("*/card.json")), *(s for f in last for s in f)]


def pack(out: Path) -> None:
    """Write everything that is needed into pieces; say so where they are too many."""
    whole = out / "suite.tar"
    with tarfile.open(whole, "w") as tar:
        for path in [*newest(out), *sorted(out.glob("*.png"))]:
            tar.add(path, path.relative_to(out))
    content = whole.read_bytes()
    whole.unlink()
    for old in out.glob("suite.*"):
        old.unlink()
    pieces = [content[first : first + PIECE] for first in range(0, len(content), PIECE)]
    for number, piece in enumerate(pieces):
        (out / f"suite.{number:02d}").write_bytes(piece)
    print(f"fetch    {len(pieces)} files {out}/suite.*, {len(content) / 2**20:.0f} MiB")
    if len(pieces) > MOST:
        print(f"warning  more than {MOST} files: fetch part by part (--part)")


def main() -> None:
    """Train, part by part in the order in which they need each other, and pack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--part", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/suite"))
    parser.add_argument("settings", nargs="*", help="overrides of pretrain, such as num_scored=50")
    chosen = parser.parse_args()
    until = time.monotonic() + 60 * chosen.minutes
    for part in (part for part in PARTS if part in chosen.part):
        if not train(part, chosen, until):
            break
    pack(chosen.out)


if __name__ == "__main__":
    main()
