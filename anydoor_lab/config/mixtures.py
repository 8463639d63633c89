"""Mixtures of sets, put together from the sets' own files in conf/data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from anydoor_lab.structures.errors import InputError

if TYPE_CHECKING:
    from anydoor_lab.data.mixture import Mixture
    from anydoor_lab.data.source import Cache, Split


def mixture(
    sets: Mapping[str, Mapping[str, Any]],
    weights: Mapping[str, float],
    *,
    root: str | None = None,
    allow_missing: bool = False,
    cache: Cache | None = None,
    split: Split = "train",
    seed: int = 0,
) -> Mixture:
    """The mixture of sets by weight.

    Args:
        sets: what conf/data says of each set, by name.
        weights: of each set; one that weighs nothing is not opened.
        root: of the folder that the sets lie in; their own roots say where.
        allow_missing: leave out sets that are not on this disk; they are named.
        cache: as of `IndexedPairs`, for all sets.
        split, seed: as every source takes them.

    Raises:
        ValueError: a set is missing and may not be left out, or is not indexed.
    """
    from anydoor_lab.config.assemble import make_source
    from anydoor_lab.data.mixture import Mixture

    if unknown := sorted(set(weights) - set(sets)):
        raise InputError(
            f"weights name {', '.join(unknown)}; the mixture's sets are {', '.join(sets)}"
        )
    wanted = {name: sets[name] for name, weight in weights.items() if weight}
    missing = [name for name, own in wanted.items() if _absent(own)]
    if missing:
        _leave_out(missing, wanted, root, allow_missing, quiet=split != "train")
    there = {name: own for name, own in wanted.items() if name not in missing}
    sources = {
        name: make_source(OmegaConf.create(dict(own)), split, seed) for name, own in there.items()
    }
    return Mixture(sources, {name: weights[name] for name in there}, cache)


def _absent(node: Mapping[str, Any]) -> bool:
    """Whether neither a set's folder nor its index is there; a set without a root is always."""
    places = [str(node[key]) for key in ("root", "index") if node.get(key)]
    return bool(places) and not any(Path(place).is_dir() for place in places)


def _leave_out(
    missing: list[str], wanted: Mapping[str, Any], root: str | None, allowed: bool, quiet: bool
) -> None:
    """Say which sets are left out.

    Raises:
        ValueError: none may be, or none is there.
    """
    names = ", ".join(missing)
    seen = f"{len(missing)} of the mixture's {len(wanted)} sets are not in {root}: {names}"
    if len(missing) == len(wanted):
        raise InputError(f"{seen}; data.root is the folder that holds a folder for each set")
    if not allowed:
        raise InputError(
            f"{seen}; get them, say where one is (data.sets.{missing[0]}.root=...), or leave them "
            "out with data.allow_missing=true"
        )
    if not quiet:
        print(f"left out {seen}; the others keep their weights")
