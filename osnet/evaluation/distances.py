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

from osnet.errors import DataError, OptionError

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Result = TypeVar("Result")

METRICS = ("cosine", "euclidean")
"""Known metrics; ``euclidean`` is the squared distance."""

BLOCK_BYTES = 512 * 2**20
"""Most that a block of distances takes. Memory does not grow with the gallery: longer rows mean fewer in a block."""

BLOCK_ROWS = 512
"""Rows from which on a product gets no faster."""

_CHECK_ROWS = 16384
_CACHE_FLOATS = 2**17


def check_metric(metric: str) -> None:
    """Raises:
    OptionError: no such metric.
    """
    if metric not in METRICS:
        raise OptionError(f"unknown metric {metric!r}. Known: {', '.join(METRICS)} (squared Euclidean).")


def check_features(features: Any, what: str) -> Floats:
    """`features` as a float32 array (N, D), C-contiguous; what is that already is not copied.

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
        raise DataError(f"{what} features are of mixed widths or no numbers; expected one array (N, D) of floats")
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise DataError(
            f"{what} features: expected an array (N, D) of floats, got shape {array.shape} of {array.dtype}"
        )
    if not array.shape[1]:
        raise DataError(f"{what} features have no width: shape {array.shape}")
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
    """Both as `check_features` gives them, of one width, and such that no distance by `metric` overflows.

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
    """The whole matrix of distances, float32 (Q, G). A zero feature is at cosine distance 1 from everything.

    Args:
        query: features (Q, D).
        gallery: features (G, D).
        metric: ``cosine`` or ``euclidean`` (squared).

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
    """Rows of the matrix of distances in order: ``(rows, block)`` with `block` float32 (len(rows), G).

    The block's memory is used again for the next one. Takes checked features; the gallery is never copied.
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
    """What each row is multiplied by before the product, and what is added to its distances after."""
    norms = squared_norms(query)
    if metric == "cosine":
        return (-_inverse_lengths(norms)).astype(np.float32), np.ones(len(query), np.float32)
    return np.full(len(query), -2, np.float32), norms.astype(np.float32)


def column_terms(gallery: Floats, metric: str) -> tuple[Floats | None, Floats | None]:
    """What each column of the product has added, and what it is multiplied by; None for nothing to do."""
    norms = squared_norms(gallery)
    if metric == "cosine":
        return None, _inverse_lengths(norms).astype(np.float32)
    return norms.astype(np.float32), None


def _inverse_lengths(norms: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.divide(1.0, np.sqrt(norms), out=np.zeros_like(norms), where=norms > 0)


def finish(block: Floats, offset: Floats, bias: Floats | None, scale: Floats | None) -> None:
    """Turn a block of products into distances, in place."""
    step = max(1, _CACHE_FLOATS // block.shape[1])

    def share(first: int, last: int) -> None:
        for start in range(first, last, step):
            rows = slice(start, min(start + step, last))
            part = block[rows]
            if scale is not None:
                part *= scale
            if bias is not None:
                part += bias
            part += offset[rows, None]
            np.maximum(part, 0, out=part)

    over_rows(len(block), share)


def workers() -> int:
    """Number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def over_rows(rows: int, job: Callable[[int, int], Result]) -> list[Result]:
    """Run ``job(start, stop)`` over `rows` rows in contiguous shares, one a worker; results in the order of the rows.

    The first exception of a job is raised once all have ended.
    """
    shares = min(workers(), rows)
    if shares <= 1:
        return [job(0, rows)]
    cuts = [rows * i // shares for i in range(shares + 1)]
    with ThreadPoolExecutor(shares) as pool:
        return list(pool.map(job, cuts[:-1], cuts[1:]))
