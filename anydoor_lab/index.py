"""The door to data sets: `python -m anydoor_lab.index data=youtube_vos data.root=/data/ytvos`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from anydoor_lab.config.compose import plain
from anydoor_lab.config.door import door
from anydoor_lab.structures.checks import check_choice, of_settings
from anydoor_lab.structures.errors import InputError

if TYPE_CHECKING:
    from anydoor_lab.data.index.layouts import Release

DOES = ("build", "check", "look", "shard", "cache")


@door("index")
def main(cfg: DictConfig) -> None:
    """Index a set, say what of it is there, show its pairs, pack it, or fill its cache."""
    check_choice("do", cfg.do, DOES)
    if cfg.get("data") is None:
        raise InputError("data is not given; add data=<set> (python -m anydoor_lab.index --help)")
    if cfg.do == "look":
        look(cfg)
        return
    does = {"build": build, "check": check, "shard": shard, "cache": cache}[cfg.do]
    for one in each_set(cfg):
        does(one)


def each_set(cfg: DictConfig) -> Iterator[DictConfig]:
    """The config for each set of a mixture, those that are not there named and passed over."""
    if "sets" not in cfg.data:
        yield cfg
        return
    data = plain(cfg.data)
    for name, node in data["sets"].items():
        if not data["weights"].get(name):
            continue
        if not Path(node["root"]).is_dir():
            print(f"{name}: missing, {node['root']} is no folder")
            continue
        one = cfg.copy()
        OmegaConf.set_struct(one, False)
        one.data = {**node, "cache": data.get("cache")}
        if cfg.shards.out:
            one.shards.out = str(Path(cfg.shards.out) / name)
        yield one


def release_of(cfg: DictConfig) -> tuple[str, Path, Release, Path]:
    """Name, root, release and index folder of the chosen set.

    Raises:
        ValueError: it is none of those that are indexed.
    """
    from anydoor_lab.data.index.layouts import Release
    from anydoor_lab.data.index.store import index_folder

    data = plain(cfg.data)
    if "release" not in data:
        raise InputError("this data needs no index; train and do=look read it as it is")
    root = Path(data["root"])
    release = of_settings(Release, data["release"], "data.release")
    folder = data.get("index") or index_folder(data["name"], root, release.splits)
    return data["name"], root, release, Path(folder)


def build(cfg: DictConfig) -> None:
    """Index the parts that are new or changed, join them, and say what was found."""
    from tqdm import tqdm

    from anydoor_lab.data.index.build import index_part
    from anydoor_lab.data.index.check import summary
    from anydoor_lab.data.index.layouts import specs_of
    from anydoor_lab.data.index.merge import drop_others, write_index
    from anydoor_lab.data.index.runners import runner_of
    from anydoor_lab.data.index.store import Index

    name, root, release, folder = release_of(cfg)
    run = runner_of(cfg.index.runner)
    found = specs_of(name, root, release, folder)
    specs = list(tqdm(found, desc=f"listing {name}", unit="part", leave=False))
    ready = run(index_part, specs, workers=cfg.index.workers, cluster=plain(cfg.index)["cluster"])
    paths = list(tqdm(ready, total=len(specs), desc=f"indexing {name}", unit="part"))
    drop_others(folder, paths)
    write_index(folder, paths)
    index = Index(folder)
    print("\n".join(summary(name, index)))
    if not index.usable:
        raise InputError(f"{root} holds no usable view of {name}; the lines above say why")
    print(f"index    {folder}")


def check(cfg: DictConfig) -> None:
    """Say what of the set is there, and what was found in it."""
    from anydoor_lab.data.index.check import check as lines

    for line in lines(*release_of(cfg)):
        print(line)


def shard(cfg: DictConfig) -> None:
    """Pack the indexed pictures into tars, those that are there whole left as they are."""
    from tqdm import tqdm

    from anydoor_lab.data.index.shards import shard_specs, shards
    from anydoor_lab.data.index.store import Index

    if not isinstance(cfg.shards.mb, int | float) or not cfg.shards.mb > 0:
        raise InputError(f"shards.mb is {cfg.shards.mb}; expected a number above 0")
    name, root, _, place = release_of(cfg)
    index = Index(place)
    folder, most = Path(cfg.shards.out or place / "shards"), round(cfg.shards.mb * 1e6)
    total = len(shard_specs(name, index, most)) + 1
    made = tqdm(
        shards(name, index, root, folder, most), total=total, desc=f"packing {name}", unit="file"
    )
    num = sum(path.suffix == ".tar" for path in made)
    print(f"shards   {num} of at most about {cfg.shards.mb:g} MB in {folder}")
    print(f"train with data={name} data.root=null data.shards={folder}")


def cache(cfg: DictConfig) -> None:
    """Compute what the frozen networks of a training make of the set's pictures, and keep it."""
    from collections import Counter

    from hydra.core.hydra_config import HydraConfig
    from tqdm import tqdm

    from anydoor_lab.config.filling import COMPUTED, THERE, fill, pieces_of
    from anydoor_lab.data.cache import cache_folder
    from anydoor_lab.data.index.runners import processors, runner_of
    from anydoor_lab.data.source import reasons

    if not any(text.startswith("model=") for text in HydraConfig.get().overrides.task):
        raise InputError("do=cache needs the networks that will be trained: add model=tiny or sd21")
    pieces, done = pieces_of(cfg), Counter[str]()
    workers = cfg.index.workers
    if workers is None and cfg.index.runner == "local":
        workers = max(1, processors() // pieces[0].threads)
    run = runner_of(cfg.index.runner)
    ready = run(fill, pieces, workers=workers, cluster=plain(cfg.index)["cluster"])
    for some in tqdm(ready, total=len(pieces), desc=f"filling {cfg.data.name}", unit="part"):
        done += some
    made, there = done.pop(COMPUTED, 0), done.pop(THERE, 0)
    print(f"cache    {made:,} computed, {there:,} there already, in {cache_folder() / 'frozen'}")
    if done:
        print(f"passed over {done.total()}: {reasons(done)}")


def look(cfg: DictConfig) -> None:
    """Draw pairs as the model is shown them, and the figures' spread."""
    from collections import Counter

    from anydoor_lab.conditioning.conditioner import Conditioner
    from anydoor_lab.config.assemble import make_source
    from anydoor_lab.data.pairs import IndexedPairs
    from anydoor_lab.data.source import reasons
    from anydoor_lab.report.caption import Caption
    from anydoor_lab.report.figures import save
    from anydoor_lab.report.looks import looked_at, pairs_sheet, statistics

    source = make_source(cfg.data, "train", cfg.data_seed)
    conditioner = Conditioner(resolution=cfg.resolution, **plain(cfg.conditioning))
    rejected: Counter[str] = Counter()
    pairs = list(looked_at(source, cfg.num_pairs, cfg.seed, rejected))
    name, note = str(cfg.data.get("name", cfg.data._target_.rpartition(".")[2])), str(source.counts)
    caption = Caption(f"Pairs of {name}", seed=cfg.seed, n=len(pairs), note=note)
    figure = pairs_sheet(pairs, conditioner, cfg.seed, caption)
    print(f"pairs    {save(figure, Path(cfg.out) / f'{name}_pairs.png')}")
    if isinstance(source, IndexedPairs):
        caption = Caption(f"Pairs of {name}", seed=cfg.seed, n=len(source), note=note)
        figure = statistics({name: source}, caption, cfg.seed)
        print(f"spread   {save(figure, Path(cfg.out) / f'{name}_statistics.png')}")
    if rejected:
        print(f"passed over {rejected.total()}: {reasons(rejected)}")


if __name__ == "__main__":
    main()
