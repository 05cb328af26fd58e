"""The question of trackers: is the right person the most similar of all people in a later frame?

A query is a person in one frame of a sequence; its candidates are all people of the same sequence in the frame that is
a number of frames (the gap) later. A query counts for Rank-1 and the mean reciprocal rank where its person is among at
least two candidates, as in Roboflow's ``reid`` 0.1.0rc1 (ReassociationProtocol). Pairs for the area under the ROC curve
and for thresholds are those of all queries with any candidate, also of people who have left: a tracker meets them too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from osnet.checks import check_choice, check_integer
from osnet.errors import DataError
from osnet.evaluation.distances import METRICS, distances
from osnet.evaluation.verification import Verification
from osnet.inference.embedder import normalise

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

GAPS = (1, 5, 10, 30)
STRIDE = 10
"""Queries are taken from frames whose number this divides."""

FALSE_POSITIVE_RATES = (1e-3, 1e-2, 1e-1)
_STEP = 2.0**-20


@dataclass(frozen=True, eq=False)
class Reassociation:
    """Figures for one gap.

    Attributes:
        gap: in frames, or in seconds, as `label` says it.
        label: such as ``10 frames`` or ``2 s``.
        rank1: fraction of the queries whose person is the most similar candidate; a tie counts against it.
        mrr: mean of 1 / rank of the person.
        queries: number of queries that count.
        left: queries whose person is not in the later frame.
        alone: queries with fewer than two candidates, or with no later frame.
        candidates: mean number of candidates of the queries that count.
        auc: area under the ROC curve of all pairs; None without pairs of one person or of different people.
        pairs: `Verification` of these pairs; None as for `auc`.
        wrong: queries that count and whose person is not first: rows of the query, its person and the first candidate,
            int64 (M, 3), the largest error first.
        similarities: of `wrong`: with the person, and with the first candidate, float32 (M, 2).
    """

    gap: float
    label: str
    rank1: float
    mrr: float
    queries: int
    left: int
    alone: int
    candidates: float
    auc: float | None
    pairs: Verification | None = field(repr=False)
    wrong: Integers = field(repr=False)
    similarities: Floats = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain values, for JSON."""
        names = ("gap", "label", "rank1", "mrr", "queries", "left", "alone", "candidates", "auc")
        pairs = self.pairs.to_dict(FALSE_POSITIVE_RATES) if self.pairs else None
        return {**{name: getattr(self, name) for name in names}, "mistakes": len(self.wrong), "verification": pairs}


def reassociate(
    features: Any,
    *,
    sequences: Sequence[int] | Integers,
    frames: Sequence[int] | Integers,
    persons: Sequence[int] | Integers,
    gap: int | Sequence[int],
    stride: int = STRIDE,
    metric: str = "cosine",
    label: str | None = None,
) -> Reassociation:
    """Look for every person of a frame among all people `gap` frames later.

    Args:
        features: of the people, float (N, D).
        sequences: of which each is, from 0, (N,).
        frames: number of its frame, from 1, (N,).
        persons: who it is, (N,); a number means the same person within one sequence only.
        gap: in frames, at least 1; a list has one for each sequence.
        stride: queries are taken from frames whose number this divides.
        metric: ``cosine`` or ``euclidean`` (minus the squared distance is the similarity).
        label: of the gap; None for its frames.

    Raises:
        OptionError: a gap or stride below 1, an unknown metric.
        DataError: labels that do not fit, a person twice in a frame, or no query that counts.
    """
    check_choice("metric", metric, METRICS)
    check_integer("stride", stride, least=1)
    vectors = np.asarray(features, np.float32)
    where = np.column_stack([np.asarray(column, np.int64) for column in (sequences, frames, persons)])
    if vectors.ndim != 2 or len(vectors) != len(where):
        raise DataError(f"expected one label for each feature, got {len(where)} labels and features {vectors.shape}")
    if len(np.unique(where, axis=0)) != len(where):
        raise DataError("a person is twice in one frame; expected one box for each id")
    if metric == "cosine":
        vectors = normalise(vectors)
    gaps = [gap] * (int(where[:, 0].max(initial=0)) + 1) if isinstance(gap, (int, np.integer)) else list(gap)
    for one in gaps:
        check_integer("gap", one, least=1)
    found = _Found()
    rows = _rows_by_frame(where)
    for (sequence, frame), asked in rows.items():
        if frame % stride == 0:
            later = rows.get((sequence, frame + int(gaps[sequence])), np.empty(0, np.int64))
            found.add(asked, later, where[:, 2], vectors, metric)
    name = label or (f"{gaps[0]} frame{'s' * (gaps[0] > 1)}" if len(set(gaps)) == 1 else "several gaps")
    return found.figures(float(gaps[0]), name, metric)


