"""Ranking: how early the matches of each query come. mAP, CMC and mINP, with every query's own figures.

For a query with M matches, the i-th of them (nearest first) at rank r_i among the gallery images that count:

- average precision is the mean of i / r_i (Zheng et al., ICCV 2015); mAP is its mean over the valid queries,
- CMC at k is the fraction of valid queries with r_1 <= k,
- inverse negative penalty is M / r_M (Ye et al., Deep Learning for Person Re-identification, TPAMI 2021); mINP is its
  mean.

A query is valid if the protocol counts at least one match of it; the others are left out of all means, as in torchreid.

**Ties.** A non-match at the same distance as a match is ranked before it. So no figure depends on the order of the
gallery, and features that are all equal score like the worst model, not like the best. Without ties the figures are
those of torchreid (torchreid/metrics/rank.py), which leaves the order of ties to its sort.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from osnet.checks import check_integer
from osnet.errors import DataError
from osnet.evaluation.compiled_loops import nearest_rows, rank_rows, require_numba, single_shot_rows
from osnet.evaluation.distances import check_pair, over_blocks, row_blocks
from osnet.evaluation.protocols import PROTOCOLS, Labels, index_labels

Array = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

REPORTED_RANKS = (1, 5, 10, 20)


@dataclass(frozen=True, eq=False)
class Ranking:
    """The result of `rank`.

    Attributes:
        mAP: mean average precision over the valid queries, 0 to 1.
        cmc: ``cmc[k - 1]`` is Rank-k, the fraction of valid queries with a match among the first k, float64
            (max_rank,). Under ``cuhk03``: the mean over single gallery shots.
        mINP: mean inverse negative penalty, 0 to 1.
        valid_queries: number of queries with a match in the gallery that the protocol counts; all means are over these.
        protocol, metric: names; the metric is None for a matrix given to `rank_distances`.
        average_precision: of each query, float64 (Q,); NaN where the query is not valid.
        first_match: rank of each query's first match in the whole gallery, int64 (Q,); 0 where not valid.
        inverse_negative_penalty: of each query, float64 (Q,); NaN where not valid.
        matches: number of matches of each query, int64 (Q,).
        single_shot: under ``cuhk03``, rank of the match in each repeat, int64 (Q, repeats); 0 where not valid.
    """

    mAP: float  # noqa: N815 - the field writes it so
    cmc: Doubles
    mINP: float  # noqa: N815
    valid_queries: int
    protocol: str
    metric: str | None
    average_precision: Doubles
    first_match: Integers
    inverse_negative_penalty: Doubles
    matches: Integers
    single_shot: Integers | None = None

    @property
    def rank1(self) -> float:
        """Fraction of the valid queries whose nearest gallery image that counts is a match, 0 to 1."""
        return float(self.cmc[0])

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as plain values, for JSON; CMC at 1, 5, 10 and 20 as far as it was computed."""
        return {
            "mAP": self.mAP,
            "cmc": {str(k): float(self.cmc[k - 1]) for k in REPORTED_RANKS if k <= len(self.cmc)},
            "mINP": self.mINP,
            "valid_queries": self.valid_queries,
            "queries": len(self.matches),
            "protocol": self.protocol,
            "metric": self.metric,
        }


def rank(
    query: Any,
    gallery: Any,
    *,
    query_ids: Any,
    gallery_ids: Any,
    query_cameras: Any = None,
    gallery_cameras: Any = None,
    metric: str = "cosine",
    protocol: str = "market1501",
    max_rank: int = 50,
    repeats: int = 10,
    seed: int = 0,
) -> Ranking:
    """Rank a gallery for each query by the distance of features.

    Distances are computed in blocks, so memory beyond the features does not grow with G.

    Args:
        query: features (Q, D), any float type; distances are computed in float32.
        gallery: features (G, D).
        query_ids, gallery_ids: identities (Q,), (G,), integers or strings. -1 is junk and never counts.
        query_cameras, gallery_cameras: (Q,), (G,), integers of at least 0; ignored by ``camera-blind``.
        metric: ``cosine`` or ``euclidean`` (squared).
        protocol: ``market1501``, ``cuhk03`` or ``camera-blind``; see `osnet.evaluation.protocols.PROTOCOLS`.
        max_rank: length of `Ranking.cmc`.
        repeats, seed: of the single gallery shots of ``cuhk03``.

    Returns:
        A `Ranking`: mAP, CMC, mINP and the figures of each query.

    Raises:
        OptionError: unknown metric or protocol, missing cameras that the protocol needs.
        DataError: features empty, of different widths or not finite; labels that do not fit; no valid query.
        DependencyError: numba is missing.

    Source: Zheng et al., Scalable Person Re-identification: A Benchmark (ICCV 2015).

    >>> import osnet
    >>> query = [[1.0, 0.0], [0.0, 1.0]]
    >>> gallery = [[0.9, 0.1], [0.2, 0.9], [1.0, 0.9]]
    >>> found = osnet.rank(query, gallery, query_ids=[1, 2], gallery_ids=[1, 1, 2], protocol="camera-blind", max_rank=2)
    >>> found.average_precision.round(2).tolist()  # matches at ranks 1 and 3; a match at rank 2
    [0.83, 0.5]
    >>> round(found.mAP, 3), found.rank1, found.cmc.tolist()
    (0.667, 0.5, [0.5, 1.0])
    """
    query, gallery = check_pair(query, gallery, metric)
    labels = index_labels(
        protocol, query_ids, gallery_ids, query_cameras, gallery_cameras, queries=len(query), size=len(gallery)
    )
    return _ranking(row_blocks(query, gallery, metric), labels, protocol, metric, max_rank, repeats, seed)


