"""k-reciprocal re-ranking: Zhong, Zheng, Cao, Li. Re-ranking Person Re-identification with k-reciprocal Encoding.
CVPR 2017.

Gives the numbers of the dense algorithm as torchreid has it (torchreid/utils/rerank.py), which keeps several matrices
of all images against all and sorts each row. Here the blocks of distances go by once, the upper half only, and leave
each image's nearest neighbours and its farthest distance; all that follows is on sparse rows. Of images that are
equally near, the one that comes first (queries, then gallery) is the nearer; torchreid leaves that to its sort.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from osnet.checks import check_integer, check_number
from osnet.errors import DependencyError
from osnet.evaluation.compiled_loops import compiled, dot, require_numba
from osnet.evaluation.distances import Floats, check_pair, over_rows, squared_norms

Array = npt.NDArray[Any]


class Sparse(NamedTuple):
    """A sparse matrix for compiled loops: row i has ``values[indptr[i]:indptr[i + 1]]`` at ``columns[...]``."""

    indptr: Array
    columns: Array
    values: Array


_TILE = 1536
_STRIDE = 256  # entries looked at together before any of them is taken for a neighbour


K1, K2, LAMBDA = 20, 6, 0.3
"""Settings of the paper for Market-1501, and defaults here."""


def rerank(
    query: Any, gallery: Any, *, k1: int = K1, k2: int = K2, lambda_value: float = LAMBDA, metric: str = "cosine"
) -> Floats:
    """Compute k-reciprocal re-ranked distances, to be ranked with `osnet.rank_distances`.

    Time grows with (Q + G)^2 (the products of all features), memory with Q x G (the result) and with Q + G.
    A gallery of fewer than `k1` images gives a warning.

    Args:
        query: features (Q, D), any float type.
        gallery: features (G, D).
        k1: neighbours within which images must find each other.
        k2: nearest images over which an encoding is averaged; 1 for none.
        lambda_value: weight of the plain distance, 0 to 1; the Jaccard distance has the rest.
        metric: ``cosine`` or ``euclidean`` (squared). As in torchreid this distance is squared once more.

    Returns:
        float32 (Q, G), smaller is nearer.

    Raises:
        OptionError: unknown metric, or a setting out of its range.
        DataError: features empty, of different widths or not finite.
        DependencyError: numba or scipy is missing.

    Source: Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding (CVPR 2017).

    >>> import osnet
    >>> query, gallery = [[1.0, 0.0]], [[0.9, 0.1], [0.1, 0.9], [0.8, 0.2]]
    >>> osnet.rerank(query, gallery, k1=2, k2=1).argsort().tolist()
    [[0, 2, 1]]
    """
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
    """Return a warning if a gallery of so many images is too small for re-ranking: one line or none."""
    if gallery >= k1:
        return ()
    return (
        f"re-ranking compares the k1 = {k1} nearest images, but the gallery has {gallery}: other people are among "
        "them, which can make the figures worse; use a k1 near the number of images of a person, or do not re-rank",
    )


def reranked(query: Any, gallery: Any, k1: int, k2: int, lambda_value: float, metric: str) -> Floats:
    """As `rerank`, without its checks of the settings and its warning."""
    require_numba()
    try:
        from scipy.sparse import csr_matrix
    except ImportError as error:
        raise DependencyError('re-ranking needs scipy, which cannot be imported: pip install "osnet[eval]"') from error
    query, gallery = check_pair(query, gallery, metric)
    features, norms = _prepare(query, gallery, metric)
    total = len(features)
    reach, half = min(k1 + 1, total), min(int(np.around(k1 / 2)) + 1, total)
    k2 = min(int(k2), total)
    matrix = np.empty((len(query), len(gallery)), np.float32)
    who, farthest = _neighbours(features, norms, max(reach, k2), matrix)

    rows = _expanded_neighbours(who, reach, half)
    weights = Sparse(rows.indptr, rows.indices, rows.data)
    over_rows(total, lambda a, b: _weights_loop(features, norms, farthest, weights, a, b))
    if k2 > 1:  # local query expansion: the mean over each image's `k2` nearest (section 3.5 of the paper)
        nearest = who[:, :k2].ravel(), np.arange(0, total * k2 + 1, k2)
        rows = csr_matrix((np.full(total * k2, 1 / k2, np.float32), *nearest), shape=(total, total)) @ rows
    columns = rows[len(query) :].T.tocsr()
    weight: Any = np.float32(lambda_value)  # a double would make all of the last step double
    ours, theirs = Sparse(rows.indptr, rows.indices, rows.data), Sparse(columns.indptr, columns.indices, columns.data)
    over_rows(len(query), lambda a, b: _blend_loop(ours, theirs, farthest, weight, a, b, matrix))
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


def _neighbours(features: Floats, norms: Floats, count: int, matrix: Floats) -> tuple[Array, Floats]:
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
            _take_rows(block, norms, top, left, near, who, farthest)
            if left > top:
                _take_columns(block, top, left, near, who, farthest)
            if top < queries < right:
                rows, first = min(bottom, queries), max(left, queries)
                matrix[top:rows, first - queries : right - queries] = block[: rows - top, first - left :]
    return who, farthest


def _take_rows(block: Floats, norms: Floats, top: int, left: int, near: Array, who: Array, farthest: Array) -> None:
    def offer_rows(start: int, stop: int) -> None:
        for first in range(start, stop, 32):  # a few rows at a time stay in the cache over all passes
            last = min(first + 32, stop)
            part, rows = block[first:last], slice(top + first, top + last)
            part += norms[left : left + block.shape[1]]
            part += norms[rows, None]
            np.maximum(part, 0, out=part)
            np.maximum(farthest[rows], part.max(axis=1), out=farthest[rows])
            _offer_rows_loop(part, top + first, left, near, who)

    over_rows(len(block), offer_rows)


def _take_columns(block: Floats, top: int, left: int, near: Array, who: Array, farthest: Array) -> None:
    def offer_columns(start: int, stop: int) -> None:
        part, columns = block[:, start:stop], slice(left + start, left + stop)
        np.maximum(farthest[columns], part.max(axis=0), out=farthest[columns])
        _offer_columns_loop(part, top, left + start, near, who)

    over_rows(block.shape[1], offer_columns)


def _expanded_neighbours(who: Array, reach: int, half: int) -> Any:
    """A row for each image with ones at its expanded k-reciprocal neighbours (equations 3 to 5), as scipy's CSR."""
    core, halves = _reciprocal(who, reach), _reciprocal(who, half)
    shared = core.multiply(core @ halves.T).tocsr()  # of each neighbour's half set, how many are neighbours too
    shared.data = (3 * shared.data > 2 * halves.getnnz(axis=1)[shared.indices]).astype(np.float32)
    shared.eliminate_zeros()
    return core + shared @ halves


