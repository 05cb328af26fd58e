"""k-reciprocal re-ranking: Zhong, Zheng, Cao, Li. Re-ranking Person Re-identification with k-reciprocal Encoding.
CVPR 2017.

Gives the numbers of the dense algorithm as torchreid has it (torchreid/utils/rerank.py), which keeps several matrices
of all images against all and sorts each row. Here the blocks of distances go by once, the upper half only, and leave
each image's nearest neighbours and its farthest distance; all that follows is on sparse rows. Of images that are
equally near, the one that comes first (queries, then gallery) is the nearer; torchreid leaves that to its sort.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from osnet.checks import check_integer, check_number
from osnet.evaluation.distances import Floats, check_metric, check_pair, squared_norms
from osnet.evaluation.parallel import over_rows

if TYPE_CHECKING:
    from types import ModuleType

Array = npt.NDArray[Any]
Sparse = tuple[Array, Array, Array]

_TILE = 1536
_CHUNK = 2048


K1, K2, LAMBDA = 20, 6, 0.3
"""Settings of the paper for Market-1501, and defaults here."""


def rerank(
    query: Any, gallery: Any, *, k1: int = K1, k2: int = K2, lambda_value: float = LAMBDA, metric: str = "cosine"
) -> Floats:
    """Re-ranked distances, float32 (Q, G), for `osnet.evaluation.ranking.rank_distances`.

    Time grows with (Q + G)^2 (the products of all features), memory with Q x G (the answer) and with Q + G.
    A gallery of fewer than `k1` images gives a warning.

    Args:
        query: features (Q, D).
        gallery: features (G, D).
        k1: neighbours within which images must find each other.
        k2: nearest images over which an encoding is averaged; 1 for none.
        lambda_value: weight of the plain distance, 0 to 1; the Jaccard distance has the rest.
        metric: ``cosine`` or ``euclidean`` (squared). As in torchreid this distance is squared once more.

    Raises:
        OptionError: unknown metric, or a setting out of its range.
        DataError: features empty, of different widths or not finite.
        DependencyError: numba is missing.
    """
    check_metric(metric)
    check_settings(k1, k2, lambda_value)
    query, gallery = check_pair(query, gallery, metric)
    for line in doubt(len(gallery), k1):
        warnings.warn(line, stacklevel=2)
    return reranked(query, gallery, k1, k2, lambda_value, metric)


def check_settings(k1: Any, k2: Any, lambda_value: Any) -> None:
    """Raises:
    OptionError: a setting of `rerank` out of its range.
    """
    check_integer("k1", k1, least=1)
    check_integer("k2", k2, least=1)
    check_number("lambda_value", lambda_value, least=0, most=1)


def doubt(gallery: int, k1: int) -> tuple[str, ...]:
    """What is to be said of re-ranking a gallery of so many images: one line or none."""
    if gallery >= k1:
        return ()
    return (
        f"re-ranking compares the k1 = {k1} nearest images, but the gallery has {gallery}: everybody is a neighbour, "
        "which can make the figures worse; take a k1 near the number of images of a person, or do not re-rank",
    )


def reranked(query: Any, gallery: Any, k1: int, k2: int, lambda_value: float, metric: str) -> Floats:
    """As `rerank`, without its checks of the settings and its warning."""
    query, gallery = check_pair(query, gallery, metric)
    from osnet.evaluation import reciprocal

    features, norms = _prepare(query, gallery, metric)
    total = len(features)
    reach, half = min(k1 + 1, total), min(int(np.around(k1 / 2)) + 1, total)
    k2 = min(int(k2), total)
    matrix = np.empty((len(query), len(gallery)), np.float32)
    who, farthest = _neighbours(reciprocal, features, norms, max(reach, k2), matrix)

    half_sets, half_sizes = np.empty((total, half), np.int32), np.empty(total, np.int32)
    over_rows(total, lambda a, b: reciprocal.half_reach(who, half, half_sets, half_sizes, a, b))
    rows = _encode(reciprocal, features, norms, farthest, who, reach, half_sets, half_sizes)
    if k2 > 1:
        rows = _expand(reciprocal, who, k2, rows)
    indptr, columns, values = rows
    kept = indptr[-1] - indptr[len(query)]
    column_indptr, of, weights = np.zeros(total + 1, np.int64), np.empty(kept, np.int32), np.empty(kept, np.float32)
    reciprocal.by_column(indptr, columns, values, len(query), column_indptr, of, weights)
    weight: Any = np.float32(lambda_value)  # a double would make all of the last step double
    over_rows(
        len(query),
        lambda a, b: reciprocal.blend(
            indptr, columns, values, column_indptr, of, weights, farthest, weight, a, b, matrix
        ),
    )
    return matrix


def _prepare(query: Floats, gallery: Floats, metric: str) -> tuple[Floats, Floats]:
    """Features of all images, and norms, such that distance is ``norms[i] + norms[j] - 2 * dot``."""
    features = np.concatenate([query, gallery])
    lengths = squared_norms(features)
    if metric == "euclidean":
        return features, lengths.astype(np.float32)
    scale = np.divide(np.sqrt(0.5), np.sqrt(lengths), out=np.zeros_like(lengths), where=lengths > 0)
    features *= scale[:, None].astype(np.float32)
    return features, np.full(len(features), 0.5, np.float32)


def _neighbours(loops: ModuleType, features: Floats, norms: Floats, count: int, matrix: Floats) -> tuple[Array, Floats]:
    """Numbers of each image's `count` nearest (itself among them), nearest first, and its farthest distance.

    The distances between queries and gallery are left in `matrix`.
    """
    total, queries = len(features), len(matrix)
    near = np.full((total, count), np.inf, np.float32)
    who = np.zeros((total, count), np.int32)
    farthest = np.zeros(total, np.float32)
    buffer = np.empty(_TILE * _TILE, np.float32)
    for top in range(0, total, _TILE):
        bottom = min(top + _TILE, total)
        doubled = features[top:bottom] * np.float32(-2)
        for left in range(top, total, _TILE):
            right = min(left + _TILE, total)
            block = buffer[: (bottom - top) * (right - left)].reshape(bottom - top, right - left)
            np.matmul(doubled, features[left:right].T, out=block)
            _take_rows(loops, block, norms, top, left, near, who, farthest)
            if left > top:
                _take_columns(loops, block, top, left, near, who, farthest)
            if top < queries < right:
                rows, first = min(bottom, queries), max(left, queries)
                matrix[top:rows, first - queries : right - queries] = block[: rows - top, first - left :]
    return who, farthest


def _take_rows(
    loops: ModuleType, block: Floats, norms: Floats, top: int, left: int, near: Array, who: Array, farthest: Array
) -> None:
    def share(start: int, stop: int) -> None:
        for first in range(start, stop, 32):  # a few rows at a time stay in the cache over all passes
            last = min(first + 32, stop)
            part, rows = block[first:last], slice(top + first, top + last)
            part += norms[left : left + block.shape[1]]
            part += norms[rows, None]
            np.maximum(part, 0, out=part)
            np.maximum(farthest[rows], part.max(axis=1), out=farthest[rows])
            loops.take_rows(part, top + first, left, near, who)

    over_rows(len(block), share)


def _take_columns(
    loops: ModuleType, block: Floats, top: int, left: int, near: Array, who: Array, farthest: Array
) -> None:
    def share(start: int, stop: int) -> None:
        part, columns = block[:, start:stop], slice(left + start, left + stop)
        np.maximum(farthest[columns], part.max(axis=0), out=farthest[columns])
        loops.take_columns(part, top, left + start, near, who)

    over_rows(block.shape[1], share)


def _encode(
    loops: ModuleType, features: Array, norms: Array, farthest: Array, who: Array, reach: int,
    half_sets: Array, half_sizes: Array,
) -> Sparse:  # fmt: skip
    """Each image's weights over its expanded reciprocal neighbours."""
    width = reach * (half_sets.shape[1] + 1)

    def share(start: int, stop: int) -> list[tuple[Array, Array, Array]]:
        found = []
        for first in range(start, stop, _CHUNK):
            last = min(first + _CHUNK, stop)
            sizes = np.empty(last - first, np.int64)
            columns = np.empty((last - first, width), np.int32)
            values = np.empty((last - first, width), np.float32)
            loops.encode(
                features, norms, farthest, who, reach, half_sets, half_sizes, first, last, sizes, columns, values
            )
            used = np.arange(width) < sizes[:, None]
            found.append((sizes, columns[used], values[used]))
        return found

    parts = [part for share_parts in over_rows(len(features), share) for part in share_parts]
    sizes, columns, values = (np.concatenate(arrays) for arrays in zip(*parts))
    return _pointers(sizes), columns, values


def _expand(loops: ModuleType, who: Array, k2: int, rows: Sparse) -> Sparse:
    """The mean of the rows of each image's `k2` nearest."""
    indptr, columns, values = rows
    total = len(who)
    sizes = np.empty(total, np.int64)
    over_rows(total, lambda a, b: loops.expanded_sizes(who, k2, indptr, columns, a, b, sizes))
    pointers = _pointers(sizes)
    new_columns, new_values = np.empty(pointers[-1], np.int32), np.empty(pointers[-1], np.float32)
    over_rows(
        total,
        lambda a, b: loops.expand(who, k2, indptr, columns, values, a, b, pointers, new_columns, new_values),
    )
    return pointers, new_columns, new_values


def _pointers(sizes: Array) -> Array:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])