def _rows_by_frame(where: Integers) -> dict[tuple[int, int], Integers]:
    """Rows of each frame that has people, by (sequence, frame), in order."""
    order = np.lexsort((where[:, 2], where[:, 1], where[:, 0]))
    if not len(order):
        return {}
    changes = (np.diff(where[order, :2], axis=0) != 0).any(axis=1)
    groups = np.split(order, np.flatnonzero(changes) + 1)
    return {(int(where[group[0], 0]), int(where[group[0], 1])): group for group in groups}


class _Found:
    """Gathers the queries of one gap."""

    def __init__(self) -> None:
        self.ranks: list[int] = []
        self.sizes: list[int] = []
        self.left = self.alone = 0
        self.same: list[Floats] = []
        self.different: list[Floats] = []
        self.wrong: list[tuple[int, int, int]] = []
        self.errors: list[tuple[float, float]] = []

    def add(self, asked: Integers, later: Integers, persons: Integers, vectors: Floats, metric: str) -> None:
        if not len(later):
            self.alone += len(asked)
            return
        similar = (1 if metric == "cosine" else 0) - distances(vectors[asked], vectors[later], metric=metric)
        match = persons[asked][:, None] == persons[later][None, :]
        self.same.append(similar[match])
        self.different.append(similar[~match])
        for query, row, hits in zip(asked.tolist(), similar, match):
            if len(later) < 2:
                self.alone += 1
            elif not hits.any():
                self.left += 1
            else:
                self._rank(query, row, int(np.argmax(hits)), later)

    def _rank(self, query: int, row: Floats, right: int, later: Integers) -> None:
        others = np.delete(row, right)
        rank = 1 + int((others >= row[right]).sum())
        self.ranks.append(rank)
        self.sizes.append(len(row))
        if rank > 1:
            place = int(np.argmax(np.where(np.arange(len(row)) == right, -np.inf, row)))
            self.wrong.append((query, int(later[right]), int(later[place])))
            self.errors.append((float(row[right]), float(row[place])))

    def figures(self, gap: float, label: str, metric: str) -> Reassociation:
        if not self.ranks:
            raise DataError(
                f"gap of {label}: no person is seen again among two or more people; expected longer sequences, a "
                "smaller gap or a smaller stride"
            )
        pairs = _verification(np.concatenate(self.same), np.concatenate(self.different), metric)
        errors = np.array(self.errors, np.float32).reshape(-1, 2)
        worst = np.argsort(errors[:, 0] - errors[:, 1], kind="stable")
        ranks = np.array(self.ranks)
        return Reassociation(
            gap, label, float((ranks == 1).mean()), float((1 / ranks).mean()), len(ranks), self.left, self.alone,
            float(np.mean(self.sizes)), area(pairs) if pairs else None, pairs,
            np.array(self.wrong, np.int64).reshape(-1, 3)[worst], errors[worst],
        )  # fmt: skip


def _verification(same: Floats, different: Floats, metric: str) -> Verification | None:
    if not len(same) or not len(different):
        return None
    values, places = np.unique(-np.r_[same, different].astype(np.float64), return_inverse=True)
    of_same = np.arange(len(same) + len(different)) < len(same)
    accepts = [np.cumsum(np.bincount(places[chosen], minlength=len(values))) for chosen in (of_same, ~of_same)]
    return Verification(-values, accepts[0], accepts[1], len(same), len(different), _STEP, "reassociation", metric)


def area(pairs: Verification) -> float:
    """Area under the ROC curve: how often a pair of one person is more similar than one of two; a tie is a half."""
    false, true = np.r_[0, pairs.fpr], np.r_[0, pairs.tpr]
    return float(np.sum(np.diff(false) * (true[1:] + true[:-1]) / 2))
