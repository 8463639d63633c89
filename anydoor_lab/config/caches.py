"""What training keeps in the user's cache folder: pools of pairs, and what a sweep's runs share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from anydoor_lab.config.compose import plain
from anydoor_lab.structures.errors import InputError

if TYPE_CHECKING:
    import torch

    from anydoor_lab.data.cache import KeptPairs
    from anydoor_lab.data.source import PairSource
    from anydoor_lab.models.anydoor import AnyDoor
    from anydoor_lab.training.kept import KeptOutputs
    from anydoor_lab.training.samples import PairStream

FINGERPRINTED = 2
"""Pairs that are drawn anew to see that what is kept is what would be drawn."""


def filled_pool(cfg: DictConfig, source: PairSource) -> PairSource:
    """`pool` pairs of the source, drawn once into the user's cache folder.

    Raises:
        ValueError: the source's pictures are not of one size, or the pool's file is damaged.
        RuntimeError: the disk has no room for the pool.
    """
    from accelerate import PartialState
    from tqdm import tqdm

    from anydoor_lab.data.cache import PairPool, cache_folder
    from anydoor_lab.data.rows import FORMAT
    from anydoor_lab.runs.provenance import config_hash

    if not hasattr(source, "size_px"):
        raise InputError("pool needs pictures of one size (data=world); use pool=0 with this data")
    version = getattr(source, "VERSION", 1)
    name = f"{config_hash(plain(cfg.data))}_v{version}.{FORMAT}_seed{cfg.data_seed}_{cfg.pool}.pool"
    pool = PairPool(source, cfg.pool, cache_folder() / "pools" / name, cfg.data_seed)
    with PartialState().main_process_first():
        for _ in tqdm(pool.fill(), total=cfg.pool, desc="drawing pairs", unit="pair"):
            pass
    return pool


def kept_pairs(cfg: DictConfig, stream: PairStream) -> KeptPairs:
    """Where the drawn pairs of a stream are kept, for all runs that draw the same ones.

    Its name says all that they depend on: the data's settings, seeds, the share of stills, and
    how the first pairs look that the code draws now.

    Raises:
        ValueError: the pairs are not drawn from the package's own sets, or they come from a pool.
    """
    from anydoor_lab.data.cache import KeptPairs, cache_folder
    from anydoor_lab.runs.provenance import config_hash

    if not hasattr(stream.source, "VERSION"):
        raise InputError(
            "share keeps drawn pairs (data=things or data=world without pool); use share=false "
            "here, and data.cache=both with an indexed set"
        )
    looks = hashlib.sha256()
    for index in range(FINGERPRINTED):
        pair = stream.drawn(index)[0]
        for part in (pair.reference, pair.reference_mask, pair.scene, pair.scene_mask):
            looks.update(part.tobytes())
    known = {"data": plain(cfg.data), "data_seed": cfg.data_seed, "seed": cfg.seed,
             "still_share": cfg.train.still_share, "looks": looks.hexdigest()}  # fmt: skip
    return KeptPairs(cache_folder() / "pairs" / config_hash(known))


def kept_frozen(
    cfg: DictConfig, model: AnyDoor, device: torch.device, names: Sequence[str]
) -> KeptOutputs:
    """Where it is kept what frozen networks make of pictures, for all runs that show the same
    networks the same.

    Args:
        cfg: its `train` says in which precision.
        model: its weights as they were loaded.
        device: what computes.
        names: of `training.kept.SHOWN`, what is kept.
    """
    from anydoor_lab.data.cache import cache_folder
    from anydoor_lab.training.kept import arithmetic_of, kept_outputs

    precision = (cfg.train.precision, cfg.train.frozen_precision)
    arithmetic = arithmetic_of(device, *precision)
    return kept_outputs(model, cache_folder() / "frozen", arithmetic, names)


def kept_pictures(
    cfg: DictConfig, model: AnyDoor, device: torch.device, source: PairSource
) -> KeptOutputs | None:
    """The same for a source that shows its pictures again and again; None for another.

    On a CPU its pictures go through the frozen networks one by one whether anything is kept or
    not, so that nothing changes with `data.cache`. On a GPU, which is faster with many at once,
    only those do of which something is kept.
    """
    from anydoor_lab.training.kept import KINDS, SHOWN, KeptOutputs

    if not hasattr(source, "cache"):
        return None
    names = KINDS[source.cache] if source.cache else ()
    if not names and device.type != "cpu":
        return None
    kept = kept_frozen(cfg, model, device, names)
    alone = SHOWN if device.type == "cpu" else names
    return KeptOutputs(kept.folder, {name: kept.networks.get(name, "") for name in alone})
