"""Compiled loops of k-reciprocal encoding: nearest neighbours kept while blocks of distances go by, the encoding of
each image over its reciprocal neighbours as sparse rows, and the Jaccard distances between them.

Sparse rows stand in three arrays, as in scipy: ``indptr`` (N + 1,), ``columns`` and ``values`` (nonzeros,).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from osnet.evaluation.compiled import compiled

Array = npt.NDArray[Any]

_STRIDE = 256  # entries looked at together before any of them is taken for a neighbour


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
def take_rows(block: Array, first_row: int, first_column: int, near: Array, who: Array) -> None:
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
def take_columns(block: Array, first_row: int, first_column: int, near: Array, who: Array) -> None:
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
def _mutual(who: Array, one: int, reach: int, found: Array) -> int:
    """Put the k-reciprocal neighbours of `one` into `found`: those among its first `reach` with it among theirs."""
    count = 0
    for a in range(reach):
        other = who[one, a]
        for b in range(reach):
            if who[other, b] == one:
                found[count] = other
                count += 1
                break
    return count


@compiled
def half_reach(who: Array, reach: int, sets: Array, sizes: Array, start: int, stop: int) -> None:
    """Reciprocal neighbours of images ``start`` to ``stop`` within the half reach that the expansion looks at."""
    for i in range(start, stop):
        sizes[i] = _mutual(who, i, reach, sets[i])


@partial(compiled, reorder_sums=True)
def _dot(a: Array, b: Array) -> float:
    total = np.float32(0)
    for i in range(a.size):
        total += a[i] * b[i]
    return total  # type: ignore[return-value]


@compiled
def encode(
    features: Array, norms: Array, farthest: Array, who: Array, reach: int,
    half_sets: Array, half_sizes: Array, start: int, stop: int, sizes: Array, columns: Array, values: Array,
) -> None:  # fmt: skip
    """Weights of images ``start`` to ``stop`` over their expanded reciprocal neighbours; equations 3 to 7 of the paper.

    Features as `rerank` prepares them: distance is ``norms[i] + norms[j] - 2 * dot``. The neighbours' squared distance
    is taken relative to the squared distance to the farthest image. Fills rows from 0 on.
    """
    seen = np.full(features.shape[0], -1, np.int64)
    core = np.empty(reach, np.int64)
    in_core = np.full(features.shape[0], -1, np.int64)
    for i in range(start, stop):
        out = i - start
        cores = _mutual(who, i, reach, core)
        count = 0
        for a in range(cores):
            in_core[core[a]] = i
            seen[core[a]] = i
            columns[out, count] = core[a]
            count += 1
        for a in range(cores):
            candidate = core[a]
            size = half_sizes[candidate]
            shared = 0
            for b in range(size):
                shared += in_core[half_sets[candidate, b]] == i
            if shared * 3 > 2 * size:
                for b in range(size):
                    other = half_sets[candidate, b]
                    if seen[other] != i:
                        seen[other] = i
                        columns[out, count] = other
                        count += 1
        total = 0.0
        scale = farthest[i]
        for a in range(count):
            other = columns[out, a]
            distance = max(norms[i] + norms[other] - 2 * _dot(features[i], features[other]), 0.0)
            share = distance / scale if scale > 0 else 0.0  # before it is squared: the square may overflow
            weight = np.exp(-share * share)
            values[out, a] = weight
            total += weight
        for a in range(count):
            values[out, a] /= total
        sizes[out] = count


@compiled
def expanded_sizes(who: Array, k2: int, indptr: Array, columns: Array, start: int, stop: int, sizes: Array) -> None:
    """Number of nonzeros of the mean over each image's `k2` nearest, for images ``start`` to ``stop``."""
    seen = np.full(who.shape[0], -1, np.int64)
    for i in range(start, stop):
        count = 0
        for a in range(k2):
            other = who[i, a]
            for k in range(indptr[other], indptr[other + 1]):
                if seen[columns[k]] != i:
                    seen[columns[k]] = i
                    count += 1
        sizes[i] = count


@compiled
def expand(
    who: Array, k2: int, indptr: Array, columns: Array, values: Array, start: int, stop: int,
    new_indptr: Array, new_columns: Array, new_values: Array,
) -> None:  # fmt: skip
    """Local query expansion: the mean of the rows of each image's `k2` nearest (section 3.5 of the paper)."""
    place = np.full(who.shape[0], -1, np.int64)
    for i in range(start, stop):
        first = new_indptr[i]
        end = first
        for a in range(k2):
            other = who[i, a]
            for k in range(indptr[other], indptr[other + 1]):
                column = columns[k]
                if place[column] < first:  # places only rise, so what an earlier image left is below
                    place[column] = end
                    new_columns[end] = column
                    new_values[end] = 0
                    end += 1
                new_values[place[column]] += values[k] / k2


@compiled
def by_column(
    indptr: Array, columns: Array, values: Array, first_row: int, column_indptr: Array, rows: Array, kept: Array
) -> None:
    """The rows from `first_row` on, turned to columns; row numbers start at 0 there."""
    for k in range(indptr[first_row], indptr[-1]):
        column_indptr[columns[k] + 1] += 1
    for c in range(column_indptr.size - 1):
        column_indptr[c + 1] += column_indptr[c]
    place = column_indptr[:-1].copy()
    for i in range(first_row, indptr.size - 1):
        for k in range(indptr[i], indptr[i + 1]):
            c = columns[k]
            rows[place[c]] = i - first_row
            kept[place[c]] = values[k]
            place[c] += 1


@compiled
def blend(
    indptr: Array, columns: Array, values: Array, column_indptr: Array, rows: Array, kept: Array,
    farthest: Array, weight: float, start: int, stop: int, matrix: Array,
) -> None:  # fmt: skip
    """Turn plain distances in `matrix` (Q, G) into re-ranked ones, ``start`` to ``stop``; equations 10 and 12."""
    overlap = np.empty(matrix.shape[1], np.float32)
    for i in range(start, stop):
        overlap[:] = 0
        for k in range(indptr[i], indptr[i + 1]):
            mine, column = values[k], columns[k]
            for m in range(column_indptr[column], column_indptr[column + 1]):
                overlap[rows[m]] += min(mine, kept[m])
        scale = farthest[i]
        for j in range(matrix.shape[1]):
            share = matrix[i, j] / scale if scale > 0 else np.float32(0)
            plain = share * share
            jaccard = 1 - overlap[j] / (2 - overlap[j])
            matrix[i, j] = jaccard * (1 - weight) + plain * weight