def rank_distances(
    distances: Any,
    *,
    query_ids: Any,
    gallery_ids: Any,
    query_cameras: Any = None,
    gallery_cameras: Any = None,
    protocol: str = "market1501",
    max_rank: int = 50,
    repeats: int = 10,
    seed: int = 0,
) -> Ranking:
    """Rank a gallery for each query by distances that are given.

    Args:
        distances: (Q, G), float32 or float64 (other numbers are converted), smaller is nearer; not changed.
        query_ids, gallery_ids, query_cameras, gallery_cameras, protocol, max_rank, repeats, seed: as in `rank`.

    Returns:
        A `Ranking` whose metric is None.

    Raises:
        OptionError, DataError, DependencyError: as `rank`; a distance that is NaN or infinite is a DataError.

    >>> import osnet
    >>> found = osnet.rank_distances([[0.1, 0.3, 0.2]], query_ids=[7], gallery_ids=[7, 7, 8], protocol="camera-blind")
    >>> round(found.mAP, 3), round(found.mINP, 3)  # matches at ranks 1 and 3: (1/1 + 2/3) / 2 and 2/3
    (0.833, 0.667)
    """
    matrix = np.asarray(distances)
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiu":
        raise DataError(f"distances: expected a matrix (Q, G) of floats, got shape {matrix.shape} of {matrix.dtype}")
    if 0 in matrix.shape:
        raise DataError(f"distances have shape {matrix.shape}: there is no {'gallery' if len(matrix) else 'query'}")
    if matrix.dtype not in (np.float32, np.float64):
        matrix = matrix.astype(np.float32 if matrix.dtype == np.float16 else np.float64)
    labels = index_labels(
        protocol, query_ids, gallery_ids, query_cameras, gallery_cameras, queries=len(matrix), size=matrix.shape[1]
    )
    blocks = [(slice(0, len(matrix)), np.ascontiguousarray(matrix))]
    return _ranking(blocks, labels, protocol, None, max_rank, repeats, seed)


def _ranking(
    blocks: Iterable[tuple[slice, Array]], labels: Labels, protocol: str, metric: str | None, max_rank: int,
    repeats: int, seed: int,
) -> Ranking:  # fmt: skip
    max_rank = check_integer("max_rank", max_rank, least=1)
    repeats, seed = check_integer("repeats", repeats, least=1), check_integer("seed", seed, least=0)
    require_numba()
    if not labels.matches.any():
        raise DataError(_no_valid_query(protocol, labels))
    queries = len(labels.query_ids)
    precisions, penalties, firsts = np.full(queries, np.nan), np.full(queries, np.nan), np.zeros(queries, np.int64)
    shots = np.zeros((queries, repeats), np.int64) if PROTOCOLS[protocol].single_shot else None

    def rank_part(first: int, rows: Array) -> None:
        bad = rank_rows(rows, first, labels, precisions, firsts, penalties)
        if bad >= 0:
            raise DataError(f"the distances of query {first + bad} hold NaN or infinity")
        if shots is not None:
            single_shot_rows(rows, first, labels, seed, shots)

    for _ in over_blocks(blocks, rank_part):
        pass
    valid = firsts > 0
    ranks = firsts[valid] if shots is None else shots[valid].reshape(-1)
    reached = np.bincount(np.minimum(ranks, max_rank + 1), minlength=max_rank + 2)[1:-1]
    return Ranking(
        mAP=float(precisions[valid].mean()),
        cmc=np.cumsum(reached) / len(ranks),
        mINP=float(penalties[valid].mean()),
        valid_queries=int(valid.sum()),
        protocol=protocol,
        metric=metric,
        average_precision=precisions,
        first_match=firsts,
        inverse_negative_penalty=penalties,
        matches=labels.matches,
        single_shot=shots,
    )


def _no_valid_query(protocol: str, labels: Labels) -> str:
    count = len(labels.query_ids)
    if (labels.ends > labels.starts).any():
        return (
            f"all matches of the {count} queries come from the query's own camera, which protocol "
            f"{protocol!r} leaves out: use a gallery from other cameras, or protocol='camera-blind'"
        )
    return (
        f"none of the identities of the {count} queries appears in the gallery of {len(labels.gallery_ids)}: "
        "check that both splits are of one data set and use the same identity labels"
    )


class Nearest(NamedTuple):
    """The nearest match and non-match of each query.

    Attributes:
        match, non_match: their distances, float32 (Q,); infinity where there is none.
        match_place, non_match_place: their rows in the gallery, int64 (Q,); -1 where there is none.
    """

    match: npt.NDArray[np.float32]
    non_match: npt.NDArray[np.float32]
    match_place: Integers
    non_match_place: Integers

    @property
    def margin(self) -> npt.NDArray[np.float32]:
        """Distance of the nearest non-match minus that of the nearest match; NaN if there is neither."""
        with np.errstate(invalid="ignore"):
            return self.non_match - self.match


def nearest(blocks: Iterable[tuple[slice, Array]], labels: Labels) -> Nearest:
    """Find the nearest match and non-match of each query among those that count.

    Args:
        blocks: float32 distances of queries and gallery, as `osnet.evaluation.distances.row_blocks` yields them.
        labels: of these queries and this gallery.

    Raises:
        DependencyError: numba is missing.
    """
    require_numba()
    far, nowhere = np.full(len(labels.query_ids), np.inf, np.float32), np.full(len(labels.query_ids), -1, np.int64)
    found = Nearest(far, far.copy(), nowhere, nowhere.copy())
    for _ in over_blocks(blocks, lambda first, rows: nearest_rows(rows, first, labels, *found)):
        pass
    return found
