"""Distances between features: cosine and squared Euclidean, in float32, a block of rows at a time.

Both are torchreid's (torchreid/metrics/distance.py): cosine distance is ``1 - cos`` in [0, 2], and ``euclidean`` is
the squared distance, whatever its name. Two differences: what rounding leaves below zero is set to zero, and norms
are taken in float64.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, TypeVar

import numpy as np
import numpy.typing as npt

from osnet.checks import check_choice
from osnet.errors import DataError

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Result = TypeVar("Result")

METRICS = ("cosine", "euclidean")
"""Known metrics; ``euclidean`` is the squared distance."""

BLOCK_BYTES = 512 * 2**20
"""Maximum size of a block of distances. Memory does not grow with the gallery: longer rows mean fewer in a block."""

BLOCK_ROWS = 512
"""Maximum rows of a block: more do not make the matrix product faster."""

_LARGEST = float(np.finfo(np.float32).max)
_CACHE_FLOATS = 2**17  # entries of a block that stay in the cache over the steps after the product


def check_pair(query: Any, gallery: Any, metric: str) -> tuple[Floats, Floats]:
    """Check both sets of features, and that no distance between them overflows.

    Args:
        query: features (Q, D), any float or integer type.
        gallery: features (G, D).
        metric: one of `METRICS`.

    Returns:
        Both as C-contiguous float32 arrays; such arrays are not copied.

    Raises:
        OptionError: no such metric.
        DataError: features that are empty, not an array of numbers (N, D), of different widths, not finite, or too
            large for ``euclidean``.
    """
    check_choice("metric", metric, METRICS)
    query, gallery = check_features(query, "query"), check_features(gallery, "gallery")
    if query.shape[1] != gallery.shape[1]:
        raise DataError(
            f"query features are {query.shape[1]} wide, gallery features {gallery.shape[1]}: "
            "both must come from one model"
        )
    # two features as long as the longest may point away from each other
    if metric == "euclidean" and max(squared_norms(query).max(), squared_norms(gallery).max()) > _LARGEST / 4:
        raise DataError(
            "features are too large for squared Euclidean distances in float32: scale them, or use metric='cosine'"
        )
    return query, gallery


def check_features(features: Any, what: str) -> Floats:
    """Check one set of features.

    Args:
        features: array (N, D), any float or integer type.
        what: they are, for the message.

    Returns:
        A C-contiguous float32 array; such an array is not copied.

    Raises:
        DataError: features that are empty, not an array of numbers (N, D), of different widths, or not finite.
    """
    checked = _as_floats(features, what)
    finite = np.isfinite(squared_norms(checked))  # squares of float32 do not overflow float64
    if not finite.all():
        raise DataError(
            f"{what} features hold NaN or infinity, first in row {int(np.argmin(finite))} of {len(checked)}: "
            "check the weights and the image behind it"
        )
    return checked


def _as_floats(features: Any, what: str) -> Floats:
    try:
        array = np.asarray(features)
    except ValueError:
        raise DataError(f"{what} features are of mixed widths; expected one array (N, D)") from None
    if array.shape[:1] == (0,):
        raise DataError(f"the {what} is empty: there is no feature to rank; check the data set's {what} split")
    if array.ndim != 2 or array.dtype.kind not in "fiu" or not array.shape[1]:
        raise DataError(
            f"{what} features: expected an array (N, D) of floats, D at least 1, got shape {array.shape} of "
            f"{array.dtype}"
        )
    with np.errstate(over="ignore"):  # what overflows is found as an infinity
        return np.ascontiguousarray(array, dtype=np.float32)


def squared_norms(features: Floats) -> npt.NDArray[np.float64]:
    """Squared length of each row (N,), summed in float64."""
    norms: npt.NDArray[np.float64] = np.einsum("ij,ij->i", features, features, dtype=np.float64)
    return norms


def distances(query: Any, gallery: Any, *, metric: str = "cosine") -> Floats:
    """Compute the matrix of distances between two sets of features.

    Args:
        query: features (Q, D), any float or integer type.
        gallery: features (G, D).
        metric: ``cosine`` (``1 - cos``; 1 for a zero feature) or ``euclidean`` (squared).

    Returns:
        float32 (Q, G), smaller is nearer.

    Raises:
        OptionError: unknown metric.
        DataError: features that are empty, of different widths, not finite, or too large for ``euclidean``.
    """
    query, gallery = check_pair(query, gallery, metric)
    matrix = np.empty((len(query), len(gallery)), np.float32)
    for rows, block in row_blocks(query, gallery, metric):
        matrix[rows] = block
    return matrix


def row_blocks(
    query: Floats, gallery: Floats, metric: str, max_bytes: int = BLOCK_BYTES
) -> Iterator[tuple[slice, Floats]]:
    """Yield the matrix of distances by blocks of rows: ``(rows, block)`` with `block` float32 (len(rows), G).

    The memory of a block is reused for the next one. Takes checked features; the gallery is never copied.
    """
    scale = bias = None
    if metric == "cosine":  # 1 - q.g / (|q| |g|)
        factor, scale = -_inverse_lengths(query), _inverse_lengths(gallery)
        offset = np.ones(len(query), np.float32)
    else:  # q.q - 2 q.g + g.g
        factor, bias = np.full(len(query), -2, np.float32), squared_norms(gallery).astype(np.float32)
        offset = squared_norms(query).astype(np.float32)
    height = max(1, min(len(query), BLOCK_ROWS, max_bytes // (4 * len(gallery))))
    buffer = np.empty((height, len(gallery)), np.float32)
    step = max(1, _CACHE_FLOATS // len(gallery))
    for start in range(0, len(query), height):
        rows = slice(start, min(start + height, len(query)))
        block = buffer[: rows.stop - start]
        np.matmul(query[rows] * factor[rows, None], gallery.T, out=block)

        def finish(first: int, last: int, block: Floats = block, offset: Floats = offset[rows, None]) -> None:
            for top in range(first, last, step):
                part = block[top : min(top + step, last)]
                if scale is not None:
                    part *= scale
                if bias is not None:
                    part += bias
                part += offset[top : top + len(part)]
                np.maximum(part, 0, out=part)

        over_rows(len(block), finish)
        yield rows, block


def _inverse_lengths(features: Floats) -> Floats:
    """One over the length of each row (N,), 0 for a zero feature."""
    lengths = np.sqrt(squared_norms(features))
    return np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0).astype(np.float32)


def over_rows(rows: int, job: Callable[[int, int], Result]) -> list[Result]:
    """Run ``job(start, stop)`` over contiguous parts of the rows, one for each worker; results in order of the rows.

    The first exception of a job is raised once all have ended.
    """
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parts = min(workers, rows)
    if parts <= 1:
        return [job(0, rows)]
    cuts = [rows * i // parts for i in range(parts + 1)]
    with ThreadPoolExecutor(parts) as pool:
        return list(pool.map(job, cuts[:-1], cuts[1:]))


def over_blocks(blocks: Iterable[tuple[slice, Array]], job: Callable[[int, Array], Result]) -> Iterator[Result]:
    """Run ``job(first_row, part)`` over parts of each of the `blocks` of `row_blocks`, as `over_rows`."""
    for rows, block in blocks:

        def run(start: int, stop: int, first: int = rows.start, block: Array = block) -> Result:
            return job(first + start, block[start:stop])

        yield from over_rows(len(block), run)
