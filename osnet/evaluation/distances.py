"""Distances between features: cosine and squared Euclidean, in float32, a block of rows at a time.

Both are torchreid's (torchreid/metrics/distance.py): cosine distance is ``1 - cos`` in [0, 2], and ``euclidean`` is
the squared distance, whatever its name. Two differences: what rounding leaves below zero is set to zero, and norms
are taken in float64.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
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

_CHECK_ROWS = 16384
_CACHE_FLOATS = 2**17


def check_metric(metric: str) -> None:
    """Raises:
    OptionError: no such metric.
    """
    check_choice("metric", metric, METRICS)


def check_features(features: Any, what: str) -> Floats:
    """Return `features` as a float32 array (N, D), C-contiguous; such an array is not copied.

    Raises:
        DataError: empty, ragged, not numbers, not two-dimensional, or holding NaN or infinity. `what` ("query",
            "gallery") stands in the message.
    """
    try:
        array = np.asarray(features)
    except ValueError:
        raise DataError(f"{what} features are of mixed widths; expected one array (N, D)") from None
    if array.shape[:1] == (0,):  # a list of no features has no width
        raise DataError(f"the {what} is empty: there is no feature to rank; check the data set's {what} split")
    if array.dtype == object:
        raise DataError(f"{what} features are of mixed widths or not numbers; expected one array (N, D) of floats")
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise DataError(
            f"{what} features: expected an array (N, D) of floats, got shape {array.shape} of {array.dtype}"
        )
    if not array.shape[1]:
        raise DataError(f"{what} features: expected a width D of at least 1, got shape {array.shape}")
    with np.errstate(over="ignore"):  # what overflows is found as an infinity below
        array = np.ascontiguousarray(array, dtype=np.float32)
    _check_finite(array, what)
    return array


def _check_finite(array: Floats, what: str) -> None:
    for start in range(0, len(array), _CHECK_ROWS):
        finite = np.isfinite(array[start : start + _CHECK_ROWS]).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            raise DataError(
                f"{what} features hold NaN or infinity, first in row {row} of {len(array)}: "
                "check the weights and the image behind it"
            )


def check_pair(query: Any, gallery: Any, metric: str) -> tuple[Floats, Floats]:
    """Return both as `check_features` does, of one width, and such that no distance by `metric` overflows.

    Raises:
        DataError: as `check_features`, or widths that differ, or features too long for ``euclidean``.
    """
    query, gallery = check_features(query, "query"), check_features(gallery, "gallery")
    if query.shape[1] != gallery.shape[1]:
        raise DataError(
            f"query features are {query.shape[1]} wide, gallery features {gallery.shape[1]}: "
            "both must come from one model"
        )
    if metric == "euclidean" and any(_may_overflow(features) for features in (query, gallery)):
        raise DataError(
            "features are too large for squared Euclidean distances in float32: scale them, or use metric='cosine'"
        )
    return query, gallery


def _may_overflow(features: Floats) -> bool:
    """Whether two features as long as the longest, pointing away from each other, are too far apart for float32."""
    limit = float(np.finfo(np.float32).max) / 4
    largest = max(float(features.max()), -float(features.min()))
    if largest**2 * features.shape[1] <= limit:  # no need to sum
        return False
    return bool(squared_norms(features).max() > limit)


def squared_norms(features: Floats) -> npt.NDArray[np.float64]:
    """Squared length of each row (N,), summed in float64, a block at a time."""
    found = np.empty(len(features))
    for start in range(0, len(features), _CHECK_ROWS):
        block = features[start : start + _CHECK_ROWS].astype(np.float64)
        np.einsum("ij,ij->i", block, block, out=found[start : start + _CHECK_ROWS])
    return found


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
    check_metric(metric)
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
    bias, scale = column_terms(gallery, metric)
    height = max(1, min(len(query), BLOCK_ROWS, max_bytes // (4 * len(gallery))))
    buffer = np.empty((height, len(gallery)), np.float32)
    for start in range(0, len(query), height):
        rows = slice(start, min(start + height, len(query)))
        factor, offset = row_terms(query[rows], metric)
        block = buffer[: rows.stop - start]
        np.matmul(query[rows] * factor[:, None], gallery.T, out=block)
        finish(block, offset, bias, scale)
        yield rows, block


def row_terms(query: Floats, metric: str) -> tuple[Floats, Floats]:
    """Return each row's factor before the product, and its offset after it."""
    norms = squared_norms(query)
    if metric == "cosine":
        return (-_inverse_lengths(norms)).astype(np.float32), np.ones(len(query), np.float32)
    return np.full(len(query), -2, np.float32), norms.astype(np.float32)


def column_terms(gallery: Floats, metric: str) -> tuple[Floats | None, Floats | None]:
    """Return what is added to each column of the product, and its factor; None where there is nothing to do."""
    norms = squared_norms(gallery)
    if metric == "cosine":
        return None, _inverse_lengths(norms).astype(np.float32)
    return norms.astype(np.float32), None


def _inverse_lengths(norms: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.divide(1.0, np.sqrt(norms), out=np.zeros_like(norms), where=norms > 0)


def finish(block: Floats, offset: Floats, bias: Floats | None, scale: Floats | None) -> None:
    """Turn a block of products into distances, in place."""
    step = max(1, _CACHE_FLOATS // block.shape[1])

    def finish_part(first: int, last: int) -> None:
        for start in range(first, last, step):
            rows = slice(start, min(start + step, last))
            part = block[rows]
            if scale is not None:
                part *= scale
            if bias is not None:
                part += bias
            part += offset[rows, None]
            np.maximum(part, 0, out=part)

    over_rows(len(block), finish_part)


def workers() -> int:
    """Number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def over_rows(rows: int, job: Callable[[int, int], Result]) -> list[Result]:
    """Run ``job(start, stop)`` over contiguous parts of the rows, one for each worker; results in order of the rows.

    The first exception of a job is raised once all have ended.
    """
    parts = min(workers(), rows)
    if parts <= 1:
        return [job(0, rows)]
    cuts = [rows * i // parts for i in range(parts + 1)]
    with ThreadPoolExecutor(parts) as pool:
        return list(pool.map(job, cuts[:-1], cuts[1:]))
