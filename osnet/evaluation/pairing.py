"""Compiled loops over all pairs of a query and a gallery image: histograms of their distances, nearest answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from osnet.evaluation.compiled import compiled

Array = npt.NDArray[Any]


@compiled
def _bin(distance: float, scale: float, last: int) -> int:
    return min(np.int64(np.ceil(distance * scale)), last)  # type: ignore[return-value]


@compiled
def count_pairs(
    distances: Array, first_query: int, order: Array, starts: Array, ends: Array, gallery_cameras: Array,
    query_cameras: Array, same_camera: bool, junk: Array, skipped: Array, scale: float, genuine: Array, impostor: Array,
) -> None:  # fmt: skip
    """Add the pairs of the queries ``first_query ...`` to the histograms of same and of different people.

    Bin b takes the distances above ``(b - 1) / scale`` up to ``b / scale``.
    """
    last = genuine.size - 1
    for r in range(distances.shape[0]):
        query = first_query + r
        if skipped[query]:
            continue
        row = distances[r]
        for j in range(row.size):
            impostor[_bin(row[j], scale, last)] += 1
        for k in range(starts[query], ends[query]):
            j = order[k]
            place = _bin(row[j], scale, last)
            impostor[place] -= 1
            if not (same_camera and gallery_cameras[j] == query_cameras[query]):
                genuine[place] += 1
        for k in range(junk.size):
            impostor[_bin(row[junk[k]], scale, last)] -= 1


@compiled
def nearest_answers(
    distances: Array, first_query: int, order: Array, starts: Array, ends: Array, gallery_cameras: Array,
    query_cameras: Array, same_camera: bool, junk: Array, right: Array, wrong: Array,
) -> None:  # fmt: skip
    """Distance of each query's nearest right and nearest wrong answer; infinity where there is none."""
    row = np.empty(distances.shape[1], distances.dtype)
    for r in range(distances.shape[0]):
        query = first_query + r
        row[:] = distances[r]
        for k in range(junk.size):
            row[junk[k]] = np.inf
        for k in range(starts[query], ends[query]):
            j = order[k]
            if not (same_camera and gallery_cameras[j] == query_cameras[query]):
                right[query] = min(right[query], row[j])
            row[j] = np.inf
        for j in range(row.size):
            if row[j] < wrong[query]:
                wrong[query] = row[j]
