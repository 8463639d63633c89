"""The cache of an indexed set, filled before a training by the runners that index."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from anydoor_lab.config.compose import plain
from anydoor_lab.structures.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from anydoor_lab.conditioning.conditioner import Conditioner
    from anydoor_lab.data.pairs import IndexedPairs
    from anydoor_lab.training.kept import KeptOutputs

VIEWS = 64
"""How many views make a piece of work."""
COMPUTED, THERE = "computed", "there already"


@dataclass(frozen=True, slots=True)
class Piece:
    """Some of a set's views, and all that is needed to work on them anywhere.

    Args:
        folder: the index's.
        settings: the command's, as JSON.
        threads: what each process computes with: a last bit may depend on it.
        first, last: which of the views, half-open.
    """

    folder: str
    settings: str
    threads: int
    first: int
    last: int


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What a training is made of, so far as its cache needs it."""

    source: IndexedPairs
    conditioner: Conditioner
    kept: KeptOutputs
    model: Any
    accelerator: Any


def pieces_of(cfg: DictConfig) -> list[Piece]:
    """The views that a training will show, in pieces.

    Raises:
        ValueError: nothing to keep is named, or the set is not indexed.
    """
    import torch

    if cfg.data.get("release") is None:
        raise InputError("this data has no index, and so no cache to fill; share=true keeps it")
    if not cfg.data.get("cache"):
        raise InputError("data.cache is null; say what to keep: data.cache=latents, tokens or both")
    settings, source = json.dumps(plain(cfg)), _source(cfg)
    folder, threads = str(source.index.folder), torch.get_num_threads()
    ends = range(VIEWS, len(source.views()[0]) + VIEWS, VIEWS)
    return [Piece(folder, settings, threads, end - VIEWS, end) for end in ends]


def fill(piece: Piece) -> Counter[str]:
    """Compute and keep what is missing of a piece.

    Returns:
        How many outputs were computed and how many were there, and how many views cannot be read,
        by reason.

    Raises:
        FileError: the cache cannot be written.
    """
    import torch

    from anydoor_lab.structures.checks import UnusablePair

    torch.set_num_threads(piece.threads)
    parts, done = _parts(piece.settings), Counter[str]()
    views = (column[piece.first : piece.last].tolist() for column in parts.source.views())
    for row, reference, scene in zip(*views, strict=True):
        try:
            for arrays in _shown(parts, row, reference, scene):
                done.update(_keep(parts, arrays))
        except UnusablePair as error:
            done[error.reason] += 1
    return done


def _shown(parts: Parts, row: int, reference: bool, scene: bool) -> Iterator[dict[str, np.ndarray]]:
    """What the frozen networks are shown of a view."""
    pair = parts.source.pair_of_rows(row, row)
    if scene and "latents" in parts.kept.networks:
        yield {"target": parts.conditioner.target(pair)}
    if reference and "features" in parts.kept.networks:
        yield from ({"id_image": image} for image in parts.conditioner.id_images(pair))


def _keep(parts: Parts, arrays: dict[str, np.ndarray]) -> Iterator[str]:
    """Keep what follows from some arrays of a sample, as training would."""
    import torch

    from anydoor_lab.diffusion.loss import as_numbers
    from anydoor_lab.training.kept import KeptPictures

    for name, (file, found) in parts.kept.picture(arrays).items():
        yield COMPUTED if found is None else THERE
        if found is None:
            (shown,) = as_numbers({k: _batch(parts, a) for k, a in arrays.items()}).values()
            network = parts.model.latents if name == "latents" else parts.model.tokens
            with torch.no_grad(), parts.accelerator.autocast():
                network(shown, kept=KeptPictures([file], [False], None))


def _batch(parts: Parts, array: np.ndarray) -> torch.Tensor:
    import torch

    return torch.from_numpy(array)[None].to(parts.accelerator.device)


def _source(cfg: DictConfig) -> IndexedPairs:
    from anydoor_lab.config.assemble import make_source

    source: Any = make_source(cfg.data, "train", cfg.data_seed)
    return source


@lru_cache(maxsize=1)
def _parts(settings: str) -> Parts:
    """What the settings describe, put together once in each process.

    Raises:
        ValueError: the networks were trained with another preprocessing than ours.
    """
    from anydoor_lab.conditioning.conditioner import Conditioner
    from anydoor_lab.config.assemble import build_conditioner, in_precision
    from anydoor_lab.config.caches import kept_frozen
    from anydoor_lab.config.devices import build_accelerator
    from anydoor_lab.config.pipelines import build_pipeline
    from anydoor_lab.training.kept import KINDS

    cfg = OmegaConf.create(json.loads(settings))
    accelerator, pipeline = build_accelerator(cfg.train.precision), build_pipeline(cfg)
    conditioner = build_conditioner(cfg, pipeline)
    if not isinstance(conditioner, Conditioner):
        raise InputError(
            "preprocessing=official changes every picture anew; there is nothing to keep"
        )
    kept = kept_frozen(cfg, pipeline.model, accelerator.device, KINDS[cfg.data.cache])
    model = in_precision(cfg, pipeline.model.freeze(cfg.train.trained, cfg.train.lora_rank))
    model.to(accelerator.device)
    return Parts(_source(cfg), conditioner, kept, model, accelerator)
