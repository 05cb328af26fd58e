"""Exact search: the largest dot products of queries with the rows of a matrix, which is read once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

QUERIES_AT_ONCE = 64
_GROUP = 256  # scores that are looked at together before any of them is taken for a candidate
_WORTH_LOOPS = 1 << 12  # rows from which compiled loops are used for one query
_TILE = 1 << 14  # rows whose scores are computed together for several queries: they stay in the cache


def best_rows(
    blocks: Iterable[Floats], queries: Floats, limit: int, penalty: Floats | None
) -> list[tuple[Array, Floats]]:
    """Find the rows with the largest dot products.

    Args:
        blocks: float32 (B, D) each, together the matrix.
        queries: float32 (Q, D).
        limit: rows for each query, at most.
        penalty: float32 (rows of the matrix,), 0 for rows that count and -inf for others; None if all count.

    Returns:
        For each query the numbers of its rows and their products, largest first; of equal ones the first row.
    """
    blocks = list(blocks)
    return [
        found
        for start in range(0, len(queries), QUERIES_AT_ONCE)
        for found in _best(blocks, queries[start : start + QUERIES_AT_ONCE], limit, penalty)
    ]


def _best(blocks: list[Floats], queries: Floats, limit: int, penalty: Floats | None) -> list[tuple[Array, Floats]]:
    found: list[tuple[list[Array], list[Floats]]] = [([], []) for _ in queries]
    bounds = np.full(len(queries), -np.inf, np.float32)
    first = 0
    for block in blocks:
        tile = len(block) if len(queries) == 1 else _TILE
        for start in range(0, len(block), max(tile, 1)):
            part = block[start : start + tile]
            scores = _scores(part, queries[0])[None] if len(queries) == 1 else queries @ part.T
            if penalty is not None:
                scores += penalty[first + start : first + start + len(part)]
            _raise_bounds(scores, limit, bounds)
            hits, rows = np.nonzero(scores >= np.maximum(bounds, np.finfo(np.float32).min)[:, None])
            values = scores[hits, rows]
            rows += first + start
            cuts = np.searchsorted(hits, np.arange(len(queries) + 1))
            for query in np.unique(hits):
                mine = slice(cuts[query], cuts[query + 1])
                found[query][0].append(rows[mine])
                found[query][1].append(values[mine])
        first += len(block)
    return [_sorted(rows, values, limit) for rows, values in found]


def _scores(rows: Floats, query: Floats) -> Floats:
    if len(rows) < _WORTH_LOOPS:
        return rows @ query
    from osnet.evaluation import compiled_loops  # half a second: small galleries do without

    if compiled_loops.numba is None:
        return rows @ query
    scores = np.empty(len(rows), np.float32)
    compiled_loops.dot_rows(rows, query, scores)
    return scores


def _raise_bounds(scores: Floats, limit: int, bounds: Floats) -> None:
    """Raise each query's bound to a score that at least `limit` rows of this part reach."""
    groups = scores.shape[1] // _GROUP
    if groups >= limit:  # the largest of a group is one row: `limit` of them are `limit` rows
        largest = scores[:, : groups * _GROUP].reshape(len(scores), groups, _GROUP).max(axis=2)
    elif scores.shape[1] >= limit:
        largest = scores
    else:
        return
    place = largest.shape[1] - limit
    np.maximum(bounds, np.partition(largest, place, axis=1)[:, place], out=bounds)


def _sorted(rows: list[Array], values: list[Floats], limit: int) -> tuple[Array, Floats]:
    if not rows:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    all_rows, all_values = np.concatenate(rows), np.concatenate(values)
    order = np.lexsort((all_rows, -all_values))[:limit]
    return all_rows[order], all_values[order]
