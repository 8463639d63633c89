"""Table 1 on your disk: python experiments/table1_datasets/on_disk.py <folder with mose/ ...>.

Every sub-folder that bears the name of a set is indexed and counted beside the paper's number; a
figure shows how large its objects are, of which shape, and how far apart the frames of its pairs.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from anydoor_lab import index
from anydoor_lab.config.assemble import make_source
from anydoor_lab.config.compose import compose_config
from anydoor_lab.data.index.check import sizes
from anydoor_lab.data.pairs import IndexedPairs
from anydoor_lab.report.caption import Caption
from anydoor_lab.report.figures import save
from anydoor_lab.report.looks import statistics
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.names import conf_dir

HEADER = ("set", "type", "quality", "table 1", "groups", "objects", "views", "refused")


def main() -> None:
    """Index the sets that are there; write on_disk.csv and on_disk.png."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="holds a folder for each set")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--fast", action="store_true", help="in this process, no others")
    chosen = parser.parse_args()
    sources: dict[str, IndexedPairs] = {}
    rows: list[tuple[Any, ...]] = []
    for path in sorted((conf_dir() / "data").glob("*.yaml")):
        table1 = OmegaConf.select(OmegaConf.load(path), "release.table1")
        root = chosen.folder / path.stem
        if table1 is None:
            continue
        if not root.is_dir():
            rows.append((path.stem, "", "", table1, "missing", "", "", ""))
            continue
        workers = ["index.workers=0"] * chosen.fast
        cfg = compose_config("index", f"data={path.stem}", f"data.root='{root}'", *workers)
        try:
            index.main(cfg)
            source: Any = make_source(cfg.data, "train", cfg.data_seed)
        except InputError as error:
            rows.append((path.stem, "", "", table1, f"unusable: {error}", "", "", ""))
            continue
        found = [sum(column) for column in zip(*sizes(source.index).values(), strict=True)]
        refused = source.index.rejected.total()
        rows.append((path.stem, source.variation, source.quality, table1, *found, refused))
        sources[path.stem] = source
    with (chosen.out / "on_disk.csv").open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])
    if sources:
        caption = Caption("Data sets of Table 1", seed=0, n=sum(map(len, sources.values())))
        print(save(statistics(sources, caption), chosen.out / "on_disk.png"))


if __name__ == "__main__":
    main()