def _reciprocal(who: Array, reach: int) -> Any:
    """Ones where two images are among the first `reach` neighbours of each other, as scipy's CSR."""
    from scipy.sparse import csr_matrix

    total = len(who)
    pointers = np.arange(0, total * reach + 1, reach)
    near = csr_matrix((np.ones(total * reach, np.float32), who[:, :reach].ravel(), pointers), shape=(total, total))
    return near.multiply(near.T).tocsr()


@compiled
def _insert(value: float, index: int, near: Array, who: Array) -> None:
    """Put a neighbour into a list sorted by distance, after those as near: the caller comes in rising `index`."""
    place = near.size - 1
    while place > 0 and near[place - 1] > value:
        near[place] = near[place - 1]
        who[place] = who[place - 1]
        place -= 1
    near[place] = value
    who[place] = index


@compiled
def _offer_rows_loop(block: Array, first_row: int, first_column: int, near: Array, who: Array) -> None:
    """Offer each row of a block of distances its columns as neighbours."""
    last = near.shape[1] - 1
    for r in range(block.shape[0]):
        row, mine, others = block[r], near[first_row + r], who[first_row + r]
        for start in range(0, row.size, _STRIDE):
            stop = min(row.size, start + _STRIDE)
            limit = mine[last]
            hits = np.uint32(0)
            for j in range(start, stop):
                hits = np.uint32(hits + np.uint32(row[j] < limit))
            if hits:
                for j in range(start, stop):
                    if row[j] < mine[last]:
                        _insert(row[j], first_column + j, mine, others)


@compiled
def _offer_columns_loop(block: Array, first_row: int, first_column: int, near: Array, who: Array) -> None:
    """Offer each column of a block of distances its rows as neighbours."""
    last = near.shape[1] - 1
    columns = block.shape[1]
    limits = near[first_column : first_column + columns, last].copy()
    for r in range(block.shape[0]):
        row = block[r]
        for start in range(0, columns, _STRIDE):
            stop = min(columns, start + _STRIDE)
            hits = np.uint32(0)
            for j in range(start, stop):
                hits = np.uint32(hits + np.uint32(row[j] < limits[j]))
            if hits:
                for j in range(start, stop):
                    if row[j] < limits[j]:
                        _insert(row[j], first_row + r, near[first_column + j], who[first_column + j])
                        limits[j] = near[first_column + j, last]


@compiled
def _weights_loop(features: Array, norms: Array, farthest: Array, rows: Sparse, start: int, stop: int) -> None:
    """Fill rows ``start`` to ``stop`` with weights of sum 1, smaller for farther neighbours; equation 7 of the paper.

    The squared distance to a neighbour is taken relative to the squared distance to the farthest image.
    """
    for i in range(start, stop):
        total = 0.0
        scale = farthest[i]
        for k in range(rows.indptr[i], rows.indptr[i + 1]):
            other = rows.columns[k]
            distance = max(norms[i] + norms[other] - 2 * dot(features[i], features[other]), 0.0)
            fraction = distance / scale if scale > 0 else 0.0  # before it is squared: the square may overflow
            rows.values[k] = np.exp(-fraction * fraction)
            total += rows.values[k]
        for k in range(rows.indptr[i], rows.indptr[i + 1]):
            rows.values[k] /= total


@compiled
def _blend_loop(
    queries: Sparse, gallery: Sparse, farthest: Array, weight: float, start: int, stop: int, matrix: Array
) -> None:
    """Turn plain distances in `matrix` (Q, G) into re-ranked ones, ``start`` to ``stop``; equations 10 and 12.

    `queries` has a row for each query, `gallery` a row for each column that a gallery image may share with it.
    """
    overlap = np.empty(matrix.shape[1], np.float32)
    for i in range(start, stop):
        overlap[:] = 0
        for k in range(queries.indptr[i], queries.indptr[i + 1]):
            mine, column = queries.values[k], queries.columns[k]
            for m in range(gallery.indptr[column], gallery.indptr[column + 1]):
                overlap[gallery.columns[m]] += min(mine, gallery.values[m])
        scale = farthest[i]
        for j in range(matrix.shape[1]):
            fraction = matrix[i, j] / scale if scale > 0 else np.float32(0)
            jaccard = 1 - overlap[j] / (2 - overlap[j])
            matrix[i, j] = jaccard * (1 - weight) + fraction * fraction * weight
