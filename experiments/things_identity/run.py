"""How much of an object's identity arrives in a photograph. See README.md beside this file.

    python experiments/things_identity/run.py [--fast] [--run DIR] [--baseline DIR] [--vae DIR ...]
        [--objects DIR] [--scenes DIR|skimage ...] [--out DIR]

Held-out things stand before the package's held-out photographs, cut-outs of your own (`--objects`)
before `--scenes`. Needs the extra `judge`: pip install 'anydoor-lab[judge]'.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from anydoor_lab.config import identity
from anydoor_lab.config.experiments import refusals

HERE = Path(__file__).resolve().parent


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fast", action="store_true", help="4 objects, 2 steps")
    parser.add_argument("--run", default="embedded:anydoor", help="a pipeline or run")
    parser.add_argument("--baseline", help="another one, beside and compared with it")
    parser.add_argument("--vae", type=Path, nargs="*", default=[], help="autoencoders alone")
    parser.add_argument("--side", type=int, default=128, help="px of an autoencoder's crop")
    parser.add_argument("--objects", type=Path, help="cut-outs with alpha")
    parser.add_argument("--scenes", nargs="*", default=[], help="folders of photographs, skimage")
    parser.add_argument("--number", type=int, default=200, help="of objects, at most")
    parser.add_argument("--out", type=Path, help="of what is written; runs/things_identity")
    return parser.parse_args()


def main() -> None:
    """Judge the held-out things, and the cut-outs where there are some."""
    asked = arguments()
    out = asked.out or Path("runs") / ("fast" if asked.fast else "") / HERE.name
    number = 4 if asked.fast else asked.number
    sets = {"things": (identity.held_out_things(number), identity.photographs(()))}
    if asked.objects:
        own = identity.cut_outs(asked.objects, number)
        sets[asked.objects.name] = (own, identity.photographs(asked.scenes))
    ways = identity.autoencoding(asked.vae, asked.side)
    ways |= identity.placing([run for run in (asked.run, asked.baseline) if run], asked.fast)
    for name, (objects, scenes) in sets.items():
        identity.object_identity(
            name, identity.before_scenes(objects, scenes), ways, asked.run, out
        )


if __name__ == "__main__":
    with refusals():
        main()
