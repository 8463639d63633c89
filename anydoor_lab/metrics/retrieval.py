"""Is it this very object? Retrieval among many, and the difference of colours inside the mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from skimage.color import rgb2lab
from torch import Tensor
from torch.nn import functional

from anydoor_lab.structures.checks import check_masked
from anydoor_lab.structures.errors import InputError


@dataclass(frozen=True, slots=True)
class Retrieval:
    """How often the right one comes first (`recall_1`), mean average precision, mean cosine to
    the right ones; each in [0, 1], the cosine in [-1, 1]."""

    recall_1: float
    mean_precision: float
    cosine: float


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """For each of N queries: whether the right one comes `first` (bool), average `precision`, and
    the mean `cosine` to the right ones; (N,) each."""

    first: np.ndarray
    precision: np.ndarray
    cosine: np.ndarray


def retrieval(
    queries: Tensor, query_names: list[str], gallery: Tensor, gallery_names: list[str]
) -> Retrieval:
    """The means of `ranked`, which says what is asked for and refused."""
    found = ranked(queries, query_names, gallery, gallery_names)
    return Retrieval(
        recall_1=float(found.first.mean()),
        mean_precision=float(found.precision.mean()),
        cosine=float(found.cosine.mean()),
    )


def ranked(
    queries: Tensor, query_names: list[str], gallery: Tensor, gallery_names: list[str]
) -> Ranked:
    """Rank the gallery by cosine for each query; right are the entries of the query's name.

    Args:
        queries: (N, D) embeddings.
        query_names: the object of each query.
        gallery: (M, D) embeddings.
        gallery_names: the object of each entry; several may share one.

    Raises:
        ValueError: names and embeddings differ in number, or a query has no right entry.
    """
    if len(queries) != len(query_names) or len(gallery) != len(gallery_names):
        seen = f"{len(queries)} and {len(gallery)} embeddings"
        named = f"{len(query_names)} and {len(gallery_names)} names"
        raise InputError(f"{seen} for {named}; give one name for each")
    lost = sorted(set(query_names) - set(gallery_names))
    if lost or not query_names:
        raise InputError(f"the gallery has no entry of {lost[:1] or 'any query'}; add it")
    cosines = functional.normalize(queries, dim=1) @ functional.normalize(gallery, dim=1).T
    right = torch.tensor([[mine == other for other in gallery_names] for mine in query_names])
    order = cosines.argsort(dim=1, descending=True)
    hits = right.gather(1, order).float()
    ranks = torch.arange(1, len(gallery) + 1)
    precisions = (hits * hits.cumsum(1) / ranks).sum(1) / hits.sum(1)
    alike = (cosines * right).sum(1) / right.sum(1)
    return Ranked(hits[:, 0].bool().numpy(), precisions.numpy(), alike.numpy())


def lab_difference(image: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Mean distance in CIE L*a*b* (Delta E 1976) of two pictures inside a mask; 0 is equal.

    An encoder trained on ImageNet hardly sees colour: this does. 2.3 is just noticeable.

    Args:
        image, target: (H, W, 3) uint8 RGB of one size.
        mask: (H, W) bool.

    Raises:
        TypeError: a picture is no (H, W, 3) uint8.
        UnusablePair: the mask is empty, covers everything or has another size.
    """
    check_masked("image", image, mask)
    check_masked("target", target, mask)
    distance = np.linalg.norm(rgb2lab(image) - rgb2lab(target), axis=-1)
    return float(distance[mask].mean())
